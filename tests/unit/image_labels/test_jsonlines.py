"""What is written, by a stand-in that keeps what is put; reading it back from S3 is for the integration tests."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from image_labels import jsonlines


class Bucket:
    """Keeps what is put."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def put_object(self, **put: Any) -> None:
        self.objects[put["Key"]] = put["Body"].read()


@pytest.mark.parametrize(
    ("count", "sizes"), [(0, []), (1, [1]), (3, [3]), (4, [3, 1]), (7, [3, 3, 1])], ids=lambda value: str(value)
)
def test_rows_come_in_lists_of_the_size_and_none_is_lost(count: int, sizes: list[int]) -> None:
    chunks = list(jsonlines.batched(iter(range(count)), 3))
    assert [len(chunk) for chunk in chunks] == sizes
    assert [row for chunk in chunks for row in chunk] == list(range(count))


def test_lists_are_read_no_further_than_asked() -> None:
    numbers = iter(range(10))
    assert next(jsonlines.batched(numbers, 3)) == [0, 1, 2]
    assert next(numbers) == 3


def test_a_row_is_a_line_whatever_it_holds() -> None:
    bucket = Bucket()
    rows = [{"name": "a\nb\u2028c"}, ["ünïcode 🙂", 1.5, None], {"": "\ud800 is half a character"}]
    assert jsonlines.write(bucket, "b", "rows.jsonl", rows) == 3
    lines = bucket.objects["rows.jsonl"].split(b"\n")
    assert lines.pop() == b""
    assert [json.loads(line) for line in lines] == rows


def test_no_rows_are_an_empty_object() -> None:
    bucket = Bucket()
    assert jsonlines.write(bucket, "b", "rows.jsonl", []) == 0
    assert bucket.objects == {"rows.jsonl": b""}


def test_the_same_rows_are_the_same_bytes_at_any_time(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = Bucket()
    for key, now in (("1.jsonl.gz", 1e9), ("2.jsonl.gz", 2e9)):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        jsonlines.write(bucket, "b", key, [{"a": 1}] * 2500)
    assert bucket.objects["1.jsonl.gz"] == bucket.objects["2.jsonl.gz"]
    assert gzip.decompress(bucket.objects["1.jsonl.gz"]) == b'{"a":1}\n' * 2500


def test_rows_that_break_off_leave_what_was_there() -> None:
    bucket = Bucket()
    jsonlines.write(bucket, "b", "rows.jsonl", [1, 2])

    def broken() -> Iterator[int]:
        yield from range(5000)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        jsonlines.write(bucket, "b", "rows.jsonl", broken())
    assert bucket.objects["rows.jsonl"] == b"1\n2\n"
