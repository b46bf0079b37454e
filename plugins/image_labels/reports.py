"""The report of a day: tables of its images, frequencies of labels up to it, and a page to look at."""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from image_labels import (
    books,
    changes,
    charts,
    contact_sheet,
    counts,
    exports,
    frequencies,
    jsonlines,
    page,
    publication,
    queries,
)
from image_labels.publication import PAGE, Piece, Publication, ReportDoesNotAddUp
from image_labels.tables import (
    GROUP_FREQUENCY,
    IMAGE_LABELS,
    IMAGES,
    LABEL_CHANGES,
    LABEL_FREQUENCY,
    QUARANTINE,
    RUNS,
    TABLES,
    load_arrow,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from concurrent.futures import Future

    import pyarrow as pa
    from mypy_boto3_s3 import S3Client
    from pymongo.collection import Collection

    from image_labels.documents import Document
    from image_labels.frequencies import Scope
    from image_labels.layout import Layout


TRIES = 3
"""How often a report is made when other runs store documents meanwhile."""

log = logging.getLogger(__name__)


def rows_by_table(pieces: Iterable[Piece]) -> dict[str, int]:
    """Return how many rows each table has."""
    rows: Counter[str] = Counter()
    for piece in pieces:
        rows[piece.table] += piece.rows or 0
    return dict(rows)


def export_books(runs: Iterable[Document], s3: S3Client, layout: Layout, day: date) -> dict[str, int]:
    """Write the tables of a day's runs and of what they could not take; each is one object, which S3 replaces at once.

    :param runs: the day's books
    :returns: the number of rows of each table
    """
    load_arrow()
    import pyarrow as pa

    refused = [
        {**row, "image": row.get("key"), "run_id": run_id, "day": day, "at": datetime.fromisoformat(row["at"])}
        for key in jsonlines.keys(s3, layout.bucket, layout.quarantines(day))
        for run_id in [key.removeprefix(layout.quarantines(day)).removesuffix(".jsonl")]
        for row in jsonlines.read(s3, layout.bucket, key)
    ]
    quarantine = pa.Table.from_pylist(refused, schema=QUARANTINE.schema()).sort_by(QUARANTINE.sort_keys)
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for table, content in ((RUNS, books.table(runs)), (QUARANTINE, quarantine)):
            file = Path(folder, f"{table.name}.parquet")
            exports.write(table, content, file)
            with file.open("rb") as body:
                s3.put_object(Bucket=layout.bucket, Key=layout.report(table.name, day, file.name), Body=body)
            rows[table.name] = content.num_rows
    return rows


@dataclass(frozen=True)
class DayReport:
    """The report of a day.

    :param day: scope "day" are the images of this day, scope "all" those up to and including it
    :param thresholds: confidences in percent, each once, ascending
    """

    collection: Collection[Document]
    s3: S3Client
    layout: Layout
    day: date
    thresholds: Sequence[float]

    def make(self, runs: Iterable[Document], *, recount: bool = False) -> dict[str, int]:
        """Count, write, verify and publish.

        :param runs: the day's books, for the page
        :param recount: count all images anew rather than what has changed
        :returns: the number of rows of each table
        :raises ReportDoesNotAddUp: if what was written cannot be true; readers still have the earlier report
        """
        load_arrow()
        runs = list(runs)
        for left in reversed(range(TRIES)):
            days = self._days()
            try:
                return self._make(days, runs, recount)
            except ReportDoesNotAddUp as problem:
                if not left or self._days() == days:
                    raise
                log.warning("Documents changed while the report was made, so it is made again. %s", problem)
        raise RuntimeError("There were no tries")

    def _make(self, days: list[counts.Day], runs: list[Document], recount: bool) -> dict[str, int]:
        to = Publication(self.s3, self.layout, self.day)
        to.finish_earlier()
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            # The database counts, and the chart is drawn in a process of its own, while the day's files are written.
            with ThreadPoolExecutor(3) as pool:
                scopes, groups, old, exported = self._count(days, recount, pool, folder)
                frequency = frequencies.label_frequency(scopes, self.thresholds)
                rankings = charts.rankings(frequency, *(scope.images for scope in scopes))
                drawing = pool.submit(charts.draw, rankings, self.day)
                tables = self._write(folder, exported.result(), scopes, groups, old, frequency)
            files = self._draw(folder, rankings, drawing.result(), books.table(runs), tables) | tables
            to.stage(files)
            back = folder / "back"
            back.mkdir()
            images = self.collection.count_documents({"logical_date": self._midnight})
            publication.check({piece: to.read_back(piece, back) for piece in tables}, scopes, self.thresholds, images)
            to.publish(list(files))
        self._remember(scopes)
        return rows_by_table(tables)

    def _remember(self, scopes: list[Scope]) -> None:
        """Let the search page complete labels by what was counted of all images, unless there are later ones."""
        if self.collection.find_one({"logical_date": {"$gt": self._midnight}}, {"_id": 1}):
            return
        images: Counter[str] = Counter()
        for cell in scopes[1].labels.to_pylist():
            if cell["floor"] == frequencies.EVERYTHING:
                images[cell["name"]] += cell["images"]
        queries.remember_labels(self.collection, images)

    @property
    def _midnight(self) -> datetime:
        return datetime.combine(self.day, time(), tzinfo=UTC)

    def _days(self) -> list[counts.Day]:
        return counts.days_until(self.collection, self._midnight)

    def _count(
        self, days: list[counts.Day], recount: bool, pool: ThreadPoolExecutor, folder: Path
    ) -> tuple[list[Scope], Future[tuple[pa.Table, pa.Table]], dict[str, str], Future[tuple[list[Path], Path]]]:
        """Return what was counted of the day and of all, their groups, present names by old ones, and the day's files.

        :param days: those up to the report's own that have documents
        :param pool: counts the groups and writes the files, for which it has two threads at least
        :param folder: for the files
        """
        nothing = counts.Day(counts.day_key(self._midnight), "", 0)
        today = next((day for day in days if day.key == nothing.key), nothing)

        def kept(name: str, cells: Callable[..., pa.Table], **of: Any) -> counts.Kept:
            kept = counts.Kept(
                partial(cells, self.collection, thresholds=self.thresholds, **of),
                [self.thresholds, of],
                self.s3,
                self.layout.bucket,
                self.layout.counts(name),
            )
            if recount:
                kept.forget()
            return kept

        labels = kept("labels", frequencies.count_labels)
        of_day = pool.submit(labels.of_day, today)
        files = pool.submit(exports.export_day, self.collection, self._midnight, of_day, folder)
        cells = of_day.result(), labels.of_all(days)
        old = frequencies.renamed(cells[1])

        def count_groups() -> tuple[pa.Table, pa.Table]:
            groups = kept("groups", frequencies.count_groups, old=old)
            return groups.of_day(today), groups.of_all(days)

        images = today.images, sum(day.images for day in days)
        scopes = [frequencies.Scope(*scope) for scope in zip(("day", "all"), images, cells, strict=True)]
        return scopes, pool.submit(count_groups), old, files

    def _write(
        self,
        folder: Path,
        exported: tuple[list[Path], Path],
        scopes: list[Scope],
        groups: Future[tuple[pa.Table, pa.Table]],
        old: Mapping[str, str],
        frequency: pa.Table,
    ) -> dict[Piece, Path]:
        """Write the tables of what was counted; the one that readers look at most comes last.

        :param exported: the day's files, see :func:`image_labels.exports.export_day`
        """
        labels, images = exported
        previous = changes.read_previous(self.s3, self.layout, self.day)
        files = [(IMAGE_LABELS, file) for file in labels] + [(IMAGES, images)]
        for table, rows in (
            (LABEL_CHANGES, changes.label_changes(frequency, previous, old)),
            (GROUP_FREQUENCY, frequencies.group_frequency(scopes, groups.result(), self.thresholds, old)),
            (LABEL_FREQUENCY, frequency),
        ):
            files.append((table, folder / f"{table.name}.parquet"))
            exports.write(table, rows, files[-1][1])
        return {Piece(table.name, file.name, exports.rows_in(file)): file for table, file in files}

    def _draw(
        self,
        folder: Path,
        rankings: Sequence[charts.Ranking],
        drawings: charts.Drawings,
        runs: pa.Table,
        tables: Mapping[Piece, Path],
    ) -> dict[Piece, Path]:
        """Put the page together."""
        import pyarrow.parquet as pq

        files = {table: [file for piece, file in tables.items() if piece.table == table] for table in TABLES}
        compared = pq.read_table(files[LABEL_CHANGES.name][0])
        shown = [bar.label for bar in rankings[0].bars]
        sheet = contact_sheet.contact_sheet(
            self.s3, self.layout.bucket, shown, files[IMAGE_LABELS.name], files[IMAGES.name][0]
        )
        places = {
            table: (self.layout.uri(self.layout.report(table, self.day, "")), rows)
            for table, rows in rows_by_table(tables).items()
        }
        html = page.report_page(self.day, rankings, drawings.svgs, compared, runs, sheet, places)
        drawn = {"report.html": html, "report.png": drawings.png}
        for name, content in drawn.items():
            (folder / name).write_bytes(content)
        return {Piece(PAGE, name): folder / name for name in drawn}
