"""A result as a file."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from typing import Any

import pyarrow.parquet as pq
import pytest

from image_labels import queries
from image_labels.explorer import exports

DOCUMENT = {
    "_id": "image-labels/images/a.jpg",
    "img": '=cmd|"/c calc"!A1.jpg',
    "photographer": "+Coleen\nRivas",
    "taken_at": datetime(2021, 3, 5, 14, 30, tzinfo=UTC),
    "location": {"type": "Point", "coordinates": [-0.1275, 51.507]},
    "camera": {"make": "NIKON"},
    "logical_date": datetime(2026, 1, 5, tzinfo=UTC),
    "format": "JPEG",
    "width": 4,
    "height": 3,
    "bytes": 12,
    "sha256": "ab",
    "Labels": [
        {"Name": "@Person", "Confidence": 99.25, "Instances": [{"Confidence": 99.0}, {}]},
        {"Name": "Café", "Confidence": 100},
    ],
    "analysis": {"dag_run": "manual__1"},
}


def serve(monkeypatch: pytest.MonkeyPatch, documents: list[dict[str, Any]]) -> list[int]:
    """Put documents in the place of the database, and return the sizes of the pages that are asked for."""
    asked: list[int] = []

    def find(*_: Any, after: str | None, limit: int, **__: Any) -> queries.Page:
        asked.append(limit)
        start = int(after or 0)
        end = start + limit
        return queries.Page(documents[start:end], str(end) if end < len(documents) else None)

    monkeypatch.setattr(queries, "find", find)
    return asked


def written(kind: str) -> bytes:
    _, write = exports.FORMATS[kind]
    return b"".join(write(exports.pages(None, queries.Query(), "key")))  # type: ignore[arg-type]


def test_no_text_of_a_csv_is_run_as_a_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, [DOCUMENT])
    (row,) = csv.DictReader(io.StringIO(written("csv").decode("utf-8-sig"), newline=""))
    assert row["file_name"] == '\'=cmd|"/c calc"!A1.jpg'
    assert row["photographer"] == "'+Coleen\nRivas"
    assert row["labels"] == "'@Person 99.2; Café 100.0"
    assert row["longitude"] == "-0.1275"
    assert row["taken_at"] == "2021-03-05T14:30:00+00:00"
    assert row["day"] == "2026-01-05"


def test_parquet_holds_values_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, [DOCUMENT, {**DOCUMENT, "_id": "b", "location": {}, "Labels": []}])
    first, second = pq.read_table(io.BytesIO(written("parquet"))).to_pylist()
    assert first["file_name"] == DOCUMENT["img"]
    assert first["labels"] == [
        {"name": "@Person", "confidence": 99.25, "instances": 2},
        {"name": "Café", "confidence": 100.0, "instances": 0},
    ]
    assert first["taken_at"] == DOCUMENT["taken_at"]
    assert (second["labels"], second["latitude"]) == ([], None)


@pytest.mark.parametrize("kind", exports.FORMATS)
def test_a_file_ends_at_the_limit_and_is_read_by_pages(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "PAGE", 10)
    monkeypatch.setattr(exports, "MOST_ROWS", 25)
    asked = serve(monkeypatch, [{**DOCUMENT, "_id": str(n)} for n in range(100)])
    content = written(kind)
    if kind == "csv":
        keys = [row["key"] for row in csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""))]
    else:
        keys = pq.read_table(io.BytesIO(content))["key"].to_pylist()
    assert keys == [str(n) for n in range(25)]
    assert asked == [10, 10, 5]


@pytest.mark.parametrize("kind", exports.FORMATS)
def test_an_empty_result_is_a_file_with_columns(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, [])
    content = written(kind)
    if kind == "csv":
        assert content.decode("utf-8-sig").strip().split(",") == list(exports.COLUMNS)
    else:
        assert pq.read_table(io.BytesIO(content)).column_names == list(exports.COLUMNS)
