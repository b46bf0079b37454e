from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from image_labels.analysis import Progress

if TYPE_CHECKING:
    import pytest


def test_the_progress_is_told_every_ten_seconds_with_rate_end_and_money(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    progress = Progress(1000, quota=50, price_per_thousand=2.0)
    for second in range(1, 26):
        now = 1000.0 + second
        progress.show(40 * second)
    assert [record.message for record in caplog.records] == [
        "400 of 1000 answered, 40.0/s (80 % of the quota), 15 s to go, 0.80 USD so far",
        "800 of 1000 answered, 40.0/s (80 % of the quota), 5 s to go, 1.60 USD so far",
    ]


def test_the_progress_of_nothing_has_no_end_in_sight(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    progress = Progress(10, quota=5, price_per_thousand=1.0)
    now = 1010.0
    progress.show(0)
    assert "0 of 10 answered, 0.0/s (0 % of the quota), inf s to go" in caplog.text
