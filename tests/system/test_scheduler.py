"""The DAGs under the real scheduler, and what Airflow shows of a run. The tests follow one another on one stack."""

from __future__ import annotations

import io
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pyarrow.parquet as pq

from dag_runs import AT_ONCE, finish, start

if TYPE_CHECKING:
    from airflow_client import Dag
    from servers import Site
    from stack import Stack


def answers(site: Site) -> int:
    return int(httpx.get(f"{site.rekognition}/_stats", trust_env=False).json()["answers"])


def restrain(site: Site, **settings: Any) -> None:
    """Set the stand-in's quota and latency."""
    httpx.put(f"{site.rekognition}/_settings", json=settings, trust_env=False).raise_for_status()


def test_the_demo_album_becomes_documents_and_a_report(first_run: tuple[Dag, str], collection: Any, s3: Any) -> None:
    dag, run_id = first_run
    books = dag.xcom(run_id, "account")
    assert books["upload"]["quarantined"] == 2
    assert books["analyse"]["reused"] == 1
    assert collection.count_documents({}) == books["ingest"]["ingested"] == books["sense"]["new"] - 2
    labels = {label["Name"] for label in collection.find_one({"img": "Chelsea the cat.png"})["Labels"]}
    assert {"Cat", "Animal"} <= labels
    bucket, _, key = dag.xcom(run_id, "report").removeprefix("s3://").partition("/")
    table = pq.read_table(io.BytesIO(s3.get_object(Bucket=bucket, Key=key)["Body"].read()))
    assert {row["label"] for row in table.to_pylist()} >= {"Cat", "Motorcycle", "Person"}


def test_the_article_s_queries_run_unchanged(first_run: tuple[Dag, str], collection: Any) -> None:
    cats = collection.find({"Labels": {"$elemMatch": {"Name": "Cat", "Confidence": {"$gte": 50.0}}}}, {"img": 1})
    assert {document["img"] for document in cats} == {"Chelsea the cat.png", "Chelsea the cat (copy).png"}
    one_not_two = {"Name": "Motorcycle", "Instances.0": {"$exists": True}, "Instances.5": {"$exists": False}}
    assert collection.count_documents({"Labels": {"$elemMatch": one_not_two}}) == 2


def test_the_run_s_page_tells_its_story(first_run: tuple[Dag, str]) -> None:
    dag, run_id = first_run
    assert "Books of" in dag.run(run_id)["note"]
    assert "14 uploaded + 0 unchanged + 2 quarantined" in dag.run(run_id)["note"]
    names = {task["task_id"]: task["rendered_map_index"] for task in dag.task_instances(run_id)}
    assert names["batch.analyse"] == names["batch.ingest"] == "batch-00000"
    links = dag._get(f"{dag._path}/dagRuns/{run_id}/taskInstances/report/links")["extra_links"]
    assert links["S3"].endswith("/report.html")
    log = dag.log(run_id, next(task for task in dag.task_instances(run_id) if task["task_id"] == "index"))
    assert any("IXSCAN (idx_labels)" in line for line in log)
    events = dag._get("/api/v2/assets/events", source_run_id=run_id)["asset_events"]
    rows = {event["name"]: event["extra"]["rows"] for event in events}
    assert rows["images"] == 14
    assert all(rows.values())


def test_a_link_to_s3_shows_the_report_only_to_who_is_logged_in(first_run: tuple[Dag, str], site: Site) -> None:
    dag, run_id = first_run
    link = dag._get(f"{dag._path}/dagRuns/{run_id}/taskInstances/report/links")["extra_links"]["S3"]
    assert httpx.get(link, trust_env=False).status_code == 401
    page = httpx.get(link, headers={"Authorization": dag._client.headers["Authorization"]}, trust_env=False)
    assert page.status_code == 200
    assert "Motorcycle" in page.text
    assert "sandbox" in page.headers["Content-Security-Policy"]


def test_a_second_run_calls_nothing(first_run: tuple[Dag, str], dag: Dag, demo_album: Path, site: Site) -> None:
    before = answers(site)
    run_id = start(dag, landing=str(demo_album), **AT_ONCE)
    assert finish(dag, run_id) == "success"
    assert dag.xcom(run_id, "account")["sense"]["new"] == 0
    assert {t["state"] for t in dag.task_instances(run_id) if t["task_id"].startswith("batch")} == {"skipped"}
    assert answers(site) == before


