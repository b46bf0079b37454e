"""The share of Rekognition's quota that is used, and what that takes.

Processes share one quota, each with one batch after the other, as many and of the sizes that the DAG makes them. The
share counts from the first call that reaches the stand-in to the last one, so the service's ramp after a pause (half of
the quota, growing for a second) is part of what is missing.
Memory is that of a whole task process with Airflow in it. Each batch has one, as in the DAG, but the seconds in which
Airflow starts it are not in here.
"""

from __future__ import annotations

import hashlib
import uuid
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.bench import apart, database, measure_together, s3_client
from image_labels import analysis, indexes, jsonlines
from image_labels.documents import Settings
from image_labels.hooks.rekognition import RekognitionHook
from image_labels.layout import Layout, RunLayout
from image_labels.limiter import SharedRate
from image_labels.sensors.new_images import batch_size, growing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.bench import Bench, Row, Work

DAY = date(2026, 3, 1)
BATCH = 500
AT_ONCE = 4
"""Batches, as in the DAG."""

NOW = "2026-03-01T00:00:00+00:00"

COLUMNS = {
    "quota": ("quota, calls/s", "g"),
    "latency": ("latency, s", "g"),
    "processes": ("batches at once", "d"),
    "calls": ("calls", ",d"),
    "share": ("share of the quota", ".1%"),
    "throttled": ("throttled", ".2%"),
    "peak_mb": ("peak memory, MB", "d"),
    "cpu_per_1000": ("CPU s per 1,000 calls", ".1f"),
    "stand_in_cpu_per_1000": ("the stand-in's", ".1f"),
    "cores_busy": ("cores busy", ".0%"),
    "goal": ("goal", ""),
    "met": ("met", ""),
}


def run(bench: Bench) -> list[Row]:
    """Measure a small quota, a usual one and a large one."""
    return [
        _row(bench, quota=50, latency=0.4, calls=bench.size(1500, 5000)),
        _row(bench, quota=5, latency=0.4, calls=bench.size(150, 1000)),
        _row(bench, quota=300, latency=0.2, calls=bench.size(6000, 30_000)),
    ]


def _row(bench: Bench, *, quota: float, latency: float, calls: int) -> Row:
    with bench.place() as name:
        run = Layout(name, "image-labels").run(DAY, uuid.uuid4().hex)
        indexes.ensure(database()["images"], (indexes.CONTENT_INDEX,))
        sizes = [len(images) for images in growing(range(calls), batch_size(calls, BATCH))]
        for number, images in enumerate(sizes):
            write_manifest(run, number, images)
        batches = range(len(sizes))
        bench.set_stand_in(tps=quota, latency=latency)
        cpu = bench.stand_in_cpu()
        done = measure_together(prepare, [(run, batches[first::AT_ONCE], quota) for first in range(AT_ONCE)])
        cpu = bench.stand_in_cpu() - cpu
        counts = bench.stand_in_counts()
    called = sum(process.value for process in done)
    share = (counts["answers"] - 1) / (counts["last_call"] - counts["first_call"]) / quota
    throttled = counts["throttles"] / counts["calls"]
    if called != calls or counts["answers"] != calls:
        raise RuntimeError(f"{calls} images, {called} calls in the books, {counts}")
    return {
        "quota": quota,
        "latency": latency,
        "processes": AT_ONCE,
        "calls": calls,
        "share": share,
        "throttled": throttled,
        "peak_mb": max(process.peak_mb for process in done),
        "cpu_per_1000": 1000 * sum(process.cpu_seconds for process in done) / calls,
        "stand_in_cpu_per_1000": 1000 * cpu / calls,
        "cores_busy": max(process.cores_busy for process in done),
        "goal": "≥ 98 %, throttled ≤ 1 %, < 300 MB",
        "met": share >= 0.98 and throttled <= 0.01 and max(process.peak_mb for process in done) < 300,
    }


def write_manifest(run: RunLayout, number: int, images: int) -> None:
    """Plan a batch of images that are nowhere, each of another content."""
    names = (f"{number}/{image:06d}.jpg" for image in range(images))
    entries = (
        {
            "key": f"images/{name}",
            "path": name,
            "img": name,
            "bucket": run.layout.bucket,
            "etag": "",
            "sha256": hashlib.sha256(name.encode()).hexdigest(),
            "bytes": 2_500_000,
            "format": "JPEG",
            "width": 4000,
            "height": 3000,
        }
        for name in names
    )
    jsonlines.write(s3_client(), run.layout.bucket, run.manifest(number), entries)


def prepare(run: RunLayout, numbers: Iterable[int], quota: float) -> Work:
    """Make batches as their operator does, to be analysed one after the other."""
    # The process holds what a task's does.
    from image_labels.operators import detect_labels  # noqa: F401

    return lambda: sum(apart(partial(_called, run, number, quota)) for number in numbers)


def _called(run: RunLayout, number: int, quota: float) -> int:
    return make_batch(run, number, quota).analyse().called


def make_batch(run: RunLayout, number: int, quota: float) -> Any:
    """Return a batch with clients as its operator makes them."""
    rekognition = RekognitionHook(connections=analysis.CALLS_IN_FLIGHT).get_conn()
    return analysis.Batch(
        run=run,
        number=number,
        opened_at=NOW,
        settings=Settings(),
        s3=s3_client(),
        rekognition=rekognition,
        collection=database()["images"],
        rate=SharedRate(database()["limits"], "rekognition", quota),
        quota=quota,
    )
