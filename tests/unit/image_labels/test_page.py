from __future__ import annotations

import base64
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from image_labels import changes, charts, page, tables
from image_labels.contact_sheet import Example
from sample_report import DAY, Sample, frequencies, ordinary_day, runs

if TYPE_CHECKING:
    import pyarrow as pa

VOID = {"meta", "img"}


class Page(HTMLParser):
    """What a browser would make of a page: elements, attributes, and texts outside of the style sheet."""

    def __init__(self, html: bytes) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(html.decode())
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and "style" not in self._open:
            self.texts.append(" ".join(data.split()))

    @property
    def text(self) -> str:
        return " ".join(self.texts)


def report(
    today: dict[str, int],
    *earlier: dict[str, int],
    models: tuple[str, str] = ("3.0", "3.0"),
    aliases: dict[str, str] | None = None,
    books: pa.Table | None = None,
    sheet: dict[str, list[Example]] | None = None,
) -> Page:
    """Return the page of a day of 100 images, after days of 100 images."""
    table = frequencies({"day": today, "all": today}, {"day": 100, "all": 100}, models[1:])
    before = [
        (DAY - timedelta(days=days), frequencies({"day": counts}, {"day": 100}, models[:1]))
        for days, counts in enumerate(earlier, start=1)
    ]
    changed = changes.label_changes(table, before, aliases)
    rankings = charts.rankings(table, 100, 100)
    return Page(page.report_page(DAY, rankings, ["<svg></svg>"] * 2, changed, books or runs(), sheet or {}, {}))


@pytest.fixture(scope="module")
def sample(photos: dict[str, Path]) -> Sample:
    return ordinary_day(photos)


@pytest.fixture(scope="module")
def ordinary(sample: Sample) -> Page:
    """The page of an ordinary day."""
    return Page(sample.html())


def test_a_report_tells_of_the_day_its_changes_labels_pictures_and_books(ordinary: Page) -> None:
    shown = ordinary
    for words in (
        "22 November 2026", "240 Images of the day", "12,868 In the collection", "4 In quarantine", "0.23 USD Spent",
        "What is different today", "Lighthouse", "Most frequent labels", "confidence of 90% or more", "Examples",
        "The books", "244 new", "232 asked about", "label_changes: 131 rows",
    ):  # fmt: skip
        assert words in shown.text
    assert shown.elements.count("svg") == 2
    assert shown.elements.count("h1") == 1


def test_what_is_out_of_the_ordinary_comes_with_its_numbers(ordinary: Page, sample: Sample) -> None:
    shown = ordinary.text
    assert "beside the day before and the median of 26 reports of the last 28 days" in shown
    rows = {
        row["label"]: row
        for row in sample.changes.to_pylist()
        if row["scope"] == "day" and row["min_confidence"] == 70 and abs(row["deviation"]) >= page.NOTABLE
    }
    assert {"Sea", "Boat", "Dog"} <= rows.keys()
    for label, row in rows.items():
        shares = [charts.percent(row[name]) for name in ("share", "last_share", "median_share")]
        assert f"{label} {row['images']} {' '.join(shares)}" in shown


def test_new_and_missing_labels_are_named() -> None:
    shown = report({"Dog": 50, "Yak": 40}, *[{"Dog": 50, "Cat": 50}] * 3).text
    assert "New labels Yak 29" in shown
    assert "Missing labels Cat usually 36%" in shown
    assert "From 7 reports on" in shown


def test_a_long_list_says_how_long_it_is() -> None:
    shown = report({f"Label {number}": 50 for number in range(30)}, {"Dog": 50}).text
    assert "and 6 more" in shown


def test_the_first_report_says_that_it_is() -> None:
    shown = report({"Dog": 50}).text
    assert "No report of the 28 days before has images to compare with." in shown
    assert "New labels" not in shown


def test_a_quiet_day_says_so() -> None:
    shown = report({"Dog": 50}, *[{"Dog": 50}] * 7).text
    assert "No label's share is out of the ordinary." in shown


def test_a_new_label_model_is_told_with_the_names_it_has_changed() -> None:
    shown = report(
        {"Person": 50}, *[{"Person": 50, "Human": 50}] * 7, models=("2.0", "3.0"), aliases={"Human": "Person"}
    ).text
    assert "label model went from 2.0 to 3.0" in shown
    assert "Human is now called Person" in shown
    assert "Missing labels" not in shown


