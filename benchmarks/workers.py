"""Celery workers: the one quota that they share, and how much faster more of them are where processors are the limit.

The renditions are JPEGs of WebP photographs of 6 megapixels, without a quota. Each worker is held to one core, as if it
were a machine of one; their time is that from the start of the first upload to the end of the last one. The workers,
PostgreSQL, Redis, Airflow and all the rest share the cores that are told below: more workers than cores cannot be
faster.
"""

from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psutil
from PIL import Image

import distributed
from airflow_client import Dag
from benchmarks.bench import s3_client
from benchmarks.dag_run import run_dag, seconds
from servers import BUCKET, PACKAGES
from stack import Stack

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.bench import Bench, Row

MOST = 4
QUOTA = 50
LATENCY = 0.4
SIZE = (3000, 2000)

COLUMNS = {
    "load": ("load", ""),
    "workers": ("workers", "d"),
    "images": ("images", ",d"),
    "seconds": ("seconds", ".1f"),
    "ratio": ("times one worker's speed", ".2f"),
    "share": ("share of the quota", ".1%"),
    "throttled": ("throttled", ".2%"),
    "goal": ("goal", ""),
    "met": ("met", ""),
}


def run(bench: Bench) -> list[Row]:
    """Measure both loads, with ever fewer workers."""
    if missing := distributed.missing():
        print(f"Left out, for it needs: sudo apt-get install -y {' '.join(missing)}")
        return []
    stack = Stack(bench.stack.root, workers=MOST)
    stack.start()
    try:
        dag = Dag(stack.site, "image_labels")
        cores = psutil.cpu_count() or 1
        for number in range(1, MOST + 1):
            hold_to_core(stack.supervision.pid_of_dependant(f"airflow-worker-{number}"), number % cores)
        renditions = [_renditions(bench, dag, MOST)]
        for number in (4, 3):
            stack.supervision.stop_dependant(f"airflow-worker-{number}")
        quota = _quota(bench, dag, 2)
        renditions.append(_renditions(bench, dag, 2))
        stack.supervision.stop_dependant("airflow-worker-2")
        renditions.append(_renditions(bench, dag, 1))
    finally:
        bench.stack.start()
    alone = renditions[-1]["seconds"]
    return [quota, *({**row, "ratio": alone / row["seconds"]} for row in reversed(renditions))]


def hold_to_core(pid: int, core: int) -> None:
    """Let a process, its children and theirs run on one core only."""
    worker = psutil.Process(pid)
    for process in [worker, *worker.children(recursive=True)]:
        process.cpu_affinity([core])


def _quota(bench: Bench, dag: Dag, workers: int) -> Row:
    images = bench.size(600, 10_000)
    bench.set_stand_in(tps=QUOTA, latency=LATENCY)
    _run(dag, "quota", images, _tiny, QUOTA)
    counts = bench.stand_in_counts()
    if counts["answers"] != images:
        raise RuntimeError(f"{images} images, but {counts}")
    share = (images - 1) / (counts["last_call"] - counts["first_call"]) / QUOTA
    throttled = counts["throttles"] / counts["calls"]
    return {
        "load": f"calls at {QUOTA}/s",
        "workers": workers,
        "images": images,
        "seconds": counts["last_call"] - counts["first_call"],
        "share": share,
        "throttled": throttled,
        "goal": "≥ 95 %, throttled ≤ 1 %",
        "met": share >= 0.95 and throttled <= 0.01,
    }


def _renditions(bench: Bench, dag: Dag, workers: int) -> Row:
    images = bench.size(80, 320)
    bench.set_stand_in(tps=0, latency=0)
    photo = _webp()
    # What follows the picture's end makes it another content, at no cost.
    run_id = _run(dag, f"renditions-{workers}", images, lambda number: photo + b"%d of %d" % (number, workers), 10_000)
    uploads = [task for task in dag.task_instances(run_id) if task["task_id"] == "batch.upload"]
    took = max(seconds(task["end_date"]) for task in uploads) - min(seconds(task["start_date"]) for task in uploads)
    return {"load": "renditions", "workers": workers, "images": images, "seconds": took}


def _run(dag: Dag, folder: str, images: int, make: Callable[[int], bytes], quota: float) -> str:
    """Run the DAG over images that have been put into the pipeline's bucket, where they are taken in place."""
    s3 = s3_client()
    with ThreadPoolExecutor(8) as pool:
        put = [
            pool.submit(s3.put_object, Bucket=BUCKET, Key=f"{folder}/{number}", Body=make(number))
            for number in range(images)
        ]
    for done in put:
        done.result()
    conf = {"landing": f"s3://{BUCKET}/{folder}", "wait_minutes": 0, "settle_seconds": 0, "quota": quota}
    run_id = run_dag(dag, {**conf, "batch_size": min(500, images // 8)})
    books = dag.xcom(run_id, "account")
    if books["ingest"].get("ingested") != images:
        raise RuntimeError(f"{images} images, but the books say {books}")
    return run_id


def _tiny(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (80, 80), (number >> 16, number >> 8 & 255, number & 255)).save(file, "PNG")
    return file.getvalue()


def _webp() -> bytes:
    file = io.BytesIO()
    with Image.open(os.path.join(PACKAGES, "sklearn/datasets/images/china.jpg")) as photo:
        photo.resize(SIZE).save(file, "WEBP", method=0)
    return file.getvalue()
