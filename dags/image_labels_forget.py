"""
# Image labels: forget

Deletes one image everywhere: the object and its old versions, its rendition and thumbnail (unless another image has the
same content), its lines in the raw answers and all lists, and its document. No report that is made from then on has it.

Take the file out of the landing place first, or the next run takes it for a new one. Afterwards clear the task `report`
of the day's run of `image_labels`: the partition of that day is written anew without the image. Old versions of reports
go when the bucket's lifecycle deletes them, after 30 days with the template of this project; backups of the database
after 7.

**It may be run again** at any time. No run of `image_labels` should be at work meanwhile.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import DAG, Param

from image_labels.operators.forget import ForgetImageOperator
from image_labels.wiring import DEFAULT_ARGS, PLACE, PLACE_PARAMS

with DAG(
    "image_labels_forget",
    doc_md=__doc__,
    description="Deletes one image and all that is known of it",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    params={
        "image": Param(
            None, type=["null", "string"], description="Its S3 key, or its s3:// address, as the search page shows it."
        ),
        "dry_run": Param(True, type="boolean", description="Only tell what would be deleted."),
        **PLACE_PARAMS,
    },
    default_args=DEFAULT_ARGS,
    tags=["image-labels"],
) as dag:
    ForgetImageOperator(
        task_id="forget",
        image="{{ params.image or '' }}",
        dry_run_only="{{ params.dry_run }}",
        **PLACE,
        doc_md="What it has deleted is in the log.",
    )
