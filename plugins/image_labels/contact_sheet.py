"""Example pictures for a report's most frequent labels, small enough to lie in its page.

A report does not fail for want of a picture: in place of one that is missing or broken stands an empty frame, and a
line in the log says why.
"""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from image_labels import images as pictures

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import pyarrow.dataset as ds
    from mypy_boto3_s3 import S3Client

LABELS = 8
"""Labels that have examples."""

EACH = 5
"""Pictures of a label: so a sheet fetches 40 objects at most, of 15 MB at most."""

SIDE = 240
"""Pixels of a thumbnail's longer side."""

CANDIDATES = 25
"""Pictures that are looked at for a label, so that not all labels show the same."""

MOST_MEMORY = 80_000_000
"""Bytes that the decoding of one picture may take."""

PER_PIXEL = {"JPEG": 0, "progressive JPEG": 3}
"""Bytes that decoding takes, as measured. A JPEG is decoded at a fraction of its size, but a progressive one is put
together whole before. All else takes up to 10."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Example:
    """A picture that shows a label.

    :param name: file name
    :param confidence: of the label, in percent
    :param boxes: where the label was located: left, top, width and height as shares of the picture
    :param width: in any unit, with ``height``, for the shape
    :param jpeg: the thumbnail; None if it could not be made
    """

    name: str
    confidence: float
    boxes: tuple[dict[str, float], ...]
    width: int
    height: int
    jpeg: bytes | None


def contact_sheet(
    s3: S3Client, bucket: str, labels: Sequence[str], image_labels: Iterable[Path], images: Path
) -> dict[str, list[Example]]:
    """Return the surest pictures of a day for labels, those first that no other label shows.

    :param labels: the most frequent first
    :param image_labels: the day's files of :data:`image_labels.tables.IMAGE_LABELS`
    :param images: the day's file of :data:`image_labels.tables.IMAGES`
    """
    found = {label: _candidates(label, image_labels) for label in labels[:LABELS]}
    facts = _facts(images, {row["image"] for rows in found.values() for row in rows})
    thumbnails = _Thumbnails(s3, bucket)
    sheet: dict[str, list[Example]] = {}
    for label, rows in found.items():
        # By content, so that a copy is not shown beside its original.
        by_content = {facts[row["image"]]["sha256"]: row for row in reversed(rows)}
        fresh_first = sorted(
            by_content.items(), key=lambda item: (item[0] in thumbnails.made, -item[1]["confidence"], item[1]["image"])
        )
        sheet[label] = [
            _example(row, facts[row["image"]], thumbnails.get(sha256, facts[row["image"]]["rendition"] or row["image"]))
            for sha256, row in fresh_first[:EACH]
        ]
    thumbnails.tell_failures()
    return {label: examples for label, examples in sheet.items() if examples}


def _candidates(label: str, files: Iterable[Path]) -> list[dict[str, Any]]:
    """Return the surest images of a label, the surest first."""
    import pyarrow.compute as pc

    rows: list[dict[str, Any]] = []
    for file in files:
        # The file is sorted, so its first rows of the label are the surest, and no more are read than it takes.
        first = _dataset(file).head(
            CANDIDATES,
            columns=["image", "img", "confidence", "boxes"],
            filter=pc.field("label") == label,
            batch_size=1024,
            batch_readahead=1,
            fragment_readahead=1,
        )
        rows += first.to_pylist()
    return sorted(rows, key=lambda row: (-row["confidence"], row["image"]))[:CANDIDATES]


def _dataset(file: Path) -> ds.Dataset:
    """Open a Parquet file that is read in small pieces, where Arrow would hold whole row groups."""
    import pyarrow.dataset as ds

    reading = ds.ParquetFragmentScanOptions(use_buffered_stream=True, pre_buffer=False)
    return ds.dataset(file, format=ds.ParquetFileFormat(default_fragment_scan_options=reading))


def _facts(images: Path, keys: set[str]) -> dict[str, dict[str, Any]]:
    """Return what a thumbnail needs to know of images by their keys."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = ["image", "sha256", "rendition", "width", "height"]
    rows = _dataset(images).to_table(columns, filter=pc.field("image").isin(pa.array(list(keys), pa.string())))
    return {row["image"]: row | {"sha256": row["sha256"] or row["image"]} for row in rows.to_pylist()}


def _example(row: dict[str, Any], image: dict[str, Any], jpeg: bytes | None) -> Example:
    name = row["img"] or row["image"].rsplit("/", 1)[-1]
    # An instance may come without its place.
    boxes = tuple(box for box in row["boxes"] if None not in (box["left"], box["top"], box["width"], box["height"]))
    return Example(name, row["confidence"], boxes, image["width"] or 3, image["height"] or 2, jpeg)


class _Thumbnails:
    """Makes thumbnails, each once.

    :ivar made: by content; None for those that could not be made
    """

    def __init__(self, s3: S3Client, bucket: str) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._failures: list[str] = []
        self.made: dict[str, bytes | None] = {}

    def get(self, sha256: str, key: str) -> bytes | None:
        """Return the thumbnail of the picture at a key; None if it can't be had."""
        if sha256 not in self.made:
            try:
                self.made[sha256] = self._make(key)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the report is worth more than it
                self.made[sha256] = None
                self._failures.append(f"{key}: {error}")
        return self.made[sha256]

    def tell_failures(self) -> None:
        """Write into the log what could not be had."""
        if self._failures:
            log.warning("%d thumbnails could not be made, the first of %s", len(self._failures), self._failures[0])

    def _make(self, key: str) -> bytes:
        content = io.BytesIO(self._s3.get_object(Bucket=self._bucket, Key=key)["Body"].read(pictures.MAX_BYTES))
        _check_cost(content)
        out = io.BytesIO()
        pictures.render(content, out, SIDE)
        return out.getvalue()


def _check_cost(content: io.BytesIO) -> None:
    """Check that a picture can be decoded within the report's memory.

    :raises Rejected: if not
    """
    from PIL import Image

    with Image.open(content) as image:
        kind = f"{'progressive ' * ('progressive' in image.info)}{image.format}"
        memory = PER_PIXEL.get(kind, 10) * image.width * image.height
        if memory > MOST_MEMORY:
            size = f"its {image.width:,} x {image.height:,} pixels take {memory // 1_000_000:,} MB to decode"
            raise pictures.Rejected(pictures.Code.BOMB, f"{size}, which is more than a thumbnail is worth")
