"""Who asks about which content, and how far the budget goes, on a real database."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from image_labels import claims
from image_labels.claims import Budget, Claims

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo.database import Database


@pytest.fixture
def batch(database: Database[dict[str, Any]]) -> Callable[..., Claims]:
    """A batch that claims."""

    def make(number: int, run_id: str = "run", calls: float | None = None, scope: str = "settings") -> Claims:
        return Claims(database["claims"], run_id, number, Budget(max_images=calls), scope)

    return make


def test_the_first_batch_to_claim_a_content_asks_about_it(batch: Callable[..., Claims]) -> None:
    assert batch(0).take(["a", "b"]) == {"a": 0, "b": 0}
    assert batch(1).take(["b", "c"]) == {"b": 0, "c": 1}


def test_claiming_again_changes_nothing(batch: Callable[..., Claims]) -> None:
    batch(0, calls=2).take(["a", "b"])
    assert batch(0, calls=2).take(["a", "b", "c"]) == {"a": 0, "b": 0}


def test_what_is_beyond_the_budget_is_not_claimed(batch: Callable[..., Claims]) -> None:
    assert batch(0, calls=3).take(["a", "b"]) == {"a": 0, "b": 0}
    assert batch(1, calls=3).take(["c", "a", "d"]) == {"c": 1, "a": 0}
    assert batch(2, calls=3).take(["d"]) == {}


def test_what_a_try_that_died_had_claimed_is_given_back(batch: Callable[..., Claims]) -> None:
    batch(0, calls=3).take(["a", "b"])
    batch(1, calls=3).take(["c"])
    assert batch(0, calls=3).release()
    assert not batch(0, calls=3).release()
    assert batch(2, calls=3).take(["d", "c", "e", "f"]) == {"d": 2, "c": 1, "e": 2}


def test_a_claim_that_another_run_has_left_behind_holds_nobody_up(batch: Callable[..., Claims]) -> None:
    batch(0, "yesterday").take(["a"])
    assert batch(3, "today").take(["a"]) == {"a": 3}


def test_claims_of_a_dry_run_bind_nobody(batch: Callable[..., Claims], database: Database[dict[str, Any]]) -> None:
    batch(0, "dry", scope="dry").take(["a"])
    assert batch(0, "real").take(["a"]) == {"a": 0}
    claims.drop(database["claims"], "dry", purse_too=True)
    assert [claim["run"] for claim in database["claims"].find()] == ["real"]


def test_a_closed_run_keeps_only_what_it_has_spent(
    batch: Callable[..., Claims], database: Database[dict[str, Any]]
) -> None:
    batch(0, calls=5).take(["a", "b"])
    claims.drop(database["claims"], "run")
    assert [claim["spent"] for claim in database["claims"].find()] == [2]
    assert batch(0, calls=5).release() is False
    assert batch(1, calls=5).take("cdefgh") == dict.fromkeys("cdefg", 1)


@pytest.mark.parametrize("seed", range(5))
def test_batches_at_the_same_time_leave_each_content_to_one_of_them(batch: Callable[..., Claims], seed: int) -> None:
    draw = random.Random(seed)
    contents = [f"content-{number}" for number in range(200)]
    parts = [draw.sample(contents, 60) for _ in range(8)]
    owners: dict[str, set[int]] = {}
    for answer in _at_once(lambda number: batch(number, calls=100).take(parts[number])):
        for content, owner in answer.items():
            owners.setdefault(content, set()).add(owner)
    assert all(len(owner) == 1 for owner in owners.values())
    assert all(content in parts[owner] for content, (owner,) in owners.items())
    assert 0 < len(owners) <= 100


def test_batches_at_the_same_time_use_the_whole_budget_and_no_more(batch: Callable[..., Claims]) -> None:
    taken = _at_once(lambda number: batch(number, calls=100).take([f"{number}-{i}" for i in range(30)]))
    assert sum(map(len, taken)) == 100


def _at_once(take: Callable[[int], dict[str, int]]) -> list[dict[str, int]]:
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(take, range(8)))
