"""The server: one operation of Amazon Rekognition, and pages under ``/_`` for those who test against it."""

from __future__ import annotations

import asyncio
import json
import os
import random
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rekognition import detector, generator, labels, picture, wire
from rekognition.settings import Settings
from rekognition.throttle import Quota, sudden_increase
from rekognition.wire import AwsError

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

THROTTLES = ("ThrottlingException", "ProvisionedThroughputExceededException")
# Enough for both models, whose larger input has 320 px a side, and for colours.
_ENOUGH = 640


@dataclass
class Stats:
    """Counts since the start or the last reset; ``images`` are the distinct ones that were answered."""

    calls: int = 0
    answers: int = 0
    throttles: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    first_call: float | None = None
    last_call: float | None = None
    images: set[int] = field(default_factory=set)

    def called(self) -> None:
        """Count a call."""
        self.calls += 1
        self.last_call = time.time()
        self.first_call = self.first_call or self.last_call

    def failed(self, code: str) -> None:
        """Count an error by its type."""
        self.errors[code] += 1
        self.throttles += code in THROTTLES

    def public(self) -> dict[str, Any]:
        """Return the counts as JSON can hold them."""
        return vars(self) | {"images": len(self.images)}


class BrokenConnection(Response):
    """An answer that is not sent to its end: the server can only close the connection.

    :param begun: What is sent; if it is nothing, the client does not even learn how long the answer would be.
    """

    def __init__(self, begun: bytes) -> None:
        self._begun = begun

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Begin the answer and leave."""
        length = [(b"content-length", b"1000")] if self._begun else []
        await send({"type": "http.response.start", "status": 200, "headers": length})
        await send({"type": "http.response.body", "body": self._begun, "more_body": True})


class StandIn:
    """The service.

    :param settings: How it behaves.
    """

    def __init__(self, settings: Settings) -> None:
        self.stats = Stats()
        self._configure(settings)
        self._s3 = boto3.client(
            "s3",
            endpoint_url=settings.s3_endpoint or None,
            aws_access_key_id=settings.s3_access_key_id or None,
            aws_secret_access_key=settings.s3_secret_access_key or None,
            region_name=os.environ.get("AWS_DEFAULT_REGION", "us-east-1"),
        )
        # As many pictures at once as there are processors; each thread has its own models.
        self._viewers = ThreadPoolExecutor(os.cpu_count(), "viewer")
        self._own = threading.local()

    def _configure(self, settings: Settings) -> None:
        self.settings = settings
        self._quota = Quota(settings.tps)
        self._faults = random.Random(settings.seed)  # noqa: S311

    async def call(self, request: Request) -> Response:
        """``POST /``: DetectLabels, or the error that the service would answer."""
        self.stats.called()
        try:
            return _answer(await self._detect_labels(request))
        except AwsError as error:
            self.stats.failed(error.code)
            return _answer(error.body(), error.status)
        except ConnectionError as error:
            self.stats.failed(type(error).__name__)
            return BrokenConnection(*error.args)

    async def _detect_labels(self, request: Request) -> bytes:
        if request.headers.get("x-amz-target") != wire.TARGET:
            raise AwsError("UnknownOperationException", "This stand-in knows DetectLabels only")
        body = await request.body()
        wire.authenticate(request.headers, body, self.settings.access_key_id, self.settings.secret_access_key)
        self._quota.admit(time.monotonic())
        done = time.monotonic() + self.settings.latency
        try:
            self._meet_fault()
            return await self._look(wire.parse(body))
        finally:
            if (left := done - time.monotonic()) > 0:
                await asyncio.sleep(left)

    def _meet_fault(self) -> None:
        settings = self.settings
        faults: list[tuple[float, Exception]] = [
            (settings.throttles, sudden_increase()),
            (settings.errors, AwsError("InternalServerError", "Internal server error", 500)),
            (settings.drops, ConnectionResetError(b"")),
            (settings.cuts, ConnectionAbortedError(b'{"Labels": [')),
            (settings.denials, AwsError("AccessDeniedException", _DENIED)),
        ]
        roll = self._faults.random()
        for share, fault in faults:
            if roll < share:
                raise fault
            roll -= share

    async def _look(self, parameters: dict[str, Any]) -> bytes:
        given = parameters["Image"]
        where = given.get("S3Object", {})
        if ("Bytes" in given) == ("Bucket" in where and "Name" in where):
            raise wire.invalid_parameters()
        data: bytes | None = given.get("Bytes")
        identity = data or json.dumps(where).encode()
        if data is None and (self.settings.read_images or self.settings.labels == "model"):
            data = await asyncio.to_thread(self._fetch, where)
        if data is None:
            answer = _general_labels(generator.generate(where["Name"].encode()), generator.VERSION, parameters)
        else:
            view = self._view if self.settings.labels == "model" else self._glance
            answer = await asyncio.get_running_loop().run_in_executor(self._viewers, view, data, parameters)
        self.stats.answers += 1
        self.stats.images.add(hash(identity))
        return json.dumps(answer).encode()

    def _fetch(self, where: dict[str, str]) -> bytes:
        wanted: Any = {"Bucket": where["Bucket"], "Key": where["Name"]}
        if "Version" in where:
            wanted["VersionId"] = where["Version"]
        try:
            found = self._s3.get_object(**wanted)
            if found["ContentLength"] > picture.MAX_BYTES:
                found["Body"].close()
                raise picture.too_large()
            return found["Body"].read()
        except ClientError as error:
            raise AwsError("InvalidS3ObjectException", _NO_OBJECT) from error
        except BotoCoreError as error:
            raise AwsError("InternalServerError", f"Internal server error: {error}", 500) from error

    def _view(self, data: bytes, parameters: dict[str, Any]) -> dict[str, Any]:
        image = picture.read(data, _ENOUGH)
        features = parameters.get("Features") or ["GENERAL_LABELS"]
        found: list[labels.Label] = []
        if "GENERAL_LABELS" in features:
            if not hasattr(self._own, "detector"):
                self._own.detector = detector.Detector(Path(self.settings.models))
            found = self._own.detector.see(image)
        answer = _general_labels(found, detector.VERSION, parameters)
        if "IMAGE_PROPERTIES" in features:
            wanted = parameters.get("Settings", {}).get("ImageProperties", {}).get("MaxDominantColors", 10)
            answer["ImageProperties"] = picture.properties(image, wanted)
        return answer

    def _glance(self, data: bytes, parameters: dict[str, Any]) -> dict[str, Any]:
        picture.read(data, _ENOUGH)
        return _general_labels(generator.generate(data), generator.VERSION, parameters)

    async def show_settings(self, request: Request) -> Response:
        """``GET /_settings``: the settings; ``PUT``: change some, which starts quota and faults afresh."""
        if request.method == "PUT":
            try:
                self._configure(self.settings.changed(await request.json()))
            except ValueError as error:
                return JSONResponse({"error": str(error)}, 400)
        return JSONResponse(self.settings.public())

    async def show_stats(self, request: Request) -> Response:
        """``GET /_stats``: what was counted; ``POST /_stats/reset``: the same, and count anew."""
        shown = JSONResponse(self.stats.public())
        if request.method == "POST":
            self.stats = Stats()
        return shown

    async def show_health(self, request: Request) -> Response:
        """``GET /_health``: the server is up."""
        return JSONResponse({"status": "ok", "labels": self.settings.labels})


_DENIED = (
    "User: arn:aws:iam::000000000000:user/local is not authorized to perform: rekognition:DetectLabels "
    "because no identity-based policy allows the rekognition:DetectLabels action"
)
_NO_OBJECT = "Unable to get object metadata from S3. Check object key, region and/or access permissions."


def _general_labels(found: list[labels.Label], version: str, parameters: dict[str, Any]) -> dict[str, Any]:
    return {"Labels": labels.select(found, parameters), "LabelModelVersion": version}


def _answer(body: bytes, status: int = 200) -> Response:
    return Response(body, status, {"x-amzn-RequestId": str(uuid.uuid4())}, wire.CONTENT_TYPE)


def create_app(settings: Settings | None = None) -> Starlette:
    """Make the server.

    :param settings: How it behaves; from the environment if not given.
    """
    service = StandIn(settings or Settings.from_environment(os.environ))
    return Starlette(
        routes=[
            Route("/", service.call, methods=["POST"]),
            Route("/_settings", service.show_settings, methods=["GET", "PUT"]),
            Route("/_stats", service.show_stats),
            Route("/_stats/reset", service.show_stats, methods=["POST"]),
            Route("/_health", service.show_health),
        ]
    )
