"""What reading the DAG files adds to reading any DAG file.

The time that Airflow's `DagBag` takes for `dags/`, in a new process that has imported Airflow and has read a DAG of one
`EmptyOperator`. Median of several processes.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING

from servers import PROJECT

if TYPE_CHECKING:
    from benchmarks.bench import Bench, Row

ROUNDS = 5
GOAL_MS = 150

EMPTY = """\
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

with DAG("empty", schedule=None):
    EmptyOperator(task_id="nothing")
"""

READ = """\
import json, sys, time
import airflow
from airflow.dag_processing.dagbag import DagBag

def read(folder):
    began = time.perf_counter()
    bag = DagBag(folder)
    took = time.perf_counter() - began
    if bag.import_errors:
        raise SystemExit(str(bag.import_errors))
    return took, len(bag.dags)

read(sys.argv[1])
print(json.dumps(read(sys.argv[2])))
"""

COLUMNS = {
    "dags": ("DAGs", "d"),
    "ms": ("added, ms", ".0f"),
    "goal": ("goal", ""),
    "met": ("met", ""),
}


def run(bench: Bench) -> list[Row]:
    """Measure both DAG files together."""
    folder = bench.folder / "empty"
    folder.mkdir(parents=True)
    (folder / "empty.py").write_text(EMPTY)
    took = []
    with bench.place():
        for _ in range(ROUNDS):
            command = [sys.executable, "-c", READ, str(folder), str(PROJECT / "dags")]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            seconds, dags = json.loads(output.splitlines()[-1])
            took.append(1000 * seconds)
    ms = statistics.median(took)
    return [{"dags": dags, "ms": ms, "goal": f"≤ {GOAL_MS} ms", "met": ms <= GOAL_MS}]
