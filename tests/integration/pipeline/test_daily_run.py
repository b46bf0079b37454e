"""What one run does, and what the next one finds."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import duckdb
import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from airflow.sdk import Asset

from image_labels import analysis, jsonlines
from image_labels.errors import BooksDoNotBalance
from image_labels.operators.balance_books import BalanceBooksOperator
from image_labels.operators.detect_labels import DetectLabelsOperator
from image_labels.operators.ingest import IngestLabelsOperator
from image_labels.operators.report import ExportReportsOperator
from image_labels.operators.upload import UploadImagesOperator
from image_labels.sensors.new_images import NewImagesSensor
from image_labels.tables import TABLES
from pipeline import PREFIX, Pipeline, Run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import StandIn

Images = "Collection[dict[str, Any]]"

ODD_NAMES = [
    "with space.jpg",
    "plus+plus.jpg",
    "per%2Fcent.jpg",
    "hash#mark.jpg",
    "question?.jpg",
    'quote\'s "two".jpg',
    "new\nline.jpg",
    "emoji \N{CAMERA}.jpg",
    "right\u202eto-left.jpg",
    "Unicode é.jpg",
    "Unicode e\u0301.jpg",
    "CASE.jpg",
    "case.jpg",
    "<img src=x onerror=alert(1)>.jpg",
    "$where.jpg",
    "deep/er/and deeper/photo.jpg",
]


def objects(s3: Any, bucket: str, folder: str) -> list[str]:
    return list(jsonlines.keys(s3, bucket, f"{PREFIX}/{folder}"))


def report(s3: Any, bucket: str, day: str) -> bytes:
    key = f"{PREFIX}/reports/label_frequency/report_date={day}/label_frequency.parquet"
    return s3.get_object(Bucket=bucket, Key=key)["Body"].read()


def test_photos_become_objects_answers_documents_and_a_report(
    pipeline: Pipeline, land: Callable[..., Path], collection: Any, s3: Any, stand_in: StandIn
) -> None:
    stand_in.set(labels="model")
    land("cat.png", "chelsea.png")
    land("sub/horse and rider.jpg", "rocket.jpg")
    land("sub/coleen-rivas-bZ2-9wl9wVc-unsplash.jpg", "china.jpg")

    books = pipeline.run()

    assert books["upload"]["uploaded"] == books["analyse"]["called"] == books["ingest"]["ingested"] == 3
    cat = collection.find_one({"_id": f"{PREFIX}/images/cat.png"})
    assert cat["img"] == "cat.png"
    assert (cat["format"], cat["width"], cat["height"]) == ("PNG", 451, 300)
    assert "Cat" in {label["Name"] for label in cat["Labels"]}
    assert cat["logical_date"] == datetime(2026, 3, 1, tzinfo=UTC)
    assert cat["analysis"]["settings"] == {"min_confidence": 50.0, "max_labels": 100}
    unsplash = collection.find_one({"img": "coleen-rivas-bZ2-9wl9wVc-unsplash.jpg"})
    assert unsplash["photographer"] == "Coleen Rivas"
    assert unsplash["source_url"] == "https://unsplash.com/photos/bZ2-9wl9wVc"
    assert len(objects(s3, pipeline.bucket, "images/")) == 3
    assert len(objects(s3, pipeline.bucket, "results/")) == 1
    assert {key.rsplit(".", 1)[-1] for key in objects(s3, pipeline.bucket, "reports/")} == {
        "parquet", "html", "png", "json",
    }  # fmt: skip


WORKER = """
import sys
from pathlib import Path

from pipeline import Pipeline

