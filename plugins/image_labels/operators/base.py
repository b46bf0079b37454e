"""What the pipeline's operators share: where things are, and which run this is."""

from __future__ import annotations

import gc
import os
import re
from contextlib import contextmanager
from datetime import UTC, date, datetime, time
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, cast
from urllib.parse import quote

from airflow.sdk import (
    BaseOperator,
    BaseOperatorLink,
    ExceptionRetryPolicy,
    ObjectStoragePath,
    RetryAction,
    RetryDecision,
    RetryRule,
    conf,
)
from airflow.sdk.execution_time.xcom import XCom

from image_labels.errors import BadSettings, BooksDoNotBalance, NotAllowed, TooManyRefused, denied_action
from image_labels.landing import Landing, LocalLanding, S3Landing
from image_labels.layout import Layout, RunLayout
from image_labels.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from airflow.sdk import Context
    from airflow.sdk.types import TaskInstanceKey
    from mypy_boto3_s3 import S3Client
    from pymongo.database import Database

    from image_labels.books import Books

IMAGES = "images"
RUNS = "runs"
LIMITS = "limits"
CLAIMS = "claims"
"""Collections: the documents, the books of the runs, and what workers share: rates, and who asks about what."""

LOGIN_REFUSED = 18
"""The database's code. While a password is being rotated the new one is refused for a few seconds, then right."""

DAY_TOKEN = re.compile(r"\{\{\s*ds\s*\}\}")


class FailWhereRetryingIsNoUse(ExceptionRetryPolicy):
    """Fails a task at once where trying again is no use, and leaves the rest to its ``retries``."""

    def __init__(self) -> None:
        reasons = {
            NotAllowed: "credentials or permissions are wrong",
            BadSettings: "a setting is wrong",
            BooksDoNotBalance: "the books do not balance",
            TooManyRefused: "the set-up is broken",
        }
        super().__init__([RetryRule(exception=e, action=RetryAction.FAIL, reason=r) for e, r in reasons.items()])

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        """Decide, naming the missing permission where a service denied one."""
        if getattr(exception, "code", None) == LOGIN_REFUSED:
            return super().evaluate(exception, try_number, max_tries, context)
        if action := denied_action(exception):
            return RetryDecision.fail(f"{action} was denied; allow it to the connection's role, then clear the task")
        return super().evaluate(exception, try_number, max_tries, context)


RETRY_POLICY = FailWhereRetryingIsNoUse()


class S3Link(BaseOperatorLink):
    """Leads from a task to what it has written, shown by the plugin's pages to who may read the DAG."""

    name = "S3"
    key: ClassVar[str] = "s3_place"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address of the place that the task has put down; empty if it has none.

        :param operator: the task
        :param ti_key: which of its tries
        """
        uri = XCom.get_value(ti_key=ti_key, key=self.key)
        if not uri:
            return ""
        base = conf.get("api", "base_url", fallback="").rstrip("/")
        return f"{base}/image-labels/s3/{quote(uri.removeprefix('s3://'))}"


def day_of(context: Context) -> date:
    """Return the day that a run stands for: that of its logical date, or of its start where it has none."""
    run = context["dag_run"]
    return (run.logical_date or run.run_after).astimezone(UTC).date()


def midnight(day: date) -> datetime:
    """Return a day's first moment in UTC."""
    return datetime.combine(day, time(), tzinfo=UTC)


