"""
# Image labels

Every day the new photos of the landing place are uploaded to Amazon S3, Amazon Rekognition says what is in them, each
becomes one document in Amazon DocumentDB, and label frequency tables go to S3 as Parquet.

| task | what it does |
| --- | --- |
| `sense` | waits until new files lie in the landing place and have stopped changing, and plans batches |
| `batch.upload` | puts a batch of them into S3 and sets aside with a reason what is no image |
| `batch.analyse` | asks Rekognition about each content once, at the rate of the quota |
| `batch.ingest` | stores one document an image |
| `index` | makes the indexes and proves that the queries use them |
| `report` | tables of the day's images and of label frequencies, to Parquet in S3, and a page to look at |
| `account` | closes the books; the run's note shows them, and they become tables |

**It may be run again**, as a whole or from any task, at any time: the result is the same, and no image is paid for
twice.

**Where things are** comes from the params of the run, and where they are empty from the Airflow Variables
`image_labels_landing`, `image_labels_bucket` and `image_labels_prefix`. Credentials and endpoints are those of the
connections `aws_default` and `documentdb_default`.

**A run that fails or is late** is told to the SNS topic whose ARN is in the Variable `image_labels_alarm_topic`, if it
is set.

**What could not be taken** is listed with its reason in `quarantine/` (link of `account`); it stops nothing. A file
that changes is tried again.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import (
    DAG,
    Asset,
    AsyncCallback,
    CronDataIntervalTimetable,
    DeadlineAlert,
    DeadlineReference,
    Param,
    TriggerRule,
    conf,
    task_group,
)
from airflow.sdk.exceptions import AirflowSkipException

from image_labels.notifications import TroubleNotifier
from image_labels.operators.balance_books import BalanceBooksOperator
from image_labels.operators.detect_labels import DetectLabelsOperator
from image_labels.operators.indexes import EnsureIndexesOperator
from image_labels.operators.ingest import IngestLabelsOperator
from image_labels.operators.report import ExportReportsOperator
from image_labels.operators.upload import UploadImagesOperator
from image_labels.sensors.new_images import NewImagesSensor
from image_labels.wiring import DEFAULT_ARGS, PLACE, PLACE_PARAMS

if TYPE_CHECKING:
    from airflow.sdk import Context

UPLOADS_AT_ONCE = conf.getint("image_labels", "uploads_at_once", fallback=2)
"""Batches that upload. Where processors are few, more of them only keep the first one from its calls; renditions use as
many as the workers have processors."""

ANALYSES_AT_ONCE = 4
"""Batches that analyse. They share one quota: more of them only bridge starts and ends."""

LATE_AFTER = timedelta(hours=12)
"""When a run should have ended. A first run over a large collection may well take longer."""

REPORT = [Asset(name) for name in ("label_frequency", "group_frequency", "label_changes", "image_labels", "images")]
"""The tables of a report, published together."""

BOOKS = [Asset(name) for name in ("runs", "quarantine")]
"""The tables that are written when the books are closed."""

PARAMS = {
    "landing": Param(
        "",
        type="string",
        description="Where new photos arrive: a folder or s3://bucket/folder; `{{ ds }}` in it stands for the day. "
        "Empty: the Variable image_labels_landing.",
    ),
    **PLACE_PARAMS,
    "min_confidence": Param(
        50, type="number", minimum=0, maximum=100, description="Rekognition leaves out labels below it, in percent."
    ),
    "max_labels": Param(100, type="integer", minimum=1, maximum=1000, description="At most so many labels an image."),
    "thresholds": Param(
        [50, 70, 90],
        type="array",
        items={"type": "number", "minimum": 0, "maximum": 100},
        minItems=1,
        description="The confidences, in percent, for which the report counts labels.",
    ),
    "recount": Param(
        False,
        type="boolean",
        description="Count all images for the report, not only what has changed since the last one. "
        "Done on the first of each month anyway.",
    ),
    "batch_size": Param(
        500,
        type="integer",
        minimum=1,
        maximum=10_000,
        description="Images a batch, the first few aside; grows where there would be over 30.",
    ),
    "quota": Param(
        5,
        type="number",
        exclusiveMinimum=0,
        description="Rekognition's transactions a second for the account in this region: 50 in the large regions, "
        "5 elsewhere, unless raised. See Service Quotas.",
    ),
    "max_images": Param(
        None,
        type=["null", "integer"],
        minimum=0,
        description="Calls of Rekognition that the run may make. What is left is the next run's. Empty: no limit.",
    ),
    "max_spend_usd": Param(
        None, type=["null", "number"], minimum=0, description="US dollars that the run may cost. Empty: no limit."
    ),
    "price_per_thousand": Param(
        1.0, type="number", minimum=0, description="US dollars that Rekognition takes for a thousand images."
    ),
    "max_failure_share": Param(
        0.2,
        type="number",
        minimum=0,
        maximum=1,
        description="When a larger share of 20 images or more is refused, the run fails: the set-up is broken.",
    ),
    "retry_quarantined": Param(False, type="boolean", description="Try again what is in quarantine."),
    "dry_run": Param(
        False, type="boolean", description="Only tell what the run would do and cost; upload and call nothing."
    ),
    "wait_minutes": Param(
        60, type="number", minimum=0, description="How long to wait for new photos; 0 looks once. None is no failure."
    ),
    "settle_seconds": Param(
        60, type="number", minimum=0, description="A file is taken when it has not changed for so long."
    ),
}

LANDING = {"landing": "{{ params.landing or var.value.image_labels_landing }}"}
PRICE = {"price_per_thousand": "{{ params.price_per_thousand }}"}
SHARE = {"max_failure_share": "{{ params.max_failure_share }}"}
DRY = {"forecast_only": "{{ params.dry_run }}"}
ASKED = {"min_confidence": "{{ params.min_confidence }}", "max_labels": "{{ params.max_labels }}"}


def skip_dry_run(context: Context) -> None:
    """Skip a task, and those after it, where the run only looks."""
    if context["params"]["dry_run"]:
        raise AirflowSkipException("A dry run changes nothing")


AFTER_BATCHES: dict[str, Any] = {"trigger_rule": TriggerRule.NONE_FAILED, "pre_execute": skip_dry_run}
"""Done as well when there were no batches, and not in a dry run."""

with DAG(
    "image_labels",
    doc_md=__doc__,
    description="New photos to labels, documents and reports, every day",
    schedule=CronDataIntervalTimetable("@daily", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    params=PARAMS,
    render_template_as_native_obj=True,
    default_args={
        **DEFAULT_ARGS,
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=10),
        # What is begun is finished before more is begun.
        "weight_rule": "upstream",
    },
    on_failure_callback=TroubleNotifier(
        subject="image_labels failed",
        message="The run {{ dag_run.run_id }} failed; its note and the log of its task `account` say where.",
    ),
    deadline=DeadlineAlert(
        DeadlineReference.DAGRUN_QUEUED_AT,
        LATE_AFTER,
        AsyncCallback(
            TroubleNotifier,
            {"subject": "image_labels is late", "message": "The run {{ dag_run.dag_run_id }} has not ended yet."},
        ),
    ),
    tags=["image-labels"],
) as dag:
    sense = NewImagesSensor(
        task_id="sense",
        batch_size="{{ params.batch_size }}",
        wait_minutes="{{ params.wait_minutes }}",
        settle_seconds="{{ params.settle_seconds }}",
        # More often than files settle there is nothing to see.
        poll_seconds="{{ [params.settle_seconds, 1] | max }}",
        retry_quarantined="{{ params.retry_quarantined }}",
        **DRY,
        **PLACE,
        **LANDING,
        **ASKED,
        doc_md="Looks at the landing place, and waits in the triggerer. New is what no run has dealt with.",
    )

    @task_group
    def batch(files: str) -> None:
        """One batch of new files, which goes its way while others are on theirs."""
        upload = UploadImagesOperator(
            task_id="upload",
            files=files,
            max_images="{{ params.max_images }}",
            max_spend_usd="{{ params.max_spend_usd }}",
            max_active_tis_per_dag=UPLOADS_AT_ONCE,
            map_index_template="{{ task.files.rsplit('/', 1)[-1].removesuffix('.jsonl.gz') }}",
            **PRICE,
            **DRY,
            **PLACE,
            **LANDING,
            **ASKED,
            doc_md="Validates by content, uploads with a checksum that S3 verifies, and writes the manifest.",
        )
        analyse = DetectLabelsOperator(
            task_id="analyse",
            manifest=upload.output,
            quota="{{ params.quota }}",
            max_active_tis_per_dag=ANALYSES_AT_ONCE,
            map_index_template="{{ (task.manifest or 'nothing').rsplit('/', 1)[-1].removesuffix('.jsonl') }}",
            **PLACE,
            **ASKED,
            **PRICE,
            **SHARE,
            doc_md="Asks Rekognition about each content once. A repeated try goes on where the last one was.",
        )
        IngestLabelsOperator(
            task_id="ingest",
            results=analyse.output,
            map_index_template="{{ task.results.rsplit('/', 1)[-1].removesuffix('.jsonl.gz') }}",
            **PLACE,
            doc_md="Upserts the documents by their S3 key.",
        )

    batches = batch.expand(files=sense.output)
    index = EnsureIndexesOperator(
        task_id="index",
        **AFTER_BATCHES,
        **PLACE,
        doc_md="The plans are in the log, with those of before where an index was missing.",
    )
    report = ExportReportsOperator(
        task_id="report",
        **AFTER_BATCHES,
        thresholds="{{ params.thresholds }}",
        # Every month all is counted anew, whatever was kept.
        recount="{{ params.recount or (dag_run.logical_date or dag_run.run_after).day == 1 }}",
        outlets=REPORT,
        **PLACE,
        doc_md="Tables of the day and of the whole collection as Parquet, verified before they are seen, and a page.",
    )
    account = BalanceBooksOperator(
        task_id="account",
        trigger_rule=TriggerRule.ALL_DONE,
        retries=1,
        quota="{{ params.quota }}",
        outlets=BOOKS,
        **PRICE,
        **SHARE,
        **DRY,
        **PLACE,
        **LANDING,
        **ASKED,
        doc_md="Runs whatever became of the others, and fails if one of them did or a sum does not come out.",
    )
    sense >> batches >> [index, report] >> account
    # Directly as well: when one batch fails, the books wait for the others to end.
    [sense, batches] >> account
