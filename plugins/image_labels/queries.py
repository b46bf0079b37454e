"""Finding images by what is in them: a query becomes one MongoDB filter, and these are who asks with it.

What a query is, and how it is written, is in :mod:`image_labels.query_text`; why it is fast, in
:mod:`image_labels.tokens`.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, combinations
from typing import TYPE_CHECKING, Any

from image_labels import plans, tokens
from image_labels.query_text import BadQuery, LabelTerm, Query, Span, parse
from image_labels.tokens import MOST, SURE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd
    from pymongo.collection import Collection

    from image_labels.plans import Plan

__all__ = [
    "SORTS", "BadQuery", "LabelTerm", "Page", "Query", "Span", "complete", "count", "explain", "find", "frequency",
    "order", "parse", "remember_labels", "similar", "to_filter", "together",
]  # fmt: skip

Document = dict[str, Any]
Filter = dict[str, Any]

SORTS = {"key": "_id", "taken_at": "taken_at", "day": "logical_date"}
"""Orders of a result, with the field of each; a minus before it is descending. Images of the same time follow their
keys."""

LABELS = "labels"
"""Collection of the labels that there are, for :func:`complete`."""


@dataclass(frozen=True)
class Page:
    """Some images of a result.

    :param images: the documents, or the asked-for fields of them
    :param next: what :func:`find` takes as ``after`` for those that follow; None if these are the last
    """

    images: list[Document]
    next: str | None


# --- From a query to a filter ---


def to_filter(query: Query) -> Filter:
    """Return the MongoDB filter for a query.

    Texts of the query become values that are compared, never operators or names of fields.
    """
    return _all([*_labels(query), *_facts(query), *_places(query)])


def _labels(query: Query) -> Iterator[Filter]:
    terms = dict.fromkeys(query.all_of)
    sure_names = sorted({term.name for term in terms if (term.min_confidence or 0) >= SURE})
    pairs = [tokens.both(*names) for names in combinations(sure_names, 2)]
    yield from ({"tokens": pair} for pair in pairs)
    for term in terms:
        # That it is sure, its pairs have said.
        if not (pairs and _tokens(term) == ([tokens.has(term.name, sure=True)], True)):
            yield from _with(term)
    if query.any_of:
        found = [_tokens(term) for term in query.any_of]
        yield _one_of(chain.from_iterable(words for words, _ in found))
        if not all(exact for _, exact in found):
            yield {"$or": [_all(_with(term)) for term in query.any_of]}
    for term in query.none_of:
        words, exact = _tokens(term)
        yield {"tokens": {"$nin": words}} if exact else {"$nor": [_looked_up(term)]}
    yield from ({"tokens": tokens.parent(name)} for name in query.parents)
    yield from ({"tokens": tokens.category(name)} for name in query.categories)


def _with(term: LabelTerm) -> Iterator[Filter]:
    words, exact = _tokens(term)
    yield _one_of(words)
    if not exact:
        yield _looked_up(term)


def _tokens(term: LabelTerm) -> tuple[list[str], bool]:
    """Return tokens of which every image with the label has one, and whether only such images have one."""
    name, least, below = term.name, term.min_instances or 0, term.fewer_than
    if (term.min_confidence or 0) < SURE:
        return [tokens.has(name, sure=False)], term.min_confidence is None and not least and below is None
    own = term.instance_confidence
    sure = own is not None and own >= SURE
    exact = term.min_confidence == SURE and own in (None, SURE)
    if own not in (None, SURE):
        # The tokens count more instances than the term does, so they bound them from one side only.
        below = None
    if least and below and below <= MOST:
        return [tokens.exactly(name, number, sure=sure) for number in range(least, below)], exact
    if least > 1:
        return [tokens.at_least(name, min(least, MOST), sure=sure)], exact and least <= MOST and below is None
    return [tokens.has(name, sure=True)], exact and not least and below is None


def _looked_up(term: LabelTerm) -> Filter:
    """Return the filter that looks at ``Labels`` itself, which no index helps."""
    name = {"$literal": term.name}
    conditions: list[Any] = [
        {"$or": [{"$eq": ["$$label.Name", name]}, {"$in": [name, {"$ifNull": ["$$label.Aliases.Name", []]}]}]}
    ]
    if term.min_confidence is not None:
        conditions.append({"$gte": ["$$label.Confidence", term.min_confidence]})
    instances: Any = {"$ifNull": ["$$label.Instances", []]}
    if term.instance_confidence is not None:
        own = {"$gte": ["$$instance.Confidence", term.instance_confidence]}
        instances = {"$filter": {"input": instances, "as": "instance", "cond": own}}
    if term.min_instances is not None:
        conditions.append({"$gte": [{"$size": instances}, term.min_instances]})
    if term.fewer_than is not None:
        conditions.append({"$lt": [{"$size": instances}, term.fewer_than]})
    found = {"$map": {"input": "$Labels", "as": "label", "in": {"$and": conditions}}}
    return {"$expr": {"$anyElementTrue": [found]}}


def _facts(query: Query) -> Iterator[Filter]:
    if query.photographer is not None:
        yield {"tokens": tokens.photographer(query.photographer)}
    if query.file_name is not None:
        start = query.file_name.removesuffix("*")
        # Of all texts that begin so, none comes after the last character that there is.
        yield {"img": start if start == query.file_name else {"$gte": start, "$lt": f"{start}\U0010ffff"}}
    for field, span in (("taken_at", query.taken), ("logical_date", query.day)):
        if span:
            bounds = {"$gte": span.start, "$lt": span.end}
            yield {field: {operator: moment for operator, moment in bounds.items() if moment}}


def _places(query: Query) -> Iterator[Filter]:
    if query.near:
        yield _within(*query.near)
    if query.box:
        west, south, east, north = query.box
        width = (east - west) % 360
        if width <= 180 and not query.near:
            # The circle around it, for the index; its corners are the farthest.
            middle, centre = (west + width / 2 + 180) % 360 - 180, (south + north) / 2
            corners = [_metres(middle, centre, west, latitude) for latitude in (south, north)]
            yield _within(middle, centre, max(corners) + 1)
        yield {"location.coordinates.1": {"$gte": south, "$lte": north}}
        if west < east:
            yield {"location.coordinates.0": {"$gte": west, "$lte": east}}
        else:
            yield {"$or": [{"location.coordinates.0": {"$gte": west}}, {"location.coordinates.0": {"$lte": east}}]}


def _within(longitude: float, latitude: float, metres: float) -> Filter:
    # Not $geoWithin, whose circles DocumentDB does not have.
    point = {"type": "Point", "coordinates": [longitude, latitude]}
    return {"location": {"$nearSphere": {"$geometry": point, "$maxDistance": metres}}}


EARTH = 6_378_100
"""Metres from the middle of the earth, as MongoDB has it."""


def _metres(longitude: float, latitude: float, other_longitude: float, other_latitude: float) -> float:
    """Return the distance of two places (haversine)."""
    here, there = math.radians(latitude), math.radians(other_latitude)
    turn = math.radians(other_longitude - longitude)
    half = math.sin((there - here) / 2) ** 2 + math.cos(here) * math.cos(there) * math.sin(turn / 2) ** 2
    return 2 * EARTH * math.asin(math.sqrt(min(1.0, half)))


def _one_of(words: Iterable[str]) -> Filter:
    each = list(dict.fromkeys(words))
    return {"tokens": each[0] if len(each) == 1 else {"$in": each}}


def _all(parts: Iterable[Filter]) -> Filter:
    each = [part for part in parts if part]
    return each[0] if len(each) == 1 else {"$and": each} if each else {}


# --- Results ---


def order(sort: str) -> list[tuple[str, int]]:
    """Return the order of a result as MongoDB takes it.

    :param sort: one of :data:`SORTS`, with a minus or without
    :raises BadQuery: if it is none
    """
    field = SORTS.get(sort.removeprefix("-"))
    if field is None:
        raise BadQuery(f"{sort!r} is no order; there are {', '.join(SORTS)}, and each with a minus before it")
    direction = -1 if sort.startswith("-") else 1
    return [(name, direction) for name in dict.fromkeys((field, "_id"))]


def find(
    collection: Collection[Document],
    query: Query,
    *,
    sort: str = "key",
    after: str | None = None,
    limit: int = 50,
    fields: Sequence[str] | None = None,
) -> Page:
    """Return the first images of a result, or those that follow a page.

    Pages follow the keys: an image that comes or goes meanwhile moves no other from one page to the next.

    :param sort: one of :data:`SORTS`, with a minus or without
    :param after: ``next`` of the page before, of the same query and order
    :param limit: images at most
    :param fields: of the documents, beside ``_id``; all but ``tokens`` if none are given
    :raises BadQuery: if ``sort`` or ``after`` is none
    """
    by = order(sort)
    filter = to_filter(query)
    shown = {"tokens": 0} if fields is None else {by[0][0]: 1, **dict.fromkeys(fields, 1)}
    images: list[Document] = []
    for part in _parts(by, _read(after, sort)) if after else [{}]:
        # One more, to know whether there is one.
        images += collection.find(_all([filter, part]), shown, sort=by, limit=limit + 1 - len(images))
        if len(images) > limit:
            return Page(images[:limit], _mark(images[limit - 1], sort))
    return Page(images, None)


def _parts(by: list[tuple[str, int]], last: tuple[Any, str]) -> list[Filter]:
    """Return filters for what follows an image, one after the other: each is a range of an index.

    Images without a time come first, or last in a descending order, as the database has them.
    """
    value, key = last
    (field, direction), beyond = by[0], "$gt" if by[0][1] > 0 else "$lt"
    if field == "_id":
        return [{"_id": {beyond: key}}]
    same = {field: value, "_id": {beyond: key}}
    if value is not None:
        return [same, {field: {beyond: value}}, *([{field: None}] if direction < 0 else [])]
    return [same, {field: {"$gt": datetime.min.replace(tzinfo=UTC)}}] if direction > 0 else [same]


def _mark(image: Document, sort: str) -> str:
    """Return where an image is in a result, as :func:`find` takes it back."""
    moment = image.get(order(sort)[0][0]) if sort.removeprefix("-") != "key" else None
    mark = [sort, moment and moment.replace(tzinfo=moment.tzinfo or UTC).isoformat(), image["_id"]]
    return base64.urlsafe_b64encode(json.dumps(mark).encode()).decode().rstrip("=")


def _read(mark: str, sort: str) -> tuple[datetime | None, str]:
    try:
        of, moment, key = json.loads(base64.urlsafe_b64decode(mark + "=" * (-len(mark) % 4)))
        # Encoded once, to know that it is a text that can be sent.
        if of == sort and key == key.encode().decode():
            return moment if moment is None else datetime.fromisoformat(moment).astimezone(UTC), key
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        pass
    raise BadQuery("This is no place in the result, or one of another order; begin with the first page")


def count(collection: Collection[Document], query: Query, at_most: int | None = None) -> int:
    """Return how many images a query finds.

    :param at_most: counts no further, which bounds the work
    """
    # Not count_documents: an aggregation takes no $nearSphere.
    command = {"count": collection.name, "query": to_filter(query), "limit": at_most or 0}
    return int(collection.database.command(command, read_preference=collection.read_preference)["n"])


def explain(collection: Collection[Document], query: Query, *, sort: str = "key", limit: int = 50) -> Plan:
    """Run the first page of a query and return how the database did it and what it examined."""
    return plans.explain(collection, to_filter(query), order(sort), limit, run=True)


# --- Labels ---


def frequency(collection: Collection[Document], min_confidence: float = SURE, day: Span | None = None) -> pd.DataFrame:
    """Count the images of each label. It reads all images; what is known of whole days is in the reports.

    :param min_confidence: of the label, in percent
    :param day: of ingest
    :returns: columns ``label`` and ``images``, the most frequent first
    """
    return _frequency(collection, [{"$match": to_filter(Query(day=day))}], min_confidence)


def together(
    collection: Collection[Document], label: str, min_confidence: float = SURE, limit: int = 20, among: int = 10_000
) -> pd.DataFrame:
    """Count the labels that occur together with one.

    :param label: its name, or an alias
    :param min_confidence: of both, in percent
    :param limit: labels at most
    :param among: images at most that are looked at, the first by their keys
    :returns: columns ``label``, ``images`` and ``share`` (of the images with the one), the most frequent first
    """
    query = Query(all_of=(LabelTerm(label, min_confidence),))
    looked_at: list[Filter] = [{"$match": to_filter(query)}, {"$sort": {"_id": 1}}, {"$limit": among}]
    found = _frequency(collection, looked_at, min_confidence)
    found["share"] = found["images"] / (count(collection, query, among) or 1)
    return found[found["label"] != label].head(limit).reset_index(drop=True)


def _frequency(collection: Collection[Document], images: list[Filter], min_confidence: float) -> pd.DataFrame:
    import pandas as pd

    sure = {"$filter": {"input": "$Labels", "as": "label", "cond": {"$gte": ["$$label.Confidence", min_confidence]}}}
    names = {"$map": {"input": sure, "as": "label", "in": "$$label.Name"}}
    stages: list[Filter] = [
        # As a set: an answer may have a label twice.
        {"$project": {"label": {"$setUnion": [names, []]}}},
        {"$unwind": "$label"},
        {"$group": {"_id": "$label", "images": {"$sum": 1}}},
        {"$project": {"_id": 0, "label": "$_id", "images": 1}},
        {"$sort": {"images": -1, "label": 1}},
    ]
    found = collection.aggregate([*images, *stages], allowDiskUse=True)
    return pd.DataFrame(list(found), columns=["label", "images"]).astype({"label": "str", "images": "int64"})


def similar(collection: Collection[Document], key: str, limit: int = 12) -> list[tuple[float, Document]]:
    """Find the images whose labels are most like those of one.

    Likeness is what the labels of two images have in common, of all that they have: each label counts by its
    confidence, and the more the rarer it is. Images that share its rarest labels are compared, several hundred at most.

    :param key: ``_id`` of the image
    :returns: likeness, from 0 to 1, and document, the most like first
    :raises KeyError: if there is no such image
    """
    fields = {"Labels.Name": 1, "Labels.Confidence": 1}
    image = collection.find_one({"_id": key}, fields)
    if image is None:
        raise KeyError(key)
    labels = _confidences(image)
    weights = _weights(collection, labels)
    rarest = sorted(labels, key=lambda name: -weights[name] * labels[name])[:_RAREST]
    words = [tokens.both(*pair) for pair in combinations(rarest, 2)] + [tokens.has(name, sure=False) for name in rarest]
    others: dict[str, Document] = {}
    for word in words:
        if len(others) < _COMPARED:
            others |= {one["_id"]: one for one in collection.find({"tokens": word}, fields, limit=_OF_EACH)}
    others.pop(key, None)
    weights |= _weights(collection, {name for one in others.values() for name in _confidences(one)} - weights.keys())
    likeness = {of: _likeness(labels, _confidences(one), weights) for of, one in others.items()}
    best = sorted(likeness, key=lambda of: (-likeness[of], of))[:limit]
    documents = {one["_id"]: one for one in collection.find({"_id": {"$in": best}}, {"tokens": 0})}
    return [(likeness[of], documents[of]) for of in best if of in documents]


_RAREST, _OF_EACH, _COMPARED = 6, 100, 500


def _confidences(image: Document) -> dict[str, float]:
    return {label["Name"]: label["Confidence"] for label in image["Labels"]}


def _weights(collection: Collection[Document], names: Iterable[str]) -> dict[str, float]:
    """Return how much a label tells: the more the rarer it is."""
    total = collection.estimated_document_count()
    known = {one["_id"]: one["images"] for one in collection.database[LABELS].find({"_id": {"$in": list(names)}})}
    return {name: 1 + math.log(max(1.0, total / known.get(name, 1))) for name in names}


def _likeness(one: Mapping[str, float], other: Mapping[str, float], weights: Mapping[str, float]) -> float:
    common = sum(weights[name] * min(one[name], other[name]) for name in one.keys() & other.keys())
    every = sum(weights[name] * max(one.get(name, 0), other.get(name, 0)) for name in one.keys() | other.keys())
    return common / every if every else 0.0


def complete(collection: Collection[Document], prefix: str, limit: int = 10) -> list[tuple[str, int]]:
    """Return the labels whose names begin so, in any case, with the number of their images, the most frequent first.

    They are those that were there at the last report (:func:`remember_labels`), so no keystroke counts images.

    :param prefix: the beginning; empty for the most frequent of all
    """
    start = prefix.casefold()
    found = collection.database[LABELS].find(
        {"folded": {"$gte": start, "$lt": f"{start}\U0010ffff"}}, sort=[("images", -1), ("_id", 1)], limit=limit
    )
    return [(label["_id"], label["images"]) for label in found]


def remember_labels(collection: Collection[Document], images_by_label: Mapping[str, int]) -> None:
    """Store the labels that there are, with the number of their images, in place of those of before."""
    from pymongo import ReplaceOne

    labels = collection.database[LABELS]
    writes = [
        ReplaceOne({"_id": name}, {"folded": name.casefold(), "images": images}, upsert=True)
        for name, images in images_by_label.items()
    ]
    if writes:
        labels.bulk_write(writes, ordered=False)
    labels.delete_many({"_id": {"$nin": list(images_by_label)}})
