"""One batch of new files: from the landing place into S3, and the manifest of what is to be analysed."""

from __future__ import annotations

import base64
import errno
import hashlib
import logging
import tempfile
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from math import isinf
from typing import IO, TYPE_CHECKING, Any

from image_labels import images, jsonlines, metadata
from image_labels.documents import Document, Row, Settings, answered_keys, answers_by_content
from image_labels.ingest import store_answers
from image_labels.landing import CARRIED, DONE, QUARANTINED, Landing, LandingFile, LedgerRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef
    from pymongo.collection import Collection

    from image_labels.claims import Claims
    from image_labels.layout import RunLayout

THREADS = 8
LOOKUP = 200
"""Images that are looked up in the collection at once; few, for with the last of them the batch waits."""

OF_THE_FILE = (errno.EACCES, errno.EPERM, errno.ELOOP, errno.EISDIR, errno.ENOTDIR, errno.ENXIO, errno.ENAMETOOLONG)
"""Why a file can't be opened that lies in the file, and not in a full disk or, for botocore's timeouts, the network."""

PIECE = 256 * 1024
"""Bytes of a file that are read at once when it is put into S3."""

LONGEST_KEY = 1024
"""Bytes of an S3 key. https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html"""

log = logging.getLogger(__name__)


@dataclass
class IntakeBooks:
    """What became of the new files of a batch.

    ``sensed = uploaded + unchanged + quarantined + carried`` and ``uploaded + unchanged = answered + to_analyse``;
    ``calls`` are those of ``to_analyse`` that the batch itself has to ask about. ``manifests`` is 1 if there is
    something to analyse.
    """

    sensed: int = 0
    uploaded: int = 0
    unchanged: int = 0
    quarantined: int = 0
    carried: int = 0
    answered: int = 0
    to_analyse: int = 0
    calls: int = 0
    manifests: int = 0


