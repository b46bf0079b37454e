"""When the stand-in throttles, on a clock of the test's own."""

from __future__ import annotations

from collections import Counter

import pytest

from rekognition.throttle import IDLE_SECONDS, Quota
from rekognition.wire import AwsError


def ask(quota: Quota, times: list[float]) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    for now in times:
        try:
            quota.admit(now)
        except AwsError as error:
            outcomes[error.code] += 1
        else:
            outcomes["admitted"] += 1
    return outcomes


def at(rate: float, start: float, end: float) -> list[float]:
    """Evenly spaced calls."""
    return [start + n / rate for n in range(round((end - start) * rate))]


def ramped(quota: Quota) -> Quota:
    """The quota after two seconds of calls that grow from half of it to all of it."""
    half, whole = at(quota.per_second / 2, 0, 1), at(quota.per_second, 1, 2)
    assert ask(quota, half + whole) == {"admitted": len(half + whole)}
    return quota


@pytest.mark.parametrize("per_second", [5, 50, 300])
def test_calls_at_the_quota_are_admitted_once_the_rate_has_grown(per_second):
    calls = at(per_second, 2, 12)
    assert ask(ramped(Quota(per_second)), calls) == {"admitted": len(calls)}


@pytest.mark.parametrize("per_second", [5, 50, 300])
def test_no_more_than_the_quota_is_admitted_however_fast_the_calls_come(per_second):
    outcomes = ask(ramped(Quota(per_second)), at(per_second * 3, 2, 12))
    assert outcomes["admitted"] == pytest.approx(per_second * 10, abs=max(2, per_second / 10))
    assert outcomes["ProvisionedThroughputExceededException"] > per_second * 19


def test_a_jump_from_idle_to_the_whole_quota_is_a_sudden_increase():
    outcomes = ask(Quota(50), at(50, 0, 1))
    assert outcomes["ThrottlingException"] >= 5
    assert outcomes["ProvisionedThroughputExceededException"] == 0


def test_the_rate_must_be_earned_again_after_idleness():
    quota = ramped(Quota(50))
    assert ask(quota, at(50, 2 + IDLE_SECONDS, 3 + IDLE_SECONDS))["ThrottlingException"] > 0


def test_a_short_pause_costs_nothing():
    quota = ramped(Quota(50))
    calls = at(50, 2 + IDLE_SECONDS / 2, 3 + IDLE_SECONDS / 2)
    assert ask(quota, calls) == {"admitted": len(calls)}


@pytest.mark.parametrize(("per_second", "burst"), [(5, 2), (50, 5), (300, 30)])
def test_a_pause_saves_up_a_tenth_of_a_second_and_no_more(per_second, burst):
    quota = ramped(Quota(per_second))
    assert ask(quota, [4.0] * (burst + 10))["admitted"] == burst


def test_a_quota_of_zero_is_none():
    assert ask(Quota(0), [0.0] * 1000) == {"admitted": 1000}
