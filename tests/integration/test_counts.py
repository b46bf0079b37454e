"""What is kept of earlier counts never shows in the result."""

from __future__ import annotations

import random
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from image_labels import counts, documents, frequencies, jsonlines
from image_labels.counts import Kept, day_key, days_until
from odd_documents import DAY, document

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa
    from pymongo.collection import Collection

FLOORS = [50.0, 90.0]
FIRST = DAY - timedelta(days=6)


@pytest.fixture
def asked() -> list[dict[str, Any]]:
    """The queries that were counted."""
    return []


@pytest.fixture
def kept(collection: Collection[dict[str, Any]], s3: Any, bucket: str, asked: list[dict[str, Any]]) -> Kept:
    def count(query: dict[str, Any]) -> pa.Table:
        if query != counts.NOTHING:
            asked.append(query)
        return frequencies.count_labels(collection, query, FLOORS)

    return Kept(count, FLOORS, s3, bucket, "counts/labels/")


@pytest.fixture
def store(collection: Collection[dict[str, Any]]) -> Callable[..., None]:
    """Store images of a day as ingest does: what is there under the same key is replaced."""
    chance = random.Random(0)

    def put(day: int, *numbers: int) -> None:
        logical_date = FIRST + timedelta(days=day)
        documents.mark_changed(collection, logical_date)
        for number in numbers:
            new = document(chance, number) | {"logical_date": logical_date}
            collection.replace_one({"_id": new["_id"]}, new, upsert=True)
        documents.mark_changed(collection, logical_date)

    return put


def total(kept: Kept, collection: Collection[dict[str, Any]], day: int = 6) -> pa.Table:
    return kept.of_all(days_until(collection, FIRST + timedelta(days=day)))


def check(cells: pa.Table, collection: Collection[dict[str, Any]], day: int = 6) -> None:
    until = {"logical_date": {"$not": {"$gt": FIRST + timedelta(days=day)}}}
    counted = frequencies.count_labels(collection, until, FLOORS)
    rows, expected = (frequencies.merge([table]).to_pylist() for table in (cells, counted))
    assert [row | {"confidence": pytest.approx(row["confidence"])} for row in expected] == rows


@pytest.mark.parametrize("seed", range(4))
def test_the_total_is_that_of_a_full_recount_whatever_has_happened(
    kept: Kept, store: Callable[..., None], collection: Collection[dict[str, Any]], seed: int
) -> None:
    chance = random.Random(seed)
    for step in range(12):
        today = step // 2
        for _ in range(chance.randint(0, 3)):
            what = chance.choice(["new", "replaced", "late", "deleted", "moved"])
            numbers = [chance.randrange(60) for _ in range(5)]
            if what == "new":
                store(today, *range(100 * step, 100 * step + 8))
            elif what == "replaced":
                store(today, *numbers)
            elif what == "late":
                store(chance.randint(0, today), *numbers)
            elif what == "deleted":
                collection.delete_many({"_id": {"$in": [f"images/{number}.jpg" for number in numbers]}})
            else:
                # A rerun of an earlier day takes pictures from one day and gives it others.
                store(chance.randint(0, today), numbers[0])
                store(today, numbers[1])
        day = chance.choice([today, today, chance.randint(0, today)])
        if chance.random() < 0.1:
            kept.forget()
        check(total(kept, collection, day), collection, day)


def test_only_the_new_day_is_counted(
    kept: Kept, store: Callable[..., None], collection: Collection[dict[str, Any]], asked: list[dict[str, Any]]
) -> None:
    for day in range(4):
        store(day, *range(10 * day, 10 * day + 10))
        total(kept, collection, day)
    asked.clear()
    store(4, *range(40, 50))
    check(total(kept, collection, 4), collection, 4)
    assert asked == [{"logical_date": FIRST + timedelta(days=4)}]


def test_only_the_days_that_changed_are_counted_again(
    kept: Kept, store: Callable[..., None], collection: Collection[dict[str, Any]], asked: list[dict[str, Any]]
) -> None:
    for day in range(4):
        store(day, *range(10 * day, 10 * day + 10))
        total(kept, collection, day)
    asked.clear()
    store(4, 11, 12)
    check(total(kept, collection, 4), collection, 4)
    assert sorted(query["logical_date"] for query in asked) == [FIRST + timedelta(days=day) for day in (1, 4)]


def test_a_past_day_has_what_there_was_up_to_it(
    kept: Kept, store: Callable[..., None], collection: Collection[dict[str, Any]]
) -> None:
    for day in range(4):
        store(day, *range(10 * day, 10 * day + 10))
    total(kept, collection, 3)
    check(total(kept, collection, 1), collection, 1)
    assert sum(day.images for day in days_until(collection, FIRST + timedelta(days=1))) == 20


def test_images_without_a_day_count_for_all(kept: Kept, collection: Collection[dict[str, Any]]) -> None:
    image = document(random.Random(1), 1)
    collection.insert_many([image | {"_id": "a", "logical_date": None}, {"_id": "b", "Labels": image["Labels"]}])
    assert days_until(collection, DAY) == [counts.Day("", "", 2)]
    check(total(kept, collection), collection)


def test_a_full_recount_finds_what_no_mark_tells(
    kept: Kept, store: Callable[..., None], collection: Collection[dict[str, Any]], s3: Any, bucket: str
) -> None:
    for day in range(3):
        store(day, *range(10 * day, 10 * day + 10))
        total(kept, collection, day)
    # Somebody changes documents behind the pipeline's back, and as many as before.
    collection.update_many({"_id": {"$in": ["images/1.jpg", "images/15.jpg"]}}, {"$set": {"Labels": []}})
    kept.forget()
    assert not list(jsonlines.keys(s3, bucket, "counts/"))
    check(total(kept, collection, 2), collection, 2)


def test_other_thresholds_or_names_are_another_count(
    kept: Kept, store: Callable[..., None], collection: Collection[dict[str, Any]]
) -> None:
    store(0, 1, 2, 3)
    day = days_until(collection, FIRST)[0]
    other = Kept(
        partial(frequencies.count_labels, collection, thresholds=[80.0]), [80.0], kept.s3, kept.bucket, kept.folder
    )
    assert 90.0 in kept.of_day(day)["floor"].to_pylist()
    assert 90.0 not in other.of_day(day)["floor"].to_pylist()


def test_days_are_told_apart_by_their_logical_date(
    store: Callable[..., None], collection: Collection[dict[str, Any]]
) -> None:
    store(0, 1, 2)
    store(2, 3)
    days = days_until(collection, DAY)
    assert [(day.key, day.images) for day in days] == [
        (day_key(FIRST), 2),
        (day_key(FIRST + timedelta(days=2)), 1),
    ]
    assert all(collection.count_documents(day.filter) == day.images for day in days)