@dataclass
class Intake:
    """The upload of one batch and all it takes.

    :param number: of the batch
    :param settings: what will be asked of Rekognition
    :param claims: of the batch
    :param collection: of the documents
    :param dry_run: look at everything, upload and plan nothing; pixels are not decoded then
    """

    run: RunLayout
    number: int
    landing: Landing
    settings: Settings
    claims: Claims
    s3: S3Client
    collection: Collection[Document]
    day: date
    dry_run: bool = False
    books: IntakeBooks = field(default_factory=IntakeBooks, init=False)
    _repeated: bool = field(default=False, init=False)
    _fates: dict[str, str] = field(default_factory=dict, init=False)
    _manifest: list[Row] = field(default_factory=list, init=False)
    _own: set[str] = field(default_factory=set, init=False)

    def upload(self) -> str | None:
        """Upload every file of the batch that is an image and is not in S3 yet, and plan what is to be analysed.

        May be repeated after any interruption. What an earlier try uploaded counts as uploaded again.

        :returns: the address of the manifest; None if there is nothing to analyse
        """
        bucket = self.run.layout.bucket
        if not self.dry_run:
            # Of an earlier try. Another batch that claims one of the contents now is to find its answer.
            store_answers(self.run, self.run.answers(self.number), self.collection, self.s3)
        self._repeated = self.claims.release()
        files = [LandingFile(**row) for row in jsonlines.read(self.s3, bucket, self.run.sensed(self.number))]
        self.books.sensed = len(files)
        jsonlines.write(self.s3, bucket, self.run.refused("upload", self.number), self._take_in(files))
        self.books.carried = self.books.sensed - len(self._fates)
        self.books.calls = len(self._own)
        if self.dry_run:
            return None
        jsonlines.write(self.s3, bucket, self.run.settled(self.number), map(self._settled, files))
        jsonlines.write(self.s3, bucket, self.run.manifest(self.number), self._manifest)
        self.books.manifests = int(bool(self._manifest))
        if not self._manifest:
            # Nobody will write it anew.
            jsonlines.delete(self.s3, bucket, [self.run.refused("analyse", self.number)])
        return self.run.layout.uri(self.run.manifest(self.number)) if self._manifest else None

    def _settled(self, file: LandingFile) -> LedgerRow:
        since = file.waiting_since or self.day.isoformat()
        return [file.path, file.size, file.version, self.run.run_id, self._fates.get(file.path, CARRIED), since]

    def _take_in(self, files: list[LandingFile]) -> Iterator[Row]:
        """Plan what is to be analysed as far as the budget goes; yield what is refused."""
        for outcomes in jsonlines.batched(self._outcomes(files), LOOKUP):
            taken = [outcome["image"] for outcome in outcomes if "image" in outcome]
            contents = {image["key"]: image["sha256"] for image in taken}
            answered = answered_keys(self.collection, contents, self.settings, self.run.run_id)
            asking = self._asking([image for image in taken if image["key"] not in answered])
            before = len(self._fates)
            for outcome in outcomes:
                if "refused" in outcome:
                    self.books.quarantined += 1
                    self._fates[outcome["file"].path] = QUARANTINED
                    yield outcome["refused"]
                elif self._admit(outcome["image"], answered, asking):
                    self._fates[outcome["file"].path] = DONE
                    if outcome["uploaded"]:
                        self.books.uploaded += 1
                    else:
                        self.books.unchanged += 1
            if len(self._fates) - before < len(outcomes):
                # The budget is used up: the rest is left where it is, unread.
                return

    def _admit(self, image: Row, answered: set[str], asking: dict[str, int]) -> bool:
        """Plan an image unless the budget has no room for it."""
        if image["key"] in answered:
            self.books.answered += 1
            return True
        if image["sha256"] not in asking:
            return False
        if asking[image["sha256"]] != self.number:
            image["asked_in"] = asking[image["sha256"]]
        self.books.to_analyse += 1
        self._manifest.append(image)
        return True

    def _asking(self, taken: list[Row]) -> dict[str, int]:
        """Return the batch that asks about each content, for those that have an answer or a place in the budget."""
        contents = dict.fromkeys(image["sha256"] for image in taken)
        found = answers_by_content(self.collection, contents, self.settings)
        # What this very run was answered is claimed again, so that a run that is cleared comes to the same books.
        free = [content for content, donor in found.items() if donor["analysis"]["paid_by"] != self.run.run_id]
        claimed = self.claims.take([content for content in contents if content not in free])
        self._own.update(content for content, batch in claimed.items() if batch == self.number)
        return dict.fromkeys(free, self.number) | claimed

    def _outcomes(self, files: Iterable[LandingFile]) -> Iterator[Row]:
        """Yield what became of each file in the order of the files, several of them being in work."""
        # Enough for the time of a look-up; with a budget, little that it may have no room for.
        most_ahead = LOOKUP if isinf(self.claims.budget.calls) else 4 * THREADS
        with ThreadPoolExecutor(THREADS, thread_name_prefix="upload") as pool:
            ahead: deque[Future[Row]] = deque()
            for file in files:
                ahead.append(pool.submit(self._outcome, file))
                if len(ahead) >= most_ahead:
                    yield ahead.popleft().result()
            for outcome in ahead:
                yield outcome.result()

    def _outcome(self, file: LandingFile) -> Row:
        try:
            return {"file": file, **self._store(file)}
        except images.Rejected as rejected:
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            log.warning("Into quarantine: %r: %s", file.path, rejected.reason)
            # A name that is not UTF-8 can't be written as it is.
            path = file.path.encode(errors="backslashreplace").decode()
            refused = {"path": path, "step": "upload", "code": str(rejected.code), "reason": rejected.reason, "at": now}
            return {"file": file, "refused": refused}

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
                **metadata.file_name_facts(name),
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
            "Body": LargePieces(content),
            "ContentType": content_type,
            "ChecksumSHA256": base64.b64encode(bytes.fromhex(sha256)).decode(),
            "Metadata": {"sha256": sha256, "run": self.run.run_id},
        }
        if not self._repeated:
            try:
                return True, self.s3.put_object(**put, IfNoneMatch="*")["ETag"].strip('"')
            except self.s3.exceptions.ClientError as error:
                if error.response["Error"]["Code"] not in ("PreconditionFailed", "ConditionalRequestConflict"):
                    raise
        there = self._head(key)
        if there and there["Metadata"].get("sha256") == sha256:
            return there["Metadata"].get("run") == self.run.run_id, there["ETag"].strip('"')
        content.seek(0)
        return True, self.s3.put_object(**put)["ETag"].strip('"')

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


class LargePieces:
    """A file of which at least :data:`PIECE` bytes are read at once.

    urllib3 asks for 16 KiB each time, which takes a tenth of the processor time of an upload.

    :param file: to read
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.seek, self.tell, self._read = file.seek, file.tell, file.read

    def read(self, size: int = -1) -> bytes:
        """Return what is asked for, or the bytes that follow as well."""
        return self._read(max(size, PIECE) if size > 0 else size)


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
