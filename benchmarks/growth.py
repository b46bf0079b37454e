"""Whether a step's time for an image, and its memory, stay as they are when there are more images.

New images in an empty collection, tiny ones so that the pictures themselves cost nothing, no quota and no latency. Time
is that of the operators' `execute`, those of all batches one after the other; memory is the most that a task's process
held. Each step's time for an image is compared with that of the next smaller run; what is below 1 are fixed costs that
more images share. The database gets a cache that holds all: with the stack's half a gigabyte, an ingest of 100,000 took
2.9 times as long for an image as one of 10,000. The last rows are of one batch as large as a run with millions of new
images has them, where others have hundreds or a few thousand images each.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from benchmarks import steps
from benchmarks.bench import database, measure
from image_labels.sensors.new_images import LARGEST_BATCH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.bench import Bench, Measured, Row

COLUMNS = {
    "step": ("step", ""),
    "images": ("images", ",d"),
    "seconds": ("seconds", ".2f"),
    "per_1000": ("s per 1,000 images", ".3f"),
    "growth": ("of the row above", ".2f"),
    "peak_mb": ("peak memory, MB", "d"),
    "goal": ("goal", ""),
    "met": ("met", ""),
}

CACHE = 4 << 30
"""Bytes of the database for its documents and indexes."""

STEPS = ("sense", "batch.upload", "batch.analyse", "batch.ingest", "index", "report", "account")


def run(bench: Bench) -> list[Row]:
    """Measure all steps with ever more images, and those of one batch that is as large as any."""
    sizes = bench.size((500, 3000), (1000, 10_000, 100_000))
    bench.set_stand_in(tps=0, latency=0)
    with _cache(CACHE):
        done = {images: _steps(bench, images) for images in sizes}
        large = bench.size(3000, LARGEST_BATCH)
        in_one = _steps(bench, large, one_batch_of=large)
    rows = []
    for step in STEPS:
        before = None
        # A report's tables are written in row groups, which a batch does not have to hold.
        memory = 400 if step == "report" else 300
        for images in sizes:
            of = done[images][step]
            per_image = of.seconds / images
            growth = per_image / (before or per_image)
            before = per_image
            rows.append(
                {
                    "step": step,
                    "images": images,
                    "seconds": of.seconds,
                    "per_1000": 1000 * per_image,
                    "growth": growth,
                    "peak_mb": of.peak_mb,
                    "goal": f"≤ 1.2, < {memory} MB",
                    "met": growth <= 1.2 and of.peak_mb < memory,
                }
            )
    for step in ("batch.upload", "batch.analyse", "batch.ingest"):
        of = in_one[step]
        rows.append(
            {
                "step": f"{step}, one batch",
                "images": large,
                "seconds": of.seconds,
                "per_1000": 1000 * of.seconds / large,
                "peak_mb": of.peak_mb,
                "goal": "< 300 MB",
                "met": of.peak_mb < 300,
            }
        )
    return rows


@contextmanager
def _cache(size: int) -> Iterator[None]:
    """Give the database a cache of so many bytes."""
    admin = database().client.admin

    def change(size: int) -> None:
        admin.command("setParameter", 1, wiredTigerEngineRuntimeConfig=f"cache_size={size}")

    before = int(admin.command("serverStatus")["wiredTiger"]["cache"]["maximum bytes configured"])
    change(size)
    try:
        yield
    finally:
        change(before)


def _steps(bench: Bench, images: int, one_batch_of: int = 0) -> dict[str, Measured]:
    landing = bench.folder / f"growth-{images}-{one_batch_of}"
    state = bench.folder / f"growth-{images}-{one_batch_of}-state"
    prepare = partial(steps.prepare, one_batch_of=one_batch_of)
    write_tiny(landing, images)
    done: dict[str, Measured] = {}
    with bench.place() as bucket:
        batches: list[str] = []
        for step in STEPS:
            done[step] = measure(prepare, step, bucket, landing, state, batches)
            if step in ("sense", "batch.upload", "batch.analyse"):
                batches = done[step].value
    stored = done["account"].value["ingest"]["ingested"]
    if stored != images:
        raise RuntimeError(f"{images} images, {stored} documents")
    return done


def write_tiny(folder: Path, count: int) -> None:
    """Write the smallest pictures that Rekognition takes, each of another colour."""
    folder.mkdir(parents=True)
    for number in range(count):
        colour = (number % 251, number // 251 % 251, number // 63001)
        Image.new("RGB", (80, 80), colour).save(folder / f"picture-{number:06d}.png", compress_level=1)
