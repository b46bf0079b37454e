"""How the new files are divided into batches."""

from __future__ import annotations

import pytest

from image_labels.sensors.new_images import batch_sizes


@pytest.mark.parametrize(
    ("files", "most", "sizes"),
    [
        pytest.param(0, 500, [], id="nothing"),
        pytest.param(10, 500, [10], id="few"),
        pytest.param(3000, 500, [128, 256, 500, 500, 404, 303, 227, 170, 128, 128, 128, 128], id="many"),
        pytest.param(7, 3, [3, 3, 1], id="batches smaller than the usual first one"),
    ],
)
def test_the_first_batches_and_the_last_ones_are_small(files: int, most: int, sizes: list[int]) -> None:
    assert list(batch_sizes(files, most)) == sizes
    assert sum(sizes) == files


@pytest.mark.parametrize("files", [10**6, 10**9])
def test_there_are_no_more_batches_than_airflow_maps(files: int) -> None:
    sizes = list(batch_sizes(files, 500))
    assert len(sizes) <= 1024
    assert sum(sizes) == files
