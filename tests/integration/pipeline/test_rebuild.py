from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import StandIn
    from pipeline import Pipeline


@pytest.mark.usefixtures("without_report")
def test_the_rebuilt_collection_is_identical_and_costs_nothing(
    pipeline: Pipeline, land: Callable[..., Path], land_many: Callable[..., None], collection: Any, stand_in: StandIn
) -> None:
    land_many(25)
    land("a.jpg", "rocket.jpg")
    land("copy of a.jpg", "rocket.jpg")
    pipeline.run("z-run", day="2026-03-01", batch_size=10)
    land("a.jpg", "china.jpg")
    # The later run stands for an earlier day and has the smaller name: neither decides which answer is the last.
    pipeline.run("a-run", day="2026-02-01", batch_size=10)
    documents = list(collection.find().sort("_id"))
    calls = stand_in.stats["calls"]

    collection.drop()
    pipeline.rebuild()
    assert list(collection.find().sort("_id")) == documents

    pipeline.rebuild()
    assert list(collection.find().sort("_id")) == documents
    assert stand_in.stats["calls"] == calls
