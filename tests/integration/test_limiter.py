"""The rate that workers share, on simulated time: each worker is a thread, and time passes when all of them sleep."""

from __future__ import annotations

import heapq
import threading
import time
from bisect import bisect_left
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from image_labels.limiter import CHUNK_SECONDS, SharedRate, clock_of

if TYPE_CHECKING:
    from pymongo.collection import Collection
    from pymongo.database import Database

START = 1_800_000_000.0


class Simulation:
    """A clock that stands still while anybody works."""

    def __init__(self, collection: Collection[dict[str, Any]], quota: float) -> None:
        self.calls: list[float] = []
        self._collection = collection
        self._quota = quota
        self._now = START
        self._wakes: list[float] = []
        self._working = 0
        self._turn = threading.Condition()

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return self._now - START

    def rate(self, quota: float | None = None) -> SharedRate:
        """Return one worker's view of the rate."""
        return SharedRate(self._collection, "rekognition:test", quota or self._quota, lambda: self._now, self.sleep)

    def sleep(self, seconds: float) -> None:
        """Let a worker sleep."""
        with self._turn:
            wake = self._now + seconds
            heapq.heappush(self._wakes, wake)
            self._rest()
            self._turn.wait_for(lambda: self._now >= wake, timeout=60)

    def _rest(self) -> None:
        self._working -= 1
        if self._working == 0 and self._wakes:
            self._now = self._wakes[0]
            while self._wakes and self._wakes[0] <= self._now:
                heapq.heappop(self._wakes)
                self._working += 1
            self._turn.notify_all()

    def run(self, *workers: Callable[[], None]) -> None:
        """Return when all workers are done."""
        errors: list[BaseException] = []

        def work(worker: Callable[[], None]) -> None:
            try:
                worker()
            except BaseException as error:  # noqa: BLE001 - raised below
                errors.append(error)
            finally:
                with self._turn:
                    self._rest()

        self._working = len(workers)
        threads = [threading.Thread(target=work, args=(worker,)) for worker in workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]

    def caller(
        self,
        until: float,
        rate: SharedRate | None = None,
        begin: float = 0.0,
        throttles: Callable[[float, int], bool] = lambda now, call: False,
    ) -> Callable[[], None]:
        """Return a worker that calls as often as it may.

        :param throttles: whether the service throttles a call, by its time and number
        """
        rate = rate or self.rate()

        def call() -> None:
            if begin:
                self.sleep(begin)
            while self.now < until:
                rate.wait()
                self.calls.append(self.now)
                if throttles(self.now, len(self.calls)):
                    rate.throttled()

        return call

    def count(self, begin: float, end: float) -> int:
        """Return how many calls were made in a span of time."""
        calls = sorted(self.calls)
        return bisect_left(calls, end) - bisect_left(calls, begin)

    def most_within(self, seconds: float) -> int:
        """Return the largest number of calls in any span of that length."""
        calls = sorted(self.calls)
        return max(bisect_left(calls, call + seconds) - number for number, call in enumerate(calls))


@pytest.fixture
def limits(database: Database[dict[str, Any]]) -> Collection[dict[str, Any]]:
    return database["limits"]


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("quota", [5, 50, 300])
def test_the_quota_is_used_and_kept_however_many_share_it(
    limits: Collection[dict[str, Any]], quota: float, workers: int
) -> None:
    simulation = Simulation(limits, quota)
    simulation.run(*(simulation.caller(until=12.0) for _ in range(workers)))
    assert 0.98 * quota * 10 <= simulation.count(2.0, 12.0) <= quota * 10
    assert simulation.most_within(1.0) <= quota


def test_those_that_come_later_take_their_share_and_add_nothing(limits: Collection[dict[str, Any]]) -> None:
    simulation = Simulation(limits, 50)
    simulation.run(simulation.caller(12.0), simulation.caller(12.0, begin=4.3), simulation.caller(12.0, begin=6.1))
    assert 0.98 * 500 <= simulation.count(2.0, 12.0) <= 500
    assert simulation.most_within(1.0) <= 50


def test_those_that_leave_leave_no_more_than_a_short_gap(limits: Collection[dict[str, Any]]) -> None:
    simulation = Simulation(limits, 50)
    simulation.run(simulation.caller(12.0), simulation.caller(5.1), simulation.caller(8.1))
    assert 500 - 2 * 50 * CHUNK_SECONDS - 5 <= simulation.count(2.0, 12.0) <= 500


def test_batches_that_say_how_many_calls_are_left_leave_no_gap(limits: Collection[dict[str, Any]]) -> None:
    """Of many small batches, one after the other, each in a task of its own."""
    simulation = Simulation(limits, 50)

    def worker() -> None:
        while simulation.now < 12.0:
            rate = simulation.rate()
            for left in range(13, 0, -1):
                rate.wait(left)
                simulation.calls.append(simulation.now)

    simulation.run(worker, worker)
    assert 0.98 * 500 <= simulation.count(2.0, 12.0) <= 500
    assert simulation.most_within(1.0) <= 50


def test_batches_that_began_together_end_one_after_the_other(limits: Collection[dict[str, Any]]) -> None:
    """Or the next ones would all begin at the same time, while nothing is asked."""
    simulation = Simulation(limits, 50)
    ends: list[float] = []

    def batch(begin: float) -> Callable[[], None]:
        rate = simulation.rate()

        def call() -> None:
            simulation.sleep(begin)
            for left in range(250, 0, -1):
                rate.wait(left)
                simulation.calls.append(simulation.now)
            ends.append(simulation.now)

        return call

    simulation.run(*(batch(float(number)) for number in range(4)))
    assert min(later - earlier for earlier, later in pairwise(sorted(ends))) >= 1.0
    assert 0.98 * 900 <= simulation.count(2.0, 20.0) <= 900


