"""A result as a file: one row an image, written as it is read."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from image_labels import queries

if TYPE_CHECKING:
    import pyarrow as pa
    from pymongo.collection import Collection

Row = dict[str, Any]
Pages = Iterator[list[Row]]

MOST_ROWS = 100_000
PAGE = 1000
"""Images that are fetched together, and the rows of a row group."""

COLUMNS = (
    "key", "file_name", "labels", "photographer", "taken_at", "longitude", "latitude", "camera", "day", "format",
    "width", "height", "bytes", "sha256", "source_url", "label_model", "dag_run",
)  # fmt: skip
FIELDS = (
    "img", "Labels.Name", "Labels.Confidence", "Labels.Instances.Confidence", "photographer", "taken_at", "location",
    "camera", "logical_date", "format", "width", "height", "bytes", "sha256", "source_url", "LabelModelVersion",
    "analysis.dag_run",
)  # fmt: skip
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What makes a spreadsheet run a text.

.. seealso:: https://owasp.org/www-community/attacks/CSV_Injection
"""


def pages(collection: Collection[Row], query: queries.Query, sort: str) -> Pages:
    """Return the rows of a result, by pages; the first is there when this returns, so that a bad query is said."""

    def fetch(after: str | None, limit: int) -> queries.Page:
        return queries.find(collection, query, sort=sort, after=after, limit=limit, fields=FIELDS)

    first = fetch(None, PAGE)

    def follow() -> Pages:
        page, count = first, len(first.images)
        yield [_row(document) for document in page.images]
        while page.next and count < MOST_ROWS:
            page = fetch(page.next, min(PAGE, MOST_ROWS - count))
            count += len(page.images)
            yield [_row(document) for document in page.images]

    return follow()


def _row(document: Row) -> Row:
    longitude, latitude = document.get("location", {}).get("coordinates", (None, None))
    camera = document.get("camera") or {}
    return {
        "key": document["_id"],
        "file_name": document["img"],
        "labels": [
            {"name": label["Name"], "confidence": label["Confidence"], "instances": len(label.get("Instances") or ())}
            for label in document["Labels"]
        ],
        "longitude": longitude,
        "latitude": latitude,
        "camera": " ".join(filter(None, (camera.get("make"), camera.get("model")))) or None,
        "day": document["logical_date"].date(),
        "label_model": document.get("LabelModelVersion"),
        "dag_run": document["analysis"]["dag_run"],
        **{
            name: document.get(name)
            for name in ("photographer", "taken_at", "format", "width", "height", "bytes", "sha256", "source_url")
        },
    }


def write_csv(pages: Pages) -> Iterator[bytes]:
    """Write CSV, in UTF-8 with the mark by which spreadsheets know it. A text that could be a formula gets a ``'``."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    yield b"\xef\xbb\xbf"
    for page in pages:
        writer.writerows([_cell(row[column]) for column in COLUMNS] for row in page)
        yield text.getvalue().encode(errors="replace")
        text.seek(0)
        text.truncate()


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        value = "; ".join(f"{label['name']} {label['confidence']:.1f}" for label in value)
    if isinstance(value, str) and value.startswith(FORMULA):
        return f"'{value}"
    return value.isoformat() if hasattr(value, "isoformat") else value


def write_parquet(pages: Pages) -> Iterator[bytes]:
    """Write Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema()
    sink = _Sink()
    with pq.ParquetWriter(pa.PythonFile(sink, mode="w"), schema, compression="zstd") as writer:
        for page in pages:
            writer.write_table(pa.Table.from_pylist(page, schema=schema))
            yield sink.drain()
    yield sink.drain()


def _schema() -> pa.Schema:
    import pyarrow as pa

    special = {
        "labels": pa.list_(pa.struct([("name", pa.string()), ("confidence", pa.float64()), ("instances", pa.int32())])),
        "taken_at": pa.timestamp("ms", tz="UTC"),
        "day": pa.date32(),
        **dict.fromkeys(("longitude", "latitude"), pa.float64()),
        **dict.fromkeys(("width", "height", "bytes"), pa.int64()),
    }
    return pa.schema([(column, special.get(column, pa.string())) for column in COLUMNS])


class _Sink(io.RawIOBase):
    """A file that hands on what was written to it."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(self._parts[-1])

    def drain(self) -> bytes:
        content, self._parts = b"".join(self._parts), []
        return content


FORMATS: dict[str, tuple[str, Callable[[Pages], Iterator[bytes]]]] = {
    "csv": ("text/csv; charset=utf-8", write_csv),
    "parquet": ("application/vnd.apache.parquet", write_parquet),
}
