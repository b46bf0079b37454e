"""The plugin's pages in Airflow's web server: what the pipeline has in S3, for those who may read its DAG."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

from airflow.api_fastapi.core_api.security import requires_access_dag
from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
from airflow.sdk import Variable
from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import HTMLResponse, Response, StreamingResponse

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
else:
    # FastAPI looks up the annotations of a route when it is defined.
    S3Client = Any

DAG_ID = "image_labels"
FOLDER_PAGE = 1000
"""Entries of a folder that are shown."""

SANDBOX = {
    # What lies in S3 may have come from anybody: it runs no code with the rights of Airflow's pages.
    "Content-Security-Policy": "sandbox allow-scripts allow-popups; default-src 'none'; img-src 'self' data:; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval'; font-src data:",
    "X-Content-Type-Options": "nosniff",
}
SHOWN_AS_TEXT = (".jsonl",)

app = FastAPI(
    title="Image labels",
    dependencies=[Depends(requires_access_dag("GET", param_dag_id=DAG_ID))],
    docs_url=None,
    redoc_url=None,
    openapi_url=None,
)


def s3_client() -> S3Client:
    """Return a client for the pipeline's bucket."""
    client: S3Client = AwsBaseHook("aws_default", client_type="s3").get_conn()
    return client


@app.get("/s3/{bucket}/{key:path}", response_model=None)
def show(bucket: str, key: str, s3: Annotated[S3Client, Depends(s3_client)]) -> Response:
    """Show an object, or a folder when the key ends in a slash.

    :raises HTTPException: 404 for what is not below the pipeline's prefix, or not there
    """
    prefix = Variable.get("image_labels_prefix", default="image-labels").strip("/")
    outside = prefix and not key.startswith(f"{prefix}/")
    if bucket != Variable.get("image_labels_bucket", default=None) or outside:
        raise HTTPException(404, "No place of the pipeline (Variables image_labels_bucket, image_labels_prefix)")
    if not key or key.endswith("/"):
        return HTMLResponse("".join(_folder(s3, bucket, key)), headers=SANDBOX)
    try:
        found = s3.get_object(Bucket=bucket, Key=key)
    except s3.exceptions.NoSuchKey:
        raise HTTPException(404, f"There is no s3://{bucket}/{key}") from None
    content_type = "text/plain; charset=utf-8" if key.endswith(SHOWN_AS_TEXT) else found["ContentType"]
    return StreamingResponse(found["Body"].iter_chunks(1 << 16), media_type=content_type, headers=SANDBOX)


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
