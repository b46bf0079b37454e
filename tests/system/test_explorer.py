"""The search page as a person uses it: in Chromium, on the running stack, with Airflow's own login."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, Response, expect

from servers import AIRFLOW_USER

if TYPE_CHECKING:
    from airflow_client import Dag
    from servers import Site

HOSTILE = '"><img src=x onerror=alert(1)>.jpg'
CAT = "image-labels/images/animals/Chelsea the cat.png"
FIRST_COLOUR = (255, 210, 63)
WIDE = {"width": 1280, "height": 800}
NARROW = {"width": 390, "height": 844}


def log_in(page: Page, site: Site) -> None:
    """Fill in Airflow's login form."""
    page.locator("input[name=username]").fill(AIRFLOW_USER)
    page.locator("input[name=password]").fill(site.secrets["airflow_password"])
    page.locator("input[name=password]").press("Enter")


@pytest.fixture(scope="module")
def login(browser: Browser, site: Site, first_run: tuple[Dag, str]) -> Any:
    """The cookies of somebody who has logged in, once there is something to see."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{site.url('airflow')}/api/v2/auth/login")
    log_in(page, site)
    page.wait_for_url(f"{site.url('airflow')}/")
    state = context.storage_state()
    context.close()
    return state


Open = Callable[..., Page]


@pytest.fixture
def visit(browser: Browser, site: Site, login: Any) -> Iterator[Open]:
    """Opens the page; that it logs no error and runs no foreign script is checked at the end."""
    contexts: list[BrowserContext] = []
    wrong: list[str] = []

    def noticed(message: ConsoleMessage) -> None:
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            wrong.append(message.text)

    def failed(answer: Response) -> None:
        if answer.status >= 500:
            wrong.append(f"{answer.status} {answer.url}")

    def visit(address: str = "", path: str = "/image-labels/", **options: Any) -> Page:
        context = browser.new_context(storage_state=login, **{"viewport": WIDE} | options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", noticed)
        page.on(
            "response", lambda answer: wrong.append(f"{answer.status} {answer.url}") if answer.status >= 500 else None
        )
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: wrong.append(f"a script ran: {dialog.message}"))
        page.goto(f"{site.url('airflow')}{path}{address}")
        return page

    yield visit
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture
def store(collection: Any) -> Iterator[Callable[..., None]]:
    """Stores documents like the cat's under other keys, and takes them away again."""
    stored: list[str] = []
    cat = collection.find_one({"_id": CAT})

    def store(*names: str) -> None:
        made = [{**cat, "_id": f"image-labels/images/{name}", "img": name} for name in names]
        stored.extend(document["_id"] for document in made)
        collection.insert_many(made)

    yield store
    collection.delete_many({"_id": {"$in": stored}})


def names(page: Page) -> Locator:
    return page.locator(".grid .name")


def test_without_a_login_there_is_a_way_to_one_and_back(
    browser: Browser, site: Site, first_run: tuple[Dag, str]
) -> None:
    page = browser.new_context().new_page()
    address = f"{site.url('airflow')}/image-labels/?q=Cat"
    answer = page.goto(address)
    assert answer
    assert answer.status == 401
    assert page.request.get(f"{site.url('airflow')}/image-labels/api/images").status == 401
    page.get_by_role("link", name="Log in").click()
    log_in(page, site)
    page.wait_for_url(address)
    expect(names(page)).to_have_count(2)
    page.context.close()


def test_labels_are_completed_and_found(visit: Open) -> None:
    page = visit()
    expect(names(page)).to_have_count(14)
    box = page.get_by_role("combobox", name="Search by labels")
    box.press_sequentially("ca")
    expect(page.get_by_role("option", name=re.compile("^Cat"))).to_contain_text("2")
    box.press("ArrowDown")
    while page.locator("[role=option][aria-selected=true]").inner_text().split("\n")[0] != "Cat":
        box.press("ArrowDown")
    box.press("Enter")
    expect(box).to_have_value("Cat ")
    box.press("Enter")
    expect(names(page)).to_have_text(["Chelsea the cat.png", "Chelsea the cat (copy).png"])
    expect(page.locator(".count")).to_have_text("2 images")
    expect(page).to_have_url(re.compile(r"\?q=Cat$"))
    for thumbnail in page.locator(".grid img").all():
        expect(thumbnail).to_have_js_property("naturalWidth", 451)


