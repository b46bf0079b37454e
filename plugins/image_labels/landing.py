"""The landing place: which files lie there, in the order of their keys, and which of them are new.

Both sides are streams in the same order, the listing and the ledger of what earlier runs are done with, so that
comparing a million files needs the memory of one directory.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from image_labels.jsonlines import IN_MEMORY, pages
from image_labels.layout import PRIVATE_FOLDERS, Layout
from image_labels.on_disk import sorted_on_disk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mypy_boto3_s3 import S3Client

UNFINISHED = (".part", ".partial", ".crdownload", ".download", ".filepart", ".tmp", ".temp", ".swp", "~")
"""Endings that browsers, copy tools and editors give to files they are still writing."""

LEFT_BY_SYSTEMS = frozenset({"thumbs.db", "desktop.ini"})


class LandingFile(NamedTuple):
    """One file of the landing place. (A tuple, for there may be millions: a frozen dataclass takes thrice as long.)

    :param path: its path below the landing place, with ``/`` between the folders
    :param size: in bytes
    :param version: changes when the content does: the time of change in nanoseconds, or S3's ETag
    :param changed_at: seconds since the epoch when it last changed; 0 where files appear whole
    :param problem: why it can't be read, if that is known from the listing
    :param waiting_since: day (ISO) of the first run whose budget had no room for it, if there was one
    """

    path: str
    size: int
    version: str
    changed_at: float = 0.0
    problem: str | None = None
    waiting_since: str | None = None


class Landing(Protocol):
    """A landing place."""

    uri: str

    def files(self) -> Iterator[LandingFile]:
        """Yield the files in the order of their paths, hidden, temporary and partial ones left out.

        :raises FileNotFoundError: if there is no such place
        """

    def open(self, path: str) -> IO[bytes]:
        """Open a file for reading, seekable.

        :raises FileNotFoundError: if it has vanished
        """

    def version(self, path: str) -> str | None:
        """Return the file's present version; None if it has vanished."""

    def key_in_place(self, path: str) -> str | None:
        """Return the file's key if it lies in the pipeline's bucket already and is analysed there."""


class LocalLanding:
    """A folder of the machine, of any depth.

    A link to a file of the folder is read like a file; one that leads out of it is reported and never followed. Linked
    folders inside are found where they really are.

    :param folder: its absolute path
    :param below: put before the paths of the files, such as the day's folder
    """

    def __init__(self, folder: str, below: str = "") -> None:
        self.uri = f"file://{folder}"
        self._folder = folder
        self._real_folder = os.path.realpath(folder)
        self._below = below

    def files(self) -> Iterator[LandingFile]:
        """Yield the files in the order of their paths, hidden, temporary and partial ones left out.

        The day's folder may still be missing; the one that it is expected in may not.

        :raises FileNotFoundError: if there is no such folder
        :raises PermissionError: if it can't be read
        """
        if not os.path.isdir(self._folder):
            if self._below and os.path.isdir(self._folder[: -len(self._below)]):
                return
            raise FileNotFoundError(
                f"The landing place {self._folder!r} is not there or is no folder; make it, or set the param `landing`"
            )
        ahead = [""]
        while ahead:
            path = ahead.pop()
            if path and not path.endswith("/"):
                if file := self._file(path):
                    yield file
                continue
            try:
                ahead += self._inside(path)
            except OSError as error:
                if not path:
                    raise
                yield self._unreadable(path, f"the folder can't be read: {error.strerror}")

    def _inside(self, folder: str) -> list[str]:
        """Return the paths of what a folder holds, the first one last."""
        with os.scandir(os.path.join(self._folder, folder)) as entries:
            # With its slash a folder sorts as the keys of its files do.
            names = (entry.name + "/" if entry.is_dir(follow_symlinks=False) else entry.name for entry in entries)
            return sorted((folder + name for name in names if is_candidate(name)), reverse=True)

    def _file(self, path: str) -> LandingFile | None:
        full = f"{self._folder}/{path}"
        try:
            found = os.lstat(full)
            if stat.S_ISLNK(found.st_mode):
                if not self._is_inside(full):
                    return self._unreadable(path, "it is a link that leads out of the landing place")
                found = os.stat(full)
                if stat.S_ISDIR(found.st_mode):
                    return None
        except FileNotFoundError:
            return self._unreadable(path, "it is a link to nothing") if os.path.islink(full) else None
        except OSError as error:
            return self._unreadable(path, str(error.strerror))
        if not stat.S_ISREG(found.st_mode):
            return self._unreadable(path, "it is not a regular file")
        # ctime, for a copy may keep any mtime: of years ago, or one that is still to come.
        return LandingFile(self._below + path, found.st_size, str(found.st_mtime_ns), found.st_ctime)

    def _unreadable(self, path: str, problem: str) -> LandingFile:
        return LandingFile(self._below + path, 0, "unreadable", problem=problem)

    def _is_inside(self, full: str) -> bool:
        return f"{os.path.realpath(full)}/".startswith(f"{self._real_folder.rstrip('/')}/")

    def _full(self, path: str) -> str:
        return os.path.join(self._folder, path[len(self._below) :])

    def open(self, path: str) -> IO[bytes]:
        """Open a file for reading.

        :raises OSError: if it has vanished, can't be read, or is now a link out of the folder
        """
        full = self._full(path)
        if not self._is_inside(full):
            raise PermissionError(errno.EACCES, "it is a link that leads out of the landing place", full)
        # A pipe that has taken the file's place has nothing to read, and is not waited for.
        return open(full, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK))

    def version(self, path: str) -> str | None:
        """Return the file's present version; None if it has vanished."""
        try:
            return str(os.stat(self._full(path)).st_mtime_ns)
        except OSError:
            return None

    def key_in_place(self, path: str) -> str | None:
        """Return None: nothing on a disk is in S3 already."""
        return None


