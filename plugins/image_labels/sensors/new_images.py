"""Step 1: what is new in the landing place."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from image_labels.documents import Settings
from image_labels.landing import Survey, new_files
from image_labels.operators.base import ImageLabelsOperator, day_of, is_true, open_landing
from image_labels.triggers.new_images import NewImagesTrigger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context


class NewImagesSensor(ImageLabelsOperator):
    """Wait until new photos lie in the landing place and have stopped changing; then list them.

    It looks once in the worker and waits, if it has to, in the triggerer. New is what no earlier run has dealt with
    in this version under the same settings. That nothing comes is no failure: the list is empty then.

    :param landing: a local folder or ``s3://bucket/folder``; ``{{ ds }}`` in it stands for the day (templated)
    :param wait_minutes: how long to wait for new photos; 0 looks once (templated)
    :param settle_seconds: how long a file must have been unchanged (templated)
    :param poll_seconds: time between two looks (templated)
    :param retry_quarantined: whether what is in quarantine counts as new (templated)
    :param min_confidence: what will be asked of Rekognition, in percent (templated)
    :param max_labels: what will be asked of Rekognition (templated)
    :returns: the address of the list of new files
    """

    template_fields: Sequence[str] = (
        *ImageLabelsOperator.template_fields,
        "landing",
        "wait_minutes",
        "settle_seconds",
        "poll_seconds",
        "retry_quarantined",
        "min_confidence",
        "max_labels",
    )

    def __init__(
        self,
        *,
        landing: str,
        wait_minutes: float = 0,
        settle_seconds: float = 60,
        poll_seconds: float = 60,
        retry_quarantined: bool = False,
        min_confidence: float = 50,
        max_labels: int = 100,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.landing = landing
        self.wait_minutes = wait_minutes
        self.settle_seconds = settle_seconds
        self.poll_seconds = poll_seconds
        self.retry_quarantined = retry_quarantined
        self.min_confidence = min_confidence
        self.max_labels = max_labels

    def execute(self, context: Context) -> str:
        """Look, and wait if there is nothing yet."""
        self.put_down_place(context, self.run_layout(context).sensed)
        survey = self._list_new(context)
        if survey.is_ready or not float(self.wait_minutes):
            return self._finish(context, survey)
        self.log.info("%s; waiting up to %s minutes", survey, self.wait_minutes)
        self.defer(
            trigger=NewImagesTrigger(
                landing=self.landing,
                day=day_of(context).isoformat(),
                bucket=self.layout.bucket,
                prefix=self.layout.prefix,
                settings=self._settings,
                run_id=context["dag_run"].run_id,
                aws_conn_id=self.aws_conn_id,
                settle_seconds=float(self.settle_seconds),
                retry_quarantined=is_true(self.retry_quarantined),
                poll_seconds=float(self.poll_seconds),
                until=time.time() + 60 * float(self.wait_minutes),
            ),
            method_name=self.execute_complete.__name__,
        )

    def execute_complete(self, context: Context, event: dict[str, Any]) -> str:
        """List what is there now.

        :raises RuntimeError: if the trigger could not look
        """
        if "error" in event:
            raise RuntimeError(f"The landing place {self.landing!r} can't be looked at: {event['error']}")
        return self._finish(context, self._list_new(context))

    @property
    def _settings(self) -> str:
        return str(Settings(float(self.min_confidence), int(self.max_labels)))

    def _list_new(self, context: Context) -> Survey:
        """Write the list of new files to S3, one pass over landing place and ledger."""
        from image_labels import jsonlines

        run = self.run_layout(context)
        place = open_landing(self.landing, day_of(context), self.layout, self.aws_conn_id)
        ledger = jsonlines.read_if_there(self.s3, self.layout.bucket, self.layout.ledger(place.uri, self._settings))
        survey = Survey()
        settled_before = time.time() - float(self.settle_seconds)
        files = new_files(
            place.files(),
            ledger,
            run.run_id,
            settled_before,
            survey,
            retry_quarantined=is_true(self.retry_quarantined),
        )
        jsonlines.write(self.s3, self.layout.bucket, run.sensed, (asdict(file) for file in files))
        return survey

    def _finish(self, context: Context, survey: Survey) -> str:
        self.log.info("%s", survey)
        run = self.run_layout(context)
        context["ti"].xcom_push(key="books", value=survey.books())
        return self.layout.uri(run.sensed)
