"""Names and files of every bad kind, from a folder, from another bucket and in the pipeline's own."""

from __future__ import annotations

import ctypes
import hashlib
import io
import os
import struct
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow.parquet as pq
import pytest
from PIL import Image

from image_labels import jsonlines
from image_labels.operators.upload import UploadImagesOperator
from odd_names import NAMES
from pipeline import PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import StandIn
    from pipeline import Pipeline

DAY = "2026-03-01"


class Source(Protocol):
    """A landing place that is written to.

    :param address: of the landing place
    :param keys: what the keys of its images begin with
    """

    address: str
    keys: str

    def put(self, path: str, content: bytes) -> None: ...

    def delete(self, path: str) -> None: ...


@dataclass
class Folder:
    address: str
    keys: str = f"{PREFIX}/images/"

    def put(self, path: str, content: bytes) -> None:
        file = Path(self.address, path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)

    def delete(self, path: str) -> None:
        Path(self.address, path).unlink()


@dataclass
class Bucket:
    s3: Any
    bucket: str
    keys: str

    @property
    def address(self) -> str:
        return f"s3://{self.bucket}/in"

    def put(self, path: str, content: bytes) -> None:
        self.s3.put_object(Bucket=self.bucket, Key=f"in/{path}", Body=content)

    def delete(self, path: str) -> None:
        self.s3.delete_object(Bucket=self.bucket, Key=f"in/{path}")


@pytest.fixture(params=["a folder", "another bucket", "the pipeline's bucket"])
def source(request: pytest.FixtureRequest, pipeline: Pipeline, landing: Path, s3: Any) -> Iterator[Source]:
    """A landing place of each kind, which the pipeline takes photos from."""
    if request.param == "a folder":
        yield Folder(str(landing))
        return
    if request.param == "the pipeline's bucket":
        source = Bucket(s3, pipeline.bucket, "in/")
        pipeline.landing = source.address
        yield source
        return
    source = Bucket(s3, f"{pipeline.bucket}-landing", f"{PREFIX}/images/")
    s3.create_bucket(Bucket=source.bucket)
    pipeline.landing = source.address
    yield source
    s3.delete_bucket(Bucket=source.bucket)


def quarantined(s3: Any, pipeline: Pipeline) -> dict[str, str]:
    """Return why files were not taken, by their paths."""
    rows = jsonlines.read(s3, pipeline.bucket, f"{PREFIX}/quarantine/ds={DAY}/run-1.jsonl")
    return {row["path"]: row["code"] for row in rows}


# --- names ---

ONLY_IN_FOLDERS = ["back\\slash.jpg"]
"""Unlike S3, SeaweedFS takes a backslash for a slash, and two slashes for one, in what is put into a bucket."""


def picture(number: int) -> bytes:
    """Return a small picture like no other."""
    out = io.BytesIO()
    Image.new("RGB", (80, 80), (number, 1, 2)).save(out, "PNG")
    return out.getvalue()


