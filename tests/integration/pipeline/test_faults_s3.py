"""S3 refuses connections, is slow, falls silent, or cuts connections in mid-sentence; the worker's disk is full.

A task that fails of it is tried again, as the DAG has it, and the run ends as if nothing had happened.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import random
import resource
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
from botocore.config import Config
from botocore.exceptions import EndpointConnectionError
from botocore.retries.standard import ExponentialBackoff
from PIL import Image

from chaos import SEED, TRIES, Fate, Network, outcome, try_as_airflow, wipe
from image_labels import jsonlines
from image_labels.errors import CutShort
from image_labels.layout import Layout
from image_labels.operators.base import open_landing, s3_client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pymongo.database import Database

    from conftest import StandIn
    from pipeline import Pipeline
    from servers import Site

DAY = "2026-03-01"


@pytest.fixture
def network(site: Site, monkeypatch: pytest.MonkeyPatch, pipeline: Pipeline) -> Iterator[Network]:
    """What lies between S3 and the pipeline, and nobody else; at first it works."""
    with Network(site.ports["s3"], SEED, lambda draw: Fate()) as network:
        connection = json.loads(os.environ["AIRFLOW_CONN_AWS_DEFAULT"])
        connection["extra"]["service_config"]["s3"]["endpoint_url"] = f"http://127.0.0.1:{network.port}"
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
        # As in life, but sooner.
        monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda self, context: 0.02)
        monkeypatch.setitem(Config.OPTION_DEFAULTS, "read_timeout", 1)
        yield network


FAULTS: dict[str, Callable[[float], Fate]] = {
    "refuses": lambda share: Fate(refused=True),
    "is slow": lambda share: Fate(delay=0.1 * share),
    "cuts requests": lambda share: Fate(request_bytes=somewhere(share)),
    "cuts answers": lambda share: Fate(answer_bytes=somewhere(share)),
    "ends answers after their head": lambda share: Fate(bodiless=True),
    "falls silent": lambda share: Fate(answer_bytes=somewhere(share), silent=True),
}


def somewhere(share: float) -> int:
    """Return a place in what goes over a connection: from within the first head, at 0, to many requests later, at 1."""
    return int(2 ** (7 + 9 * share))


@pytest.fixture
def landed(land: Callable[..., Path], land_many: Callable[..., None]) -> None:
    """Pictures small and large, one that needs a rendition, and a file that is no picture."""
    land_many(24)
    land("photo.jpg")
    land("photo.png", "chelsea.png")
    land("text.jpg").write_text("no photo")


@pytest.fixture(scope="module")
def remembered() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def undisturbed(
    pipeline: Pipeline, landed: None, database: Database[dict[str, Any]], s3: Any, remembered: list[dict[str, Any]]
) -> dict[str, Any]:
    """What a run leaves behind that nothing happens to."""
    if not remembered:
        pipeline.run(batch_size=14)
        remembered.append(outcome(pipeline, database, s3, "run-1", DAY))
        wipe(pipeline, database, s3)
    return remembered[0]


@pytest.mark.parametrize("seed", [SEED])
@pytest.mark.parametrize(
    ("fault", "source"),
    [
        ("refuses", "folder"),
        ("is slow", "bucket"),
        ("cuts requests", "folder"),
        ("cuts answers", "bucket"),
        ("ends answers after their head", "folder"),
        ("falls silent", "bucket"),
    ],
)
def test_a_run_ends_well_though_s3(
    pipeline: Pipeline,
    network: Network,
    undisturbed: dict[str, Any],
    landing: Path,
    database: Database[dict[str, Any]],
    s3: Any,
    fault: str,
    source: str,
    seed: int,
) -> None:
    if source == "bucket":
        pipeline.landing = f"s3://{pipeline.bucket}-landing"
        s3.create_bucket(Bucket=f"{pipeline.bucket}-landing")
        for file in landing.iterdir():
            s3.upload_file(str(file), f"{pipeline.bucket}-landing", file.name)
    with network.down(), pytest.raises(EndpointConnectionError):
        pipeline.run(batch_size=14)

    # So few of the connections that the tries suffice even if each of them fails one.
    draw = random.Random(seed)
    strikes = TRIES - 2
    # Spread evenly: some connections end before their strike, and were all places drawn freely, once in a while all do.
    shares = [(number + draw.random()) / strikes for number in range(strikes)]
    # The first one always: it asks for what has a body, others may only bring something.
    struck = dict(zip([0, *draw.sample(range(1, 20), strikes - 1)], shares, strict=True))
    number = itertools.count()

    def fate(_: random.Random) -> Fate:
        share = struck.get(next(number))
        return Fate() if share is None else FAULTS[fault](share)

    network.fate = fate
    try_as_airflow(lambda: pipeline.run(batch_size=14))

    assert network.faults > 1
    assert outcome(pipeline, database, s3, "run-1", DAY) == undisturbed


def test_a_listing_that_is_cut_off_is_not_taken_for_an_empty_one(
    pipeline: Pipeline, network: Network, site: Site, s3: Any
) -> None:
    """botocore does not compare an answer's length with what its head says."""
    s3.put_object(Bucket=pipeline.bucket, Key="folder/a.jpg", Body=b"a")
    client = s3_client("aws_default")
    landing = open_landing(f"s3://{pipeline.bucket}", date(2026, 3, 1), Layout(pipeline.bucket, "p"), "aws_default")
    assert list(jsonlines.keys(client, pipeline.bucket, "folder/")) == ["folder/a.jpg"]
    with network.down():
        network.fate = lambda share: Fate(bodiless=True)

    for listing in (
        jsonlines.keys(client, pipeline.bucket, "folder/"),
        jsonlines.folders(client, pipeline.bucket, ""),
        landing.files(),
    ):
        with pytest.raises(CutShort):
            next(listing)


# --- A full disk ---


def test_a_full_disk_fails_the_task_and_quarantines_nothing(
    pipeline: Pipeline, landing: Path, database: Database[dict[str, Any]], stand_in: StandIn
) -> None:
    noise = Image.effect_noise((1500, 1500), 100)
    noise.save(landing / "noise.webp", lossless=True)

    # A limit of its own: the kernel refuses to write, as it does on a full disk.
    with full_disk(), pytest.raises(OSError, match="File too large") as failure:
        pipeline.run()
    assert failure.value.errno == errno.EFBIG
    assert "batch.upload[0]" not in json.loads((pipeline.state / "run-1.json").read_text())
    assert stand_in.answers == 0

    books = pipeline.run()
    assert (books["upload"]["quarantined"], books["ingest"]["ingested"]) == (0, 1)
    assert database["images"].find_one()["rendition"]


def test_a_full_disk_under_what_is_fetched_from_a_bucket_does_the_same(
    pipeline: Pipeline, landing: Path, database: Database[dict[str, Any]], s3: Any
) -> None:
    # Larger than what is kept in memory.
    noise = Image.effect_noise((3100, 3100), 100)
    noise.save(landing / "noise.png", compress_level=0)
    s3.upload_file(str(landing / "noise.png"), pipeline.bucket, "incoming/noise.png")
    pipeline.landing = f"s3://{pipeline.bucket}/incoming"

    with full_disk(), pytest.raises(OSError, match="File too large"):
        pipeline.run()

    books = pipeline.run()
    assert (books["upload"]["quarantined"], books["ingest"]["ingested"]) == (0, 1)


@contextmanager
def full_disk() -> Iterator[None]:
    """Let no file of this process grow beyond 64 KiB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
