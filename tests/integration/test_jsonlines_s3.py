"""JSON Lines in a real S3 server, read back."""

from __future__ import annotations

import gzip
import io
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from image_labels import jsonlines

ROWS = [{"path": "a b/ü🙂\n.jpg", "size": 5}, ["row", 1.5, None, True], "text", {"half": "\ud800"}, {}]


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz"])
def test_rows_are_read_as_they_were_written(s3: Any, bucket: str, ending: str) -> None:
    assert jsonlines.write(s3, bucket, f"rows.{ending}", iter(ROWS)) == len(ROWS)
    assert list(jsonlines.read(s3, bucket, f"rows.{ending}")) == ROWS


@pytest.mark.parametrize(
    "key",
    [
        "a b.jsonl", "ünï/日本🙂.jsonl", "a+b%2Fc%20d.jsonl", "a#b?c=d&e.jsonl", "it's \"quoted\".jsonl",
        "{{ ds }}.jsonl", "ds=2026-01-05/manual__2026-01-05T00:00:00+00:00/batch-00000.jsonl.gz",
    ],
)  # fmt: skip
def test_a_key_may_hold_any_character(s3: Any, bucket: str, key: str) -> None:
    jsonlines.write(s3, bucket, key, ROWS)
    assert list(jsonlines.read(s3, bucket, key)) == ROWS
    assert list(jsonlines.keys(s3, bucket, "")) == [key]
    jsonlines.delete(s3, bucket, [key])
    assert list(jsonlines.keys(s3, bucket, "")) == []


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz"])
def test_no_rows_are_an_object_without_rows(s3: Any, bucket: str, ending: str) -> None:
    assert jsonlines.write(s3, bucket, f"rows.{ending}", []) == 0
    assert list(jsonlines.read(s3, bucket, f"rows.{ending}")) == []


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz"])
def test_rows_that_do_not_fit_into_memory_go_by_way_of_the_disk(
    s3: Any, bucket: str, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonlines, "IN_MEMORY", 1000)
    rows = [{"number": number, "text": "x" * 50} for number in range(5000)]
    jsonlines.write(s3, bucket, f"rows.{ending}", rows)
    assert list(jsonlines.read(s3, bucket, f"rows.{ending}")) == rows


def test_an_object_is_replaced_as_a_whole(s3: Any, bucket: str) -> None:
    jsonlines.write(s3, bucket, "rows.jsonl", range(100))
    jsonlines.write(s3, bucket, "rows.jsonl", [1])
    assert list(jsonlines.read(s3, bucket, "rows.jsonl")) == [1]


def test_an_object_may_be_rewritten_from_its_own_rows(s3: Any, bucket: str) -> None:
    jsonlines.write(s3, bucket, "rows.jsonl.gz", range(5000))
    rows = (row + 1 for row in jsonlines.read(s3, bucket, "rows.jsonl.gz"))
    jsonlines.write(s3, bucket, "rows.jsonl.gz", rows)
    assert list(jsonlines.read(s3, bucket, "rows.jsonl.gz")) == list(range(1, 5001))


def test_a_missing_object_is_an_error_or_no_rows_as_is_asked(s3: Any, bucket: str) -> None:
    with pytest.raises(ClientError) as error:
        list(jsonlines.read(s3, bucket, "gone.jsonl"))
    assert error.value.response["Error"]["Code"] == "NoSuchKey"
    assert list(jsonlines.read_if_there(s3, bucket, "gone.jsonl")) == []


def test_a_missing_bucket_is_never_taken_for_no_rows(s3: Any) -> None:
    with pytest.raises(ClientError) as error:
        list(jsonlines.read_if_there(s3, "no-such-bucket", "rows.jsonl"))
    assert error.value.response["Error"]["Code"] == "NoSuchBucket"


def test_files_that_were_gzipped_in_pieces_are_read_to_their_end(s3: Any, bucket: str) -> None:
    pieces = b"".join(gzip.compress(json.dumps(number).encode() + b"\n") for number in range(3))
    s3.put_object(Bucket=bucket, Key="rows.jsonl.gz", Body=pieces)
    assert list(jsonlines.read(s3, bucket, "rows.jsonl.gz")) == [0, 1, 2]


def test_a_file_that_is_cut_short_is_an_error(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="rows.jsonl.gz", Body=gzip.compress(b"1\n2\n")[:-9])
    with pytest.raises(EOFError):
        list(jsonlines.read(s3, bucket, "rows.jsonl.gz"))


def test_others_read_it_without_us(s3: Any, bucket: str) -> None:
    jsonlines.write(s3, bucket, "rows.jsonl.gz", ROWS)
    body = s3.get_object(Bucket=bucket, Key="rows.jsonl.gz")["Body"].read()
    with gzip.open(io.BytesIO(body), "rt", encoding="utf-8") as lines:
        assert [json.loads(line) for line in lines] == ROWS


def test_the_keys_of_a_folder_come_in_order_however_many(s3: Any, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [f"run/batch-{number:05d}.jsonl" for number in (2, 0, 1)]
    for key in [*keys, "run-2/x.jsonl", "x.jsonl"]:
        jsonlines.write(s3, bucket, key, [])
    paginate = s3.get_paginator
    monkeypatch.setattr(s3, "get_paginator", lambda operation: InPagesOfTwo(paginate(operation)))
    assert list(jsonlines.keys(s3, bucket, "run/")) == sorted(keys)
    assert list(jsonlines.keys(s3, bucket, "gone/")) == []


class InPagesOfTwo:
    def __init__(self, paginator: Any) -> None:
        self._paginator = paginator

    def paginate(self, **where: Any) -> Any:
        return self._paginator.paginate(**where, PaginationConfig={"PageSize": 2})


def test_the_folders_of_a_folder_come_in_order(s3: Any, bucket: str) -> None:
    for key in ("results/ds=2/b/x", "results/ds=1/a/x", "results/ds=1/b/x", "results/x", "other/y"):
        jsonlines.write(s3, bucket, key, [])
    assert list(jsonlines.folders(s3, bucket, "results/")) == ["results/ds=1/", "results/ds=2/"]


def test_deleting_what_is_not_there_is_no_error(s3: Any, bucket: str) -> None:
    jsonlines.write(s3, bucket, "a", [])
    jsonlines.delete(s3, bucket, ["a", "gone"])
    assert list(jsonlines.keys(s3, bucket, "")) == []
