"""Runs of a DAG under the real scheduler."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_client import Dag

AT_ONCE = {"wait_minutes": 0, "settle_seconds": 0, "quota": 50}


def start(dag: Dag, **conf: Any) -> str:
    """Trigger a run."""
    deadline = time.monotonic() + 60
    while dag.details() is None:
        assert time.monotonic() < deadline, "the DAG was not found"
        time.sleep(0.5)
    run_id = dag.trigger(conf)
    dag.pause(False)
    return run_id


def finish(dag: Dag, run_id: str, seconds: float = 180) -> str:
    """Wait for the end of a run and return its state."""
    deadline = time.monotonic() + seconds
    while (state := dag.run(run_id)["state"]) not in ("success", "failed"):
        assert time.monotonic() < deadline, {t["task_id"]: t["state"] for t in dag.task_instances(run_id)}
        time.sleep(0.5)
    return str(state)
