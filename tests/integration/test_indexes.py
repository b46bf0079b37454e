"""The indexes, the proof that they are used, and the queries of the article that the project began with."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from pymongo import ASCENDING

from image_labels.indexes import (
    CONTENT_INDEX,
    INDEXES,
    PROOFS,
    IndexNotUsed,
    Proof,
    ensure,
    ensure_and_prove,
    ensure_before_loading,
    labelled,
)
from image_labels.ingest import ingest
from image_labels.plans import explain
from image_labels.queries import find, parse

if TYPE_CHECKING:
    from pymongo.collection import Collection

DAY = datetime(2026, 1, 5, tzinfo=UTC)
BOX = {"Width": 0.1, "Height": 0.2, "Left": 0.3, "Top": 0.4}

ANSWERS: dict[str, list[tuple[str, float, int | None]]] = {
    "annie-spratt-1-unsplash.jpg": [("Book", 99.1, 3), ("Person", 55.0, 1), ("Human", 55.0, None)],
    "coleen-rivas-2-unsplash.jpg": [("Person", 100, 4), ("Human", 99.9, 0), ("Book", 90.0, None), ("Sea", 70, 0)],
    "jane-doe-3-unsplash.jpg": [("Person", 95.5, 2), ("Human", 95.5, 0), ("Car", 90.0, 5)],
    "john-roe-4-unsplash.jpg": [("Book", 60.0, 9), ("Furniture", 99.0, None), ("Person", 89.9, 7)],
    "nothing.jpg": [],
}
"""Label, confidence and number of instances; None where the answer had no list of them."""


def rows() -> list[dict[str, Any]]:
    return [
        {
            "image": {
                "key": f"image-labels/images/{name}", "path": name, "img": name, "bucket": "photos", "etag": "e",
                "sha256": f"sha of {name}", "bytes": 5, "format": "JPEG", "width": 640, "height": 480,
            },
            "answer": {
                "Labels": [
                    {
                        "Name": label,
                        "Confidence": confidence,
                        **({} if count is None else {"Instances": [{"BoundingBox": BOX, "Confidence": 99.0}] * count}),
                    }
                    for label, confidence, count in labels
                ]
            },
            "analysis": {"at": "2026-01-05T09:30:00+00:00", "settings": {}, "opened_at": "2026-01-05T09:00:00+00:00"},
        }
        for name, labels in ANSWERS.items()
    ]  # fmt: skip


@pytest.fixture
def coll(collection: Collection[dict[str, Any]]) -> Collection[dict[str, Any]]:
    """The collection under the article's name for it, with the answers ingested."""
    ingest(rows(), collection, DAY)
    return collection


def images(cursor: Any) -> list[str]:
    """Return the numbers of the images found, in order; all that the queries ask for is ``img``."""
    found = list(cursor)
    assert all(document.keys() == {"img"} for document in found)
    return sorted(document["img"].rsplit("-", 2)[1] for document in found)


# --- the proof ---


