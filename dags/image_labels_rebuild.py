"""
# Image labels: rebuild

Stores again the documents of all raw answers that the pipeline has kept in S3 under `results/`, in the order in which
its runs were made: after a lost or damaged collection, or into a new cluster. Rekognition is not called, so it costs
nothing there.

The documents are the same as before. What stands in the collection under other keys is left alone: drop the collection
first if it should hold nothing else.

**It may be run again** at any time: the result is the same. No run of `image_labels` should be at work meanwhile.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, Param

from image_labels.operators.base import RETRY_POLICY
from image_labels.operators.indexes import EnsureIndexesOperator
from image_labels.operators.rebuild import RebuildCollectionOperator

PLACE = {
    "bucket": "{{ params.bucket or var.value.image_labels_bucket }}",
    "prefix": "{{ params.prefix or var.value.get('image_labels_prefix', 'image-labels') }}",
}

with DAG(
    "image_labels_rebuild",
    doc_md=__doc__,
    description="From the raw answers in S3 to an identical collection, without Rekognition",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    params={
        "bucket": Param(
            "", type="string", description="The pipeline's bucket. Empty: the Variable image_labels_bucket."
        ),
        "prefix": Param(
            "",
            type="string",
            description="Its folder in the bucket. Empty: the Variable image_labels_prefix, or image-labels.",
        ),
    },
    default_args={
        "owner": "image-labels",
        "retries": 3,
        "retry_delay": timedelta(seconds=30),
        "retry_policy": RETRY_POLICY,
    },
    tags=["image-labels"],
) as dag:
    rebuild = RebuildCollectionOperator(
        task_id="rebuild", **PLACE, doc_md="Reads the raw answers run by run and upserts their documents."
    )
    index = EnsureIndexesOperator(task_id="index", **PLACE, doc_md="Proves that the queries use the indexes.")
    rebuild >> index
