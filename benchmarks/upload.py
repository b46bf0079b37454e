"""Upload beside a plain boto3 thread pool that puts the same files into the same bucket.

The pipeline also recognises, checks and hashes each file, reads its metadata, has S3 verify a SHA-256, looks the images
up in the collection and plans batches. All use as many threads. Best of three rounds each, taken in turns.

The task's client leaves out `Expect: 100-continue`, which boto3's own sends before each put and waits for. What the
work beside the puts costs is seen where the plain threads have the task's client, too; there is no goal for it.
"""

from __future__ import annotations

import io
import os
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from benchmarks.bench import bucket, database, measure, s3_client
from benchmarks.quota import DAY
from image_labels import indexes, jsonlines
from image_labels.claims import Budget, Claims
from image_labels.documents import Settings
from image_labels.intake import THREADS, Intake
from image_labels.landing import LocalLanding
from image_labels.layout import Layout
from image_labels.operators import base
from servers import PACKAGES

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_s3 import S3Client

    from benchmarks.bench import Bench, Measured, Row, Work

ROUNDS = 3
PHOTOS = (
    "skimage/data/rocket.jpg",
    "skimage/data/chelsea.png",
    "skimage/data/coffee.png",
    "sklearn/datasets/images/china.jpg",
)

COLUMNS = {
    "files": ("files", ",d"),
    "mean_kb": ("mean size, kB", ",d"),
    "plain_per_s": ("boto3 threads, files/s", ".1f"),
    "upload_per_s": ("upload, files/s", ".1f"),
    "upload_mb_per_s": ("upload, MB/s", ".0f"),
    "ratio": ("of boto3 threads", ".2f"),
    "same_client": ("of threads with the task's client", ".2f"),
    "plain_cpu": ("boto3 threads, CPU s per 1,000", ".1f"),
    "upload_cpu": ("upload, CPU s per 1,000", ".1f"),
    "peak_mb": ("peak memory, MB", "d"),
    "cores_busy": ("cores busy", ".0%"),
    "goal": ("goal", ""),
    "met": ("met", ""),
}


def run(bench: Bench) -> list[Row]:
    """Measure photographs as cameras make them, and small pictures."""
    return [
        _row(bench, "camera", (4000, 3000), files=bench.size(60, 400)),
        _row(bench, "small", (480, 360), files=bench.size(600, 4000)),
    ]


def _row(bench: Bench, folder: str, size: tuple[int, int], *, files: int) -> Row:
    landing = bench.folder / folder
    total = write_photos(landing, size, files)
    plain: list[Measured] = []
    same_client: list[Measured] = []
    upload: list[Measured] = []
    for _ in range(ROUNDS):
        with bench.place():
            plain.append(measure(prepare_plain, landing, s3_client))
        with bench.place():
            same_client.append(measure(prepare_plain, landing, task_client))
        with bench.place():
            upload.append(measure(prepare_upload, landing))
            if upload[-1].value != files:
                raise RuntimeError(f"{files} files, {upload[-1].value} uploaded")
    slow = min(done.seconds for done in plain)
    fast = min(done.seconds for done in upload)
    return {
        "files": files,
        "mean_kb": total // files // 1000,
        "plain_per_s": files / slow,
        "upload_per_s": files / fast,
        "upload_mb_per_s": total / fast / 1e6,
        "ratio": slow / fast,
        "same_client": min(done.seconds for done in same_client) / fast,
        "plain_cpu": 1000 * min(done.cpu_seconds for done in plain) / files,
        "upload_cpu": 1000 * min(done.cpu_seconds for done in upload) / files,
        "peak_mb": max(done.peak_mb for done in upload),
        "cores_busy": max(done.cores_busy for done in upload),
        "goal": "≥ 0.9",
        "met": slow / fast >= 0.9,
    }


def write_photos(folder: Path, size: tuple[int, int], count: int) -> int:
    """Write JPEGs with a camera's noise, no two with the same content, and return their size in bytes."""
    folder.mkdir(parents=True)
    photos = [_photo(PACKAGES / name, size) for name in PHOTOS]
    total = 0
    for number in range(count):
        photo = photos[number % len(photos)]
        comment = f"{number:08d}".encode()
        # A comment after the mark of the beginning.
        content = photo[:2] + b"\xff\xfe\x00\x0a" + comment + photo[2:]
        (folder / f"IMG_{number:06d}.jpg").write_bytes(content)
        total += len(content)
    return total


def _photo(source: Path, size: tuple[int, int]) -> bytes:
    with Image.open(source) as image:
        pixels = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BICUBIC), dtype=np.int16)
    noise = np.random.default_rng(0).normal(0, 6, pixels.shape).astype(np.int16)
    out = io.BytesIO()
    Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=88)
    return out.getvalue()


def task_client() -> S3Client:
    """Return a client as the task makes it."""
    return base.s3_client("aws_default")


def prepare_plain(landing: Path, client: Callable[[], S3Client]) -> Work:
    """Put the files as they are."""
    s3, to = client(), bucket()

    def put(name: str) -> None:
        with (landing / name).open("rb") as file:
            s3.put_object(Bucket=to, Key=f"images/{name}", Body=file, ContentType="image/jpeg")

    def work() -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(put, sorted(os.listdir(landing))))

    return work


def prepare_upload(landing: Path) -> Work:
    """Upload the files as the task does."""
    s3, images = task_client(), database()["images"]
    indexes.ensure(images, (indexes.CONTENT_INDEX,))
    place = LocalLanding(str(landing))
    run = _layout().run(DAY, uuid.uuid4().hex)
    jsonlines.write(s3, run.layout.bucket, run.sensed(0), (file._asdict() for file in place.files()))
    intake = Intake(
        run=run,
        number=0,
        landing=place,
        settings=Settings(),
        claims=Claims(database()["claims"], run.run_id, 0, Budget(), str(Settings())),
        s3=s3,
        collection=images,
        day=DAY,
    )

    def work() -> int:
        intake.upload()
        return intake.books.uploaded

    return work


def _layout() -> Layout:
    return Layout(bucket(), "image-labels")
