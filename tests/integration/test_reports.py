"""A report is seen whole, or the one before it is."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest

from image_labels import documents as stored
from image_labels import exports, frequencies, jsonlines
from image_labels.layout import Layout
from image_labels.publication import Piece, Publication, ReportDoesNotAddUp
from image_labels.reports import DayReport, export_books
from image_labels.tables import TABLES
from odd_documents import DAY, Document, documents

if TYPE_CHECKING:
    from pathlib import Path

    from pymongo.collection import Collection

FLOORS = [50.0, 90.0]
OF_THE_DAY = TABLES.keys() - {"runs", "quarantine"}

Make = Callable[..., dict[str, int]]


@pytest.fixture
def layout(bucket: str) -> Layout:
    return Layout(bucket, "image-labels")


@pytest.fixture
def make(collection: Collection[Document], s3: Any, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Make the report of a day, without the page, which takes longest and has tests of its own."""
    monkeypatch.setattr(DayReport, "_draw", lambda *arguments: {})

    def report(day: datetime = DAY, **options: Any) -> dict[str, int]:
        return DayReport(collection, s3, layout, day.date(), FLOORS).make([], **options)

    return report


@pytest.fixture
def seen(s3: Any, layout: Layout) -> Callable[[], dict[str, str]]:
    """Return key and ETag of all that readers see."""

    def listing() -> dict[str, str]:
        pages = jsonlines.pages(s3, layout.bucket, "image-labels/reports/")
        return {item["Key"]: item["ETag"] for page in pages for item in page.get("Contents", ())}

    return listing


def fetch(s3: Any, layout: Layout, folder: Path) -> None:
    """Copy all reports to a folder."""
    for key in jsonlines.keys(s3, layout.bucket, "image-labels/reports/"):
        file = folder / key
        file.parent.mkdir(parents=True, exist_ok=True)
        s3.download_file(layout.bucket, key, str(file))


def test_every_reader_gets_the_same_tables(
    make: Make, collection: Collection[Document], s3: Any, layout: Layout, tmp_path: Path
) -> None:
    collection.insert_many(documents(1))
    days = (DAY - timedelta(days=1), DAY)
    rows = [make(day) for day in days]
    fetch(s3, layout, tmp_path)
    assert set(rows[0]) == OF_THE_DAY
    for table in OF_THE_DAY:
        folder = tmp_path / "image-labels/reports" / table
        expected = sum(of[table] for of in rows)
        assert pq.read_table(folder).num_rows == expected
        assert len(pd.read_parquet(folder)) == expected
        assert pl.read_parquet(f"{folder}/*/*.parquet", hive_partitioning=True).height == expected
        counted = f"SELECT report_date::VARCHAR, count(*) FROM '{folder}/*/*.parquet' GROUP BY 1 ORDER BY 1"
        of_days = [(day.date().isoformat(), of[table]) for day, of in zip(days, rows, strict=True) if of[table]]
        assert duckdb.sql(counted).fetchall() == of_days


def test_the_list_of_what_was_published_is_true(
    make: Make, collection: Collection[Document], s3: Any, layout: Layout, seen: Callable[[], dict[str, str]]
) -> None:
    collection.insert_many(documents(1))
    rows = make()
    key = layout.publication(DAY.date())
    listed = json.loads(s3.get_object(Bucket=layout.bucket, Key=key)["Body"].read())
    files = [file for table in listed["tables"].values() for file in table["files"]]
    assert {file["key"]: f'"{file["etag"]}"' for file in files} | {key: seen()[key]} == seen()
    for name, count in rows.items():
        table = listed["tables"][name]
        assert (sum(file["rows"] for file in table["files"]), table["schema_version"]) == (count, TABLES[name].version)


