"""The stand-in's server, called without a socket."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from PIL import Image

from rekognition import picture, wire
from rekognition.app import create_app
from rekognition.settings import Settings
from rekognition.wire import AwsError

IN_S3 = {"S3Object": {"Bucket": "photos", "Name": "a.jpg"}}


def settings(**changes: Any) -> Settings:
    defaults: dict[str, Any] = {
        "access_key_id": "key",
        "secret_access_key": "secret",
        "s3_access_key_id": "own",
        "s3_secret_access_key": "own",
        "labels": "generator",
        "read_images": False,
        "tps": 0,
    }
    return Settings(**defaults | changes)


def image_file(size: tuple[int, int] = (200, 100), kind: str = "JPEG", mode: str = "RGB", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.effect_noise(size, 60).convert(mode).save(file, kind, **options)
    return file.getvalue()


class Client(httpx.AsyncClient):
    """Calls the server as an SDK does."""

    async def detect_labels(self, target: str = wire.TARGET, **parameters: Any) -> httpx.Response:
        body = json.dumps(parameters).encode()
        request = AWSRequest("POST", "http://stand-in/", {"Host": "stand-in", "X-Amz-Target": target}, body)
        SigV4Auth(Credentials("key", "secret"), "rekognition", "us-east-1").add_auth(request)
        return await self.post("/", content=body, headers=dict(request.headers))

    async def stats(self) -> dict[str, Any]:
        shown: dict[str, Any] = (await self.get("/_stats")).json()
        return shown


@pytest.fixture
def client() -> Callable[..., Client]:
    def make(**changes: Any) -> Client:
        transport = httpx.ASGITransport(create_app(settings(**changes)))
        return Client(transport=transport, base_url="http://stand-in")

    return make


async def test_the_generator_answers_the_same_image_alike_and_says_what_it_is(client):
    async with client() as stand_in:
        first = await stand_in.detect_labels(Image=IN_S3)
        second = await stand_in.detect_labels(Image=IN_S3)
    assert first.status_code == 200
    assert first.headers["content-type"] == "application/x-amz-json-1.1"
    assert first.headers["x-amzn-requestid"] != second.headers["x-amzn-requestid"]
    assert first.json() == second.json()
    assert first.json()["LabelModelVersion"] == "generator"
    assert first.json()["Labels"]


async def test_calls_are_counted_by_outcome(client):
    async with client() as stand_in:
        for image in (IN_S3, IN_S3, {"S3Object": {"Bucket": "photos", "Name": "b.jpg"}}, {}):
            await stand_in.detect_labels(Image=image)
        await stand_in.detect_labels("RekognitionService.DetectFaces", Image=IN_S3)
        await stand_in.post("/", content=b"{}", headers={"X-Amz-Target": wire.TARGET})
        stats = await stand_in.stats()
        assert (await stand_in.post("/_stats/reset")).json() == stats
        assert (await stand_in.stats())["calls"] == 0
    assert (stats["calls"], stats["answers"], stats["images"], stats["throttles"]) == (6, 3, 2, 0)
    assert stats["errors"] == {
        "InvalidParameterException": 1,
        "UnknownOperationException": 1,
        "MissingAuthenticationTokenException": 1,
    }
    assert stats["first_call"] <= stats["last_call"]


async def test_an_image_is_given_in_one_way(client):
    both = IN_S3 | {"Bytes": base64.b64encode(b"x").decode()}
    async with client() as stand_in:
        for image in ({}, both, {"S3Object": {"Bucket": "photos"}}):
            refused = await stand_in.detect_labels(Image=image)
            assert (refused.status_code, refused.json()["Code"]) == (400, "InvalidParameterException")


async def test_calls_over_the_quota_are_throttled_and_counted(client):
    async with client(tps=5) as stand_in:
        codes = [(await stand_in.detect_labels(Image=IN_S3)).status_code for _ in range(5)]
        stats = await stand_in.stats()
    assert codes[:2] == [200, 200]
    assert stats["throttles"] == stats["errors"]["ThrottlingException"] == codes.count(400) >= 2


async def test_the_same_seed_brings_the_same_faults(client):
    async def outcomes(seed: int) -> list[int]:
        async with client(throttles=0.3, errors=0.3, seed=seed) as stand_in:
            return [(await stand_in.detect_labels(Image=IN_S3)).status_code for _ in range(40)]

    first = await outcomes(1)
    assert first == await outcomes(1)
    assert first != await outcomes(2)
    assert set(first) == {200, 400, 500}


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("throttles", 400, "ThrottlingException"),
        ("errors", 500, "InternalServerError"),
        ("denials", 400, "AccessDeniedException"),
    ],
)
async def test_faults_can_be_asked_for_while_the_server_runs(client, fault, status, code):
    async with client() as stand_in:
        assert (await stand_in.put("/_settings", json={fault: 1})).json()[fault] == 1
        failed = await stand_in.detect_labels(Image=IN_S3)
        assert (failed.status_code, failed.json()["__type"]) == (status, code)
        await stand_in.put("/_settings", json={fault: 0.0})
        assert (await stand_in.detect_labels(Image=IN_S3)).status_code == 200


@pytest.mark.parametrize(
    "changes",
    [{"speed": 1}, {"access_key_id": "x"}, {"tps": "fast"}, {"tps": True}, {"tps": -1}, {"labels": "x"}, []],
)
async def test_settings_that_cannot_be_are_refused_and_change_nothing(client, changes):
    async with client() as stand_in:
        before = (await stand_in.get("/_settings")).json()
        refused = await stand_in.put("/_settings", json=changes)
        assert refused.status_code == 400
        assert refused.json()["error"]
        assert (await stand_in.get("/_settings")).json() == before


async def test_settings_do_not_show_secrets(client):
    async with client() as stand_in:
        assert "secret" not in (await stand_in.get("/_settings")).text


async def test_an_admitted_call_takes_at_least_the_latency(client):
    async with client(latency=0.05) as stand_in:
        assert (await stand_in.detect_labels(Image=IN_S3)).elapsed.total_seconds() >= 0.05


async def test_bytes_are_checked_in_generator_mode_too(client):
    async with client() as stand_in:
        good = base64.b64encode(image_file()).decode()
        assert (await stand_in.detect_labels(Image={"Bytes": good})).status_code == 200
        bad = await stand_in.detect_labels(Image={"Bytes": base64.b64encode(b"no picture").decode()})
    assert bad.json()["Code"] == "InvalidImageFormatException"


def test_settings_come_from_the_environment():
    environment = {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "REKOGNITION_S3_ACCESS_KEY_ID": "own",
        "REKOGNITION_S3_SECRET_ACCESS_KEY": "own",
        "REKOGNITION_LABELS": "generator",
        "REKOGNITION_READ_IMAGES": "false",
        "REKOGNITION_TPS": "0",
    }
    assert Settings.from_environment(environment) == settings()


@pytest.mark.parametrize(
    ("environment", "missing"),
    [({"REKOGNITION_LABELS": "generator"}, "ACCESS_KEY_ID"), ({"REKOGNITION_MODELS": "/nowhere"}, "tflite")],
)
def test_a_missing_setting_is_named(environment, missing):
    if missing == "tflite":
        environment |= {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    with pytest.raises(ValueError, match=missing):
        Settings.from_environment(environment)


def refusal(data: bytes) -> AwsError:
    with pytest.raises(AwsError) as caught:
        picture.read(data, 640)
    return caught.value


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("size", [(80, 80), (10_000, 80), (80, 10_000)])
def test_pictures_within_the_limits_are_read(kind, size):
    image = picture.read(image_file(size, kind), 10_000)
    assert (image.mode, image.size) == ("RGB", size)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((79, 100), "Request has invalid parameters"),
        ((100, 1), "Request has invalid parameters"),
        ((10_001, 100), "Input image dimensions 10001 x 100 exceed maximum dimension size of 10000 pixels"),
    ],
)
def test_pictures_that_are_too_small_or_too_wide_are_invalid_parameters(size, message):
    refused = refusal(image_file(size))
    assert (refused.code, refused.message) == ("InvalidParameterException", message)


def test_a_file_over_15_mb_is_too_large():
    file = image_file()
    assert picture.read(file.ljust(picture.MAX_BYTES, b"\0"), 640)
    assert refusal(file.ljust(picture.MAX_BYTES + 1, b"\0")).code == "ImageTooLargeException"


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "WEBP"])
def test_other_formats_are_refused(kind):
    assert refusal(image_file(kind=kind)).code == "InvalidImageFormatException"


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 0.9])
def test_files_that_are_cut_short_are_refused(kind, share):
    file = image_file(kind=kind)
    assert refusal(file[: int(len(file) * share)]).code == "InvalidImageFormatException"


@pytest.mark.parametrize(
    ("kind", "mode"), [("JPEG", "CMYK"), ("JPEG", "L"), ("PNG", "P"), ("PNG", "RGBA"), ("PNG", "1")]
)
def test_every_colour_mode_becomes_rgb(kind, mode):
    assert picture.read(image_file(kind=kind, mode=mode), 640).mode == "RGB"


def test_16_bits_are_scaled_not_clipped():
    file = io.BytesIO()
    Image.new("I;16", (100, 100), 0x8000).save(file, "PNG")
    assert picture.read(file.getvalue(), 640).getpixel((0, 0)) == (128, 128, 128)


def test_a_jpeg_is_turned_upright_and_a_png_is_not():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert picture.read(image_file((200, 100), exif=exif), 640).size == (100, 200)
    assert picture.read(image_file((200, 100), "PNG", exif=exif), 640).size == (200, 100)


def test_image_properties_are_measured():
    image = Image.new("RGB", (100, 100), "red")
    image.paste("white", (0, 0, 100, 25))
    measured = picture.properties(image, 2)
    red, white = measured["DominantColors"]
    assert (red["HexCode"], red["SimplifiedColor"], round(red["PixelPercent"])) == ("#ff0000", "red", 75)
    assert (white["CSSColor"], round(white["PixelPercent"])) == ("white", 25)
    flat = picture.properties(Image.new("RGB", (100, 100), "black"), 0)
    assert flat == {"Quality": {"Brightness": 0, "Sharpness": 0, "Contrast": 0}, "DominantColors": []}
    assert measured["Quality"]["Contrast"] > 0
