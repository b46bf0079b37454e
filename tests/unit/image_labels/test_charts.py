from __future__ import annotations

import io
from datetime import date
from html.parser import HTMLParser

import pyarrow as pa
import pytest
from PIL import Image

from image_labels import charts, frequencies

DAY = date(2026, 11, 22)


class Page(HTMLParser):
    """What a browser would make of a page: elements, attributes, and texts outside of the style sheet."""

    def __init__(self, chart: charts.Chart) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(chart.html.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        if data.strip() and self.elements[-1] != "style":
            self.texts.append(data)


def table(*rows: tuple[str, float, str, int]) -> pa.Table:
    """Rows of scope, threshold, label and images; of ten images in all."""
    return pa.Table.from_pylist(
        [
            {
                "scope": scope,
                "min_confidence": floor,
                "label": label,
                "images": images,
                "instances": 0,
                "share": images / 1000,
                "mean_confidence": 95.0,
                "max_confidence": 99.0,
                "model_versions": [],
            }
            for scope, floor, label, images in rows
        ],
        schema=frequencies.schema(),
    )


def picture(chart: charts.Chart) -> Image.Image:
    return Image.open(io.BytesIO(chart.png))


def test_each_threshold_has_its_labels_with_numbers() -> None:
    page = Page(
        charts.label_chart(
            table(("all", 50.0, "Car", 900), ("all", 50.0, "Dog", 9), ("all", 92.5, "Dog", 8), ("day", 50.0, "Cat", 7)),
            DAY,
            1000,
        )
    )
    for text in ("Most frequent labels in 1,000 images", "Confidence 50% or more", "Confidence 92.5% or more"):
        assert text in page.texts
    assert [text for text in page.texts if text in ("Car", "Dog", "Cat")] == ["Car", "Dog", "Dog"]
    assert any("2026-11-22" in text for text in page.texts)
    alternatives = [value for name, value in page.attributes if name == "aria-label"]
    assert alternatives == ["Car 900 · 90%, Dog 9 · < 1%", "Dog 8 · < 1%"]


def test_only_the_first_labels_are_shown() -> None:
    rows = [("all", 50.0, f"Label {number}", 100 - number) for number in range(charts.TOP + 1)]
    shown = [text for text in Page(charts.label_chart(table(*rows), DAY, 1000)).texts if text.startswith("Label")]
    assert shown == [f"Label {number}" for number in range(charts.TOP)]


@pytest.mark.parametrize(
    "label",
    [
        pytest.param("</script><img src=x onerror=alert(1)>", id="script"),
        pytest.param("</svg></style><script>alert(1)</script>", id="svg"),
        pytest.param("\"><b onclick='x'>", id="attribute"),
        pytest.param("R&B $title ${figures} {x}", id="template"),
    ],
)
def test_a_label_is_text_whatever_it_is_called(label: str) -> None:
    plain = Page(charts.label_chart(table(("all", 50.0, "Person", 7)), DAY, 10))
    page = Page(charts.label_chart(table(("all", 50.0, label, 7)), DAY, 10))
    assert page.elements == plain.elements
    assert [name for name, _ in page.attributes] == [name for name, _ in plain.attributes]
    assert ("aria-label", f"{label} 7 · < 1%") in page.attributes


def test_the_page_fetches_nothing_and_runs_no_script() -> None:
    page = Page(charts.label_chart(table(("all", 50.0, "Person", 7)), DAY, 10))
    assert not {"script", "link", "img", "iframe"} & set(page.elements)
    assert not {"src", "href", "xlink:href"} & {name for name, _ in page.attributes}
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in page.attributes


def test_the_page_knows_light_and_dark() -> None:
    assert b"prefers-color-scheme: dark" in charts.label_chart(table(), DAY, 0).html


def test_the_picture_grows_with_the_thresholds() -> None:
    one = picture(charts.label_chart(table(("all", 50.0, "Person", 7)), DAY, 10))
    two = picture(charts.label_chart(table(("all", 50.0, "Person", 7), ("all", 70.0, "Person", 6)), DAY, 10))
    assert one.format == "PNG"
    assert one.height == two.height
    assert one.width < two.width


def test_a_report_without_labels_says_so() -> None:
    chart = charts.label_chart(table(("day", 50.0, "Person", 1)), DAY, 1)
    assert Page(chart).texts == [
        "No labels in 1 image",
        "No labels in 1 image",
        "Nothing reaches a threshold · Report of 2026-11-22",
    ]
    assert picture(chart).width > 100


def test_the_same_report_gives_the_same_bytes() -> None:
    rows = table(("all", 50.0, "Person", 7))
    assert charts.label_chart(rows, DAY, 10) == charts.label_chart(rows, DAY, 10)
