"""The daily DAG on docker-compose.yaml. The tests follow one another on one stack."""

from __future__ import annotations

import io
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

import album
from dag_runs import AT_ONCE, finish, start

if TYPE_CHECKING:
    from airflow_client import Dag
    from conftest import Compose

BUCKET = "image-labels"


def land(s3: Any, name: str, content: bytes) -> None:
    s3.put_object(Bucket=BUCKET, Key=f"landing/{name}", Body=content)


def land_generated(s3: Any, folder: str, images: int) -> None:
    """Land small pictures, each of its own content."""
    from PIL import Image

    for number in range(images):
        picture = io.BytesIO()
        Image.new("RGB", (90, 90), (number % 256, number // 256, len(folder))).save(picture, "PNG")
        land(s3, f"{folder}/{number}.png", picture.getvalue())


def found(dag: Dag, query: str) -> int:
    """Return how many images the search page finds."""
    return int(dag._get("/image-labels/api/images/count", q=query)["count"])


def test_nothing_listens_but_on_loopback_and_nobody_is_root(compose: Compose) -> None:
    containers = compose.containers()
    published = [port for container in containers for port in container["Publishers"] or () if port["PublishedPort"]]
    assert {port["URL"] for port in published} == {"127.0.0.1"}
    assert len(published) == 2
    for container in containers:
        identity = ["docker", "exec", container["ID"], "id", "-u"]
        assert subprocess.run(identity, capture_output=True, text=True, check=True).stdout.strip() != "0", container


def test_the_demo_album_becomes_documents_and_a_report(compose: Compose, s3: Any, dag: Dag, tmp_path: Path) -> None:
    album.build(tmp_path / "album")
    for file in (tmp_path / "album").rglob("*.*"):
        land(s3, file.relative_to(tmp_path / "album").as_posix(), file.read_bytes())
    run_id = start(dag, **AT_ONCE)
    assert finish(dag, run_id, 900) == "success", compose("logs", "airflow-worker", "--tail=100")
    books = dag.xcom(run_id, "account")
    assert books["upload"]["quarantined"] == 2
    assert books["analyse"]["reused"] == 1
    assert books["ingest"]["ingested"] == books["sense"]["new"] - 2 == len(album.PHOTOS)
    bucket, _, key = dag.xcom(run_id, "report").removeprefix("s3://").partition("/")
    table = pq.read_table(io.BytesIO(s3.get_object(Bucket=bucket, Key=key)["Body"].read()))
    assert {row["label"] for row in table.to_pylist()} >= {"Cat", "Motorcycle", "Person"}
    assert found(dag, "Cat") == 2


def test_a_second_run_calls_nothing(compose: Compose, dag: Dag) -> None:
    before = compose.stand_in("/_stats")["calls"]
    run_id = start(dag, **AT_ONCE)
    assert finish(dag, run_id, 900) == "success"
    assert dag.xcom(run_id, "account")["sense"]["new"] == 0
    assert compose.stand_in("/_stats")["calls"] == before


def test_both_workers_share_a_larger_album_and_the_quota(compose: Compose, s3: Any, dag: Dag) -> None:
    compose.stand_in("/_settings", "PUT", {"labels": "generator"})
    land_generated(s3, "larger", 1000)
    before = compose.stand_in("/_stats")
    run_id = start(dag, **AT_ONCE | {"batch_size": 100})
    assert finish(dag, run_id, 900) == "success"
    books, after = dag.xcom(run_id, "account"), compose.stand_in("/_stats")
    assert books["analyse"]["called"] == books["ingest"]["ingested"] == 1000
    assert after["answers"] - before["answers"] == 1000
    # Where all containers share two processors, some calls arrive bunched.
    assert after["throttles"] - before["throttles"] <= 50
    analysed_by = {task["hostname"] for task in dag.task_instances(run_id) if task["task_id"] == "batch.analyse"}
    assert analysed_by == {container["ID"] for container in compose.containers("airflow-worker")}


def test_a_worker_that_is_killed_in_mid_batch_loses_nothing(compose: Compose, s3: Any, dag: Dag) -> None:
    compose.stand_in("/_settings", "PUT", {"tps": 5, "labels": "generator"})
    land_generated(s3, "killed under", 100)
    before = compose.stand_in("/_stats")["answers"]
    run_id = start(dag, **AT_ONCE | {"batch_size": 25, "quota": 5})
    deadline = time.monotonic() + 120
    while compose.stand_in("/_stats")["answers"] < before + 10:
        assert time.monotonic() < deadline
        time.sleep(1)
    busy = [
        t["hostname"] for t in dag.task_instances(run_id) if (t["task_id"], t["state"]) == ("batch.analyse", "running")
    ]
    subprocess.run(["docker", "kill", busy[0]], check=True, capture_output=True)
    compose("up", "--detach", "--no-recreate", "--scale=airflow-worker=2")
    assert finish(dag, run_id, 900) == "success"
    books, answers = dag.xcom(run_id, "account"), compose.stand_in("/_stats")["answers"] - before
    compose.stand_in("/_settings", "PUT", {"tps": 50})
    assert books["ingest"]["ingested"] == 100
    # Paid again at most what no checkpoint has seen: 5 seconds, and the calls under way.
    assert 100 <= answers <= 100 + 5 * 5 + 10
    # The killed worker comes back under its name, but what it logged is gone with it.
    analyses = [task for task in dag.task_instances(run_id) if task["task_id"] == "batch.analyse"]
    for task in analyses:
        assert any("Books" in line for line in dag.log(run_id, task)), "what a task said is read from S3"
