"""A DAG run without a scheduler: the DAG's own operators, one after the other, against real servers.

What Airflow gives a task (the run, XComs, states) is kept in a file, so that a run can be begun in one process, killed,
and gone on with in another, as Airflow does.
"""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from airflow.sdk.bases.operator import ExecutorSafeguard

from image_labels import jsonlines
from image_labels.operators.balance_books import BalanceBooksOperator
from image_labels.operators.detect_labels import DetectLabelsOperator
from image_labels.operators.indexes import EnsureIndexesOperator
from image_labels.operators.ingest import IngestLabelsOperator
from image_labels.operators.rebuild import RebuildCollectionOperator
from image_labels.operators.report import ExportReportsOperator
from image_labels.operators.upload import UploadImagesOperator
from image_labels.sensors.new_images import NewImagesSensor

if TYPE_CHECKING:
    from pathlib import Path

ExecutorSafeguard.test_mode = True

PREFIX = "image-labels"


@dataclass
class Pipeline:
    """The pipeline of one bucket and one database.

    :param landing: the landing place
    :param bucket: of the pipeline
    :param state: folder for what Airflow would keep
    :param settings: arguments of the operators that differ from those here; ``report`` is False where none is wanted
    """

    landing: str
    bucket: str
    state: Path
    settings: dict[str, Any] = field(default_factory=dict)

    def run(self, run_id: str = "run-1", day: str = "2026-03-01", **settings: Any) -> dict[str, Any]:
        """Run all steps, or what of an earlier try is left, and return the books.

        :param settings: arguments of the operators for this run
        """
        return Run(self, run_id, day, self.settings | settings).all()

    def rebuild(self) -> int:
        """Rebuild the collection from the raw answers."""
        run = Run(self, "rebuild", "2026-03-01", {})
        return run.execute(RebuildCollectionOperator, "rebuild")


@dataclass
class Run:
    """One DAG run."""

    pipeline: Pipeline
    run_id: str
    day: str
    settings: dict[str, Any]

    def clear(self, *tasks: str) -> None:
        """Forget that tasks have succeeded, and what they returned.

        :param tasks: such as ``batch.upload[0]``; a name without a number stands for all of that name
        """

        def is_of_a_cleared_task(entry: str) -> bool:
            done = re.sub(r"^xcom (\S+) \S+ (\S+)$", lambda xcom: f"{xcom[1]}[{int(xcom[2])}]", entry)
            return done in tasks or done.partition("[")[0] in tasks

        self._save({entry: value for entry, value in self._load().items() if not is_of_a_cleared_task(entry)})

    def all(self) -> dict[str, Any]:
        """Run the steps that have not succeeded, forget that they have, and return the books."""
        books = self.rest()
        self._save({})
        return books

    def rest(self) -> dict[str, Any]:
        """Run the steps that have not succeeded, and return the books."""
        landing = {"landing": self.pipeline.landing}
        asked = self._some("min_confidence", "max_labels")
        dry = self._some("forecast_only")
        batches = self.once(
            NewImagesSensor, "sense", **landing, **asked, **dry, **self._some("retry_quarantined", "batch_size"),
            wait_minutes=0, settle_seconds=self.settings.get("settle_seconds", 0),
        )  # fmt: skip
        for number, files in enumerate(batches):
            manifest = self.once(
                UploadImagesOperator, "batch.upload", number, files=files, **landing, **asked, **dry,
                **self._some("price_per_thousand", "max_images", "max_spend_usd"),
            )  # fmt: skip
            if manifest:
                self._analyse(number, manifest, asked)
        if not self.settings.get("forecast_only") and self.settings.get("report", True):
            self.once(EnsureIndexesOperator, "index")
            self.once(ExportReportsOperator, "report", **self._some("thresholds"))
        books: dict[str, Any] = self.once(
            BalanceBooksOperator, "account", **landing, **asked, **dry,
            **self._some("price_per_thousand", "max_failure_share"),
        )  # fmt: skip
        return books

    def _analyse(self, number: int, manifest: str, asked: dict[str, Any]) -> None:
        results = self.once(
            DetectLabelsOperator, "batch.analyse", number, manifest=manifest, **asked,
            **self._some("price_per_thousand", "max_failure_share"), quota=self.settings.get("quota", 1000),
        )  # fmt: skip
        self.once(IngestLabelsOperator, "batch.ingest", number, results=results)

    def _some(self, *names: str) -> dict[str, Any]:
        return {name: self.settings[name] for name in names if name in self.settings}

    def once(self, operator: type, task_id: str, map_index: int = -1, **arguments: Any) -> Any:
        """Execute a task unless it has succeeded in an earlier try."""
        done = f"{task_id}[{map_index}]"
        state = self._load()
        if done not in state:
            returned = self.execute(operator, task_id, map_index, **arguments)
            state = self._load()
            state[done] = returned
            self._save(state)
        return state[done]

    def execute(self, operator: type, task_id: str, map_index: int = -1, **arguments: Any) -> Any:
        """Execute a task."""
        task = operator(task_id=task_id.replace(".", "-"), bucket=self.pipeline.bucket, prefix=PREFIX, **arguments)
        return task.execute(self.context(task_id, map_index))

    def context(self, task_id: str, map_index: int) -> Any:
        """Return what Airflow would give the task."""
        day = datetime.fromisoformat(self.day).replace(tzinfo=UTC)
        return {
            "dag_run": SimpleNamespace(run_id=self.run_id, logical_date=day, run_after=day),
            "ti": TaskInstance(self, task_id, map_index),
            "outlet_events": defaultdict(SimpleNamespace),
            "params": {},
        }

    @property
    def _file(self) -> Path:
        return self.pipeline.state / f"{self.run_id}.json"

    def _load(self) -> dict[str, Any]:
        return json.loads(self._file.read_text()) if self._file.exists() else {}

    def _save(self, state: dict[str, Any]) -> None:
        part = self._file.with_suffix(".part")
        part.write_text(json.dumps(state))
        os.replace(part, self._file)


@dataclass
class TaskInstance:
    """What a task pushes and pulls."""

    run: Run
    task_id: str
    map_index: int

    def xcom_push(self, key: str, value: Any) -> None:
        state = self.run._load()
        state[f"xcom {self.task_id} {key} {self.map_index:05d}"] = value
        self.run._save(state)

    def xcom_pull(self, task_ids: str, key: str) -> Any:
        start = f"xcom {task_ids} {key} "
        found = [value for name, value in sorted(self.run._load().items()) if name.startswith(start)]
        return found[0] if len(found) == 1 else found

    def get_task_states(self, dag_id: str, run_ids: list[str]) -> dict[str, Any]:
        return {}


def objects(s3: Any, bucket: str, folder: str) -> list[str]:
    """Return the keys of a folder of the pipeline."""
    return list(jsonlines.keys(s3, bucket, f"{PREFIX}/{folder}"))
