"""What EXIF block and file name say of a picture. What makes no sense is left out; nothing is refused for it."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL import Image

_LONGEST_TEXT = 200
_YEARS = range(1826, 2200)  # from the oldest photograph that is left


def read(image: Image.Image) -> dict[str, Any]:
    """Read what the EXIF block says of a picture.

    :returns: ``taken_at``, ``location``, ``camera`` and ``artist``, as :class:`~image_labels.images.Picture` has them
    """
    exif = _exif(image)
    readers: dict[str, Callable[[Image.Exif], Any]] = {
        "taken_at": _taken_at,
        "location": _location,
        "camera": _camera,
        "artist": lambda exif: _text(exif.get(0x013B)),
    }
    facts = {}
    for name, reader in readers.items():
        with suppress(Exception):
            if fact := reader(exif):
                facts[name] = fact
    return facts


def orientation(image: Image.Image) -> int:
    """Return how a picture has to be turned, 1 to 8; Pillow turns a TIFF by itself."""
    found = 1
    if image.format != "TIFF":
        with suppress(Exception):
            found = _exif(image)[0x0112]
    return found if found in range(1, 9) else 1


def file_name_facts(name: str) -> dict[str, str]:
    """Read the name that Unsplash gives to a file: ``<first>-<last>-<id>-unsplash.jpg``.

    The id has 11 characters, ``-`` and ``_`` among them. Behind ``-unsplash`` may be what a browser or an editor added.

    :param name: of the file, without its folder
    :returns: ``photographer``, ``photo_id`` and ``source_url``; nothing if the name has another form
    """
    match = re.fullmatch(r"([\w-]+)-([A-Za-z0-9_-]{11})-unsplash(?:[\W_].*)?", name, re.DOTALL)
    if match is None:
        return {}
    facts = {"photo_id": match[2], "source_url": f"https://unsplash.com/photos/{match[2]}"}
    if photographer := " ".join(part.capitalize() for part in match[1].split("-") if part):
        facts["photographer"] = photographer
    return facts


def _exif(image: Image.Image) -> Image.Exif:
    """Read the EXIF block as it stands in the file; a malformed one is none.

    Not ``image.getexif()``, except for a TIFF, which is one itself: it decodes a whole PNG in search of a block
    behind the pixels, and takes the orientation from XMP.
    """
    from PIL import Image

    exif = Image.Exif()
    with suppress(Exception):  # bad data make the parser raise anything
        if image.format == "TIFF":
            return image.getexif()
        exif.load(image.info.get("exif", b""))
    return exif


def _taken_at(exif: Image.Exif) -> str | None:
    """Return the time of the shutter, in UTC where the camera noted no offset."""
    details = exif.get_ifd(0x8769)
    offset = str(details.get(0x9011)).strip(" \0")
    if not re.fullmatch(r"[+-](0\d|1[0-4]):[0-5]\d", offset):
        offset = "+00:00"
    moment = datetime.strptime(details[0x9003].strip(" \0") + offset, "%Y:%m:%d %H:%M:%S%z")
    return moment.isoformat() if moment.year in _YEARS else None


def _location(exif: Image.Exif) -> dict[str, Any] | None:
    """Return the place of the camera as GeoJSON, longitude first; 0°, 0° is what receivers write that know no place."""
    gps = exif.get_ifd(0x8825)
    point = [_degrees(gps[4], gps[3], "EW", 180), _degrees(gps[2], gps[1], "NS", 90)]
    return {"type": "Point", "coordinates": point} if any(point) else None


def _degrees(value: Any, direction: str, directions: str, limit: int) -> float:
    degrees, minutes, seconds = (float(part) for part in value)
    angle = degrees + minutes / 60 + seconds / 3600
    # Written so that the NaN of a zero denominator fails too.
    if not (0 <= minutes <= 60 and 0 <= seconds <= 60 and 0 <= angle <= limit):
        raise ValueError
    sign = {directions[0]: 1, directions[1]: -1}[direction.strip(" \0").upper()]
    return sign * round(angle, 6)  # about 10 cm


def _camera(exif: Image.Exif) -> dict[str, str]:
    found = {"make": _text(exif.get(0x010F)), "model": _text(exif.get(0x0110))}
    return {name: text for name, text in found.items() if text}


def _text(value: Any) -> str | None:
    """Return a text up to its first NUL, on one line, of bounded length."""
    if not isinstance(value, str):
        return None
    with suppress(UnicodeError):
        value = value.encode("latin-1").decode()  # Pillow reads Latin-1, most software writes UTF-8
    visible = "".join(char if char.isprintable() else " " for char in value.split("\0")[0])
    return " ".join(visible.split())[:_LONGEST_TEXT] or None
