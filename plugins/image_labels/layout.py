"""Where everything lies in S3: the only module that knows."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import date

PRIVATE_FOLDERS = (
    "renditions", "thumbnails", "manifests", "results", "quarantine", "reports", "staged", "counts", "ledger",
)  # fmt: skip
"""What the pipeline writes below its prefix apart from ``images/``; none of it is ever taken for a landing image."""


@dataclass(frozen=True)
class Layout:
    """The keys below one prefix of one bucket.

    :param bucket: name of the bucket
    :param prefix: folder of the pipeline in the bucket, without slashes at its ends; empty for the whole bucket
    """

    bucket: str
    prefix: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "prefix", self.prefix.strip("/"))

    def key(self, *parts: str) -> str:
        """Return the key of ``parts`` below the prefix."""
        return "/".join(part for part in (self.prefix, *parts) if part)

    def uri(self, key: str) -> str:
        """Return the ``s3://`` address of a key."""
        return f"s3://{self.bucket}/{key}"

    @property
    def place(self) -> str:
        """The address below which all lies."""
        return self.uri(self.prefix)

    def image(self, path: str) -> str:
        """Return the key of an original.

        :param path: its path below the landing place
        """
        return self.key("images", path)

    def rendition(self, sha256: str) -> str:
        """Return the key of the JPEG that stands in for an original that Rekognition cannot take."""
        return self.key("renditions", f"{sha256}.jpg")

    def thumbnail(self, sha256: str) -> str:
        """Return the key of the small JPEG that the search page shows of an original."""
        return self.key("thumbnails", f"{sha256}.jpg")

    def ledger(self, landing: str, settings: str) -> str:
        """Return the key of the list of files of a landing place that are done with under some settings."""
        name = hashlib.sha256(f"{landing}\n{settings}".encode()).hexdigest()[:32]
        return self.key("ledger", f"{name}.jsonl.gz")

    @property
    def results(self) -> str:
        """The folder of all raw answers, with a slash at its end."""
        return self.key("results") + "/"

    def run(self, day: date, run_id: str) -> RunLayout:
        """Return the keys of one DAG run."""
        return RunLayout(self, day, run_id)

    def report(self, table: str, day: date, file_name: str) -> str:
        """Return the key of a file of a report's partition."""
        return self.key("reports", table, f"report_date={day.isoformat()}", file_name)

    def quarantines(self, day: date) -> str:
        """Return the folder of the lists of what a day's runs could not take, with a slash at its end."""
        return self.key("quarantine", f"ds={day.isoformat()}") + "/"

    def publication(self, day: date) -> str:
        """Return the key of the list of what a day's report consists of. Readers of Hive tables skip its folder."""
        return self.report("_published", day, "report.json")

    def staged(self, day: date, *parts: str) -> str:
        """Return the key of a file of a report that is not yet to be seen."""
        return self.key("staged", f"report_date={day.isoformat()}", *parts)

    def counts(self, name: str) -> str:
        """Return the folder for one kind of count that is kept, with a slash at its end."""
        return self.key("counts", name) + "/"


@dataclass(frozen=True)
class RunLayout:
    """The keys of one DAG run. Obtained from :meth:`Layout.run`."""

    layout: Layout
    day: date
    run_id: str

    @property
    def partition(self) -> str:
        """The name of the day's folder, as Hive has it."""
        return f"ds={self.day.isoformat()}"

    @property
    def manifests(self) -> str:
        """The folder of the run's manifests, with a slash at its end."""
        return self.layout.key("manifests", self.partition, self.run_id) + "/"

    def sensed(self, batch: int) -> str:
        """Return the key of the list of new files that make up a batch."""
        return f"{self.manifests}sensed/{batch_name(batch)}.jsonl.gz"

    def settled(self, batch: int) -> str:
        """Return the key of what became of each file of :meth:`sensed`, as rows of the ledger."""
        return f"{self.manifests}settled/{batch_name(batch)}.jsonl.gz"

    def manifest(self, batch: int) -> str:
        """Return the key of the list of a batch's images."""
        return f"{self.manifests}{batch_name(batch)}.jsonl"

    def refused(self, step: str, batch: int) -> str:
        """Return the key of what one step put into quarantine of a batch."""
        return f"{self.refusals}{step}-{batch:05d}.jsonl"

    @property
    def refusals(self) -> str:
        """The folder of :meth:`refused`."""
        return f"{self.manifests}refused/"

    @property
    def results(self) -> str:
        """The folder of the run's raw answers, with a slash at its end."""
        return self.layout.key("results", self.partition, self.run_id) + "/"

    def answers(self, batch: int) -> str:
        """Return what the keys of all raw answers of a batch begin with."""
        return f"{self.results}{batch_name(batch)}."

    def result(self, batch: int) -> str:
        """Return the key of the raw answers of a batch."""
        return f"{self.answers(batch)}jsonl.gz"

    def earlier(self, batch: int) -> str:
        """Return the key of raw answers that a batch got before it was run again over other images or settings."""
        return f"{self.answers(batch)}earlier.jsonl.gz"

    def checkpoints(self, batch: int) -> str:
        """Return the folder of the answers that a batch in work has so far; empty once it is done."""
        return f"{self.answers(batch)}checkpoints/"

    def known(self, batch: int) -> str:
        """Return the key of the answers that a batch has while it waits for those of others."""
        return f"{self.checkpoints(batch)}known.jsonl.gz"

    @property
    def quarantine(self) -> str:
        """The list of what the run could not take, with the reasons."""
        return self.layout.key("quarantine", self.partition, f"{self.run_id}.jsonl")


def batch_name(batch: int) -> str:
    """Return the name by which a batch is known in S3 and in Airflow's grid, such as ``batch-00042``."""
    return f"batch-{batch:05d}"


def batch_number(uri: str) -> int:
    """Return the number of the batch whose file lies at ``uri``.

    :raises ValueError: if it is no batch's address
    """
    if not (found := re.search(r"/batch-(\d+)\.jsonl(\.gz)?$", uri)):
        raise ValueError(f"{uri!r} is not the address of a batch (…/batch-00000.jsonl)")
    return int(found[1])


def split_uri(uri: str) -> tuple[str, str]:
    """Split an ``s3://bucket/key`` address.

    :raises ValueError: if it is none
    """
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not uri.startswith("s3://") or not bucket:
        raise ValueError(f"{uri!r} is not an S3 address (s3://bucket/key)")
    return bucket, key
