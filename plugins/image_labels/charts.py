"""The chart of the most frequent labels: a page for the browser, and a picture.

Both are drawn without a browser or the network, and need nothing from elsewhere to be looked at.
"""

from __future__ import annotations

import html
import io
from dataclasses import dataclass
from itertools import groupby, islice
from operator import itemgetter
from string import Template
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import date

    import altair as alt
    import pyarrow as pa

TOP = 15
"""Labels shown for each threshold."""

TEXT, MUTED, BAR = "#1f2933", "#5b6875", "#2f78b7"

FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
"""The first one lies in vl-convert, the others have its widths: what is laid out here fits in any browser."""

LOOK: dict[str, Any] = {
    "aria": False,  # The alternative text says it in one sentence.
    "font": FONT,
    "view": {"stroke": None},
    "bar": {"color": BAR},
    "text": {"color": TEXT, "fontSize": 14},
    "axis": {
        "domain": False,
        "ticks": False,
        "labelColor": TEXT,
        "labelFontSize": 14,
        "labelLimit": 230,
        "labelPadding": 8,
    },
    "title": {"anchor": "start", "color": TEXT, "fontSize": 15, "offset": 12, "subtitleColor": MUTED},
}

# Static SVG in place of Vega's script is a tenth of the size and prints well, and the policy in the head lets no
# script run, whatever a label is called. The page's colours, for light and dark, overrule those of the SVG.
PAGE = Template("""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>$title</title>
<style>
:root { color-scheme: light dark; --text: $text; --muted: $muted; --paper: white; --bar: $bar; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e4e7eb; --muted: #9aa5b1; --paper: #14181d; --bar: #5b9bd5; }
}
body { margin: 0 auto; max-width: 88rem; padding: clamp(1.25rem, 4vw, 3.5rem);
       color: var(--text); background: var(--paper); font: 1rem/1.5 $font; }
h1 { margin: 0; font-size: 1.75rem; line-height: 1.25; }
p { margin: .4rem 0 0; color: var(--muted); }
main { display: flex; flex-wrap: wrap; gap: 2.5rem 3rem; margin-top: 2.5rem; }
figure { margin: 0; break-inside: avoid; }
figcaption { margin-bottom: .75rem; font-weight: bold; }
svg { display: block; max-width: 100%; height: auto; }
svg text { fill: var(--text); }
svg .mark-rect path { fill: var(--bar); }
@media print { body { padding: 0; } main { zoom: .62; } }
</style>
</head>
<body>
<header>
<h1>$title</h1>
<p>$subtitle</p>
</header>
<main>
$figures
</main>
</body>
</html>
""")


@dataclass(frozen=True)
class Chart:
    """One chart as a page (UTF-8) and as a picture."""

    html: bytes
    png: bytes


def label_chart(table: pa.Table, report_date: date, images: int) -> Chart:
    """Draw the labels that the most images of the whole collection have, for each threshold.

    :param table: of :func:`image_labels.frequencies.schema`, sorted as there
    :param images: in the whole collection
    """
    import altair as alt

    top = _top(table)
    title = f"{'Most frequent' if top else 'No'} labels in {images:,} image{'' if images == 1 else 's'}"
    message = "Images with the label, and their share of the collection" if top else "Nothing reaches a threshold"
    subtitle = f"{message} · Report of {report_date}"
    most = max((rows[0]["images"] for rows in top.values()), default=0)
    panels = {f"Confidence {floor:g}% or more": (_panel(rows, most), rows) for floor, rows in top.items()}
    figures = "\n".join(_figure(caption, panel, rows) for caption, (panel, rows) in panels.items())
    page = PAGE.substitute(title=title, subtitle=subtitle, figures=figures, font=FONT, text=TEXT, muted=MUTED, bar=BAR)
    png = io.BytesIO()
    alt.concat(
        *(panel.properties(title=caption) for caption, (panel, _) in panels.items()),
        columns=3,
        spacing=48,
        title=alt.Title(title, subtitle=subtitle, fontSize=24, subtitleFontSize=15, offset=28),
    ).configure(**LOOK, background="white", padding=40).save(png, format="png", scale_factor=2)
    return Chart(html=page.encode(), png=png.getvalue())


def _top(table: pa.Table) -> dict[float, list[dict[str, Any]]]:
    """Return the first rows of each threshold for the whole collection."""
    rows = (row for row in table.to_pylist() if row["scope"] == "all")
    return {floor: list(islice(group, TOP)) for floor, group in groupby(rows, itemgetter("min_confidence"))}


def _panel(rows: list[dict[str, Any]], most: int) -> alt.LayerChart:
    """Return the bars of one threshold.

    :param most: images of the longest bar of all panels, so that bars compare across them
    """
    import altair as alt

    bars = [{"label": row["label"], "images": row["images"], "numbers": _numbers(row)} for row in rows]
    base = alt.Chart(alt.InlineData(values=bars), width=190, height=alt.Step(27)).encode(
        x=alt.X("images:Q", axis=None, stack=None, scale=alt.Scale(domain=[0, most])),
        y=alt.Y("label:N", sort=None, title=None, scale=alt.Scale(paddingInner=0.2)),
    )
    panel: alt.LayerChart = base.mark_bar(cornerRadiusEnd=2) + base.mark_text(align="left", dx=7).encode(
        text="numbers:N"
    )
    return panel


def _numbers(row: dict[str, Any]) -> str:
    return f"{row['images']:,} · " + (f"{row['share']:.0%}" if row["share"] >= 0.01 else "< 1%")


def _figure(caption: str, panel: alt.LayerChart, rows: list[dict[str, Any]]) -> str:
    description = html.escape(", ".join(f"{row['label']} {_numbers(row)}" for row in rows))
    out = io.StringIO()
    panel.configure(**LOOK, background="transparent", padding=0).save(out, format="svg")
    drawing = out.getvalue().replace("<svg ", f'<svg role="img" aria-label="{description}" ', 1)
    return f"<figure>\n<figcaption>{caption}</figcaption>\n{drawing}\n</figure>"
