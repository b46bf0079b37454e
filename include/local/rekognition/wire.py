"""The wire of Amazon Rekognition: AWS JSON 1.1, Signature Version 4, and errors as the service words them.

What a request may hold is not written down here: it is read from botocore's own model of the service.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import re
from collections.abc import Mapping
from typing import Any

import botocore.session
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.model import ListShape, Shape, StructureShape

TARGET = "RekognitionService.DetectLabels"
CONTENT_TYPE = "application/x-amz-json-1.1"

_SERVICE = botocore.session.get_session().get_service_model("rekognition")
_REQUEST: Any = _SERVICE.operation_model("DetectLabels").input_shape
_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "structure": (dict,),
    "list": (list,),
    "string": (str,),
    "blob": (str,),
    "integer": (int,),
    "float": (int, float),
}
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/\d{8}/(?P<region>[^/]+)/rekognition/aws4_request, ?"
    r"SignedHeaders=(?P<headers>[^,]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)


class AwsError(Exception):
    """An answer that is an error.

    :param code: Name of the exception, as in the service's API reference.
    :param message: What the service says with it.
    :param status: HTTP status.
    """

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status

    def body(self) -> bytes:
        """Return what goes over the wire."""
        return json.dumps({"__type": self.code, "Code": self.code, "Message": self.message}).encode()


def invalid_parameters() -> AwsError:
    """Make the one error that the service has for most of what the model of its API cannot express."""
    return AwsError("InvalidParameterException", "Request has invalid parameters")


def authenticate(headers: Mapping[str, str], body: bytes, access_key: str, secret_key: str) -> None:
    """Check the request's signature, as every AWS service does.

    :param headers: Headers with lower-case names.
    :raises AwsError: The signature is missing, of another access key, or wrong.
    """
    given = _AUTHORIZATION.fullmatch(headers.get("authorization", ""))
    if given is None:
        raise AwsError("MissingAuthenticationTokenException", "Missing Authentication Token")
    if given["key"] != access_key:
        raise AwsError("UnrecognizedClientException", "The security token included in the request is invalid.")
    signed = {name: headers.get(name, "") for name in given["headers"].split(";")}
    request = AWSRequest("POST", f"http://{signed.get('host')}/", signed, body)
    request.context["timestamp"] = headers.get("x-amz-date", "")
    signer = SigV4Auth(Credentials(access_key, secret_key), "rekognition", given["region"])
    expected = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    if not hmac.compare_digest(expected, given["signature"]):
        raise AwsError(
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided. Check your AWS "
            "Secret Access Key and signing method. Consult the service documentation for details.",
        )


def parse(body: bytes) -> dict[str, Any]:
    """Turn a request's body into parameters, with ``Bytes`` decoded.

    :raises AwsError: ``SerializationException`` for what is not JSON or of a wrong type,
        ``ValidationException`` for what breaks a constraint of the service's model.
    """
    try:
        document = json.loads(body)
    except ValueError:
        raise AwsError("SerializationException", "The request is not valid JSON") from None
    problems: list[str] = []
    parameters: dict[str, Any] = _read(document, _REQUEST, "", problems)
    if problems:
        noun = "error" if len(problems) == 1 else "errors"
        raise AwsError("ValidationException", f"{len(problems)} validation {noun} detected: {'; '.join(problems)}")
    return parameters


def _read(value: Any, shape: Any, path: str, problems: list[str]) -> Any:
    fits = isinstance(value, _JSON_TYPES[shape.type_name]) and not isinstance(value, bool)
    if not fits:
        raise AwsError("SerializationException", f"{type(value).__name__} cannot be converted to {shape.name}")
    if isinstance(shape, StructureShape):
        return _read_structure(value, shape, path, problems)
    if shape.type_name == "blob":
        value = _decode(value)
    problem = _broken_constraint(value, shape)
    if problem:
        # The service shows a blob as the Java object that it is there.
        if isinstance(value, bytes):
            value = f"java.nio.HeapByteBuffer[pos=0 lim={len(value)} cap={len(value)}]"
        problems.append(f"Value '{value}' at '{path}' failed to satisfy constraint: Member must {problem}")
    if isinstance(shape, ListShape):
        return [_read(item, shape.member, f"{path}.{n}.member", problems) for n, item in enumerate(value, 1)]
    return value


def _read_structure(value: dict[str, Any], shape: StructureShape, path: str, problems: list[str]) -> dict[str, Any]:
    result = {}
    for name, member in shape.members.items():
        member_path = f"{path}.{name[0].lower()}{name[1:]}".lstrip(".")
        if value.get(name) is not None:
            result[name] = _read(value[name], member, member_path, problems)
        elif name in shape.required_members:
            problems.append(f"Value null at '{member_path}' failed to satisfy constraint: Member must not be null")
    return result  # The service ignores members that it does not know.


def _decode(value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error:
        raise AwsError("SerializationException", "Blob is not valid base64") from None


def _broken_constraint(value: Any, shape: Shape) -> str | None:
    rules = shape.metadata
    size, what = (value, "value") if isinstance(value, int | float) else (len(value), "length")
    if size < rules.get("min", size):
        return f"have {what} greater than or equal to {rules['min']}"
    if size > rules.get("max", size):
        return f"have {what} less than or equal to {rules['max']}"
    if "enum" in rules and value not in rules["enum"]:
        return f"satisfy enum value set: [{', '.join(rules['enum'])}]"
    if "pattern" in rules and not re.fullmatch(rules["pattern"], value):
        return f"satisfy regular expression pattern: {rules['pattern']}"
    return None
