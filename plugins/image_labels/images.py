"""What a picture file is, whether it can be analysed, and what Rekognition is shown of it.

:func:`inspect` recognises a file by its bytes, never by its name, and answers with a :class:`Picture` or raises
:class:`Rejected`. It decodes no pixels, so it is cheap. :func:`render` decodes: it makes the JPEG that stands in where
Rekognition cannot take the file as it is. A file that passes what it needs of the two is whole as far as labels go.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import threading
import zlib
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import IO, TYPE_CHECKING, Any, cast

from image_labels import metadata

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL import Image

REKOGNITION_FORMATS = ("JPEG", "PNG")

# https://docs.aws.amazon.com/rekognition/latest/dg/limits.html
MAX_BYTES = 15 * 1024 * 1024
"""Of a picture in S3. The 5 MB of inline bytes are 5,242,880 in the service's model, so MB are binary."""
MIN_SIDE, MAX_SIDE = 80, 10_000
"""Pixels that a side must have at least, and may have at most."""

MAX_PIXELS = 250_000_000
"""More are refused before they are decoded: the largest cameras make 200 million, and :func:`render` needs up to 10
bytes for each."""
RENDITION_SIDE = 4096
"""Pixels of a rendition's longer side: more than label detection looks at, far below :data:`MAX_SIDE`."""
RENDERED_AT_ONCE = 50_000_000
"""Pixels that all threads together may have decoded, unless a single picture has more: 500 MB at most."""

_QUALITIES = (90, 75, 60, 45)
_BLOCK = 1 << 20


class Code(StrEnum):
    """Why a file is in quarantine: the whole vocabulary, stable, so that it can be counted and filtered by."""

    EMPTY = "empty"
    NOT_AN_IMAGE = "not_an_image"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    TOO_SMALL = "too_small"
    BOMB = "bomb"
    CHANGED = "changed"
    VANISHED = "vanished"
    UNREADABLE = "unreadable"
    BAD_NAME = "bad_name"
    OUTSIDE = "outside"


