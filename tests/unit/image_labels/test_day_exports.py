from __future__ import annotations

import random
from concurrent.futures import Future
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from image_labels import exports
from image_labels.tables import IMAGE_LABELS, IMAGES, TABLES, Table
from odd_documents import DAY, Document, documents

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BOX = {"Left": 0.1, "Top": 0.2, "Width": 0.3, "Height": 0.4}
FULL: Document = {
    "_id": "image-labels/images/a.jpg",
    "img": "a.jpg",
    "bucket": "photos",
    "etag": "e",
    "sha256": "0" * 64,
    "bytes": 10,
    "format": "JPEG",
    "width": 80,
    "height": 90,
    "photographer": "Coleen Rivas",
    "photo_id": "bZ2-9wl9wVc",
    "source_url": "https://unsplash.com/photos/bZ2-9wl9wVc",
    "artist": "C. R.",
    "rendition": "image-labels/renditions/0.jpg",
    "taken_at": datetime(2021, 5, 1, 12, 30, tzinfo=UTC),
    "location": {"type": "Point", "coordinates": [13.4, 52.5]},
    "camera": {"make": "Canon", "model": "R5"},
    "Labels": [
        {
            "Name": "Dog",
            "Confidence": 97.5,
            "Instances": [{"BoundingBox": BOX, "Confidence": 96.5}, {"Confidence": 51}, {}],
            "Parents": [{"Name": "Pet"}, {"Name": "Animal"}],
            "Categories": [{"Name": "Animals and Pets"}],
            "Aliases": [{"Name": "Hound"}],
        },
        {"Name": "Pet", "Confidence": 100, "Instances": None, "Parents": None},
    ],
    "LabelModelVersion": "3.0",
    "analysis": {
        "at": datetime(2026, 11, 22, 1, tzinfo=UTC),
        "settings": {"min_confidence": 50.0, "max_labels": 100},
        "dag_run": "run-2",
        "paid_by": "run-1",
        "reused_from": "image-labels/images/b.jpg",
        "opened_at": datetime(2026, 11, 22, tzinfo=UTC),
    },
    "logical_date": DAY,
}


class Stored:
    """A collection whose cursor yields some documents."""

    def __init__(self, found: list[Document]) -> None:
        self.found = found

    def aggregate(self, stages: list[Document], **options: Any) -> Iterator[Document]:
        yield from sorted(self.found, key=lambda document: document["_id"])


def cells(found: list[Document], floors: tuple[float, ...] = (0.0, 50.0, 90.0)) -> pa.Table:
    """Return what the database counts of documents, as far as the export asks."""
    rows = [
        {"name": name, "floor": floor, "images": 1}
        for document in found
        for name in {label["Name"] for label in document["Labels"]}
        for floor in floors
        if any(label["Confidence"] >= floor for label in document["Labels"] if label["Name"] == name)
    ]
    return pa.Table.from_pylist(rows, pa.schema({"name": pa.string(), "floor": pa.float64(), "images": pa.int64()}))


def export(found: list[Document], folder: Path) -> tuple[list[Path], Path]:
    label_cells: Future[pa.Table] = Future()
    label_cells.set_result(cells(found))
    return exports.export_day(Stored(found), DAY, label_cells, folder)  # type: ignore[arg-type]


def test_a_document_fills_every_column(tmp_path: Path) -> None:
    (labels,), images = export([FULL], tmp_path)
    (image,) = pq.read_table(images).to_pylist()
    assert image == {
        **{name: FULL[name] for name in image.keys() & FULL.keys()},
        "image": FULL["_id"],
        "longitude": 13.4,
        "latitude": 52.5,
        "camera_make": "Canon",
        "camera_model": "R5",
        "labels": 2,
        "model_version": "3.0",
        "asked_min_confidence": 50.0,
        "asked_max_labels": 100,
        "analysed_at": FULL["analysis"]["at"],
        "dag_run": "run-2",
        "paid_by": "run-1",
        "reused_from": "image-labels/images/b.jpg",
        "day": date(2026, 11, 22),
    }
    dog, pet = pq.read_table(labels).to_pylist()
    shared = {name: image[name] for name in ("image", "img", "model_version", "photographer", "taken_at", "day")}
    nowhere = dict.fromkeys(("left", "top", "width", "height"))
    assert dog == shared | {
        "label": "Dog",
        "confidence": 97.5,
        "instances": 3,
        "mentions": 1,
        "parents": ["Animal", "Pet"],
        "categories": ["Animals and Pets"],
        "aliases": ["Hound"],
        "boxes": [
            {"left": 0.1, "top": 0.2, "width": 0.3, "height": 0.4, "confidence": 96.5},
            {**nowhere, "confidence": 51.0},
            {**nowhere, "confidence": None},
        ],
    }
    assert pet == shared | {
        "label": "Pet", "confidence": 100.0, "instances": 0, "mentions": 1,
        "parents": [], "categories": [], "aliases": [], "boxes": [],
    }  # fmt: skip


