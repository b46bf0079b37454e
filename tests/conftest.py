from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from image_labels.operators.base import collect_garbage_seldom
from servers import PACKAGES

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip

# Once for all processes of a test run: they inherit it.
os.environ.setdefault("CHAOS_SEED", str(random.randrange(1_000_000)))


def pytest_collection_finish() -> None:
    """Let Python collect garbage as in a task; what is imported here is several times as much."""
    collect_garbage_seldom()


@pytest.fixture(scope="session")
def photos() -> dict[str, Path]:
    """Real photographs by file name, such as ``chelsea.png`` (a cat) and ``rocket.jpg``. Not to be changed."""
    folders = (PACKAGES / "skimage/data", PACKAGES / "sklearn/datasets/images")
    files = [file for folder in folders for file in folder.iterdir() if file.suffix in (".png", ".jpg", ".gif", ".tif")]
    assert files, f"no photographs below {PACKAGES}: `make setup` fetches them"
    return {file.name: file for file in files}


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The machine's Chromium."""
    from playwright.sync_api import sync_playwright

    executable = next(filter(None, map(shutil.which, NAMES)), None)
    if executable is None:
        pytest.skip("there is no Chromium; `sudo apt-get install -y chromium` brings it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(FLAGS))
        yield browser
        browser.close()
