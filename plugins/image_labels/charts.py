"""The chart of the most frequent labels, as SVG for a page and as a picture.

A chart is a Vega-Lite specification, plain data that vl-convert draws without a browser, the network or a script in the
page. Building it with Altair would take 140 MB of memory for a dozen dictionaries; Plotly, which the article uses,
needs a browser to draw a picture, and megabytes of script in each page.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from image_labels import vega

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    import pyarrow as pa

TOP = 15
"""Labels of a chart."""

TEXT, MUTED, BAR = "#1f2933", "#5b6875", "#2f6fae"
"""The colours of a picture, and of a page by daylight."""

FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
"""The first one lies in vl-convert, the others have its widths: what is laid out here fits in any browser."""

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"

LOOK: dict[str, Any] = {
    "aria": False,  # A table beside the chart says it in words.
    "font": FONT,
    "view": {"stroke": None},
    "bar": {"color": BAR},
    "text": {"color": TEXT, "fontSize": 13},
    "axis": {
        "domain": False,
        "ticks": False,
        "labelColor": TEXT,
        "labelFontSize": 13,
        "labelLimit": 170,
        "labelPadding": 8,
    },
    "title": {
        "anchor": "start",
        "color": TEXT,
        "subtitleColor": MUTED,
        "fontSize": 16,
        "subtitleFontSize": 13,
        "subtitlePadding": 6,
        "offset": 16,
    },
}


@dataclass(frozen=True)
class Bar:
    """A label of a ranking.

    :param images: with the label, at each threshold
    :param shares: of the images in scope, likewise
    """

    label: str
    images: tuple[int, ...]
    shares: tuple[float, ...]

    @property
    def numbers(self) -> str:
        """The images at the lowest threshold, such as ``1,204 · 31%``."""
        return f"{self.images[0]:,} · {percent(self.shares[0])}"

    @property
    def cells(self) -> list[tuple[int, float]]:
        """Images and share at each threshold."""
        return list(zip(self.images, self.shares, strict=True))


@dataclass(frozen=True)
class Ranking:
    """The most frequent labels of a scope, by their images at the lowest threshold.

    :param title: of the scope
    :param images: in the scope
    :param floors: the thresholds in percent, ascending
    """

    title: str
    images: int
    floors: tuple[float, ...]
    bars: tuple[Bar, ...]

    @property
    def subtitle(self) -> str:
        """How many images there are."""
        return plural(self.images, "image")


def rankings(frequencies: pa.Table, images_today: int, images: int) -> list[Ranking]:
    """Return the rankings of a report: of the day, and of the whole collection.

    :param frequencies: rows of :data:`image_labels.tables.LABEL_FREQUENCY`
    :param images_today: images of the day
    :param images: in the whole collection
    """
    return [
        _rank(frequencies, "day", "This day", images_today),
        _rank(frequencies, "all", "The whole collection", images),
    ]


def _rank(frequencies: pa.Table, scope: str, title: str, images: int) -> Ranking:
    import pyarrow as pa
    import pyarrow.compute as pc

    floors: tuple[Any, ...] = tuple(sorted(set[Any](frequencies["min_confidence"].to_pylist())))
    rows = frequencies.filter(pc.field("scope") == scope).select(["label", "min_confidence", "images", "share"])
    # The table has the most frequent labels of a threshold first.
    lowest = rows.filter(pc.field("min_confidence").isin(pa.array(floors[:1], pa.float64())))
    labels: list[Any] = lowest["label"].slice(0, TOP).to_pylist()
    shown = rows.filter(pc.field("label").isin(pa.array(labels, pa.string())))
    found = {(row["label"], row["min_confidence"]): (row["images"], row["share"]) for row in shown.to_pylist()}
    bars = []
    for label in labels:
        counts, shares = zip(*(found.get((label, floor), (0, 0.0)) for floor in floors), strict=True)
        bars.append(Bar(label, counts, shares))
    return Ranking(title, images, floors, tuple(bars))


@dataclass(frozen=True)
class Drawings:
    """A report's charts.

    :param svgs: of the rankings, in their order, for a page, which sets the colours
    :param png: all of them as a picture to be sent around, which says itself what it is
    """

    svgs: list[str]
    png: bytes


def draw(rankings: Sequence[Ranking], day: date) -> Drawings:
    """Draw the rankings of a report; their bars compare with one another.

    :param day: of the report
    :raises RuntimeError: if they cannot be drawn
    """
    most = max((bar.shares[0] for ranking in rankings for bar in ranking.bars), default=1.0)
    panels = [_panel(ranking, most) for ranking in rankings]
    titles = [{"title": {"text": ranking.title, "subtitle": ranking.subtitle}} for ranking in rankings]
    picture = {
        "$schema": SCHEMA,
        "title": {
            "text": f"Most frequent labels, {day}",
            "subtitle": _legend(rankings[0].floors),
            "fontSize": 24,
            "offset": 28,
        },
        "hconcat": [panel | title for panel, title in zip(panels, titles, strict=True)],
        "spacing": 56,
        "config": LOOK,
        "background": "white",
        "padding": 40,
    }
    bare = {"$schema": SCHEMA, "config": LOOK, "background": "transparent", "padding": 0}
    return Drawings(*vega.draw([bare | panel for panel in panels], picture))


def _legend(floors: Sequence[float]) -> str:
    """Return what the tones of a bar mean."""
    if not floors:
        return "No label reaches a threshold"
    tones = "From pale to deep: confidence of " if floors[1:] else "Confidence of "
    return f"{tones}{', '.join(f'{floor:g}' for floor in floors)}% or more"


def tones(floors: Sequence[float]) -> list[float]:
    """Return how much of the full colour each threshold's part of a bar has: from pale to deep in even steps."""
    pale = 0.3
    return [1 - (1 - pale) * place / max(len(floors) - 1, 1) for place in reversed(range(len(floors)))]


def percent(share: float) -> str:
    """Return a share in words: to the percent, and to the tenth of it below ten."""
    if 0 < share < 0.001:
        return "< 0.1%"
    return f"{share:.1%}" if 0 < share < 0.0995 else f"{share:.0%}"


def plural(number: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _panel(ranking: Ranking, most: float) -> dict[str, Any]:
    """Return the part of a specification that draws one ranking; labels are data in it, never an expression."""
    bars = [
        {"label": bar.label, "numbers": bar.numbers} | {f"share{i}": share for i, share in enumerate(bar.shares)}
        for bar in ranking.bars
    ]
    scale = {"domain": [0, most]}
    layers: list[dict[str, Any]] = [
        {
            # The images of a higher threshold are among those of a lower one, so its bar lies upon the other's and
            # adds to its tone, on light paper and on dark.
            "mark": {"type": "bar", "fillOpacity": 1 - (1 - tone) / (1 - below), "cornerRadiusEnd": 2},
            "encoding": {
                "x": {"field": f"share{i}", "type": "quantitative", "axis": None, "stack": None, "scale": scale}
            },
        }
        for i, (below, tone) in enumerate(pairwise([0.0, *tones(ranking.floors)]))
    ]
    numbers = {
        "mark": {"type": "text", "align": "left", "dx": 7},
        "encoding": {
            "x": {"field": "share0", "type": "quantitative", "axis": None},
            "text": {"field": "numbers", "type": "nominal"},
        },
    }
    return {
        "width": 310,
        "height": {"step": 25},
        "data": {"values": bars},
        "encoding": {
            "y": {"field": "label", "type": "nominal", "sort": None, "title": None, "scale": {"paddingInner": 0.24}}
        },
        "layer": [*layers, numbers] if bars else [numbers],
    }
