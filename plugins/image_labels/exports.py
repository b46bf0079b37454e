"""A day's documents as Parquet files on disk: one row an image, and one row an image and label.

The documents come once, as a stream. Rows of labels are sorted by label and confidence whatever their number: they
are dealt into ranges of labels first, whose bounds the counts of the day tell, and each range is sorted by itself. So
memory holds one range at most.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

from image_labels.jsonlines import batched
from image_labels.tables import IMAGE_LABELS, IMAGES, Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    import pyarrow as pa
    import pyarrow.parquet as pq
    from pymongo.collection import Collection

    from image_labels.documents import Document

DOCUMENTS_AT_ONCE = 100
"""Documents of which rows are made together."""

GROUP_ROWS = 1 << 16
"""Rows of a row group, and about as many as are sorted together."""

PART_ROWS = 16 * GROUP_ROWS
"""Rows of a file. An ordinary day fills one, so that its table is replaced in one go."""

_NAMED = {"parents": "Parents", "categories": "Categories", "aliases": "Aliases"}
"""Columns with names, and the lists of an entry that hold them."""


def writer(table: Table, file: Path) -> pq.ParquetWriter:
    """Open a Parquet file: zstd, with statistics, page index, checksums and descriptions.

    The same rows give the same bytes.
    """
    import pyarrow.parquet as pq

    schema = table.schema()
    order = [(name, way == "descending") for name, way in table.sort_keys]
    return pq.ParquetWriter(
        file,
        schema,
        compression="zstd",
        write_page_index=True,
        write_page_checksum=True,
        data_page_size=64 * 1024,
        sorting_columns=[pq.SortingColumn(schema.get_field_index(name), descending) for name, descending in order],
    )


def write(table: Table, rows: pa.Table, file: Path) -> None:
    """Write a table that is in memory."""
    with writer(table, file) as out:
        out.write_table(rows, row_group_size=GROUP_ROWS)


def rows_in(file: Path) -> int:
    """Return how many rows a Parquet file has."""
    import pyarrow.parquet as pq

    return pq.read_metadata(file).num_rows


def export_day(
    collection: Collection[Document], day: datetime, label_cells: pa.Table, folder: Path
) -> tuple[list[Path], Path]:
    """Write the images of a day and their labels.

    :param day: ``logical_date`` of the images
    :param label_cells: of the day, from :func:`image_labels.frequencies.count_labels`
    :returns: the files of :data:`image_labels.tables.IMAGE_LABELS`, and that of :data:`image_labels.tables.IMAGES`
    """
    import pyarrow as pa

    stages: list[dict[str, Any]] = [
        {"$match": {"logical_date": day}},
        # The index has the day's documents in this order.
        {"$sort": {"_id": 1}},
        # A third of a document, and in no table.
        {"$project": {"tokens": 0}},
    ]
    documents = collection.aggregate(stages, allowDiskUse=True, batchSize=DOCUMENTS_AT_ONCE)
    ranges = _Ranges(folder, _bounds(label_cells))
    images = folder / "images.parquet"
    with writer(IMAGES, images) as out:
        waiting: list[pa.Table] = []
        for some in batched(documents, DOCUMENTS_AT_ONCE):
            table, labels = rows_of(some)
            ranges.deal(labels)
            waiting.append(table)
            if len(waiting) * DOCUMENTS_AT_ONCE >= GROUP_ROWS:
                out.write_table(pa.concat_tables(waiting))
                waiting.clear()
        if waiting:
            out.write_table(pa.concat_tables(waiting))
    return list(ranges.write_sorted()), images


# --- Rows ---


def rows_of(documents: Sequence[Document]) -> tuple[pa.Table, pa.Table]:
    """Return the rows that documents have in the tables of images and of labels."""
    import pyarrow as pa

    images: list[dict[str, Any]] = []
    owners: list[int] = []
    mentions: list[int] = []
    labels: list[Document] = []
    for number, document in enumerate(documents):
        entries = _by_name(document.get("Labels") or ())
        images.append(_image(document, len(entries)))
        owners += [number] * len(entries)
        mentions += map(len, entries.values())
        labels += map(_together, entries.values())
    table = pa.Table.from_pylist(images, schema=IMAGES.schema())
    return table, _label_rows(labels, mentions, owners, table)


def _image(document: Document, labels: int) -> dict[str, Any]:
    analysis = document.get("analysis") or {}
    asked = analysis.get("settings") or {}
    camera = document.get("camera") or {}
    longitude, latitude = (document.get("location") or {}).get("coordinates") or (None, None)
    return document | {
        "image": document["_id"],
        "longitude": longitude,
        "latitude": latitude,
        "camera_make": camera.get("make"),
        "camera_model": camera.get("model"),
        "labels": labels,
        "model_version": document.get("LabelModelVersion"),
        "asked_min_confidence": asked.get("min_confidence"),
        "asked_max_labels": asked.get("max_labels"),
        "analysed_at": analysis.get("at"),
        "dag_run": analysis.get("dag_run"),
        "paid_by": analysis.get("paid_by"),
        "reused_from": analysis.get("reused_from"),
        "day": document["logical_date"].date(),
    }


def _by_name(labels: Iterable[Document]) -> dict[str, list[Document]]:
    """Return the entries of an answer by their label, of which it has one as a rule."""
    entries: dict[str, list[Document]] = {}
    for label in labels:
        entries.setdefault(label["Name"], []).append(label)
    return entries


def _together(entries: list[Document]) -> Document:
    """Return what the entries of a label say as one."""
    if len(entries) == 1:
        return entries[0]
    lists = {
        name: [item for entry in entries for item in entry.get(name) or ()] for name in ("Instances", *_NAMED.values())
    }
    return {"Name": entries[0]["Name"], "Confidence": max(entry["Confidence"] for entry in entries), **lists}


def _label_rows(labels: list[Document], mentions: list[int], owners: list[int], images: pa.Table) -> pa.Table:
    """Return the rows of labels.

    :param mentions: how often the answer had each
    :param owners: numbers of the images that they are of
    :param images: the rows of these, from which the columns that both tables have are taken
    """
    import pyarrow as pa

    schema = IMAGE_LABELS.schema()
    instances = [label.get("Instances") or () for label in labels]
    columns: dict[str, Any] = {
        "label": pa.array([label["Name"] for label in labels], pa.string()),
        "confidence": pa.array([label["Confidence"] for label in labels], pa.float64()),
        "mentions": pa.array(mentions, pa.int64()),
        "instances": pa.array(map(len, instances), pa.int64()),
        "boxes": _lists(instances, schema.field("boxes").type, _boxes),
    }
    for column, name in _NAMED.items():
        columns[column] = _lists([_names(label.get(name)) for label in labels], schema.field(column).type)
    shared = [name for name in schema.names if name not in columns]
    of_image = images.select(shared).take(pa.array(owners, pa.int64()))
    columns |= {name: of_image[name] for name in shared}
    return pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)


def _names(items: Sequence[Document] | None) -> Sequence[str]:
    """Return the names in a list of an entry, which may be missing or null."""
    if not items:
        return ()
    return (items[0]["Name"],) if len(items) == 1 else sorted({item["Name"] for item in items})


def _lists(
    lists: Sequence[Sequence[Any]], kind: pa.ListType[Any], values: Callable[..., pa.Array[Any]] | None = None
) -> pa.Array[Any]:
    """Return a column of lists, made flat as Arrow has it: several times faster than from lists of Python.

    :param values: makes an array of all their items; Arrow itself if there is none
    """
    import pyarrow as pa

    ends = pa.array(accumulate(map(len, lists), initial=0), pa.int32())
    flat = [item for items in lists for item in items]
    return pa.ListArray.from_arrays(ends, (values or pa.array)(flat, kind.value_type), type=kind)


def _boxes(instances: list[Document], kind: pa.StructType) -> pa.Array[Any]:
    import pyarrow as pa

    places = [instance.get("BoundingBox") or {} for instance in instances]
    sides = [
        pa.array([place.get(side) for place in places], pa.float64()) for side in ("Left", "Top", "Width", "Height")
    ]
    confidences = pa.array([instance.get("Confidence") for instance in instances], pa.float64())
    return pa.StructArray.from_arrays([*sides, confidences], fields=list(kind))


# --- Order ---


Bound = tuple[str, float]
"""Where a range of rows begins: a label, and a confidence below zero, for the surest come first."""


def _bounds(label_cells: pa.Table) -> list[Bound]:
    """Return where to begin new ranges, so that none has more than :data:`GROUP_ROWS` if that can be told.

    The cells say how many rows a label has between two thresholds, if not how these lie there.
    """
    bounds: list[Bound] = []
    rows = 0
    for bound, more in _bands(label_cells):
        if rows + more > GROUP_ROWS:
            bounds.append(bound)
            rows = 0
        rows += more
    return bounds


def _bands(label_cells: pa.Table) -> Iterator[tuple[Bound, int]]:
    """Yield beginning and number of rows of each label's bands, the band with the surest first."""
    found = label_cells.group_by(["name", "floor"]).aggregate([("images", "sum")])
    ordered = found.sort_by([("name", "ascending"), ("floor", "descending")]).to_pylist()
    label, above, upper = "", 0, -float("inf")
    for cell in ordered:
        if cell["name"] != label:
            label, above, upper = cell["name"], 0, -float("inf")
        # A row at the floor itself is the band's last one.
        yield (label, upper), cell["images_sum"] - above
        above, upper = cell["images_sum"], _after(-cell["floor"])