landing, bucket, state = sys.argv[1:]
Pipeline(landing, bucket, Path(state)).run()
print("pyarrow" in sys.modules, "pandas" in sys.modules)
"""


def test_a_worker_loads_no_pandas(pipeline: Pipeline, land: Callable[..., Path]) -> None:
    land("china.jpg")
    ran = subprocess.run(
        [sys.executable, "-c", WORKER, pipeline.landing, pipeline.bucket, str(pipeline.state)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert ran.stdout.splitlines()[-1] == "True False"


def test_the_report_is_equal_to_a_recount_of_the_collection_in_every_reader(
    pipeline: Pipeline, land_many: Callable[..., None], collection: Any, s3: Any, tmp_path: Path
) -> None:
    land_many(60)
    pipeline.run(day="2026-03-01")
    land_many(40, start=60)
    pipeline.run("run-2", day="2026-03-02", thresholds=[50, 90])

    parquet = report(s3, pipeline.bucket, "2026-03-02")
    table = pq.read_table(io.BytesIO(parquet))
    counted = {
        (row["scope"], row["min_confidence"], row["label"]): (row["images"], row["instances"])
        for row in table.to_pylist()
    }

    expected: dict[tuple[str, float, str], tuple[int, int]] = {}
    for scope, condition in (("all", {}), ("day", {"logical_date": datetime(2026, 3, 2, tzinfo=UTC)})):
        for threshold in (50.0, 90.0):
            images: Counter[str] = Counter()
            instances: Counter[str] = Counter()
            for document in collection.find(condition):
                passing = [label for label in document["Labels"] if label["Confidence"] >= threshold]
                images.update({label["Name"] for label in passing})
                for label in passing:
                    instances[label["Name"]] += len(label.get("Instances") or [])
            expected |= {(scope, threshold, name): (count, instances[name]) for name, count in images.items()}
    assert counted == expected

    (tmp_path / "report.parquet").write_bytes(parquet)
    by_pandas = pd.read_parquet(tmp_path / "report.parquet")
    by_duckdb = duckdb.sql(f"SELECT count(*), sum(images) FROM '{tmp_path}/report.parquet'").fetchall()
    assert len(by_pandas) == table.num_rows
    assert by_duckdb == [(table.num_rows, sum(images for images, _ in expected.values()))]


def test_each_table_is_an_asset_that_tells_its_rows_and_version(
    pipeline: Pipeline, land: Callable[..., Path], land_many: Callable[..., None], s3: Any
) -> None:
    land_many(20)
    land("empty.jpg").write_bytes(b"")
    pipeline.run()
    run = Run(pipeline, "run-1", "2026-03-01", {})
    told: dict[str, Any] = {}
    for operator, arguments in ((ExportReportsOperator, {}), (BalanceBooksOperator, {"landing": pipeline.landing})):
        context = run.context("task", -1)
        assets = [Asset(name) for name in TABLES]
        task = operator(task_id="task", bucket=pipeline.bucket, prefix=PREFIX, outlets=assets, **arguments)
        with contextlib.suppress(BooksDoNotBalance):
            # What the tasks have counted was forgotten when the run ended.
            task.execute(context)
        told |= {asset.name: event.extra for asset, event in context["outlet_events"].items()}
    assert told.keys() == TABLES.keys()
    for name, extra in told.items():
        folder = f"{PREFIX}/reports/{name}/report_date=2026-03-01"
        keys = jsonlines.keys(s3, pipeline.bucket, f"{folder}/")
        files = [io.BytesIO(s3.get_object(Bucket=pipeline.bucket, Key=key)["Body"].read()) for key in keys]
        assert extra == {
            "uri": f"s3://{pipeline.bucket}/{folder}",
            "report_date": "2026-03-01",
            "rows": sum(pq.read_metadata(file).num_rows for file in files),
            "schema_version": TABLES[name].version,
        }
    assert told["images"]["rows"] == 20
    assert told["runs"]["rows"] == 1


def test_a_day_without_new_images_reports_the_collection_without_counting_it_again(
    pipeline: Pipeline, land_many: Callable[..., None], collection: Any, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from image_labels import frequencies
    from image_labels.counts import NOTHING

    land_many(20)
    pipeline.run(day="2026-03-01")
    with monkeypatch.context() as patch:
        for name in ("count_labels", "count_groups"):
            real = getattr(frequencies, name)

            def count(images: Any, scope: Any, real: Any = real, **of: Any) -> Any:
                assert scope in ({"logical_date": datetime(2026, 3, 2, tzinfo=UTC)}, NOTHING)
                return real(images, scope, **of)

            patch.setattr(frequencies, name, count)
        pipeline.run("run-2", day="2026-03-02")
    first, second = (pq.read_table(io.BytesIO(report(s3, pipeline.bucket, f"2026-03-0{day}"))) for day in (1, 2))
    assert second.equals(first.filter(pc.field("scope") == "all"))

    collection.delete_one({})
    pipeline.run("run-3", day="2026-03-03")
    third = pq.read_table(io.BytesIO(report(s3, pipeline.bucket, "2026-03-03")))
    assert not third.equals(second)


def test_a_second_run_finds_nothing_new_and_calls_nothing(
    pipeline: Pipeline, land: Callable[..., Path], stand_in: StandIn
) -> None:
    land("a.jpg")
    land("notes.jpg").write_text("not a photo")
    pipeline.run()
    calls = stand_in.stats["calls"]

    books = pipeline.run("run-2", day="2026-03-02")

    assert books["sense"] == {"seen": 2, "known": 2, "unsettled": 0, "new": 0, "batches": 0}
    assert stand_in.stats["calls"] == calls


def test_a_run_that_is_cleared_and_run_again_changes_nothing(
    pipeline: Pipeline,
    land: Callable[..., Path],
    land_many: Callable[..., None],
    collection: Any,
    s3: Any,
    stand_in: StandIn,
) -> None:
    land_many(30)
    land("copy-1.jpg")
    land("copy-2.jpg")
    land("broken.jpg").write_bytes(b"")
    first = pipeline.run()
    documents = list(collection.find({}, {"analysis.opened_at": 0}).sort("_id"))
    rows = pq.read_table(io.BytesIO(report(s3, pipeline.bucket, "2026-03-01")))
    calls = stand_in.stats["calls"]

    assert pipeline.run() == first
    assert list(collection.find({}, {"analysis.opened_at": 0}).sort("_id")) == documents
    assert pq.read_table(io.BytesIO(report(s3, pipeline.bucket, "2026-03-01"))).equals(rows)
    assert stand_in.stats["calls"] == calls


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


def test_an_empty_landing_place_still_gives_a_report(pipeline: Pipeline, collection: Any, s3: Any) -> None:
    books = pipeline.run()
    assert books["sense"]["seen"] == 0
    assert pq.read_table(io.BytesIO(report(s3, pipeline.bucket, "2026-03-01"))).num_rows == 0
    assert collection.count_documents({}) == 0


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_come_through_whole(
    pipeline: Pipeline, land: Callable[..., Path], collection: Any, stand_in: StandIn, name: str
) -> None:
    stand_in.set(labels="model")
    land(name, "chelsea.png")
    assert pipeline.run()["analyse"]["called"] == 1
    (document,) = collection.find()
    assert document["_id"] == f"{PREFIX}/images/{name}"
    assert document["img"] == name.rsplit("/", 1)[-1]


def test_names_that_differ_in_case_or_unicode_form_only_are_different_images(
    pipeline: Pipeline, land: Callable[..., Path], collection: Any, stand_in: StandIn
) -> None:
    for name in ODD_NAMES:
        land(name)
    assert pipeline.run()["ingest"]["ingested"] == len(ODD_NAMES)
    assert collection.count_documents({}) == len(ODD_NAMES)
    assert stand_in.answers == 1


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


def test_a_file_that_changes_or_vanishes_after_it_was_sensed_waits_for_the_next_run(
    pipeline: Pipeline, land: Callable[..., Path], landing: Path, monkeypatch: pytest.MonkeyPatch, s3: Any
) -> None:
    from image_labels.sensors.new_images import NewImagesSensor

    land("stays.jpg")
    land("changes.jpg")
    land("vanishes.jpg")
    real = NewImagesSensor._finish

    def meddle(self: NewImagesSensor, *arguments: Any) -> Any:
        (landing / "vanishes.jpg").unlink()
        land("changes.jpg", "china.jpg")
        return real(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(NewImagesSensor, "_finish", meddle)
        books = pipeline.run()
    assert books["upload"]["quarantined"] == 2
    listed = list(jsonlines.read(s3, pipeline.bucket, f"{PREFIX}/quarantine/ds=2026-03-01/run-1.jsonl"))
    assert {row["path"]: row["code"] for row in listed} == {"changes.jpg": "changed", "vanishes.jpg": "vanished"}
    assert pipeline.run("run-2", day="2026-03-02")["analyse"]["called"] == 1


def test_files_that_are_still_changing_are_left_for_later(pipeline: Pipeline, land: Callable[..., Path]) -> None:
    land("a.jpg")
    books = pipeline.run(settle_seconds=3600)
    assert (books["sense"]["unsettled"], books["sense"]["new"], books["sense"]["batches"]) == (1, 0, 0)


def test_a_landing_place_in_the_pipelines_bucket_is_analysed_in_place(
    pipeline: Pipeline, photos: dict[str, Path], collection: Any, s3: Any
) -> None:
    for name in ("a b+c.jpg", "sub/d.jpg"):
        s3.upload_file(str(photos["rocket.jpg"]), pipeline.bucket, f"incoming/{name}")
    pipeline.landing = f"s3://{pipeline.bucket}/incoming"
    books = pipeline.run()
    assert books["upload"]["unchanged"] == 2
    assert {document["_id"] for document in collection.find()} == {"incoming/a b+c.jpg", "incoming/sub/d.jpg"}
    assert objects(s3, pipeline.bucket, "images/") == []
    assert pipeline.run("run-2", day="2026-03-02")["sense"]["known"] == 2


def test_a_landing_place_in_another_bucket_is_copied(
    pipeline: Pipeline, photos: dict[str, Path], collection: Any, s3: Any
) -> None:
    s3.create_bucket(Bucket="elsewhere")
    s3.upload_file(str(photos["rocket.jpg"]), "elsewhere", "2026-03-01/a.jpg")
    pipeline.landing = "s3://elsewhere/{{ ds }}"
    pipeline.run()
    assert collection.find_one()["_id"] == f"{PREFIX}/images/2026-03-01/a.jpg"


def test_two_days_files_of_one_name_are_two_images(
    pipeline: Pipeline, land: Callable[..., Path], landing: Path, collection: Any
) -> None:
    land("2026-03-01/IMG_0001.jpg", "rocket.jpg")
    land("2026-03-02/IMG_0001.jpg", "china.jpg")
    pipeline.landing = f"{landing}/{{{{ ds }}}}"
    pipeline.run(day="2026-03-01")
    pipeline.run("run-2", day="2026-03-02")
    assert sorted(document["_id"] for document in collection.find()) == [
        f"{PREFIX}/images/2026-03-01/IMG_0001.jpg",
        f"{PREFIX}/images/2026-03-02/IMG_0001.jpg",
    ]
    assert pipeline.run("run-3", day="2026-03-03")["sense"]["seen"] == 0


def test_formats_that_rekognition_does_not_take_are_seen_through_a_rendition(
    pipeline: Pipeline, landing: Path, photos: dict[str, Path], collection: Any, s3: Any, stand_in: StandIn
) -> None:
    from PIL import Image

    stand_in.set(labels="model")
    with Image.open(photos["chelsea.png"]) as cat:
        cat.save(landing / "cat.webp")
        cat.save(landing / "cat.tif")
        cat.save(landing / "cat.bmp")
    books = pipeline.run()
    assert books["analyse"]["called"] == 3
    for document in collection.find():
        assert "Cat" in {label["Name"] for label in document["Labels"]}
        assert document["rendition"] == f"{PREFIX}/renditions/{document['sha256']}.jpg"
        assert s3.head_object(Bucket=pipeline.bucket, Key=document["rendition"])["ContentType"] == "image/jpeg"


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


def test_a_content_that_stands_in_several_batches_is_paid_for_once(
    pipeline: Pipeline, land: Callable[..., Path], collection: Images, stand_in: StandIn
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
    pipeline: Pipeline, land: Callable[..., Path], collection: Images, stand_in: StandIn
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
