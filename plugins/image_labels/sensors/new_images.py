"""Step 1: what is new in the landing place."""

from __future__ import annotations

import time
from contextlib import closing
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, TypeVar

from image_labels.documents import Settings
from image_labels.landing import Survey, new_files
from image_labels.on_disk import sorted_on_disk
from image_labels.operators.base import CLAIMS, IMAGES, RUNS, ImageLabelsOperator, day_of, is_true, open_landing
from image_labels.triggers.new_images import NewImagesTrigger

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from airflow.sdk import Context

    from image_labels.layout import RunLayout

T = TypeVar("T")

FIRST_BATCH = 128
"""Files of the first batch of a run at most, so that Rekognition is soon asked; each one after it has twice as many."""

FEW_BATCHES = 30
"""A run has about as many at most while they are not large: each takes the start of three tasks, some 3 seconds of
Python, and Airflow's scheduler looks at each one before it starts a task, which takes it 10 seconds for 600."""

LARGE_BATCH = 3_000
"""Files from which a batch is large: it has minutes of calls, beside which the starts don't count."""

MOST_BATCHES = 1000
"""A run has no more of them, however large they are: Airflow maps a task 1,024 times at most."""

LARGEST_BATCH = 25_000
"""Files; what a task keeps of each of them in memory is little, but not nothing."""

MOST_FILES = MOST_BATCHES * LARGEST_BATCH
"""Of a run; what is beyond is new to the next run, as if it had come then."""


class NewImagesSensor(ImageLabelsOperator):
    """Wait until new photos lie in the landing place and have stopped changing; then open a run for them.

    It looks once in the worker and waits, if it has to, in the triggerer. New is what no earlier run has dealt with
    in this version under the same settings. That nothing comes is no failure: there are no batches then. What runs
    that did not end were answered is stored first, so that nothing of it is asked again.

    :param landing: a local folder or ``s3://bucket/folder``; ``{{ ds }}`` in it stands for the day (templated)
    :param batch_size: files a batch, the first few aside; more where there would be over :data:`FEW_BATCHES`
        (templated)
    :param wait_minutes: how long to wait for new photos; 0 looks once (templated)
    :param settle_seconds: how long a file must have been unchanged (templated)
    :param poll_seconds: time between two looks (templated)
    :param retry_quarantined: whether what is in quarantine counts as new (templated)
    :param forecast_only: list what is new, and store nothing (templated)
    :param min_confidence: what will be asked of Rekognition, in percent (templated)
    :param max_labels: what will be asked of Rekognition (templated)
    :returns: the addresses of the batches: lists of new files, those that have waited longest first, and no more than
        :data:`MOST_FILES`
    """

    template_fields: Sequence[str] = (
        *ImageLabelsOperator.template_fields,
        "landing",
        "batch_size",
        "wait_minutes",
        "settle_seconds",
        "poll_seconds",
        "retry_quarantined",
        "forecast_only",
        "min_confidence",
        "max_labels",
    )

    def __init__(
        self,
        *,
        landing: str,
        batch_size: int = 500,
        wait_minutes: float = 0,
        settle_seconds: float = 60,
        poll_seconds: float = 60,
        retry_quarantined: bool = False,
        forecast_only: bool = False,
        min_confidence: float = 50,
        max_labels: int = 100,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.landing = landing
        self.batch_size = batch_size
        self.wait_minutes = wait_minutes
        self.settle_seconds = settle_seconds
        self.poll_seconds = poll_seconds
        self.retry_quarantined = retry_quarantined
        self.forecast_only = forecast_only
        self.min_confidence = min_confidence
        self.max_labels = max_labels

    def execute(self, context: Context) -> list[str]:
        """Look, and wait if there is nothing yet."""
        run = self.run_layout(context)
        self.put_down_place(context, run.manifests)
        survey, batches = self._list_new(context, run)
        if survey.is_ready or not float(self.wait_minutes):
            return self._finish(context, run, survey, batches)
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

    def execute_complete(self, context: Context, event: dict[str, Any]) -> list[str]:
        """List what is there now.

        :raises RuntimeError: if the trigger could not look
        """
        if "error" in event:
            raise RuntimeError(f"The landing place {self.landing!r} can't be looked at: {event['error']}")
        run = self.run_layout(context)
        return self._finish(context, run, *self._list_new(context, run))

    @property
    def _settings(self) -> str:
        return str(Settings(float(self.min_confidence), int(self.max_labels)))

    def _list_new(self, context: Context, run: RunLayout) -> tuple[Survey, list[str]]:
        """Write the lists of new files to S3, one pass over landing place and ledger.

        :returns: what was seen, and the addresses of the lists
        """
        from image_labels import jsonlines

        day = day_of(context)
        place = open_landing(self.landing, day, self.layout, self.aws_conn_id)
        ledger = jsonlines.read_if_there(self.s3, run.layout.bucket, run.layout.ledger(place.uri, self._settings))
        survey = Survey()
        files = new_files(
            place.files(),
            ledger,
            run.run_id,
            time.time() - float(self.settle_seconds),
            survey,
            retry_quarantined=is_true(self.retry_quarantined),
        )
        turns = (
            (f"{file.waiting_since or day.isoformat()}/{number:012d}", file._asdict())
            for number, file in enumerate(files)
        )
        batches = []
        with closing(sorted_on_disk(turns)) as in_turn:
            # With the first of them all have been counted.
            first = list(islice(in_turn, 1))
            taken = islice(chain(first, in_turn), MOST_FILES)
            for number, batch in enumerate(growing(taken, batch_size(survey.new, int(self.batch_size)))):
                jsonlines.write(self.s3, run.layout.bucket, run.sensed(number), batch)
                batches.append(run.layout.uri(run.sensed(number)))
        return survey, batches

    def _finish(self, context: Context, run: RunLayout, survey: Survey, batches: list[str]) -> list[str]:
        self.log.info("%s, %d batches", survey, len(batches))
        counts = survey.books() | {"carried": max(0, survey.new - MOST_FILES), "batches": len(batches)}
        context["ti"].xcom_push(key="books", value=counts)
        if not is_true(self.forecast_only):
            self._open(context, run)
        return batches

    def _open(self, context: Context, run: RunLayout) -> None:
        from image_labels import claims, indexes
        from image_labels.ingest import recover

        with self.database() as database:
            indexes.ensure_before_loading(database[IMAGES])
            if recovered := recover(database[RUNS], database[IMAGES], self.s3, self.layout, run.run_id):
                self.log.info("%d answers of runs that did not end were stored", recovered)
            claims.drop(database[CLAIMS], run.run_id, purse_too=True)
            self.open_run(database, context, anew=True)


def batch_size(files: int, least: int) -> int:
    """Return how many of a run's new files a batch has.

    :param least: what was asked for
    """
    few, most = (-(-files // batches) for batches in (FEW_BATCHES, MOST_BATCHES))
    return max(least, min(few, LARGE_BATCH), min(most, LARGEST_BATCH))


def growing(rows: Iterable[T], most: int) -> Iterator[list[T]]:
    """Yield ``rows`` in lists of :data:`FIRST_BATCH`, then twice as many, and so on up to ``most``."""
    iterator = iter(rows)
    size = min(FIRST_BATCH, most)
    while chunk := list(islice(iterator, size)):
        yield chunk
        size = min(2 * size, most)
