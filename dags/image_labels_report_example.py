"""
# Image labels: what a report is good for

An example to start from. It runs when the pipeline has published a report, and tells what is different in it: the
labels whose share of the day's images is furthest from the usual.

The event of the Asset `label_changes` says where the table lies and how many rows it has; each table of the report has
such an Asset. A report is published whole and verified, so what is read here is complete.

**It may be run again** at any time: it only reads. A run that is triggered by hand has no report to tell of.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import DAG, Asset, task
from airflow.sdk.exceptions import AirflowSkipException

from image_labels.wiring import DEFAULT_ARGS

CHANGES = Asset("label_changes")
TOP = 10

log = logging.getLogger(__name__)

with DAG(
    "image_labels_report_example",
    doc_md=__doc__,
    description="Reads each report when it is there and tells what is different in it",
    schedule=[CHANGES],
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    tags=["image-labels"],
) as dag:

    @task(doc_md="Reads the table of the newest event and logs the labels furthest from the usual.")
    def tell_changes(triggering_asset_events: Any = None) -> list[str]:
        """Return a sentence for each of the labels that are most out of the ordinary.

        :param triggering_asset_events: what has made the DAG run, from Airflow
        """
        import io

        import pyarrow.compute as pc
        import pyarrow.parquet as pq
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook

        events = triggering_asset_events.get(CHANGES)
        if not events:
            raise AirflowSkipException("No report has triggered this run")
        event = events[-1].extra
        bucket, key = S3Hook.parse_s3_url(f"{event['uri']}/label_changes.parquet")
        table = pq.read_table(io.BytesIO(S3Hook().get_key(key, bucket).get()["Body"].read()))
        if table.num_rows != event["rows"]:
            raise ValueError(f"{event['uri']} has {table.num_rows} rows, and the event says {event['rows']}")
        judged = table.filter((pc.field("scope") == "day") & pc.field("deviation").is_valid())
        judged = judged.append_column("size", pc.abs(judged["deviation"])).sort_by([("size", "descending")])
        sentences = [
            f"{row['label']} at {row['min_confidence']:g}% or more: {row['share']:.1%} of the images, "
            f"usually {row['median_share']:.1%} (deviation {row['deviation']:+.1f})"
            for row in judged.slice(0, TOP).to_pylist()
        ]
        log.info("%d changes in the report of %s", table.num_rows, event["report_date"])
        for sentence in sentences:
            log.info("%s", sentence)
        return sentences

    tell_changes()
