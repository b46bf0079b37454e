"""What may go wrong, sorted by what is to be done about it: the one place that decides."""

from __future__ import annotations

from enum import Enum
from typing import Any


class NotAllowed(Exception):
    """Credentials or permissions are wrong: trying again is no use, and no image is at fault."""


class BadSettings(ValueError):
    """A param, an argument or a connection is wrong: trying again is no use."""


class BooksDoNotBalance(Exception):
    """Something was lost or done twice; the message says where."""


class TooManyRefused(Exception):
    """So large a share was refused that the set-up must be at fault, not the pictures."""


class CutShort(Exception):
    """A connection ended within the answer, which botocore takes for an answer with nothing in it."""


class Verdict(Enum):
    """What is to be done about an error of Rekognition."""

    QUARANTINE = "it is the image"
    FAIL = "it is the set-up"
    SLOW_DOWN = "it is the rate"
    TRY_AGAIN = "it is a passing fault"
    UNKNOWN = "it is something else"


BY_CODE = {
    **dict.fromkeys(
        (
            "InvalidS3ObjectException",
            "InvalidImageFormatException",
            "ImageTooLargeException",
            "InvalidParameterException",
            "ValidationException",
        ),
        Verdict.QUARANTINE,
    ),
    **dict.fromkeys(
        (
            "AccessDeniedException",
            "ExpiredTokenException",
            "IncompleteSignatureException",
            "InvalidClientTokenId",
            "InvalidSignatureException",
            "MissingAuthenticationTokenException",
            "OptInRequired",
            "UnrecognizedClientException",
        ),
        Verdict.FAIL,
    ),
    **dict.fromkeys(
        ("ThrottlingException", "ThrottledException", "Throttling", "ProvisionedThroughputExceededException"),
        Verdict.SLOW_DOWN,
    ),
    **dict.fromkeys(("InternalServerError", "InternalFailure", "ServiceUnavailable"), Verdict.TRY_AGAIN),
}
"""Error codes of DetectLabels and those common to all AWS services.

.. seealso:: https://docs.aws.amazon.com/rekognition/latest/dg/error-handling.html
"""


ACTIONS = {
    "CopyObject": "s3:PutObject (and s3:GetObject of the source)",
    "DeleteObject": "s3:DeleteObject (s3:DeleteObjectVersion of a version)",
    "DetectLabels": "rekognition:DetectLabels",
    "GetObject": "s3:GetObject",
    "HeadObject": "s3:GetObject",
    "ListObjectsV2": "s3:ListBucket",
    "ListObjectVersions": "s3:ListBucketVersions",
    "PutObject": "s3:PutObject",
    "GetSecretValue": "secretsmanager:GetSecretValue",
    "GetCallerIdentity": "valid credentials",
}
"""What has to be allowed for a call of AWS, by its name in boto3."""


FEWEST_FOR_A_SHARE = 20
"""Images; of fewer, a share says nothing."""


def check_share(refused: int, images: int, most: float, what: str) -> None:
    """Check that not too many images were refused.

    :param most: share that is accepted, 0 to 1
    :param what: who refused them, for the message
    :raises TooManyRefused: if there are more, of at least :data:`FEWEST_FOR_A_SHARE` images
    """
    if images >= FEWEST_FOR_A_SHARE and refused > most * images:
        raise TooManyRefused(
            f"{what} refused {refused} of {images} images, param max_failure_share allows {most:.0%}. "
            "The reasons are in the log; mend the cause or raise the param, and clear this task"
        )


def verdict(error: BaseException) -> Verdict:
    """Decide about an error that a call of Rekognition raised."""
    from botocore.exceptions import (
        ClientError,
        ConnectionError,
        HTTPClientError,
        NoCredentialsError,
        PartialCredentialsError,
    )

    if isinstance(error, ClientError):
        known = BY_CODE.get(code_of(error))
        if known is None and error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500:
            return Verdict.TRY_AGAIN
        return known or Verdict.UNKNOWN
    if isinstance(error, (ConnectionError, HTTPClientError, CutShort)):
        return Verdict.TRY_AGAIN
    if isinstance(error, (NoCredentialsError, PartialCredentialsError)):
        return Verdict.FAIL
    return Verdict.UNKNOWN


def code_of(error: Any) -> str:
    """Return the code of a ``ClientError``, such as ``ThrottlingException``."""
    return str(error.response.get("Error", {}).get("Code", ""))


def message_of(error: Any) -> str:
    """Return what the service said in a ``ClientError``; it may have said nothing."""
    return str(error.response.get("Error", {}).get("Message") or "no message")


def denied_action(error: BaseException) -> str | None:
    """Return the permission that a service denied, such as ``s3:PutObject``; None if none was."""
    from botocore.exceptions import ClientError
    from pymongo.errors import OperationFailure

    if isinstance(error, ClientError):
        denied = code_of(error) in ("AccessDenied", "403", "Forbidden") or verdict(error) is Verdict.FAIL
        return ACTIONS.get(error.operation_name, error.operation_name) if denied else None
    if isinstance(error, OperationFailure) and error.code in (13, 18):  # Unauthorized, AuthenticationFailed
        return f"DocumentDB ({error.details and error.details.get('errmsg')})"
    return None