def test_queries_scan_the_collection_before_and_read_the_index_after(
    coll: Collection[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    query = labelled("Book", 90.0)
    before = explain(coll, query)
    assert before.stages == ("COLLSCAN",)
    assert before.indexes == ()
    with caplog.at_level(logging.INFO):
        assert ensure_and_prove(coll) == [name for name, _ in INDEXES]
    after = explain(coll, query)
    assert "IXSCAN" in after.stages
    assert "COLLSCAN" not in after.stages
    assert after.indexes == ("idx_labels",)
    assert "before: LIMIT <- COLLSCAN" in caplog.text
    assert "IXSCAN (idx_labels)" in caplog.text


def test_the_index_of_the_labels_is_that_of_the_article(coll: Collection[dict[str, Any]]) -> None:
    ensure(coll)
    keys = coll.index_information()["idx_labels"]["key"]
    assert keys == [("Labels.Name", ASCENDING), ("Labels.Confidence", ASCENDING)]


@pytest.mark.parametrize("proof", PROOFS, ids=lambda proof: f"{proof.index} {proof.filter} {proof.sort}"[:80])
def test_every_query_that_is_relied_on_reads_its_index(coll: Collection[dict[str, Any]], proof: Proof) -> None:
    ensure(coll)
    plan = proof.plan(coll)
    assert plan.indexes == (proof.index,)
    assert "COLLSCAN" not in plan.stages


def test_documents_of_an_earlier_version_get_their_tokens(coll: Collection[dict[str, Any]]) -> None:
    before = list(coll.find(sort={"_id": 1}))
    coll.update_many({"img": {"$ne": "nothing.jpg"}}, {"$unset": {"tokens": 1, "repeats": 1}})
    ensure_and_prove(coll)
    assert [sorted(one.items()) for one in coll.find(sort={"_id": 1})] == [sorted(one.items()) for one in before]
    assert [one["img"] for one in find(coll, parse("Person>=90:4..")).images] == ["coleen-rivas-2-unsplash.jpg"]


def test_a_second_time_makes_nothing_and_proves_again(
    coll: Collection[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    ensure_and_prove(coll)
    caplog.clear()
    with caplog.at_level(logging.INFO):
        assert ensure_and_prove(coll) == []
    assert "none, all were there" in caplog.text
    assert caplog.text.count("now: LIMIT <- FETCH <- IXSCAN (idx_labels)") == 2
    assert "before:" not in caplog.text


def test_indexes_of_others_are_left_alone(coll: Collection[dict[str, Any]]) -> None:
    coll.create_index("photographer", name="theirs")
    ensure(coll)
    assert {"theirs", *(name for name, _ in INDEXES)} <= coll.index_information().keys()


def test_a_collection_that_is_not_there_yet_gets_its_indexes(collection: Collection[dict[str, Any]]) -> None:
    assert ensure_and_prove(collection) == [name for name, _ in INDEXES]


def test_before_the_first_documents_come_all_indexes_are_made(collection: Collection[dict[str, Any]]) -> None:
    ensure_before_loading(collection)
    assert {name for name, _ in INDEXES} <= collection.index_information().keys()


def test_where_documents_are_a_run_makes_no_index_before_it_loads_but_that_of_the_contents(
    coll: Collection[dict[str, Any]],
) -> None:
    ensure_before_loading(coll)
    assert coll.index_information().keys() == {"_id_", CONTENT_INDEX[0]}


def test_runs_that_make_the_indexes_at_once_all_find_them_made(coll: Collection[dict[str, Any]]) -> None:
    # Enough for a build to be seen by the others while it is at work.
    coll.insert_many([{"tokens": [f"has {number % 7}"], "img": str(number)} for number in range(20_000)])
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: ensure_and_prove(coll), range(4)))
    assert {name for name, _ in INDEXES} <= coll.index_information().keys()


def test_an_index_of_the_name_with_other_keys_is_no_proof(coll: Collection[dict[str, Any]]) -> None:
    coll.create_index("img", name="idx_labels")
    with pytest.raises(IndexNotUsed) as error:
        ensure_and_prove(coll)
    message = str(error.value)
    assert f"idx_labels of {coll.full_name}" in message
    assert "COLLSCAN" in message
    assert "drop it and clear this task" in message


# --- the article's queries, as they are printed there ---


def test_article_count_of_images(coll: Collection[dict[str, Any]]) -> None:
    assert coll.count_documents({}) == 5


def test_article_frequency_counts(coll: Collection[dict[str, Any]]) -> None:
    # fmt: off
    result = pd.DataFrame(coll.aggregate([
        {"$unwind": "$Labels"},
        {"$match": {"Labels.Confidence": {"$gte": 90.0}}},
        {"$group": {"_id": "$Labels.Name", "count": {"$sum": 1}}},
        {"$sort": {"count": -1}}
    ]))
    # fmt: on
    assert result["count"].is_monotonic_decreasing
    assert dict(zip(result["_id"], result["count"], strict=True)) == {
        "Book": 2, "Person": 2, "Human": 2, "Car": 1, "Furniture": 1,
    }  # fmt: skip


BOOK_AT_90 = {"Labels": {"$elemMatch": {"Name": "Book", "Confidence": {"$gte": 90.0}}}}
BOOK_AND_PERSON_AT_90 = {
    "$and": [
        {"Labels": {"$elemMatch": {"Name": "Book", "Confidence": {"$gte": 90.0}}}},
        {"Labels": {"$elemMatch": {"Name": "Person", "Confidence": {"$gte": 90.0}}}},
    ]
}
BOOK_AT_90_INDEXED = {
    "$and": [
        {"Labels.Name": "Book"},
        {"Labels.Confidence": {"$gte": 90.0}},
        {"Labels": {"$elemMatch": {"Name": "Book", "Confidence": {"$gte": 90.0}}}},
    ]
}
BOOK_AND_PERSON_AT_90_INDEXED = {
    "$and": [
        {"Labels.Name": "Book"},
        {"Labels.Confidence": {"$gte": 90.0}},
        {"Labels.Name": "Person"},
        {"Labels.Confidence": {"$gte": 90.0}},
        {"Labels": {"$elemMatch": {"Name": "Book", "Confidence": {"$gte": 90.0}}}},
        {"Labels": {"$elemMatch": {"Name": "Person", "Confidence": {"$gte": 90.0}}}},
    ]
}
FOUR_PERSONS = {
    "Labels": {"$elemMatch": {"Name": "Person", "Confidence": {"$gte": 90.0}, "Instances.3": {"$exists": True}}}
}
TWO_OR_THREE_PERSONS = {
    "Labels": {
        "$elemMatch": {
            "Name": "Person",
            "Confidence": {"$gte": 90.0},
            "Instances.1": {"$exists": True},
            "Instances.3": {"$exists": False},
        }
    }
}


@pytest.mark.parametrize("indexed", [False, True], ids=["scanned", "indexed"])
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param(BOOK_AT_90, ["1", "2"], id="book"),
        pytest.param(BOOK_AND_PERSON_AT_90, ["2"], id="book and person"),
        pytest.param(BOOK_AT_90_INDEXED, ["1", "2"], id="book for the index"),
        pytest.param(BOOK_AND_PERSON_AT_90_INDEXED, ["2"], id="book and person for the index"),
        pytest.param(FOUR_PERSONS, ["2"], id="four persons"),
        pytest.param(TWO_OR_THREE_PERSONS, ["3"], id="two or three persons"),
    ],
)
def test_article_query(
    coll: Collection[dict[str, Any]], query: dict[str, Any], expected: list[str], indexed: bool
) -> None:
    if indexed:
        ensure(coll)
    assert images(coll.find(query, {"_id": 0, "img": 1})) == expected