def test_a_day_without_images_has_its_page() -> None:
    shown = report({}).text
    assert "The day has no labels to compare." in shown
    assert "No label reaches a threshold." in shown


def test_books_that_could_not_be_closed_say_why() -> None:
    assert "upload is failed" in report({}, books=runs(state="failed", problems=["upload is failed"])).text


def test_only_the_books_of_the_day_are_shown() -> None:
    shown = report({}, books=runs(day=DAY - timedelta(days=1))).text
    assert "scheduled__" not in shown
    assert "No run of the day is in the books." in shown


def test_a_run_that_is_not_over_shows_what_is_known() -> None:
    empty: dict[str, Any] = {
        name: None for name in tables.RUNS.schema().names if name not in ("run_id", "day", "problems")
    }
    shown = report({}, books=runs(**empty | {"state": "open", "new": 3, "problems": []})).text
    assert "3 new" in shown
    assert "None" not in shown
    assert "Spent" not in shown


def test_pictures_lie_in_the_page_with_frames_where_the_label_is() -> None:
    box = {"left": 0.1, "top": 0.25, "width": 0.5, "height": 0.125}
    shown = report({"Dog": 9}, sheet={"Dog": [Example("rex.jpg", 98.76, (box,), 400, 300, b"jpeg")]})
    assert ("src", f"data:image/jpeg;base64,{base64.b64encode(b'jpeg').decode()}") in shown.attributes
    assert ("alt", "rex.jpg: 98.8%") in shown.attributes
    assert ("style", "left: 10.0%; top: 25.0%; width: 50.0%; height: 12.5%") in shown.attributes


def test_a_panorama_has_no_frames_for_only_its_middle_is_shown() -> None:
    box = {"left": 0.1, "top": 0.25, "width": 0.5, "height": 0.125}
    shown = report({"Dog": 9}, sheet={"Dog": [Example("coast.jpg", 98.76, (box,), 4000, 300, b"jpeg")]})
    assert not [value for name, value in shown.attributes if name == "style" and "left: 10.0%" in (value or "")]


def test_a_picture_that_could_not_be_had_has_an_empty_frame() -> None:
    shown = report({"Dog": 9}, sheet={"Dog": [Example("gone.jpg", 98.76, (), 400, 300, None)]})
    assert "img" not in shown.elements
    assert ("title", "gone.jpg") in shown.attributes
    assert "No picture" in shown.text


@pytest.mark.parametrize(
    "hostile",
    [
        pytest.param("</script><b>", id="script"),
        pytest.param("</style><img src=x onerror=alert(1)>", id="style"),
        pytest.param('"><b onclick=x>', id="attribute"),
        pytest.param("{{ 7 * 7 }}{% if x %}", id="template"),
    ],
)
def test_names_are_text_whatever_they_are(hostile: str) -> None:
    def shown(name: str) -> Page:
        pictures = {name: [Example(name, 98.7, (), 4, 3, b"jpeg"), Example(name, 98.7, (), 4, 3, None)]}
        before = [{"Old": 50, f"{name} old": 50}] * 7
        books = runs(run_id=name, problems=[name], state=name)
        models = (f"{name} 1", f"{name} 2")
        aliases = {"Old": name}
        return report({name: 50}, *before, models=models, aliases=aliases, books=books, sheet=pictures)

    plain, page = shown("plain"), shown(hostile)
    assert page.elements == plain.elements
    assert [name for name, _ in page.attributes] == [name for name, _ in plain.attributes]
    assert page.text.count(hostile) >= 8
    assert ("alt", f"{hostile}: 98.7%") in page.attributes


def test_the_page_fetches_nothing_and_runs_no_script(ordinary: Page) -> None:
    shown = ordinary
    assert not {"script", "link", "iframe", "a", "form"} & set(shown.elements)
    assert not {"href", "xlink:href", "srcset", "action"} & {name for name, _ in shown.attributes}
    assert not [name for name, _ in shown.attributes if name.startswith("on")]
    assert {value.split(",")[0] for name, value in shown.attributes if name == "src" and value} == {
        "data:image/jpeg;base64"
    }
    assert ("content", "default-src 'none'; img-src data:; style-src 'unsafe-inline'") in shown.attributes


def test_the_same_report_gives_the_same_bytes(sample: Sample) -> None:
    assert sample.html() == sample.html()
