"""A day's documents as Parquet files on disk: one row an image, and one row an image and label.

The documents come once, as a stream. Rows of labels are sorted by label and confidence whatever their number: they
are dealt into ranges of labels first, whose bounds the counts of the day tell, and each range is sorted by itself. So
memory holds one range at most.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from image_labels.jsonlines import batched
from image_labels.tables import IMAGE_LABELS, IMAGES, Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future
    from datetime import datetime
    from pathlib import Path

    import pyarrow as pa
    import pyarrow.parquet as pq
    from pymongo.collection import Collection

    from image_labels.documents import Document

DOCUMENTS_AT_ONCE = 200
"""Documents of which rows are made together."""

GROUP_ROWS = 1 << 15
"""Rows of a row group, and about as many as are sorted together."""

PART_ROWS = 32 * GROUP_ROWS
"""Rows of a file. An ordinary day fills one, so that its table is replaced in one go."""

_NAMED = {"parents": "Parents", "categories": "Categories", "aliases": "Aliases"}
"""Columns with names, and the lists of an entry that hold them."""

_SIDES = ("Left", "Top", "Width", "Height")


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
    collection: Collection[Document], day: datetime, label_cells: Future[pa.Table], folder: Path
) -> tuple[list[Path], Path]:
    """Write the images of a day and their labels.

    :param day: ``logical_date`` of the images
    :param label_cells: of the day, from :func:`image_labels.frequencies.count_labels`; soon there
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
    ranges = _Ranges(folder, label_cells)
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

    answers = [_each_once(document.get("Labels") or []) for document in documents]
    images = [_image(document, len(labels)) for document, labels in zip(documents, answers, strict=True)]
    table = pa.Table.from_pylist(images, schema=IMAGES.schema())
    owners = [number for number, labels in enumerate(answers) for _ in labels]
    return table, _label_rows([label for labels in answers for label in labels], owners, table)


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


def _each_once(labels: list[Document]) -> list[Document]:
    """Return the entries of an answer with those of the same label as one; it has one of each as a rule."""
    if len({label["Name"] for label in labels}) == len(labels):
        return labels
    by_name: dict[str, list[Document]] = {}
    for label in labels:
        by_name.setdefault(label["Name"], []).append(label)
    return [
        {
            "Name": name,
            "Confidence": max(entry["Confidence"] for entry in entries),
            "mentions": len(entries),
            **{
                items: [item for entry in entries for item in entry.get(items) or ()]
                for items in ("Instances", *_NAMED.values())
            },
        }
        for name, entries in by_name.items()
    ]


def _label_rows(labels: list[Document], owners: list[int], images: pa.Table) -> pa.Table:
    """Return the rows of labels, which Arrow makes without a step of Python for each.

    :param owners: numbers of the images that they are of
    :param images: the rows of these, from which the columns that both tables have are taken
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    schema = IMAGE_LABELS.schema()
    entries = pa.array(labels, _entry_type())
    instances = pc.struct_field(entries, "Instances")
    columns: dict[str, Any] = {
        "label": pc.struct_field(entries, "Name"),
        "confidence": pc.struct_field(entries, "Confidence"),
        "mentions": pc.fill_null(pc.struct_field(entries, "mentions"), 1),
        "instances": pc.fill_null(pc.list_value_length(instances), 0).cast(pa.int64()),
        "boxes": _boxes(instances, schema.field("boxes").type),
    }
    for column, items in _NAMED.items():
        columns[column] = _names(pc.struct_field(entries, items), schema.field(column).type)
    shared = [name for name in schema.names if name not in columns]
    of_image = images.select(shared).take(pa.array(owners, pa.int64()))
    columns |= {name: of_image[name] for name in shared}
    return pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)


def _entry_type() -> pa.StructType:
    """Return the type of an entry of an answer, as far as the table of labels has it."""
    import pyarrow as pa

    box = pa.struct([(side, pa.float64()) for side in _SIDES])
    instance = pa.struct([("BoundingBox", box), ("Confidence", pa.float64())])
    return pa.struct(
        [
            ("Name", pa.string()),
            ("Confidence", pa.float64()),
            ("mentions", pa.int64()),
            ("Instances", pa.list_(instance)),
            *((items, pa.list_(pa.struct([("Name", pa.string())]))) for items in _NAMED.values()),
        ]
    )


def _names(items: pa.ListArray[Any], kind: pa.ListType[Any]) -> pa.Array[Any]:
    """Return lists of the names in lists of items, which may be missing: each once, sorted."""
    import pyarrow as pa
    import pyarrow.compute as pc

    names = pc.struct_field(pc.list_flatten(items), "Name")
    pairs = pa.table({"owner": pc.list_parent_indices(items), "name": names})
    found = pairs.group_by(["owner", "name"]).aggregate([]).sort_by([("owner", "ascending"), ("name", "ascending")])
    return _lists(found["owner"].combine_chunks(), found["name"].combine_chunks(), len(items), kind)


def _boxes(instances: pa.ListArray[Any], kind: pa.ListType[Any]) -> pa.Array[Any]:
    """Return lists of the places of instances, of which there may be none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = pc.list_flatten(instances)
    sides = [pc.struct_field(found, ["BoundingBox", side]) for side in _SIDES]
    boxes = pa.StructArray.from_arrays([*sides, pc.struct_field(found, "Confidence")], fields=list(kind.value_type))
    return _lists(pc.list_parent_indices(instances), boxes, len(instances), kind)


