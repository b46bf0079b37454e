"""How a day's report gets to its readers: whole, verified, or not at all.

S3 replaces an object at once, but has no way to replace several. So all files of a report go to a private folder first;
there they are read back and checked against each other and the collection; and only then does S3 copy them to where
readers look, which takes no longer than a few requests and can no longer fail for a reason of the data. A mark in the
private folder says that copying has begun: whoever finds it, after a kill, goes on with it. The list of what the report
consists of is written last; who must not see two tables of different runs side by side compares ETags with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from image_labels import jsonlines
from image_labels.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date
    from pathlib import Path

    import pyarrow as pa
    import pyarrow.parquet as pq
    from mypy_boto3_s3 import S3Client

    from image_labels.frequencies import Scope
    from image_labels.layout import Layout

PAGE = "page"
"""Folder of the page and the picture: Athena would take them for Parquet if they lay beside it."""

CONTENT_TYPES = {".html": "text/html; charset=utf-8", ".png": "image/png"}

MARK = "verified.json"


class ReportDoesNotAddUp(Exception):
    """What was read back from S3 is not what the collection or another table says; nothing was published."""


@dataclass(frozen=True)
class Piece:
    """A file of a report.

    :param table: a key of :data:`image_labels.tables.TABLES`, or :data:`PAGE`
    :param name: of the file
    :param rows: that it has; None if it is no table
    """

    table: str
    name: str
    rows: int | None = None


@dataclass(frozen=True)
class Publication:
    """The files of a day's report in S3, staged and published.

    :param layout: where things lie
    :param day: of the report
    """

    s3: S3Client
    layout: Layout
    day: date

    def finish_earlier(self) -> None:
        """Go on with a publication that was begun, and remove what else an earlier try has left."""
        bucket = self.layout.bucket
        try:
            mark = self.s3.get_object(Bucket=bucket, Key=self.layout.staged(self.day, MARK))["Body"].read()
        except self.s3.exceptions.NoSuchKey:
            self._remove_staged()
        else:
            self._copy([Piece(**piece) for piece in json.loads(mark)])

    def stage(self, pieces: Mapping[Piece, Path]) -> None:
        """Put files into the private folder; S3 verifies their checksums."""
        for piece, file in pieces.items():
            kind = CONTENT_TYPES.get(file.suffix, "application/vnd.apache.parquet")
            with file.open("rb") as content:
                self.s3.put_object(Bucket=self.layout.bucket, Key=self._staged(piece), Body=content, ContentType=kind)

    def read_back(self, piece: Piece, folder: Path) -> pq.ParquetFile:
        """Fetch a table's file from the private folder.

        :param folder: to hold it; its checksums are verified as it is read
        """
        import pyarrow.parquet as pq

        file = folder / f"{piece.table}-{piece.name}"
        # Not download_file, which holds 8 MB for each of ten threads.
        body = self.s3.get_object(Bucket=self.layout.bucket, Key=self._staged(piece))["Body"]
        with file.open("wb") as out:
            for chunk in body.iter_chunks(1 << 20):
                out.write(chunk)
        return pq.ParquetFile(file, page_checksum_verification=True)

    def publish(self, pieces: Sequence[Piece]) -> None:
        """Let readers see what was staged in place of what they have seen of the day so far."""
        mark = json.dumps([asdict(piece) for piece in pieces]).encode()
        self.s3.put_object(Bucket=self.layout.bucket, Key=self.layout.staged(self.day, MARK), Body=mark)
        self._copy(pieces)

    def _copy(self, pieces: Sequence[Piece]) -> None:
        bucket = self.layout.bucket
        tables: dict[str, dict[str, Any]] = {}
        for piece in pieces:
            key = self.layout.report(piece.table, self.day, piece.name)
            copied = self.s3.copy_object(
                Bucket=bucket, Key=key, CopySource={"Bucket": bucket, "Key": self._staged(piece)}
            )
            entry = tables.setdefault(piece.table, {"files": []})
            if piece.table in TABLES:
                entry["schema_version"] = TABLES[piece.table].version
            etag = copied["CopyObjectResult"]["ETag"].strip('"')
            entry["files"].append({"key": key, "etag": etag, "rows": piece.rows})
        new = {file["key"] for entry in tables.values() for file in entry["files"]}
        for table in tables:
            folder = self.layout.report(table, self.day, "") + "/"
            jsonlines.delete(self.s3, bucket, set(jsonlines.keys(self.s3, bucket, folder)) - new)
        content = json.dumps({"report_date": self.day.isoformat(), "tables": tables}, indent=2).encode()
        self.s3.put_object(
            Bucket=bucket, Key=self.layout.publication(self.day), Body=content, ContentType="application/json"
        )
        # The mark goes first: without it nothing of this is ever copied again.
        jsonlines.delete(self.s3, bucket, [self.layout.staged(self.day, MARK)])
        self._remove_staged()

    def _remove_staged(self) -> None:
        bucket = self.layout.bucket
        jsonlines.delete(self.s3, bucket, list(jsonlines.keys(self.s3, bucket, self.layout.staged(self.day) + "/")))

    def _staged(self, piece: Piece) -> str:
        return self.layout.staged(self.day, piece.table, piece.name)


# --- Verification ---

Files = Mapping[Piece, "pq.ParquetFile"]


def check(files: Files, scopes: Sequence[Scope], thresholds: Sequence[float], images: int) -> None:
    """Check a report's tables, as read back from S3, against each other and the collection.

    :param files: all files of tables
    :param scopes: what the database has counted of the day and of all
    :param images: documents that the collection has of the day now
    :raises ReportDoesNotAddUp: if they disagree, or a value is missing where there must be one
    """
    by_name = {scope.name: scope for scope in scopes}
    problems = list(_of_form(files)) or list(_of_sums(files, by_name, thresholds, images))
    if problems:
        raise ReportDoesNotAddUp(
            f"{'; '.join(problems[:10])}. Readers still have the report that was there before. If documents were "
            "stored or deleted meanwhile, clear the task"
        )


def _of_form(files: Files) -> Iterator[str]:
    """Yield what is wrong with columns, types and missing values."""
    for piece, file in files.items():
        schema = TABLES[piece.table].schema()
        if not file.schema_arrow.equals(schema) or file.metadata.num_rows != piece.rows:
            yield f"{piece.table}/{piece.name} has other columns or rows than were written"
            continue
        needed = {name for name in schema.names if not schema.field(name).nullable}
        for number in range(file.metadata.num_row_groups):
            group = file.metadata.row_group(number)
            for column in map(group.column, range(group.num_columns)):
                if column.path_in_schema in needed and column.statistics and column.statistics.null_count:
                    yield f"{piece.table}/{piece.name} lacks values of {column.path_in_schema}"


def _of_sums(files: Files, scopes: Mapping[str, Scope], thresholds: Sequence[float], images: int) -> Iterator[str]:
    """Yield what does not come out."""
    day = scopes["day"]
    counted = _recount(files, thresholds)
    frequency, groups = _rows(files, "label_frequency"), _rows(files, "group_frequency")
    of = {name: {_key(row): row for row in frequency if row["scope"] == name} for name in scopes}
    sums: dict[str, tuple[Any, Any]] = {
        "images in the table and in the collection": (sum(p.rows or 0 for p in files if p.table == "images"), images),
        "images when counted and in the collection": (day.images, images),
        "rows of image_labels and labels of images": (
            sum(p.rows or 0 for p in files if p.table == "image_labels"),
            sum(row["labels"] for batch in _batches(files, "images", ["labels"]) for row in batch.to_pylist()),
        ),
        "objects in image_labels and when counted": (counted.instances, day.instances),
    }
    for what, (one, other) in sums.items():
        if one != other:
            yield f"{what}: {one} and {other}"
    if counted.labels != {key: (row["images"], row["max_confidence"]) for key, row in of["day"].items()}:
        yield "image_labels and label_frequency do not have the same labels of the day"
    for row in [*frequency, *groups]:
        total = scopes[row["scope"]].images
        if not 0 < row["images"] <= total or row["share"] != row["images"] / total:
            yield f"{row} cannot be of {total} images"
    for key, row in of["day"].items():
        if key not in of["all"] or of["all"][key]["images"] < row["images"]:
            yield f"{row} is of more images than the whole collection has"


def _key(row: Mapping[str, Any]) -> tuple[float, str]:
    return row["min_confidence"], row["label"]


@dataclass
class _Counted:
    """What the table of labels says about the day.

    :param labels: images and highest confidence, by threshold and label
    """

    instances: int
    labels: dict[tuple[float, str], tuple[int, float]]


def _recount(files: Files, thresholds: Sequence[float]) -> _Counted:
    import pyarrow.compute as pc

    counted = _Counted(0, {})
    for batch in _batches(files, "image_labels", ["label", "confidence", "instances"]):
        counted.instances += pc.sum(batch["instances"]).as_py() or 0
        for threshold in thresholds:
            reaching = batch.filter(pc.field("confidence") >= threshold)
            found = reaching.group_by("label").aggregate([("confidence", "count"), ("confidence", "max")])
            for row in found.to_pylist():
                key = threshold, row["label"]
                images, highest = counted.labels.get(key, (0, 0.0))
                counted.labels[key] = images + row["confidence_count"], max(highest, row["confidence_max"])
    return counted


def _rows(files: Files, table: str) -> list[dict[str, Any]]:
    return [row for batch in _batches(files, table) for row in batch.to_pylist()]


def _batches(files: Files, table: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
    import pyarrow as pa

    for piece, file in files.items():
        if piece.table == table:
            for batch in file.iter_batches(columns=columns):
                yield pa.Table.from_batches([batch])
