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

from datetime import UTC, datetime

from airflow.sdk import DAG

from image_labels.operators.indexes import EnsureIndexesOperator
from image_labels.operators.rebuild import RebuildCollectionOperator
from image_labels.wiring import DEFAULT_ARGS, PLACE, PLACE_PARAMS

with DAG(
    "image_labels_rebuild",
    doc_md=__doc__,
    description="From the raw answers in S3 to an identical collection, without Rekognition",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    params=PLACE_PARAMS,
    default_args=DEFAULT_ARGS,
    tags=["image-labels"],
) as dag:
    rebuild = RebuildCollectionOperator(
        task_id="rebuild", **PLACE, doc_md="Reads the raw answers run by run and upserts their documents."
    )
    index = EnsureIndexesOperator(task_id="index", **PLACE, doc_md="Proves that the queries use the indexes.")
    rebuild >> index
