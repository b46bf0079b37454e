from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from image_labels import tables
from image_labels.contact_sheet import EACH, LABELS, SIDE, Example, contact_sheet

Row = tuple[str, str, float]
"""Image, label and confidence."""


class Day:
    """A day's tables on disk and its pictures in S3."""

    def __init__(self, s3: Any, bucket: str, folder: Path) -> None:
        self._s3, self._bucket, self._folder = s3, bucket, folder
        self._images: dict[str, dict[str, Any]] = {}

    def put(self, key: str, content: bytes, **facts: Any) -> None:
        """Store a picture and its row in ``images``."""
        self._s3.put_object(Bucket=self._bucket, Key=key, Body=content)
        self.know(key, **facts)

    def know(self, key: str, **facts: Any) -> None:
        """Enter a picture into ``images``."""
        self._images[key] = {"image": key, "sha256": key, "width": 400, "height": 300, "labels": 1} | facts

    def sheet(self, labels: list[str], *files: list[Row], boxes: Sequence[Any] = ()) -> dict[str, list[Example]]:
        paths = [
            self._write(tables.IMAGE_LABELS, [self._label(*row, boxes) for row in rows], f"part-{number}.parquet")
            for number, rows in enumerate(files)
        ]
        images = self._write(tables.IMAGES, list(self._images.values()), "images.parquet")
        return contact_sheet(self._s3, self._bucket, labels, paths, images)

    def _label(self, image: str, label: str, confidence: float, boxes: Sequence[Any]) -> dict[str, Any]:
        return {"image": image, "img": image.upper(), "label": label, "confidence": confidence, "boxes": boxes}

    def _write(self, table: tables.Table, rows: list[dict[str, Any]], name: str) -> Path:
        columns = {column: [row.get(column) for row in rows] for column in table.schema().names}
        path = self._folder / name
        nullable = pa.schema([field.with_nullable(True) for field in table.schema()])
        pq.write_table(pa.table(columns, schema=nullable).sort_by(table.sort_keys), path, row_group_size=100)
        return path


@pytest.fixture
def day(s3: Any, bucket: str, tmp_path: Path) -> Day:
    return Day(s3, bucket, tmp_path)


def jpeg(width: int = 400, height: int = 300, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.effect_noise((width, height), 50).save(out, "JPEG", **options)
    return out.getvalue()


def names(sheet: dict[str, list[Example]]) -> dict[str, list[str]]:
    return {label: [example.name for example in examples] for label, examples in sheet.items()}


def test_the_surest_pictures_of_each_label_in_its_order(day: Day) -> None:
    for key in ("a.jpg", "b.jpg", "c.jpg"):
        day.put(key, jpeg())
    sheet = day.sheet(["Dog", "Cat"], [("a.jpg", "Dog", 60), ("b.jpg", "Dog", 90)], [("c.jpg", "Dog", 70)])
    assert names(sheet) == {"Dog": ["B.JPG", "C.JPG", "A.JPG"]}
    assert [example.confidence for example in sheet["Dog"]] == [90, 70, 60]


def test_thumbnails_are_small_upright_and_tell_nothing_of_the_camera(day: Day) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Camera"
    day.put("a.jpg", jpeg(4000, 3000, exif=exif), width=3000, height=4000)
    (example,) = day.sheet(["Dog"], [("a.jpg", "Dog", 60)])["Dog"]
    assert example.jpeg is not None
    with Image.open(io.BytesIO(example.jpeg)) as thumbnail:
        assert thumbnail.size == (SIDE * 3 // 4, SIDE)
        assert not thumbnail.getexif()
    assert (example.width, example.height) == (3000, 4000)


def test_a_picture_with_a_rendition_is_shown_by_it(day: Day, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="renditions/a.jpg", Body=jpeg())
    day.put("a.heic", b"nothing that can be shown", rendition="renditions/a.jpg")
    assert day.sheet(["Dog"], [("a.heic", "Dog", 60)])["Dog"][0].jpeg


def test_a_missing_or_broken_picture_leaves_a_gap_and_a_line_in_the_log(
    day: Day, caplog: pytest.LogCaptureFixture
) -> None:
    day.know("gone.jpg")
    day.put("text.jpg", b"no picture")
    day.put("cut.jpg", jpeg()[:2000])
    day.put("whole.jpg", jpeg())
    rows: list[Row] = [(key, "Dog", 90) for key in ("gone.jpg", "text.jpg", "cut.jpg", "whole.jpg")]
    with caplog.at_level(logging.WARNING):
        shown = {example.name: bool(example.jpeg) for example in day.sheet(["Dog"], rows)["Dog"]}
    assert shown == {"GONE.JPG": False, "TEXT.JPG": False, "CUT.JPG": False, "WHOLE.JPG": True}
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith("3 thumbnails could not be made, the first of cut.jpg: it is a JPEG that can't be decoded")


def test_a_picture_that_would_take_the_report_s_memory_is_not_decoded(
    day: Day, caplog: pytest.LogCaptureFixture
) -> None:
    out = io.BytesIO()
    Image.new("1", (5000, 5000)).save(out, "PNG")
    day.put("large.png", out.getvalue())
    assert day.sheet(["Dog"], [("large.png", "Dog", 90)])["Dog"][0].jpeg is None
    assert "5,000 x 5,000 pixels take 250 MB" in caplog.text


def test_only_objects_that_have_a_place_get_a_frame(day: Day) -> None:
    day.put("a.jpg", jpeg())
    place = {"left": 0.1, "top": 0.2, "width": 0.3, "height": 0.4, "confidence": None}
    (example,) = day.sheet(["Dog"], [("a.jpg", "Dog", 60)], boxes=[dict.fromkeys(place), place])["Dog"]
    assert example.boxes == (place,)


def test_copies_are_shown_once_and_labels_share_no_picture_while_there_are_others(day: Day) -> None:
    content = jpeg()
    for key in ("a.jpg", "copy of a.jpg"):
        day.put(key, content, sha256="same")
    for number in range(EACH):
        day.put(f"{number}.jpg", content)
    everywhere = ["a.jpg", "copy of a.jpg", *(f"{number}.jpg" for number in range(EACH))]
    sheet = names(day.sheet(["Dog", "Animal"], [(key, label, 90) for label in ("Animal", "Dog") for key in everywhere]))
    assert len(set(sheet["Dog"])) == EACH
    assert len({*sheet["Dog"], *sheet["Animal"]}) == EACH + 1
    assert not {"A.JPG", "COPY OF A.JPG"} <= {*sheet["Dog"], *sheet["Animal"]}


def test_a_sheet_has_its_bounds(day: Day, s3: Any) -> None:
    rows: list[Row] = []
    for label in range(LABELS + 2):
        for picture in range(40):
            day.know(f"{label}-{picture}.jpg")
            rows.append((f"{label}-{picture}.jpg", f"Label {label}", 90))
    asked: list[Any] = []

    def remember(**event: Any) -> None:
        asked.append(event)

    s3.meta.events.register("before-call.s3.GetObject", remember)
    sheet = day.sheet([f"Label {label}" for label in range(LABELS + 2)], rows)
    s3.meta.events.unregister("before-call.s3.GetObject", remember)
    assert list(sheet) == [f"Label {label}" for label in range(LABELS)]
    assert {len(examples) for examples in sheet.values()} == {EACH}
    assert len(asked) == LABELS * EACH


def test_a_day_without_images_has_no_sheet(day: Day) -> None:
    assert day.sheet([], []) == {}
    assert day.sheet(["Dog"], []) == {}
