"""How the database runs a query, as MongoDB and as DocumentDB tell it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pymongo.collection import Collection


@dataclass(frozen=True)
class Plan:
    """How the database means to run a query, and what it took if it was run.

    :param stages: of the winning plan, the outermost first
    :param indexes: that it reads
    :param keys_examined: entries of indexes that were read; DocumentDB does not tell
    :param documents_examined: documents that were read; DocumentDB tells how many its scan handed on
    :param returned: documents that were found
    :param milliseconds: that it took
    """

    stages: tuple[str, ...]
    indexes: tuple[str, ...]
    keys_examined: int | None = None
    documents_examined: int | None = None
    returned: int | None = None
    milliseconds: float | None = None

    def __str__(self) -> str:
        return " <- ".join(self.stages) + (f" ({', '.join(self.indexes)})" if self.indexes else "")


def explain(
    collection: Collection[dict[str, Any]],
    filter: Mapping[str, Any],
    sort: Sequence[tuple[str, int]] = (),
    limit: int = 0,
    *,
    run: bool = False,
) -> Plan:
    """Return how the database means to run a query.

    :param limit: documents at most; 0 is all
    :param run: whether it is run, so that what it takes is known
    """
    find: dict[str, Any] = {"find": collection.name, "filter": dict(filter)}
    if sort:
        find["sort"] = dict(sort)
    if limit:
        find["limit"] = limit
    answer = collection.database.command("explain", find, verbosity="executionStats" if run else "queryPlanner")
    plan = answer["queryPlanner"]["winningPlan"]
    stages = list(_stages(plan.get("queryPlan", plan)))
    return Plan(
        tuple(stage["stage"] for stage in stages),
        tuple(dict.fromkeys(stage["indexName"] for stage in stages if "indexName" in stage)),
        *(_execution(answer["executionStats"]) if run else ()),
    )


def _execution(stats: Mapping[str, Any]) -> tuple[int | None, int, int, float]:
    if "totalDocsExamined" in stats:
        return stats["totalKeysExamined"], stats["totalDocsExamined"], stats["nReturned"], stats["executionTimeMillis"]
    # DocumentDB has numbers for its stages only, and as texts.
    stages = list(_stages(stats["executionStages"]))
    handed_on = sum(int(stage["nReturned"]) for stage in stages if stage["stage"].endswith("SCAN"))
    return None, handed_on, int(stages[0]["nReturned"]), float(stats["executionTimeMillis"])


def _stages(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for inner in [plan["inputStage"]] if "inputStage" in plan else plan.get("inputStages", []):
        yield from _stages(inner)
