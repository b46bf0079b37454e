"""What has an answer is not asked about again."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from image_labels import analysis
from image_labels.operators.detect_labels import DetectLabelsOperator
from image_labels.operators.ingest import IngestLabelsOperator
from image_labels.operators.upload import UploadImagesOperator
from image_labels.sensors.new_images import NewImagesSensor
from pipeline import Pipeline, Run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import StandIn

pytestmark = pytest.mark.usefixtures("without_report")


def test_the_same_bytes_are_paid_for_once_under_any_name_and_on_any_day(
    pipeline: Pipeline, land: Callable[..., Path], landing: Path, collection: Any, stand_in: StandIn
) -> None:
    land("a.jpg")
    land("same as a.jpg")
    books = pipeline.run()
    assert (books["analyse"]["called"], books["analyse"]["reused"]) == (1, 1)

    (landing / "a.jpg").rename(landing / "renamed.jpg")
    (landing / "moved").mkdir()
    (landing / "same as a.jpg").rename(landing / "moved/same as a.jpg")
    land("another/a.jpg")
    books = pipeline.run("run-2", day="2026-03-02")

    assert books["analyse"] == {"batches": 1, "to_analyse": 3, "called": 0, "reused": 3, "quarantined": 0}
    assert stand_in.answers == 1
    assert collection.count_documents({}) == 5
    assert len({str(document["Labels"]) for document in collection.find()}) == 1


def test_a_file_that_lands_again_with_the_same_content_is_neither_put_nor_asked_about(
    pipeline: Pipeline, land: Callable[..., Path], stand_in: StandIn
) -> None:
    photo = land("a.jpg")
    pipeline.run()
    os.utime(photo, (1, 1))
    books = pipeline.run("run-2", day="2026-03-02")
    assert books["upload"]["unchanged"] == books["upload"]["answered"] == 1
    assert stand_in.answers == 1


def test_a_changed_picture_under_an_old_name_replaces_document_and_labels(
    pipeline: Pipeline, land: Callable[..., Path], collection: Any, stand_in: StandIn
) -> None:
    land("a.jpg", "rocket.jpg")
    pipeline.run()
    old = collection.find_one()
    land("a.jpg", "china.jpg")
    books = pipeline.run("run-2", day="2026-03-02")

    assert books["upload"]["uploaded"] == books["analyse"]["called"] == 1
    (new,) = collection.find()
    assert new["_id"] == old["_id"]
    assert new["sha256"] != old["sha256"]
    assert new["Labels"] != old["Labels"]
    assert stand_in.answers == 2


@pytest.mark.parametrize("rebuilt", [False, True], ids=["at once", "after a rebuild"])
def test_a_content_that_comes_back_after_another_one_is_not_paid_for_again(
    pipeline: Pipeline, land: Callable[..., Path], collection: Any, stand_in: StandIn, rebuilt: bool
) -> None:
    land("a.jpg", "rocket.jpg")
    pipeline.run()
    first = collection.find_one()
    land("a.jpg", "china.jpg")
    pipeline.run("run-2", day="2026-03-02")
    if rebuilt:
        collection.database.client.drop_database(collection.database.name)
        pipeline.rebuild()
    land("a.jpg", "rocket.jpg")
    assert pipeline.run("run-3", day="2026-03-03")["analyse"]["reused"] == 1
    assert collection.find_one()["Labels"] == first["Labels"]
    assert stand_in.answers == 2


def test_settings_that_come_back_after_others_cost_nothing_again(
    pipeline: Pipeline, land: Callable[..., Path], collection: Any, stand_in: StandIn
) -> None:
    land("a.jpg")
    pipeline.run()
    first = collection.find_one()
    pipeline.run("run-2", day="2026-03-02", min_confidence=80)
    land("copy of a.jpg")
    assert pipeline.run("run-3", day="2026-03-03")["analyse"]["reused"] == 1
    assert collection.find_one({"img": "copy of a.jpg"})["Labels"] == first["Labels"]
    assert stand_in.answers == 2


def test_other_settings_are_another_question(pipeline: Pipeline, land: Callable[..., Path], stand_in: StandIn) -> None:
    land("a.jpg")
    pipeline.run()
    assert pipeline.run("run-2", day="2026-03-02", min_confidence=80)["analyse"]["called"] == 1
    assert stand_in.answers == 2


def test_no_label_is_an_answer_too_and_not_asked_for_again(
    pipeline: Pipeline, land: Callable[..., Path], collection: Any, stand_in: StandIn
) -> None:
    stand_in.set(labels="model")
    land("flower.jpg", "flower.jpg")
    pipeline.run(min_confidence=99.9)
    assert collection.find_one()["Labels"] == []
    land("again.jpg", "flower.jpg")
    assert pipeline.run("run-2", day="2026-03-02", min_confidence=99.9)["analyse"]["reused"] == 1
    assert stand_in.answers == 1


def test_a_content_that_stands_in_several_batches_is_paid_for_once(
    pipeline: Pipeline, land: Callable[..., Path], collection: Any, stand_in: StandIn
) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        land(name)
    books = pipeline.run(batch_size=1)
    assert (books["upload"]["batches"], books["analyse"]["called"], books["analyse"]["reused"]) == (3, 1, 2)
    assert stand_in.answers == 1
    first, *others = collection.find().sort("_id")
    assert "reused_from" not in first["analysis"]
    assert {other["analysis"]["reused_from"] for other in others} == {first["_id"]}
    assert {"asked_in"} & set().union(*collection.find()) == set()


def test_a_batch_waits_for_the_answer_that_another_one_is_to_bring(
    pipeline: Pipeline, land: Callable[..., Path], collection: Any, stand_in: StandIn
) -> None:
    land("a.jpg")
    land("b.jpg")
    run = Run(pipeline, "run-1", "2026-03-01", {})
    place = {"landing": pipeline.landing}
    batches = run.execute(NewImagesSensor, "sense", **place, wait_minutes=0, settle_seconds=0, batch_size=1)
    first, second = (
        run.execute(UploadImagesOperator, "batch.upload", number, files=files, **place)
        for number, files in enumerate(batches)
    )
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(run.execute, DetectLabelsOperator, "batch.analyse", 1, manifest=second)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=3)
        assert stand_in.stats["calls"] == 0
        run.execute(DetectLabelsOperator, "batch.analyse", 0, manifest=first)
        results = waiting.result(timeout=60)
    assert stand_in.answers == 1
    assert run.execute(IngestLabelsOperator, "batch.ingest", 1, results=results) == 1


def test_a_batch_that_waits_in_vain_says_for_which(
    pipeline: Pipeline, land: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(analysis, "AWAIT_SECONDS", 0.0)
    land("a.jpg")
    land("b.jpg")
    run = Run(pipeline, "run-1", "2026-03-01", {})
    place = {"landing": pipeline.landing}
    batches = run.execute(NewImagesSensor, "sense", **place, wait_minutes=0, settle_seconds=0, batch_size=1)
    manifests = [
        run.execute(UploadImagesOperator, "batch.upload", number, files=files, **place)
        for number, files in enumerate(batches)
    ]
    with pytest.raises(TimeoutError, match="same content as images of batch-00000"):
        run.execute(DetectLabelsOperator, "batch.analyse", 1, manifest=manifests[1])
