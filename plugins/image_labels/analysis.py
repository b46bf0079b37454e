"""Asking Rekognition about the images of one batch, each content once, at the rate of the quota.

What is known is never asked again: the batch's own answers of an earlier try, then the collection. What another batch
of the run asks about is taken from its results. Answers are put aside in S3 while the calls go on, so a worker that
dies costs at most :data:`CHECKPOINT_ANSWERS` or those of :data:`CHECKPOINT_SECONDS`, whichever are fewer, and the calls
that were under way.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from image_labels import jsonlines
from image_labels.documents import Document, Row, Settings, answers_by_content
from image_labels.errors import CutShort, NotAllowed, Verdict, check_share, code_of, message_of, verdict
from image_labels.layout import batch_name
from image_labels.on_disk import RowsOnDisk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_rekognition import RekognitionClient
    from mypy_boto3_s3 import S3Client
    from pymongo.collection import Collection

    from image_labels.layout import RunLayout
    from image_labels.limiter import SharedRate

CHECKPOINT_ANSWERS = 200
CHECKPOINT_SECONDS = 5.0
PROGRESS_SECONDS = 10.0
LOOKUP = 500
"""Contents that are looked up in the collection at once."""

CALLS_IN_FLIGHT = 128
"""At most; as many are under way as the quota and the service's latency make it."""

AWAIT_SECONDS = 900.0
"""Another batch that gets no answers for so long fails the task that waits for one of them."""

AWAIT_POLL_SECONDS = 1.0

GIVE_UP_SECONDS = 600.0
"""An image for which the service has only faults so long fails the task, which Airflow then tries again."""

log = logging.getLogger(__name__)


def as_json(value: Row) -> msgspec.Raw:
    """Make the JSON of a value, which is written as it is where it stands in a row."""
    return msgspec.Raw(jsonlines.encode(value))


@dataclass
class AnalysisBooks:
    """What became of a batch's images. ``to_analyse = called + reused + quarantined``."""

    to_analyse: int = 0
    called: int = 0
    reused: int = 0
    quarantined: int = 0


class Known(msgspec.Struct, frozen=True):
    """What Rekognition has said about a content.

    :param origin: key of the image that it was asked about
    :param answer: what it answered, as JSON; null if it refused the image
    :param analysis: ``at``, ``settings`` and ``paid_by``, the run that called
    :param refused: step, code, reason and time, if it refused
    """

    origin: str
    answer: msgspec.Raw = msgspec.Raw(b"null")
    analysis: Row = {}
    refused: Row | None = None

    @classmethod
    def from_row(cls, row: Row) -> Known:
        """Read a result row."""
        if "refused" in row:
            return cls(row["image"]["key"], refused=row["refused"])
        return cls._made(row["image"]["key"], row["answer"], row["analysis"])

    @classmethod
    def from_json(cls, data: bytes) -> Known:
        """Read what was put on disk."""
        return msgspec.json.decode(data, type=cls)

    @classmethod
    def from_document(cls, document: Document) -> Known:
        """Read a document."""
        answer: Row = {name: document[name] for name in ("Labels", "LabelModelVersion") if name in document}
        at = document["analysis"]["at"].replace(tzinfo=UTC).isoformat(timespec="milliseconds")
        return cls._made(document["_id"], answer, {**document["analysis"], "at": at})

    @classmethod
    def _made(cls, key: str, answer: Row | msgspec.Raw, analysis: Row) -> Known:
        lasting: Row = {name: analysis[name] for name in ("at", "settings", "paid_by") if name in analysis}
        kept = as_json(answer) if isinstance(answer, dict) else answer
        return cls(analysis.get("reused_from", key), kept, lasting)

    def row(self, image: Row, run_id: str, opened_at: str) -> Row:
        """Return the result row of an image with this content.

        :param opened_at: when the run began
        """
        if self.refused:
            return {"image": image, "refused": self.refused}
        analysis = {**self.analysis, "dag_run": run_id, "opened_at": opened_at}
        if self.analysis["paid_by"] != run_id or self.origin != image["key"]:
            analysis["reused_from"] = self.origin
        return {"image": image, "answer": self.answer, "analysis": analysis}


