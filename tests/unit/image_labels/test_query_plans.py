"""Plans as MongoDB and as DocumentDB write them down."""

from __future__ import annotations

from typing import Any

import pytest

from image_labels.indexes import Plan, explain

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
    """Answers ``explain`` with a plan."""

    name = "images"

    def __init__(self, plan: dict[str, Any]) -> None:
        self._plan = plan

    @property
    def database(self) -> Collection:
        return self

    def command(self, name: str, explained: dict[str, Any], **options: Any) -> dict[str, Any]:
        assert (name, explained["find"], options) == ("explain", "images", {"verbosity": "queryPlanner"})
        return {"queryPlanner": {"plannerVersion": 1, "winningPlan": self._plan}, "ok": 1.0}


@pytest.mark.parametrize(("answer", "plan"), PLANS.values(), ids=PLANS)
def test_a_plan_is_understood(answer: dict[str, Any], plan: Plan) -> None:
    assert explain(Collection(answer), {"a": 1}) == plan  # type: ignore[arg-type]


def test_a_plan_is_shown_from_the_outside_in() -> None:
    assert str(PLANS["DocumentDB, indexed"][1]) == "FETCH <- IXSCAN (idx_labels)"
    assert str(PLANS["DocumentDB, scanned"][1]) == "COLLSCAN"
