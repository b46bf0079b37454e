"""A whole run of the daily DAG under Airflow's scheduler, beside the time that the quota alone takes.

All of Airflow runs on the same machine. The run is cut into the times between the moments at which one thing ends and
the next one begins; *calls* is from the first call that reaches the stand-in to the last one.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_client import Dag
from benchmarks.growth import write_tiny
from stack import Stack

if TYPE_CHECKING:
    from benchmarks.bench import Bench, Row

QUOTA = 50
LATENCY = 0.4
DAG_FILE_SECONDS = 120

COLUMNS = {
    "part": ("part of the run", ""),
    "seconds": ("seconds", ".1f"),
    "share": ("of the quota's time", ".1%"),
    "goal": ("goal", ""),
    "met": ("met", ""),
}


def run(bench: Bench) -> list[Row]:
    """Run the DAG over tiny pictures at 50 calls a second."""
    images = bench.size(600, 10_000)
    landing = bench.folder / "dag-run"
    write_tiny(landing, images)
    with_airflow = Stack(bench.stack.root, airflow=True)
    with_airflow.start()
    try:
        bench.set_stand_in(tps=QUOTA, latency=LATENCY)
        dag = Dag(with_airflow.site, "image_labels")
        run_id = run_dag(dag, {"landing": str(landing), "wait_minutes": 0, "settle_seconds": 0, "quota": QUOTA})
        books = dag.xcom(run_id, "account")
        if books["ingest"].get("ingested") != images:
            raise RuntimeError(f"{images} images, but the books say {books}")
        parts = _parts(dag, run_id, bench.stand_in_counts())
    finally:
        bench.stack.start()
    limit = images / QUOTA
    whole = sum(parts.values())
    rows: list[Row] = [{"part": part, "seconds": took, "share": took / limit} for part, took in parts.items()]
    goal = {"goal": "≤ 110 % for 10,000 images", "met": whole <= 1.1 * limit}
    return [
        {"part": f"{images:,} images at {QUOTA}/s", "seconds": limit, "share": 1.0},
        {"part": "**whole run**", "seconds": whole, "share": whole / limit, **goal},
        *rows,
    ]


def run_dag(dag: Dag, conf: dict[str, Any]) -> str:
    """Run the DAG, and return the run's id when it has succeeded."""
    deadline = time.monotonic() + DAG_FILE_SECONDS
    while dag.details() is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"Airflow has not found the DAG within {DAG_FILE_SECONDS} s")
        time.sleep(0.5)
    run_id = dag.trigger(conf)
    dag.pause(False)
    # Seldom, for every look takes from the two processors.
    while (state := dag.run(run_id)["state"]) not in ("success", "failed"):
        time.sleep(2)
    dag.pause(True)
    if state != "success":
        states = {task["task_id"]: task["state"] for task in dag.task_instances(run_id)}
        raise RuntimeError(f"The run failed: {states}")
    return run_id


def _parts(dag: Dag, run_id: str, counts: dict[str, Any]) -> dict[str, float]:
    """Return the lengths of the parts of a run, in its order."""
    began: dict[str, float] = {}
    ended: dict[str, float] = {}
    for task in dag.task_instances(run_id):
        name = task["task_id"]
        began[name] = min(began.get(name, float("inf")), seconds(task["start_date"]))
        ended[name] = max(ended.get(name, 0.0), seconds(task["end_date"]))
    whole = dag.run(run_id)
    moments = {
        "": seconds(whole["start_date"]),
        "start of sense": began["sense"],
        "sense": ended["sense"],
        "start of the first upload": began["batch.upload"],
        "until the first call": counts["first_call"],
        "calls": counts["last_call"],
        "last answers, results, ingest": ended["batch.ingest"],
        "start of report": began["report"],
        "report, and index beside it": max(ended["report"], ended["index"]),
        "start of account": began["account"],
        "account": ended["account"],
        "end": seconds(whole["end_date"]),
    }
    names, times = list(moments), list(moments.values())
    return {names[i]: times[i] - times[i - 1] for i in range(1, len(names))}


def seconds(moment: str) -> float:
    """Return a moment of Airflow's as seconds since 1970."""
    return datetime.fromisoformat(moment).timestamp()
