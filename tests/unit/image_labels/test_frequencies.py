from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any
from unittest.mock import MagicMock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from image_labels import frequencies

ROW = {
    "scope": "all",
    "min_confidence": 50.0,
    "label": "Person",
    "images": 3,
    "instances": 5,
    "share": 0.75,
    "mean_confidence": 81.25,
    "max_confidence": 99.5,
    "model_versions": ["2.0", "3.0"],
}


def parquet(*rows: dict[str, Any]) -> io.BytesIO:
    out = io.BytesIO()
    frequencies.write_parquet(pa.Table.from_pylist(list(rows), schema=frequencies.schema()), out)
    return out


def test_every_column_is_described() -> None:
    assert all((field.metadata or {}).get(b"description") for field in frequencies.schema())


@pytest.mark.parametrize(
    "thresholds",
    [
        pytest.param([], id="none"),
        pytest.param([50, 101], id="above 100"),
        pytest.param([-1, 50], id="below 0"),
        pytest.param([float("nan")], id="not a number"),
        pytest.param([50, 50.0], id="twice"),
        pytest.param([90, 50], id="descending"),
    ],
)
def test_odd_thresholds_are_refused_before_the_database_is_asked(thresholds: list[float]) -> None:
    collection = MagicMock()
    with pytest.raises(ValueError, match=r"0 to 100 percent, each once and ascending") as error:
        frequencies.label_frequency(collection, datetime(2026, 11, 22, tzinfo=UTC), thresholds)
    assert str(thresholds) in str(error.value)
    assert not collection.mock_calls


def test_an_empty_collection_gives_the_schema_without_rows() -> None:
    collection = MagicMock()
    collection.count_documents.return_value = 0
    collection.aggregate.return_value = iter(())
    table = frequencies.label_frequency(collection, datetime(2026, 11, 22, tzinfo=UTC), [50])
    assert table.num_rows == 0
    assert table.schema.equals(frequencies.schema(), check_metadata=True)


@pytest.mark.parametrize("rows", [pytest.param([ROW], id="a row"), pytest.param([], id="no rows")])
def test_the_file_keeps_rows_types_and_descriptions(rows: list[dict[str, Any]]) -> None:
    table = pq.read_table(parquet(*rows))
    assert table.to_pylist() == rows
    assert table.schema.equals(frequencies.schema())
    assert table.schema.metadata[b"schema_version"] == frequencies.SCHEMA_VERSION.encode()
    read, written = (
        [(field.metadata or {})[b"description"] for field in s] for s in (table.schema, frequencies.schema())
    )
    assert read == written


def test_columns_are_compressed_and_have_statistics_for_filters() -> None:
    group = pq.ParquetFile(parquet(ROW)).metadata.row_group(0)
    columns = [group.column(index) for index in range(group.num_columns)]
    assert {column.compression for column in columns} == {"ZSTD"}
    assert all(column.statistics and column.statistics.has_min_max for column in columns)


def test_the_same_rows_give_the_same_bytes() -> None:
    assert parquet(ROW).getvalue() == parquet(ROW).getvalue()