class S3Landing:
    """A folder of a bucket.

    :param folder: key of the folder, without a slash at its end; empty for the whole bucket
    :param root: the part of ``folder`` that the files' paths leave out
    :param layout: of the pipeline; what it writes itself is no landing image, and what lies in its bucket is
        analysed in place
    """

    def __init__(self, s3: S3Client, bucket: str, folder: str, root: str, layout: Layout) -> None:
        self.uri = f"s3://{bucket}/{folder}"
        self._s3 = s3
        self._bucket = bucket
        self._folder = f"{folder}/" if folder else ""
        self._root = f"{root}/" if root else ""
        self._in_place = bucket == layout.bucket
        self._own = tuple(layout.key(name) + "/" for name in PRIVATE_FOLDERS) if self._in_place else ()

    def files(self) -> Iterator[LandingFile]:
        """Yield the objects in the order of their paths; they appear whole, so none is unfinished.

        S3 itself lists in this order, but not every server that speaks its protocol: SeaweedFS lists folder by folder.

        :raises FileNotFoundError: if there is no such bucket
        """
        rows = ((file.path, (file.path, file.size, file.version)) for file in self._listed())
        return (LandingFile(*row) for row in sorted_on_disk(rows))

    def _listed(self) -> Iterator[LandingFile]:
        try:
            for page in pages(self._s3, self._bucket, self._folder):
                for item in page.get("Contents", ()):
                    key = item["Key"]
                    path = key[len(self._folder) :]
                    *folders, name = path.split("/")
                    # A folder without a name is one like any other in S3; a key that ends in a slash is a folder.
                    names = (*filter(None, folders), name)
                    if key.startswith(self._own) or not all(map(is_candidate, names)):
                        continue
                    yield LandingFile(key[len(self._root) :], item["Size"], item["ETag"].strip('"'))
        except self._s3.exceptions.NoSuchBucket:
            raise FileNotFoundError(f"The landing place {self.uri}: there is no such bucket") from None

    def open(self, path: str) -> IO[bytes]:
        """Fetch an object into a temporary file.

        :raises FileNotFoundError: if it has vanished
        """
        spool = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 - the caller closes it
        try:
            body = self._s3.get_object(Bucket=self._bucket, Key=self._root + path)["Body"]
        except self._s3.exceptions.NoSuchKey:
            raise FileNotFoundError(errno.ENOENT, "the object has vanished", path) from None
        for chunk in body.iter_chunks(1 << 20):
            spool.write(chunk)
        spool.seek(0)
        return cast("IO[bytes]", spool)

    def version(self, path: str) -> str | None:
        """Return the object's present ETag; None if it has vanished."""
        try:
            return self._s3.head_object(Bucket=self._bucket, Key=self._root + path)["ETag"].strip('"')
        except self._s3.exceptions.ClientError as error:
            if error.response["Error"]["Code"] in ("404", "NoSuchKey"):
                return None
            raise

    def key_in_place(self, path: str) -> str | None:
        """Return the object's key if it lies in the pipeline's bucket already and is analysed there."""
        return self._root + path if self._in_place else None


