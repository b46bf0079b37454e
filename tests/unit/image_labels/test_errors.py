from __future__ import annotations

from typing import Any

import pytest
from botocore import exceptions
from botocore.exceptions import ClientError

from image_labels.errors import CutShort, Verdict, code_of, message_of, verdict


def refused(code: str | None, status: int = 400, **error: str) -> ClientError:
    if code is not None:
        error["Code"] = code
    return ClientError({"Error": error, "ResponseMetadata": {"HTTPStatusCode": status}}, "DetectLabels")


BY_CODE = {
    Verdict.QUARANTINE: [
        "InvalidS3ObjectException",
        "InvalidImageFormatException",
        "ImageTooLargeException",
        "InvalidParameterException",
    ],
    Verdict.FAIL: ["AccessDeniedException", "UnrecognizedClientException", "ExpiredTokenException"],
    Verdict.SLOW_DOWN: ["ThrottlingException", "ProvisionedThroughputExceededException"],
}


@pytest.mark.parametrize(
    ("code", "expected"), [(code, expected) for expected, codes in BY_CODE.items() for code in codes]
)
def test_a_code_has_its_verdict(code: str, expected: Verdict) -> None:
    assert verdict(refused(code, Message="why")) is expected


def test_a_server_error_is_tried_again() -> None:
    assert verdict(refused("InternalServerError", 500)) is Verdict.TRY_AGAIN
    assert verdict(refused("SomethingNew", 503)) is Verdict.TRY_AGAIN
    assert verdict(refused("502", 502)) is Verdict.TRY_AGAIN


def test_throttling_slows_down_whatever_the_status() -> None:
    assert verdict(refused("ThrottlingException", 500, Message="Slow down")) is Verdict.SLOW_DOWN
    assert verdict(refused("ThrottlingException", 503)) is Verdict.SLOW_DOWN


@pytest.mark.parametrize(
    "error", [refused("SomethingNew"), refused(None), ValueError("x"), KeyError("Labels")], ids=repr
)
def test_what_nobody_has_thought_of_is_decided_by_nobody(error: Exception) -> None:
    assert verdict(error) is Verdict.UNKNOWN


URL = {"endpoint_url": "http://localhost", "error": "reset"}


@pytest.mark.parametrize(
    "error",
    [
        exceptions.ConnectionClosedError(**URL),
        exceptions.ReadTimeoutError(**URL),
        exceptions.ConnectTimeoutError(**URL),
        exceptions.EndpointConnectionError(**URL),
        exceptions.HTTPClientError(error="broken pipe"),
        exceptions.ResponseStreamingError(error="cut"),
        CutShort("no Labels"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_timeouts_and_broken_connections_are_tried_again(error: Exception) -> None:
    assert verdict(error) is Verdict.TRY_AGAIN


@pytest.mark.parametrize(
    "error",
    [exceptions.NoCredentialsError(), exceptions.PartialCredentialsError(provider="env", cred_var="secret")],
    ids=lambda error: type(error).__name__,
)
def test_missing_credentials_fail_at_once(error: Exception) -> None:
    assert verdict(error) is Verdict.FAIL


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (refused("AccessDeniedException", Message="not allowed"), "AccessDeniedException", "not allowed"),
        (refused("AccessDeniedException"), "AccessDeniedException", "no message"),
        (refused("AccessDeniedException", Message=""), "AccessDeniedException", "no message"),
        (refused(None), "", "no message"),
        (ClientError({}, "DetectLabels"), "", "no message"),
    ],
    ids=["both", "no message", "empty message", "no code", "nothing"],
)
def test_code_and_message_may_be_missing(error: Any, code: str, message: str) -> None:
    assert (code_of(error), message_of(error)) == (code, message)
