from __future__ import annotations

import io
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from airflow.sdk import RetryAction
from botocore.awsrequest import AWSResponse
from pymongo.errors import OperationFailure

from image_labels.errors import BadSettings, NotAllowed
from image_labels.landing import LocalLanding
from image_labels.layout import Layout
from image_labels.operators.base import RETRY_POLICY, is_true, open_landing, optional, s3_client

LAYOUT = Layout("bucket", "image-labels")
DAY = date(2026, 3, 1)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = '{"conn_type": "aws", "login": "key", "password": "secret", "extra": {"region_name": "eu-west-1"}}'
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", connection)


def respond(request: Any, status: int, body: bytes) -> AWSResponse:
    response = AWSResponse(request.url, status, {}, io.BytesIO())
    response._content = body
    return response


def test_uploads_do_not_wait_for_100_continue(aws: None) -> None:
    """A connection that is cut there makes botocore read on for ever."""
    sent: list[Any] = []

    def answer(request: Any, **_: Any) -> AWSResponse:
        sent.append(request)
        return respond(request, 200, b"")

    client = s3_client("aws_default")
    client.meta.events.register("before-send.s3", answer)
    client.put_object(Bucket="bucket", Key="key", Body=io.BytesIO(b"picture"))
    assert "Expect" not in sent[0].headers


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        pytest.param(NotAllowed("rekognition:DetectLabels was denied"), "permissions", id="Rekognition"),
        pytest.param(
            OperationFailure("not authorized", 13, {"errmsg": "not authorized"}), "DocumentDB", id="DocumentDB"
        ),
        pytest.param(BadSettings("quota"), "setting", id="setting"),
    ],
)
def test_what_trying_again_does_not_help_fails_at_once(error: Exception, reason: str) -> None:
    decision = RETRY_POLICY.evaluate(error, 1, 3)
    assert decision.action is RetryAction.FAIL
    assert reason in str(decision.reason)


@pytest.mark.parametrize(
    ("call", "permission"),
    [
        (lambda s3: s3.list_objects_v2(Bucket="bucket"), "s3:ListBucket was denied"),
        (lambda s3: s3.head_object(Bucket="bucket", Key="a"), "s3:GetObject was denied"),
        (lambda s3: s3.list_object_versions(Bucket="bucket"), "s3:ListBucketVersions was denied"),
        (lambda s3: s3.put_object_acl(Bucket="bucket", Key="a"), "PutObjectAcl was denied"),
    ],
    ids=["list", "head", "versions", "a call that has no entry"],
)
def test_a_denied_s3_action_is_named(aws: None, call: Callable[[Any], Any], permission: str) -> None:
    client = s3_client("aws_default")

    def deny(request: Any, **_: Any) -> AWSResponse:
        return respond(request, 403, b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>")

    client.meta.events.register("before-send.s3", deny)
    with pytest.raises(client.exceptions.ClientError) as raised:
        call(client)
    decision = RETRY_POLICY.evaluate(raised.value, 1, 3)
    assert decision.action is RetryAction.FAIL
    assert permission in str(decision.reason)


def test_a_refused_login_is_left_to_the_retries() -> None:
    """The password may be being rotated."""
    error = OperationFailure("Authentication failed.", 18, {"errmsg": "Authentication failed."})
    assert RETRY_POLICY.evaluate(error, 1, 3).action is RetryAction.DEFAULT


def test_a_passing_fault_is_left_to_the_retries() -> None:
    assert RETRY_POLICY.evaluate(ConnectionResetError(), 1, 3).action is RetryAction.DEFAULT


@pytest.mark.parametrize("landing", ["/data/{{ ds }}", "/data/2026-03-01", "file:///data/{{ds}}"])
def test_the_day_s_folder_is_part_of_the_paths_below_a_daily_landing_place(landing: str) -> None:
    place = open_landing(landing, DAY, LAYOUT, "aws_default")
    assert isinstance(place, LocalLanding)
    assert (place.uri, place._below) == ("file:///data/2026-03-01", "2026-03-01/")


def test_a_landing_place_of_another_kind_is_refused() -> None:
    with pytest.raises(BadSettings, match="gs://"):
        open_landing("gs://bucket/photos", DAY, LAYOUT, "aws_default")


def test_templates_may_give_texts() -> None:
    assert [is_true(value) for value in (True, "True", False, "False", None)] == [True, True, False, False, False]
    assert [optional(value) for value in (None, "None", "", 3, "0.5")] == [None, None, None, 3, 0.5]
