from __future__ import annotations

import io
import sys
from xml.etree import ElementTree

import pytest
from PIL import Image

from image_labels import charts, vega
from sample_report import DAY, frequencies

SVG = "{http://www.w3.org/2000/svg}"


def ranking(*labels: str, thresholds: dict[float, float] | None = None, images: int = 1000) -> charts.Ranking:
    """Return the day's ranking of labels, the first of 900 images and each of the next one less."""
    counts = {label: 900 - number for number, label in enumerate(labels)}
    table = frequencies({"day": counts}, {"day": images}, thresholds=thresholds or {50.0: 1.0})
    return charts.rankings(table, images, images)[0]


def drawn(ranking: charts.Ranking) -> ElementTree.Element:
    return ElementTree.fromstring(charts.draw([ranking], DAY).svgs[0])


def texts(svg: ElementTree.Element) -> list[str]:
    return [text.text or "" for text in svg.iter(f"{SVG}text")]


def bars(svg: ElementTree.Element) -> list[list[ElementTree.Element]]:
    """Return the bars of each threshold."""
    return [group.findall(f"{SVG}path") for group in svg.iter(f"{SVG}g") if "mark-rect" in (group.get("class") or "")]


def test_labels_are_ranked_at_the_lowest_threshold_with_their_numbers_at_each() -> None:
    table = frequencies(
        {"day": {"Dog": 8}, "all": {"Cat": 30, "Car": 40, "Ant": 30}},
        {"day": 10, "all": 100},
        thresholds={50.0: 1.0, 92.5: 0.5},
    )
    day, everything = charts.rankings(table, 10, 100)
    assert everything.floors == (50.0, 92.5)
    assert [bar.label for bar in everything.bars] == ["Car", "Ant", "Cat"]
    assert [bar.images for bar in everything.bars] == [(40, 20), (30, 15), (30, 15)]
    assert [(bar.label, bar.cells) for bar in day.bars] == [("Dog", [(8, 0.8), (4, 0.4)])]


def test_a_label_that_does_not_reach_a_threshold_has_no_image_there() -> None:
    (rare, *_) = ranking("Yak", thresholds={50.0: 0.001, 90.0: 0.0}).bars
    assert rare.images == (1,)
    table = frequencies({"day": {"Dog": 8, "Yak": 1}}, {"day": 10}, thresholds={50.0: 1.0, 90.0: 0.4})
    assert charts.rankings(table, 10, 10)[0].bars[1].images == (1, 0)


def test_only_the_first_labels_are_drawn() -> None:
    names = [f"Label {number:02}" for number in range(charts.TOP + 1)]
    assert [text for text in texts(drawn(ranking(*names))) if text.startswith("Label")] == names[: charts.TOP]


def test_each_threshold_has_its_bars_and_they_lie_upon_those_of_the_lower_one() -> None:
    groups = bars(drawn(ranking("Cat", "Dog", thresholds={50.0: 1.0, 70.0: 0.8, 90.0: 0.5})))
    assert [len(group) for group in groups] == [2, 2, 2]
    seen_through = 1.0
    for (first, _), tone in zip(groups, charts.tones([50, 70, 90]), strict=True):
        seen_through *= 1 - float(first.get("fill-opacity", 1))
        assert 1 - seen_through == pytest.approx(tone)


@pytest.mark.parametrize("number", [0, 1, 2, 5])
def test_tones_go_from_pale_to_the_full_colour(number: int) -> None:
    tones = charts.tones(range(number))
    assert tones == sorted(set(tones))
    assert not tones or tones[-1] == 1.0


@pytest.mark.parametrize(
    "label",
    [
        pytest.param("</script><b>", id="script"),
        pytest.param("</text></svg><style>*{display:none}</style>", id="svg"),
        pytest.param("\"><b onclick='x'>", id="attribute"),
        pytest.param("datum.images + 1", id="expression"),
        pytest.param("ÅÄÖ & 猫", id="letters"),
    ],
)
def test_a_label_is_text_whatever_it_is_called(label: str) -> None:
    plain, drawing = drawn(ranking("Person")), drawn(ranking(label))
    assert [element.tag for element in drawing.iter()] == [element.tag for element in plain.iter()]
    # What is too long to be shown is cut.
    assert texts(drawing)[0].rstrip("…") in label


@pytest.mark.parametrize(
    ("share", "words"),
    [(0, "0%"), (0.0004, "< 0.1%"), (0.031, "3.1%"), (0.099, "9.9%"), (0.0999, "10%"), (0.314, "31%"), (1, "100%")],
)
def test_a_share_in_words(share: float, words: str) -> None:
    assert charts.percent(share) == words


def picture(*rankings: charts.Ranking) -> Image.Image:
    return Image.open(io.BytesIO(charts.draw(rankings, DAY).png))


def test_the_picture_has_the_rankings_beside_one_another() -> None:
    one, two = picture(ranking("Person")), picture(ranking("Person"), ranking("Person"))
    assert one.format == "PNG"
    assert one.height == two.height
    assert one.width < two.width


def test_a_report_without_labels_can_be_drawn() -> None:
    rankings = charts.rankings(frequencies({}, {}), 0, 0)
    assert [(ranking.floors, ranking.bars) for ranking in rankings] == [((), ()), ((), ())]
    assert picture(*rankings).width > 100
    assert texts(drawn(rankings[0])) == []


def test_a_day_without_labels_lies_beside_a_collection_with_some() -> None:
    table = frequencies({"all": {"Person": 3}}, {"all": 9})
    assert picture(*charts.rankings(table, 0, 9)).width > 100


def test_the_same_report_gives_the_same_bytes() -> None:
    assert charts.draw([ranking("Person")], DAY) == charts.draw([ranking("Person")], DAY)


def test_what_cannot_be_drawn_is_told() -> None:
    with pytest.raises(RuntimeError, match=r"could not be drawn(?s:.)*Vega-Lite to SVG conversion failed"):
        vega.draw([{"mark": "no chart"}], {})


def test_drawing_leaves_nothing_in_the_worker() -> None:
    charts.draw([ranking("Person")], DAY)
    assert "vl_convert" not in sys.modules