@dataclass
class Batch:
    """One batch of a run and all it takes to analyse it.

    :param number: of the batch
    :param opened_at: when the run began, ISO 8601; tells which of two answers for an image is the later one
    :param rekognition: client without retries of its own: each try has to keep to the rate
    :param collection: of the documents
    :param rate: shared with the batches that run at the same time
    :param quota: transactions a second, for the progress
    :param price_per_thousand: US dollars for a thousand calls, for the progress
    :param max_failure_share: share of refused images that is accepted, 0 to 1
    """

    run: RunLayout
    number: int
    opened_at: str
    settings: Settings
    s3: S3Client
    rekognition: RekognitionClient
    collection: Collection[Document]
    rate: SharedRate
    quota: float
    price_per_thousand: float = 1.0
    max_failure_share: float = 0.2
    _listed: RowsOnDisk = field(init=False)
    _known: RowsOnDisk = field(init=False)

    def analyse(self) -> AnalysisBooks:
        """Answer for every image of the batch and write the results.

        May be repeated after any interruption; what was answered is not asked again.

        :raises NotAllowed: if Rekognition denies access
        :raises TooManyRefused: if more images are refused than accepted
        :raises botocore.exceptions.ClientError: if the service keeps failing, see :data:`GIVE_UP_SECONDS`
        """
        bucket = self.run.layout.bucket
        books = AnalysisBooks()
        refused: list[Row] = []
        with RowsOnDisk() as self._listed, RowsOnDisk() as self._known:
            manifest = jsonlines.read(self.s3, bucket, self.run.manifest(self.number))
            self._listed.put((f"{number:09d}", image) for number, image in enumerate(manifest))
            self._recall_own()
            wanted, elsewhere = self._unanswered()
            self._ask(wanted)
            if elsewhere:
                # The others may wait for answers of this batch likewise.
                known = (image for image in self._images() if image["sha256"] in self._known)
                jsonlines.write(self.s3, bucket, self.run.known(self.number), map(self._row, known))
            for batch, contents in elsewhere.items():
                self._await(batch, {content for content in contents if content not in self._known})
            jsonlines.write(self.s3, bucket, self.run.result(self.number), self._rows(books, refused))
        jsonlines.write(self.s3, bucket, self.run.refused("analyse", self.number), refused)
        jsonlines.delete(self.s3, bucket, list(jsonlines.keys(self.s3, bucket, self._checkpoints)))
        return books

    def _images(self) -> Iterator[Row]:
        """Yield the batch's images in the manifest's order."""
        return map(jsonlines.decode, self._listed.in_order())

    def _unanswered(self) -> tuple[set[str], dict[int, set[str]]]:
        """Return the contents that have no answer: those to be asked about, and by batch those others ask about."""
        asked: set[str] = set()
        elsewhere: dict[int, set[str]] = {}
        images = 0
        for chunk in jsonlines.batched(self._images(), LOOKUP):
            images += len(chunk)
            self._recall_collection({image["sha256"] for image in chunk})
            for image in chunk:
                if image["sha256"] not in self._known:
                    contents = elsewhere.setdefault(image["asked_in"], set()) if "asked_in" in image else asked
                    contents.add(image["sha256"])
        log.info("%d images, %d calls to make", images, len(asked))
        return asked, elsewhere

    @property
    def _checkpoints(self) -> str:
        return self.run.checkpoints(self.number)

    def _recall_own(self) -> None:
        """Recall what an earlier try of this batch was answered.

        What it was refused is asked again, for somebody may have mended the permission that was at fault; and it is
        withdrawn, so that no other batch takes it for an answer. Answers for what is not in the batch any more, or
        under other settings, have been paid for and are in no other list, so they are kept beside the results.
        """
        bucket = self.run.layout.bucket
        result, besides = self.run.result(self.number), self.run.earlier(self.number)
        if any("answer" not in row for row in jsonlines.read_if_there(self.s3, bucket, result)):
            jsonlines.write(self.s3, bucket, result, self._answered(result))
        with RowsOnDisk() as earlier:
            for key in (result, *jsonlines.keys(self.s3, bucket, self._checkpoints)):
                earlier.put(self._recalled(key))
            earlier.remove(_question(image, self.settings) for image in self._images())
            # What is besides stays there: a try that dies now must not have taken it away.
            earlier.put((question, row) for question, row in self._recalled(besides) if question not in earlier)
            if not earlier.is_empty():
                jsonlines.write(self.s3, bucket, besides, map(msgspec.Raw, earlier.in_order()))
        # Its answers are in other checkpoints, too.
        jsonlines.delete(self.s3, bucket, [self.run.known(self.number)])

    def _recalled(self, key: str) -> Iterator[tuple[str, Row]]:
        """Recall the answers in an object, and yield them with what they answer."""
        for row in self._answered(key):
            content = row["image"]["sha256"]
            if content not in self._known and self._is_valid(row):
                self._known.put([(content, Known.from_row(row))])
            yield _question(row["image"], Settings(**row["analysis"]["settings"])), row

    def _answered(self, key: str) -> Iterator[Row]:
        rows = jsonlines.read_if_there(self.s3, self.run.layout.bucket, key)
        return (row for row in rows if "answer" in row)

    def _recall_collection(self, contents: set[str]) -> None:
        """Recall what was answered before, in whatever run and under whatever name."""
        if unknown := sorted(content for content in contents if content not in self._known):
            found = answers_by_content(self.collection, unknown, self.settings)
            self._known.put((content, Known.from_document(document)) for content, document in found.items())

    def _await(self, batch: int, contents: set[str]) -> None:
        """Take the answers for contents that another batch asks about from its results.

        :raises TimeoutError: if they don't come
        """
        bucket, results = self.run.layout.bucket, (self.run.result(batch), self.run.known(batch))
        seen: dict[str, str] = {}
        until = time.monotonic() + AWAIT_SECONDS
        while True:
            pages = jsonlines.pages(self.s3, bucket, self.run.answers(batch))
            there = {item["Key"]: item["ETag"] for page in pages for item in page.get("Contents", ())}
            for key in results:
                if there.get(key) != seen.get(key):
                    self._take(key, contents)
            if not contents:
                return
            if there != seen:
                seen, until = there, time.monotonic() + AWAIT_SECONDS
            if time.monotonic() > until:
                raise TimeoutError(
                    f"{len(contents)} images have the same content as images of {batch_name(batch)}, which has no "
                    f"results for them and nothing new for {AWAIT_SECONDS:.0f} s; see why, and clear this task when it "
                    "has, or this batch's task `upload` if it never will"
                )
            time.sleep(AWAIT_POLL_SECONDS)

    def _take(self, key: str, contents: set[str]) -> None:
        """Take answers from another batch's, and out of ``contents``."""
        for row in jsonlines.read_if_there(self.s3, self.run.layout.bucket, key):
            if row["image"]["sha256"] in contents and self._is_valid(row):
                self._known.put([(row["image"]["sha256"], Known.from_row(row))])
                contents.discard(row["image"]["sha256"])

    def _is_valid(self, row: Row) -> bool:
        return "refused" in row or row["analysis"]["settings"] == self.settings.as_dict()

    def _rows(self, books: AnalysisBooks, refused: list[Row]) -> Iterator[Row]:
        """Yield each image's row in the manifest's order, counting them."""
        for image in self._images():
            row = self._row(image)
            books.to_analyse += 1
            if "refused" in row:
                books.quarantined += 1
                refused.append({"path": image["path"], "key": image["key"], **row["refused"]})
            elif "reused_from" in row["analysis"]:
                books.reused += 1
            else:
                books.called += 1
            yield row

    def _row(self, image: Row) -> Row:
        image.pop("asked_in", None)
        return Known.from_json(self._known[image["sha256"]]).row(image, self.run.run_id, self.opened_at)

    # --- calls ---

    def _ask(self, contents: set[str]) -> None:
        """Call Rekognition once for each content; every answer is in :attr:`_known` and in a checkpoint afterwards."""
        if not contents:
            return
        answers: queue.SimpleQueue[Row] = queue.SimpleQueue()
        progress = Progress(len(contents), self.quota, self.price_per_thousand)
        stop = threading.Event()
        free = threading.BoundedSemaphore(CALLS_IN_FLIGHT)
        calls: deque[Future[None]] = deque()

        def call(image: Row) -> None:
            try:
                if not stop.is_set():
                    answers.put(self._answer(image))
            except BaseException:
                stop.set()
                raise
            finally:
                free.release()

        with (
            CheckpointWriter(self.s3, self.run.layout.bucket, self._checkpoints, answers, self._known) as writer,
            ThreadPoolExecutor(CALLS_IN_FLIGHT, thread_name_prefix="detect-labels") as pool,
        ):
            for image in self._first_with(contents):
                self.rate.wait(left=len(contents))
                free.acquire()
                if stop.is_set():
                    free.release()
                    break
                calls.append(pool.submit(call, image))
                _let_go(calls)
                writer.write_if_due()
                progress.show(writer.count)
                writer.check_share(self.max_failure_share)
            while not all(done.done() for done in calls):
                time.sleep(0.05)
                writer.write_if_due()
                progress.show(writer.count)
        for done in calls:
            done.result()
        writer.check_share(self.max_failure_share)

    def _first_with(self, contents: set[str]) -> Iterator[Row]:
        """Yield the first image with each content, and take out those that have been dealt with."""
        for image in self._images():
            if image["sha256"] in contents and "asked_in" not in image:
                yield image
                contents.discard(image["sha256"])

    def _answer(self, image: Row) -> Row:
        """Call Rekognition for one image, however often it takes; the first try has its place in the rate already."""
        import tenacity
        from botocore.exceptions import ClientError

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda error: verdict(error) in (Verdict.SLOW_DOWN, Verdict.TRY_AGAIN)),
            wait=tenacity.wait_exponential_jitter(multiplier=0.2, max=10),
            stop=tenacity.stop_after_delay(GIVE_UP_SECONDS),
            before_sleep=self._before_retry,
            reraise=True,
        )
        try:
            for attempt in retrying:
                with attempt:
                    if attempt.retry_state.attempt_number > 1:
                        self.rate.wait()
                    return self._detect(image)
            raise AssertionError("tenacity returns or raises")
        except ClientError as error:
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            decided = verdict(error)
            if decided is Verdict.FAIL:
                raise NotAllowed(
                    f"rekognition:DetectLabels was denied ({code_of(error)}: {message_of(error)}). "
                    "Allow the action to the role of connection aws_default, and s3:GetObject on the images; "
                    "then clear this task"
                ) from error
            if decided is not Verdict.QUARANTINE:
                raise
            reason = f"Rekognition refused it: {message_of(error)}"
            return {"image": image, "refused": {"step": "analyse", "code": code_of(error), "reason": reason, "at": now}}

    def _detect(self, image: Row) -> Row:
        response: dict[str, Any] = dict(
            self.rekognition.detect_labels(
                Image={"S3Object": {"Bucket": self.run.layout.bucket, "Name": image.get("rendition") or image["key"]}},
                MinConfidence=self.settings.min_confidence,
                MaxLabels=self.settings.max_labels,
            )
        )
        if "Labels" not in response:
            raise CutShort(f"The answer for {image['key']!r} holds no Labels")
        response.pop("ResponseMetadata", None)
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        analysis = {"at": now, "settings": self.settings.as_dict(), "paid_by": self.run.run_id}
        return Known(image["key"], as_json(response), analysis).row(image, self.run.run_id, self.opened_at)

    def _before_retry(self, state: Any) -> None:
        error = state.outcome.exception()
        if verdict(error) is Verdict.SLOW_DOWN:
            self.rate.throttled()
        log.debug("Trying again after %r", error)


