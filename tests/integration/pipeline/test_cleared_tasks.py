"""Tasks are cleared and run again in any order, also when the landing place or a later run has gone on meanwhile."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from chaos import contents
from image_labels import analysis, jsonlines
from image_labels.claims import Claims
from image_labels.errors import BadSettings, NotAllowed
from image_labels.layout import split_uri
from image_labels.operators.balance_books import BalanceBooksOperator
from image_labels.operators.detect_labels import DetectLabelsOperator
from image_labels.operators.ingest import IngestLabelsOperator
from image_labels.operators.upload import UploadImagesOperator
from image_labels.sensors.new_images import NewImagesSensor
from pipeline import PREFIX, Pipeline, Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pymongo.database import Database

    from conftest import StandIn

pytestmark = pytest.mark.usefixtures("without_report")

DAY, NEXT_DAY, THIRD_DAY = "2026-03-01", "2026-03-02", "2026-03-03"


def quarantined(s3: Any, pipeline: Pipeline) -> list[str]:
    """Return what the first run could not take."""
    rows = jsonlines.read(s3, pipeline.bucket, f"{PREFIX}/quarantine/ds={DAY}/run-1.jsonl")
    return [row["path"] for row in rows]


CLEARED = [
    ("account",),
    ("sense",),
    ("batch.upload[0]",),
    ("batch.analyse[1]", "account"),
    ("batch.upload", "batch.ingest[0]"),
    ("sense", "batch.analyse[0]", "account"),
    ("sense", "batch.upload", "batch.analyse", "batch.ingest", "account"),
]


@pytest.mark.parametrize("later_run", [False, True], ids=["at once", "after a later run"])
def test_tasks_that_are_cleared_in_any_order_change_nothing_and_cost_nothing(
    pipeline: Pipeline,
    land_many: Callable[..., None],
    land: Callable[..., Path],
    landing: Path,
    database: Database[dict[str, Any]],
    s3: Any,
    stand_in: StandIn,
    later_run: bool,
) -> None:
    land_many(9)
    (landing / "copy.png").write_bytes((landing / "picture-000008.png").read_bytes())
    land("text.jpg").write_text("no photo")
    run = Run(pipeline, "run-1", DAY, pipeline.settings | {"batch_size": 6})
    books = run.rest()
    assert books["upload"]["batches"] == 2
    if later_run:
        land_many(4, start=100)
        assert pipeline.run("run-2", day=NEXT_DAY, batch_size=3)["analyse"]["called"] == 4
    expected, answers = contents(database), stand_in.answers

    for tasks in CLEARED:
        run.clear(*tasks)
        again = run.rest()
        # The landing place has more files by now, and a content that two batches hold is asked about by either.
        again["sense"] |= {"seen": books["sense"]["seen"], "known": 0}
        again["upload"]["calls"] = books["upload"]["calls"]
        assert again == books, tasks
        assert contents(database) == expected, tasks
        assert quarantined(s3, pipeline) == ["text.jpg"], tasks
    assert stand_in.answers == answers

    assert pipeline.run("run-3", day=THIRD_DAY)["sense"]["new"] == 0
    database["images"].drop()
    pipeline.rebuild()
    assert contents(database) == expected


def test_a_picture_that_an_old_run_takes_up_replaces_what_a_later_run_has_brought(
    pipeline: Pipeline, land: Callable[..., Path], database: Database[dict[str, Any]]
) -> None:
    land("a.jpg", "rocket.jpg")
    pipeline.run("run-1", day=DAY)
    land("a.jpg", "china.jpg")
    pipeline.run("run-2", day=NEXT_DAY)
    (before,) = database["images"].find()

    land("a.jpg", "flower.jpg")
    pipeline.run("run-1", day=DAY)

    (document,) = database["images"].find()
    assert document["analysis"]["dag_run"] == "run-1"
    assert document["sha256"] != before["sha256"]
    assert pipeline.run("run-3", day=THIRD_DAY)["sense"]["new"] == 0
    database["images"].drop()
    pipeline.rebuild()
    assert database["images"].find_one() == document


def test_a_run_that_is_cleared_over_other_files_pays_for_nothing_again_and_keeps_all_answers(
    pipeline: Pipeline,
    land_many: Callable[..., None],
    landing: Path,
    database: Database[dict[str, Any]],
    stand_in: StandIn,
) -> None:
    land_many(6, start=10)
    run = Run(pipeline, "run-1", DAY, pipeline.settings | {"batch_size": 3})
    run.rest()
    # As if the documents of the first batch had never been stored, and the books not been closed.
    database["runs"].update_one({"_id": "run-1"}, {"$set": {"state": "failed"}})
    database["images"].delete_many({"img": {"$lt": "picture-000013.png"}})

    # All images move on by two, into other batches, and one is gone.
    land_many(2, start=0)
    (landing / "picture-000010.png").unlink()
    run.clear("sense", "batch.upload", "batch.analyse", "batch.ingest", "account")
    books = run.rest()

    assert books["analyse"]["to_analyse"] == 7
    assert stand_in.answers == 8
    expected = contents(database)
    assert len(expected) == 8
    database["images"].drop()
    pipeline.rebuild()
    assert contents(database) == expected


def test_batches_that_wait_for_answers_of_each_other_get_them(
    pipeline: Pipeline, land: Callable[..., Path], s3: Any, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(analysis, "AWAIT_SECONDS", 60.0)
    for name, photo in (("1", "china.jpg"), ("2", "flower.jpg"), ("3", "flower.jpg"), ("4", "china.jpg")):
        land(f"{name}.jpg", photo)
    manifests = planned(pipeline, batch_size=2)
    # As if the second batch had claimed the flower while the first one claimed what is in China.
    first, second = (list(jsonlines.read(s3, *split_uri(manifest))) for manifest in manifests)
    first[1]["asked_in"] = 1
    del second[0]["asked_in"]
    for manifest, images in zip(manifests, (first, second), strict=True):
        jsonlines.write(s3, *split_uri(manifest), images)

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(analyse, pipeline, number, uri) for number, uri in enumerate(manifests)]:
            done.result()

    assert stand_in.answers == 2
    assert [analysed(s3, pipeline, number) for number in range(2)] == [["1.jpg", "2.jpg"], ["3.jpg", "4.jpg"]]


def test_an_analysis_is_of_the_images_that_were_listed_when_it_began(
    pipeline: Pipeline, land_many: Callable[..., None], s3: Any, stand_in: StandIn
) -> None:
    land_many(3)
    (manifest,) = planned(pipeline)
    stand_in.set(latency=1.0)
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(analyse, pipeline, 0, manifest)
        while stand_in.stats["calls"] == 0 and not done.done():
            time.sleep(0.01)
        # By a try of the upload that was taken for dead.
        jsonlines.write(s3, *split_uri(manifest), [])
        done.result()
    assert len(analysed(s3, pipeline, 0)) == 3


def test_an_answer_is_known_to_a_batch_that_takes_its_claim_while_the_other_is_uploaded_again(
    pipeline: Pipeline, land: Callable[..., Path], stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    land("1.jpg")
    land("2.jpg")
    run = Run(pipeline, "run-1", DAY, {})
    landing = {"landing": pipeline.landing}
    batches = run.execute(NewImagesSensor, "sense", wait_minutes=0, settle_seconds=0, batch_size=1, **landing)

    def upload(number: int) -> str:
        uri: str = run.execute(UploadImagesOperator, "batch.upload", number, files=batches[number], **landing)
        return uri

    analyse(pipeline, 0, upload(0))
    really_take = Claims.take

    def take(claims: Claims, wanted: Any) -> dict[str, int]:
        if claims.batch == 0:
            manifests.append(upload(1))
        return really_take(claims, wanted)

    manifests: list[str] = []
    monkeypatch.setattr(Claims, "take", take)
    manifests.insert(0, upload(0))
    for number in (1, 0):
        analyse(pipeline, number, manifests[number])
    assert stand_in.answers == 1


def test_answers_for_what_a_batch_no_longer_has_are_documents_and_outlive_a_try_that_dies(
    pipeline: Pipeline, land: Callable[..., Path], s3: Any, stand_in: StandIn, database: Database[dict[str, Any]]
) -> None:
    land("a.jpg", "china.jpg")
    land("b.jpg", "flower.jpg")
    (manifest,) = planned(pipeline)
    a, b = jsonlines.read(s3, *split_uri(manifest))
    for images in ([a], [b]):
        jsonlines.write(s3, *split_uri(manifest), images)
        results = analyse(pipeline, 0, manifest)
    assert Run(pipeline, "run-1", DAY, {}).execute(IngestLabelsOperator, "batch.ingest", 0, results=results) == 1
    expected = contents(database)
    assert len(expected) == 2

    unknown = a | {"key": f"{PREFIX}/images/c.jpg", "sha256": "c"}
    jsonlines.write(s3, *split_uri(manifest), [a, unknown])
    stand_in.set(denials=1.0)
    with pytest.raises(NotAllowed):
        analyse(pipeline, 0, manifest)
    database["images"].drop()
    pipeline.rebuild()
    assert contents(database) == expected
    assert stand_in.answers == 2


def test_a_batch_waits_as_long_as_the_other_one_gets_answers(
    pipeline: Pipeline, land_many: Callable[..., None], landing: Path, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(analysis, "AWAIT_SECONDS", 2.0)
    monkeypatch.setattr(analysis, "CHECKPOINT_ANSWERS", 1)
    land_many(25)
    (landing / "z.png").write_bytes((landing / "picture-000024.png").read_bytes())
    manifests = planned(pipeline, batch_size=25)
    with ThreadPoolExecutor(2) as pool:
        second, first = (pool.submit(analyse, pipeline, number, manifests[number], quota=5) for number in (1, 0))
        second.result()
        first.result()
    assert analysed(s3, pipeline, 1) == ["z.png"]


def test_an_answer_under_other_settings_is_kept(
    pipeline: Pipeline, land: Callable[..., Path], stand_in: StandIn
) -> None:
    land("a.jpg", "china.jpg")
    (manifest,) = planned(pipeline)
    for most in (10, 20, 10):
        analyse(pipeline, 0, manifest, max_labels=most)
    assert stand_in.answers == 2


def test_a_refusal_of_an_earlier_try_is_no_answer_for_the_batches_that_wait(
    pipeline: Pipeline, land: Callable[..., Path], s3: Any, stand_in: StandIn
) -> None:
    photo = land("a.jpg")
    land("b.jpg")
    run = Run(pipeline, "run-1", DAY, pipeline.settings | {"batch_size": 1})
    with taken_away(s3, pipeline, "a.jpg", photo):
        assert run.rest()["analyse"]["quarantined"] == 2

    run.clear("batch.analyse", "batch.ingest", "account")
    analyse = partial(run.execute, DetectLabelsOperator, "batch.analyse")
    manifests = [run._load()[f"batch.upload[{number}]"] for number in range(2)]
    calls = stand_in.stats["calls"]
    stand_in.set(latency=2.0)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(analyse, 0, manifest=manifests[0])
        while stand_in.stats["calls"] == calls:
            time.sleep(0.01)
        analyse(1, manifest=manifests[1])
        first.result()

    for number in range(2):
        results = f"{PREFIX}/results/ds={DAY}/run-1/batch-{number:05d}.jsonl.gz"
        assert [row.keys() & {"answer", "refused"} for row in jsonlines.read(s3, pipeline.bucket, results)] == [
            {"answer"}
        ]
    assert stand_in.answers == 1


def test_a_refusal_of_an_earlier_try_is_not_listed_when_there_is_nothing_left_to_analyse(
    pipeline: Pipeline, land: Callable[..., Path], s3: Any, stand_in: StandIn
) -> None:
    photo = land("a.jpg")
    run = Run(pipeline, "run-1", DAY, pipeline.settings)
    with taken_away(s3, pipeline, "a.jpg", photo):
        assert run.all()["analyse"]["quarantined"] == 1

    photo.write_text("no photo any more")
    books = run.all()

    assert (books["upload"]["quarantined"], books["analyse"].get("quarantined", 0)) == (1, 0)
    assert quarantined(s3, pipeline) == ["a.jpg"]


def test_a_run_that_was_killed_and_takes_itself_up_again_does_not_count_as_recovered(
    pipeline: Pipeline, land: Callable[..., Path], database: Database[dict[str, Any]]
) -> None:
    land("a.jpg")
    pipeline.run()
    database["runs"].update_one({"_id": "run-1"}, {"$set": {"state": "open"}})

    pipeline.run()

    entry = database["runs"].find_one({"_id": "run-1"})
    assert entry is not None
    assert (entry["state"], entry.get("recovered_by")) == ("balanced", None)


def test_what_a_run_in_another_place_was_answered_is_left_to_that_place(
    pipeline: Pipeline, land: Callable[..., Path], database: Database[dict[str, Any]], s3: Any, stand_in: StandIn
) -> None:
    """Two buckets, or two prefixes, may share a database."""
    land("a.jpg")
    run = Run(pipeline, "run-1", DAY, pipeline.settings)
    with pytest.raises(RuntimeError, match="killed"), killed_before(run, "batch.ingest"):
        run.all()
    elsewhere = replace(pipeline, bucket=f"{pipeline.bucket}-2", landing=str(land("other/b.jpg", "china.jpg").parent))
    s3.create_bucket(Bucket=elsewhere.bucket)
    elsewhere.run("run-2", day=NEXT_DAY)
    assert database["runs"].find_one({"_id": "run-1"})["state"] == "open"

    pipeline.run("run-3", day=THIRD_DAY)
    assert database["runs"].find_one({"_id": "run-1"})["state"] == "recovered"
    assert stand_in.answers == 2


def test_two_dags_that_share_a_database_are_told_before_one_spoils_the_others_books(
    pipeline: Pipeline, land: Callable[..., Path], database: Database[dict[str, Any]]
) -> None:
    """Two daily DAGs name their runs alike."""
    land("a.jpg")
    pipeline.run("scheduled__2026-03-01")
    (entry,) = database["runs"].find()
    database["runs"].update_one({}, {"$set": {"dag_id": "another"}})
    run = Run(pipeline, "scheduled__2026-03-01", DAY, pipeline.settings)
    with pytest.raises(BadSettings, match="a run 'scheduled__2026-03-01' of another DAG"):
        run.all()
    with pytest.raises(BadSettings, match="another DAG"):
        run.execute(BalanceBooksOperator, "account", landing=pipeline.landing)
    assert list(database["runs"].find()) == [entry | {"dag_id": "another"}]


def planned(pipeline: Pipeline, **settings: Any) -> list[str]:
    """Upload what has landed, and return the addresses of the batches' manifests."""
    run = Run(pipeline, "run-1", DAY, {})
    landing = {"landing": pipeline.landing}
    batches = run.execute(NewImagesSensor, "sense", wait_minutes=0, settle_seconds=0, **landing, **settings)
    return [
        run.execute(UploadImagesOperator, "batch.upload", number, files=files, **landing)
        for number, files in enumerate(batches)
    ]


