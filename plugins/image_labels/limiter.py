"""One rate for all that call Rekognition at the same time, on however many workers.

The quota is transactions per second for an account and region, so the batches of a run have to share it. They do by
one document in the database: ``free_at`` is the time from which calls are still free, and who wants to make calls moves
it forward by their length (``$inc`` is atomic). Nobody waits for anybody; a worker that dies leaves a gap of
at most :data:`CHUNK_SECONDS`, and one that ends leaves none.

The kept rate limiters with a MongoDB back end use updates by pipeline, which DocumentDB 5.0 does not have.

.. seealso:: https://docs.aws.amazon.com/rekognition/latest/dg/limits.html
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo.collection import Collection
    from pymongo.database import Database

CHUNK_SECONDS = 0.2
"""Calls are reserved for this time at once."""

CHUNK_CALLS = 15
"""At most, for they are one worker's, which makes no more than some hundred calls a second."""

SOON_DONE = 50
"""Who has no more calls left reserves whole chunks, others less, so those that are nearly done go first: batches that
all had the same share would end, and the next ones begin, at the same time."""

LEAST_SHARE = 0.33
"""Of a chunk, however many calls are left."""

IDLE_SECONDS = 5.0
"""After so long without a call the rate begins low again: the service refuses sudden jumps."""

RAMP_SECONDS = 1.0
"""From half of the quota to the whole of it."""

RECOVERY_SECONDS = 5.0
"""From the rate after a throttled call to the quota."""

TOLERATED = 0.02
"""Share of throttled calls that says nothing about the quota: some calls always come a little too close together."""

HEADROOM = 0.995
"""Share of the quota that is aimed at: calls do not arrive as evenly as they leave."""


def clock_of(database: Database[dict[str, Any]]) -> Callable[[], float]:
    """Return the database's clock: by their own ones, workers that differ would wait for each other's future.

    :returns: tells the seconds since the epoch, to some milliseconds
    """
    asked = time.monotonic()
    told: datetime = database.client.admin.command("hello")["localTime"]
    ahead = told.replace(tzinfo=UTC).timestamp() - (asked + time.monotonic()) / 2
    return lambda: ahead + time.monotonic()


class SharedRate:
    """A rate of calls, shared through a document.

    :param collection: of the database that all workers see
    :param name: who shares; one for each account and region
    :param quota: calls a second
    :raises ValueError: if the quota is not positive
    """

    def __init__(
        self,
        collection: Collection[dict[str, Any]],
        name: str,
        quota: float,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        from pymongo.errors import DuplicateKeyError

        if quota <= 0:
            raise ValueError(f"The quota is {quota} calls a second; it has to be more than 0")
        self._collection = collection
        self._key = {"_id": name}
        self._quota = quota * HEADROOM
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._slots: list[float] = []
        self._last = 0.0
        self._calls = self._throttles = 0
        self._counted_since = clock()
        with suppress(DuplicateKeyError):
            collection.insert_one({**self._key, "free_at": 0.0, "slowed_at": 0.0, "slowed_to": 0.0, "recovers_in": 1.0})

    def wait(self, left: int = SOON_DONE) -> None:
        """Return when the next call may be made.

        :param left: calls that are still to be made, this one included; the fewer, the larger a share of the rate, and
            no more than that are reserved
        """
        with self._lock:
            now = self._clock()
            if not self._slots or self._slots[-1] < now - CHUNK_SECONDS:
                # What was reserved too long ago is let go: used now, it would come on top of what others do.
                self._slots = self._reserve(left)
            self._calls += 1
            # Who comes late makes up for it at twice the rate, never with a burst.
            self._last = slot = max(self._slots.pop(), now, self._last + 0.5 / self._quota)
        if (delay := slot - self._clock()) > 0:
            self._sleep(delay)

    def throttled(self) -> None:
        """Slow all down by the share of calls that was throttled, at most once a second."""
        from pymongo import ReturnDocument

        now = self._clock()
        with self._lock:
            self._throttles += 1
            if now < self._counted_since + 1.0:
                return
            share = self._throttles / max(self._calls, self._throttles)
            self._calls, self._throttles, self._counted_since = 0, 0, now
        if share <= TOLERATED:
            return
        state = self._update({"$max": {"free_at": 0.0}}, ReturnDocument.AFTER)
        slow = max(self._rate(state, now) * (1 - share), self._quota / 10)
        self._collection.update_one(
            {**self._key, "slowed_at": {"$lt": now - 1.0}},
            {"$set": {"slowed_at": now, "slowed_to": slow, "recovers_in": RECOVERY_SECONDS}},
        )

    def _reserve(self, left: int) -> list[float]:
        """Return the times of the next few calls, the last one first."""
        from pymongo import ReturnDocument

        now = self._clock()
        catch_up = {"$max": {"free_at": now}}
        at_work = {**self._key, "free_at": {"$gte": now - IDLE_SECONDS}}
        state = self._collection.find_one_and_update(at_work, catch_up, return_document=ReturnDocument.AFTER)
        if state is None:
            self._collection.update_one(
                {**self._key, "free_at": {"$lt": now - IDLE_SECONDS}},
                {"$set": {"free_at": now, "slowed_at": now, "slowed_to": self._quota / 2, "recovers_in": RAMP_SECONDS}},
            )
            state = self._update(catch_up, ReturnDocument.AFTER)
        rate = self._rate(state, state["free_at"])
        share = max(LEAST_SHARE, min(1.0, SOON_DONE / left))
        calls = int(max(1, min(round(share * min(rate * CHUNK_SECONDS, CHUNK_CALLS)), left)))
        free_at = self._update({"$inc": {"free_at": calls / rate}}, ReturnDocument.BEFORE)["free_at"]
        return [free_at + i / rate for i in reversed(range(calls))]

    def _update(self, change: dict[str, Any], which: bool) -> dict[str, Any]:
        state = self._collection.find_one_and_update(self._key, change, return_document=which)
        if state is None:
            raise RuntimeError(f"{self._key['_id']!r} has vanished from {self._collection.full_name}; clear this task")
        return state

    def _rate(self, state: dict[str, Any], at: float) -> float:
        """Return the rate that holds at a time: the quota, or less while it recovers."""
        recovered: float = min(1.0, max(0.0, (at - state["slowed_at"]) / state["recovers_in"]))
        slow = min(float(state["slowed_to"]), self._quota)
        return slow + (self._quota - slow) * recovered
