"""A run stops before the first call beyond its budget, and the next ones go on where it stopped."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from image_labels.books import carried, summary
from image_labels.sensors import new_images

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import StandIn
    from pipeline import Pipeline

pytestmark = pytest.mark.usefixtures("without_report")


@pytest.mark.parametrize(
    ("budget", "calls"),
    [
        pytest.param({"max_images": 7}, 7, id="images"),
        pytest.param({"max_images": 0}, 0, id="nothing at all"),
        pytest.param({"max_spend_usd": 0.003}, 3, id="money"),
        pytest.param({"max_spend_usd": 0.003, "price_per_thousand": 0.8}, 3, id="money at another price"),
        pytest.param({"max_images": 9, "max_spend_usd": 0.004}, 4, id="both, the smaller one"),
    ],
)
def test_no_call_is_made_beyond_the_budget(
    pipeline: Pipeline, land_many: Callable[..., None], stand_in: StandIn, budget: dict[str, Any], calls: int
) -> None:
    land_many(12)
    books = pipeline.run(**budget)
    assert stand_in.stats["calls"] == books["analyse"].get("called", 0) == calls
    assert books["upload"]["carried"] == 12 - calls


def test_what_is_left_is_taken_by_the_next_runs_in_order_before_what_is_new(
    pipeline: Pipeline, land_many: Callable[..., None], collection: Any, stand_in: StandIn
) -> None:
    land_many(9, start=100)
    pipeline.run("run-1", day="2026-03-01", max_images=3)
    land_many(2, start=0)  # sorts before all that waits
    pipeline.run("run-2", day="2026-03-02", max_images=4)
    pipeline.run("run-3", day="2026-03-03", max_images=10)

    taken: dict[str, list[str]] = {}
    for document in collection.find().sort("_id"):
        taken.setdefault(document["analysis"]["dag_run"], []).append(document["img"][8:14])
    assert taken == {
        "run-1": ["000100", "000101", "000102"],
        "run-2": ["000103", "000104", "000105", "000106"],
        "run-3": ["000000", "000001", "000107", "000108"],
    }
    assert stand_in.answers == 11


def test_more_files_than_a_run_can_have_are_left_to_the_next_ones(
    pipeline: Pipeline, land_many: Callable[..., None], collection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(new_images, "MOST_FILES", 3)
    land_many(8)
    for day, (new, stored) in enumerate([(8, 3), (5, 6), (2, 8), (0, 8)], start=1):
        books = pipeline.run(f"run-{day}", day=f"2026-03-{day:02d}", batch_size=2)
        assert books["sense"]["new"] == new
        assert carried(books) == 8 - stored
        assert f"+ {8 - stored} carried to the next run" in summary(books, "a day", [], 1.0)
        assert pipeline.run(f"run-{day}", day=f"2026-03-{day:02d}", batch_size=2)["upload"] == books["upload"]
        assert collection.count_documents({}) == stored


def test_a_run_with_a_budget_that_is_run_again_takes_the_same_images(
    pipeline: Pipeline, land_many: Callable[..., None], collection: Any, stand_in: StandIn
) -> None:
    land_many(9)
    pipeline.run("run-1", max_images=3)
    books = pipeline.run("run-2", day="2026-03-02", max_images=3)
    documents = list(collection.find({}, {"analysis.opened_at": 0}).sort("_id"))
    assert pipeline.run("run-2", day="2026-03-02", max_images=3) == books
    assert list(collection.find({}, {"analysis.opened_at": 0}).sort("_id")) == documents
    assert stand_in.answers == 6


def test_images_whose_answer_is_known_cost_nothing(
    pipeline: Pipeline, land: Callable[..., Path], land_many: Callable[..., None], collection: Any
) -> None:
    land("a.jpg")
    pipeline.run()
    land("b.jpg")
    land("c.jpg")
    land("d.jpg", "china.jpg")
    books = pipeline.run("run-2", day="2026-03-02", max_images=0)
    assert (books["analyse"]["reused"], books["upload"]["carried"]) == (2, 1)


@pytest.mark.parametrize("seed", range(2))
def test_copies_in_any_batch_neither_exceed_the_budget_nor_are_paid_for_twice(
    pipeline: Pipeline,
    land_many: Callable[..., None],
    landing: Path,
    collection: Any,
    stand_in: StandIn,
    seed: int,
) -> None:
    draw = random.Random(seed)
    land_many(12)
    for number in range(10):
        original = landing / f"picture-{draw.randrange(12):06d}.png"
        (landing / f"{draw.choice('az')}-copy-{number}.png").write_bytes(original.read_bytes())

    for number in range(1, 20):
        before, budget = stand_in.answers, draw.randrange(1, 6)
        books = pipeline.run(f"run-{number}", day=f"2026-03-{number:02d}", batch_size=3, max_images=budget)
        assert stand_in.answers - before == books["analyse"].get("called", 0) <= budget
        if not books["upload"].get("carried"):
            break
    assert collection.count_documents({}) == 22
    assert stand_in.answers == 12


def test_a_forecast_tells_the_price_and_touches_nothing(
    pipeline: Pipeline,
    land: Callable[..., Path],
    land_many: Callable[..., None],
    collection: Any,
    s3: Any,
    stand_in: StandIn,
) -> None:
    land_many(5)
    land("copy.png").write_bytes((Path(pipeline.landing) / "picture-000000.png").read_bytes())
    land("text.jpg").write_text("no photo")
    books = pipeline.run(forecast_only=True)
    assert (books["upload"]["to_analyse"], books["upload"]["calls"], books["upload"]["quarantined"]) == (6, 5, 1)
    assert stand_in.stats["calls"] == collection.count_documents({}) == 0
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket=pipeline.bucket).get("Contents", ())]
    assert [key for key in keys if "/manifests/" not in key] == []
    assert pipeline.run()["analyse"]["called"] == 5
