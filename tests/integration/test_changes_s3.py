from __future__ import annotations

import io
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from image_labels.changes import WINDOW, label_changes, read_previous
from image_labels.layout import Layout
from sample_report import DAY, frequencies

if TYPE_CHECKING:
    import pytest


def publish(s3: Any, layout: Layout, days_ago: int, table: pa.Table) -> None:
    out = io.BytesIO()
    pq.write_table(table, out)
    key = layout.report("label_frequency", DAY - timedelta(days=days_ago), "label_frequency.parquet")
    s3.put_object(Bucket=layout.bucket, Key=key, Body=out.getvalue())


def test_the_reports_of_the_window_are_read_and_no_others(s3: Any, bucket: str) -> None:
    layout = Layout(bucket, "image-labels")
    table = frequencies({"day": {"Dog": 5}}, {"day": 10})
    for days_ago in (-1, 0, 1, 5, WINDOW, WINDOW + 1):
        publish(s3, layout, days_ago, table)
    previous = read_previous(s3, layout, DAY)
    assert [(DAY - day).days for day, _ in previous] == [1, 5, WINDOW]
    assert {row["reports"] for row in label_changes(table, previous).to_pylist()} == {3}


def test_a_table_of_an_older_kind_is_left_out(s3: Any, bucket: str, caplog: pytest.LogCaptureFixture) -> None:
    layout = Layout(bucket, "image-labels")
    publish(s3, layout, 1, pa.table({"label": ["Dog"]}))
    with caplog.at_level(logging.WARNING):
        assert read_previous(s3, layout, DAY) == []
    assert "2026-11-21" in caplog.text
