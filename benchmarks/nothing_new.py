"""A run that finds nothing new among very many known files.

The files are listed and compared with the ledger, never opened; they lie in folders of a thousand, or all in one, which
is what needs the most memory. The collection holds documents of a year, with up to 20 labels each, and a report on them
was written the day before. Time is that of the operators' `execute`.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import collection, steps
from benchmarks.bench import database, measure, s3_client
from benchmarks.ingest import MIDNIGHT
from image_labels import indexes, jsonlines
from image_labels.documents import Settings
from image_labels.landing import DONE, LocalLanding
from image_labels.layout import Layout
from pipeline import PREFIX

if TYPE_CHECKING:
    from benchmarks.bench import Bench, Row

COLUMNS = {
    "files": ("files", ",d"),
    "per_folder": ("in a folder", ",d"),
    "documents": ("documents", ",d"),
    "sense": ("sense, s", ".2f"),
    "index": ("index, s", ".2f"),
    "report": ("report, s", ".2f"),
    "account": ("account, s", ".2f"),
    "seconds": ("together, s", ".2f"),
    "peak_mb": ("peak memory, MB", "d"),
    "peak_step": ("in", ""),
    "goal": ("goal", ""),
    "met": ("met", ""),
}

STEPS = ("sense", "index", "report", "account")
LINKS = 50_000
"""Names of one file; file systems have a limit."""


def run(bench: Bench) -> list[Row]:
    """Measure many folders, and one."""
    files = bench.size(100_000, 1_000_000)
    documents = bench.size(5000, 1_000_000)
    bench.folder.mkdir(parents=True, exist_ok=True)
    with bench.place() as bucket:
        day_before = MIDNIGHT - timedelta(days=1)
        collection.fill(documents, day_before)
        indexes.ensure(database()["images"])
        measure(steps.prepare, "report", bucket, bench.folder, bench.folder / "before", None, day_before.isoformat())
        rows = []
        for per_folder in (1000, files):
            landing = bench.folder / f"known-{per_folder}"
            write_many(landing, files, per_folder)
            _write_ledger(bucket, landing)
            rows.append(_row(bench, bucket, landing, files, per_folder, documents))
    return rows


def _row(bench: Bench, bucket: str, landing: Path, files: int, per_folder: int, documents: int) -> Row:
    state = bench.folder / f"{landing.name}-state"
    done = {step: measure(steps.prepare, step, bucket, landing, state) for step in STEPS}
    books = done["account"].value["sense"]
    if books != {"seen": files, "known": files, "unsettled": 0, "new": 0, "carried": 0, "batches": 0}:
        raise RuntimeError(f"{files} known files, but the books say {books}")
    seconds = sum(of.seconds for of in done.values())
    peak_step = max(done, key=lambda step: done[step].peak_mb)
    peak_mb = done[peak_step].peak_mb
    return {
        "files": files,
        "per_folder": per_folder,
        "documents": documents,
        **{step: of.seconds for step, of in done.items()},
        "seconds": seconds,
        "peak_mb": peak_mb,
        "peak_step": peak_step,
        "goal": "≤ 15 s, < 300 MB for 1,000,000",
        "met": seconds <= 15 and peak_mb < 300,
    }


def write_many(folder: Path, count: int, per_folder: int) -> None:
    """Make very many files, quickly: names of a few empty ones."""
    source = folder.with_suffix(".source")
    for number in range(count):
        if number % per_folder == 0:
            inside = folder / f"{number // per_folder:06d}"
            inside.mkdir(parents=True)
        if number % LINKS == 0:
            source.unlink(missing_ok=True)
            source.touch()
        os.link(source, f"{inside}/IMG_{number:07d}.jpg")
    source.unlink()


def _write_ledger(bucket: str, folder: Path) -> None:
    landing = LocalLanding(str(folder))
    key = Layout(bucket, PREFIX).ledger(landing.uri, str(Settings()))
    rows = ([file.path, file.size, file.version, "earlier", DONE, None] for file in landing.files())
    jsonlines.write(s3_client(), bucket, key, rows)
