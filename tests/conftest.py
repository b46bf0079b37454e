from __future__ import annotations

from pathlib import Path

import pytest

from servers import PACKAGES


@pytest.fixture(scope="session")
def photos() -> dict[str, Path]:
    """Real photographs by file name, such as ``chelsea.png`` (a cat) and ``rocket.jpg``. Not to be changed."""
    folders = (PACKAGES / "skimage/data", PACKAGES / "sklearn/datasets/images")
    files = [file for folder in folders for file in folder.iterdir() if file.suffix in (".png", ".jpg", ".gif", ".tif")]
    assert files, f"no photographs below {PACKAGES}: `make setup` fetches them"
    return {file.name: file for file in files}
