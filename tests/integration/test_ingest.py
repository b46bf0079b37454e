"""Documents in the collection: new ones, replaced ones, and what is found in them again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from pymongo.errors import BulkWriteError

from image_labels.documents import Settings, answered_keys, answers_by_content, upsert
from image_labels.ingest import ingest

if TYPE_CHECKING:
    from pymongo.collection import Collection

DAY = datetime(2026, 1, 5, tzinfo=UTC)
NEXT_DAY = datetime(2026, 1, 6, tzinfo=UTC)


def row(
    key: str,
    *labels: str,
    content: str = "",
    run: str = "run-1",
    settings: Settings | None = None,
    opened_at: str = "2026-01-05T09:00:00+00:00",
) -> dict[str, Any]:
    """Return a result row of an image that was called for."""
    return {
        "image": {
            "key": f"images/{key}", "path": key, "img": key.rsplit("/", 1)[-1], "bucket": "photos", "etag": "e",
            "sha256": content or f"sha of {key}", "bytes": 5, "format": "JPEG", "width": 640, "height": 480,
        },
        "answer": {"Labels": [{"Name": name, "Confidence": 99.5} for name in labels], "LabelModelVersion": "3.0"},
        "analysis": {
            "at": "2026-01-05T09:30:00.125+00:00", "settings": (settings or Settings()).as_dict(), "dag_run": run,
            "paid_by": run, "opened_at": opened_at,
        },
    }  # fmt: skip


def names(collection: Collection[dict[str, Any]], key: str) -> list[str] | None:
    document = collection.find_one({"_id": f"images/{key}"})
    return document and [label["Name"] for label in document["Labels"]]


def test_each_answer_is_a_document(collection: Collection[dict[str, Any]]) -> None:
    assert ingest([row("cat.jpg", "Cat", "Pet"), row("a/b.jpg", "Sea")], collection, DAY) == 2
    stored = collection.find_one({"_id": "images/a/b.jpg"})
    assert stored is not None
    assert stored["img"] == "b.jpg"
    assert stored["Labels"] == [{"Name": "Sea", "Confidence": 99.5}]
    assert stored["logical_date"] == DAY
    assert stored["analysis"]["at"] == datetime(2026, 1, 5, 9, 30, 0, 125_000, tzinfo=UTC)


def test_refused_images_are_no_documents(collection: Collection[dict[str, Any]]) -> None:
    refused = {"image": row("text.jpg")["image"], "refused": {"step": "analyse", "code": "x", "reason": "y", "at": "z"}}
    assert ingest([refused, row("cat.jpg", "Cat")], collection, DAY) == 1
    assert [document["img"] for document in collection.find()] == ["cat.jpg"]


def test_an_image_without_labels_is_a_document(collection: Collection[dict[str, Any]]) -> None:
    ingest([row("empty.jpg")], collection, DAY)
    assert names(collection, "empty.jpg") == []
    assert collection.count_documents({"Labels": []}) == 1


def test_a_second_time_changes_nothing(collection: Collection[dict[str, Any]]) -> None:
    rows = [row("cat.jpg", "Cat"), row("dog.jpg", "Dog")]
    assert ingest(rows, collection, DAY) == 2
    first = list(collection.find().sort("_id", 1))
    assert ingest(rows, collection, DAY) == 2
    assert list(collection.find().sort("_id", 1)) == first


def test_a_new_answer_takes_the_place_of_the_old_one(collection: Collection[dict[str, Any]]) -> None:
    before = row("pet.jpg", "Cat", "Pet")
    before["image"] |= {"photographer": "Annie Spratt", "taken_at": "2019-07-14T18:20:05"}
    ingest([before, row("dog.jpg", "Dog")], collection, DAY)
    ingest([row("pet.jpg", "Dog", content="new"), row("new.jpg", "Sea")], collection, NEXT_DAY)
    assert (names(collection, "pet.jpg"), names(collection, "dog.jpg"), names(collection, "new.jpg")) == (
        ["Dog"], ["Dog"], ["Sea"],
    )  # fmt: skip
    replaced = collection.find_one({"_id": "images/pet.jpg"})
    assert replaced is not None
    assert not {"photographer", "taken_at"} & replaced.keys()
    assert (replaced["sha256"], replaced["logical_date"]) == ("new", NEXT_DAY)


def test_all_of_a_large_batch_are_stored_whether_new_or_not(collection: Collection[dict[str, Any]]) -> None:
    rows = [row(f"{number:04}.jpg", "Cat") for number in range(2500)]
    ingest(rows[500:1700], collection, DAY)
    assert ingest(iter(rows), collection, NEXT_DAY) == 2500
    assert collection.count_documents({"logical_date": NEXT_DAY}) == collection.count_documents({}) == 2500


def test_of_the_same_key_twice_the_last_one_stands(collection: Collection[dict[str, Any]]) -> None:
    ingest([row("cat.jpg", "Cat"), row("cat.jpg", "Dog")], collection, DAY)
    assert names(collection, "cat.jpg") == ["Dog"]


def test_of_the_same_new_key_many_times_one_stands(collection: Collection[dict[str, Any]]) -> None:
    ingest([row("cat.jpg", "Cat", content=str(number)) for number in range(4)], collection, DAY)
    assert names(collection, "cat.jpg") == ["Cat"]


@pytest.mark.parametrize(
    "name",
    [
        "a b+c%2F#?.jpg", "'\"$x.y\\.jpg", "ünï/日本🙂.jpg", "A\u0308.jpg", "\u200ertl.jpg", "a\nb.jpg", "$where",
        "x" * 900,
    ],
    ids=["signs", "quotes", "unicode", "parts", "direction", "line", "operator", "long"],
)  # fmt: skip
def test_any_name_is_a_key(collection: Collection[dict[str, Any]], name: str) -> None:
    for labels in (["Cat"], ["Dog"]):
        ingest([row(name, *labels)], collection, DAY)
    assert [document["_id"] for document in collection.find()] == [f"images/{name}"]
    assert names(collection, name) == ["Dog"]


def test_names_that_differ_in_case_or_form_only_are_different_images(collection: Collection[dict[str, Any]]) -> None:
    keys = ["a.jpg", "A.jpg", "\u00e4.jpg", "a\u0308.jpg"]
    assert ingest([row(key) for key in keys], collection, DAY) == 4
    assert collection.count_documents({}) == 4


def test_another_error_than_being_there_already_is_raised(collection: Collection[dict[str, Any]]) -> None:
    collection.create_index("etag", unique=True)
    with pytest.raises(BulkWriteError):
        ingest([row("cat.jpg"), row("dog.jpg")], collection, DAY)


def test_no_documents_are_no_work(collection: Collection[dict[str, Any]]) -> None:
    assert ingest([], collection, DAY) == 0
    assert collection.count_documents({}) == 0


# --- what has been answered before ---


def test_an_answer_is_found_by_the_content_under_any_name(collection: Collection[dict[str, Any]]) -> None:
    ingest([row("cat.jpg", "Cat", content="c1"), row("dog.jpg", "Dog", content="d1")], collection, DAY)
    found = answers_by_content(collection, ["c1", "gone"], Settings())
    assert {content: answer["Labels"] for content, answer in found.items()} == {
        "c1": [{"Name": "Cat", "Confidence": 99.5}]
    }


def test_an_answer_without_labels_is_an_answer(collection: Collection[dict[str, Any]]) -> None:
    ingest([row("empty.jpg", content="e1")], collection, DAY)
    assert answers_by_content(collection, ["e1"], Settings())["e1"]["Labels"] == []


@pytest.mark.parametrize(
    ("asked", "answered"),
    [(Settings(50, 100), True), (Settings(50.0, 100), True), (Settings(60, 100), False), (Settings(50, 10), False)],
    ids=str,
)
def test_an_answer_counts_under_the_same_settings_only(
    collection: Collection[dict[str, Any]], asked: Settings, answered: bool
) -> None:
    ingest([row("cat.jpg", content="c1", settings=Settings(50, 100))], collection, DAY)
    assert bool(answers_by_content(collection, ["c1"], asked)) is answered
    assert bool(answered_keys(collection, {"images/cat.jpg": "c1"}, asked, "run-2")) is answered


def test_an_image_needs_no_work_while_its_document_has_its_content(collection: Collection[dict[str, Any]]) -> None:
    ingest([row("cat.jpg", content="c1"), row("dog.jpg", content="d1")], collection, DAY)
    contents = {"images/cat.jpg": "c1", "images/dog.jpg": "d2", "images/new.jpg": "c1"}
    assert answered_keys(collection, contents, Settings(), "run-2") == {"images/cat.jpg"}


def test_what_the_run_itself_has_stored_is_work_again(collection: Collection[dict[str, Any]]) -> None:
    ingest([row("cat.jpg", content="c1", run="run-1")], collection, DAY)
    assert answered_keys(collection, {"images/cat.jpg": "c1"}, Settings(), "run-1") == set()


def test_two_workers_may_store_the_same_documents_at_once(collection: Collection[dict[str, Any]]) -> None:
    """The other one is faster between the look and the replacement."""
    document = {"_id": "images/cat.jpg", "Labels": [], "analysis": {"opened_at": DAY}}
    upsert(collection, [document])
    upsert(collection, [dict(document, Labels=[{"Name": "Cat"}])])
    assert names(collection, "cat.jpg") == ["Cat"]


def test_an_older_run_that_is_stored_again_leaves_what_a_later_one_has_brought(
    collection: Collection[dict[str, Any]],
) -> None:
    older = row("pet.jpg", "Cat", content="old", opened_at="2026-01-05T09:00:00+00:00")
    later = row("pet.jpg", "Dog", content="new", run="run-2", opened_at="2026-01-06T09:00:00+00:00")
    ingest([older], collection, DAY)
    ingest([later], collection, NEXT_DAY)
    ingest([older], collection, DAY)
    assert names(collection, "pet.jpg") == ["Dog"]