def test_any_name_comes_through_to_document_and_report(
    pipeline: Pipeline, source: Source, collection: Any, s3: Any, stand_in: StandIn
) -> None:
    names = NAMES + ONLY_IN_FOLDERS if isinstance(source, Folder) else NAMES
    contents = {name: picture(number) for number, name in enumerate(names)}
    for name, content in contents.items():
        source.put(name, content)

    books = pipeline.run(batch_size=10)

    assert quarantined(s3, pipeline) == {}
    assert books["analyse"]["called"] == books["ingest"]["ingested"] == stand_in.answers == len(names)
    expected = {f"{source.keys}{name}": hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    found = list(collection.find())
    assert {document["_id"]: document["sha256"] for document in found} == expected
    assert {document["img"] for document in found} == {name.rsplit("/", 1)[-1] for name in names}
    for key, sha256 in expected.items():
        body = s3.get_object(Bucket=pipeline.bucket, Key=key)["Body"].read()
        assert hashlib.sha256(body).hexdigest() == sha256
    (part,) = jsonlines.keys(s3, pipeline.bucket, f"{PREFIX}/reports/images/report_date={DAY}/")
    table = pq.read_table(io.BytesIO(s3.get_object(Bucket=pipeline.bucket, Key=part)["Body"].read()))
    assert set(table["image"].to_pylist()) == expected.keys()
    assert pipeline.run("run-2", day="2026-03-02")["sense"]["new"] == 0


LONG = "/".join(["n" * 201] * 5)


def test_names_that_s3_cannot_hold_are_quarantined(pipeline: Pipeline, landing: Path, s3: Any) -> None:
    folder = Folder(str(landing))
    folder.put("good.jpg", picture(0))
    folder.put(LONG, picture(1))
    os.link(landing / "good.jpg", os.fsencode(landing) + b"/caf\xe9.jpg")
    assert pipeline.run()["ingest"]["ingested"] == 1
    assert quarantined(s3, pipeline) == {LONG: "bad_name", "caf\\udce9.jpg": "bad_name"}


# --- files ---


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def noise(size: tuple[int, int] = (240, 160)) -> Image.Image:
    return Image.merge("RGB", [Image.effect_noise(size, 80) for _ in range(3)])


def of_15_mb_and_a_byte() -> bytes:
    png = encoded(noise(), "PNG")
    return png[:33] + chunk(b"paDd", b"\0" * (15 * 1024 * 1024 + 1 - len(png) - 12)) + png[33:]


BOMB = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
FRAMES = {"save_all": True, "append_images": [noise(), noise()]}
JPEG = encoded(noise(), "JPEG")
REFUSED = {
    "empty.jpg": (b"", "empty"),
    "text.jpg": (b"Dear diary,\nit rained again.\n", "not_an_image"),
    "document.jpg": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj", "not_an_image"),
    **{f"cut {tenth}.jpg": (JPEG[: len(JPEG) * tenth // 10], "truncated") for tenth in range(1, 10)},
    "cut by a byte.jpg": (JPEG[:-1], "truncated"),
    "1 pixel.png": (encoded(noise((1, 1)), "PNG"), "too_small"),
    "79 pixels.png": (encoded(noise((79, 200)), "PNG"), "too_small"),
    "bomb.png": (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", BOMB) + chunk(b"IDAT", b"") + chunk(b"IEND", b""), "bomb"),
}
SHOWN_AS_THEY_ARE = {
    "jpeg.png": encoded(noise(), "JPEG"),
    "palette.png": encoded(noise().convert("P"), "PNG"),
    "animated.png": encoded(noise(), "PNG", **FRAMES),
    "80 pixels.png": encoded(noise((80, 80)), "PNG"),
}
SEEN_THROUGH_A_RENDITION = {
    "cmyk.jpg": encoded(noise().convert("CMYK"), "JPEG"),
    "16 bits.png": encoded(Image.effect_noise((240, 160), 80).convert("I;16"), "PNG"),
    "animated.gif": encoded(noise(), "GIF", **FRAMES),
    "10,001 pixels.jpg": encoded(noise((10_001, 90)), "JPEG"),
    "15 MB and a byte.png": of_15_mb_and_a_byte(),
}


def test_bad_files_are_named_and_those_that_can_be_saved_are(
    pipeline: Pipeline, source: Source, collection: Any, s3: Any, stand_in: StandIn
) -> None:
    good = SHOWN_AS_THEY_ARE | SEEN_THROUGH_A_RENDITION
    for name, content in ({name: content for name, (content, _) in REFUSED.items()} | good).items():
        source.put(name, content)
    expected = {name: code for name, (_, code) in REFUSED.items()}
    if isinstance(source, Folder):
        expected |= put_what_only_folders_have(Path(source.address))

    books = pipeline.run(max_failure_share=1.0)

    assert quarantined(s3, pipeline) == expected
    # The stand-in refuses what the service refuses.
    assert books["analyse"]["called"] == stand_in.answers == len(good)
    assert {document["img"]: "rendition" in document for document in collection.find()} == dict.fromkeys(
        SHOWN_AS_THEY_ARE, False
    ) | dict.fromkeys(SEEN_THROUGH_A_RENDITION, True)
    assert pipeline.run("run-2", day="2026-03-02")["sense"]["new"] == 0


def put_what_only_folders_have(folder: Path) -> dict[str, str]:
    """Put down links and pipes, and return what becomes of them."""
    (folder / "loop a.jpg").symlink_to("loop b.jpg")
    (folder / "loop b.jpg").symlink_to("loop a.jpg")
    (folder / "out.jpg").symlink_to("/etc/hostname")
    (folder / "outer").symlink_to("/etc")
    (folder / "to nothing.jpg").symlink_to("gone.jpg")
    (folder / "up").symlink_to(".")
    os.mkfifo(folder / "pipe.jpg")
    names = ("loop a.jpg", "loop b.jpg", "out.jpg", "outer", "to nothing.jpg", "pipe.jpg")
    return dict.fromkeys(names, "unreadable")


def test_files_that_change_or_vanish_after_they_were_sensed_wait_for_the_next_run(
    pipeline: Pipeline,
    source: Source,
    collection: Any,
    s3: Any,
    stand_in: StandIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number, name in enumerate(("stays.jpg", "changes.jpg", "vanishes.jpg")):
        source.put(name, picture(number))
    pipeline.settings["report"] = False
    real = UploadImagesOperator.execute

    def meddle_and_upload(operator: UploadImagesOperator, context: Any) -> Any:
        source.put("changes.jpg", picture(99))
        source.delete("vanishes.jpg")
        return real(operator, context)

    with monkeypatch.context() as patch:
        patch.setattr(UploadImagesOperator, "execute", meddle_and_upload)
        assert pipeline.run()["analyse"]["called"] == 1
    assert quarantined(s3, pipeline) == {"changes.jpg": "changed", "vanishes.jpg": "vanished"}

    assert pipeline.run("run-2", day="2026-03-02")["analyse"]["called"] == 1
    changed = collection.find_one({"img": "changes.jpg"})
    assert changed["sha256"] == hashlib.sha256(picture(99)).hexdigest()
    assert collection.count_documents({}) == stand_in.answers == 2


@pytest.mark.parametrize("denied", ["locked.jpg", "locked/b.jpg"])
def test_what_may_not_be_read_is_quarantined_until_it_may(
    pipeline: Pipeline, landing: Path, s3: Any, denied: str
) -> None:
    pipeline.settings["report"] = False
    folder = Folder(str(landing))
    folder.put("good.jpg", picture(0))
    folder.put(denied, picture(1))
    locked = landing / denied.partition("/")[0]
    with as_somebody_without_privileges():
        locked.chmod(0)
        assert pipeline.run()["ingest"]["ingested"] == 1
    assert set(quarantined(s3, pipeline).values()) == {"unreadable"}
    locked.chmod(0o755)
    assert pipeline.run("run-2", day="2026-03-02", retry_quarantined=True)["ingest"]["ingested"] == 1


@contextmanager
def as_somebody_without_privileges() -> Iterator[None]:
    """Take from root what lets it read everything; threads that are started meanwhile lack it, too.

    .. seealso:: https://man7.org/linux/man-pages/man2/capset.2.html
    """
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()
    assert libc.capget(header, sets) == 0
    dac_override_and_read_search = 0b110
    effective = sets[0]
    sets[0] &= ~dac_override_and_read_search
    assert libc.capset(header, sets) == 0
    try:
        yield
    finally:
        sets[0] = effective
        assert libc.capset(header, sets) == 0