@pytest.mark.parametrize("query", [BOOK_AT_90_INDEXED, BOOK_AND_PERSON_AT_90_INDEXED], ids=["book", "book and person"])
def test_article_explain(coll: Collection[dict[str, Any]], query: dict[str, Any]) -> None:
    ensure(coll)
    plan = coll.find(query, {"_id": 0, "img": 1}).explain()["queryPlanner"]["winningPlan"]
    assert "'indexName': 'idx_labels'" in str(plan)
    assert "'stage': 'IXSCAN'" in str(plan)


@pytest.mark.parametrize(
    ("text", "article"),
    [
        ("Book>=90", BOOK_AT_90),
        ("Book>=90 Person>=90", BOOK_AND_PERSON_AT_90),
        ("Person>=90:4..", FOUR_PERSONS),
        ("Person>=90:2..3", TWO_OR_THREE_PERSONS),
    ],
    ids=["book", "book and person", "four persons", "two or three persons"],
)
def test_the_library_answers_as_the_article_does(
    coll: Collection[dict[str, Any]], text: str, article: dict[str, Any]
) -> None:
    ensure(coll)
    assert find(coll, parse(text), fields=["img"]).images == list(coll.find(article, {"img": 1}, sort={"_id": 1}))


def test_our_filter_finds_what_the_articles_does(coll: Collection[dict[str, Any]]) -> None:
    for label in ("Book", "Person", "Car", "Nothing"):
        for confidence in (50, 89.95, 90, 100):
            theirs = {"Labels": {"$elemMatch": {"Name": label, "Confidence": {"$gte": confidence}}}}
            found = list(coll.find(labelled(label, confidence), sort={"_id": 1}))
            assert found == list(coll.find(theirs, sort={"_id": 1}))
