from __future__ import annotations

from datetime import UTC, datetime

import pytest

from image_labels import books

NOTHING: books.Books = {
    "sense": {"seen": 3, "known": 3, "unsettled": 0, "new": 0, "carried": 0, "batches": 0},
    "upload": {"batches": 0},
    "analyse": {"batches": 0},
    "ingest": {"batches": 0},
}
MORE_THAN_A_RUN_HAS: books.Books = {
    **NOTHING,
    "sense": {"seen": 10, "known": 0, "unsettled": 0, "new": 10, "carried": 4, "batches": 1},
    "upload": {"sensed": 6, "uploaded": 0, "quarantined": 1, "carried": 5, "batches": 1},
}


@pytest.mark.parametrize(
    ("of", "carried"),
    [
        pytest.param(NOTHING, None, id="a run without batches"),
        pytest.param(MORE_THAN_A_RUN_HAS, 9, id="more files than a run can have, and a budget"),
    ],
)
def test_the_table_tells_what_is_left_to_the_next_run(of: books.Books, carried: int | None) -> None:
    run = {"_id": "run-1", "logical_date": datetime(2026, 3, 1, tzinfo=UTC), "books": of}
    (row,) = books.table([run]).to_pylist()
    assert row["carried"] == carried


def test_books_balance_with_what_is_left_to_the_next_run() -> None:
    assert books.imbalances(MORE_THAN_A_RUN_HAS) == []
    too_many = {**MORE_THAN_A_RUN_HAS, "sense": MORE_THAN_A_RUN_HAS["sense"] | {"new": 11}}
    assert books.imbalances(too_many) == ["sense.new (11) should be upload.sensed (6) + sense.carried (4)"]


def test_a_dry_run_tells_all_that_is_left_to_the_next_run() -> None:
    assert "| left to the next run | 9 |" in books.forecast(MORE_THAN_A_RUN_HAS, "a day", 1.0, 5)
