"""From pictures in S3 to documents: the pipeline, a plain thread pool and a loop, on the same pictures.

The loop is the usual notebook's: `detect_labels`, `insert_one`, the next picture. The thread pool does the same with 32
threads and boto3's own retries, but knows nothing of the quota: what it loses are the pictures that boto3 gave up on.
The loop only does as many of the pictures as its row says, for it is slow. The pipeline's time is that of the tasks
`analyse` and `ingest` of one batch.
"""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from benchmarks.bench import bucket, database, measure, s3_client
from benchmarks.quota import DAY, make_batch, write_manifest
from image_labels import indexes, jsonlines
from image_labels.ingest import ingest
from image_labels.layout import Layout, RunLayout

if TYPE_CHECKING:
    from benchmarks.bench import Bench, Row, Work

QUOTA = 50
LATENCY = 0.4
THREADS = 32

COLUMNS = {
    "way": ("way", ""),
    "images": ("images", ",d"),
    "seconds": ("seconds", ".1f"),
    "rate": ("documents/s", ".1f"),
    "times_loop": ("times the loop", ".1f"),
    "throttled": ("throttled calls", ".1%"),
    "lost": ("images lost", ",d"),
    "cpu_per_1000": ("CPU s per 1,000 images", ".1f"),
}


def run(bench: Bench) -> list[Row]:
    """Measure the three ways at 50 calls a second and 400 ms."""
    images = bench.size(600, 5000)
    ways = {
        "loop": (prepare_loop, bench.size(40, 250)),
        f"{THREADS} threads": (prepare_pool, images),
        "pipeline": (prepare_pipeline, images),
    }
    rows: list[Row] = []
    for way, (prepare, count) in ways.items():
        with bench.place() as name:
            run = Layout(name, "image-labels").run(DAY, uuid.uuid4().hex)
            indexes.ensure(database()["images"], (indexes.CONTENT_INDEX,))
            write_manifest(run, 0, count)
            bench.set_stand_in(tps=QUOTA, latency=LATENCY)
            done = measure(prepare, run)
            counts = bench.stand_in_counts()
            stored = database()["images"].estimated_document_count()
            rate = stored / done.seconds
            rows.append(
                {
                    "way": way,
                    "images": count,
                    "seconds": done.seconds,
                    "rate": rate,
                    "times_loop": rate / (rows[0]["rate"] if rows else rate),
                    "throttled": counts["throttles"] / counts["calls"],
                    "lost": count - stored,
                    "cpu_per_1000": 1000 * done.cpu_seconds / count,
                }
            )
    return rows


def prepare_loop(run: RunLayout) -> Work:
    """Do what the notebook does."""
    keys = _keys(run)
    rekognition = boto3.client("rekognition")
    images = database()["images"]

    def work() -> None:
        for key in keys:
            images.insert_one(_document(rekognition, key))

    return work


def prepare_pool(run: RunLayout) -> Work:
    """Do the same in threads."""
    keys = _keys(run)
    rekognition = boto3.client("rekognition", config=Config(max_pool_connections=THREADS))
    images = database()["images"]

    def one(key: str) -> None:
        try:
            images.insert_one(_document(rekognition, key))
        except ClientError:
            return

    def work() -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(one, keys))

    return work


def prepare_pipeline(run: RunLayout) -> Work:
    """Do what the tasks of a batch do."""
    batch = make_batch(run, 0, QUOTA)

    def work() -> None:
        batch.analyse()
        rows = jsonlines.read(batch.s3, run.layout.bucket, run.result(0))
        ingest(rows, batch.collection, datetime.combine(DAY, datetime.min.time(), tzinfo=UTC))

    return work


def _keys(run: RunLayout) -> list[str]:
    return [entry["key"] for entry in jsonlines.read(s3_client(), run.layout.bucket, run.manifest(0))]


def _document(rekognition: Any, key: str) -> Row:
    answer = rekognition.detect_labels(
        Image={"S3Object": {"Bucket": bucket(), "Name": key}}, MinConfidence=50, MaxLabels=100
    )
    return {"img": key.split("/")[-1], "Labels": answer["Labels"]}
