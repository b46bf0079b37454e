"""A worker may die at any moment: what it did counts, and little of what was paid for is lost.

The moments are messages to or from a server: what is between two of them leaves no trace anywhere. Every task gets its
share of them.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from chaos import SEED, Death, Worker, contents, outcome, wipe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pymongo.database import Database

    from conftest import StandIn
    from pipeline import Pipeline

DAY = "2026-03-01"
IN_FLIGHT, CHECKPOINT = 4, 5
"""Calls and answers: as small beside a batch as they are in a large run."""

SETTINGS = {"batch_size": 80, "quota": 1000, "CALLS_IN_FLIGHT": IN_FLIGHT, "CHECKPOINT_ANSWERS": CHECKPOINT}
CONTENTS = 206


@pytest.fixture
def landed(land: Callable[..., Path], land_many: Callable[..., None], landing: Path, stand_in: StandIn) -> None:
    """265 files: pictures, some of them twice, some that need a rendition, and some that are no pictures."""
    from PIL import Image

    land_many(CONTENTS - 6)
    for number in range(0, 200, 4):
        copy = landing / f"copies/{number:06d}.png"
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes((landing / f"picture-{number:06d}.png").read_bytes())
    for number in range(5):
        Image.new("RGB", (80, 80), (number, 0, 255)).save(landing / f"web-{number}.webp", lossless=True)
    land("photo.jpg")
    for number in range(9):
        land(f"text-{number}.jpg").write_text(f"no photo {number}")
    stand_in.set(latency=0.02)


@dataclass(frozen=True)
class Undisturbed:
    """What a run leaves behind that nothing happens to, and how many messages each of its tasks takes."""

    outcome: dict[str, Any]
    contents: dict[str, Any]
    messages: Counter[str]


@pytest.fixture(scope="module")
def remembered() -> list[Undisturbed]:
    return []


@pytest.fixture
def undisturbed(
    pipeline: Pipeline,
    landed: None,
    database: Database[dict[str, Any]],
    s3: Any,
    stand_in: StandIn,
    remembered: list[Undisturbed],
) -> Undisturbed:
    if not remembered:
        worker = Worker.start(pipeline, "run-1", DAY, **SETTINGS)
        assert worker.wait() is None
        assert stand_in.answers == CONTENTS
        messages = Counter(worker.messages)
        remembered.append(Undisturbed(outcome(pipeline, database, s3, "run-1", DAY), contents(database), messages))
        wipe(pipeline, database, s3)
    return remembered[0]


class Killer:
    """Chooses the moments at which workers die.

    :param messages: that each task exchanges with servers when nothing happens to it
    """

    def __init__(self, messages: Counter[str], seed: int) -> None:
        self._tasks = list(messages)
        self._messages = Counter(messages)
        self._draw = random.Random(seed)

    def choose(self, kills: dict[str, int]) -> list[str]:
        """Choose tasks in the order of the run.

        :param kills: how many by the task's name; which of its batches is drawn
        """
        names = [name for name, count in kills.items() for _ in range(count)]
        chosen = [self._draw.choice([task for task in self._tasks if task.startswith(name)]) for name in names]
        return sorted(chosen, key=self._tasks.index)

    def kill(self, task: str, pipeline: Pipeline, run_id: str, day: str) -> str | None:
        """Let a worker go on with a run until it dies in a task, or in one after it.

        :returns: the task in which it died; None if the run has ended before
        """
        messages = max(1, self._messages[task])
        # There is little to lose at the begin of a batch.
        moment = self._draw.randint(-(-messages // 2) if task.startswith("batch.analyse") else 1, messages)
        # A task that has succeeded does not come again: the first one after it takes its place.
        tasks = frozenset(self._tasks[self._tasks.index(task) :])
        worker = Worker.start(pipeline, run_id, day, death=Death(tasks, moment), **SETTINGS)
        died_in = worker.wait()
        # The other tasks begin from the start again.
        self._messages -= Counter(message for message in worker.messages if message.startswith("batch.analyse"))
        return died_in


def most_paid(died_in: list[str | None]) -> int:
    """Return how many calls may have been paid for by runs whose workers died in some tasks."""
    kills = sum(str(task).startswith("batch.analyse") for task in died_in)
    return CONTENTS + kills * (IN_FLIGHT + CHECKPOINT)


@pytest.mark.parametrize("seed", [SEED])
def test_a_run_whose_worker_is_killed_twenty_times_ends_as_if_nothing_had_happened(
    pipeline: Pipeline,
    undisturbed: Undisturbed,
    database: Database[dict[str, Any]],
    s3: Any,
    stand_in: StandIn,
    seed: int,
) -> None:
    before = stand_in.answers
    killer = Killer(undisturbed.messages, seed)
    kills = {
        "sense": 1,
        "batch.upload": 4,
        "batch.analyse": 8,
        "batch.ingest": 3,
        "index": 1,
        "report": 1,
        "account": 2,
    }

    died_in = [killer.kill(task, pipeline, "run-1", DAY) for task in killer.choose(kills)]
    assert Worker.start(pipeline, "run-1", DAY, **SETTINGS).wait() is None

    assert None not in died_in
    assert len({str(task).partition("[")[0] for task in died_in}) >= 5
    assert outcome(pipeline, database, s3, "run-1", DAY) == undisturbed.outcome
    assert stand_in.answers - before <= most_paid(died_in)


@pytest.mark.parametrize("seed", [SEED])
def test_what_a_killed_run_was_answered_is_not_asked_again_by_the_runs_of_the_next_days(
    pipeline: Pipeline,
    undisturbed: Undisturbed,
    database: Database[dict[str, Any]],
    s3: Any,
    stand_in: StandIn,
    seed: int,
) -> None:
    before = stand_in.answers
    killer = Killer(undisturbed.messages, seed)
    tasks = killer.choose({"batch.upload": 1, "batch.analyse": 3, "batch.ingest": 1})

    # None of the runs is ever gone on with.
    died_in = [
        killer.kill(task, pipeline, f"run-{number}", f"2026-03-{number:02d}")
        for number, task in enumerate(tasks, start=1)
    ]
    assert Worker.start(pipeline, "run-8", "2026-03-08", **SETTINGS).wait() is None

    assert contents(database) == undisturbed.contents
    assert stand_in.answers - before <= most_paid(died_in)
    # A run that was killed when its books were closed has nothing to recover.
    assert {run["state"] for run in database["runs"].find()} <= {"recovered", "balanced"}

    answers = stand_in.answers
    assert Worker.start(pipeline, "run-9", "2026-03-09", **SETTINGS).wait() is None
    books = database["runs"].find_one({"_id": "run-9"})["books"]
    assert books["sense"] == {"seen": 265, "known": 265, "unsettled": 0, "new": 0, "carried": 0, "batches": 0}
    assert stand_in.answers == answers


def test_two_runs_at_once_lose_nothing(
    pipeline: Pipeline, undisturbed: Undisturbed, database: Database[dict[str, Any]], s3: Any, stand_in: StandIn
) -> None:
    """The DAG has ``max_active_runs=1``; this is for those who raise it.

    The collection is right then, too, and each run's books balance. What is not guaranteed is who pays: two runs that
    ask about the same content within a moment of each other both do, so up to twice the number of contents. Nor is
    kept what a run that dies was answered after another one had recovered it.
    """
    messages = undisturbed.messages
    for moment in (1, messages["batch.upload[0]"] + messages["batch.analyse[0]"] // 2):
        wipe(pipeline, database, s3)
        before = stand_in.answers
        first = Worker.start(pipeline, "run-1", DAY, **SETTINGS)
        while first.process.is_alive() and len(first.messages) < moment:
            time.sleep(0.01)
        second = Worker.start(pipeline, "run-2", "2026-03-02", **SETTINGS)
        assert first.wait() is second.wait() is None

        assert contents(database) == undisturbed.contents
        assert {run["state"] for run in database["runs"].find()} == {"balanced"}
        assert stand_in.answers - before <= 2 * CONTENTS

        answers = stand_in.answers
        assert Worker.start(pipeline, "run-3", "2026-03-03", **SETTINGS).wait() is None
        assert contents(database) == undisturbed.contents
        assert stand_in.answers == answers
