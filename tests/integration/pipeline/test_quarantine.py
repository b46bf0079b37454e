"""What cannot be taken is listed with its reason, and stops nothing unless it is too much."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from image_labels import jsonlines
from image_labels.errors import BooksDoNotBalance
from pipeline import PREFIX, Pipeline

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import StandIn

pytestmark = pytest.mark.usefixtures("without_report")


def test_what_is_no_picture_is_listed_with_its_reason_and_stops_nothing(
    pipeline: Pipeline, land: Callable[..., Path], photos: dict[str, Path], collection: Any, s3: Any
) -> None:
    land("good.jpg")
    land("text.jpg").write_text("shopping list")
    land("empty.jpg").write_bytes(b"")
    land("cut.jpg").write_bytes(photos["rocket.jpg"].read_bytes()[:5000])
    land("n" * 200 + "/" + "n" * 200 + "/" + "n" * 200 + "/" + "n" * 200 + "/" + "n" * 200 + ".jpg")
    books = pipeline.run()

    listed = list(jsonlines.read(s3, pipeline.bucket, f"{PREFIX}/quarantine/ds=2026-03-01/run-1.jsonl"))
    assert {row["path"][:8]: row["code"] for row in listed} == {
        "text.jpg": "not_an_image",
        "empty.jp": "empty",
        "cut.jpg": "truncated",
        "nnnnnnnn": "bad_name",
    }
    assert all(row["step"] == "upload" and row["reason"] and row["at"] for row in listed)
    assert books["upload"]["quarantined"] == 4
    assert collection.count_documents({}) == 1


def test_a_name_that_is_no_utf8_is_quarantined(pipeline: Pipeline, land: Callable[..., Path], landing: Path) -> None:
    photo = land("good.jpg")
    os.link(os.fsencode(photo), os.fsencode(landing) + b"/caf\xe9.jpg")
    books = pipeline.run()
    assert (books["upload"]["quarantined"], books["ingest"]["ingested"]) == (1, 1)


def test_quarantined_files_are_tried_again_when_asked_for(
    pipeline: Pipeline, land: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from image_labels import images

    land("a.jpg")
    real = images.inspect

    def refuse(file: Any) -> Any:
        raise images.Rejected(images.Code.CORRUPT, "an older version could not read it")

    monkeypatch.setattr(images, "inspect", refuse)
    assert pipeline.run()["upload"]["quarantined"] == 1
    monkeypatch.setattr(images, "inspect", real)
    assert pipeline.run("run-2", day="2026-03-02")["sense"]["new"] == 0
    assert pipeline.run("run-3", day="2026-03-03", retry_quarantined=True)["ingest"]["ingested"] == 1


def test_too_many_refused_files_fail_the_run_and_what_is_good_stays(
    pipeline: Pipeline, land: Callable[..., Path], land_many: Callable[..., None], stand_in: StandIn
) -> None:
    land_many(15)
    for number in range(5):
        land(f"text-{number}.jpg").write_text("no photo")
    with pytest.raises(BooksDoNotBalance, match="refused 5 of 20"):
        pipeline.run(max_failure_share=0.24)
    books = pipeline.run("run-2", day="2026-03-02", max_failure_share=0.25)
    assert (books["upload"]["answered"], books["upload"]["quarantined"]) == (15, 5)
    assert stand_in.answers == 15


def test_a_share_of_refused_files_counts_over_all_batches(
    pipeline: Pipeline, land: Callable[..., Path], land_many: Callable[..., None]
) -> None:
    land_many(40)
    for number in range(9):
        land(f"a-text-{number}.jpg").write_text("no photo")
    assert pipeline.run(batch_size=25)["upload"]["quarantined"] == 9