def analyse(pipeline: Pipeline, number: int, manifest: str, **settings: Any) -> str:
    """Analyse a batch, in a run that several threads may be at, and return the address of its results."""
    state = pipeline.state / f"batch-{number}"
    state.mkdir(parents=True, exist_ok=True)
    run = Run(replace(pipeline, state=state), "run-1", DAY, {})
    settings = {"quota": 1000, **settings}
    results: str = run.execute(DetectLabelsOperator, "batch.analyse", number, manifest=manifest, **settings)
    return results


def analysed(s3: Any, pipeline: Pipeline, number: int) -> list[str]:
    """Return the paths of the images in a batch's results."""
    key = f"{PREFIX}/results/ds={DAY}/run-1/batch-{number:05d}.jsonl.gz"
    return [row["image"]["path"] for row in jsonlines.read(s3, pipeline.bucket, key)]


@contextmanager
def taken_away(s3: Any, pipeline: Pipeline, name: str, photo: Path) -> Iterator[None]:
    """Take an image away from the service as soon as it has been uploaded: it says then that the image is at fault."""
    key = f"{PREFIX}/images/{name}"
    real = UploadImagesOperator.execute

    def upload(operator: UploadImagesOperator, context: Any) -> Any:
        manifest = real(operator, context)
        s3.delete_object(Bucket=pipeline.bucket, Key=key)
        return manifest

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(UploadImagesOperator, "execute", upload)
        yield
    s3.upload_file(str(photo), pipeline.bucket, key)


@contextmanager
def killed_before(run: Run, task: str) -> Iterator[None]:
    """Let a run end before a task begins."""
    real = Run.execute

    def execute(run: Run, operator: type, task_id: str, *arguments: Any, **named: Any) -> Any:
        if task_id == task:
            raise RuntimeError("killed")
        return real(run, operator, task_id, *arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "execute", execute)
        yield
