"""A report's page as a person sees it: in Chromium, by day and by night, on a phone and on paper."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe

from airflow_client import Dag
from dag_runs import AT_ONCE, finish, start
from sample_report import Sample, frequencies, ordinary_day, runs

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from servers import Site

HOSTILE = "</script><img src=x onerror=alert(1)><b>"
SCREENS = {"desk": (1280, 900), "phone": (390, 844)}
WHITE = "rgb(255, 255, 255)"


@pytest.fixture(scope="module")
def report(photos: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of an ordinary day."""
    file = tmp_path_factory.mktemp("report") / "report.html"
    file.write_bytes(ordinary_day(photos).html())
    return file


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A tab in which nothing may go wrong, and nothing may be asked for but the page."""
    wrong: list[str] = []
    asked: set[str] = set()
    tab = browser.new_page()
    tab.on("console", lambda message: wrong.append(message.text))
    tab.on("dialog", lambda dialog: wrong.append(f"a script ran: {dialog.message}"))
    tab.on("request", lambda request: asked.add(request.url))
    yield tab
    tab.close()
    assert wrong == []
    assert len({url for url in asked if not url.startswith("data:")}) == 1


def look(page: Page, report: Path, scheme: Literal["light", "dark"] = "light", screen: str = "desk") -> None:
    width, height = SCREENS[screen]
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=scheme)
    page.goto(report.as_uri())


def style(page: Page, selector: str, name: str) -> str:
    """Return a property of the first element, as the browser has worked it out."""
    return str(page.locator(selector).first.evaluate(f"element => getComputedStyle(element).{name}"))


def brightness(colour: str) -> float:
    """Return how bright a colour is, from 0 to 1."""
    red, green, blue = (int(part) for part in re.findall(r"\d+", colour)[:3])
    return (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_read_it(page: Page, report: Path, scheme: Any, screen: str) -> None:
    look(page, report, scheme, screen)
    for summary in page.locator("summary").all():
        summary.click()
    found = [v["id"] for v in Axe().run(page).response["violations"] if v["impact"] in ("serious", "critical")]
    assert found == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than the screen"


def test_the_charts_follow_light_and_dark(page: Page, report: Path) -> None:
    look(page, report, "light")
    light = {name: brightness(style(page, name, "fill")) for name in ("svg text", "svg .mark-rect path")}
    assert brightness(style(page, "body", "backgroundColor")) > 0.9
    look(page, report, "dark")
    dark = {name: brightness(style(page, name, "fill")) for name in ("svg text", "svg .mark-rect path")}
    assert brightness(style(page, "body", "backgroundColor")) < 0.15
    assert light["svg text"] < 0.2 < 0.8 < dark["svg text"]
    assert light["svg .mark-rect path"] < 0.5 < dark["svg .mark-rect path"]


def test_bars_are_as_long_as_their_shares(page: Page, report: Path) -> None:
    look(page, report)
    bars = page.locator("svg").first.locator(".mark-rect").first.locator("path")
    lengths = [bars.nth(number).bounding_box()["width"] for number in range(3)]  # type: ignore[index]
    page.locator("summary").first.click()
    cells = page.locator("details").first.locator("tbody td:nth-child(2)").all_inner_texts()
    images = [int(cell.split()[0].replace(",", "")) for cell in cells[:3]]
    assert [length / lengths[0] for length in lengths] == pytest.approx([n / images[0] for n in images], abs=0.01)


def test_frames_lie_where_the_label_is(page: Page, report: Path) -> None:
    look(page, report)
    picture = page.locator(".sheet li").first
    whole, frame = picture.bounding_box(), picture.locator("i").bounding_box()
    assert whole
    assert frame
    left, top = (frame["x"] - whole["x"]) / whole["width"], (frame["y"] - whole["y"]) / whole["height"]
    assert (left, top) == pytest.approx((0.25, 0.02), abs=0.01)
    assert (frame["width"] / whole["width"], frame["height"] / whole["height"]) == pytest.approx((0.62, 0.96), abs=0.01)
    assert picture.locator("img").evaluate("img => img.complete && img.naturalWidth > 0")


def test_on_paper_it_is_dark_on_white_and_short(page: Page, report: Path) -> None:
    look(page, report, "dark")
    paper = page.pdf(prefer_css_page_size=True)
    page.emulate_media(media="print", color_scheme="dark")
    assert style(page, "body", "backgroundColor") == WHITE
    assert brightness(style(page, "svg text", "fill")) < 0.2
    assert paper.startswith(b"%PDF")
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", paper)) <= 3


def test_a_hostile_name_is_text(page: Page, tmp_path: Path) -> None:
    from image_labels import changes, charts
    from image_labels.contact_sheet import Example

    table = frequencies({"day": {HOSTILE: 9}, "all": {HOSTILE: 9}}, {"day": 10, "all": 10})
    sheet = {HOSTILE: [Example(HOSTILE, 99.0, (), 4, 3, None)]}
    rankings = charts.rankings(table, 10, 10)
    sample = Sample(rankings, changes.label_changes(table, []), runs(problems=[HOSTILE]), sheet)
    file = tmp_path / "report.html"
    file.write_bytes(sample.html())
    look(page, file)
    assert (
        page.locator("b, script, [onerror]").locator("visible=true").all_inner_texts()
        == page.locator(".amount b").all_inner_texts()
    )
    assert page.get_by_role("heading", name=HOSTILE).count() == 1


def test_airflow_s_link_leads_to_the_page_with_its_pictures(browser: Browser, first_run: tuple[Dag, str]) -> None:
    dag, run_id = first_run
    link = dag._get(f"{dag._path}/dagRuns/{run_id}/taskInstances/report/links")["extra_links"]["S3"]
    context = browser.new_context(extra_http_headers={"Authorization": dag._client.headers["Authorization"]})
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text))
    answer = page.goto(link)
    assert answer
    assert answer.status == 200
    assert page.get_by_role("heading", level=1).count() == 1
    assert "Motorcycle" in page.locator(".charts").inner_text()
    loaded = page.locator(".sheet img").evaluate_all("images => images.map(image => image.naturalWidth)")
    assert loaded
    assert all(loaded)
    assert style(page, "body", "backgroundColor") == WHITE
    assert wrong == []
    context.close()


def test_the_example_runs_when_a_report_is_there(
    first_run: tuple[Dag, str], dag: Dag, site: Site, demo_album: Path
) -> None:
    example = Dag(site, "image_labels_report_example")
    deadline = time.monotonic() + 60
    while example.details() is None:
        assert time.monotonic() < deadline, "the example was not found"
        time.sleep(0.5)
    example.pause(False)
    try:
        assert finish(dag, start(dag, landing=str(demo_album), **AT_ONCE)) == "success"
        deadline = time.monotonic() + 120
        while not (runs := example._get(f"{example._path}/dagRuns")["dag_runs"]):
            assert time.monotonic() < deadline, "the report has not triggered the example"
            time.sleep(0.5)
        assert finish(example, runs[0]["dag_run_id"]) == "success"
        (told,) = example.task_instances(runs[0]["dag_run_id"])
        log = example.log(runs[0]["dag_run_id"], told)
        assert any("changes in the report of" in line for line in log)
    finally:
        example.pause(True)
