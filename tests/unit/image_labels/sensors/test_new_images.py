"""How the new files are divided into batches."""

from __future__ import annotations

import pytest

from image_labels.sensors.new_images import growing


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
