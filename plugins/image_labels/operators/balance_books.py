"""Step 7: the run's books."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING, Any

from image_labels.documents import Settings
from image_labels.errors import BooksDoNotBalance, TooManyRefused, check_share
from image_labels.ingest import BALANCED, FAILED
from image_labels.operators.base import CLAIMS, RUNS, ImageLabelsOperator, day_of, is_true, midnight, open_landing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow.sdk import Context
    from pymongo.database import Database

    from image_labels.books import Books
    from image_labels.landing import LedgerRow
    from image_labels.layout import RunLayout


class BalanceBooksOperator(ImageLabelsOperator):
    """Close the books of a run: in the ``runs`` collection, the run's note and the log.

    It is meant to run whatever became of the other tasks (``trigger_rule="all_done"``), and fails when one of them has
    failed or a sum does not come out. Only when all is well does the ledger of the landing place learn what was dealt
    with.

    :param landing: the landing place; ``{{ ds }}`` in it stands for the day (templated)
    :param min_confidence: what was asked of Rekognition, in percent (templated)
    :param max_labels: what was asked of Rekognition (templated)
    :param price_per_thousand: US dollars for a thousand calls (templated)
    :param max_failure_share: share of refused images that is accepted, 0 to 1 (templated)
    :param quota: calls a second, for the forecast of a dry run (templated)
    :param forecast_only: whether the run only looked (templated)
    :param sense_task_id: whose books are read
    :param upload_task_id: whose books are read
    :param analyse_task_id: whose books are read
    :param ingest_task_id: whose books are read
    :returns: the books
    """

    template_fields: Sequence[str] = (
        *ImageLabelsOperator.template_fields,
        "landing",
        "min_confidence",
        "max_labels",
        "price_per_thousand",
        "max_failure_share",
        "quota",
        "forecast_only",
    )

    def __init__(
        self,
        *,
        landing: str,
        min_confidence: float = 50,
        max_labels: int = 100,
        price_per_thousand: float = 1.0,
        max_failure_share: float = 0.2,
        quota: float = 5,
        forecast_only: bool = False,
        sense_task_id: str = "sense",
        upload_task_id: str = "batch.upload",
        analyse_task_id: str = "batch.analyse",
        ingest_task_id: str = "batch.ingest",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.landing = landing
        self.min_confidence = min_confidence
        self.max_labels = max_labels
        self.price_per_thousand = price_per_thousand
        self.max_failure_share = max_failure_share
        self.quota = quota
        self.forecast_only = forecast_only
        self.sense_task_id = sense_task_id
        self.upload_task_id = upload_task_id
        self.analyse_task_id = analyse_task_id
        self.ingest_task_id = ingest_task_id

    def execute(self, context: Context) -> Books:
        """Close the books.

        :raises BooksDoNotBalance: if a task failed, a sum does not come out, or too many images were refused
        """
        from image_labels import books, claims

        run = self.run_layout(context)
        self.put_down_place(context, run.quarantine)
        totals = self.books_so_far(
            context, self.sense_task_id, self.upload_task_id, self.analyse_task_id, self.ingest_task_id
        )
        dry_run = is_true(self.forecast_only)
        problems = list(self._failed(context))
        with self.database() as database:
            if dry_run:
                # There is nothing new that those who wait for these would find.
                self.outlets = []
                day = day_of(context).isoformat()
                self._tell(context, books.forecast(totals, day, float(self.price_per_thousand), float(self.quota)))
            else:
                problems += self._imbalances(totals)
                self._close(database, context, run, totals, problems)
            if problems:
                raise BooksDoNotBalance("; ".join(problems))
            if not dry_run:
                self._extend_ledger(context, run, totals["sense"].get("batches", 0))
            claims.drop(database[CLAIMS], run.run_id, purse_too=dry_run)
        return totals

    def _imbalances(self, totals: Books) -> Iterator[str]:
        """Yield a sentence for each sum that does not come out, and for too many refused images."""
        from image_labels import books

        yield from books.imbalances(totals)
        try:
            check_share(books.quarantined(totals), books.looked_at(totals), float(self.max_failure_share), "The run")
        except TooManyRefused as refusal:
            yield str(refusal)

    def _tell(self, context: Context, note: str) -> None:
        self.log.info("%s", note)
        context["ti"].xcom_push(key="note", value=note)

    def _close(
        self,
        database: Database[dict[str, Any]],
        context: Context,
        run: RunLayout,
        totals: Books,
        problems: list[str],
    ) -> None:
        """Close the run's entry, list what it could not take, and write the books of the day's runs as tables."""
        from image_labels import books, jsonlines
        from image_labels.reports import export_books

        price = float(self.price_per_thousand)
        closed = {
            "closed_at": datetime.now(UTC),
            "state": FAILED if problems else BALANCED,
            "problems": problems,
            "landing": self.landing,
            "settings": self._settings.as_dict(),
            "books": totals,
            "spent_usd": totals["analyse"].get("called", 0) * price / 1000,
            "quarantine": run.layout.uri(run.quarantine),
        }
        self.change_entry(database, context, {"$set": closed})
        refused = self._refused(run, totals["sense"].get("batches", 0))
        jsonlines.write(self.s3, run.layout.bucket, run.quarantine, refused)
        runs = list(database[RUNS].find({"logical_date": midnight(run.day)}))
        self.tell_assets(context, export_books(runs, self.s3, self.layout, run.day))
        self._tell(context, books.summary(totals, run.day.isoformat(), problems, price))

    @property
    def _settings(self) -> Settings:
        return Settings(float(self.min_confidence), int(self.max_labels))

    def _failed(self, context: Context) -> Iterator[str]:
        """Yield a sentence for each task of the run that has failed."""
        states = context["ti"].get_task_states(dag_id=self.dag_id, run_ids=[context["dag_run"].run_id])
        for task_id, state in sorted(states.get(context["dag_run"].run_id, {}).items()):
            if state in ("failed", "upstream_failed") and task_id != self.task_id:
                yield f"{task_id} is {str(state).replace('_', ' ')}"

    def _refused(self, run: RunLayout, batches: int) -> Iterator[dict[str, Any]]:
        from image_labels import jsonlines

        for batch in range(batches):
            for step in ("upload", "analyse"):
                yield from jsonlines.read_if_there(self.s3, run.layout.bucket, run.refused(step, batch))

    def _extend_ledger(self, context: Context, run: RunLayout, batches: int) -> None:
        """Enter what became of the new files; a killed try leaves the old ledger or the new one."""
        from image_labels import jsonlines
        from image_labels.landing import QUARANTINED, merge
        from image_labels.on_disk import sorted_on_disk

        place = open_landing(self.landing, day_of(context), run.layout, self.aws_conn_id)
        key = run.layout.ledger(place.uri, str(self._settings))
        bucket = run.layout.bucket

        def fates(batch: int) -> Iterator[tuple[str, LedgerRow]]:
            refused = {row["path"] for row in jsonlines.read_if_there(self.s3, bucket, run.refused("analyse", batch))}
            for path, size, version, run_id, fate, since in jsonlines.read(self.s3, bucket, run.settled(batch)):
                yield path, [path, size, version, run_id, QUARANTINED if path in refused else fate, since]

        if batches:
            ledger = jsonlines.read_if_there(self.s3, bucket, key)
            settled = sorted_on_disk(chain.from_iterable(map(fates, range(batches))))
            jsonlines.write(self.s3, bucket, key, merge(ledger, settled))
