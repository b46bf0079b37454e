"""The tables that the reports consist of: the one place with their columns, types and descriptions.

Each lies in S3 as Parquet under ``reports/<table>/report_date=YYYY-MM-DD/``. The date is Hive's partition column and
therefore not in the files.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pyarrow as pa


class _NoPandas:
    """A finder of modules for which there is no pandas."""

    @staticmethod
    def find_spec(name: str, *_: object) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name=name)


def load_arrow() -> None:
    """Load Arrow as a worker wants it, which is 90 MB smaller.

    Its own allocator keeps 50 MB of what was freed. And with its first array it loads pandas where that is installed,
    which nothing here needs; who asks for data frames later gets them all the same.
    """
    # Arrow reads it when it is loaded.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    sys.meta_path.insert(0, _NoPandas)
    try:
        import pyarrow as pa

        pa.array([None])
    finally:
        sys.meta_path.remove(_NoPandas)


@dataclass(frozen=True)
class Column:
    """A column of a table.

    :param kind: a key of :func:`arrow_types`
    :param text: what it holds, with its unit, for people
    :param nullable: whether it may be empty
    """

    name: str
    kind: str
    text: str
    nullable: bool = False


@dataclass(frozen=True)
class Table:
    """A table of the reports.

    :param version: grows when a column changes or goes; what a reader may rely on
    :param text: what a row is, for people
    :param order: columns by which the rows are sorted; a minus before a name means descending
    """

    name: str
    version: str
    text: str
    columns: tuple[Column, ...]
    order: tuple[str, ...]

    def schema(self) -> pa.Schema:
        """Return the Arrow schema; the metadata of each field holds its ``description``."""
        import pyarrow as pa

        types = arrow_types()
        return pa.schema(
            [
                pa.field(column.name, types[column.kind], column.nullable, {"description": column.text})
                for column in self.columns
            ],
            metadata={"schema_version": self.version, "description": self.text},
        )

    @property
    def sort_keys(self) -> list[tuple[str, Literal["ascending", "descending"]]]:
        """The order as Arrow's ``sort_by`` wants it."""
        return [(name.removeprefix("-"), "descending" if name.startswith("-") else "ascending") for name in self.order]


def arrow_types() -> dict[str, pa.DataType]:
    """Return the types by the names that this module and the data dictionary call them."""
    import pyarrow as pa

    box = [pa.field(name, pa.float64()) for name in ("left", "top", "width", "height", "confidence")]
    return {
        "text": pa.string(),
        "integer": pa.int64(),
        "number": pa.float64(),
        "date": pa.date32(),
        "time": pa.timestamp("ms", tz="UTC"),
        "texts": pa.list_(pa.field("element", pa.string(), nullable=False)),
        "boxes": pa.list_(pa.field("element", pa.struct(box), nullable=False)),
    }


_SCOPE = (
    Column(
        "scope",
        "text",
        'Which images: those of this data interval ("day"), or all up to and including it ("all")',
    ),
    Column("min_confidence", "number", "Threshold in percent; only labels at or above it count in this row"),
)

LABEL_FREQUENCY = Table(
    "label_frequency",
    "1",
    "How many images show a label, for each scope and confidence threshold",
    (
        *_SCOPE,
        Column("label", "text", "Name of the label as Rekognition gave it"),
        Column("images", "integer", "Images with the label; one that has it several times counts once"),
        Column("instances", "integer", "Objects of the label that were located in these images"),
        Column("share", "number", "images divided by all images of the scope, 0 to 1"),
        Column("mean_confidence", "number", "Mean confidence of the label in percent, to 4 decimals"),
        Column("max_confidence", "number", "Highest confidence of the label in percent"),
        Column("model_versions", "texts", "Versions of Rekognition's label model that saw it, sorted"),
    ),
    ("scope", "min_confidence", "-images", "label"),
)

GROUP_FREQUENCY = Table(
    "group_frequency",
    "1",
    "How many images show a group of labels: old and new names as one, a label and all below it, or a category",
    (
        *_SCOPE,
        Column(
            "grouping",
            "text",
            '"label": names that have become aliases of another (Human) count as that one (Person); '
            '"label_with_children": moreover, a label that has this one as a parent counts as this one (a Dog is an '
            'Animal); "category": any label of the category',
        ),
        Column("name", "text", "Name of the label or of the category"),
        Column("images", "integer", "Images with a label of the group; each counts once"),
        Column("share", "number", "images divided by all images of the scope, 0 to 1"),
        Column("model_versions", "texts", "Versions of Rekognition's label model that saw it, sorted"),
    ),
    ("scope", "grouping", "min_confidence", "-images", "name"),
)

