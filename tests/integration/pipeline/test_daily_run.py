"""What one run does, and what the next one finds."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import duckdb
import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq
from airflow.sdk import Asset

from image_labels import jsonlines
from image_labels.errors import BooksDoNotBalance
from image_labels.operators.balance_books import BalanceBooksOperator
from image_labels.operators.report import ExportReportsOperator
from image_labels.tables import TABLES
from pipeline import PREFIX, Pipeline, Run, objects

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from conftest import StandIn


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

    assert books["sense"] == {"seen": 2, "known": 2, "unsettled": 0, "new": 0, "carried": 0, "batches": 0}
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


def test_an_empty_landing_place_still_gives_a_report(pipeline: Pipeline, collection: Any, s3: Any) -> None:
    books = pipeline.run()
    assert books["sense"]["seen"] == 0
    assert pq.read_table(io.BytesIO(report(s3, pipeline.bucket, "2026-03-01"))).num_rows == 0
    assert collection.count_documents({}) == 0
