from __future__ import annotations

import json
import logging
import queue
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from bson.int64 import Int64

from image_labels import analysis, jsonlines
from image_labels.analysis import CheckpointWriter, Known, Progress
from image_labels.on_disk import RowsOnDisk


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


def row(number: int = 0) -> dict[str, Any]:
    """Return a result row as it is read from S3, with objects of its own."""
    analysis = {"at": "2026-01-05T00:00:00.000+00:00", "settings": {"api": "DetectLabels"}, "paid_by": "run"}
    image = {"key": f"images/{number}.jpg", "sha256": f"{number:064d}"}
    return json.loads(json.dumps({"image": image, "answer": answer(20), "analysis": analysis}))


def test_a_known_answer_is_written_as_it_was_read() -> None:
    read = row()
    known = Known.from_row(read)
    again = known.row(read["image"], "run", "2026-01-05T00:00:00+00:00")
    assert json.loads(jsonlines.encode(again)) == {
        **read,
        "analysis": {**read["analysis"], "dag_run": "run", "opened_at": "2026-01-05T00:00:00+00:00"},
    }
    assert Known.from_row(again) == known


def test_a_known_answer_of_a_document_is_written_as_it_is_there() -> None:
    labels = answer(2)["Labels"]
    # Where another tool has stored it as a long.
    labels[0]["Confidence"] = Int64(99)
    document = {
        "_id": "images/a.jpg",
        "Labels": labels,
        "LabelModelVersion": "3.0",
        "analysis": {"at": datetime(2026, 1, 5, tzinfo=UTC), "settings": {"max_labels": Int64(100)}, "paid_by": "run"},
    }
    written = Known.from_document(document).row({"key": "images/b.jpg"}, "run-2", "2026-01-05T00:00:00+00:00")
    read = json.loads(jsonlines.encode(written))
    assert read["answer"] == {"Labels": labels, "LabelModelVersion": "3.0"}
    assert read["analysis"] == {
        "at": "2026-01-05T00:00:00.000+00:00",
        "settings": {"max_labels": 100},
        "paid_by": "run",
        "dag_run": "run-2",
        "opened_at": "2026-01-05T00:00:00+00:00",
        "reused_from": "images/a.jpg",
    }


@pytest.mark.parametrize(
    "known",
    [
        pytest.param(Known.from_row(row()), id="an answer"),
        pytest.param(
            Known.from_row({"image": {"key": "images/a.jpg"}, "refused": {"step": "analyse", "code": "X"}}),
            id="refused",
        ),
    ],
)
def test_what_is_known_comes_back_from_disk_as_it_was(known: Known) -> None:
    with RowsOnDisk() as on_disk:
        on_disk.put([("content", known)])
        assert Known.from_json(on_disk["content"]) == known


def test_what_could_not_be_written_is_in_the_next_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Any] = []
    tries = iter([OSError("S3 is away"), None])

    def write(s3: Any, bucket: str, key: str, rows: list[Any]) -> int:
        if error := next(tries):
            raise error
        written.extend(rows)
        return len(rows)

    monkeypatch.setattr(jsonlines, "write", write)
    monkeypatch.setattr(analysis, "CHECKPOINT_ANSWERS", 2)
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    s3: Any = None
    with (
        RowsOnDisk() as known,
        pytest.raises(OSError, match="away"),
        CheckpointWriter(s3, "bucket", "checkpoints/", answers, known) as writer,
    ):
        for number in range(3):
            answers.put(row(number))
        writer.write_if_due()
        answers.put(row(3))
    assert written == [row(number) for number in range(4)]