def test_the_rate_begins_low_and_rises_to_the_quota(limits: Collection[dict[str, Any]]) -> None:
    simulation = Simulation(limits, 100)
    simulation.run(simulation.caller(3.0), simulation.caller(3.0))
    fifths = [simulation.count(begin / 5, (begin + 1) / 5) for begin in range(10)]
    assert fifths[0] <= 0.65 * 20
    assert fifths[0] < fifths[2] < fifths[4]
    assert min(fifths[6:]) >= 0.9 * 20


def test_after_idleness_it_begins_low_again(limits: Collection[dict[str, Any]]) -> None:
    simulation = Simulation(limits, 100)
    simulation.run(simulation.caller(3.0))
    assert simulation.count(2.0, 3.0) >= 97
    simulation.run(simulation.caller(13.0, begin=8.0))
    begun = min(call for call in simulation.calls if call > 5.0)
    assert simulation.count(begun, begun + 0.2) <= 0.65 * 20
    assert simulation.count(begun + 1.5, begun + 1.5 + 0.4) >= 0.95 * 40


def test_a_short_pause_saves_nothing_up(limits: Collection[dict[str, Any]]) -> None:
    simulation = Simulation(limits, 50)
    rate = simulation.rate()
    simulation.run(simulation.caller(3.0, rate))
    simulation.run(simulation.caller(8.0, rate, begin=2.0))
    assert simulation.most_within(1.0) <= 50
    assert simulation.most_within(0.1) <= 6


def test_all_slow_down_by_the_share_that_was_throttled_and_recover(limits: Collection[dict[str, Any]]) -> None:
    simulation = Simulation(limits, 100)

    def throttles(now: float, call: int) -> bool:
        return 4.0 <= now < 6.0 and call % 10 < 3

    simulation.run(simulation.caller(16.0, throttles=throttles), simulation.caller(16.0))
    assert simulation.count(2.0, 4.0) >= 0.97 * 200
    assert simulation.count(6.5, 7.5) <= 0.92 * 100
    assert simulation.count(6.5, 7.5) < simulation.count(8.5, 9.5) < simulation.count(13.0, 14.0)
    assert simulation.count(13.0, 15.0) >= 0.97 * 200


def test_a_few_throttled_calls_are_no_reason_to_slow_down(limits: Collection[dict[str, Any]]) -> None:
    simulation = Simulation(limits, 100)
    simulation.run(simulation.caller(8.0, throttles=lambda now, call: call % 100 == 0), simulation.caller(8.0))
    assert simulation.count(2.0, 8.0) >= 0.98 * 600


def test_a_storm_of_refusals_leaves_enough_calls_to_notice_its_end(limits: Collection[dict[str, Any]]) -> None:
    simulation = Simulation(limits, 100)
    simulation.run(simulation.caller(24.0, throttles=lambda now, call: now < 14.0))
    assert 0.05 * 400 <= simulation.count(10.0, 14.0) <= 0.5 * 400
    assert simulation.count(21.0, 23.0) >= 0.97 * 200


def test_what_was_reserved_long_ago_is_not_used(limits: Collection[dict[str, Any]]) -> None:
    """A worker that was stopped must not call on top of what the others did meanwhile."""
    simulation = Simulation(limits, 100)
    stopped = simulation.rate()

    def worker() -> None:
        simulation.caller(1.0, stopped)()
        simulation.sleep(2.0)
        simulation.caller(6.0, stopped)()

    simulation.run(worker, simulation.caller(6.0), simulation.caller(6.0))
    assert simulation.most_within(1.0) <= 100


def test_a_worker_that_is_late_makes_up_for_it_without_a_burst(limits: Collection[dict[str, Any]]) -> None:
    simulation = Simulation(limits, 50)
    rate = simulation.rate()

    def worker() -> None:
        simulation.caller(2.0, rate)()
        while simulation.now < 10.0:
            simulation.sleep(0.15)
            simulation.caller(simulation.now + 0.25, rate)()

    simulation.run(worker)
    assert min(later - earlier for earlier, later in pairwise(simulation.calls)) >= 0.99 * 0.5 / 50
    assert simulation.most_within(1.0) <= 50


def test_a_worker_whose_clock_is_wrong_goes_by_the_database_s(
    database: Database[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3600)
    assert clock_of(database)() == pytest.approx(now, abs=60)


def test_names_share_nothing(limits: Collection[dict[str, Any]]) -> None:
    simulation = Simulation(limits, 50)
    other = SharedRate(limits, "rekognition:elsewhere", 50, lambda: START + simulation.now, simulation.sleep)
    simulation.run(simulation.caller(7.0), simulation.caller(7.0, other))
    assert 0.98 * 500 <= simulation.count(2.0, 7.0) <= 500


@pytest.mark.parametrize("quota", [0, -1])
def test_a_quota_of_nothing_is_named(limits: Collection[dict[str, Any]], quota: float) -> None:
    with pytest.raises(ValueError, match=f"The quota is {quota} calls a second"):
        SharedRate(limits, "x", quota)


def test_a_rate_that_vanished_is_named(limits: Collection[dict[str, Any]]) -> None:
    rate = Simulation(limits, 50).rate()
    limits.delete_many({})
    with pytest.raises(RuntimeError, match=f"'rekognition:test' has vanished from {limits.full_name}"):
        rate.wait()