_IMAGE = Column("image", "text", "Key of the image in the pipeline's bucket")
_IMG = Column("img", "text", "File name of the image", nullable=True)
_DAY = Column("day", "date", "Day of the run that took the image in (UTC)")
_MODEL = Column("model_version", "text", "Version of Rekognition's label model", nullable=True)
_PHOTOGRAPHER = Column("photographer", "text", "From the file's name, where it says so", nullable=True)
_TAKEN = Column("taken_at", "time", "Time of the shutter, from the EXIF block", nullable=True)

IMAGE_LABELS = Table(
    "image_labels",
    "1",
    "One row for each image of the day and each label of it, at whatever confidence",
    (
        _IMAGE,
        _IMG,
        Column("label", "text", "Name of the label as Rekognition gave it"),
        Column("confidence", "number", "Confidence of the label in percent; the highest, if the answer has it twice"),
        Column("instances", "integer", "Objects of the label that were located in the image"),
        Column("mentions", "integer", "How often the answer has the label: once, as a rule"),
        Column("parents", "texts", "Labels above this one, sorted"),
        Column("categories", "texts", "Categories of the label, sorted"),
        Column("aliases", "texts", "Other names of the label, sorted"),
        Column(
            "boxes",
            "boxes",
            "Where the objects are: left, top, width, height as shares of the image, 0 to 1, and confidence in percent",
        ),
        _MODEL,
        _PHOTOGRAPHER,
        _TAKEN,
        _DAY,
    ),
    ("label", "-confidence", "image"),
)

IMAGES = Table(
    "images",
    "1",
    "One row for each image of the day",
    (
        _IMAGE,
        _IMG,
        Column("bucket", "text", "Bucket of the image", nullable=True),
        Column("etag", "text", "ETag of the object, or the version of the file that was taken", nullable=True),
        Column("sha256", "text", "SHA-256 of the content, in hex", nullable=True),
        Column("bytes", "integer", "Size of the file", nullable=True),
        Column("format", "text", "JPEG, PNG, HEIF, …, by the content", nullable=True),
        Column("width", "integer", "Pixels", nullable=True),
        Column("height", "integer", "Pixels", nullable=True),
        Column("rendition", "text", "Key of the JPEG that Rekognition saw in its place, if it did", nullable=True),
        _PHOTOGRAPHER,
        Column("photo_id", "text", "Unsplash's id of the photo, from the file's name", nullable=True),
        Column("source_url", "text", "Where the photo came from", nullable=True),
        Column("artist", "text", "From the EXIF block", nullable=True),
        _TAKEN,
        Column("longitude", "number", "Degrees east, from the EXIF block", nullable=True),
        Column("latitude", "number", "Degrees north, from the EXIF block", nullable=True),
        Column("camera_make", "text", "From the EXIF block", nullable=True),
        Column("camera_model", "text", "From the EXIF block", nullable=True),
        Column("labels", "integer", "Rows that the image has in image_labels"),
        _MODEL,
        Column("asked_min_confidence", "number", "What Rekognition was asked for, in percent", nullable=True),
        Column("asked_max_labels", "integer", "What Rekognition was asked for", nullable=True),
        Column("analysed_at", "time", "Time of Rekognition's answer", nullable=True),
        Column("dag_run", "text", "The DAG run that brought the image", nullable=True),
        Column("paid_by", "text", "The DAG run that called Rekognition", nullable=True),
        Column("reused_from", "text", "Key of the image that was asked about, if another one", nullable=True),
        _DAY,
    ),
    ("image",),
)

