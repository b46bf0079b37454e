"""A large collection for what is measured on it, filled as fast as the database takes it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import bson
from bson.raw_bson import RawBSONDocument
from pymongo import WriteConcern

from benchmarks.bench import database, measure_together
from benchmarks.ingest import result_row
from image_labels import documents, jsonlines

if TYPE_CHECKING:
    from benchmarks.bench import Work

ANSWERS = 20_000
LABELS = 20
DAYS = 365
PROCESSES = 2


def fill(count: int, last: datetime) -> None:
    """Store documents, as many on each day of a year, and mark the days as ingest does.

    They have up to :data:`LABELS` labels each, drawn from :data:`ANSWERS` answers of the stand-in's generator. There
    are no indexes: to make them afterwards takes far less time.

    :param last: the last day
    """
    measure_together(_prepare, [(part, count, last) for part in range(PROCESSES)])
    for days in range(DAYS):
        documents.mark_changed(database()["images"], last - timedelta(days=days))


def _prepare(part: int, count: int, last: datetime) -> Work:
    # Not to be kept through a crash.
    images = database().get_collection("images", write_concern=WriteConcern(1, j=False))

    def work() -> None:
        for chunk in jsonlines.batched(_encoded(part, count, last), 1000):
            images.insert_many(chunk, ordered=False)

    return work


def _encoded(part: int, count: int, last: datetime) -> Iterator[RawBSONDocument]:
    """Yield the documents of one process, with answers that come again and again but everything else their own."""
    draw = random.Random(part)
    answers = [_answer(draw, number, last) for number in range(part, min(count, ANSWERS), PROCESSES)]
    for number in range(part, count, PROCESSES):
        own = {
            "_id": f"image-labels/images/{number // 1000:04d}/{number % 1000:03d}.jpg",
            "sha256": f"{number:064x}",
            "logical_date": last - timedelta(days=number * DAYS // count),
        }
        # Four bytes with the length, the fields, a zero.
        fields = bson.encode(own)[4:-1] + draw.choice(answers)
        yield RawBSONDocument((len(fields) + 4).to_bytes(4, "little") + fields)


def _answer(draw: random.Random, number: int, day: datetime) -> bytes:
    """Return what documents with the same answer share, as BSON without its length."""
    row = result_row(number)
    labels = row["answer"]["Labels"]
    row["answer"]["Labels"] = draw.sample(labels, min(LABELS, len(labels)))
    document = documents.build(row, day)
    return bson.encode({name: document[name] for name in document.keys() - {"_id", "sha256", "logical_date"}})[4:]