class ImageLabelsOperator(BaseOperator):
    """What all operators here have.

    :param bucket: the pipeline's bucket (templated)
    :param prefix: its folder in the bucket (templated)
    :param aws_conn_id: connection for S3 and Rekognition (templated)
    :param documentdb_conn_id: connection for DocumentDB (templated)
    """

    template_fields: Sequence[str] = ("bucket", "prefix", "aws_conn_id", "documentdb_conn_id")
    operator_extra_links: Sequence[BaseOperatorLink] = (S3Link(),)
    ui_color = "#e8f1f8"

    def __init__(
        self,
        *,
        bucket: str,
        prefix: str = "image-labels",
        aws_conn_id: str = "aws_default",
        documentdb_conn_id: str = "documentdb_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.bucket = bucket
        self.prefix = prefix
        self.aws_conn_id = aws_conn_id
        self.documentdb_conn_id = documentdb_conn_id

    def pre_execute(self, context: Context) -> None:
        """Prepare the process, which works on this task only."""
        collect_garbage_seldom()

    @property
    def layout(self) -> Layout:
        """Where things lie."""
        return Layout(str(self.bucket), str(self.prefix))

    def run_layout(self, context: Context) -> RunLayout:
        """Where the things of this run lie."""
        return self.layout.run(day_of(context), context["dag_run"].run_id)

    @cached_property
    def s3(self) -> S3Client:
        """Client for the pipeline's bucket."""
        return s3_client(self.aws_conn_id)

    @contextmanager
    def database(self) -> Iterator[Database[dict[str, Any]]]:
        """Connect to the database as long as the context lasts."""
        from image_labels.hooks.documentdb import DocumentDBHook

        with DocumentDBHook(self.documentdb_conn_id) as hook:
            yield hook.database

    def open_run(self, database: Database[dict[str, Any]], context: Context, *, anew: bool = False) -> datetime:
        """Enter the run in the books as open, and return when it began.

        :param anew: whether it begins now, be it for the first time or again
        :raises BadSettings: if the books have a run of another DAG under the same id
        """
        from image_labels.ingest import OPEN

        now = {"opened_at": datetime.now(UTC)}
        opened: dict[str, Any] = {"state": OPEN}
        change = {"$set": opened | now} if anew else {"$set": opened, "$setOnInsert": now}
        # What an earlier try was answered may have been stored by another run, or by this one.
        entry = self.change_entry(database, context, change | {"$unset": {"recovered_by": ""}})
        return cast("datetime", entry["opened_at"]).replace(tzinfo=UTC)

    def change_entry(
        self, database: Database[dict[str, Any]], context: Context, change: dict[str, dict[str, Any]]
    ) -> dict[str, Any]:
        """Change the run's entry in the books, making it if there is none, and return it.

        :param change: for the database; with a ``$set``
        :raises BadSettings: if the books have a run of another DAG under the same id
        """
        from pymongo import ReturnDocument
        from pymongo.errors import DuplicateKeyError

        run_id = context["dag_run"].run_id
        which = {"logical_date": midnight(day_of(context)), "place": self.layout.place}
        try:
            entry = database[RUNS].find_one_and_update(
                {"_id": run_id, "dag_id": self.dag_id},
                {**change, "$set": which | change["$set"]},
                upsert=True,
                return_document=ReturnDocument.AFTER,
            )
        except DuplicateKeyError:
            raise BadSettings(
                f"The books in {database.name!r} have a run {run_id!r} of another DAG than {self.dag_id!r}; "
                "give each DAG a database and a prefix of its own"
            ) from None
        if entry is None:
            raise RuntimeError("The database neither found nor made the run's entry")
        return entry

    def books_so_far(
        self,
        context: Context,
        sense_task_id: str = "sense",
        upload_task_id: str = "batch.upload",
        analyse_task_id: str = "batch.analyse",
        ingest_task_id: str = "batch.ingest",
    ) -> Books:
        """Return the books of the run from what its tasks have counted."""
        from image_labels import books

        def counts(task_id: str) -> list[dict[str, int]]:
            found = context["ti"].xcom_pull(task_ids=task_id, key="books")
            return [found] if isinstance(found, dict) else [count for count in found or [] if count]

        batches = (counts(task_id) for task_id in (upload_task_id, analyse_task_id, ingest_task_id))
        return books.add_up(next(iter(counts(sense_task_id)), {}), *batches)

    def tell_assets(self, context: Context, rows: Mapping[str, int]) -> None:
        """Tell the assets that have a table's name about its partition.

        :param rows: that the day's partition has, by table
        """
        day = day_of(context)
        for outlet in self.outlets:
            if outlet.name in rows:
                context["outlet_events"][outlet].extra = {
                    "uri": self.layout.uri(self.layout.report(outlet.name, day, "")),
                    "report_date": day.isoformat(),
                    "rows": rows[outlet.name],
                    "schema_version": TABLES[outlet.name].version,
                }

    def put_down_place(self, context: Context, key: str) -> None:
        """Remember where the task's work lies, for its link."""
        context["ti"].xcom_push(key=S3Link.key, value=self.layout.uri(key))


def collect_garbage_seldom() -> None:
    """Let Python look for garbage in cycles seldom, and never among what has been imported.

    Answers and documents are many small containers without cycles; looking through all of them over and over takes up
    to half of a task's time.

    .. seealso:: https://docs.python.org/3/library/gc.html#gc.freeze
    """
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


def s3_client(aws_conn_id: str) -> S3Client:
    """Return a client for S3 that tries again as AWS recommends."""
    from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
    from botocore.config import Config
    from botocore.handlers import add_expect_header

    config = Config(retries={"mode": "standard", "total_max_attempts": 8}, max_pool_connections=32)
    client: S3Client = AwsBaseHook(aws_conn_id, client_type="s3", config=config).get_conn()
    # A connection that is cut right after "100 Continue" makes botocore read on for ever.
    client.meta.events.unregister("before-call.s3", add_expect_header)
    return client


def open_landing(landing: str, day: date, layout: Layout, aws_conn_id: str) -> Landing:
    """Return the landing place at an address.

    What a file's path is relative to ends before the day's folder: two days' ``IMG_0001.jpg`` are two images.

    :param landing: a local folder (``/data/photos``, ``file:///data/photos``) or ``s3://bucket/folder``, also with a
        connection of its own (``s3://conn@bucket/folder``); ``{{ ds }}`` in it stands for the day of the run
    :raises BadSettings: if it is neither
    """
    address = DAY_TOKEN.sub(day.isoformat(), str(landing))
    before, daily, _ = address.partition(day.isoformat())
    place = ObjectStoragePath(address)
    root = ObjectStoragePath(before.rpartition("/")[0]) if daily else place
    if place.protocol in ("", "file"):
        folder = os.path.abspath(os.path.expanduser(place.path))
        below = os.path.relpath(folder, os.path.abspath(os.path.expanduser(root.path)))
        return LocalLanding(folder, "" if below == "." else f"{below}/")
    if place.protocol == "s3":
        client = s3_client(place.conn_id or aws_conn_id)
        # Not its property `key`, which ends at a # or a question mark.
        bucket, _, folder = place.path.partition("/")
        return S3Landing(client, bucket, folder.rstrip("/"), root.path.partition("/")[2].rstrip("/"), layout)
    raise BadSettings(f"The landing place {landing!r} is neither a local folder nor an s3:// address")


def is_true(value: Any) -> bool:
    """Return a template's truth value, which is a text where the DAG does not render native objects."""
    return str(value).lower() in ("true", "1", "yes")


def optional(value: Any) -> float | None:
    """Return a template's number; None where it has none, likewise."""
    return None if value in (None, "", "None") else float(value)
