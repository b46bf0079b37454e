"""JSON Lines in S3, gzipped where the key ends in ``.gz``; written and read as streams."""

from __future__ import annotations

import gzip
import io
import json
import tempfile
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from image_labels.errors import CutShort

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ListObjectsV2OutputTypeDef

T = TypeVar("T")

IN_MEMORY = 8 * 1024 * 1024
"""Bytes of a file that are held in memory before it goes to a temporary file."""

PARSED_TOGETHER = 64 * 1024
"""Bytes of lines."""


def batched(rows: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield ``rows`` in lists of ``size``. (``itertools.batched`` of Python 3.12 as lists.)"""
    iterator = iter(rows)
    while chunk := list(islice(iterator, size)):
        yield chunk


def write(s3: S3Client, bucket: str, key: str, rows: Iterable[Any]) -> int:
    """Write one row a line, replacing the object as a whole once all rows are there.

    :returns: how many rows
    """
    count = 0
    with tempfile.SpooledTemporaryFile(IN_MEMORY) as spool:
        # No time stamp in the header: the same rows are the same bytes.
        packed = gzip.GzipFile(fileobj=spool, mode="wb", compresslevel=3, mtime=0) if key.endswith(".gz") else None
        out = packed or spool
        for chunk in batched(rows, 1000):
            out.write(b"".join(encode(row) + b"\n" for row in chunk))
            count += len(chunk)
        if packed:
            packed.close()
        spool.seek(0)
        s3.put_object(Bucket=bucket, Key=key, Body=spool)
    return count


def _plain(value: Any) -> Any:
    # The database's Int64 is a kind of int.
    if isinstance(value, int):
        return int(value)
    raise NotImplementedError


_encoder = msgspec.json.Encoder(enc_hook=_plain)


def encode(row: Any) -> bytes:
    """Return the JSON of a row.

    :raises TypeError: if it holds what JSON does not know
    """
    try:
        return _encoder.encode(row)
    except UnicodeEncodeError:
        # A name that is not UTF-8, which JSON can hold but only the slower one writes, and reads.
        return json.dumps(row, separators=(",", ":")).encode()


def decode(row: bytes) -> Any:
    """Return what JSON stands for."""
    try:
        return msgspec.json.decode(row)
    except msgspec.DecodeError:
        return json.loads(row)


def read(s3: S3Client, bucket: str, key: str, version: str | None = None) -> Iterator[Any]:
    """Yield the rows of an object, or of an old version of it.

    The object is fetched whole before the first row, so that a slow reader keeps no connection open.

    :raises botocore.exceptions.ClientError: ``NoSuchKey`` if there is none
    """
    with tempfile.SpooledTemporaryFile(IN_MEMORY) as spool:
        found = (
            s3.get_object(Bucket=bucket, Key=key, VersionId=version)
            if version
            else s3.get_object(Bucket=bucket, Key=key)
        )
        for chunk in found["Body"].iter_chunks(1 << 20):
            spool.write(chunk)
        spool.seek(0)
        plain = gzip.GzipFile(fileobj=spool, mode="rb") if key.endswith(".gz") else spool
        lines = io.BufferedReader(cast("io.RawIOBase", plain))
        # Several as one array: for short rows, such as a ledger's million, most of the time is that of the call.
        while some := lines.readlines(PARSED_TOGETHER):
            yield from decode(b"[%b]" % b",".join(some))


def read_if_there(s3: S3Client, bucket: str, key: str) -> Iterator[Any]:
    """Yield the rows of an object; none if there is no object."""
    try:
        yield from read(s3, bucket, key)
    except s3.exceptions.NoSuchKey:
        return


def pages(s3: S3Client, bucket: str, folder: str, delimiter: str = "") -> Iterator[ListObjectsV2OutputTypeDef]:
    """Yield the pages of a listing.

    :raises CutShort: if the connection ended within one, which botocore takes for an empty one
    """
    listing = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=folder, Delimiter=delimiter)
    for page in listing:
        if "Name" not in page:
            raise CutShort(f"The listing of s3://{bucket}/{folder} was cut off")
        yield page


def keys(s3: S3Client, bucket: str, folder: str) -> Iterator[str]:
    """Yield the keys below a folder, in order."""
    for page in pages(s3, bucket, folder):
        for item in page.get("Contents", ()):
            yield item["Key"]


def folders(s3: S3Client, bucket: str, folder: str) -> Iterator[str]:
    """Yield the folders right below a folder, in order, each with its slash."""
    for page in pages(s3, bucket, folder, delimiter="/"):
        for item in page.get("CommonPrefixes", ()):
            yield item["Prefix"]


def delete(s3: S3Client, bucket: str, keys: Iterable[str]) -> None:
    """Delete objects; what is not there is no error."""
    for key in keys:
        s3.delete_object(Bucket=bucket, Key=key)