def test_the_slider_s_confidence_narrows_the_search(visit: Open, collection: Any) -> None:
    (found,) = (label for label in collection.find_one({"_id": CAT})["Labels"] if label["Name"] == "Cat")
    page = visit("?q=Cat")
    expect(names(page)).to_have_count(2)
    slider = page.get_by_role("slider", name="Confidence")
    slider.fill(str(int(found["Confidence"]) + 1))
    slider.dispatch_event("change")
    expect(page.get_by_text("No image fits.")).to_be_visible()
    expect(page).to_have_url(re.compile(rf"min={int(found['Confidence']) + 1}\b"))


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_a_box_is_drawn_where_the_label_was_found_to_the_pixel(visit: Open, collection: Any, size: Any) -> None:
    image = collection.find_one({"img": "motorcycle, left eye.png"})
    (label,) = (label for label in image["Labels"] if label["Name"] == "Motorcycle")
    page = visit(f"?q=Motorcycle&image={quote(image['_id'])}", viewport=size)
    expect(page.locator(".box")).to_have_count(len(label["Instances"]))
    expect(page.locator(".frame img")).to_have_js_property("naturalWidth", image["width"])
    picture = page.locator(".frame img").bounding_box()
    assert picture
    assert picture["width"] / picture["height"] == pytest.approx(image["width"] / image["height"], rel=0.005)
    seen = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    for place, instance in zip(page.locator(".box").all(), label["Instances"], strict=True):
        box = instance["BoundingBox"]
        left = picture["x"] + box["Left"] * picture["width"]
        top = picture["y"] + box["Top"] * picture["height"]
        right, bottom = left + box["Width"] * picture["width"], top + box["Height"] * picture["height"]
        drawn = place.bounding_box()
        assert drawn
        assert [drawn["x"], drawn["y"], drawn["x"] + drawn["width"], drawn["y"] + drawn["height"]] == pytest.approx(
            [left, top, right, bottom], abs=0.5
        )
        # The line is two pixels wide and lies inside of the box.
        x, y = round((left + right) / 2), round((top + bottom) / 2)
        for edge in [(round(left), y), (round(right) - 1, y), (x, round(top)), (x, round(bottom) - 1)]:
            assert FIRST_COLOUR in around(seen, *edge)


