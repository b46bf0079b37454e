"""Counts of the whole collection out of those of its days, which are kept.

A day's count stands while the day has the same mark and as many documents: who stores documents marks their day, and a
document that leaves a day is missing there. So only what has changed is counted again, whether pictures were replaced,
analysed anew, deleted or moved. What is kept in S3 is a short cut, never the truth: without it all is counted.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from image_labels import documents, frequencies, jsonlines

if TYPE_CHECKING:
    import pyarrow as pa
    from mypy_boto3_s3 import S3Client
    from pymongo.collection import Collection

    from image_labels.frequencies import Filter

VERSION = 1
"""Grows when cells are counted differently, so that what was kept before is not used."""

CONNECTIONS = 16
"""Days whose cells are fetched, and are in memory, together."""

COUNTED_TOGETHER = 2
"""Days that the database counts at once: each takes one of its processors, and readers need some, too."""

NOTHING: Filter = {"_id": {"$in": []}}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Day:
    """The documents of one day.

    :param key: ISO form of their ``logical_date``; empty for those that have none
    :param mark: differs when documents were stored
    :param images: how many there are
    """

    key: str
    mark: str
    images: int

    @property
    def filter(self) -> Filter:
        """The query for the documents."""
        return {"logical_date": datetime.fromisoformat(self.key) if self.key else None}


def days_until(collection: Collection[dict[str, Any]], day: datetime) -> list[Day]:
    """Return the days that have documents, up to one, in order; what has no day came before all."""
    marks = {day_key(day): mark for day, mark in documents.marks(collection).items()}
    # Two queries, for which the index is enough; one for both would read every document.
    stages: list[dict[str, Any]] = [
        {"$match": {"logical_date": {"$lte": day}}},
        {"$group": {"_id": "$logical_date", "images": {"$sum": 1}}},
    ]
    groups = {day_key(group["_id"]): group["images"] for group in collection.aggregate(stages)}
    if dayless := collection.count_documents({"logical_date": None}):
        groups[day_key(None)] = dayless
    return [Day(key, marks.get(key, ""), images) for key, images in sorted(groups.items())]


def day_key(logical_date: datetime | None) -> str:
    """Return the key of a day."""
    return logical_date.replace(tzinfo=UTC).isoformat() if logical_date else ""


@dataclass(frozen=True)
class Kept:
    """One kind of count, and what is kept of it in S3: cells, under a name that tells of which days as they were when.

    :param count: returns the cells of the documents that a query finds
    :param of: what the cells depend upon besides the documents; JSON
    :param folder: for what is kept, with a slash at its end
    """

    count: Callable[[Filter], pa.Table]
    of: Any
    s3: S3Client
    bucket: str
    folder: str

    def of_day(self, day: Day) -> pa.Table:
        """Return the cells of a day."""
        key = self._key([day])
        return self._read(key) if key in self._keys() else self._keep(key, self.count(day.filter))

    def of_all(self, days: list[Day]) -> pa.Table:
        """Return the cells of some days together.

        :param days: in order
        """
        # First, and in this thread: what Arrow imports when it is first used makes a crash of two at once.
        nothing = self.count(NOTHING)
        if not days:
            return nothing
        there = self._keys()
        totals = self._totals(days)
        known = max((number for number, key in enumerate(totals, 1) if key in there), default=0)
        left = {self._key([day]): day for day in days[known:]}
        missing = [key for key in left if key not in there]
        log.info("%s: %d days known together, %d by themselves, %d counted",
                 self.folder, known, len(left) - len(missing), len(missing))  # fmt: skip
        # Day by day, even if that is all of them: so each is there when another one changes.
        with ThreadPoolExecutor(COUNTED_TOGETHER) as pool:
            for some in jsonlines.batched(missing, CONNECTIONS):
                counted = pool.map(self.count, [left[key].filter for key in some])
                for key, cells in zip(some, counted, strict=True):
                    self._keep(key, cells)
        cells = self._read(totals[known - 1]) if known else nothing
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            for some in jsonlines.batched(left, CONNECTIONS):
                cells = frequencies.merge([cells, *map(_cells_of, pool.map(self._fetch, some))])
        return self._keep(totals[-1], cells)

    def forget(self) -> None:
        """Do away with what is kept, so that all is counted again."""
        jsonlines.delete(self.s3, self.bucket, list(self._keys()))

    def _keys(self) -> set[str]:
        return set(jsonlines.keys(self.s3, self.bucket, self.folder))

    def _totals(self, days: list[Day]) -> list[str]:
        """Return for each day the key of the cells of all days up to it."""
        digest = hashlib.sha256(json.dumps([VERSION, self.of]).encode())
        keys = []
        for day in days:
            digest.update(json.dumps([day.key, day.mark, day.images]).encode())
            keys.append(f"{self.folder}{digest.hexdigest()}.parquet")
        return keys

    def _key(self, days: list[Day]) -> str:
        return self._totals(days)[-1]

    def _read(self, key: str) -> pa.Table:
        return _cells_of(self._fetch(key))

    def _fetch(self, key: str) -> bytes:
        return self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def _keep(self, key: str, cells: pa.Table) -> pa.Table:
        import pyarrow.parquet as pq

        out = io.BytesIO()
        pq.write_table(cells, out, compression="zstd")
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=out.getvalue())
        return cells


def _cells_of(content: bytes) -> pa.Table:
    import pyarrow.parquet as pq

    return pq.ParquetFile(io.BytesIO(content)).read()
