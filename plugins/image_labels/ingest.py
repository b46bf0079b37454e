"""From the raw answers in S3 into the collection."""

from __future__ import annotations

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING

from image_labels import jsonlines
from image_labels.documents import Document, Row, build, mark_changed, upsert

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mypy_boto3_s3 import S3Client
    from pymongo.collection import Collection

    from image_labels.layout import Layout, RunLayout


log = logging.getLogger(__name__)

CHUNK = 1000
"""Documents that go to the database at once."""


def ingest(rows: Iterable[Row], collection: Collection[Document], logical_date: datetime) -> int:
    """Store the documents of result rows; rows of refused images are left out.

    :param logical_date: midnight UTC of the run's day
    :returns: how many documents
    """
    count = 0
    documents = (build(row, logical_date) for row in rows if "answer" in row)
    # The next documents are built while the database stores the ones before.
    with ThreadPoolExecutor(1, thread_name_prefix="ingest") as pool:
        storing: Future[None] | None = None
        for chunk in jsonlines.batched(documents, CHUNK):
            if storing:
                storing.result()
            else:
                mark_changed(collection, logical_date)
            storing = pool.submit(upsert, collection, chunk)
            count += len(chunk)
        if storing:
            storing.result()
            # Again: who counted meanwhile has not seen all.
            mark_changed(collection, logical_date)
    return count


OPEN, FAILED, BALANCED, RECOVERED = "open", "failed", "balanced", "recovered"
"""States of a run in the ``runs`` collection."""


def recover(runs: Collection[Document], images: Collection[Document], s3: S3Client, layout: Layout, run_id: str) -> int:
    """Store what runs were answered but did not come to store, so that nothing of it is asked again.

    Among them is the run at work, if it has been cleared: its batches may hold other images now.

    :param runs: collection of the books
    :param images: collection of the documents
    :param run_id: of the run that is at work
    :returns: how many documents
    """
    count = 0
    # Entries of before they had a place have none.
    here = {"$in": [layout.place, None]}
    for run in runs.find({"state": {"$in": [OPEN, FAILED]}, "place": here}):
        of = layout.run(run["logical_date"].date(), run["_id"])
        count += store_answers(of, of.results, images, s3)
        runs.update_one({"_id": run["_id"]}, {"$set": {"state": RECOVERED, "recovered_by": run_id}})
    return count


def rebuild(images: Collection[Document], s3: S3Client, layout: Layout) -> int:
    """Store the documents of all raw answers that S3 holds.

    :param images: collection of the documents
    :returns: how many documents; an image that came again counts again
    """
    count = 0
    for partition in jsonlines.folders(s3, layout.bucket, layout.results):
        day = date.fromisoformat(partition.rstrip("/").rpartition("ds=")[2])
        for folder in jsonlines.folders(s3, layout.bucket, partition):
            run = layout.run(day, folder.rstrip("/").rpartition("/")[2])
            count += store_answers(run, run.results, images, s3)
            log.info("%s of %s stored; %d documents so far", run.run_id, day, count)
    return count


def store_answers(run: RunLayout, beginning: str, images: Collection[Document], s3: S3Client) -> int:
    """Store all that a run was answered, checkpoints of unfinished batches included.

    :param beginning: of the keys of the answers: :attr:`RunLayout.results`, or :meth:`RunLayout.answers` for a batch's
    :param images: collection of the documents
    :returns: how many documents
    """
    logical_date = datetime.combine(run.day, time(), tzinfo=UTC)
    bucket = run.layout.bucket
    return sum(
        ingest(jsonlines.read_if_there(s3, bucket, key), images, logical_date)
        for key in jsonlines.keys(s3, bucket, beginning)
    )
