"""Puts the books of a run into its note when the run ends, in the scheduler: a task can't write notes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.listeners import hookimpl

if TYPE_CHECKING:
    from airflow.models import DagRun

NOTE_KEY = "note"
ACCOUNT_TASK = "account"
DAG_IDS = frozenset({"image_labels"})


@hookimpl
def on_dag_run_success(dag_run: DagRun, msg: str) -> None:
    """Put down the books of a run whose books balance."""
    put_down_books(dag_run)


@hookimpl
def on_dag_run_failed(dag_run: DagRun, msg: str) -> None:
    """Put down the books of a run that failed, with where it did."""
    put_down_books(dag_run)


def put_down_books(dag_run: DagRun) -> None:
    """Set the run's note to what the task that closed the books has left for it."""
    if dag_run.dag_id not in DAG_IDS:
        return
    from airflow.models.xcom import XComModel
    from sqlalchemy.orm import object_session

    session = object_session(dag_run)
    if session is None:
        return
    query = XComModel.get_many(run_id=dag_run.run_id, dag_ids=dag_run.dag_id, task_ids=ACCOUNT_TASK, key=NOTE_KEY)
    if found := session.scalars(query.limit(1)).first():
        dag_run.note = XComModel.deserialize_value(found)
