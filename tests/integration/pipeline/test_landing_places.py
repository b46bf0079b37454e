"""What lands, where, under which name and in which format."""

from __future__ import annotations

from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

import pytest

from image_labels import jsonlines
from image_labels.intake import PIECE
from image_labels.sensors.new_images import NewImagesSensor
from odd_names import NAMES
from pipeline import PREFIX, Pipeline, objects

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import StandIn

pytestmark = pytest.mark.usefixtures("without_report")


@pytest.mark.parametrize("name", NAMES)
def test_odd_names_come_through_whole(
    pipeline: Pipeline, land: Callable[..., Path], collection: Any, stand_in: StandIn, name: str
) -> None:
    stand_in.set(labels="model")
    land(name, "chelsea.png")
    assert pipeline.run()["analyse"]["called"] == 1
    (document,) = collection.find()
    assert document["_id"] == f"{PREFIX}/images/{name}"
    assert document["img"] == name.rsplit("/", 1)[-1]


def test_names_that_differ_in_case_or_unicode_form_only_are_different_images(
    pipeline: Pipeline, land: Callable[..., Path], collection: Any, stand_in: StandIn
) -> None:
    for name in NAMES:
        land(name)
    assert pipeline.run()["ingest"]["ingested"] == len(NAMES)
    assert collection.count_documents({}) == len(NAMES)
    assert stand_in.answers == 1


def test_a_photo_goes_to_s3_in_large_pieces(
    pipeline: Pipeline, land: Callable[..., Path], collection: Any, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    send = HTTPConnection.send

    def send_noting(connection: HTTPConnection, data: Any) -> None:
        sent.append(len(data))
        send(connection, data)

    monkeypatch.setattr(HTTPConnection, "send", send_noting)
    photo = land("photo.png", "astronaut.png").read_bytes()
    pipeline.run()
    pieces = [length for length in sent if length >= PIECE]
    assert len(pieces) == len(photo) // PIECE > 1
    (document,) = collection.find()
    assert s3.get_object(Bucket=pipeline.bucket, Key=document["_id"])["Body"].read() == photo


def test_two_days_files_of_one_name_are_two_images(
    pipeline: Pipeline, land: Callable[..., Path], landing: Path, collection: Any
) -> None:
    land("2026-03-01/IMG_0001.jpg", "rocket.jpg")
    land("2026-03-02/IMG_0001.jpg", "china.jpg")
    pipeline.landing = f"{landing}/{{{{ ds }}}}"
    pipeline.run(day="2026-03-01")
    pipeline.run("run-2", day="2026-03-02")
    assert sorted(document["_id"] for document in collection.find()) == [
        f"{PREFIX}/images/2026-03-01/IMG_0001.jpg",
        f"{PREFIX}/images/2026-03-02/IMG_0001.jpg",
    ]
    assert pipeline.run("run-3", day="2026-03-03")["sense"]["seen"] == 0


def test_a_landing_place_in_the_pipelines_bucket_is_analysed_in_place(
    pipeline: Pipeline, photos: dict[str, Path], collection: Any, s3: Any
) -> None:
    for name in ("a b+c.jpg", "sub/d.jpg"):
        s3.upload_file(str(photos["rocket.jpg"]), pipeline.bucket, f"incoming/{name}")
    pipeline.landing = f"s3://{pipeline.bucket}/incoming"
    books = pipeline.run()
    assert books["upload"]["unchanged"] == 2
    assert {document["_id"] for document in collection.find()} == {"incoming/a b+c.jpg", "incoming/sub/d.jpg"}
    assert objects(s3, pipeline.bucket, "images/") == []
    assert pipeline.run("run-2", day="2026-03-02")["sense"]["known"] == 2


def test_a_landing_place_in_another_bucket_is_copied(
    pipeline: Pipeline, photos: dict[str, Path], collection: Any, s3: Any
) -> None:
    s3.create_bucket(Bucket="elsewhere")
    s3.upload_file(str(photos["rocket.jpg"]), "elsewhere", "2026-03-01/a.jpg")
    pipeline.landing = "s3://elsewhere/{{ ds }}"
    pipeline.run()
    assert collection.find_one()["_id"] == f"{PREFIX}/images/2026-03-01/a.jpg"


def test_formats_that_rekognition_does_not_take_are_seen_through_a_rendition(
    pipeline: Pipeline, landing: Path, photos: dict[str, Path], collection: Any, s3: Any, stand_in: StandIn
) -> None:
    from PIL import Image

    stand_in.set(labels="model")
    with Image.open(photos["chelsea.png"]) as cat:
        cat.save(landing / "cat.webp")
        cat.save(landing / "cat.tif")
        cat.save(landing / "cat.bmp")
    books = pipeline.run()
    assert books["analyse"]["called"] == 3
    for document in collection.find():
        assert "Cat" in {label["Name"] for label in document["Labels"]}
        assert document["rendition"] == f"{PREFIX}/renditions/{document['sha256']}.jpg"
        assert s3.head_object(Bucket=pipeline.bucket, Key=document["rendition"])["ContentType"] == "image/jpeg"


def test_a_file_that_changes_or_vanishes_after_it_was_sensed_waits_for_the_next_run(
    pipeline: Pipeline, land: Callable[..., Path], landing: Path, monkeypatch: pytest.MonkeyPatch, s3: Any
) -> None:
    land("stays.jpg")
    land("changes.jpg")
    land("vanishes.jpg")
    real = NewImagesSensor._finish

    def meddle(self: NewImagesSensor, *arguments: Any) -> Any:
        (landing / "vanishes.jpg").unlink()
        land("changes.jpg", "china.jpg")
        return real(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(NewImagesSensor, "_finish", meddle)
        books = pipeline.run()
    assert books["upload"]["quarantined"] == 2
    listed = list(jsonlines.read(s3, pipeline.bucket, f"{PREFIX}/quarantine/ds=2026-03-01/run-1.jsonl"))
    assert {row["path"]: row["code"] for row in listed} == {"changes.jpg": "changed", "vanishes.jpg": "vanished"}
    assert pipeline.run("run-2", day="2026-03-02")["analyse"]["called"] == 1


def test_files_that_are_still_changing_are_left_for_later(pipeline: Pipeline, land: Callable[..., Path]) -> None:
    land("a.jpg")
    books = pipeline.run(settle_seconds=3600)
    assert (books["sense"]["unsettled"], books["sense"]["new"], books["sense"]["batches"]) == (1, 0, 0)
