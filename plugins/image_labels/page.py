"""A report as one page to look at: no script, nothing from elsewhere, in light and in dark, and on paper.

The template escapes whatever it is given; the one thing that is put in as it is are the drawings of
:mod:`image_labels.charts`, whose texts vl-convert has escaped.
"""

from __future__ import annotations

import base64
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from image_labels import charts
from image_labels.changes import ENOUGH, WINDOW

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import date

    import pyarrow as pa

    from image_labels.contact_sheet import Example

NOTABLE = 4.0
"""Deviation from which a label is shown: of 1,000 labels chance takes two so far in a month."""

MOST_UNUSUAL, MOST_NAMED = 10, 24
"""Rows of the table, and labels of a list."""

COUNTED = {
    "seen": "files",
    "known": "known",
    "unsettled": "still changing",
    "new": "new",
    "uploaded": "uploaded",
    "unchanged": "there already",
    "carried": "left to the next run",
    "to_analyse": "to analyse",
    "called": "asked about",
    "reused": "answered before",
    "ingested": "stored",
    "quarantined": "in quarantine",
}
"""The columns of a run's books in words, in the order of the pipeline."""

Row = dict[str, Any]


def report_page(
    day: date,
    rankings: Sequence[charts.Ranking],
    svgs: Sequence[str],
    changes: pa.Table,
    runs: pa.Table,
    sheet: Mapping[str, Sequence[Example]],
    files: Mapping[str, tuple[str, int]],
) -> bytes:
    """Draw a report.

    :param rankings: of the day and of the whole collection
    :param svgs: the rankings as :func:`image_labels.charts.draw` draws them
    :param changes: rows of :data:`image_labels.tables.LABEL_CHANGES`
    :param runs: rows of :data:`image_labels.tables.RUNS`; those of other days are left out
    :param sheet: pictures by label
    :param files: address and number of rows of each table of the report, by its name
    :returns: HTML in UTF-8
    """
    from jinja2 import Environment

    template = Path(__file__).with_name("report_page.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    books = [row for row in runs.to_pylist() if row["day"] == day]
    floors = rankings[0].floors
    html = environment.from_string(template).render(
        title=long_date(day),
        day=day.isoformat(),
        colours={"text": charts.TEXT, "muted": charts.MUTED, "bar": charts.BAR},
        font=charts.FONT,
        figures=_figures(rankings, books),
        **_differences(changes, floors, day),
        thresholds=list(zip(floors, charts.tones(floors), strict=True)),
        charts=list(zip(rankings, svgs, strict=True)),
        percent=charts.percent,
        sheet=[(label, [_picture(example) for example in examples]) for label, examples in sheet.items()],
        runs=[row | {"steps": _steps(row)} for row in books],
        files=files,
    )
    return html.encode()


def long_date(day: date) -> str:
    """Return a day as people write it: 22 November 2026."""
    return f"{day.day} {day:%B %Y}"


def _figures(rankings: Sequence[charts.Ranking], books: Sequence[Row]) -> list[tuple[str, str]]:
    """Return the numbers at the head of the page with their names."""
    today, everything = rankings
    figures = [("Images of the day", f"{today.images:,}"), ("In the collection", f"{everything.images:,}")]
    for name, column, form in (
        ("In quarantine", "quarantined", "{:,}"),
        ("Calls of Rekognition", "called", "{:,}"),
        ("Spent", "spent_usd", "{:,.2f} USD"),
    ):
        known = [row[column] for row in books if row[column] is not None]
        if known:
            figures.append((name, form.format(sum(known))))
    return figures


def _differences(changes: pa.Table, floors: Sequence[float], day: date) -> dict[str, Any]:
    """Return what the page says of the day's changes, at the middle threshold."""
    import pyarrow.compute as pc

    floor = floors[len(floors) // 2] if floors else 0.0
    rows = changes.filter((pc.field("scope") == "day") & (pc.field("min_confidence") == floor)).to_pylist()
    renamed = [row for row in rows if row["now_called"]]
    named = [row for row in rows if not row["now_called"]]
    unusual = [row for row in named if abs(row["deviation"] or 0) >= NOTABLE]
    unusual.sort(key=lambda row: -abs(row["deviation"]))
    new = [(row["label"], f"{row['images']:,}") for row in named if row["status"] == "new"]
    gone = [row for row in named if row["status"] == "vanished" and row["median_share"]]
    gone.sort(key=lambda row: -row["median_share"])
    missing = [(row["label"], f"usually {charts.percent(row['median_share'])}") for row in gone]
    return {
        "compared": _compared(rows, floor, day, bool(unusual)),
        "model_change": _model_change(rows),
        "renamed": [f"{row['label']} is now called {row['now_called']}" for row in renamed],
        "unusual": _with_places(unusual[:MOST_UNUSUAL]),
        "lists": [
            (name, found[:MOST_NAMED], len(found[MOST_NAMED:]))
            for name, found in (("New labels", new), ("Missing labels", missing))
            if found
        ],
    }


def _compared(rows: Sequence[Row], floor: float, day: date, any_unusual: bool) -> str:
    """Return with what the day is compared, in a sentence or two."""
    if not rows:
        return "The day has no labels to compare."
    reports, last = rows[0]["reports"], rows[0]["last_report_date"]
    if not reports:
        return f"No report of the {WINDOW} days before has images to compare with."
    when = "the day before" if last == day - timedelta(days=1) else long_date(last)
    beside = f"beside {when} and the median of {charts.plural(reports, 'report')} of the last {WINDOW} days"
    if reports < ENOUGH:
        verdict = f"From {ENOUGH} reports on, this tells what is out of the ordinary."
    elif any_unusual:
        verdict = "These shares are out of the ordinary:"
    else:
        verdict = "No label's share is out of the ordinary."
    return f"At a confidence of {floor:g}% or more, {beside}. {verdict}"


def _model_change(rows: Iterable[Row]) -> tuple[str, str] | None:
    """Return the versions of the label model before and now, if they differ."""
    now: set[str] = set()
    before: set[str] = set()
    for row in rows:
        now.update(row["model_versions"])
        before.update(row["last_model_versions"] or ())
    if not now or not before or now == before:
        return None
    return ", ".join(sorted(before)), ", ".join(sorted(now))


def _with_places(rows: Sequence[Row]) -> list[Row]:
    """Add to rows where their shares lie on a common scale, in percent of its length."""
    scale = max((max(row["share"], row["median_share"]) for row in rows), default=1.0)

    def place(share: float) -> float:
        return round(share / scale * 100, 2)

    return [
        row
        | {"today_at": place(row["share"]), "usual_at": place(row["median_share"])}
        | {"deviation_words": f"{row['deviation']:+.1f}".replace("-", "−")}
        | {"points": f"{(row['share'] - row['median_share']) * 100:+.1f}".replace("-", "−")}
        for row in rows
    ]


def _steps(run: Row) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return a run's books by step: what is counted, and its number; without what is not known yet."""
    steps = (
        ("Landing place", ("seen", "known", "unsettled", "new")),
        ("Into S3", ("uploaded", "unchanged", "carried")),
        ("Analysis", ("to_analyse", "called", "reused")),
        ("Outcome", ("ingested", "quarantined")),
    )
    return [
        (step, [(COUNTED[name], f"{run[name]:,}") for name in names if run[name] is not None])
        for step, names in steps
        if any(run[name] is not None for name in names)
    ]


def _picture(example: Example) -> Row:
    aspect = example.width / example.height
    shown = min(max(aspect, 0.5), 2.5)
    sides = ("left", "top", "width", "height")
    return {
        "name": example.name,
        "confidence": f"{example.confidence:.1f}%",
        "aspect": round(shown, 3),
        # Of a panorama the middle is shown, where the places of the whole do not hold.
        "boxes": [{side: round(box[side] * 100, 2) for side in sides} for box in example.boxes if shown == aspect],
        "base64": base64.b64encode(example.jpeg).decode() if example.jpeg else "",
    }