def is_candidate(name: str) -> bool:
    """Tell whether a file, or what a folder (its name may end in ``/``) holds, may be an image: not hidden or partial.

    What is inside is not asked here: that is for the step that reads the file.
    """
    low = name.lower().rstrip("/")
    return bool(name) and not low.startswith(".") and not low.endswith(UNFINISHED) and low not in LEFT_BY_SYSTEMS


LedgerRow = list[Any]
"""``[path, size, version, run, fate, waiting_since]``: what that DAG run did with the file in that version."""

DONE, QUARANTINED, CARRIED = "done", "quarantined", "carried"
"""Fates. A carried file had no room in the budget and is the next run's."""


@dataclass
class Survey:
    """What one look at the landing place found, filled while :func:`new_files` is read."""

    seen: int = 0
    known: int = 0
    unsettled: int = 0

    @property
    def new(self) -> int:
        """Files that have come or changed since, and have settled."""
        return self.seen - self.known - self.unsettled

    @property
    def is_ready(self) -> bool:
        """Whether there is something new and nothing is still changing."""
        return self.new > 0 and self.unsettled == 0

    def books(self) -> dict[str, int]:
        """Return the counts for the run's books."""
        return {"seen": self.seen, "known": self.known, "unsettled": self.unsettled, "new": self.new}

    def __str__(self) -> str:
        return f"{self.seen} files seen: {self.known} known, {self.unsettled} still changing, {self.new} new"


def new_files(
    files: Iterable[LandingFile],
    ledger: Iterable[LedgerRow],
    run_id: str,
    settled_before: float,
    survey: Survey,
    *,
    retry_quarantined: bool = False,
) -> Iterator[LandingFile]:
    """Yield the settled files that no other run has dealt with.

    :param files: the landing place's files in order
    :param ledger: its rows in order
    :param run_id: of this DAG run; what it has dealt with itself counts as new, so that it can be run again
    :param settled_before: seconds since the epoch; what changed later may still be being written
    :param survey: counts what was seen
    :param retry_quarantined: whether what is in quarantine counts as new
    """
    open_fates = {CARRIED, QUARANTINED} if retry_quarantined else {CARRIED}
    rows = iter(ledger)
    row = next(rows, None)
    for file in files:
        survey.seen += 1
        while row and row[0] < file.path:
            row = next(rows, None)
        listed = row is not None and row[:3] == [file.path, file.size, file.version]
        if row and listed and row[3] != run_id and row[4] not in open_fates:
            survey.known += 1
        elif file.changed_at > settled_before:
            survey.unsettled += 1
        else:
            yield file._replace(waiting_since=row[5]) if row and listed else file


def merge(ledger: Iterable[LedgerRow], settled: Iterable[LedgerRow]) -> Iterator[LedgerRow]:
    """Yield the rows of both in order, the newly settled one where a file is in both."""
    old, new = iter(ledger), iter(settled)
    old_row, new_row = next(old, None), next(new, None)
    while old_row or new_row:
        if new_row is None or (old_row is not None and old_row[0] < new_row[0]):
            yield cast("LedgerRow", old_row)
            old_row = next(old, None)
        else:
            if old_row is not None and old_row[0] == new_row[0]:
                old_row = next(old, None)
            yield new_row
            new_row = next(new, None)