def _question(image: Row, settings: Settings) -> str:
    return f"{image['sha256']} {settings} {image['key']}"


def _let_go(calls: deque[Future[None]]) -> None:
    """Drop the first calls as far as they have succeeded."""
    while calls and calls[0].done() and not calls[0].exception():
        calls.popleft()


class CheckpointWriter:
    """Puts answers into S3 beside the work, in a thread of its own.

    :param folder: key of the batch's checkpoints
    :param answers: where the calls put their rows
    :param known: gets each answer by its content, see :class:`Known`
    """

    def __init__(
        self, s3: S3Client, bucket: str, folder: str, answers: queue.SimpleQueue[Row], known: RowsOnDisk
    ) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._folder = folder
        self._answers = answers
        self._known = known
        self._rows: list[Row] = []
        self._written_at = time.monotonic()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._written: list[Row] = []
        self._writing: Future[int] | None = None
        self.count = 0
        self.refused = 0

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(self, *exc_info: object) -> None:
        with self._thread:
            try:
                self._end_writing()
            finally:
                # With what could not be written before, if there is any.
                try:
                    self.write_if_due(at_once=True)
                finally:
                    self._end_writing()

    def write_if_due(self, *, at_once: bool = False) -> None:
        """Take what has been answered and begin a checkpoint when it is time.

        :raises botocore.exceptions.ClientError: if the one before could not be written
        """
        taken = []
        while not self._answers.empty():
            taken.append(self._answers.get())
        self._rows += taken
        self.count += len(taken)
        self.refused += sum("refused" in row for row in taken)
        # By halves: while one is being written, the other one comes in.
        late = time.monotonic() - self._written_at >= CHECKPOINT_SECONDS / 2
        if self._rows and (at_once or late or len(self._rows) >= CHECKPOINT_ANSWERS // 2):
            self._end_writing()
            self._written, self._rows = self._rows, []
            self._written_at = time.monotonic()
            key = f"{self._folder}{time.time_ns()}.jsonl.gz"
            self._writing = self._thread.submit(jsonlines.write, self._s3, self._bucket, key, self._written)
        # At last: if the disk is full, the answers are in S3 all the same.
        self._known.put((row["image"]["sha256"], Known.from_row(row)) for row in taken)

    def _end_writing(self) -> None:
        """Wait until the checkpoint that is being written is there; what could not be written is the next one's."""
        writing, self._writing = self._writing, None
        if writing and writing.exception():
            self._rows = self._written + self._rows
        if writing:
            writing.result()

    def check_share(self, most: float) -> None:
        """Check that not too many of the images were refused.

        :param most: share that is accepted, 0 to 1
        :raises TooManyRefused: if there are more
        """
        check_share(self.refused, self.count, most, "Rekognition")


class Progress:
    """Says in the log how far the calls have come.

    :param total: calls to make
    :param quota: calls a second
    :param price_per_thousand: US dollars for a thousand calls
    """

    def __init__(self, total: int, quota: float, price_per_thousand: float) -> None:
        self._total = total
        self._quota = quota
        self._price = price_per_thousand / 1000
        self._started_at = self._shown_at = time.monotonic()

    def show(self, done: int) -> None:
        """Log a line every :data:`PROGRESS_SECONDS`."""
        now = time.monotonic()
        if now - self._shown_at < PROGRESS_SECONDS:
            return
        self._shown_at = now
        rate = done / (now - self._started_at)
        left = (self._total - done) / rate if rate else float("inf")
        log.info(
            "%d of %d answered, %.1f/s (%.0f %% of the quota), %.0f s to go, %.2f USD so far",
            done, self._total, rate, 100 * rate / self._quota, left, done * self._price,
        )  # fmt: skip
