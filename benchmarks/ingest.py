"""Ingest beside what the driver can do with the same documents.

`ingest` gets result rows as they are read from S3, makes documents of them and stores them so that it may be repeated;
the raw ways get the documents ready made. Into an empty collection that is `insert_many`; where an earlier run has
stored all of them it is `bulk_write` with a `ReplaceOne` for each. Both take as many at once as `ingest`, and have all
indexes, as the pipeline's collection. Medians of several rounds, taken in turns in one process.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import bson
import pymongo

from benchmarks.bench import database, measure
from benchmarks.quota import DAY, NOW
from image_labels import indexes, jsonlines
from image_labels.documents import Settings, build
from image_labels.ingest import CHUNK, ingest
from rekognition import generator, labels

if TYPE_CHECKING:
    from pymongo.collection import Collection

    from benchmarks.bench import Bench, Row, Work

ROUNDS = 6
WHAT = ("new", "known")
LATER = "2026-03-02T00:00:00+00:00"
MIDNIGHT = datetime.combine(DAY, datetime.min.time(), tzinfo=UTC)

COLUMNS = {
    "what": ("what", ""),
    "documents": ("documents", ",d"),
    "mean_bytes": ("mean size, bytes", ",d"),
    "raw_per_s": ("raw, documents/s", ",.0f"),
    "ingest_per_s": ("ingest, documents/s", ",.0f"),
    "ratio": ("of raw", ".2f"),
    "goal": ("goal", ""),
    "met": ("met", ""),
}


def run(bench: Bench) -> list[Row]:
    """Measure new documents and known ones."""
    with bench.place():
        rows: list[Row] = measure(prepare, bench.size(5000, 20_000)).value
    return rows


def result_row(number: int, opened_at: str = NOW) -> Row:
    """Return the result row of an image that is nowhere.

    :param opened_at: when the run began that it is of
    """
    name = f"{number:07d}.jpg"
    found = labels.select(generator.generate(name.encode()), {"MinConfidence": 50, "MaxLabels": 100})
    return {
        "image": {
            "key": f"image-labels/images/{name}",
            "path": name,
            "img": name,
            "bucket": "bench",
            "etag": f"{number:032x}",
            "sha256": f"{number:064x}",
            "bytes": 2_500_000,
            "format": "JPEG",
            "width": 4000,
            "height": 3000,
            "taken_at": "2026-02-28T12:00:00",
            "camera": {"make": "Canon", "model": "Canon EOS R5"},
        },
        "answer": {"Labels": found, "LabelModelVersion": generator.VERSION},
        "analysis": {
            "at": NOW,
            "settings": Settings().as_dict(),
            "paid_by": "run",
            "dag_run": "run",
            "opened_at": opened_at,
        },
    }


def prepare(count: int) -> Work:
    """Make the rows of two runs, and the documents that come of them."""
    rows, later_rows = _rows(count, NOW), _rows(count, LATER)
    documents, later_documents = ([build(row, MIDNIGHT) for row in of] for of in (rows, later_rows))

    def raw_insert(images: Collection[dict[str, Any]]) -> None:
        for chunk in jsonlines.batched(documents, CHUNK):
            images.insert_many(chunk, ordered=False)

    def raw_replace(images: Collection[dict[str, Any]]) -> None:
        for chunk in jsonlines.batched(later_documents, CHUNK):
            images.bulk_write(
                [pymongo.ReplaceOne({"_id": one["_id"]}, one, upsert=True) for one in chunk], ordered=False
            )

    ways = {
        "raw": (raw_insert, raw_replace),
        "ingest": (lambda images: ingest(rows, images, MIDNIGHT), lambda images: ingest(later_rows, images, MIDNIGHT)),
    }

    def work() -> list[Row]:
        seconds: dict[str, list[float]] = {f"{way} {what}": [] for way in ways for what in WHAT}
        for turn in range(ROUNDS):
            # Who comes first has a disadvantage or an advantage, so each does.
            for way in sorted(ways, reverse=bool(turn % 2)):
                images = database()[f"{way}{turn}"]
                indexes.ensure(images)
                for what, act in zip(WHAT, ways[way], strict=True):
                    seconds[f"{way} {what}"].append(_seconds(act, images))
                if images.count_documents({"analysis.opened_at": datetime.fromisoformat(LATER)}) != count:
                    raise RuntimeError(f"Not all of the {count} documents were stored")
                images.drop()
        size = len(bson.encode({"all": documents})) // count
        return [
            _row(what, count, size, *(statistics.median(seconds[f"{way} {what}"]) for way in ("raw", "ingest")))
            for what in WHAT
        ]

    return work


def _rows(count: int, opened_at: str) -> list[Row]:
    # As they come out of a file: no two rows share anything.
    return [json.loads(json.dumps(result_row(number, opened_at))) for number in range(count)]


def _seconds(act: Callable[[Collection[dict[str, Any]]], None], images: Collection[dict[str, Any]]) -> float:
    began = time.perf_counter()
    act(images)
    return time.perf_counter() - began


def _row(what: str, count: int, size: int, raw: float, ours: float) -> Row:
    return {
        "what": what,
        "documents": count,
        "mean_bytes": size,
        "raw_per_s": count / raw,
        "ingest_per_s": count / ours,
        "ratio": raw / ours,
        "goal": "≥ 0.85",
        "met": raw / ours >= 0.85,
    }
