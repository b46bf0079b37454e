"""The demo album: real photographs out of packages, and a few files that are none, as in any folder of pictures."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from servers import PACKAGES

_SCIKIT_IMAGE = PACKAGES / "skimage/data"
_SCIKIT_LEARN = PACKAGES / "sklearn/datasets/images"

PHOTOS = {
    "animals/Chelsea the cat.png": _SCIKIT_IMAGE / "chelsea.png",
    "city/coins.png": _SCIKIT_IMAGE / "coins.png",
    "city/motorcycle, left eye.png": _SCIKIT_IMAGE / "motorcycle_left.png",
    "city/motorcycle, right eye.png": _SCIKIT_IMAGE / "motorcycle_right.png",
    "food & drink/coffee.png": _SCIKIT_IMAGE / "coffee.png",
    "people/cameraman.png": _SCIKIT_IMAGE / "camera.png",
    "people/Eileen Collins, astronaut.png": _SCIKIT_IMAGE / "astronaut.png",
    "science/retina.jpg": _SCIKIT_IMAGE / "retina.jpg",
    "space/Hubble deep field.jpg": _SCIKIT_IMAGE / "hubble_deep_field.jpg",
    "space/moon.png": _SCIKIT_IMAGE / "moon.png",
    "space/rocket.jpg": _SCIKIT_IMAGE / "rocket.jpg",
    "travel/China.jpg": _SCIKIT_LEARN / "china.jpg",
    "travel/flower.jpg": _SCIKIT_LEARN / "flower.jpg",
    # The same picture under another name: it is stored, but not paid for again.
    "favourites/Chelsea the cat (copy).png": _SCIKIT_IMAGE / "chelsea.png",
}
_NO_PHOTO = "scraps/notes.txt.jpg"
_CUT_SHORT = "scraps/rocket, cut short.jpg"
# One time for all of them, so that an album made anew is still the same album.
_TAKEN = 1_767_225_600


def build(folder: Path) -> None:
    """Make the album, if it is not there.

    :param folder: where it shall be
    """
    if folder.is_dir():
        return
    unfinished = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    for name, photo in PHOTOS.items():
        _write(unfinished / name, photo.read_bytes())
    _write(unfinished / _NO_PHOTO, b"A shopping list that someone gave the name of a picture.\n")
    rocket = (_SCIKIT_IMAGE / "rocket.jpg").read_bytes()
    _write(unfinished / _CUT_SHORT, rocket[: len(rocket) // 2])
    unfinished.rename(folder)


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    os.utime(file, (_TAKEN, _TAKEN))
