"""When the stand-in says "slow down"."""

from __future__ import annotations

import math

from rekognition.wire import AwsError

IDLE_SECONDS = 5.0
RAMP_SECONDS = 1.0


class Quota:
    """A token bucket, filled at the quota, whose fill rate must be earned after idleness.

    AWS does not publish its rule; this one is fair, and strict enough to prove pacing. The bucket holds a
    tenth of a second's worth (at least 2). After ``IDLE_SECONDS`` without a call it fills at half of the
    quota, growing to all of it within ``RAMP_SECONDS``; a call that it refuses in that time is a sudden
    increase, later it is one over the quota.

    :param per_second: Calls per second; 0 for no limit.
    """

    def __init__(self, per_second: float) -> None:
        self.per_second = per_second
        self.burst = max(2.0, per_second / 10)
        self._tokens = self.burst
        self._woke = self._last = -math.inf

    def admit(self, now: float) -> None:
        """Let one call through.

        :param now: Seconds on a clock that only goes forward.
        :raises AwsError: The call comes too soon.
        """
        if self.per_second == 0:
            return
        if now - self._last >= IDLE_SECONDS:
            self._woke = self._last = now
            self._tokens = self.burst
        earned = self._earned(now - self._woke) - self._earned(self._last - self._woke)
        self._tokens = min(self.burst, self._tokens + earned)
        self._last = now
        if self._tokens >= 1 - 1e-9:
            self._tokens -= 1
        elif now - self._woke < RAMP_SECONDS:
            raise sudden_increase()
        else:
            raise AwsError("ProvisionedThroughputExceededException", "Provisioned rate exceeded")

    def _earned(self, awake: float) -> float:
        ramp = min(awake, RAMP_SECONDS)
        return self.per_second * (ramp / 2 + ramp**2 / (4 * RAMP_SECONDS) + awake - ramp)


def sudden_increase() -> AwsError:
    """Make the refusal of a call that comes too soon after idleness."""
    return AwsError(
        "ThrottlingException",
        "Slow down; sudden increase in rate of requests. Please ramp up your traffic gradually.",
    )
