"""What the stand-in takes and refuses, and how it says so."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from rekognition import wire
from rekognition.wire import AwsError

PICTURE = {"S3Object": {"Bucket": "photos", "Name": "images/a b+c.jpg"}}


def parse(**parameters: Any) -> dict[str, Any]:
    return wire.parse(json.dumps(parameters).encode())


def signed(body: bytes, access_key: str = "key", secret_key: str = "secret") -> dict[str, str]:
    headers = {"Host": "127.0.0.1:9", "X-Amz-Target": wire.TARGET, "Content-Type": wire.CONTENT_TYPE}
    request = AWSRequest("POST", "http://127.0.0.1:9/", headers, body)
    SigV4Auth(Credentials(access_key, secret_key), "rekognition", "eu-west-1").add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


def test_a_request_is_read_as_it_was_sent():
    given = {"Image": PICTURE, "MinConfidence": 50, "MaxLabels": 100, "Features": ["GENERAL_LABELS"]}
    assert parse(**given) == given


def test_bytes_are_decoded():
    assert parse(Image={"Bytes": base64.b64encode(b"\xff\xd8").decode()}) == {"Image": {"Bytes": b"\xff\xd8"}}


def test_members_that_are_null_or_unknown_are_as_good_as_absent():
    assert parse(Image=PICTURE, MaxLabels=None, Colour="red") == {"Image": PICTURE}


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        pytest.param({}, "Value null at 'image' failed .* Member must not be null", id="no image"),
        pytest.param({"MinConfidence": 100.5}, "'100.5' at 'minConfidence' .* less than or equal to 100", id="high"),
        pytest.param({"MinConfidence": -1}, "'-1' at 'minConfidence' .* greater than or equal to 0", id="low"),
        pytest.param({"MaxLabels": -1}, "'-1' at 'maxLabels'", id="max labels"),
        pytest.param(
            {"Features": ["FACES"]},
            r"'FACES' at 'features.1.member' .* enum value set: \[GENERAL_LABELS, IMAGE_PROPERTIES\]",
            id="feature",
        ),
        pytest.param(
            {"Settings": {"GeneralLabels": {"LabelInclusionFilters": ["Cat", "a$"]}}},
            "'a\\$' at 'settings.generalLabels.labelInclusionFilters.2.member' .* regular expression",
            id="filter",
        ),
        pytest.param(
            {"Settings": {"GeneralLabels": {"LabelExclusionFilters": ["x"] * 101}}},
            "length less than or equal to 100",
            id="too many filters",
        ),
        pytest.param({"Image": {"S3Object": {"Bucket": "ab", "Name": "x"}}}, "'image.s3Object.bucket'", id="bucket"),
        pytest.param(
            {"Image": {"Bytes": base64.b64encode(bytes(5 * 1024**2 + 1)).decode()}},
            r"HeapByteBuffer\[pos=0 lim=5242881 .* at 'image.bytes' .* less than or equal to 5242880",
            id="bytes",
        ),
    ],
)
def test_what_breaks_a_constraint_of_the_service_model_is_a_validation_exception(parameters, complaint):
    if parameters:
        parameters = {"Image": PICTURE} | parameters
    with pytest.raises(AwsError, match=f"^1 validation error detected: .*{complaint}") as caught:
        parse(**parameters)
    assert caught.value.code == "ValidationException"


def test_all_broken_constraints_are_told_at_once():
    with pytest.raises(AwsError, match=r"^2 validation errors detected: .*'maxLabels'.*; .*'minConfidence'"):
        parse(Image=PICTURE, MaxLabels=-1, MinConfidence=101)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"{", id="cut"),
        pytest.param(b"[]", id="list"),
        pytest.param(b'{"Image": {"S3Object": {"Bucket": 1}}}', id="number for string"),
        pytest.param(b'{"MaxLabels": "10"}', id="string for number"),
        pytest.param(b'{"MaxLabels": 1.5}', id="fraction for integer"),
        pytest.param(b'{"MaxLabels": true}', id="boolean for integer"),
        pytest.param(b'{"Image": {"Bytes": "%"}}', id="not base64"),
    ],
)
def test_what_cannot_be_read_is_a_serialization_exception(body):
    with pytest.raises(AwsError) as caught:
        wire.parse(body)
    assert caught.value.code == "SerializationException"


def test_a_request_signed_with_the_right_key_passes():
    wire.authenticate(signed(b"{}"), b"{}", "key", "secret")


@pytest.mark.parametrize(
    ("headers", "body", "code"),
    [
        pytest.param({}, b"{}", "MissingAuthenticationTokenException", id="unsigned"),
        pytest.param(signed(b"{}", "other"), b"{}", "UnrecognizedClientException", id="key"),
        pytest.param(signed(b"{}", secret_key="x"), b"{}", "InvalidSignatureException", id="secret"),
        pytest.param(signed(b"{}"), b"[]", "InvalidSignatureException", id="body"),
        pytest.param(signed(b"{}") | {"x-amz-target": "x"}, b"{}", "InvalidSignatureException", id="header"),
    ],
)
def test_a_request_that_is_not_signed_right_is_refused(headers, body, code):
    with pytest.raises(AwsError) as caught:
        wire.authenticate(headers, body, "key", "secret")
    assert caught.value.code == code


def test_an_error_has_the_body_that_sdks_read():
    body = json.loads(AwsError("ThrottlingException", "Slow down", 400).body())
    assert body == {"__type": "ThrottlingException", "Code": "ThrottlingException", "Message": "Slow down"}
