"""Which files are pictures, what is known of them, and what Rekognition is shown. Every picture is made here."""

from __future__ import annotations

import errno
import hashlib
import io
import pickle
import struct
import threading
import time
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageCms, ImageOps
from PIL.TiffImagePlugin import IFDRational

from image_labels import images
from image_labels.images import MAX_BYTES, Code, Picture, Rejected

pillow_heif.register_heif_opener()

SIZE = (240, 160)
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def quarters(size: tuple[int, int] = SIZE) -> Image.Image:
    """Red and green above blue and white: each way of turning it shows."""
    width, height = size
    image = Image.new("RGB", size, WHITE)
    image.paste(RED, (0, 0, width // 2, height // 2))
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    image.paste(BLUE, (0, height // 2, width // 2, height))
    return image


def noise(size: tuple[int, int] = SIZE) -> Image.Image:
    return Image.merge("RGB", [Image.effect_noise(size, 80) for _ in range(3)])


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def inspected(data: bytes) -> Picture:
    return images.inspect(io.BytesIO(data))


def rendered(data: bytes) -> Image.Image:
    out = io.BytesIO()
    size = images.render(io.BytesIO(data), out)
    image = Image.open(out, formats=("JPEG",))
    image.load()
    assert image.size == size
    return image


def take(data: bytes) -> bytes:
    """Do what the intake does before it uploads a file, and return the rendition."""
    file, rendition = io.BytesIO(data), io.BytesIO()
    if images.inspect(file).needs_rendition:
        images.render(file, rendition)
    return rendition.getvalue()


def rejection(data: bytes) -> Rejected:
    with pytest.raises(Rejected) as caught:
        take(data)
    return caught.value


def assert_alike(image: Image.Image, expected: Image.Image, tolerance: int = 12) -> None:
    """Compare the middles of the quarters."""
    assert image.size == expected.size
    width, height = image.size
    for x in (width // 4, width * 3 // 4):
        for y in (height // 4, height * 3 // 4):
            pair = image.convert("RGB").getpixel((x, y)), expected.convert("RGB").getpixel((x, y))
            assert max(abs(a - b) for a, b in zip(*pair, strict=True)) <= tolerance, ((x, y), pair)


def exif(
    tags: dict[int, Any] | None = None, photo: dict[int, Any] | None = None, gps: dict[int, Any] | None = None
) -> bytes:
    block = Image.Exif()
    block.update(tags or {})
    block.get_ifd(0x8769).update(photo or {})
    block.get_ifd(0x8825).update(gps or {})
    return block.tobytes()


def chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_with(header: bytes, pixels: bytes = b"") -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


# --- What is a picture ---

FORMATS = {
    "JPEG": {},
    "PNG": {},
    "GIF": {},
    "WEBP": {},
    "TIFF": {},
    "BMP": {},
    "HEIF": {},
    "AVIF": {"speed": 10},
}


@pytest.mark.parametrize("kind", FORMATS)
def test_a_picture_is_recognised_by_its_bytes_and_hashed(kind):
    data = encoded(quarters(), kind, **FORMATS[kind])
    picture = inspected(data)
    assert (picture.format, picture.width, picture.height) == (kind, *SIZE)
    assert (picture.bytes, picture.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert picture.metadata == {}


def test_the_name_of_the_file_has_no_say(tmp_path):
    path = tmp_path / "really a.png"
    path.write_bytes(encoded(quarters(), "JPEG"))
    with path.open("rb") as file:
        assert images.inspect(file).format == "JPEG"
        assert not file.closed


def test_a_stereo_pair_is_its_first_jpeg():
    picture = inspected(encoded(quarters(), "MPO", save_all=True, append_images=[noise()]))
    assert (picture.format, picture.needs_rendition) == ("JPEG", None)


@pytest.mark.parametrize("tail", [b"\0" * 5000, b"MotionPhoto_Data" * 200_000], ids=["zeros", "3 MB of video"])
def test_what_follows_a_whole_jpeg_is_let_be(tail):
    assert inspected(encoded(quarters(), "JPEG") + tail).format == "JPEG"


def test_the_end_of_a_jpeg_is_found_across_two_reads(monkeypatch):
    monkeypatch.setattr(images, "_BLOCK", 1)
    assert inspected(encoded(quarters(), "JPEG") + b"tail").format == "JPEG"


@pytest.mark.parametrize(
    ("data", "found"),
    [
        pytest.param(b"Dear diary,\nit rained again.\n", "text", id="text"),
        pytest.param(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj", "a PDF document", id="pdf"),
        pytest.param(b'<svg xmlns="http://www.w3.org/2000/svg"/>', "markup", id="svg"),
        pytest.param(b"\xef\xbb\xbf  <!DOCTYPE html><html>", "markup", id="html"),
        pytest.param(b"PK\x03\x04\x14\0\6\0", "a ZIP archive", id="zip"),
        pytest.param(b"8BPS\0\1\0\0\0\0\0\0\0\3", "a Photoshop document", id="photoshop"),
        pytest.param(b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41", "a video", id="mp4"),
        pytest.param(b"II*\0\x10\0\0\0CR\2\0" + b"\0" * 50, "a camera's raw file", id="canon raw"),
        pytest.param(b"\x7fELF\2\1\1\0", r"data that begin b'\x7fELF", id="program"),
        pytest.param(b"BMW is a maker of cars", "text", id="text that begins like a BMP"),
    ],
)
def test_anything_else_is_named_and_refused(data, found):
    rejected = rejection(data)
    assert rejected.code == Code.NOT_AN_IMAGE
    assert found in rejected.reason
    assert "convert it to JPEG, PNG" in rejected.reason


def test_a_raw_file_is_not_taken_for_its_preview():
    assert rejection(encoded(quarters(), "TIFF", tiffinfo={254: 1})).code == Code.NOT_AN_IMAGE


def test_an_empty_file_is_refused():
    assert rejection(b"").code == Code.EMPTY


def test_a_rejection_survives_a_process_boundary_and_reads_as_its_reason():
    rejected = pickle.loads(pickle.dumps(rejection(b"")))
    assert (rejected.code, str(rejected)) == ("empty", "it is empty; land it anew")


# --- Whole, cut and damaged ---

MORE = {"save_all": True, "append_images": [noise((120, 80)), noise((120, 80))]}
FOLLOWED = {
    "jpeg": encoded(noise(), "JPEG"),
    "progressive jpeg": encoded(noise(), "JPEG", progressive=True),
    "jpeg with a thumbnail": encoded(noise(), "JPEG", comment=encoded(quarters((80, 80)), "JPEG")),
    "png": encoded(noise(), "PNG"),
    "animated png": encoded(noise((120, 80)), "PNG", **MORE),
    "heic": encoded(noise(), "HEIF"),
    "heic of tiles, as phones make them": encoded(noise(), "HEIF", tile_size=64),
}
DECODED = {
    "webp": encoded(noise(), "WEBP"),
    "animated webp": encoded(noise((120, 80)), "WEBP", **MORE),
    "tiff": encoded(noise(), "TIFF"),
    "tiff with its directory at the end": encoded(noise(), "TIFF", compression="tiff_lzw"),
    "jpeg in a tiff": encoded(noise(), "TIFF", compression="jpeg"),
    "tiff of several pages": encoded(noise((120, 80)), "TIFF", **MORE),
    "tiff of several packed pages": encoded(noise((120, 80)), "TIFF", compression="tiff_lzw", **MORE),
    "bigtiff": encoded(noise(), "TIFF", big_tiff=True),
    "gif": encoded(noise(), "GIF"),
    "animated gif": encoded(noise((120, 80)), "GIF", **MORE),
    "bmp": encoded(noise(), "BMP"),
    "avif": encoded(noise(), "AVIF", speed=10),
}
WHOLE = FOLLOWED | DECODED


def cuts(data: bytes) -> list[int]:
    return [*(len(data) * tenth // 10 for tenth in range(1, 10)), 20, len(data) - 2, len(data) - 1]


@pytest.mark.parametrize("name", FOLLOWED)
def test_a_file_cut_anywhere_is_found(name):
    data = FOLLOWED[name]
    assert inspected(data).bytes == len(data)
    for cut in cuts(data):
        with pytest.raises(Rejected, match=f"{cut:,} bytes") as caught:
            inspected(data[:cut])
        assert caught.value.code == Code.TRUNCATED, cut


def outcome(data: bytes) -> bytes | Code:
    try:
        return take(data)
    except Rejected as rejected:
        return rejected.code


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about a TIFF that ends too early
@pytest.mark.parametrize("name", DECODED)
def test_a_cut_into_the_first_frame_is_found(name):
    data = DECODED[name]
    whole = take(data)
    outcomes = [outcome(data[:cut]) for cut in cuts(data)]
    assert set(outcomes) <= {Code.CORRUPT, whole}
    assert outcomes.count(Code.CORRUPT) >= (4 if "pages" in name or name == "animated gif" else 10)


@pytest.mark.parametrize(("name", "code"), [("heic", Code.TRUNCATED), ("avif", Code.CORRUPT)])
def test_a_file_cut_between_its_description_and_its_pixels_is_found(name, code):
    data = WHOLE[name]
    assert rejection(data[: data.index(b"mdat") - 4]).code == code


@pytest.mark.parametrize("name", ["jpeg", "progressive jpeg"])
def test_a_jpeg_whose_end_was_never_written_is_found(name):
    data = WHOLE[name]
    assert rejection(data[: len(data) // 2] + b"\0" * (len(data) // 2)).code == Code.TRUNCATED


def test_a_png_with_a_wrong_checksum_is_found():
    data = bytearray(WHOLE["png"])
    data[len(data) // 2] ^= 1
    assert rejection(bytes(data)).code == Code.CORRUPT


def test_a_damaged_header_is_found():
    data = png_with(struct.pack(">IIBBBBB", *SIZE, 99, 99, 0, 0, 0))
    assert "header is damaged" in rejection(data).reason


def test_damaged_pixels_are_found_when_rendered():
    data = png_with(struct.pack(">IIBBBBB", *SIZE, 16, 0, 0, 0, 0), b"these are no compressed pixels")
    assert inspected(data).needs_rendition
    with pytest.raises(Rejected) as caught:
        rendered(data)
    assert caught.value.code == Code.CORRUPT


def test_a_file_that_grows_while_it_is_read_is_found(tmp_path, monkeypatch):
    path: Path = tmp_path / "growing.jpg"
    path.write_bytes(WHOLE["jpeg"])

    def digest_of_a_growing_file(file, name):
        with path.open("ab") as writer:
            writer.write(b"more")
        return hashlib.sha256()

    monkeypatch.setattr(hashlib, "file_digest", digest_of_a_growing_file)
    with path.open("rb") as file, pytest.raises(Rejected) as caught:
        images.inspect(file)
    assert caught.value.code == Code.CHANGED


@pytest.mark.filterwarnings("ignore::UserWarning")  # what Pillow makes of a failing read
@pytest.mark.parametrize("error", [OSError(errno.EIO, "disk on fire"), TimeoutError("timed out")], ids=repr)
@pytest.mark.parametrize(
    "work", [images.inspect, lambda file: images.render(file, io.BytesIO())], ids=["inspect", "render"]
)
@pytest.mark.parametrize("name", ["tiff", "jpeg in a tiff", "heic", "webp", "gif", "jpeg"])
def test_a_failing_disk_is_not_blamed_on_the_picture_whenever_it_fails(name, work, error):
    class Disk(io.BytesIO):
        def __init__(self, failing: int) -> None:
            super().__init__(WHOLE[name])
            self.reads, self.failing = 0, failing

        def read(self, *args):
            self.reads += 1
            if self.reads == self.failing:
                raise error
            return super().read(*args)

    work(sound := Disk(failing=0))
    for read in range(1, sound.reads + 1):
        with pytest.raises(type(error)):
            work(Disk(failing=read))


def test_a_large_file_is_inspected_in_little_memory(tmp_path):
    path: Path = tmp_path / "large.bmp"
    header = bytearray(encoded(Image.new("RGB", (80, 80)), "BMP")[:54])
    header[18:26] = struct.pack("<ii", 10_000, 8_000)
    header[2:6] = struct.pack("<I", size := 54 + 240_000_000)
    path.write_bytes(header)
    with path.open("r+b") as file:
        file.truncate(size)
        tracemalloc.start()
        try:
            assert images.inspect(file).bytes == size
            assert tracemalloc.get_traced_memory()[1] < 5_000_000
        finally:
            tracemalloc.stop()


# --- Limits ---


@pytest.mark.parametrize("size", [(1, 1), (79, 200), (200, 79)], ids=str)
def test_fewer_than_80_pixels_a_side_are_refused(size):
    rejected = rejection(encoded(Image.new("L", size), "PNG"))
    assert rejected.code == Code.TOO_SMALL
    assert f"{size[0]} x {size[1]} pixels" in rejected.reason


@pytest.mark.parametrize("size", [(80, 80), (10_000, 80), (80, 10_000)], ids=str)
def test_80_to_10_000_pixels_a_side_are_shown_as_they_are(size):
    assert inspected(encoded(Image.new("L", size), "PNG")).needs_rendition is None


def test_more_than_10_000_pixels_a_side_get_a_rendition():
    data = encoded(Image.new("L", (10_001, 81)), "JPEG")
    assert "10,001 x 81 pixels" in str(inspected(data).needs_rendition)
    assert rendered(data).size == (9_878, 80)


def test_a_strip_that_would_get_too_narrow_is_refused():
    rejected = rejection(encoded(Image.new("L", (10_001, 80)), "PNG"))
    assert rejected.code == Code.TOO_SMALL
    assert "too narrow" in rejected.reason


def padded(kind: str, size: int) -> bytes:
    """A picture of exactly so many bytes, by comments, which leave it valid."""
    data = encoded(quarters(), kind)
    missing = size - len(data)
    if kind == "PNG":
        return data[:33] + chunk(b"paDd", b"\0" * (missing - 12)) + data[33:]
    comments = b""
    while missing:
        length = missing if missing <= 65_537 else min(65_537, missing - 4)
        comments += b"\xff\xfe" + struct.pack(">H", length - 2) + b"\0" * (length - 4)
        missing -= length
    return data[:2] + comments + data[2:]


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_15_mb_are_shown_as_they_are_and_a_byte_more_gets_a_rendition(kind):
    assert inspected(padded(kind, MAX_BYTES)).needs_rendition is None
    data = padded(kind, MAX_BYTES + 1)
    assert "15,728,641 bytes" in str(inspected(data).needs_rendition)
    assert_alike(rendered(data), quarters())


def jpeg_that_claims(width: int, height: int) -> bytes:
    data = encoded(quarters(), "JPEG")
    frame = data.index(b"\xff\xc0") + 5
    return data[:frame] + struct.pack(">HH", height, width) + data[frame + 4 :]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(png_with(struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)), id="png 100,000 x 100,000"),
        pytest.param(jpeg_that_claims(65_500, 65_500), id="jpeg 65,500 x 65,500"),
        pytest.param(jpeg_that_claims(16_000, 15_626), id="jpeg just over 250 million"),
        pytest.param(b"GIF89a" + b"\xff" * 4 + encoded(quarters(), "GIF")[10:], id="gif 65,535 x 65,535"),
    ],
)
def test_a_decompression_bomb_is_refused_before_it_is_decoded(data):
    tracemalloc.start()
    try:
        rejected = rejection(data)
    finally:
        tracemalloc.stop()
    assert rejected.code == Code.BOMB
    assert "250,000,000 pixels" in rejected.reason
    with pytest.raises(Rejected, match="250,000,000"):
        rendered(data)


# --- Whether a rendition is needed ---


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(encoded(quarters(), "JPEG", progressive=True), None, id="progressive jpeg"),
        pytest.param(encoded(quarters().convert("L"), "JPEG"), None, id="grey jpeg"),
        pytest.param(encoded(quarters(), "JPEG", exif=exif({0x0112: 6})), None, id="jpeg that is turned"),
        pytest.param(encoded(quarters().convert("CMYK"), "JPEG"), "CMYK", id="cmyk jpeg"),
        pytest.param(encoded(quarters().convert("P"), "PNG"), None, id="palette png"),
        pytest.param(encoded(quarters().convert("RGBA"), "PNG"), None, id="png with alpha"),
        pytest.param(WHOLE["animated png"], None, id="animated png"),
        pytest.param(encoded(Image.new("I;16", SIZE), "PNG"), "16 bits", id="16-bit png"),
        pytest.param(encoded(quarters(), "PNG", exif=exif({0x0112: 6})), "upright", id="png that is turned"),
        pytest.param(WHOLE["gif"], "not GIF", id="gif"),
        pytest.param(WHOLE["heic"], "not HEIF", id="heic"),
    ],
)
def test_a_rendition_is_made_where_rekognition_cannot_take_the_picture_or_might_not(data, reason):
    needs_rendition = inspected(data).needs_rendition
    assert needs_rendition is None if reason is None else reason in str(needs_rendition)


# --- Metadata ---

GPS = {1: "N", 2: (48.0, 51.0, 29.6), 3: "W", 4: (2.0, 17.0, 40.2)}
TAKEN = {0x9003: "2024:02:29 13:14:15"}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "HEIF", "AVIF"])
def test_the_exif_block_is_read(kind):
    block = exif({0x010F: "Canon", 0x0110: "EOS R5", 0x013B: "Ana Vidal"}, TAKEN | {0x9011: "+02:00"}, GPS)
    assert inspected(encoded(quarters(), kind, exif=block)).metadata == {
        "taken_at": "2024-02-29T13:14:15+02:00",
        "location": {"type": "Point", "coordinates": [-2.2945, 48.858222]},
        "camera": {"make": "Canon", "model": "EOS R5"},
        "artist": "Ana Vidal",
    }


def metadata(**ifds: dict[int, Any]) -> dict[str, Any]:
    return inspected(encoded(quarters(), "JPEG", exif=exif(**ifds))).metadata


@pytest.mark.parametrize("offset", [{}, {0x9011: "   :  "}, {0x9011: "+99:00"}, {0x9011: 7}], ids=str)
def test_a_time_without_a_sensible_offset_is_utc(offset):
    assert metadata(photo=TAKEN | offset) == {"taken_at": "2024-02-29T13:14:15+00:00"}


@pytest.mark.parametrize(
    "time",
    ["0000:00:00 00:00:00", "0001:01:01 00:00:00", "2023:02:29 10:00:00", "    :  :     :  :  ", "", "yesterday", 2024],
)
def test_a_time_that_cannot_be_is_left_out(time):
    assert metadata(tags={0x010F: "Leica"}, photo={0x9003: time}) == {"camera": {"make": "Leica"}}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({2: (91.0, 0.0, 0.0)}, id="latitude over 90"),
        pytest.param({4: (180.0, 0.0, 1.0)}, id="longitude over 180"),
        pytest.param({2: (48.0, 61.0, 0.0)}, id="61 minutes"),
        pytest.param({2: (48.0, 51.0)}, id="no seconds"),
        pytest.param({1: "X"}, id="neither north nor south"),
        pytest.param({1: ""}, id="empty direction"),
        pytest.param({2: (IFDRational(48, 0), 51.0, 0.0)}, id="zero denominator"),
        pytest.param({2: (0.0, 0.0, 0.0), 4: (0.0, 0.0, 0.0)}, id="no fix"),
    ],
)
def test_a_place_that_cannot_be_is_left_out(change):
    assert metadata(tags={0x010F: "Leica"}, gps=GPS | change) == {"camera": {"make": "Leica"}}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        pytest.param("Canon\0\0\0garbage", "Canon", id="nuls"),
        pytest.param("  NIKON \r\n CORPORATION ", "NIKON CORPORATION", id="blanks and breaks"),
        pytest.param("José".encode(), "José", id="utf-8"),
        pytest.param("José".encode("latin-1"), "José", id="latin-1"),
        pytest.param("x" * 5000, "x" * 200, id="long"),
    ],
)
def test_a_text_is_one_clean_line(written, read):
    assert metadata(tags={0x013B: written}) == {"artist": read}


@pytest.mark.parametrize("blank", ["", "   ", "\0\0"], ids=repr)
def test_a_blank_text_is_left_out(blank):
    assert metadata(tags={0x010F: blank, 0x0110: blank, 0x013B: blank}) == {}


SOUND = exif({0x0112: 6, 0x010F: "Canon"}, TAKEN, GPS)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about bad EXIF
@settings(max_examples=150, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.tuples(st.integers(0, len(SOUND) - 1), st.binary(min_size=1, max_size=9))))
def test_no_picture_is_refused_for_its_metadata(damage):
    if isinstance(damage, bytes):
        block = b"Exif\0\0" + damage
    else:
        position, bytes_ = damage
        block = SOUND[:position] + bytes_ + SOUND[position + len(bytes_) :]
    data = encoded(quarters(), "JPEG", exif=block)
    assert inspected(data).bytes == len(data)
    assert max(rendered(data).size) == SIZE[0]


# --- Renditions ---


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "TIFF", "PNG", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_rendition_stands_upright_as_the_picture_is_displayed(kind, orientation):
    block = exif({0x0112: orientation})
    data = encoded(quarters(), kind, exif=block, **FORMATS[kind])
    upright = quarters()
    upright.info["exif"] = block
    upright = ImageOps.exif_transpose(upright)
    picture = inspected(data)
    assert (picture.width, picture.height) == upright.size
    assert_alike(rendered(data), upright)


def test_a_heic_is_turned_as_its_container_says():
    turned = quarters()
    turned.info["exif"] = exif({0x0112: 6})
    data = encoded(turned, "HEIF")
    picture = inspected(data)
    assert (picture.width, picture.height) == (160, 240)
    assert_alike(rendered(data), quarters().rotate(-90, expand=True))


def test_an_orientation_in_xmp_alone_is_not_heeded_as_rekognition_reads_exif():
    data = encoded(quarters(), "JPEG", xmp=b'<rdf:Description tiff:Orientation="6"/>')
    assert (inspected(data).width, rendered(data).size) == (SIZE[0], SIZE)


def test_an_orientation_that_does_not_exist_is_none():
    data = encoded(quarters(), "WEBP", exif=exif({0x0112: 9}))
    assert (inspected(data).width, rendered(data).size) == (SIZE[0], SIZE)


def on_white() -> Image.Image:
    expected = quarters()
    expected.paste(WHITE, (0, 0, SIZE[0] // 2, SIZE[1] // 2))
    return expected


def with_a_clear_quarter() -> Image.Image:
    image = quarters().convert("RGBA")
    image.paste((255, 0, 0, 0), (0, 0, SIZE[0] // 2, SIZE[1] // 2))
    return image


GREY = ImageChops.multiply(quarters().convert("L"), Image.new("L", SIZE, 200))
DEEP = GREY.convert("I").point(lambda value: value * 257)
"""16 bits deep: 0 to 51,400."""

BLACK_NEXT = {"save_all": True, "append_images": [Image.new("RGB", SIZE)]}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(encoded(quarters(), "BMP"), quarters(), id="bmp"),
        pytest.param(encoded(quarters(), "HEIF", quality=95), quarters(), id="heic"),
        pytest.param(encoded(quarters().convert("CMYK"), "JPEG", quality=95), quarters(), id="cmyk jpeg"),
        pytest.param(encoded(quarters().convert("CMYK"), "TIFF"), quarters(), id="cmyk tiff"),
        pytest.param(encoded(quarters().convert("YCbCr"), "TIFF", compression="jpeg"), quarters(), id="ycbcr tiff"),
        pytest.param(encoded(quarters().convert("P"), "PNG"), quarters(), id="palette png"),
        pytest.param(encoded(with_a_clear_quarter(), "PNG"), on_white(), id="png with alpha"),
        pytest.param(encoded(with_a_clear_quarter(), "WEBP", quality=95), on_white(), id="webp with alpha"),
        pytest.param(encoded(with_a_clear_quarter().quantize(), "PNG"), on_white(), id="palette png with alpha"),
        pytest.param(
            encoded(with_a_clear_quarter().convert("LA"), "PNG"), on_white().convert("L"), id="grey with alpha"
        ),
        pytest.param(encoded(quarters().convert("1"), "TIFF"), quarters().convert("1"), id="fax"),
        pytest.param(encoded(GREY, "TIFF"), GREY, id="grey tiff"),
        pytest.param(encoded(DEEP.convert("I;16"), "PNG"), GREY, id="16-bit grey png"),
        pytest.param(encoded(DEEP.convert("I;16"), "TIFF"), GREY, id="16-bit grey tiff"),
        pytest.param(encoded(DEEP.convert("I;16B"), "TIFF"), GREY, id="16-bit grey tiff, big endian"),
        pytest.param(encoded(DEEP, "TIFF"), ImageOps.autocontrast(GREY), id="32-bit tiff"),
        pytest.param(encoded(DEEP.convert("F"), "TIFF"), ImageOps.autocontrast(GREY), id="float tiff"),
        pytest.param(encoded(quarters(), "GIF", **BLACK_NEXT), quarters(), id="animated gif"),
        pytest.param(encoded(quarters(), "WEBP", **BLACK_NEXT), quarters(), id="animated webp"),
        pytest.param(encoded(quarters(), "PNG", **BLACK_NEXT), quarters(), id="animated png"),
    ],
)
def test_a_rendition_has_the_colours_of_the_first_frame(data, expected):
    assert_alike(rendered(data), expected)


def test_16_bit_colours_are_scaled():
    pixel = struct.pack(">HHH", 40_000, 20_000, 65_535)
    pixels = zlib.compress((b"\0" + pixel * SIZE[0]) * SIZE[1])
    data = png_with(struct.pack(">IIBBBBB", *SIZE, 16, 2, 0, 0, 0), pixels)
    assert "16 bits" in str(inspected(data).needs_rendition)
    assert_alike(rendered(data), Image.new("RGB", SIZE, (156, 78, 255)))


def profile_with_red_and_green_swapped() -> bytes:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return srgb.replace(b"rXYZ", b"----", 1).replace(b"gXYZ", b"rXYZ", 1).replace(b"----", b"gXYZ", 1)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "HEIF", "AVIF"])
def test_colours_are_turned_into_srgb(kind):
    red, green, blue = quarters().split()
    data = encoded(quarters(), kind, icc_profile=profile_with_red_and_green_swapped(), **FORMATS[kind])
    rendition = rendered(data)
    assert_alike(rendition, Image.merge("RGB", (green, red, blue)))
    assert "icc_profile" not in rendition.info


def test_lab_colours_are_turned_into_srgb():
    transform = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    pastel = quarters().point(lambda value: 64 + value // 2)
    assert_alike(rendered(encoded(ImageCms.applyTransform(pastel, transform), "TIFF")), pastel)


@pytest.mark.parametrize(
    ("image", "profile"),
    [
        pytest.param(quarters(), b"no profile at all", id="broken"),
        pytest.param(quarters().convert("L"), profile_with_red_and_green_swapped(), id="for other channels"),
    ],
)
def test_a_colour_profile_that_does_not_fit_is_ignored(image, profile):
    assert_alike(rendered(encoded(image, "TIFF", icc_profile=profile)), image)


def test_a_rendition_carries_no_metadata():
    block = exif({0x013B: "Ana"}, TAKEN, GPS)
    rendition = rendered(encoded(quarters(), "JPEG", exif=block, comment="home", dpi=(300, 300), xmp=b"<x/>"))
    assert not {"exif", "comment", "dpi", "xmp", "icc_profile"} & set(rendition.info)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        pytest.param((100, 90), (100, 90), id="a small one is not enlarged"),
        pytest.param((5_000, 1_000), (4_096, 819), id="wide"),
        pytest.param((1_000, 5_000), (819, 4_096), id="tall"),
        pytest.param((12_000, 100), (9_600, 80), id="a strip keeps 80 pixels"),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "BMP"])
def test_a_rendition_has_the_proportions_of_the_picture(kind, size, expected):
    assert_alike(rendered(encoded(quarters(size), kind)), quarters(expected))


def test_a_rendition_has_few_enough_bytes(monkeypatch):
    data = encoded(noise(), "BMP")
    first = len(encoded(rendered(data), "JPEG", quality=90))
    monkeypatch.setattr(images, "MAX_BYTES", first * 2 // 3)
    out = io.BytesIO()
    images.render(io.BytesIO(data), out)
    assert len(out.getvalue()) <= first * 2 // 3


def test_large_pictures_are_decoded_one_after_the_other(monkeypatch):
    monkeypatch.setattr(images, "_memory", images._PixelBudget(SIZE[0] * SIZE[1] * 3 // 2))
    flat, at_work, most = images._flat, threading.Semaphore(1), []

    def watched(image):
        most.append(at_work.acquire(blocking=False))
        try:
            time.sleep(0.005)
            return flat(image)
        finally:
            at_work.release()

    monkeypatch.setattr(images, "_flat", watched)
    threads = [threading.Thread(target=rendered, args=(WHOLE["bmp"],)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [True] * 8
