"""How many images show each label, and each group of labels, at each confidence threshold.

The database counts all thresholds in one pass and sends *cells*, a few for each label. Cells of several days add up to
those of all of them, so what was counted once can be kept. The worker makes the reports' tables of them.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from image_labels.tables import GROUP_FREQUENCY, LABEL_FREQUENCY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import pyarrow as pa
    from pymongo.collection import Collection

Filter = dict[str, Any]

EVERYTHING = 0.0
"""The threshold that every label reaches; cells have it besides those that are asked for."""

LABEL, WITH_CHILDREN, CATEGORY = "label", "label_with_children", "category"
"""Groupings; see :data:`image_labels.tables.GROUP_FREQUENCY`."""


def checked(thresholds: Sequence[float]) -> list[float]:
    """Return thresholds as numbers.

    :raises ValueError: if they are not confidences in percent, each once and ascending
    """
    floors = [float(threshold) for threshold in thresholds]
    if not floors or floors != sorted(set(floors)) or not all(0 <= floor <= 100 for floor in floors):
        raise ValueError(
            f"thresholds are {list(thresholds)}; give one or more confidences from 0 to 100 percent, each once and "
            "ascending, such as [50, 70, 90]"
        )
    return floors


# --- Cells ---


def label_cells_schema() -> pa.Schema:
    """Return the schema of :func:`count_labels`."""
    import pyarrow as pa

    columns: dict[str, pa.DataType] = {
        "name": pa.string(),
        "floor": pa.float64(),
        "model": pa.string(),
        "aliases": pa.string(),
        "images": pa.int64(),
        "mentions": pa.int64(),
        "instances": pa.int64(),
        "confidence": pa.float64(),
        "highest": pa.float64(),
    }
    return pa.schema(columns)


def group_cells_schema() -> pa.Schema:
    """Return the schema of :func:`count_groups`."""
    import pyarrow as pa

    columns: dict[str, pa.DataType] = {
        "grouping": pa.string(),
        "name": pa.string(),
        "floor": pa.float64(),
        "model": pa.string(),
        "images": pa.int64(),
    }
    return pa.schema(columns)


def merge(cells: Sequence[pa.Table]) -> pa.Table:
    """Add up cells of images that are in one of the tables each, to tables of the same schema."""
    import pyarrow as pa

    schema = cells[0].schema
    keys: list[str] = [name for name in ("grouping", "name", "floor", "model", "aliases") if name in schema.names]
    sums: list[tuple[str, Literal["sum", "max"]]]
    sums = [(name, "max" if name == "highest" else "sum") for name in schema.names if name not in keys]
    added = pa.concat_tables(cells).group_by(keys).aggregate(sums)
    columns = [*(added[key] for key in keys), *(added[f"{name}_{way}"] for name, way in sums)]
    return pa.Table.from_arrays(columns, schema=schema).sort_by([(key, "ascending") for key in keys])


@dataclass
class _Tally:
    """What is counted of one label, first between a threshold and the next one, then from a threshold upwards.

    :param mentions: how often answers list the label
    :param confidence: sum over the mentions
    """

    images: int = 0
    mentions: int = 0
    instances: int = 0
    confidence: float = 0.0
    highest: float = 0.0

    def add(self, other: _Tally) -> None:
        self.images += other.images
        self.mentions += other.mentions
        self.instances += other.instances
        self.confidence += other.confidence
        self.highest = max(self.highest, other.highest)


def count_labels(collection: Collection[dict[str, Any]], images: Filter, thresholds: Sequence[float]) -> pa.Table:
    """Count the labels of images.

    :returns: cells: for each label, threshold (:data:`EVERYTHING` besides those given), model version and list of
        aliases (as JSON) what is at or above the threshold
    """
    import pyarrow as pa

    floors = sorted({EVERYTHING, *thresholds})
    bands = collection.aggregate([{"$match": images}, *_label_stages(floors)], allowDiskUse=True)
    rows = []
    for (name, model, aliases), tallies in _by_label(bands).items():
        above = _Tally()
        for floor in reversed(floors):
            above.add(tallies[floor])
            if above.mentions:
                rows.append({"name": name, "floor": floor, "model": model, "aliases": aliases, **vars(above)})
    return pa.Table.from_pylist(rows, schema=label_cells_schema())


def _label_stages(floors: list[float]) -> list[dict[str, Any]]:
    """Return the stages that sum up images into bands: one for a label, the highest threshold reached, and a model.

    So each label of an image is looked at once, however many thresholds there are. DocumentDB 5.0 has all that is used.

    .. seealso:: https://docs.aws.amazon.com/documentdb/latest/developerguide/mongo-apis.html
    """
    names, confidence = "$Labels.Name", "$Labels.Confidence"
    reached = [{"case": {"$gte": [confidence, floor]}, "then": floor} for floor in reversed(floors)]
    # An answer may, if rarely, have a label twice. A sum would count its image twice, so it gets bands of its own.
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
                    "aliases": "$Labels.Aliases.Name",
                },
                "mentions": {"$sum": 1},
                "instances": {"$sum": _size("$Labels.Instances")},
                "confidence": {"$sum": confidence},
                "highest": {"$max": confidence},
            }
        },
        {"$sort": {"_id.label": 1, "_id.repeating": 1, "_id.floor": -1, "_id.model": 1, "_id.aliases": 1}},
    ]


def _size(array: str | dict[str, Any]) -> dict[str, Any]:
    """Return an expression for the length of an array that may be missing or null."""
    return {"$size": {"$ifNull": [array, []]}}


def _by_label(bands: Iterable[dict[str, Any]]) -> dict[tuple[str, str | None, str], defaultdict[float, _Tally]]:
    """Add up the sorted bands to one tally for each label, model, list of aliases and highest threshold reached."""
    labels: defaultdict[tuple[str, str | None, str], defaultdict[float, _Tally]]
    labels = defaultdict(lambda: defaultdict(_Tally))
    counted = None
    for band in bands:
        of = band["_id"]
        if of["repeating"] is None:
            images = band["mentions"]
        else:
            # An image's first band for a label is the one with the highest threshold.
            images = int((of["label"], of["repeating"]) != counted)
            counted = of["label"], of["repeating"]
        aliases = json.dumps(sorted(of.get("aliases") or []))
        labels[of["label"], of.get("model"), aliases][of["floor"]].add(
            _Tally(images, band["mentions"], band["instances"], band["confidence"], band["highest"])
        )
    return labels


def renamed(cells: pa.Table) -> dict[str, str]:
    """Return the names that occur as a label in one place and as an alias of another label elsewhere.

    :param cells: of :func:`count_labels`
    :returns: the present name by the old one. Where two labels claim an alias, the first in the alphabet has it
    """
    claims: defaultdict[str, set[str]] = defaultdict(set)
    rows = cells.select(["name", "aliases"]).to_pylist()
    names = {row["name"] for row in rows}
    for row in rows:
        for alias in json.loads(row["aliases"]):
            if alias in names and alias != row["name"]:
                claims[alias].add(row["name"])
    first = {alias: min(claimants) for alias, claimants in claims.items()}
    return {alias: last for alias in sorted(first) if (last := _follow(first, alias)) not in first}


def _follow(names: Mapping[str, str], name: str) -> str:
    """Return the end of a chain of names; a name within it if it is a circle."""
    for _ in range(len(names)):
        if name not in names:
            break
        name = names[name]
    return name


def count_groups(
    collection: Collection[dict[str, Any]], images: Filter, thresholds: Sequence[float], old: Mapping[str, str]
) -> pa.Table:
    """Count what groups of labels add to the labels themselves.

    :param old: present names by old ones, of :func:`renamed`
    :returns: cells, for each threshold and model version: images that have a ``category``; and for the groupings
        ``label`` and ``label_with_children`` those that count for a name without having a label of that name
    """
    import pyarrow as pa

    sets = {"$concatArrays": [_groups_at(floor, old) for floor in thresholds]}
    stages: list[dict[str, Any]] = [
        {"$match": images},
        {"$project": {"model": "$LabelModelVersion", "of": sets}},
        {"$unwind": "$of"},
        {"$unwind": "$of.name"},
        {"$group": {"_id": {"of": "$of", "model": "$model"}, "images": {"$sum": 1}}},
    ]
    rows = [
        {**cell["_id"]["of"], "model": cell["_id"].get("model"), "images": cell["images"]}
        for cell in collection.aggregate(stages, allowDiskUse=True)
    ]
    rows.sort(key=lambda row: (row["grouping"], row["name"], row["floor"], row["model"] or ""))
    return pa.Table.from_pylist(rows, schema=group_cells_schema())


def _groups_at(floor: float, old: Mapping[str, str]) -> dict[str, Any]:
    """Return an expression for the groups that an image has at a threshold."""
    reaching = {
        "$filter": {
            "input": {"$ifNull": ["$Labels", []]},
            "as": "label",
            "cond": {"$gte": ["$$label.Confidence", floor]},
        }
    }
    names, parents = "$$labels.Name", _flat("$$labels.Parents.Name")

    def group(grouping: str, members: dict[str, Any]) -> dict[str, Any]:
        return {"grouping": grouping, "floor": floor, "name": members}

    below: Any = _present({"$concatArrays": [names, parents]}, old) if old else parents
    groups = [
        group(WITH_CHILDREN, {"$setDifference": [below, names]}),
        group(CATEGORY, {"$setUnion": [_flat("$$labels.Categories.Name"), []]}),
    ]
    if old:
        groups.append(group(LABEL, {"$setDifference": [_present(names, old), names]}))
    return {"$let": {"vars": {"labels": reaching}, "in": groups}}


def _flat(lists: str) -> dict[str, Any]:
    return {"$reduce": {"input": lists, "initialValue": [], "in": {"$concatArrays": ["$$value", "$$this"]}}}


def _present(names: str | dict[str, Any], old: Mapping[str, str]) -> dict[str, Any]:
    """Return an expression for names with the old ones replaced."""
    # A name that begins with $ must not be taken for a field.
    place = {"$indexOfArray": [{"$literal": list(old)}, "$$name"]}
    present = {"$arrayElemAt": [{"$literal": list(old.values())}, "$$place"]}
    chosen = {"$let": {"vars": {"place": place}, "in": {"$cond": [{"$lt": ["$$place", 0]}, "$$name", present]}}}
    return {"$map": {"input": names, "as": "name", "in": chosen}}


# --- Tables ---


@dataclass(frozen=True)
class Scope:
    """What was counted over the images of a scope.

    :param name: "day" or "all"
    :param images: how many images, those without labels included
    :param labels: cells of :func:`count_labels`
    """

    name: str
    images: int
    labels: pa.Table

    @property
    def instances(self) -> int:
        """Objects that were located, of labels at whatever confidence."""
        return sum(cell["instances"] for cell in self.labels.to_pylist() if cell["floor"] == EVERYTHING)


def label_frequency(scopes: Iterable[Scope], thresholds: Sequence[float]) -> pa.Table:
    """Make the table of label frequencies. A label that does not reach a threshold has no row there."""
    import pyarrow as pa

    rows = [row for scope in scopes for row in _label_rows(scope, checked(thresholds))]
    return pa.Table.from_pylist(rows, schema=LABEL_FREQUENCY.schema()).sort_by(LABEL_FREQUENCY.sort_keys)


def group_frequency(
    scopes: Iterable[Scope], groups: Iterable[pa.Table], thresholds: Sequence[float], old: Mapping[str, str]
) -> pa.Table:
    """Make the table of the groups of labels.

    :param groups: cells of :func:`count_groups` for each scope
    :param old: with which the scopes' groups were counted
    """
    import pyarrow as pa

    rows = [
        row
        for scope, cells in zip(scopes, groups, strict=True)
        for row in _group_rows(scope, cells, checked(thresholds), old)
    ]
    return pa.Table.from_pylist(rows, schema=GROUP_FREQUENCY.schema()).sort_by(GROUP_FREQUENCY.sort_keys)


@dataclass
class _Sum:
    """What is known of one label at one threshold, over all models."""

    tally: _Tally = field(default_factory=_Tally)
    models: set[str] = field(default_factory=set)


def _label_rows(scope: Scope, floors: list[float]) -> Iterator[dict[str, Any]]:
    sums: defaultdict[tuple[float, str], _Sum] = defaultdict(_Sum)
    for cell in scope.labels.to_pylist():
        if cell["floor"] in floors:
            one = sums[cell["floor"], cell["name"]]
            one.tally.add(_Tally(**{name: cell[name] for name in vars(one.tally)}))
            one.models |= _models(cell)
    for (floor, name), one in sums.items():
        tally = one.tally
        yield {
            "scope": scope.name,
            "min_confidence": floor,
            "label": name,
            "images": tally.images,
            "instances": tally.instances,
            "share": tally.images / scope.images,
            # The database adds up in no set order, so the last bits of the sum may differ between two runs.
            "mean_confidence": round(tally.confidence / tally.mentions, 4),
            "max_confidence": tally.highest,
            "model_versions": sorted(one.models),
        }


def _group_rows(
    scope: Scope, groups: pa.Table, floors: list[float], old: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    images: defaultdict[tuple[str, float, str], int] = defaultdict(int)
    models: defaultdict[tuple[str, float, str], set[str]] = defaultdict(set)
    labels = (cell | {"grouping": kind} for cell in scope.labels.to_pylist() for kind in (LABEL, WITH_CHILDREN))
    for cell in [*labels, *groups.to_pylist()]:
        # Images with an old name count for the present one, where that is not among their labels as well.
        if cell["floor"] in floors and (cell["grouping"] == CATEGORY or cell["name"] not in old):
            key = cell["grouping"], cell["floor"], cell["name"]
            images[key] += cell["images"]
            models[key] |= _models(cell)
    for (grouping, floor, name), count in images.items():
        yield {
            "scope": scope.name,
            "min_confidence": floor,
            "grouping": grouping,
            "name": name,
            "images": count,
            "share": count / scope.images,
            "model_versions": sorted(models[grouping, floor, name]),
        }


def _models(cell: Mapping[str, Any]) -> set[str]:
    return {cell["model"]} if cell["model"] else set()
