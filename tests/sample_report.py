"""A report of an ordinary day, as the tests of the page need it: four weeks of days before it, pictures, and books."""

from __future__ import annotations

import io
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image

from image_labels import changes, charts, page, tables
from image_labels.contact_sheet import SIDE, Example

DAY = date(2026, 11, 22)
THRESHOLDS = {50.0: 1.0, 70.0: 0.72, 90.0: 0.45}
"""And which part of a label's images reaches them."""

USUAL = {
    "Person": 0.46, "Outdoors": 0.38, "Nature": 0.33, "Clothing": 0.29, "Face": 0.24, "Building": 0.21, "Plant": 0.19,
    "Animal": 0.16, "City": 0.14, "Food": 0.13, "Furniture": 0.12, "Car": 0.11, "Sea": 0.1, "Dog": 0.08,
    "Mountain": 0.07, "Book": 0.05, "Cat": 0.04, "Bicycle": 0.03, "Boat": 0.03, "Motorcycle": 0.02, "Café": 0.01,
}  # fmt: skip


def frequencies(
    counts: Mapping[str, Mapping[str, int]],
    totals: Mapping[str, int],
    models: Iterable[str] = ("3.0",),
    thresholds: Mapping[float, float] = THRESHOLDS,
) -> pa.Table:
    """Return a label frequency table.

    :param counts: images with a label at the lowest threshold, by scope and label
    :param totals: images of each scope
    """
    rows = [
        {
            "scope": scope,
            "min_confidence": floor,
            "label": label,
            "images": round(images * part),
            "instances": 0,
            "share": round(images * part) / totals[scope],
            "mean_confidence": 90.0,
            "max_confidence": 99.0,
            "model_versions": sorted(models),
        }
        for scope, labels in counts.items()
        for label, images in labels.items()
        for floor, part in thresholds.items()
        if round(images * part)
    ]
    table = tables.LABEL_FREQUENCY
    return pa.Table.from_pylist(rows, schema=table.schema()).sort_by(table.sort_keys)


def runs(**columns: Any) -> pa.Table:
    """Return the books of one run."""
    row: dict[str, Any] = {
        "run_id": "scheduled__2026-11-22T00:00:00+00:00", "dag_id": "image_labels", "day": DAY, "state": "open",
        "opened_at": datetime(2026, 11, 23, tzinfo=UTC), "seen": 12874, "known": 12628, "unsettled": 2, "new": 244,
        "uploaded": 229, "unchanged": 11, "carried": 0, "to_analyse": 240, "called": 232, "reused": 8, "quarantined": 4,
        "ingested": 240, "spent_usd": 0.232, "problems": [],
    }  # fmt: skip
    return pa.Table.from_pylist([row | columns], schema=tables.RUNS.schema())


def thumbnail(photo: Path) -> bytes:
    with Image.open(photo) as image:
        small = image.convert("RGB")
        small.thumbnail((SIDE, SIDE))
        out = io.BytesIO()
        small.save(out, "JPEG")
    return out.getvalue()


def example(photo: Path, *boxes: tuple[float, float, float, float]) -> Example:
    with Image.open(photo) as image:
        width, height = image.size
    sides = ("left", "top", "width", "height")
    found = tuple(dict(zip(sides, box, strict=True)) for box in boxes)
    return Example(photo.name, 98.7, found, width, height, thumbnail(photo))


@dataclass(frozen=True)
class Sample:
    """What a report is drawn from."""

    rankings: list[charts.Ranking]
    changes: pa.Table
    runs: pa.Table
    sheet: Mapping[str, list[Example]]

    def html(self) -> bytes:
        svgs = charts.draw(self.rankings, DAY).svgs
        files = {
            "label_frequency": ("s3://photos/image-labels/reports/label_frequency/report_date=2026-11-22/", 128),
            "label_changes": ("s3://photos/image-labels/reports/label_changes/report_date=2026-11-22/", 131),
        }
        return page.report_page(DAY, self.rankings, svgs, self.changes, self.runs, self.sheet, files)


def ordinary_day(photos: Mapping[str, Path]) -> Sample:
    """A day on which somebody was at sea, after four weeks with a gap."""
    chance = random.Random(4)

    def day(images: int, usual: Mapping[str, float]) -> dict[str, int]:
        return {label: sum(chance.random() < share for _ in range(images)) for label, share in usual.items()}

    def collection(images: int) -> dict[str, int]:
        return {label: round(share * images) for label, share in USUAL.items()}

    before = [
        (
            DAY - timedelta(days=days),
            frequencies(
                {"day": day(size, USUAL), "all": collection(12_600 - days)}, {"day": size, "all": 12_600 - days}
            ),
        )
        for days in range(1, 29)
        if days not in (5, 6) and (size := chance.randrange(90, 400))
    ]
    unusual = USUAL | {"Sea": 0.31, "Boat": 0.2, "Face": 0.08, "Dog": 0.0, "Lighthouse": 0.03, "Seagull": 0.02}
    today = frequencies({"day": day(240, unusual), "all": collection(12_868)}, {"day": 240, "all": 12_868})
    broken = Example("IMG_0042.jpg", 91.2, (), 4, 3, None)
    woman, man, cat = photos["astronaut.png"], photos["camera.png"], photos["chelsea.png"]
    return Sample(
        rankings=charts.rankings(today, 240, 12_868),
        changes=changes.label_changes(today, before),
        runs=runs(),
        sheet={
            "Person": [
                example(woman, (0.25, 0.02, 0.62, 0.96)),
                example(man, (0.25, 0.1, 0.4, 0.85)),
            ],
            "Animal": [example(cat, (0.1, 0.05, 0.75, 0.95)), broken],
            "Building": [example(photos["china.jpg"], (0.05, 0.2, 0.9, 0.6)), example(photos["rocket.jpg"])],
            "Plant": [example(photos["flower.jpg"]), example(photos["coffee.png"]), example(photos["moon.png"])],
        },
    )
