"""Airflow on several machines: PostgreSQL, Redis, and Celery workers with separate folders.

The tests follow one another on one stack. The photos land in a bucket of their own.
"""

from __future__ import annotations

import io
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest
from PIL import Image

import distributed
import ports
from conftest import images_of, s3_of
from dag_runs import AT_ONCE, finish, start
from image_labels.analysis import CHECKPOINT_ANSWERS
from stack import Stack, airflow_ready

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_client import Dag
    from servers import Site

pytestmark = pytest.mark.skipif(
    bool(distributed.missing()),
    reason=f"there is no {' and no '.join(distributed.missing())}; "
    f"`sudo apt-get install -y {' '.join(distributed.missing())}` brings it",
)

WORKERS = ("airflow-worker-1", "airflow-worker-2")
LANDING = "photos-landing"
LATENCY = 0.2
SOON_MISSED = {
    ("scheduler", "task_instance_heartbeat_timeout"): 30,
    ("scheduler", "task_instance_heartbeat_timeout_detection_interval"): 5,
}
"""A worker that died, so that the test need not wait as long as others should."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(
        tmp_path_factory.mktemp("distributed"),
        workers=len(WORKERS),
        airflow_settings=SOON_MISSED,
        wanted_ports=dict.fromkeys(ports.DEFAULTS, ports.ANY),
    )
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


@pytest.fixture(scope="module")
def site(stack: Stack) -> Site:
    return stack.site


@pytest.fixture(scope="module")
def collection(site: Site) -> Iterator[Any]:
    with images_of(site) as collection:
        yield collection


@pytest.fixture(scope="module")
def land(site: Site) -> Callable[[str, int], str]:
    """Put pictures, each of another content, into a folder of the landing place, and return its address."""
    s3 = s3_of(site)
    s3.create_bucket(Bucket=LANDING)

    def put(folder: str, number: int) -> None:
        file = io.BytesIO()
        Image.new("RGB", (90, 90), (len(folder), number // 256, number % 256)).save(file, "PNG")
        s3.put_object(Bucket=LANDING, Key=f"{folder}/{folder}-{number}.png", Body=file.getvalue())

    def put_all(folder: str, count: int) -> str:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: put(folder, number), range(count)))
        return f"s3://{LANDING}/{folder}"

    return put_all


def set_stand_in(site: Site, quota: float) -> None:
    """Give the stand-in for Rekognition a quota, 0 for none, and let it count anew."""
    settings = {"tps": quota, "latency": LATENCY, "labels": "generator"}
    httpx.put(f"{site.rekognition}/_settings", json=settings, trust_env=False).raise_for_status()
    httpx.post(f"{site.rekognition}/_stats/reset", trust_env=False).raise_for_status()


def counts(site: Site) -> dict[str, Any]:
    """Return what the stand-in has counted: an answer is paid for."""
    counted: dict[str, Any] = httpx.get(f"{site.rekognition}/_stats", trust_env=False).json()
    return counted


def wait_until(true: Callable[[], bool], what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"{what} is still not so after {seconds:.0f} s"
        time.sleep(0.2)


def test_a_run_spreads_over_the_workers_and_keeps_the_one_quota(
    stack: Stack, site: Site, dag: Dag, collection: Any, land: Callable[[str, int], str]
) -> None:
    # It takes whatever comes: keeping to the quota is the workers' own doing.
    set_stand_in(site, quota=0)
    quota = 20
    run_id = start(dag, landing=land("spread", 240), batch_size=50, **AT_ONCE | {"quota": quota})
    assert finish(dag, run_id) == "success"

    books = dag.xcom(run_id, "account")
    assert books["sense"]["new"] == books["analyse"]["called"] == books["ingest"]["ingested"] == 240
    counted = counts(site)
    assert counted["answers"] == 240
    assert (counted["answers"] - 1) / (counted["last_call"] - counted["first_call"]) <= quota
    assert len(collection.distinct("sha256")) == collection.count_documents({}) == 240
    logs = [stack.supervision.log(worker).read_text().splitlines() for worker in WORKERS]
    started = [[line for line in log if "Executing workload" in line and "batch.analyse" in line] for log in logs]
    assert all(started)


def test_what_a_worker_left_is_seen_from_the_web_server(site: Site, dag: Dag) -> None:
    run_id = dag._get(f"{dag._path}/dagRuns")["dag_runs"][0]["dag_run_id"]
    account = next(task for task in dag.task_instances(run_id) if task["task_id"] == "account")
    # The worker serves it, and may be slow to at first.
    wait_until(lambda: any("240" in line for line in dag.log(run_id, account)), "that the log can be read", 30)

    login = {"headers": {"Authorization": dag._client.headers["Authorization"]}, "trust_env": False}
    count = httpx.get(f"{site.url('airflow')}/image-labels/api/images/count", **login)
    assert count.json()["count"] == 240
    link = dag._get(f"{dag._path}/dagRuns/{run_id}/taskInstances/report/links")["extra_links"]["S3"]
    report = httpx.get(link, **login)
    assert report.status_code == 200
    assert "240" in report.text


def test_a_worker_the_scheduler_and_redis_are_killed_in_mid_run_and_it_ends_as_if_nothing_had_happened(
    stack: Stack, site: Site, dag: Dag, collection: Any, land: Callable[[str, int], str]
) -> None:
    images, quota = 900, 30
    set_stand_in(site, quota)
    stored = collection.count_documents({})
    run_id = start(dag, landing=land("trouble", images), batch_size=225, **AT_ONCE | {"quota": quota})
    wait_until(lambda: counts(site)["answers"] >= images / 2, "that half of the images are analysed")

    lost = kill_busy_worker(stack, dag, run_id)

    scheduler = stack.supervision.pid_of_dependant("airflow-scheduler")
    os.kill(scheduler, signal.SIGKILL)
    wait_until(lambda: stack.supervision.states()["airflow-scheduler"] == "RUNNING", "that the scheduler is back")
    assert stack.supervision.pid_of_dependant("airflow-scheduler") != scheduler

    kill_redis(stack)
    wait_until(lambda: distributed.workers_ready(site), "that both workers are back and reach Redis")
    wait_until(lambda: airflow_ready(site), "that Airflow says it is well")

    assert finish(dag, run_id, seconds=300) == "success"
    books = dag.xcom(run_id, "account")
    assert books["analyse"]["called"] == books["ingest"]["ingested"] == images
    assert collection.count_documents({}) == len(collection.distinct("sha256")) == stored + images
    paid_again = counts(site)["answers"] - images
    assert 0 <= paid_again <= CHECKPOINT_ANSWERS + quota * LATENCY
    again = {(task["task_id"], task["map_index"]) for task in dag.task_instances(run_id) if task["try_number"] > 1}
    assert again == lost, "the death of the scheduler or of Redis has cost a task as well"


def kill_busy_worker(stack: Stack, dag: Dag, run_id: str) -> set[tuple[str, int]]:
    """Kill a worker in the midst of a batch with all its processes, so that a new one begins.

    :return: the tasks that it was at
    """
    running = [task for task in dag.task_instances(run_id) if task["state"] == "running"]
    for name in WORKERS:
        worker = psutil.Process(stack.supervision.pid_of_dependant(name))
        processes = [worker, *worker.children(recursive=True)]
        pids = {process.pid for process in processes}
        lost = {(task["task_id"], task["map_index"]) for task in running if task["pid"] in pids}
        if "batch.analyse" in {task for task, _ in lost}:
            for process in processes:
                process.kill()
            psutil.wait_procs(processes, timeout=10)
            return lost
    raise AssertionError(f"no worker is in the midst of a batch: {running}")


def kill_redis(stack: Stack) -> None:
    """Kill Redis, which is started again with what it has on disk."""
    server = next(process for process in stack.supervision.processes() if process.name() == "redis-server")
    server.kill()
    server.wait(10)