def _lists(owners: pa.Array[Any], items: pa.Array[Any], count: int, kind: pa.ListType[Any]) -> pa.Array[Any]:
    """Return lists of items.

    :param owners: number of the list that each item is in, ascending
    :param count: of the lists
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    found: Any = pc.value_counts(owners)
    places = pc.index_in(pa.array(range(count), owners.type), found.field("values"))
    lengths = pc.fill_null(found.field("counts").take(places), 0)
    begins = pa.concat_arrays([pa.array([0], pa.int64()), pc.cumulative_sum(lengths)]).cast(pa.int32())
    return pa.ListArray.from_arrays(begins, items, type=kind)


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

    :param label_cells: tell where ranges begin; waited for when the first rows are dealt
    """

    def __init__(self, folder: Path, label_cells: Future[pa.Table]) -> None:
        self._folder = folder
        self._label_cells = label_cells
        self._waiting: list[pa.Table] = []

    @cached_property
    def _bounds(self) -> list[Bound]:
        """Where all ranges but the first begin."""
        return _bounds(self._label_cells.result())

    @cached_property
    def _writers(self) -> dict[Path, pa.RecordBatchStreamWriter]:
        import pyarrow as pa

        options = pa.ipc.IpcWriteOptions(compression="lz4")
        files = [self._folder / f"range-{number:05d}.arrow" for number in range(len(self._bounds) + 1)]
        return {file: pa.ipc.new_stream(str(file), IMAGE_LABELS.schema(), options=options) for file in files}

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
        for out, (begin, end) in zip(self._writers.values(), pairwise([0, *ends, rows.num_rows]), strict=True):
            if begin < end:
                out.write_table(rows.slice(begin, end - begin))

    def write_sorted(self) -> Iterator[Path]:
        """Write the files with all rows in order, and yield them."""
        self._deal_waiting()
        for stream in self._writers.values():
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
                    # Not to be held while the next one is sorted.
                    del piece
                    piece = next(pieces, None)
            number += 1
            yield file

    def _sorted_pieces(self) -> Iterator[pa.Table]:
        """Yield the rows of one range after the other, each sorted; a range that is too large in several pieces."""
        import pyarrow as pa

        for file in self._writers:
            with pa.OSFile(str(file), "rb") as source, pa.ipc.open_stream(source) as stream:
                waiting: list[pa.RecordBatch] = []
                for batch in stream:
                    if waiting and sum(one.num_rows for one in waiting) + batch.num_rows > 2 * GROUP_ROWS:
                        yield _sorted(waiting)
                    waiting.append(batch)
                if waiting:
                    yield _sorted(waiting)
            os.unlink(file)


def _sorted(batches: list[pa.RecordBatch]) -> pa.Table:
    """Return rows of labels in order, and empty the list, so that they are not held twice."""
    import pyarrow as pa

    rows = pa.Table.from_batches(batches)
    batches.clear()
    return rows.sort_by(IMAGE_LABELS.sort_keys)
