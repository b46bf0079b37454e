"""The label frequency table: how many images show each label, at each confidence threshold.

The database counts all thresholds in one pass over a scope and sends a few rows for each label; the worker adds them
up into one Arrow table, whose schema is the report's definition.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path
    from typing import BinaryIO

    import pyarrow as pa
    from pymongo.collection import Collection

SCHEMA_VERSION = "1"


def schema() -> pa.Schema:
    """Return the table's one schema; the metadata of each field holds its ``description``."""
    import pyarrow as pa

    columns: tuple[tuple[str, pa.DataType, str], ...] = (
        ("scope", pa.string(), 'Which images: those of this data interval ("day") or the whole collection ("all")'),
        ("min_confidence", pa.float64(), "Threshold in percent; only labels at or above it count in this row"),
        ("label", pa.string(), "Name of the label as Rekognition gave it"),
        ("images", pa.int64(), "Images with the label; one that has it several times counts once"),
        ("instances", pa.int64(), "Objects of the label that were located in these images"),
        ("share", pa.float64(), "images divided by all images of the scope, 0 to 1"),
        ("mean_confidence", pa.float64(), "Mean confidence of the label in percent, to 4 decimals"),
        ("max_confidence", pa.float64(), "Highest confidence of the label in percent"),
        ("model_versions", pa.list_(pa.string()), "Versions of Rekognition's label model that saw it, sorted"),
    )
    return pa.schema(
        [pa.field(name, kind, nullable=False, metadata={"description": text}) for name, kind, text in columns],
        metadata={"schema_version": SCHEMA_VERSION},
    )


def label_frequency(
    collection: Collection[dict[str, Any]], day: datetime, thresholds: Sequence[float], known: pa.Table | None = None
) -> pa.Table:
    """Count the labels of a day's images and of the whole collection.

    :param day: ``logical_date`` of the images in the scope ``day``
    :param thresholds: confidences in percent, each once, ascending
    :param known: a table for the same thresholds since which no document has changed; saves counting all again
    :returns: rows of :func:`schema`, sorted by scope, threshold, images (most first) and label. A label that does not
        reach a threshold has no row there, so a day without images adds none
    :raises ValueError: if the thresholds are not as said
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    floors = _checked(thresholds)

    def count(scope: str, images: dict[str, Any]) -> pa.Table:
        rows = [{"scope": scope, **row} for row in _rows(collection, images, floors)]
        return pa.Table.from_pylist(rows, schema=schema())

    everything = count("all", {}) if known is None else known.filter(pc.field("scope") == "all")
    return pa.concat_tables([everything, count("day", {"logical_date": day})]).sort_by(
        [("scope", "ascending"), ("min_confidence", "ascending"), ("images", "descending"), ("label", "ascending")]
    )


def write_parquet(table: pa.Table, out: Path | BinaryIO) -> None:
    """Write the table as Parquet: zstd, with column statistics and the schema's descriptions.

    The same rows give the same bytes.
    """
    import pyarrow.parquet as pq

    pq.write_table(table, out, compression="zstd")


def _checked(thresholds: Sequence[float]) -> list[float]:
    floors = [float(threshold) for threshold in thresholds]
    if not floors or floors != sorted(set(floors)) or not all(0 <= floor <= 100 for floor in floors):
        raise ValueError(
            f"thresholds are {list(thresholds)}; give one or more confidences from 0 to 100 percent, each once and "
            "ascending, such as [50, 70, 90]"
        )
    return floors


@dataclass
class _Tally:
    """What is counted of one label, first between a threshold and the next one, then from a threshold upwards.

    :param entries: how often answers list the label
    :param confidence: sum over the entries
    """

    images: int = 0
    entries: int = 0
    instances: int = 0
    confidence: float = 0.0
    highest: float = 0.0
    models: set[str] = field(default_factory=set)

    def add(self, other: _Tally) -> None:
        self.images += other.images
        self.entries += other.entries
        self.instances += other.instances
        self.confidence += other.confidence
        self.highest = max(self.highest, other.highest)
        self.models |= other.models


def _rows(
    collection: Collection[dict[str, Any]], images: dict[str, Any], floors: list[float]
) -> Iterator[dict[str, Any]]:
    total = collection.count_documents(images)
    cells = collection.aggregate([{"$match": images}, *_stages(floors)], allowDiskUse=True)
    for label, tallies in _by_label(cells).items():
        above = _Tally()
        for floor in reversed(floors):
            above.add(tallies[floor])
            if above.entries:
                yield {
                    "min_confidence": floor,
                    "label": label,
                    "images": above.images,
                    "instances": above.instances,
                    "share": above.images / total,
                    # The database adds up in no set order, so the last bits of the sum may differ between two runs.
                    "mean_confidence": round(above.confidence / above.entries, 4),
                    "max_confidence": above.highest,
                    "model_versions": sorted(above.models),
                }


def _stages(floors: list[float]) -> list[dict[str, Any]]:
    """Return the stages that sum up images into cells: one for a label, the highest threshold reached, and a model.

    So each label of an image is looked at once, however many thresholds there are. DocumentDB 5.0 has all that is used.

    .. seealso:: https://docs.aws.amazon.com/documentdb/latest/developerguide/mongo-apis.html
    """
    names, confidence = "$Labels.Name", "$Labels.Confidence"
    reached = [{"case": {"$gte": [confidence, floor]}, "then": floor} for floor in reversed(floors)]
    # An answer may, if rarely, have a label twice. A sum would count its image twice, so it gets cells of its own.
    once_each = {"$eq": [_size("$Labels"), _size({"$setUnion": [names, []]})]}
    return [
        {"$addFields": {"repeating": {"$cond": [once_each, None, "$_id"]}}},
        {"$unwind": "$Labels"},
        {
            "$group": {
                "_id": {
                    "label": names,
                    "repeating": "$repeating",
                    "floor": {"$switch": {"branches": reached, "default": None}},
                    "model": "$LabelModelVersion",
                },
                "entries": {"$sum": 1},
                "instances": {"$sum": _size("$Labels.Instances")},
                "confidence": {"$sum": confidence},
                "highest": {"$max": confidence},
            }
        },
        # Done before the grouping, this costs more than it saves.
        {"$match": {"_id.floor": {"$gte": floors[0]}}},
        {"$sort": {"_id.label": 1, "_id.repeating": 1, "_id.floor": -1, "_id.model": 1}},
    ]


def _size(array: str | dict[str, Any]) -> dict[str, Any]:
    """Return an expression for the length of an array that may be missing or null."""
    return {"$size": {"$ifNull": [array, []]}}


def _by_label(cells: Iterable[dict[str, Any]]) -> dict[str, defaultdict[float, _Tally]]:
    """Add up the sorted cells to one tally for each label and highest threshold reached."""
    labels: defaultdict[str, defaultdict[float, _Tally]] = defaultdict(lambda: defaultdict(_Tally))
    counted = None
    for cell in cells:
        of = cell["_id"]
        if of["repeating"] is None:
            images = cell["entries"]
        else:
            # An image's first cell for a label is the one with the highest threshold.
            images = int((of["label"], of["repeating"]) != counted)
            counted = of["label"], of["repeating"]
        labels[of["label"]][of["floor"]].add(
            _Tally(
                images,
                cell["entries"],
                cell["instances"],
                cell["confidence"],
                cell["highest"],
                {of["model"]} if of.get("model") else set(),
            )
        )
    return labels
