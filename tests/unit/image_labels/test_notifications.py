from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from airflow.sdk.definitions.callback import AsyncCallback
from airflow.triggers.callback import CallbackTrigger
from moto import mock_aws

from image_labels.notifications import TroubleNotifier


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in {"ACCESS_KEY_ID": "x", "SECRET_ACCESS_KEY": "x", "DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", "aws://")
    with mock_aws():
        yield


@pytest.fixture
def inbox(aws: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What has come to the topic of the Variable: a function that returns it."""
    topic = boto3.client("sns").create_topic(Name="alarms")["TopicArn"]
    sqs = boto3.client("sqs")
    queue = sqs.create_queue(QueueName="inbox")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    boto3.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    monkeypatch.setenv("AIRFLOW_VAR_IMAGE_LABELS_ALARM_TOPIC", topic)

    def inbox() -> list[tuple[str, str]]:
        messages = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
        bodies = [json.loads(message["Body"]) for message in messages]
        return [(body["Subject"], body["Message"]) for body in bodies]

    return inbox


def test_a_failure_is_told(inbox: Any) -> None:
    notifier = TroubleNotifier(subject="Failed", message="Run {{ dag_run.run_id }} failed")
    notifier({"dag_run": SimpleNamespace(run_id="scheduled__1")})
    assert inbox() == [("Failed", "Run scheduled__1 failed")]


async def test_a_missed_deadline_is_told_from_the_triggerer(inbox: Any) -> None:
    """As the triggerer does it: by the path of the class, with a context that is plain data."""
    callback = AsyncCallback(TroubleNotifier, {"subject": "Late", "message": "Run {{ dag_run.dag_run_id }} is late"})
    context = {"dag_run": {"dag_run_id": "scheduled__1"}, "deadline": {"id": "1"}}
    trigger = CallbackTrigger(callback.path, {**callback.kwargs, "context": context})
    events = [event async for event in trigger.run()]
    assert "success" in str(events[-1])
    assert inbox() == [("Late", "Run scheduled__1 is late")]


@pytest.mark.usefixtures("aws")
def test_nobody_is_told_where_no_topic_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be refused: there is no such topic, and none is asked for."""
    monkeypatch.setenv("AIRFLOW_VAR_IMAGE_LABELS_ALARM_TOPIC", "")
    TroubleNotifier(subject="Failed", message="Run failed")({})