def test_a_second_report_of_the_day_is_the_same_and_of_fewer_parts_leaves_none_behind(
    make: Make, collection: Collection[Document], seen: Callable[[], dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    collection.insert_many(documents(1))
    make()
    first = seen()
    with monkeypatch.context() as patch:
        patch.setattr(exports, "GROUP_ROWS", 100)
        patch.setattr(exports, "PART_ROWS", 200)
        make()
    assert len(seen()) > len(first)
    for recount in (False, True):
        make(recount=recount)
        tables = {key for key in first if key.endswith(".parquet")}
        assert {key: etag for key, etag in seen().items() if key.endswith(".parquet")} == {
            key: first[key] for key in tables
        }


def a_label_too_few(patch: pytest.MonkeyPatch, collection: Collection[Document]) -> None:
    real = exports.rows_of
    patch.setattr(exports, "rows_of", lambda some: (real(some)[0], real(some)[1].slice(1)))


def an_image_twice(patch: pytest.MonkeyPatch, collection: Collection[Document]) -> None:
    real = exports.rows_of
    patch.setattr(exports, "rows_of", lambda some: real([some[0], *some]))


def a_wrong_count(patch: pytest.MonkeyPatch, collection: Collection[Document]) -> None:
    real = frequencies.label_frequency

    def count(*arguments: Any) -> Any:
        table = real(*arguments)
        images = [row["images"] + 1 for row in table.to_pylist()]
        place = table.schema.get_field_index("images")
        import pyarrow as pa

        return table.set_column(place, table.schema.field("images"), pa.array(images))

    patch.setattr(frequencies, "label_frequency", count)


def a_file_that_is_another_in_s3(patch: pytest.MonkeyPatch, collection: Collection[Document]) -> None:
    real = Publication.stage

    def stage(self: Publication, files: dict[Piece, Path]) -> None:
        real(self, files)
        images = next(piece for piece in files if piece.table == "images")
        other = next(file for piece, file in files.items() if piece.table == "label_frequency")
        self.s3.upload_file(str(other), self.layout.bucket, self.layout.staged(self.day, "images", images.name))

    patch.setattr(Publication, "stage", stage)


def a_document_that_is_stored_meanwhile(patch: pytest.MonkeyPatch, collection: Collection[Document]) -> None:
    real = exports.export_day

    def export(*arguments: Any) -> Any:
        collection.insert_one({"_id": uuid.uuid4().hex, "Labels": [], "logical_date": DAY})
        return real(*arguments)

    patch.setattr(exports, "export_day", export)


def test_a_report_is_made_again_when_documents_were_stored_meanwhile(
    make: Make, collection: Collection[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    collection.insert_many(documents(1))
    real = exports.export_day
    late: list[Document] = [{"_id": "late.jpg", "Labels": [], "logical_date": DAY}]

    def export(*arguments: Any) -> Any:
        if late:
            collection.insert_one(late.pop())
        return real(*arguments)

    monkeypatch.setattr(exports, "export_day", export)
    assert make()["images"] == collection.count_documents({"logical_date": DAY})


@pytest.mark.parametrize(
    "harm",
    [
        a_label_too_few,
        an_image_twice,
        a_wrong_count,
        a_file_that_is_another_in_s3,
        a_document_that_is_stored_meanwhile,
    ],
)
def test_what_cannot_be_true_is_not_published(
    make: Make,
    collection: Collection[Document],
    s3: Any,
    layout: Layout,
    seen: Callable[[], dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    harm: Callable[..., None],
) -> None:
    collection.insert_many(documents(1))
    make()
    before = seen()
    with monkeypatch.context() as patch:
        harm(patch, collection)
        with pytest.raises(ReportDoesNotAddUp, match="Readers still have the report that was there before"):
            make()
    assert seen() == before
    make()
    assert not list(jsonlines.keys(s3, layout.bucket, "image-labels/staged/"))


@pytest.mark.parametrize("after", range(5))
def test_a_publication_that_was_killed_is_gone_on_with(
    make: Make,
    collection: Collection[Document],
    s3: Any,
    layout: Layout,
    seen: Callable[[], dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    after: int,
) -> None:
    collection.insert_many(documents(1, 40))
    make()
    other = [document | {"_id": f"other/{document['_id']}"} for document in documents(2, 40)]
    collection.insert_many(other)
    copies = 0
    real = s3.copy_object

    def copy(**arguments: Any) -> Any:
        nonlocal copies
        copies += 1
        if copies > after:
            raise KeyboardInterrupt
        return real(**arguments)

    with monkeypatch.context() as patch:
        patch.setattr(s3, "copy_object", copy)
        with pytest.raises(KeyboardInterrupt):
            make()

    Publication(s3, layout, DAY.date()).finish_earlier()

    finished = seen()
    assert not list(jsonlines.keys(s3, layout.bucket, "image-labels/staged/"))
    make()
    tables = {key for key in finished if key.endswith(".parquet")}
    assert {key: etag for key, etag in seen().items() if key in tables} == {key: finished[key] for key in tables}


def test_a_past_day_has_the_report_that_it_would_have_had(
    make: Make, collection: Collection[Document], seen: Callable[[], dict[str, str]], s3: Any, layout: Layout
) -> None:
    found = documents(1)
    days = sorted({document["logical_date"] for document in found})
    for day in days:
        collection.insert_many([document for document in found if document["logical_date"] == day])
        stored.mark_changed(collection, day)
        make(day)
    then = {key: etag for key, etag in seen().items() if key.endswith(".parquet")}
    for folder in ("reports", "counts"):
        jsonlines.delete(s3, layout.bucket, list(jsonlines.keys(s3, layout.bucket, f"image-labels/{folder}/")))
    for day in days:
        make(day)
    assert {key: etag for key, etag in seen().items() if key.endswith(".parquet")} == then


def test_books_and_quarantine_are_tables(s3: Any, layout: Layout) -> None:
    day = date(2026, 3, 1)
    at = datetime(2026, 3, 1, 4, 5, tzinfo=UTC)
    books = {
        "sense": {"seen": 9, "known": 4, "unsettled": 1, "new": 4},
        "upload": {"uploaded": 2, "unchanged": 0, "carried": 0, "quarantined": 2},
        "analyse": {"to_analyse": 2, "called": 1, "reused": 0, "quarantined": 1},
        "ingest": {"ingested": 1},
    }
    closed = {
        "_id": "scheduled__2026-03-01T00:00:00+00:00",
        "dag_id": "image_labels",
        "logical_date": datetime(2026, 3, 1),  # noqa: DTZ001 - as the driver returns it
        "state": "balanced",
        "opened_at": at,
        "closed_at": at,
        "landing": "/photos",
        "settings": {"min_confidence": 50.0, "max_labels": 100},
        "books": books,
        "spent_usd": 0.001,
        "problems": [],
    }
    opened = {"_id": "manual", "logical_date": datetime(2026, 3, 1), "state": "open", "opened_at": at}  # noqa: DTZ001
    refused = {"path": "a.jpg", "step": "upload", "code": "empty", "reason": "it is empty", "at": at.isoformat()}
    key = layout.run(day, closed["_id"]).quarantine
    jsonlines.write(s3, layout.bucket, key, [refused, refused | {"path": "b.jpg", "key": "images/b.jpg"}])

    assert export_books([closed, opened], s3, layout, day) == {"runs": 2, "quarantine": 2}

    runs, quarantine = (_read(s3, layout, table, day) for table in ("runs", "quarantine"))
    assert [row["run_id"] for row in runs] == ["manual", closed["_id"]]
    assert runs[0]["ingested"] is None
    columns = ("seen", "uploaded", "called", "quarantined", "ingested", "asked_max_labels")
    assert [runs[1][column] for column in columns] == [9, 2, 1, 3, 1, 100]
    shared = {"run_id": closed["_id"], "step": "upload", "code": "empty", "reason": "it is empty", "at": at, "day": day}
    assert quarantine == [
        shared | {"path": "a.jpg", "image": None},
        shared | {"path": "b.jpg", "image": "images/b.jpg"},
    ]


def _read(s3: Any, layout: Layout, table: str, day: date) -> list[Document]:
    import io

    body = s3.get_object(Bucket=layout.bucket, Key=layout.report(table, day, f"{table}.parquet"))["Body"].read()
    return pq.read_table(io.BytesIO(body)).to_pylist()