def around(picture: Image.Image, x: int, y: int) -> set[Any]:
    """Return the colours at a point and one pixel around it."""
    points = [(x + i, y + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    return {
        picture.getpixel(point) for point in points if 0 <= point[0] < picture.width and 0 <= point[1] < picture.height
    }


def test_boxes_are_chosen_and_the_choice_is_in_the_address(visit: Open) -> None:
    page = visit(f"?image={quote(CAT)}")
    expect(page.locator(".box")).not_to_have_count(0)
    page.get_by_role("checkbox", name="Show where: Cat").uncheck()
    expect(page.locator(".box[data-label=Cat]")).to_have_count(0)
    page.reload()
    expect(page.get_by_role("heading", name="Chelsea the cat.png")).to_be_visible()
    expect(page.locator(".box[data-label=Cat]")).to_have_count(0)
    page.get_by_role("checkbox", name="Show where: Cat").check()
    expect(page.locator(".box[data-label=Cat]")).to_have_count(1)


def test_an_image_tells_what_is_known_of_it(visit: Open, first_run: tuple[Dag, str]) -> None:
    _, run_id = first_run
    page = visit(f"?image={quote(CAT)}")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("in Animal")).to_be_visible()
    expect(dialog.get_by_text("451 × 300, PNG")).to_be_visible()
    expect(dialog.get_by_role("link", name=run_id)).to_be_visible()
    dialog.get_by_role("link", name="Chelsea the cat (copy).png").click()
    expect(page.get_by_role("heading", name="Chelsea the cat (copy).png")).to_be_visible()


def test_the_keyboard_is_enough(visit: Open) -> None:
    page = visit("?q=Cat")
    page.locator(".grid a").first.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Chelsea the cat.png")).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("heading", name="Chelsea the cat (copy).png")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page).to_have_url(re.compile(r"\?q=Cat$"))
    expect(page.locator(".grid a").first).to_be_focused()


def test_pages_follow_one_another(visit: Open, store: Callable[..., None]) -> None:
    store(*(f"paging {n:03d}.jpg" for n in range(110)))
    page = visit("?q=Cat", viewport={"width": 1280, "height": 400})
    expect(names(page)).to_have_count(48)
    # A focus that scrolls brings the end near, and the next page would come by itself.
    page.get_by_role("button", name="Show more").evaluate("button => button.focus({preventScroll: true})")
    page.keyboard.press("Enter")
    expect(names(page)).to_have_count(96)
    expect(page.locator(".grid a").nth(48)).to_be_focused()
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    expect(names(page)).to_have_count(112)
    expect(page.get_by_role("button", name="Show more")).to_be_hidden()
    assert len(set(names(page).all_text_contents())) == 112


def test_a_large_screen_is_filled_by_itself(visit: Open, store: Callable[..., None]) -> None:
    store(*(f"paging {n:03d}.jpg" for n in range(110)))
    page = visit("?q=Cat", viewport={"width": 2560, "height": 8000})
    expect(names(page)).to_have_count(112)


def test_a_bar_of_the_chart_leads_to_its_images(visit: Open) -> None:
    page = visit("?view=labels&min=50")
    bar = page.locator(".chart a").filter(has_text="Motorcycle")
    images = bar.locator(".amount").first.inner_text()
    bar.click()
    expect(page.locator(".count")).to_have_text(f"{images} images")
    expect(names(page)).to_have_count(int(images))
    page.go_back()
    expect(bar).to_be_visible()


def test_a_link_to_an_image_of_a_search_shows_both(visit: Open) -> None:
    page = visit(f"?q=Cat&min=50&image={quote(CAT)}")
    expect(page.get_by_role("heading", name="Chelsea the cat.png")).to_be_visible()
    expect(page.locator(".box")).to_have_count(1)
    expect(page.get_by_role("button", name="Next image")).to_be_enabled()
    page.get_by_role("button", name="Close").click()
    expect(page.get_by_role("combobox", name="Search by labels")).to_have_value("Cat")
    expect(page.locator("output")).to_have_text("50 % or more")


def test_a_file_s_name_is_only_ever_text(visit: Open, store: Callable[..., None]) -> None:
    store(HOSTILE)
    page = visit("?q=Cat")
    page.get_by_role("link", name=HOSTILE).click()
    expect(page.get_by_role("heading", name=HOSTILE)).to_be_visible()
    expect(page.locator("img[onerror], img[src=x]")).to_have_count(0)


def test_a_query_that_is_none_is_told_so(visit: Open) -> None:
    page = visit('?q="Cat')
    expect(page.get_by_role("alert")).to_contain_text("A quote has no end")
    expect(names(page)).to_have_count(0)


def test_explain_shows_the_index(visit: Open) -> None:
    page = visit("?q=Cat%3E%3D50")
    page.get_by_role("button", name="Explain").click()
    plan = page.get_by_role("region", name="How the database answers")
    expect(plan).to_contain_text("IXSCAN")
    expect(plan).to_contain_text("2 images of the first page")


def test_runs_show_their_books_and_what_was_refused(visit: Open, first_run: tuple[Dag, str]) -> None:
    page = visit("?view=runs")
    page.locator("summary").first.click()
    expect(page.get_by_text("it holds text, no picture")).to_be_visible()
    expect(page.get_by_text("scraps/rocket, cut short.jpg")).to_be_visible()
    expect(page.locator(".books")).to_contain_text("14 uploaded")


def test_reports_are_linked(visit: Open) -> None:
    page = visit("?view=reports")
    with page.expect_popup() as popup:
        page.get_by_role("link", name="report.html").first.click()
    expect(popup.value.locator("body")).to_contain_text("Motorcycle")


def test_in_airflow_s_frame_it_looks_like_airflow_and_its_links_lead_out(
    visit: Open, first_run: tuple[Dag, str]
) -> None:
    _, run_id = first_run
    page = visit(path="/", color_scheme="dark")
    page.get_by_role("link", name="Image labels").click()
    frame = page.frame_locator("iframe[title='Image labels']")
    expect(frame.locator(".grid .name")).to_have_count(14)
    expect(frame.locator("html")).to_have_class(re.compile("dark"))
    with page.expect_download() as download:
        frame.get_by_role("link", name="CSV").click()
    assert download.value.path().read_text("utf-8-sig").count("\n") == 15
    frame.get_by_role("link", name="coffee.png").click()
    frame.get_by_role("link", name=run_id).click()
    page.wait_for_url(re.compile(f"/dags/image_labels/runs/{re.escape(quote(run_id))}"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "address", ["?q=Cat&explain=1", f"?image={quote(CAT)}", "?view=labels&min=50", "?view=runs", "?view=reports"]
)
def test_nothing_keeps_anybody_out(visit: Open, address: str, scheme: str) -> None:
    page = visit(address, color_scheme=scheme)
    page.wait_for_load_state("networkidle")
    if "runs" in address:
        page.locator("summary").first.click()
        page.wait_for_load_state("networkidle")
    found = Axe().run(page).response["violations"]
    assert [(rule["id"], rule["nodes"]) for rule in found if rule["impact"] in ("serious", "critical")] == []
