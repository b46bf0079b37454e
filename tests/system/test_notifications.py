"""Who is told when a run fails or is late: the real DAG under the real scheduler, and messages that arrive.

SNS and SQS are moto's server; nothing else is played. For the deadline, only the time is: the row in Airflow's
database that says when the run is late is set to the past.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from dag_runs import AT_ONCE, finish, start

if TYPE_CHECKING:
    from airflow_client import Dag
    from stack import Stack

TOPIC = "image_labels_alarm_topic"


@pytest.fixture
def inbox(aws: str, dag: Dag) -> Iterator[Callable[[], tuple[str, str]]]:
    """Who the topic of the Variable tells: a function that waits for a message and returns its subject and text."""
    options = {"endpoint_url": aws, "region_name": "us-east-1", "aws_access_key_id": "x", "aws_secret_access_key": "x"}
    sns, sqs = boto3.client("sns", **options), boto3.client("sqs", **options)
    topic = sns.create_topic(Name="alarms")["TopicArn"]
    queue = sqs.create_queue(QueueName="inbox")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    dag._client.post("/api/v2/variables", json={"key": TOPIC, "value": topic}).raise_for_status()

    def inbox() -> tuple[str, str]:
        deadline = time.monotonic() + 60
        while not (messages := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=1).get("Messages")):
            assert time.monotonic() < deadline, "nobody was told"
            time.sleep(0.2)
        body = json.loads(messages[0]["Body"])
        sqs.delete_message(QueueUrl=queue, ReceiptHandle=messages[0]["ReceiptHandle"])
        return body["Subject"], body["Message"]

    yield inbox
    dag._client.delete(f"/api/v2/variables/{TOPIC}").raise_for_status()
    sqs.delete_queue(QueueUrl=queue)
    sns.delete_topic(TopicArn=topic)


def pass_deadline(stack: Stack, run_id: str) -> None:
    """Let the run be late."""
    with contextlib.closing(sqlite3.connect(stack.root / "airflow/airflow.db", timeout=30)) as database, database:
        changed = database.execute(
            "UPDATE deadline SET deadline_time = '2026-01-01 00:00:00.000000' WHERE dagrun_id IN "
            "(SELECT id FROM dag_run WHERE run_id = ?)",
            [run_id],
        )
        assert changed.rowcount == 1


def test_a_run_that_fails_is_told(dag: Dag, inbox: Any) -> None:
    run_id = start(dag, landing="gs://photos", **AT_ONCE)
    assert finish(dag, run_id) == "failed"
    subject, message = inbox()
    assert subject == "image_labels failed"
    assert run_id in message


def test_a_run_that_is_late_is_told_while_it_runs(
    stack: Stack, dag: Dag, inbox: Any, tmp_path: Path, photos: dict[str, Path]
) -> None:
    run_id = start(dag, landing=str(tmp_path), **AT_ONCE | {"wait_minutes": 5, "dry_run": True})
    pass_deadline(stack, run_id)
    assert inbox() == ("image_labels is late", f"The run {run_id} has not ended yet.")
    assert dag.run(run_id)["state"] == "running"
    (tmp_path / "late.jpg").write_bytes(photos["china.jpg"].read_bytes())
    assert finish(dag, run_id) == "success"
