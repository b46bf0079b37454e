"""The DAG's tasks as work to measure: their operators' ``execute``, all with the DAG's own defaults."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.bench import apart
from image_labels.operators.balance_books import BalanceBooksOperator
from image_labels.operators.detect_labels import DetectLabelsOperator
from image_labels.operators.indexes import EnsureIndexesOperator
from image_labels.operators.ingest import IngestLabelsOperator
from image_labels.operators.report import ExportReportsOperator
from image_labels.operators.upload import UploadImagesOperator
from image_labels.sensors import new_images
from image_labels.sensors.new_images import NewImagesSensor
from pipeline import Pipeline, Run

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.bench import Work

NO_QUOTA = 5000
"""Calls a second, more than a machine makes."""


def prepare(
    step: str,
    bucket: str,
    landing: Path,
    state: Path,
    batches: list[str] | None = None,
    day: str = "2026-03-01",
    one_batch_of: int = 0,
) -> Work:
    """Prepare a task, or one after the other the mapped tasks of all batches.

    :param step: task id in the DAG
    :param state: folder for what Airflow would keep of the run
    :param batches: what the step before has returned for each batch
    :param day: that the run stands for
    :param one_batch_of: files that are to be one batch; 0 for batches as they are
    """
    state.mkdir(exist_ok=True)
    run = Run(Pipeline(str(landing), bucket, state), "run", day, {})
    place = {"landing": str(landing)}
    sense: dict[str, Any] = {**place, "wait_minutes": 0, "settle_seconds": 0}
    if one_batch_of:
        new_images.FIRST_BATCH = sense["batch_size"] = one_batch_of
    tasks = {
        "sense": (NewImagesSensor, sense),
        "index": (EnsureIndexesOperator, {}),
        "report": (ExportReportsOperator, {}),
        "account": (BalanceBooksOperator, place),
    }
    mapped = {
        "batch.upload": (UploadImagesOperator, "files", place),
        "batch.analyse": (DetectLabelsOperator, "manifest", {"quota": NO_QUOTA}),
        "batch.ingest": (IngestLabelsOperator, "results", {}),
    }
    if step in tasks:
        operator, arguments = tasks[step]
        return lambda: run.execute(operator, step, **arguments)
    operator, argument, arguments = mapped[step]

    return lambda: [
        apart(partial(run.execute, operator, step, number, **{argument: batch}, **arguments))
        for number, batch in enumerate(batches or [])
    ]