class Rejected(Exception):
    """A file that cannot be turned into something that Rekognition takes; the same bytes will fare no better.

    :param code: the kind of fault
    :param reason: for people: what was found, which limit it breaks, what to do
    """

    def __init__(self, code: Code, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of a kind that can be analysed.

    :param format: JPEG, PNG, GIF, WEBP, TIFF, BMP, HEIF or AVIF
    :param width: in pixels, as displayed: after the EXIF orientation
    :param height: in pixels, as displayed
    :param bytes: size of the file
    :param sha256: of the file, hexadecimal
    :param needs_rendition: why Rekognition cannot be given the file itself; None if it can
    :param metadata: from the EXIF block: ``taken_at`` (ISO 8601), ``location`` (GeoJSON Point), ``camera``
        (``make``, ``model``) and ``artist``, those that are there and make sense
    """

    format: str
    width: int
    height: int
    bytes: int
    sha256: str
    needs_rendition: str | None
    metadata: dict[str, Any]


def inspect(file: IO[bytes]) -> Picture:
    """Recognise a picture, hash it and read its metadata, without decoding its pixels.

    A JPEG, PNG or HEIF file that was cut is found by following its structure to the end. Of the other formats, and of
    damage amid the pixels, :func:`render` finds what touches the first frame. Later frames may be damaged or missing,
    and so may what follows the first picture of a JPEG (a stereo pair's other view, a gain map, a motion photo's
    video): none of it gets labels.

    :param file: seekable; read in blocks and left open
    :raises Rejected: if it can't be analysed
    :raises OSError: if it can't be read, which says nothing of the picture
    """
    size = file.seek(0, os.SEEK_END)
    kind = _recognise(file, size)
    _check_whole(file, size, kind)
    source = _Source(file)
    with _open(source, kind) as image:
        width, height = image.size
        if metadata.orientation(image) in (5, 6, 7, 8):
            width, height = height, width
        needs_rendition = _why_rendition(file, size, kind, image)
        found = metadata.read(image)
    source.raise_failure()
    if needs_rendition:
        _rendition_size(width, height)
    file.seek(0)
    sha256 = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # typeshed wants readinto
    if (size_now := file.seek(0, os.SEEK_END)) != size:
        raise Rejected(Code.CHANGED, f"it went from {size:,} to {size_now:,} bytes while it was read; land it anew")
    return Picture(kind, width, height, size, sha256, needs_rendition, found)


def render(file: IO[bytes], out: IO[bytes], side: int = RENDITION_SIDE) -> tuple[int, int]:
    """Write the JPEG that Rekognition is shown in place of a picture that it can't take.

    The first frame, upright, in sRGB, on white, without metadata and at most :data:`MAX_BYTES`. It is neither cropped
    nor padded: bounding boxes are fractions, so those found in the rendition hold for the original.

    :param file: seekable, what :func:`inspect` accepted
    :param side: pixels of the longer side at most; more only where the shorter would fall below :data:`MIN_SIDE`
    :returns: width and height of the rendition in pixels
    :raises Rejected: if the pixels can't be decoded
    :raises OSError: if reading or writing fails
    """
    from PIL import Image, ImageOps

    kind = _recognise(file, file.seek(0, os.SEEK_END))
    source = _Source(file)
    with _open(source, kind) as image, _memory.share(image.width * image.height):
        orientation = metadata.orientation(image)
        size = _rendition_size(*image.size, side)
        with _blaming_the_file(kind, source):
            image.draft(None, size)  # decodes a JPEG at a fraction of its size
            image.load()
        picture = _flat(image)
        if picture.size != size:
            picture = picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
        picture = _srgb(picture, image.info.get("icc_profile"))
    picture.info.clear()  # a comment would be written, and XMP turn the picture, which Rekognition does not heed
    if orientation != 1:
        picture.getexif()[0x0112] = orientation
        picture = ImageOps.exif_transpose(picture)
    for quality in _QUALITIES:
        jpeg = io.BytesIO()
        picture.save(jpeg, "JPEG", quality=quality)
        if jpeg.tell() <= MAX_BYTES:
            break
    out.write(jpeg.getbuffer())
    return picture.size


# --- Which format it is ---

_FORMATS = (
    (re.compile(rb"\xff\xd8\xff"), "JPEG"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "PNG"),
    (re.compile(rb"GIF8[79]a"), "GIF"),
    (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), "WEBP"),
    (re.compile(rb"(?:II[*+]\0|MM\0[*+])(?!.{4}CR)", re.DOTALL), "TIFF"),
    (re.compile(rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL), "BMP"),
    (re.compile(rb".{4}ftyp(?:avi[fs]|(?:mif1|msf1|miaf).{4}(?:.{4})*?avi[fs])", re.DOTALL), "AVIF"),
    (re.compile(rb".{4}ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1)", re.DOTALL), "HEIF"),
)

_OTHERS = (
    (re.compile(rb"%PDF"), "a PDF document"),
    (re.compile(rb"PK\x03\x04"), "a ZIP archive or an office document"),
    (re.compile(rb"8BPS"), "a Photoshop document"),
    (re.compile(rb"\0\0\0\x0cjP  "), "a JPEG 2000 picture"),
    (re.compile(rb"\0\0\0\x0cJXL |\xff\x0a"), "a JPEG XL picture"),
    (re.compile(rb".{4}ftyp", re.DOTALL), "a video, or a camera's raw file"),
    (re.compile(rb"II\*\0.{4}CR", re.DOTALL), "a camera's raw file"),
    (re.compile(rb"(?:\xef\xbb\xbf)?\s*<[a-z?!]", re.IGNORECASE), "SVG, HTML or other markup"),
    (re.compile(rb"(?:\xef\xbb\xbf)?[\t\n\r -~]+\Z"), "text"),
)


def _recognise(file: IO[bytes], size: int) -> str:
    if size == 0:
        raise Rejected(Code.EMPTY, "it is empty; land it anew")
    file.seek(0)
    head = file.read(64)
    for signature, kind in _FORMATS:
        if signature.match(head):
            return kind
    for signature, what in _OTHERS:
        if signature.match(head):
            raise _no_image(what)
    raise _no_image(f"data that begin {head[:8]!r}")


def _no_image(what: str) -> Rejected:
    formats = "JPEG, PNG, WebP, TIFF, BMP, GIF, HEIC or AVIF"
    return Rejected(Code.NOT_AN_IMAGE, f"it holds {what}, no picture that can be analysed; convert it to {formats}")


# --- Whether it is whole ---
# A decoder finds a cut JPEG or PNG too, but takes 25 to 100 ms for 12 megapixels; this takes 0.1 ms. libheif does not:
# where tiles of a phone's picture are missing it leaves a hole. https://github.com/strukturag/libheif/pull/1616


def _check_whole(file: IO[bytes], size: int, kind: str) -> None:
    try:
        if kind == "JPEG":
            _to_end_of_jpeg(file, size)
        elif kind == "PNG":
            _to_end_of_png(file)
        elif kind == "HEIF":
            _to_end_of_heif(file, size)
    except EOFError:
        raise Rejected(
            Code.TRUNCATED, f"it is a {kind} that is cut short after {size:,} bytes; land the whole file"
        ) from None


def _take(file: IO[bytes], length: int) -> bytes:
    taken = file.read(length)
    if len(taken) < length:
        raise EOFError
    return taken


def _number(file: IO[bytes], length: int) -> int:
    return int.from_bytes(_take(file, length))


def _to_end_of_jpeg(file: IO[bytes], size: int) -> None:
    """Follow the segments to the first scan; after it there must be an end marker, which coded pixels never hold."""
    end_of_image = b"\xff\xd9"
    file.seek(2)
    marker = 0
    while marker != 0xDA:
        while _number(file, 1) != 0xFF:
            pass
        while (marker := _number(file, 1)) == 0xFF:
            pass
        if marker > 0x01 and not 0xD0 <= marker <= 0xD9:  # those have no content
            file.seek(_number(file, 2) - 2, os.SEEK_CUR)
    scan = file.tell()
    file.seek(max(scan, size - 2))
    if file.read(2) == end_of_image:
        return
    file.seek(scan)
    window = b""
    while end_of_image not in window:
        window = window[-1:] + (file.read(_BLOCK) or _take(file, 1))


def _to_end_of_png(file: IO[bytes]) -> None:
    """Follow the chunks to the last, with the checksums of those that a decoder can't do without."""
    file.seek(8)
    name = b""
    while name != b"IEND":
        length, name = _number(file, 4), _take(file, 4)
        if name[0] & 0x20:
            file.seek(length, os.SEEK_CUR)
            _take(file, 4)
            continue
        checksum = zlib.crc32(name)
        for start in range(0, length, _BLOCK):
            checksum = zlib.crc32(_take(file, min(_BLOCK, length - start)), checksum)
        if _number(file, 4) != checksum:
            raise _corrupt("PNG", f"the checksum of its chunk {name!r} is wrong")


def _to_end_of_heif(file: IO[bytes], size: int) -> None:
    """Follow the boxes of the ISO media file, the pixels' among them."""
    names = set()
    start = 0
    while start < size:
        file.seek(start)
        length, name = _number(file, 4), _take(file, 4)
        names.add(name)
        if length == 1:
            length = _number(file, 8)
        start += max(length, 8) if length else size - start
    if start > size or b"mdat" not in names:
        raise EOFError


# --- Opening and decoding ---


class _Source:
    """A file that remembers a failing disk: Pillow turns that into a warning in a TIFF, and into bad data in a HEIF.

    It hides the file's descriptor, from which libtiff would read by itself.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.seek, self.tell, self._read = file.seek, file.tell, file.read
        self._failure: OSError | None = None

    def read(self, size: int = -1) -> bytes:
        try:
            return self._read(size)
        except OSError as failure:
            self._failure = failure
            raise

    def raise_failure(self) -> None:
        if self._failure:
            raise self._failure


@contextmanager
def _blaming_the_file(kind: str, source: _Source) -> Iterator[None]:
    """Turn what Pillow's readers raise over bad data into :class:`Rejected`; let a failing disk through."""
    from PIL import Image, UnidentifiedImageError

    try:
        yield
    except Image.DecompressionBombError as error:
        raise Rejected(
            Code.BOMB, f"by its header it has more than {MAX_PIXELS:,} pixels; land a smaller version"
        ) from error
    except UnidentifiedImageError as error:
        raise _corrupt(kind, "its header is damaged, its end missing, or Pillow does not know the variant") from error
    except MemoryError:
        raise
    except Exception as error:  # bad data make the readers raise anything
        raise _corrupt(kind, str(error) or repr(error)) from error
    finally:
        source.raise_failure()


def _corrupt(kind: str, what: str) -> Rejected:
    return Rejected(Code.CORRUPT, f"it is a {kind} that can't be decoded ({what}); export or land it anew")


def _open(source: _Source, kind: str) -> Image.Image:
    """Read a picture's header, not its pixels.

    :raises Rejected: if it has too many or too few pixels, or is no picture after all
    """
    from PIL import Image

    if kind == "HEIF":
        from pillow_heif import register_heif_opener

        register_heif_opener()
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # where Pillow warns; it refuses more than twice as many
    with _blaming_the_file(kind, source):
        image = Image.open(cast("IO[bytes]", source), formats=(kind,))
    if min(image.size) < MIN_SIDE:
        raise Rejected(
            Code.TOO_SMALL,
            f"it has {image.width:,} x {image.height:,} pixels, Rekognition needs {MIN_SIDE} a side; land a larger one",
        )
    if kind == "TIFF" and image.tag_v2.get(254) == 1:  # type: ignore[attr-defined]
        raise _no_image("a camera's raw file, or a TIFF whose first page is but a preview")
    return image


class _PixelBudget:
    """Lets threads decode together as long as their pixels stay below a sum, a larger picture alone."""

    def __init__(self, pixels: int) -> None:
        self._pixels = self._free = pixels
        self._changed = threading.Condition()

    @contextmanager
    def share(self, pixels: int) -> Iterator[None]:
        pixels = min(pixels, self._pixels)
        with self._changed:
            self._changed.wait_for(lambda: pixels <= self._free)
            self._free -= pixels
        try:
            yield
        finally:
            with self._changed:
                self._free += pixels
                self._changed.notify_all()


_memory = _PixelBudget(RENDERED_AT_ONCE)


# --- Renditions ---


def _why_rendition(file: IO[bytes], size: int, kind: str, image: Image.Image) -> str | None:
    """Decide whether Rekognition is shown a rendition.

    Beyond the documented limits, what its documentation leaves open gets one too: CMYK and 16 bits a channel, which
    many decoders refuse or turn into false colours, and the EXIF orientation of a PNG, which it does not apply.
    https://docs.aws.amazon.com/rekognition/latest/APIReference/API_DetectLabels.html
    """
    if kind not in REKOGNITION_FORMATS:
        return f"Rekognition takes {' and '.join(REKOGNITION_FORMATS)}, not {kind}"
    if size > MAX_BYTES:
        return f"it has {size:,} bytes, Rekognition takes {MAX_BYTES:,}"
    if max(image.size) > MAX_SIDE:
        return f"it has {image.width:,} x {image.height:,} pixels, Rekognition takes {MAX_SIDE:,} a side"
    if image.mode == "CMYK":
        return "it is in CMYK"
    if kind == "PNG":
        file.seek(24)
        if file.read(1) == b"\x10":
            return "it has 16 bits a channel"
        if metadata.orientation(image) != 1:
            return "Rekognition does not turn a PNG upright"
    return None


def _rendition_size(width: int, height: int, side: int = RENDITION_SIDE) -> tuple[int, int]:
    longer, shorter = max(width, height), min(width, height)
    scale = min(1.0, max(side / longer, MIN_SIDE / shorter))
    if longer * scale > MAX_SIDE:
        raise Rejected(
            Code.TOO_SMALL,
            f"{width:,} x {height:,} pixels are too narrow: scaled to the {MAX_SIDE:,} pixels that Rekognition takes, "
            f"the shorter side falls below {MIN_SIDE}; crop it",
        )
    return max(MIN_SIDE, round(width * scale)), max(MIN_SIDE, round(height * scale))


def _flat(image: Image.Image) -> Image.Image:
    """Bring a decoded picture to 8 bits a channel without palette or transparency."""
    from PIL import Image

    if image.mode.startswith("I;16"):
        return image.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    if image.mode in ("I", "F"):  # of unknown range
        low, high = image.getextrema()
        scale = 255 / ((high - low) or 1)  # type: ignore[operator]
        return image.point(lambda value: value * scale - low * scale).convert("L")  # type: ignore[operator]
    if image.has_transparency_data:
        pixels = image if image.mode == "RGBA" else image.convert("RGBA")
        on_white = Image.new("RGB", image.size, "white")
        on_white.paste(pixels, mask=pixels)
        return on_white
    if image.mode in ("L", "RGB", "CMYK", "LAB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _srgb(picture: Image.Image, icc_profile: bytes | None) -> Image.Image:
    from PIL import ImageCms

    profile: Any = io.BytesIO(icc_profile) if icc_profile else None
    if picture.mode == "LAB":
        profile = ImageCms.createProfile("LAB")
    if profile:
        srgb = ImageCms.createProfile("sRGB")
        with suppress(ImageCms.PyCMSError):  # broken, or for other channels than these
            return ImageCms.profileToProfile(picture, profile, srgb, outputMode="RGB") or picture
    return picture if picture.mode == "L" else picture.convert("RGB")
