"""Plans as MongoDB and as DocumentDB write them down."""

from __future__ import annotations

from typing import Any

import pytest

from image_labels.plans import Plan, explain

PLANS: dict[str, tuple[dict[str, Any], Plan]] = {
    "DocumentDB, scanned": ({"stage": "COLLSCAN"}, Plan(("COLLSCAN",), ())),
    "DocumentDB, indexed": (
        {"stage": "FETCH", "inputStage": {"stage": "IXSCAN", "indexName": "idx_labels"}},
        Plan(("FETCH", "IXSCAN"), ("idx_labels",)),
    ),
    "DocumentDB, two indexes": (
        {
            "stage": "FETCH",
            "inputStages": [
                {"stage": "IXSCAN", "indexName": "idx_labels"},
                {"stage": "IXSCAN", "indexName": "idx_day"},
                {"stage": "IXSCAN", "indexName": "idx_labels"},
            ],
        },
        Plan(("FETCH", "IXSCAN", "IXSCAN", "IXSCAN"), ("idx_labels", "idx_day")),
    ),
    "MongoDB, classic engine": (
        {
            "stage": "FETCH",
            "filter": {},
            "inputStage": {"stage": "IXSCAN", "indexName": "idx_labels", "keyPattern": {}},
        },
        Plan(("FETCH", "IXSCAN"), ("idx_labels",)),
    ),
    "MongoDB, slot-based engine": (
        {
            "queryPlan": {"stage": "FETCH", "inputStage": {"stage": "IXSCAN", "indexName": "idx_labels"}},
            "slotBasedPlan": {"stages": "…"},
        },
        Plan(("FETCH", "IXSCAN"), ("idx_labels",)),
    ),
}


class Collection:
    """Answers ``explain`` with a plan, and with what it took if it is to be run."""

    name = "images"

    def __init__(self, plan: dict[str, Any], stats: dict[str, Any] | None = None) -> None:
        self._plan = plan
        self._stats = stats

    @property
    def database(self) -> Collection:
        return self

    def command(self, name: str, explained: dict[str, Any], **options: Any) -> dict[str, Any]:
        verbosity = "executionStats" if self._stats else "queryPlanner"
        assert (name, explained["find"], options) == ("explain", "images", {"verbosity": verbosity})
        answer = {"queryPlanner": {"plannerVersion": 1, "winningPlan": self._plan}, "ok": 1.0}
        return answer | ({"executionStats": self._stats} if self._stats else {})


@pytest.mark.parametrize(("answer", "plan"), PLANS.values(), ids=PLANS)
def test_a_plan_is_understood(answer: dict[str, Any], plan: Plan) -> None:
    assert explain(Collection(answer), {"a": 1}) == plan  # type: ignore[arg-type]


def test_a_plan_is_shown_from_the_outside_in() -> None:
    assert str(PLANS["DocumentDB, indexed"][1]) == "FETCH <- IXSCAN (idx_labels)"
    assert str(PLANS["DocumentDB, scanned"][1]) == "COLLSCAN"


def test_mongodb_tells_what_was_examined() -> None:
    stats = {"nReturned": 50, "totalKeysExamined": 51, "totalDocsExamined": 52, "executionTimeMillis": 3}
    plan = explain(Collection(PLANS["MongoDB, classic engine"][0], stats), {"a": 1}, run=True)  # type: ignore[arg-type]
    assert (plan.keys_examined, plan.documents_examined, plan.returned, plan.milliseconds) == (51, 52, 50, 3)


def test_documentdb_tells_as_texts_what_each_stage_returned() -> None:
    stats = {
        "executionSuccess": True,
        "executionTimeMillis": "4.186",
        "planningTimeMillis": "3.909",
        "executionStages": {
            "stage": "LIMIT_SKIP",
            "nReturned": "2",
            "executionTimeMillisEstimate": "0.199",
            "inputStage": {
                "stage": "FETCH",
                "nReturned": "2",
                "inputStage": {"stage": "IXSCAN", "nReturned": "34", "indexName": "idx_labels"},
            },
        },
    }
    plan = explain(Collection(PLANS["DocumentDB, indexed"][0], stats), {"a": 1}, run=True)  # type: ignore[arg-type]
    assert (plan.keys_examined, plan.documents_examined, plan.returned, plan.milliseconds) == (None, 34, 2, 4.186)