def _after(number: float) -> float:
    from math import inf, nextafter

    return nextafter(number, inf)


class _Ranges:
    """Rows of labels in ranges, each in a temporary file.

    :param bounds: where all ranges but the first begin
    """

    def __init__(self, folder: Path, bounds: list[Bound]) -> None:
        import pyarrow as pa

        self._folder = folder
        self._bounds = bounds
        self._files = [folder / f"range-{number:05d}.arrow" for number in range(len(bounds) + 1)]
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        self._writers = [pa.ipc.new_stream(str(file), IMAGE_LABELS.schema(), options=options) for file in self._files]
        self._waiting: list[pa.Table] = []

    def deal(self, rows: pa.Table) -> None:
        """Put rows where they belong."""
        self._waiting.append(rows)
        if sum(table.num_rows for table in self._waiting) >= GROUP_ROWS:
            self._deal_waiting()

    def _deal_waiting(self) -> None:
        import pyarrow as pa

        if not self._waiting:
            return
        rows = pa.concat_tables(self._waiting)
        self._waiting.clear()
        if self._bounds:
            # So that the rows of a range lie together.
            rows = rows.sort_by(IMAGE_LABELS.sort_keys)

        def bound(number: int) -> Bound:
            return rows["label"][number].as_py(), -rows["confidence"][number].as_py()

        ends = [bisect_left(range(rows.num_rows), end, key=bound) for end in self._bounds]
        for out, (begin, end) in zip(self._writers, pairwise([0, *ends, rows.num_rows]), strict=True):
            if begin < end:
                out.write_table(rows.slice(begin, end - begin))

    def write_sorted(self) -> Iterator[Path]:
        """Write the files with all rows in order, and yield them."""
        self._deal_waiting()
        for stream in self._writers:
            stream.close()
        pieces = self._sorted_pieces()
        piece = next(pieces, None)
        number = 0
        while piece is not None or number == 0:
            file = self._folder / f"part-{number:05d}.parquet"
            rows = 0
            with writer(IMAGE_LABELS, file) as out:
                while piece is not None and rows + piece.num_rows <= PART_ROWS:
                    out.write_table(piece)
                    rows += piece.num_rows
                    piece = next(pieces, None)
            number += 1
            yield file

    def _sorted_pieces(self) -> Iterator[pa.Table]:
        """Yield the rows of one range after the other, each sorted; a range that is too large in several pieces."""
        import pyarrow as pa

        for file in self._files:
            with pa.OSFile(str(file), "rb") as source, pa.ipc.open_stream(source) as stream:
                waiting: list[pa.RecordBatch] = []
                for batch in stream:
                    if waiting and sum(one.num_rows for one in waiting) + batch.num_rows > 2 * GROUP_ROWS:
                        yield pa.Table.from_batches(waiting).sort_by(IMAGE_LABELS.sort_keys)
                        waiting.clear()
                    waiting.append(batch)
                if waiting:
                    yield pa.Table.from_batches(waiting).sort_by(IMAGE_LABELS.sort_keys)
            os.unlink(file)
