"""The indexes of the collection, and the proof that the queries use them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from image_labels import documents, plans, queries

if TYPE_CHECKING:
    from pymongo.collection import Collection

Keys = list[tuple[str, int | str]]

CONTENT_INDEX: tuple[str, Keys] = ("idx_content", [("sha256", 1)])
"""Made before the first image is looked up by its content, so before all others."""

INDEXES: tuple[tuple[str, Keys], ...] = (
    # The article's, for its own queries.
    ("idx_labels", [("Labels.Name", 1), ("Labels.Confidence", 1)]),
    ("idx_tokens", [("tokens", 1), ("_id", 1)]),
    ("idx_taken", [("taken_at", 1), ("_id", 1)]),
    ("idx_day", [("logical_date", 1), ("_id", 1)]),
    ("idx_file", [("img", 1), ("_id", 1)]),
    ("idx_place", [("location", "2dsphere")]),
    CONTENT_INDEX,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Proof:
    """A query that the project relies on.

    :param index: that it has to use
    :param filter: as it is sent
    :param sort: its order
    """

    index: str
    filter: dict[str, Any]
    sort: tuple[tuple[str, int], ...] = ()

    def plan(self, collection: Collection[dict[str, Any]]) -> plans.Plan:
        """Return how the database means to run it."""
        return plans.explain(collection, self.filter, self.sort, limit=50)


def _page(index: str, text: str, sort: str = "key") -> Proof:
    """Return the proof of the first page of a query."""
    return Proof(index, queries.to_filter(queries.parse(text)), tuple(queries.order(sort)))


def labelled(label: str, confidence: float) -> dict[str, Any]:
    """Return the article's filter for images with a label at a confidence.

    ``$elemMatch`` alone says it all; the two predicates before it are what DocumentDB 5.0's planner needs to use the
    index.
    """
    return {
        "$and": [
            {"Labels.Name": label},
            {"Labels.Confidence": {"$gte": confidence}},
            {"Labels": {"$elemMatch": {"Name": label, "Confidence": {"$gte": confidence}}}},
        ]
    }


PROOFS: tuple[Proof, ...] = (
    Proof("idx_labels", labelled("Person", 90.0)),
    Proof("idx_labels", {"$and": [labelled("Book", 90.0), labelled("Person", 90.0)]}),
    _page("idx_tokens", "Person"),
    _page("idx_tokens", "Person>=90"),
    _page("idx_tokens", "Book>=90 Person>=90"),
    _page("idx_tokens", "Person>=90:4.."),
    _page("idx_tokens", "Person>=90:2..3"),
    _page("idx_tokens", "Person>=83"),
    _page("idx_tokens", "Cat|Dog"),
    _page("idx_tokens", "parent:Animal"),
    _page("idx_tokens", "photographer:nobody"),
    _page("idx_file", "file:IMG_0001.jpg"),
    _page("idx_taken", "", "-taken_at"),
    _page("idx_taken", "taken:2021", "taken_at"),
    _page("idx_day", "", "-day"),
    _page("idx_day", "day:2026-03-01", "day"),
    _page("idx_place", "near:103.85,1.29,5"),
    _page("idx_place", "box:103.6,1.2,104.1,1.5"),
    Proof("idx_content", {"sha256": {"$in": ["0" * 64]}}),
)


class IndexNotUsed(Exception):
    """The database plans to scan the collection where an index was made for it."""


def ensure(collection: Collection[dict[str, Any]], indexes: tuple[tuple[str, Keys], ...] = INDEXES) -> list[str]:
    """Make the indexes that are not there, one after the other: DocumentDB builds one at a time for a collection.

    :returns: the names of those that were made
    """
    there = _there(collection)
    for name, keys in indexes:
        # One that is listed may still be in the making by another run; that this waits for.
        if there.get(name, keys) == keys:
            collection.create_index(keys, name=name)
    return [name for name, _ in indexes if name not in there]


def ensure_before_loading(collection: Collection[dict[str, Any]]) -> None:
    """Make what the steps before the task ``index`` need; all indexes where there is no document yet.

    An index on nothing is made at once, while one on what a large first run has stored takes its time.

    .. seealso:: https://docs.aws.amazon.com/documentdb/latest/developerguide/best_practices.html
    """
    is_empty = collection.find_one({}, {"_id": 1}) is None
    ensure(collection, INDEXES if is_empty else (CONTENT_INDEX,))


def _there(collection: Collection[dict[str, Any]]) -> dict[str, Keys]:
    """Return the keys of the indexes by name."""
    if collection.name not in collection.database.list_collection_names():
        return {}
    return {name: list(index["key"]) for name, index in collection.index_information().items()}


def ensure_and_prove(collection: Collection[dict[str, Any]]) -> list[str]:
    """Make the indexes and prove by ``explain`` that the queries use them; the plans go to the log.

    Documents that were stored before there were tokens get theirs, before there is an index on them.

    :returns: the names of those that were made
    :raises IndexNotUsed: if a query would scan the collection
    """
    there = _there(collection)
    if any(name not in there for name, _ in INDEXES):
        for proof in PROOFS:
            plan = _plan_or_none(collection, proof)
            log.info("%s\n    before: %s", proof.filter, plan or "refused without an index")
    if "idx_tokens" not in there and (added := documents.add_helpers(collection)):
        log.info("%s documents that were stored by an earlier version got their tokens", added)
    made = ensure(collection)
    log.info("Indexes made: %s", ", ".join(made) or "none, all were there")
    for proof in PROOFS:
        now = proof.plan(collection)
        log.info("%s\n    now: %s", proof.filter, now)
        if proof.index not in now.indexes or "COLLSCAN" in now.stages:
            raise IndexNotUsed(
                f"{proof.filter} should use {proof.index} of {collection.full_name}, but the database plans {now}. "
                f"Look at the index with listIndexes; drop it and clear this task if its keys are others"
            )
    return made


def _plan_or_none(collection: Collection[dict[str, Any]], proof: Proof) -> plans.Plan | None:
    from pymongo.errors import OperationFailure

    try:
        return proof.plan(collection)
    except OperationFailure:
        # A search by distance runs with its index or not at all.
        return None
