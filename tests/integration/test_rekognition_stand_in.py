"""The stand-in as a real process, asked by a real SDK about real photographs in a real S3.

The client (fixture ``rekognition``) makes no retries of its own, so that each error is seen.
"""

from __future__ import annotations

import io
from typing import Any

import httpx
import pytest
from botocore.exceptions import ConnectionClosedError
from PIL import Image


def in_s3(bucket: str, key: str) -> dict[str, Any]:
    return {"S3Object": {"Bucket": bucket, "Name": key}}


@pytest.fixture
def put(s3, bucket):
    """Puts a file into the bucket and returns it as the SDK's ``Image``."""

    def upload(key: str, data: bytes) -> dict[str, Any]:
        s3.put_object(Bucket=bucket, Key=key, Body=data)
        return in_s3(bucket, key)

    return upload


@pytest.fixture(autouse=True)
def stand_in(rekognition):
    """The stand-in's own pages. Nothing is throttled unless a test asks for it; settings are put back."""
    with httpx.Client(base_url=rekognition.meta.endpoint_url) as client:
        before = client.get("/_settings").json()
        client.put("/_settings", json={"tps": 0})
        yield client
        client.put("/_settings", json=before)


def by_name(answer: dict[str, Any]) -> dict[str, Any]:
    return {label["Name"]: label for label in answer["Labels"]}


def test_a_cat_is_seen_where_it_is(rekognition, put, photos):
    answer = rekognition.detect_labels(Image=put("cats/chelsea the cat.png", photos["chelsea.png"].read_bytes()))
    labels = by_name(answer)
    box = labels["Cat"]["Instances"][0]["BoundingBox"]
    assert labels["Cat"]["Parents"] == [{"Name": "Animal"}]
    assert labels["Animal"]["Confidence"] >= labels["Cat"]["Confidence"] > 70
    assert labels["Animal"]["Instances"] == []
    assert box["Left"] < 0.1
    assert 0.8 < box["Left"] + box["Width"] < 0.95
    assert box["Height"] > 0.9
    assert "EfficientDet" in answer["LabelModelVersion"]


@pytest.mark.parametrize(
    ("photo", "label"),
    [
        ("astronaut.png", "Person"),
        ("camera.png", "Tripod"),
        ("coffee.png", "Espresso"),
        ("motorcycle_left.png", "Motorcycle"),
    ],
)
def test_photographs_are_seen_for_what_they_show(rekognition, put, photos, photo, label):
    assert label in by_name(rekognition.detect_labels(Image=put(photo, photos[photo].read_bytes())))


def test_a_photograph_sent_as_bytes_gets_the_same_answer(rekognition, put, photos):
    data = photos["coffee.png"].read_bytes()
    in_bucket = rekognition.detect_labels(Image=put("coffee.png", data))
    assert rekognition.detect_labels(Image={"Bytes": data})["Labels"] == in_bucket["Labels"]


def test_boxes_refer_to_the_upright_picture(rekognition, photos):
    upright = Image.open(photos["motorcycle_left.png"]).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6  # Shown turned by 90 degrees clockwise.
    file = io.BytesIO()
    upright.transpose(Image.Transpose.ROTATE_90).save(file, "JPEG", quality=95, exif=exif)
    turned = by_name(rekognition.detect_labels(Image={"Bytes": file.getvalue()}))
    plain = by_name(rekognition.detect_labels(Image={"Bytes": photos["motorcycle_left.png"].read_bytes()}))
    expected = plain["Motorcycle"]["Instances"][0]["BoundingBox"]
    assert turned["Motorcycle"]["Instances"][0]["BoundingBox"] == pytest.approx(expected, abs=0.03)


def test_keys_of_any_spelling_are_found(rekognition, put, photos):
    data = photos["astronaut.png"].read_bytes()
    for key in ("a b+c%2F#?'\".png", "Ünï/🚀.png"):
        assert rekognition.detect_labels(Image=put(key, data))["Labels"]


def test_filters_and_image_properties_work_over_the_wire(rekognition, photos):
    answer = rekognition.detect_labels(
        Image={"Bytes": photos["coffee.png"].read_bytes()},
        Features=["GENERAL_LABELS", "IMAGE_PROPERTIES"],
        Settings={
            "GeneralLabels": {"LabelCategoryInclusionFilters": ["Food and Beverage"]},
            "ImageProperties": {"MaxDominantColors": 3},
        },
    )
    assert set(by_name(answer)) == {"Espresso", "Food"}
    assert len(answer["ImageProperties"]["DominantColors"]) == 3


def test_refused_images_raise_the_exceptions_that_the_sdk_models(rekognition, put, bucket, photos):
    errors = rekognition.exceptions
    cases = [
        (errors.InvalidS3ObjectException, in_s3(bucket, "no such key")),
        (errors.InvalidS3ObjectException, in_s3("no-such-bucket", "x")),
        (errors.InvalidImageFormatException, put("text.jpg", b"not a picture")),
        (errors.InvalidImageFormatException, put("cut.png", photos["chelsea.png"].read_bytes()[:9000])),
        (errors.InvalidImageFormatException, put("empty.jpg", b"")),
        (errors.ImageTooLargeException, put("large.jpg", bytes(15 * 1024**2 + 1))),
        (errors.InvalidParameterException, {}),
    ]
    for exception, image in cases:
        with pytest.raises(exception):
            rekognition.detect_labels(Image=image)


@pytest.mark.parametrize(
    ("fault", "exception"),
    [
        ("throttles", "ThrottlingException"),
        ("errors", "InternalServerError"),
        ("denials", "AccessDeniedException"),
    ],
)
def test_faults_raise_the_exceptions_that_the_sdk_models(rekognition, stand_in, bucket, fault, exception):
    stand_in.put("/_settings", json={fault: 1})
    with pytest.raises(getattr(rekognition.exceptions, exception)):
        rekognition.detect_labels(Image=in_s3(bucket, "x"))


def test_a_dropped_connection_is_an_error_and_a_cut_answer_looks_like_one_without_labels(rekognition, stand_in, bucket):
    stand_in.put("/_settings", json={"drops": 1})
    with pytest.raises(ConnectionClosedError):
        rekognition.detect_labels(Image=in_s3(bucket, "x"))
    stand_in.put("/_settings", json={"drops": 0, "cuts": 1})
    assert "Labels" not in rekognition.detect_labels(Image=in_s3(bucket, "x"))


def test_throttled_calls_cost_nothing_and_are_counted(rekognition, stand_in, put, photos):
    image = put("astronaut.png", photos["astronaut.png"].read_bytes())
    stand_in.put("/_settings", json={"tps": 2})
    stand_in.post("/_stats/reset")
    errors = rekognition.exceptions
    throttled = 0
    for _ in range(6):
        try:
            rekognition.detect_labels(Image=image)
        except (errors.ThrottlingException, errors.ProvisionedThroughputExceededException):
            throttled += 1
    stats = stand_in.get("/_stats").json()
    assert throttled >= 2
    assert (stats["calls"], stats["answers"], stats["throttles"]) == (6, 6 - throttled, throttled)
    assert stats["images"] == 1


def test_the_generator_can_be_switched_on(rekognition, stand_in, bucket):
    stand_in.put("/_settings", json={"labels": "generator", "read_images": False})
    answer = rekognition.detect_labels(Image=in_s3(bucket, "not even there"))
    assert answer["LabelModelVersion"] == "generator"
    assert answer["Labels"]
