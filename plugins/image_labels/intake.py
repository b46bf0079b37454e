"""From the landing place into S3, and the manifests of what is to be analysed."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import logging
import sqlite3
import tempfile
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from typing import IO, TYPE_CHECKING, Any

from image_labels import images, jsonlines
from image_labels.documents import Document, Row, Settings, answered_keys, answers_by_content
from image_labels.landing import CARRIED, DONE, QUARANTINED, Landing, LandingFile, LedgerRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef
    from pymongo.collection import Collection

    from image_labels.layout import RunLayout

THREADS = 8
LOOKUP = 500
"""Images that are looked up in the collection at once."""

MOST_BATCHES = 1000
"""A run has no more of them, however small they were asked for: Airflow maps a task 1,024 times at most."""

OF_THE_FILE = (errno.EACCES, errno.EPERM, errno.ELOOP, errno.EISDIR, errno.ENOTDIR, errno.ENXIO, errno.ENAMETOOLONG)
"""Why a file can't be opened that lies in the file, and not in a full disk or, for botocore's timeouts, the network."""

LONGEST_KEY = 1024
"""Bytes of an S3 key. https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html"""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Budget:
    """What a run may cost.

    :param max_images: calls of Rekognition at most; None for as many as there are
    :param max_spend_usd: US dollars at most; None for as many as it takes
    :param price_per_thousand: US dollars for a thousand calls

    .. seealso:: https://aws.amazon.com/rekognition/pricing/
    """

    max_images: float | None = None
    max_spend_usd: float | None = None
    price_per_thousand: float = 1.0

    @property
    def calls(self) -> float:
        """Calls that the run may make; infinity where nothing limits them."""
        by_money = float("inf")
        if self.max_spend_usd is not None and self.price_per_thousand:
            # To the millionth, so that 0.003 dollars at 1 dollar a thousand are 3 calls and not 2.
            by_money = round(self.max_spend_usd * 1000 / self.price_per_thousand, 6) // 1
        return min(by_money, float("inf") if self.max_images is None else self.max_images)


@dataclass
class IntakeBooks:
    """What became of the new files.

    ``sensed = uploaded + unchanged + quarantined + carried`` and ``uploaded + unchanged = answered + to_analyse``;
    ``calls`` are those of ``to_analyse`` that no earlier run has an answer for.
    """

    sensed: int = 0
    uploaded: int = 0
    unchanged: int = 0
    quarantined: int = 0
    carried: int = 0
    answered: int = 0
    to_analyse: int = 0
    calls: int = 0
    batches: int = 0


@dataclass
class Intake:
    """One run's upload and all it takes.

    :param collection: of the documents
    :param batch_size: images a batch, as far as :data:`MOST_BATCHES` allows
    :param repeated: whether there was an earlier try
    :param dry_run: look at everything, upload and plan nothing; pixels are not decoded then
    """

    run: RunLayout
    landing: Landing
    settings: Settings
    batch_size: int
    budget: Budget
    s3: S3Client
    collection: Collection[Document]
    day: date
    repeated: bool = False
    dry_run: bool = False
    books: IntakeBooks = field(default_factory=IntakeBooks, init=False)

    def upload(self) -> list[str]:
        """Upload every sensed file that is an image and is not in S3 yet, and plan what is to be analysed.

        May be repeated after any interruption. What an earlier try uploaded counts as uploaded again.

        :returns: the addresses of the manifests
        """
        bucket = self.run.layout.bucket
        stale = [key for key in jsonlines.keys(self.s3, bucket, self.run.manifests) if key != self.run.sensed]
        jsonlines.delete(self.s3, bucket, stale)
        uris: list[str] = []
        with closing(Plan(self.day)) as plan:
            plan.sense(LandingFile(**row) for row in jsonlines.read_if_there(self.s3, bucket, self.run.sensed))
            jsonlines.write(self.s3, bucket, self.run.refused("upload"), self._take_in(plan))
            if not self.dry_run:
                jsonlines.write(self.s3, bucket, self.run.settled, plan.settled(self.run.run_id))
                for number, taken in enumerate(plan.batches(self.batch_size)):
                    jsonlines.write(self.s3, bucket, self.run.manifest(number), taken)
                    uris.append(self.run.layout.uri(self.run.manifest(number)))
        self.books.batches = len(uris)
        return uris

    def _take_in(self, plan: Plan) -> Iterator[Row]:
        """Put what is to be analysed into the plan as far as the budget goes; yield what is refused."""
        self.books.sensed = self.books.carried = plan.sensed
        for outcomes in jsonlines.batched(self._outcomes(plan.files()), LOOKUP):
            taken = {number: outcome["image"] for number, outcome in outcomes if "image" in outcome}
            answered = self._answered(taken.values())
            free = self._free(taken.values())
            before = self.books.carried
            for number, outcome in outcomes:
                if "refused" in outcome:
                    self.books.quarantined += 1
                    self.books.carried -= 1
                    plan.settle(number, QUARANTINED)
                    yield outcome["refused"]
                elif self._admit(plan, number, outcome["image"], answered, free):
                    self.books.carried -= 1
                    if outcome["uploaded"]:
                        self.books.uploaded += 1
                    else:
                        self.books.unchanged += 1
            if before - self.books.carried < len(outcomes):
                # The budget is used up: the rest is left where it is, unread.
                return

    def _admit(self, plan: Plan, number: int, image: Row, answered: set[str], free: set[str]) -> bool:
        """Plan an image unless the budget has no room for it."""
        if image["key"] in answered:
            self.books.answered += 1
            plan.settle(number, DONE)
            return True
        costs = image["sha256"] not in free and not plan.holds(image["sha256"])
        if costs and self.books.calls >= self.budget.calls:
            return False
        self.books.calls += costs
        self.books.to_analyse += 1
        plan.add(number, image)
        plan.settle(number, DONE)
        return True

    def _answered(self, taken: Iterable[Row]) -> set[str]:
        """Return the keys of the images whose document needs no work."""
        contents = {image["key"]: image["sha256"] for image in taken}
        return answered_keys(self.collection, contents, self.settings, self.run.run_id)

    def _free(self, taken: Iterable[Row]) -> set[str]:
        """Return the contents that other runs have an answer for."""
        contents = {image["sha256"] for image in taken}
        found = answers_by_content(self.collection, contents, self.settings)
        return {content for content, donor in found.items() if donor["analysis"]["paid_by"] != self.run.run_id}

    def _outcomes(self, files: Iterable[tuple[int, LandingFile]]) -> Iterator[tuple[int, Row]]:
        """Yield what became of each file in the order of the files, several of them being in work."""
        with ThreadPoolExecutor(THREADS, thread_name_prefix="upload") as pool:
            ahead: deque[tuple[int, Future[Row]]] = deque()
            for number, file in files:
                ahead.append((number, pool.submit(self._outcome, file)))
                if len(ahead) >= 4 * THREADS:
                    number, outcome = ahead.popleft()
                    yield number, outcome.result()
            for number, outcome in ahead:
                yield number, outcome.result()

    def _outcome(self, file: LandingFile) -> Row:
        try:
            return self._store(file)
        except images.Rejected as rejected:
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            log.warning("Into quarantine: %r: %s", file.path, rejected.reason)
            # A name that is not UTF-8 can't be written as it is.
            path = file.path.encode(errors="backslashreplace").decode()
            refused = {"path": path, "step": "upload", "code": str(rejected.code), "reason": rejected.reason, "at": now}
            return {"refused": refused}

    def _store(self, file: LandingFile) -> Row:
        """Upload a file if S3 does not have it.

        :raises Rejected: if it is no image that can be saved
        """
        if file.problem:
            raise images.Rejected(images.Code.UNREADABLE, file.problem)
        in_place = self.landing.key_in_place(file.path)
        key = in_place or self.run.layout.image(file.path)
        check_key(key)
        try:
            content = self.landing.open(file.path)
        except FileNotFoundError as error:
            raise images.Rejected(images.Code.VANISHED, "it vanished after it had been sensed") from error
        except OSError as error:
            if error.errno not in OF_THE_FILE:
                raise
            raise images.Rejected(images.Code.UNREADABLE, f"it can't be read: {error.strerror}") from error
        with content:
            picture = images.inspect(content)
            name = file.path.rsplit("/", 1)[-1]
            image: Row = {
                "key": key,
                "path": file.path,
                "img": name,
                "bucket": self.run.layout.bucket,
                "etag": file.version,
                "sha256": picture.sha256,
                "bytes": picture.bytes,
                "format": picture.format,
                "width": picture.width,
                "height": picture.height,
                **picture.metadata,
                **images.file_name_facts(name),
            }
            uploaded = self.dry_run and not in_place
            if not self.dry_run:
                if picture.needs_rendition:
                    # First, for it is the decoder that finds some of what is broken.
                    image["rendition"] = self._put_rendition(content, picture.sha256)
                if not in_place:
                    mime = f"image/{picture.format.lower()}"
                    uploaded, image["etag"] = self._put_once(key, content, picture.sha256, mime)
            if self.landing.version(file.path) != file.version:
                raise images.Rejected(images.Code.CHANGED, "it changed while it was read; the next run takes it")
        return {"image": image, "uploaded": uploaded}

    def _put_once(self, key: str, content: IO[bytes], sha256: str, content_type: str) -> tuple[bool, str]:
        """Put an original unless S3 has it already.

        S3 verifies the checksum, and is asked what it has only when it says that the key is taken, or when an earlier
        try is likely to have put it.

        :returns: whether this run has put it (now or in an earlier try), and its ETag
        """
        content.seek(0)
        put: dict[str, Any] = {
            "Bucket": self.run.layout.bucket,
            "Key": key,
            "ContentType": content_type,
            "ChecksumSHA256": base64.b64encode(bytes.fromhex(sha256)).decode(),
            "Metadata": {"sha256": sha256, "run": self.run.run_id},
        }
        if not self.repeated:
            try:
                return True, self.s3.put_object(**put, Body=content, IfNoneMatch="*")["ETag"].strip('"')
            except self.s3.exceptions.ClientError as error:
                if error.response["Error"]["Code"] not in ("PreconditionFailed", "ConditionalRequestConflict"):
                    raise
        there = self._head(key)
        if there and there["Metadata"].get("sha256") == sha256:
            return there["Metadata"].get("run") == self.run.run_id, there["ETag"].strip('"')
        content.seek(0)
        return True, self.s3.put_object(**put, Body=content)["ETag"].strip('"')

    def _head(self, key: str) -> HeadObjectOutputTypeDef | None:
        try:
            return self.s3.head_object(Bucket=self.run.layout.bucket, Key=key)
        except self.s3.exceptions.ClientError as error:
            if error.response["Error"]["Code"] in ("404", "NoSuchKey"):
                return None
            raise

    def _put_rendition(self, content: IO[bytes], sha256: str) -> str:
        """Put the JPEG that Rekognition sees in place of the original, and return its key."""
        key = self.run.layout.rendition(sha256)
        with tempfile.TemporaryFile() as rendition:
            content.seek(0)
            images.render(content, rendition)
            rendition.seek(0)
            digest = hashlib.file_digest(rendition, "sha256").hexdigest()
            self._put_once(key, rendition, digest, "image/jpeg")
        return key


def check_key(key: str) -> None:
    """Check that S3 can hold a key.

    :raises Rejected: if not
    """
    try:
        length = len(key.encode())
    except UnicodeEncodeError:
        raise images.Rejected(images.Code.BAD_NAME, "its name is not UTF-8, which S3 needs; rename it") from None
    if length > LONGEST_KEY:
        limit = f"its key would have {length} bytes, S3 takes {LONGEST_KEY}; shorten its name or folders"
        raise images.Rejected(images.Code.BAD_NAME, limit)
    if any(part in (".", "..") for part in key.split("/")):
        raise images.Rejected(images.Code.BAD_NAME, "its path holds '.' or '..' as a folder; rename it")


class Plan:
    """What a run means to do with each file, kept on disk so that their number does not matter.

    :param day: of the run
    """

    def __init__(self, day: date) -> None:
        # An empty name: a temporary file that SQLite removes itself.
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("CREATE TABLE file (number INTEGER PRIMARY KEY, since TEXT, fate TEXT, file TEXT)")
        self._db.execute("CREATE TABLE image (number INTEGER PRIMARY KEY, sha256 TEXT, entry TEXT)")
        self._db.execute("CREATE INDEX content ON image (sha256)")
        self._db.execute("BEGIN")
        self._today = day.isoformat()
        self.sensed = 0

    def close(self) -> None:
        """Forget all."""
        self._db.close()

    def sense(self, files: Iterable[LandingFile]) -> None:
        """Add the files that the sensor saw, in its order."""
        rows = ((file.waiting_since or self._today, CARRIED, json.dumps(asdict(file))) for file in files)
        self._db.executemany("INSERT INTO file (since, fate, file) VALUES (?, ?, ?)", rows)
        self.sensed = self._db.execute("SELECT count(*) FROM file").fetchone()[0]

    def files(self) -> Iterator[tuple[int, LandingFile]]:
        """Yield the files with their numbers, those that have waited longest first."""
        for number, file in self._db.execute("SELECT number, file FROM file ORDER BY since, number"):
            yield number, LandingFile(**json.loads(file))

    def settle(self, number: int, fate: str) -> None:
        """Put down what became of a file; one of which nothing is said is carried."""
        self._db.execute("UPDATE file SET fate = ? WHERE number = ?", (fate, number))

    def settled(self, run_id: str) -> Iterator[LedgerRow]:
        """Yield each file's row of the ledger, in the sensor's order."""
        for since, fate, file in self._db.execute("SELECT since, fate, file FROM file ORDER BY number"):
            sensed = LandingFile(**json.loads(file))
            yield [sensed.path, sensed.size, sensed.version, run_id, fate, since]

    def add(self, number: int, image: Row) -> None:
        """Plan an image."""
        self._db.execute("INSERT INTO image VALUES (?, ?, ?)", (number, image["sha256"], json.dumps(image)))

    def holds(self, content: str) -> bool:
        """Tell whether an image of that content is planned."""
        return self._db.execute("SELECT 1 FROM image WHERE sha256 = ?", (content,)).fetchone() is not None

    def batches(self, size: int) -> Iterator[list[Row]]:
        """Yield the planned images in batches, in the order of their numbers.

        Images with the same content come together where the first of them stands, and in one batch: two batches at
        once would ask about it twice.
        """
        total = self._db.execute("SELECT count(DISTINCT sha256) FROM image").fetchone()[0]
        size = max(size, -(-total // MOST_BATCHES))
        rows = self._db.execute(
            "SELECT image.sha256, entry FROM image"
            " JOIN (SELECT sha256, min(number) AS first FROM image GROUP BY sha256) USING (sha256)"
            " ORDER BY first, number"
        )
        batch: list[Row] = []
        contents: set[str] = set()
        for sha256, entry in rows:
            if sha256 not in contents and len(contents) == size:
                yield batch
                batch, contents = [], set()
            contents.add(sha256)
            batch.append(json.loads(entry))
        if batch:
            yield batch
