"""Waiting for photos without holding a worker."""

from __future__ import annotations

import asyncio
import time
from datetime import date
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from image_labels.landing import Survey, new_files
from image_labels.layout import Layout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def look(
    landing: str,
    day: date,
    layout: Layout,
    settings: str,
    run_id: str,
    aws_conn_id: str,
    settle_seconds: float,
    retry_quarantined: bool,
) -> Survey:
    """Count what is new in the landing place.

    :param settings: what is asked of Rekognition, as text; under other settings all files are new
    :param settle_seconds: a file that changed less than so long ago may still be being written
    :param retry_quarantined: whether what is in quarantine counts as new
    """
    from image_labels import jsonlines
    from image_labels.operators.base import open_landing, s3_client

    place = open_landing(landing, day, layout, aws_conn_id)
    ledger = jsonlines.read_if_there(s3_client(aws_conn_id), layout.bucket, layout.ledger(place.uri, settings))
    survey = Survey()
    settled_before = time.time() - settle_seconds
    files = new_files(place.files(), ledger, run_id, settled_before, survey, retry_quarantined=retry_quarantined)
    for _ in files:
        pass
    return survey


class NewImagesTrigger(BaseTrigger):
    """Fires when new files lie in the landing place and none of them is still changing, or when the time is over.

    :param landing: the landing place
    :param day: of the run, as ``YYYY-MM-DD``
    :param bucket: the pipeline's bucket, where the ledger is
    :param prefix: the pipeline's folder in the bucket
    :param settings: what is asked of Rekognition, as text
    :param run_id: of the DAG run
    :param aws_conn_id: connection for S3
    :param settle_seconds: how long a file must have been unchanged
    :param retry_quarantined: whether what is in quarantine counts as new
    :param poll_seconds: time between two looks
    :param until: seconds since the epoch at which the waiting ends
    """

    def __init__(
        self,
        *,
        landing: str,
        day: str,
        bucket: str,
        prefix: str,
        settings: str,
        run_id: str,
        aws_conn_id: str,
        settle_seconds: float,
        retry_quarantined: bool,
        poll_seconds: float,
        until: float,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.landing = landing
        self.day = day
        self.bucket = bucket
        self.prefix = prefix
        self.settings = settings
        self.run_id = run_id
        self.aws_conn_id = aws_conn_id
        self.settle_seconds = settle_seconds
        self.retry_quarantined = retry_quarantined
        self.poll_seconds = poll_seconds
        self.until = until

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the path of the class and its arguments."""
        names = (
            "landing", "day", "bucket", "prefix", "settings", "run_id", "aws_conn_id",
            "settle_seconds", "retry_quarantined", "poll_seconds", "until",
        )  # fmt: skip
        return f"{type(self).__module__}.{type(self).__qualname__}", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look every now and then, in a thread: a look may take seconds."""
        while True:
            try:
                survey = await asyncio.to_thread(
                    look,
                    self.landing,
                    date.fromisoformat(self.day),
                    Layout(self.bucket, self.prefix),
                    self.settings,
                    self.run_id,
                    self.aws_conn_id,
                    self.settle_seconds,
                    self.retry_quarantined,
                )
            except Exception as error:
                # The task raises it, where it is seen and tried again.
                self.log.exception("The landing place can't be looked at")
                yield TriggerEvent({"error": f"{type(error).__name__}: {error}"})
                return
            if survey.is_ready or time.time() >= self.until:
                yield TriggerEvent({"new": survey.new})
                return
            await asyncio.sleep(min(self.poll_seconds, max(0.0, self.until - time.time())))
