"""What the benchmarks share: a place of their own on the servers, and processes whose time and memory are measured."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import boto3
import httpx
import psutil
import pymongo
from botocore.config import Config

from servers import airflow_environment

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier

    from pymongo.database import Database

    from servers import Site
    from stack import Stack

Row = dict[str, Any]
Work = Callable[[], Any]
T = TypeVar("T")

START_SECONDS = 300
"""A process that is not ready by then never will be."""


@dataclass(frozen=True)
class Bench:
    """What a benchmark works with.

    :param stack: the servers
    :param folder: for files; emptied before each benchmark
    :param full: whether the sizes are those of the goals; otherwise all benchmarks take five minutes
    """

    stack: Stack
    folder: Path
    full: bool

    def size(self, short: T, full: T) -> T:
        """Choose a size."""
        return full if self.full else short

    @contextmanager
    def place(self) -> Iterator[str]:
        """Give the processes that are started meanwhile an empty bucket and an empty database of this name."""
        name = f"bench-{uuid.uuid4().hex}"
        settings = environment(self.stack.site, name)
        before = {variable: os.environ.get(variable) for variable in settings}
        os.environ.update(settings)
        try:
            s3_client().create_bucket(Bucket=name)
            yield name
            database().client.drop_database(name)
            # SeaweedFS deletes what is in it as well.
            s3_client().delete_bucket(Bucket=name)
        finally:
            for variable, value in before.items():
                os.environ.pop(variable)
                if value is not None:
                    os.environ[variable] = value

    def set_stand_in(self, **settings: Any) -> None:
        """Change how the Rekognition stand-in behaves, with labels from its generator, and let it count anew."""
        site = self.stack.site
        settings = {"labels": "generator", "read_images": False, **settings}
        httpx.put(f"{site.rekognition}/_settings", json=settings, trust_env=False).raise_for_status()
        httpx.post(f"{site.rekognition}/_stats/reset", trust_env=False).raise_for_status()

    def stand_in_counts(self) -> dict[str, Any]:
        """Return what the stand-in has counted."""
        counts: dict[str, Any] = httpx.get(f"{self.stack.site.rekognition}/_stats", trust_env=False).json()
        return counts

    def stand_in_cpu(self) -> float:
        """Return the seconds of processor time that the stand-in has taken so far."""
        used = 0.0
        for process in self.stack.supervision.processes():
            if "uvicorn" in process.cmdline():
                times = process.cpu_times()
                used += times.user + times.system
        return used


def environment(site: Site, name: str) -> dict[str, str]:
    """Return what a process needs to know in order to work with a bucket and a database."""
    variables = airflow_environment(site)
    documentdb = json.loads(variables["AIRFLOW_CONN_DOCUMENTDB_DEFAULT"]) | {"schema": name}
    return {
        **site.exports(),
        **variables,
        "AIRFLOW_CONN_DOCUMENTDB_DEFAULT": json.dumps(documentdb),
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        "IMAGE_LABELS_BUCKET": name,
        "DOCUMENTDB_DATABASE": name,
        "NO_PROXY": "127.0.0.1",
    }


def bucket() -> str:
    """Return the bucket of the present place."""
    return os.environ["IMAGE_LABELS_BUCKET"]


def s3_client() -> Any:
    """Return a client for S3, with as many connections as the pipeline's."""
    return boto3.client("s3", config=Config(max_pool_connections=32))


def database() -> Database[dict[str, Any]]:
    """Return the database of the present place."""
    client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(os.environ["DOCUMENTDB_URI"])
    return client.get_database(os.environ["DOCUMENTDB_DATABASE"], read_preference=pymongo.ReadPreference.PRIMARY)


@dataclass(frozen=True)
class Measured:
    """What a piece of work took.

    :param value: that it returned
    :param seconds: by the clock
    :param cpu_seconds: of the processor, all threads and the processes that it began together
    :param peak_mb: the most memory that its process ever held, Python, Airflow and all; or one that it began, if more
    :param cores_busy: share of the machine's processors that worked meanwhile, for whomever
    """

    value: Any
    seconds: float
    cpu_seconds: float
    peak_mb: int
    cores_busy: float


def measure(prepare: Callable[..., Work], *arguments: Any) -> Measured:
    """Measure work in a process of its own, prepared as that of a task is.

    :param prepare: is called with the arguments in that process and returns the work
    """
    return measure_together(prepare, [arguments])[0]


def measure_together(prepare: Callable[..., Work], arguments: Sequence[tuple[Any, ...]]) -> list[Measured]:
    """Measure several pieces of work, each in a process of its own, that begin when all are prepared."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        len(arguments), context, initializer=_know_start, initargs=(context.Barrier(len(arguments)),)
    ) as pool:
        return list(pool.map(_measure, [prepare] * len(arguments), arguments))


def apart(task: Callable[[], T]) -> T:
    """Do a task in a process of its own, which begins with what this one holds, as a worker's does."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        return pool.submit(task).result()


_start: Barrier


def _know_start(start: Barrier) -> None:
    global _start
    _start = start


def _measure(prepare: Callable[..., Work], arguments: tuple[Any, ...]) -> Measured:
    # Here, for Airflow reads its settings when it is imported.
    from image_labels.operators.base import collect_garbage_seldom

    try:
        work = prepare(*arguments)
    except BaseException:
        _start.abort()
        raise
    collect_garbage_seldom()
    _start.wait(START_SECONDS)
    machine, cpu, began = _machine(), _cpu_seconds(), time.perf_counter()
    value = work()
    seconds, cpu = time.perf_counter() - began, _cpu_seconds() - cpu
    machine.subtract(_machine())
    return Measured(value, seconds, cpu, _peak_mb(), machine["busy"] / (machine.total() or 1))


def _machine() -> Counter[str]:
    times = psutil.cpu_times()
    idle = times.idle + times.iowait
    return Counter(idle=idle, busy=times.user + times.nice + times.system + times.irq + times.softirq + times.steal)


def _cpu_seconds() -> float:
    # With those of the processes that it has begun and that have ended.
    return sum(os.times()[:4])


def _peak_mb() -> int:
    # Not getrusage for this process: its peak includes that of the parent's memory before the program was loaded.
    status = Path("/proc/self/status").read_text()
    own = int(status.partition("VmHWM:")[2].split()[0])
    return max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) // 1024
