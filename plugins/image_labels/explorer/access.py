"""Where the pages read: the pipeline's bucket and its database, by the connections and Variables that the DAG uses."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any

from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
from airflow.sdk import Variable
from fastapi import Depends

from image_labels.errors import BadSettings
from image_labels.layout import Layout

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from pymongo.database import Database

DAG_ID = "image_labels"
DATABASE_SECONDS = 10
"""The longest that a page waits for the database, finding the server included."""


@lru_cache(maxsize=1)
def s3_client() -> Any:
    """Return a client for the pipeline's bucket that gives up soon: somebody is waiting for the page."""
    from botocore.config import Config

    config = Config(
        connect_timeout=3,
        read_timeout=15,
        retries={"mode": "standard", "total_max_attempts": 2},
        max_pool_connections=32,
    )
    return AwsBaseHook("aws_default", client_type="s3", config=config).get_conn()


@lru_cache(maxsize=1)
def database() -> Any:
    """Return the database, read as the connection's ``readPreference`` says."""
    from bson.codec_options import CodecOptions

    from image_labels.hooks.documentdb import DocumentDBHook

    hook = DocumentDBHook()
    hook.extras["timeoutMS"] = DATABASE_SECONDS * 1000
    return hook.get_conn().get_database(str(hook.connection.schema), CodecOptions(tz_aware=True))


def layout() -> Layout:
    """Return where things lie in S3.

    :raises BadSettings: if no bucket is set
    """
    return _layout(int(time.monotonic()) // 60)


@lru_cache(maxsize=1)
def _layout(minute: int) -> Layout:  # a page of thumbnails must not ask a secrets backend a hundred times
    bucket = Variable.get("image_labels_bucket", default=None)
    if not bucket:
        raise BadSettings("The Variable image_labels_bucket is not set; set it to the name of the pipeline's bucket")
    return Layout(bucket, Variable.get("image_labels_prefix", default="image-labels"))


# FastAPI looks up the annotations of a route when it is defined, where these types may be missing.
if TYPE_CHECKING:
    S3 = Annotated[S3Client, Depends(s3_client)]
    Documents = Annotated[Database[dict[str, Any]], Depends(database)]
else:
    S3 = Annotated[Any, Depends(s3_client)]
    Documents = Annotated[Any, Depends(database)]
Places = Annotated[Layout, Depends(layout)]