def test_a_label_that_an_answer_has_twice_is_one_row(tmp_path: Path) -> None:
    mentions = [
        {"Name": "Dog", "Confidence": 60, "Parents": [{"Name": "Pet"}], "Instances": [{"Confidence": 60}]},
        {"Name": "Dog", "Confidence": 90, "Parents": [{"Name": "Animal"}], "Instances": [{"Confidence": 90}]},
    ]
    (labels,), _ = export([{"_id": "a", "Labels": mentions, "logical_date": DAY}], tmp_path)
    (row,) = pq.read_table(labels).to_pylist()
    assert (row["confidence"], row["mentions"], row["instances"], row["parents"]) == (90.0, 2, 2, ["Animal", "Pet"])


def test_a_day_without_images_has_files_without_rows(tmp_path: Path) -> None:
    (labels,), images = export([], tmp_path)
    for file, table in ((labels, IMAGE_LABELS), (images, IMAGES)):
        assert pq.read_table(file).num_rows == 0
        assert pq.read_schema(file).equals(table.schema())


@pytest.mark.parametrize("rows", [1, 7, 50, 1 << 16])
def test_rows_are_in_order_however_few_fit_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    found = [document | {"logical_date": DAY} for document in documents(1, 150)]
    # What lies between two thresholds can only be sorted together.
    band = max(cells(found).group_by(["name", "floor"]).aggregate([("images", "sum")])["images_sum"].to_pylist())
    monkeypatch.setattr(exports, "GROUP_ROWS", rows)
    monkeypatch.setattr(exports, "PART_ROWS", max(16 * rows, 2 * band))
    monkeypatch.setattr(exports, "DOCUMENTS_AT_ONCE", 10)
    whole = [name for document in found for name in {label["Name"] for label in document["Labels"]}]

    labels, images = export(found, tmp_path)

    assert [file.name for file in labels] == [f"part-{number:05d}.parquet" for number in range(len(labels))]
    assert not list(tmp_path.glob("*.arrow"))
    table = pa.concat_tables(pq.read_table(file) for file in labels)
    assert table.num_rows == len(whole)
    assert table["label"].to_pylist() == sorted(whole)
    if rows >= band:
        assert table.equals(table.sort_by(IMAGE_LABELS.sort_keys))
    assert pq.read_table(images)["image"].to_pylist() == sorted(document["_id"] for document in found)


def test_no_more_rows_than_a_range_are_held_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    person = {"Name": "Person", "Confidence": 99}
    found = [{"_id": f"{number:05d}", "Labels": [person], "logical_date": DAY} for number in range(1000)]
    monkeypatch.setattr(exports, "GROUP_ROWS", 50)
    monkeypatch.setattr(exports, "PART_ROWS", 400)
    monkeypatch.setattr(exports, "DOCUMENTS_AT_ONCE", 10)
    labels, images = export(found, tmp_path)
    for file in [*labels, images]:
        metadata = pq.read_metadata(file)
        assert max(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)) <= 100
    assert sum(exports.rows_in(file) for file in labels) == 1000
    assert len(labels) == 3


def test_every_reader_gets_the_same_rows(tmp_path: Path) -> None:
    (labels,), _ = export([FULL, FULL | {"_id": "b", "Labels": []}, FULL | {"_id": "c"}], tmp_path)
    expected = pq.read_table(labels).to_pylist()
    assert pl.read_parquet(labels).to_dicts() == expected
    names = IMAGE_LABELS.schema().names
    assert duckdb.read_parquet(str(labels)).select(*names).fetchall() == [tuple(row.values()) for row in expected]
    frame = pd.read_parquet(labels)
    assert list(frame["label"]) == [row["label"] for row in expected]
    assert [list(boxes) for boxes in frame["boxes"]] == [row["boxes"] for row in expected]


def test_filters_find_their_way(tmp_path: Path) -> None:
    (labels,), _ = export([FULL], tmp_path)
    group = pq.read_metadata(labels).row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    assert {column.compression for column in columns} == {"ZSTD"}
    assert all(column.has_offset_index for column in columns)
    by_name = {column.path_in_schema: column for column in columns}
    for name in ("label", "confidence", "image"):
        assert by_name[name].has_column_index
        assert by_name[name].statistics.has_min_max
    order = [(names.column_index, names.descending) for names in group.sorting_columns]
    schema = IMAGE_LABELS.schema()
    assert order == [(schema.get_field_index(name), way == "descending") for name, way in IMAGE_LABELS.sort_keys]


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
def test_files_keep_types_and_descriptions_and_the_same_rows_give_the_same_bytes(tmp_path: Path, table: Table) -> None:
    for name in ("one", "other"):
        exports.write(table, table.schema().empty_table(), tmp_path / name)
    schema = pq.read_schema(tmp_path / "one")
    assert schema.equals(table.schema())
    assert schema.metadata[b"schema_version"] == table.version.encode()
    assert all((field.metadata or {})[b"description"] for field in schema)
    assert {name for name, _ in table.sort_keys} <= set(schema.names)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_odd_documents_are_no_trouble(tmp_path: Path) -> None:
    chance = random.Random(5)
    found = [document | {"logical_date": DAY} for document in documents(3, 100)]
    chance.shuffle(found)
    labels, images = export(found, tmp_path)
    assert sum(pq.read_table(images)["labels"].to_pylist()) == sum(exports.rows_in(file) for file in labels)
