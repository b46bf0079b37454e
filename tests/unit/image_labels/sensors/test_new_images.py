"""How the new files are divided into batches."""

from __future__ import annotations

import pytest

from image_labels.sensors.new_images import batch_size, growing


@pytest.mark.parametrize(
    ("files", "least", "size"),
    [
        pytest.param(0, 500, 500, id="nothing"),
        pytest.param(15_000, 500, 500, id="thirty batches"),
        pytest.param(15_001, 500, 501, id="more than that would be"),
        pytest.param(15_001, 5000, 5000, id="more than that were asked for"),
        pytest.param(2_500_000, 500, 3000, id="a large batch"),
        pytest.param(20_000_000, 500, 20_000, id="as many as Airflow maps"),
        pytest.param(60_000_000, 500, 25_000, id="as large as a task can hold"),
    ],
)
def test_a_run_has_few_batches_while_they_are_not_large(files: int, least: int, size: int) -> None:
    assert batch_size(files, least) == size


@pytest.mark.parametrize(
    ("rows", "most", "sizes"),
    [
        pytest.param(0, 500, [], id="nothing"),
        pytest.param(10, 500, [10], id="few"),
        pytest.param(1500, 500, [128, 256, 500, 500, 116], id="many"),
        pytest.param(7, 3, [3, 3, 1], id="batches smaller than the usual first one"),
    ],
)
def test_batches_grow_so_that_the_first_is_soon_asked_about(rows: int, most: int, sizes: list[int]) -> None:
    batches = list(growing(range(rows), most))
    assert [len(batch) for batch in batches] == sizes
    assert [row for batch in batches for row in batch] == list(range(rows))