def test_a_run_that_is_cleared_ends_with_the_same_books(first_run: tuple[Dag, str], dag: Dag, site: Site) -> None:
    _, run_id = first_run
    books, before = dag.xcom(run_id, "account"), answers(site)
    dag.pause(False)
    dag._client.post(f"{dag._path}/dagRuns/{run_id}/clear", json={"dry_run": False}).raise_for_status()
    assert finish(dag, run_id) == "success"
    assert dag.xcom(run_id, "account") == books
    assert answers(site) == before


def test_the_sensor_waits_in_the_triggerer_until_a_photo_has_landed(
    dag: Dag, tmp_path: Path, photos: dict[str, Path]
) -> None:
    run_id = start(dag, landing=str(tmp_path), **AT_ONCE | {"wait_minutes": 5})
    deadline = time.monotonic() + 60
    while {t["task_id"]: t["state"] for t in dag.task_instances(run_id)}["sense"] != "deferred":
        assert time.monotonic() < deadline
        time.sleep(0.5)
    (tmp_path / "late.jpg").write_bytes(photos["china.jpg"].read_bytes())
    assert finish(dag, run_id) == "success"
    assert dag.xcom(run_id, "account")["ingest"]["ingested"] == 1


def test_a_dry_run_tells_its_price_and_wakes_nobody(
    dag: Dag, tmp_path: Path, photos: dict[str, Path], site: Site, collection: Any
) -> None:
    (tmp_path / "new.jpg").write_bytes(photos["flower.jpg"].read_bytes() + b"never seen before")
    before, stored = answers(site), collection.count_documents({})
    run_id = start(dag, landing=str(tmp_path), **AT_ONCE | {"dry_run": True})
    assert finish(dag, run_id) == "success"
    assert "| calls of Rekognition | 1 |" in dag.run(run_id)["note"]
    states = {task["task_id"]: task["state"] for task in dag.task_instances(run_id)}
    assert {name for name, state in states.items() if state == "success"} == {"sense", "batch.upload", "account"}
    assert dag._get("/api/v2/assets/events", source_run_id=run_id)["asset_events"] == []
    assert (answers(site), collection.count_documents({})) == (before, stored)


def test_two_runs_started_at_once_pay_once(dag: Dag, tmp_path: Path, photos: dict[str, Path], site: Site) -> None:
    (tmp_path / "coffee.png").write_bytes(photos["coffee.png"].read_bytes() + b"never seen before")
    (tmp_path / "moon.png").write_bytes(photos["moon.png"].read_bytes() + b"never seen before")
    before = answers(site)
    runs = [start(dag, landing=str(tmp_path), **AT_ONCE) for _ in range(2)]
    assert [finish(dag, run_id) for run_id in runs] == ["success", "success"]
    assert sorted(dag.xcom(run_id, "account")["sense"]["new"] for run_id in runs) == [0, 2]
    assert answers(site) == before + 2


def test_the_rebuilt_collection_is_identical(first_run: tuple[Dag, str], rebuild_dag: Dag, collection: Any) -> None:
    documents = list(collection.find().sort("_id"))
    collection.drop()
    assert finish(rebuild_dag, start(rebuild_dag)) == "success"
    assert list(collection.find().sort("_id")) == documents


def test_a_scheduler_that_is_killed_in_mid_run_loses_nothing(
    stack: Stack, dag: Dag, site: Site, tmp_path: Path, collection: Any
) -> None:
    from PIL import Image

    for number in range(40):
        Image.new("RGB", (90, 90), (number, 0, 99)).save(tmp_path / f"{number}.png")
    restrain(site, tps=5, labels="generator")
    before, stored = answers(site), collection.count_documents({})
    try:
        run_id = start(dag, landing=str(tmp_path), **AT_ONCE | {"quota": 5, "batch_size": 20})
        deadline = time.monotonic() + 90
        while answers(site) < before + 5:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        os.kill(stack.supervision.pid_of_dependant("airflow-scheduler"), signal.SIGKILL)
        assert finish(dag, run_id, seconds=400) == "success"
    finally:
        restrain(site, tps=50, labels="model")
    books = dag.xcom(run_id, "account")
    assert books["analyse"]["called"] == books["ingest"]["ingested"] == 40
    assert collection.count_documents({}) == stored + 40
