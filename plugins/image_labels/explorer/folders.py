"""What the pipeline has in S3, as folders and files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fastapi import APIRouter, HTTPException
from fastapi.responses import HTMLResponse, Response, StreamingResponse

from image_labels.explorer.access import S3, Places

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

FOLDER_PAGE = 1000
"""Entries of a folder that are shown."""

SANDBOX = {
    # What lies in S3 may have come from anybody: it runs no code with the rights of Airflow's pages.
    "Content-Security-Policy": "sandbox allow-scripts allow-popups; default-src 'none'; img-src 'self' data:; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval'; font-src data:",
}
SHOWN_AS_TEXT = (".jsonl",)

router = APIRouter()


def place(bucket: str, key: str) -> str:
    """Return the address of an object or folder, relative to the search page."""
    return f"s3/{quote(bucket)}/{quote(key)}"


@router.get("/s3/{bucket}/{key:path}", response_model=None)
def show(bucket: str, key: str, s3: S3, layout: Places) -> Response:
    """Show an object, or a folder when the key ends in a slash.

    :raises HTTPException: 404 for what is not below the pipeline's prefix, or not there
    """
    outside = layout.prefix and not key.startswith(f"{layout.prefix}/")
    if bucket != layout.bucket or outside:
        raise HTTPException(404, "No place of the pipeline (Variables image_labels_bucket, image_labels_prefix)")
    if not key or key.endswith("/"):
        return HTMLResponse("".join(_folder(s3, bucket, key)), headers=SANDBOX)
    try:
        found = s3.get_object(Bucket=bucket, Key=key)
    except s3.exceptions.NoSuchKey:
        raise HTTPException(404, f"There is no s3://{bucket}/{key}") from None
    content_type = "text/plain; charset=utf-8" if key.endswith(SHOWN_AS_TEXT) else found["ContentType"]
    return StreamingResponse(chunks(found["Body"]), media_type=content_type, headers=SANDBOX)


def chunks(body: Any) -> Iterator[bytes]:
    """Yield what an object holds, and give its connection back even if nobody reads to the end."""
    with closing(body):
        yield from body.iter_chunks(1 << 16)


def _folder(s3: S3Client, bucket: str, folder: str) -> Iterator[str]:
    page = s3.list_objects_v2(Bucket=bucket, Prefix=folder, Delimiter="/", MaxKeys=FOLDER_PAGE)
    names = [item["Prefix"] for item in page.get("CommonPrefixes", ())]
    names += [item["Key"] for item in page.get("Contents", ())]
    yield "<!doctype html><html lang=en><meta charset=utf-8><meta name=color-scheme content='light dark'>"
    yield f"<title>{escape(folder)}</title><style>body{{font:1rem system-ui;margin:2rem}}</style>"
    yield f"<h1>s3://{escape(bucket)}/{escape(folder)}</h1><ul>"
    for name in names:
        here = name[len(folder) :]
        yield f'<li><a href="./{escape(quote(here))}">{escape(here)}</a></li>'
    yield "</ul>"
    if page.get("IsTruncated"):
        yield f"<p>Only the first {FOLDER_PAGE:,} are shown.</p>"
