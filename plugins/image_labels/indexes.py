"""The indexes of the collection, and the proof that the queries use them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pymongo.collection import Collection

Keys = list[tuple[str, int]]

CONTENT_INDEX: tuple[str, Keys] = ("idx_content", [("sha256", 1)])
"""Made before the first image is looked up by its content, so before all others."""

INDEXES: tuple[tuple[str, Keys], ...] = (
    ("idx_labels", [("Labels.Name", 1), ("Labels.Confidence", 1)]),
    ("idx_day", [("logical_date", 1)]),
    CONTENT_INDEX,
)

log = logging.getLogger(__name__)


def labelled(label: str, confidence: float) -> dict[str, Any]:
    """Return the filter for images with a label at a confidence.

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


PROOFS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("idx_labels", labelled("Person", 90.0)),
    ("idx_labels", {"$and": [labelled("Book", 90.0), labelled("Person", 90.0)]}),
    ("idx_content", {"sha256": {"$in": ["0" * 64]}}),
)
"""Queries that the project relies on, each with the index that it has to use."""


class IndexNotUsed(Exception):
    """The database plans to scan the collection where an index was made for it."""


@dataclass(frozen=True)
class Plan:
    """How the database means to run a query.

    :param stages: of the winning plan, the outermost first
    :param indexes: that it reads
    """

    stages: tuple[str, ...]
    indexes: tuple[str, ...]

    def __str__(self) -> str:
        return " <- ".join(self.stages) + (f" ({', '.join(self.indexes)})" if self.indexes else "")


def explain(collection: Collection[dict[str, Any]], query: Mapping[str, Any]) -> Plan:
    """Return how the database means to run a query; MongoDB and DocumentDB both put it into ``queryPlanner``."""
    answer = collection.database.command(
        "explain", {"find": collection.name, "filter": dict(query)}, verbosity="queryPlanner"
    )
    plan = answer["queryPlanner"]["winningPlan"]
    stages = list(_stages(plan.get("queryPlan", plan)))
    return Plan(
        tuple(stage["stage"] for stage in stages),
        tuple(dict.fromkeys(stage["indexName"] for stage in stages if "indexName" in stage)),
    )


def _stages(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for inner in [plan["inputStage"]] if "inputStage" in plan else plan.get("inputStages", []):
        yield from _stages(inner)


def ensure(collection: Collection[dict[str, Any]], indexes: tuple[tuple[str, Keys], ...] = INDEXES) -> list[str]:
    """Make the indexes that are not there, one after the other: DocumentDB builds one at a time for a collection.

    :returns: the names of those that were made
    """
    there = collection.index_information() if collection.name in collection.database.list_collection_names() else {}
    missing = [(name, keys) for name, keys in indexes if name not in there]
    for name, keys in missing:
        collection.create_index(keys, name=name)
    return [name for name, _ in missing]


def ensure_and_prove(collection: Collection[dict[str, Any]]) -> list[str]:
    """Make the indexes and prove by ``explain`` that the queries use them; the plans go to the log.

    :returns: the names of those that were made
    :raises IndexNotUsed: if a query would scan the collection
    """
    before = [explain(collection, query) for _, query in PROOFS]
    made = ensure(collection)
    log.info("Indexes made: %s", ", ".join(made) or "none, all were there")
    for (index, query), earlier in zip(PROOFS, before, strict=True):
        now = explain(collection, query)
        log.info("%s\n    before: %s\n    now:    %s", query, earlier, now)
        if index not in now.indexes or "COLLSCAN" in now.stages:
            raise IndexNotUsed(
                f"{query} should use {index} of {collection.full_name}, but the database plans {now}. "
                f"Look at the index with listIndexes; drop it and clear this task if its keys are others"
            )
    return made
