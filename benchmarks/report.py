"""A day's report of a large collection, beside what the database alone takes, and beside doing without it.

Documents have up to 20 labels each and lie on 365 days. *The database alone* answers the report's own aggregations over
all images, one after the other, each on one processor. A report has *all counted* where nothing was kept, two days at a
time; the *counts* of the next day are what remains of that where the day before was kept. *One replaced* is a new
picture under a key of the first day. *Labels only* are other ways: pymongo with pandas, and DuckDB over the collection
as JSON Lines, whose export comes on top. That all count the same is checked. Memory is that of a whole task process.
"""

from __future__ import annotations

import io
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import collection
from benchmarks.bench import bucket, database, measure, s3_client
from benchmarks.ingest import MIDNIGHT
from image_labels import documents, frequencies, indexes
from image_labels.layout import Layout
from image_labels.operators.report import ExportReportsOperator
from image_labels.reports import DayReport
from pipeline import PREFIX, Pipeline, Run

if TYPE_CHECKING:
    from benchmarks.bench import Bench, Measured, Row, Work

FLOORS = [50.0, 70.0, 90.0]
LAST, A_DAY = MIDNIGHT, timedelta(days=1)

COLUMNS = {
    "what": ("what", ""),
    "images": ("images", ",d"),
    "seconds": ("seconds", ".2f"),
    "ratio": ("of the database alone", ".2f"),
    "peak_mb": ("peak memory, MB", "d"),
    "goal": ("goal", ""),
    "met": ("met", ""),
}

Counts = dict[str, int]
"""Images of the whole collection by label, at the highest threshold."""


def run(bench: Bench) -> list[Row]:
    """Measure on one collection."""
    images = bench.size(20_000, 1_000_000)
    bench.folder.mkdir(parents=True, exist_ok=True)
    export = bench.folder / "images.jsonl"
    report = partial(measure, prepare_report, bench.folder)
    with bench.place():
        collection.fill(images, LAST)
        indexes.ensure(database()["images"], tuple(index for index in indexes.INDEXES if index[0] == "idx_day"))
        alone = measure(prepare_aggregation)
        done = {
            "the database alone": alone,
            "report, all counted": report(LAST - 2 * A_DAY),
            "counts, next day": measure(prepare_counts, LAST - A_DAY),
            "report, next day": report(LAST),
        }
        _check(alone.value, _published())
        done["report, nothing new"] = report(LAST)
        done["labels only: pymongo, pandas"] = measure(prepare_pandas)
        done["labels only: export as JSON Lines"] = measure(prepare_export, export)
        done["labels only: DuckDB over the export"] = measure(prepare_duckdb, export)
        for name in ("pymongo, pandas", "DuckDB over the export"):
            _check(alone.value, done[f"labels only: {name}"].value)
        measure(prepare_replacement)
        done["report, one replaced"] = report(LAST)
    goals = GOALS if bench.full else {}
    return [_row(what, images, of, of.seconds / alone.seconds, goals.get(what)) for what, of in done.items()]


GOALS = {
    "report, all counted": (1.2, 400),
    "counts, next day": (0.1, 400),
    "report, next day": (1.2, 400),
}
"""The most of the database alone, and of memory in MB. Of few images, the page alone takes longer."""


def _row(what: str, images: int, of: Measured, ratio: float, goal: tuple[float, int] | None) -> Row:
    row = {"what": what, "images": images, "seconds": of.seconds, "ratio": ratio, "peak_mb": of.peak_mb}
    if goal:
        most, megabytes = goal
        row |= {"goal": f"≤ {most:g}, ≤ {megabytes} MB", "met": ratio <= most and of.peak_mb <= megabytes}
    return row


def _check(expected: Counts, counts: Counts) -> None:
    if counts != expected:
        raise RuntimeError(f"Other counts than the database's: {counts} and {expected}")


def prepare_aggregation() -> Work:
    """Let the database count all images, labels and groups."""
    images = database()["images"]

    def work() -> Counts:
        cells = frequencies.count_labels(images, {}, FLOORS)
        frequencies.count_groups(images, {}, FLOORS, frequencies.renamed(cells))
        return _at_the_highest(cells.to_pylist())

    return work


def _at_the_highest(cells: list[dict[str, Any]]) -> Counts:
    counts: Counts = {}
    for cell in cells:
        if cell["floor"] == FLOORS[-1]:
            counts[cell["name"]] = counts.get(cell["name"], 0) + cell["images"]
    return counts


def prepare_report(folder: Path, day: datetime) -> Work:
    """Make the report of a day as its task does."""
    run = Run(Pipeline("", bucket(), folder), day.isoformat(), day.date().isoformat(), {})
    return lambda: run.execute(ExportReportsOperator, "report") and None


def prepare_counts(day: datetime) -> Work:
    """Count for the report of a day."""
    # The process holds what a task's does.
    from image_labels.operators import report  # noqa: F401

    of = DayReport(database()["images"], s3_client(), Layout(bucket(), PREFIX), day.date(), FLOORS)

    def work() -> None:
        with ThreadPoolExecutor(1) as pool:
            of._count(of._days(), False, pool)[1].result()

    return work


def _published() -> Counts:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    key = Layout(bucket(), PREFIX).report("label_frequency", LAST.date(), "label_frequency.parquet")
    table = pq.read_table(io.BytesIO(s3_client().get_object(Bucket=bucket(), Key=key)["Body"].read()))
    rows = table.filter((pc.field("scope") == "all") & (pc.field("min_confidence") == FLOORS[-1])).to_pylist()
    return {row["label"]: row["images"] for row in rows}


def prepare_replacement() -> Work:
    """Store another picture under a key of the first day, as ingest does."""

    def work() -> None:
        images = database()["images"]
        old = images.find_one({"logical_date": LAST - 364 * A_DAY})
        if old is None:
            raise RuntimeError("There is no document of the first day")
        documents.mark_changed(images, LAST)
        images.replace_one({"_id": old["_id"]}, old | {"Labels": [], "logical_date": LAST})

    return work


def prepare_pandas() -> Work:
    """Read all labels, and count images by label at each threshold."""
    import pandas as pd

    def work() -> Counts:
        found = database()["images"].find({}, {"Labels.Name": 1, "Labels.Confidence": 1})
        rows = (
            (document["_id"], label["Name"], label["Confidence"]) for document in found for label in document["Labels"]
        )
        frame = pd.DataFrame(rows, columns=["image", "label", "confidence"])
        counts = [frame[frame["confidence"] >= floor].groupby("label")["image"].nunique() for floor in FLOORS]
        return {str(label): int(images) for label, images in counts[-1].items()}

    return work


def prepare_export(file: Path) -> Work:
    """Write the collection as JSON Lines, names and confidences only."""

    def work() -> None:
        found = database()["images"].find({}, {"Labels.Name": 1, "Labels.Confidence": 1})
        with file.open("w") as out:
            for document in found:
                out.write(json.dumps(document, separators=(",", ":")) + "\n")

    return work


def prepare_duckdb(file: Path) -> Work:
    """Count images by label at each threshold."""
    import duckdb

    query = f"""
        WITH labels AS (SELECT _id, unnest(Labels) AS label FROM read_json('{file}', format='newline_delimited'))
        SELECT label.Name, {", ".join(f"count(DISTINCT _id) FILTER (label.Confidence >= {floor})" for floor in FLOORS)}
        FROM labels GROUP BY 1
    """

    def work() -> Counts:
        rows = duckdb.sql(query).fetchall()
        return {row[0]: row[-1] for row in rows if row[-1]}

    return work
