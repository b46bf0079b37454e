from __future__ import annotations

import json
import logging
import time
import tracemalloc
from typing import Any

import pytest

from image_labels.analysis import Known, Packed, Progress


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


def answer(labels: int) -> dict[str, Any]:
    """Return an answer with so many labels, in the shape of the service's."""
    box = {"Width": 0.31, "Height": 0.52, "Left": 0.13, "Top": 0.24}
    return {
        "Labels": [
            {
                "Name": f"Label {number}",
                "Confidence": 99.5 - number,
                "Instances": [{"BoundingBox": dict(box), "Confidence": 98.7}],
                "Parents": [{"Name": "Person"}],
                "Aliases": [],
                "Categories": [{"Name": "Person Description"}],
            }
            for number in range(labels)
        ],
        "LabelModelVersion": "3.0",
    }


def test_packed_answers_come_back_as_they_were() -> None:
    known: Packed[str, Known] = Packed()
    known["a"] = asked = Known("images/a.jpg", answer(3), {"paid_by": "run"})
    known["b"] = refused = Known("images/b.jpg", refused={"code": "InvalidImageFormatException"})
    assert (known["a"], known["b"], len(known), list(known)) == (asked, refused, 2, ["a", "b"])
    assert known.pop("a") == asked
    assert "a" not in known
    with pytest.raises(KeyError):
        known["a"]


def test_packed_answers_take_a_tenth_of_their_memory_as_objects() -> None:
    rows = [json.dumps(answer(20)) for _ in range(50)]

    def memory(into: Any) -> int:
        tracemalloc.start()
        for number, row in enumerate(rows):
            into[number] = json.loads(row)
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return size

    assert memory(Packed()) < memory({}) / 10
