"""Rekognition throttles, fails, hangs up, denies and refuses."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from chaos import SEED, outcome, wipe
from image_labels import jsonlines
from image_labels.analysis import Known
from image_labels.errors import NotAllowed, TooManyRefused
from image_labels.on_disk import RowsOnDisk
from pipeline import PREFIX, Pipeline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pymongo.database import Database

    from conftest import StandIn

DAY = "2026-03-01"


@pytest.mark.parametrize("seed", [SEED])
def test_a_service_that_fails_two_calls_in_five_only_takes_longer(
    pipeline: Pipeline,
    land_many: Callable[..., None],
    database: Database[dict[str, Any]],
    s3: Any,
    stand_in: StandIn,
    seed: int,
) -> None:
    land_many(60)
    pipeline.run()
    expected = outcome(pipeline, database, s3, "run-1", DAY)
    assert expected["books"]["books"]["analyse"]["called"] == 60
    wipe(pipeline, database, s3)
    before = stand_in.stats

    stand_in.set(throttles=0.3, errors=0.05, drops=0.02, cuts=0.01, seed=seed)
    pipeline.run()

    assert outcome(pipeline, database, s3, "run-1", DAY) == expected
    stats = stand_in.stats
    assert stats["answers"] - before["answers"] == 60
    assert stats["throttles"] > 10
    assert stats["errors"]["InternalServerError"] > 0


def test_a_denied_permission_fails_at_once_with_its_name(
    pipeline: Pipeline, land_many: Callable[..., None], stand_in: StandIn
) -> None:
    land_many(200)
    stand_in.set(denials=1.0, latency=0.1)
    with pytest.raises(NotAllowed, match="rekognition:DetectLabels"):
        pipeline.run(quota=50)
    # Those that were under way when the first was denied, and none again.
    assert stand_in.stats["calls"] <= 25


def test_what_was_answered_before_a_permission_was_denied_is_not_asked_again(
    pipeline: Pipeline, land_many: Callable[..., None], stand_in: StandIn
) -> None:
    land_many(100)
    stand_in.set(denials=0.1, latency=0.1, seed=1)
    with pytest.raises(NotAllowed):
        pipeline.run(quota=50)
    assert 0 < stand_in.answers < 100
    stand_in.set(denials=0.0)
    pipeline.run(quota=50)
    assert stand_in.answers == 100


def test_a_full_disk_does_not_keep_answers_from_their_checkpoint(
    pipeline: Pipeline, land_many: Callable[..., None], stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def put(rows: RowsOnDisk, some: Iterable[tuple[str, Any]]) -> None:
        some = list(some)
        if any(isinstance(row, Known) for _, row in some) and stand_in.answers > 20:
            raise sqlite3.OperationalError("database or disk is full")
        really_put(rows, some)

    really_put = RowsOnDisk.put
    land_many(150)
    stand_in.set(latency=0.1)
    with monkeypatch.context() as patch:
        patch.setattr(RowsOnDisk, "put", put)
        with pytest.raises(sqlite3.OperationalError, match="disk is full"):
            pipeline.run(quota=50)
    assert 20 < stand_in.answers < 150
    pipeline.run()
    assert stand_in.answers == 150


def test_a_service_that_may_not_read_the_bucket_fails_the_run_after_a_few_images(
    pipeline: Pipeline, land_many: Callable[..., None], s3: Any, stand_in: StandIn
) -> None:
    land_many(200)
    stand_in.set(denials=1.0, latency=0.1)
    with pytest.raises(NotAllowed):
        pipeline.run(quota=50)
    before = stand_in.stats["calls"]
    # To the service, what it may not read is not there.
    for key in list(jsonlines.keys(s3, pipeline.bucket, f"{PREFIX}/images/")):
        s3.delete_object(Bucket=pipeline.bucket, Key=key)

    stand_in.set(denials=0.0)
    with pytest.raises(TooManyRefused, match="Rekognition refused"):
        pipeline.run(quota=50)
    assert stand_in.stats["calls"] - before <= 50
