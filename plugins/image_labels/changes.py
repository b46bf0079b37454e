"""What is different today: a day's label frequencies beside those of the four weeks before it.

Days differ in how many images they bring, so shares are compared and not counts. An earlier report counts for a scope
if the scope had images then, and for a threshold if it has that threshold: a day without a report, or without images,
is no day without labels.
"""

from __future__ import annotations

import io
import logging
from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from math import asin, sqrt
from statistics import median
from typing import TYPE_CHECKING, Any

from image_labels import tables

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import date

    import pyarrow as pa
    from mypy_boto3_s3 import S3Client

    from image_labels.layout import Layout

WINDOW = 28
"""Days before the report that it is compared with; what is older is not looked at."""

ENOUGH = 7
"""Reports below which nothing is said about what is usual."""

COLUMNS = ("scope", "min_confidence", "label", "images", "share", "model_versions")
"""What is read of the earlier reports."""

log = logging.getLogger(__name__)


def read_previous(s3: S3Client, layout: Layout, day: date) -> list[tuple[date, pa.Table]]:
    """Return day and label frequencies of the reports before one, as far as there are any.

    :param day: of the report
    """
    import pyarrow.parquet as pq

    found = []
    for days in range(1, WINDOW + 1):
        earlier = day - timedelta(days=days)
        key = layout.report("label_frequency", earlier, "label_frequency.parquet")
        try:
            content = s3.get_object(Bucket=layout.bucket, Key=key)["Body"].read()
        except s3.exceptions.NoSuchKey:
            continue
        file = pq.ParquetFile(io.BytesIO(content))
        if set(COLUMNS) <= set(file.schema_arrow.names):
            found.append((earlier, file.read(columns=list(COLUMNS))))
        else:
            log.warning("Not compared with the report of %s, whose table has other columns: %s", earlier, key)
    return found


def label_changes(
    today: pa.Table, previous: Sequence[tuple[date, pa.Table]], aliases: Mapping[str, str] | None = None
) -> pa.Table:
    """Compare the label frequencies of a report with those of earlier ones.

    :param today: rows of :data:`image_labels.tables.LABEL_FREQUENCY`
    :param previous: day and rows of the reports before it, in any order
    :param aliases: labels by the names that have become aliases of them
    :returns: rows of :data:`image_labels.tables.LABEL_CHANGES`
    """
    import pyarrow as pa

    table = tables.LABEL_CHANGES
    schema = table.schema()
    newest_first = sorted(previous, key=lambda report: report[0], reverse=True)
    batches = [
        # A scope and threshold at a time, for all that is looked at has 28 times the rows of a report.
        pa.RecordBatch.from_pylist(list(_compare(now, earlier, aliases or {})), schema)
        for now, earlier in _parts(today, newest_first)
    ]
    return pa.Table.from_batches(batches, schema).sort_by(table.sort_keys)


def images_of_scopes(frequencies: pa.Table) -> dict[str, int]:
    """Return how many images each scope of a report has; a scope without labels is not among them."""
    highest = frequencies.group_by("scope").aggregate([("images", "max"), ("share", "max")]).to_pylist()
    # Both are those of the same label.
    return {row["scope"]: round(row["images_max"] / row["share_max"]) for row in highest}


@dataclass(frozen=True)
class _Part:
    """What a report says of one scope and threshold.

    :param total: images of the scope
    :param rows: of the table
    """

    scope: str
    floor: float
    day: date | None
    total: int
    rows: pa.Table

    def by_label(self, column: str) -> dict[str, Any]:
        """Return a column's values by label."""
        return {row["label"]: row[column] for row in self.rows.select(["label", column]).to_pylist()}


def _parts(today: pa.Table, previous: Sequence[tuple[date, pa.Table]]) -> Iterator[tuple[_Part, list[_Part]]]:
    """Yield each part of today's report with those of the earlier reports that count for it, in their order."""
    import pyarrow.compute as pc

    totals = [images_of_scopes(table) for _, table in previous]
    floors = [_floors(table) for _, table in previous]
    for scope, total in images_of_scopes(today).items():
        for floor in _floors(today):
            rows = (pc.field("scope") == scope) & (pc.field("min_confidence") == floor)
            yield (
                _Part(scope, floor, None, total, today.filter(rows)),
                [
                    _Part(scope, floor, day, of[scope], table.filter(rows))
                    for (day, table), of, known in zip(previous, totals, floors, strict=True)
                    if scope in of and floor in known
                ],
            )


def _floors(frequencies: pa.Table) -> set[Any]:
    return set[Any](frequencies["min_confidence"].to_pylist())


def _compare(now: _Part, earlier: Sequence[_Part], aliases: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield a row for each label of today and of the earlier reports, the newest of which comes first."""
    images, models = now.by_label("images"), now.by_label("model_versions")
    before: defaultdict[str, list[int]] = defaultdict(lambda: [0] * len(earlier))
    for number, part in enumerate(earlier):
        for label, count in part.by_label("images").items():
            before[label][number] = count
    last_models = earlier[0].by_label("model_versions") if earlier else {}
    for label in images.keys() | before.keys():
        count, counts = images.get(label, 0), before[label]
        row = {
            "scope": now.scope,
            "min_confidence": now.floor,
            "label": label,
            "status": "first" if not earlier else "new" if not any(counts) else "kept" if count else "vanished",
            "images": count,
            "scope_images": now.total,
            "share": count / now.total,
            "reports": len(earlier),
            "reports_with_label": sum(count > 0 for count in counts),
            "model_versions": models.get(label, []),
            "now_called": None if count else aliases.get(label),
        }
        if earlier:
            totals = [part.total for part in earlier]
            usual = median(count / total for count, total in zip(counts, totals, strict=True))
            row |= {
                "last_report_date": earlier[0].day,
                "last_images": counts[0],
                "last_scope_images": totals[0],
                "last_share": counts[0] / totals[0],
                "last_model_versions": last_models.get(label, []),
                "median_share": usual,
            }
            # The whole collection still holds what it held before: there is no chance in it that could be judged.
            if now.scope == "day" and len(earlier) >= ENOUGH:
                row["deviation"] = _deviation(count, now.total, usual, list(zip(counts, totals, strict=True)))
        yield row


def _deviation(images: int, total: int, usual: float, earlier: Sequence[tuple[int, int]]) -> float:
    """Return how far a share is from the usual one, in units of what separates ordinary days.

    That is what chance alone does to so many images. Where the earlier days scatter more than that, as they do when
    somebody brings a hundred pictures of one dog, it is as much more: 1.4826 times the median deviation, which is the
    standard deviation where days are normal, and is not moved by a few that are not.
    """
    scatter = 1.4826 * median(abs(_surprise(count, of, usual)) for count, of in earlier)
    return _surprise(images, total, usual) / max(scatter, 1.0)


def _surprise(images: int, total: int, share: float) -> float:
    """Return how far a count is from what a share lets expect, in standard deviations of chance.

    Anscombe's transform makes those the same for small counts and for large ones.

    .. seealso:: https://doi.org/10.1093/biomet/35.3-4.246
    """

    def angle(count: float) -> float:
        return asin(sqrt((count + 0.375) / (total + 0.75)))

    return 2 * sqrt(total + 0.5) * (angle(images) - angle(total * share))
