"""The README's examples of reading a report, run as they stand against a report in S3."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow.dataset as ds
import pytest

from image_labels.layout import Layout
from image_labels.reports import DayReport

if TYPE_CHECKING:
    from pymongo.collection import Collection

    from servers import Site

PROJECT = Path(__file__).resolve().parents[2]
DAY = datetime(2026, 11, 22, tzinfo=UTC)
"""Of which the README speaks."""


def examples(language: str) -> list[str]:
    """Return the README's blocks of a language about reports."""
    section = re.search(r"^## Reading the reports\n(.*?)^## ", (PROJECT / "README.md").read_text("utf-8"), re.M | re.S)
    assert section
    return re.findall(rf"^```{language}\n(.*?)^```", section[1], re.M | re.S)


def an_image(day: datetime, number: int, label: str) -> dict[str, Any]:
    """Return a document."""
    key = f"image-labels/images/{day:%d}-{number}.jpg"
    labels = [{"Name": label, "Confidence": 95.0}]
    return {"_id": key, "sha256": key, "Labels": labels, "LabelModelVersion": "3.0", "logical_date": day}


@pytest.fixture
def environment(site: Site, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``. .local/env`` brings."""
    for name, value in (site.exports() | {"IMAGE_LABELS_BUCKET": bucket}).items():
        monkeypatch.setenv(name, value)


def test_the_examples_show_what_is_in_the_reports(
    environment: None, s3: Any, bucket: str, collection: Collection[dict[str, Any]], site: Site
) -> None:
    layout = Layout(bucket, site.exports()["IMAGE_LABELS_PREFIX"])
    for age in reversed(range(8)):
        day = DAY - timedelta(days=age)
        collection.insert_many(
            an_image(day, number, "Person" if number < (20 if age else 2) else "Dog") for number in range(40)
        )
        DayReport(collection, s3, layout, day.date(), [50, 70, 90]).make([])

    names: dict[str, Any] = {}
    for example in examples("python"):
        exec(example, names)
    assert names["top"][["label", "images"]].values.tolist() == [["Dog", 178], ["Person", 142]]
    unusual = {(str(day), label, images) for day, label, images, *_ in names["unusual"].fetchall()}
    assert unusual == {("2026-11-22", "Dog", 38), ("2026-11-22", "Person", 2)}

    (athena,) = examples("sql")
    frequencies = ds.dataset(f"{names['reports']}/label_frequency", filesystem=names["s3"], partitioning="hive")
    with duckdb.connect() as connection:
        rows = connection.register("label_frequency", frequencies).sql(athena).fetchall()
    assert [(str(day), images, share) for day, images, share in rows][-2:] == [
        ("2026-11-21", 20, 0.5),
        ("2026-11-22", 2, 0.05),
    ]