RUNS = Table(
    "runs",
    "1",
    "The books of each DAG run of the day: what came in, and what became of it",
    (
        Column("run_id", "text", "The DAG run"),
        Column("dag_id", "text", "Its DAG", nullable=True),
        Column("day", "date", "Day that the run stands for (UTC)"),
        Column("state", "text", '"balanced"; "failed"; "open"; or "recovered": a later run has stored its answers'),
        Column("opened_at", "time", "When it began", nullable=True),
        Column("closed_at", "time", "When its books were closed", nullable=True),
        Column("landing", "text", "The landing place", nullable=True),
        Column("asked_min_confidence", "number", "What Rekognition was asked for, in percent", nullable=True),
        Column("asked_max_labels", "integer", "What Rekognition was asked for", nullable=True),
        Column("seen", "integer", "Files in the landing place", nullable=True),
        Column("known", "integer", "Of these, those that earlier runs had dealt with", nullable=True),
        Column("unsettled", "integer", "Of these, those that were still changing", nullable=True),
        Column("new", "integer", "Of these, those that were new", nullable=True),
        Column("uploaded", "integer", "Images put into S3", nullable=True),
        Column("unchanged", "integer", "Images that S3 had already", nullable=True),
        Column("carried", "integer", "Images left to the next run", nullable=True),
        Column("to_analyse", "integer", "Images that needed an answer", nullable=True),
        Column("called", "integer", "Of these, those that Rekognition was asked about", nullable=True),
        Column("reused", "integer", "Of these, those whose content had been answered before", nullable=True),
        Column("quarantined", "integer", "Images that could not be taken, in whatever step", nullable=True),
        Column("ingested", "integer", "Documents stored", nullable=True),
        Column("spent_usd", "number", "What Rekognition took, in US dollars", nullable=True),
        Column("problems", "texts", "Why the books could not be closed, a sentence each"),
    ),
    ("opened_at", "run_id"),
)

QUARANTINE = Table(
    "quarantine",
    "1",
    "One row for each file of the day that could not be taken",
    (
        Column("run_id", "text", "The DAG run that refused it"),
        Column("path", "text", "Its path below the landing place", nullable=True),
        Column("image", "text", "Its key in the pipeline's bucket, if it has come so far", nullable=True),
        Column("step", "text", "Which step refused it"),
        Column("code", "text", "Why, in a word"),
        Column("reason", "text", "Why, in a sentence"),
        Column("at", "time", "When", nullable=True),
        Column("day", "date", "Day that the run stands for (UTC)"),
    ),
    ("run_id", "path"),
)

LABEL_CHANGES = Table(
    "label_changes",
    "1",
    "How a report's label frequencies differ from those of the 28 days before, for each label that either of them has. "
    "An earlier report counts if its scope had images and it has the threshold",
    (
        *_SCOPE,
        Column("label", "text", "Name of the label as Rekognition gave it"),
        Column(
            "status",
            "text",
            '"new": no earlier report has it; "vanished": only earlier ones have it; "kept": both do; '
            '"first": there is no earlier report',
        ),
        Column("images", "integer", "Images with the label now; 0 if it has vanished"),
        Column("scope_images", "integer", "All images of the scope now"),
        Column("share", "number", "images divided by scope_images, 0 to 1"),
        Column("last_report_date", "date", "Day of the last report that counts", nullable=True),
        Column("last_images", "integer", "Images with the label then", nullable=True),
        Column("last_scope_images", "integer", "All images of the scope then", nullable=True),
        Column("last_share", "number", "last_images divided by last_scope_images", nullable=True),
        Column("reports", "integer", "Earlier reports that count, 28 at most"),
        Column("reports_with_label", "integer", "Of these, those that have the label"),
        Column(
            "median_share",
            "number",
            "Median share of these reports, those without the label having a share of 0",
            nullable=True,
        ),
        Column(
            "deviation",
            "number",
            "How far share is from median_share, upwards or downwards, in units of what separates ordinary days: what "
            "chance alone does to so many images, or the scatter of the earlier days where that is larger. Beyond 4 "
            'either way is worth a look. Only for the scope "day", from 7 earlier reports on',
            nullable=True,
        ),
        Column("model_versions", "texts", "Versions of Rekognition's label model that see it now, sorted"),
        Column(
            "last_model_versions", "texts", "Versions that saw it in the last report that counts, sorted", nullable=True
        ),
        Column(
            "now_called",
            "text",
            "Label of which this one's name is an alias now; a new model has renamed it and the world is as it was",
            nullable=True,
        ),
    ),
    ("scope", "min_confidence", "-images", "label"),
)

TABLES: dict[str, Table] = {
    table.name: table
    for table in (LABEL_FREQUENCY, GROUP_FREQUENCY, LABEL_CHANGES, IMAGE_LABELS, IMAGES, RUNS, QUARANTINE)
}
"""All tables by their names."""
