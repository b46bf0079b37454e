"""What the DAG files share: the place of the pipeline, as params and as templates, and how tasks are retried."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Param

from image_labels.operators.base import RETRY_POLICY

PLACE_PARAMS: dict[str, Param] = {
    "bucket": Param("", type="string", description="The pipeline's bucket. Empty: the Variable image_labels_bucket."),
    "prefix": Param(
        "",
        type="string",
        description="Its folder in the bucket. Empty: the Variable image_labels_prefix, or image-labels.",
    ),
}

PLACE = {
    "bucket": "{{ params.bucket or var.value.image_labels_bucket }}",
    "prefix": "{{ params.prefix or var.value.get('image_labels_prefix', 'image-labels') }}",
}
"""The operators' arguments that come from :data:`PLACE_PARAMS`."""

DEFAULT_ARGS: dict[str, Any] = {
    "owner": "image-labels",
    "retries": 3,
    "retry_delay": timedelta(seconds=30),
    "retry_policy": RETRY_POLICY,
}
