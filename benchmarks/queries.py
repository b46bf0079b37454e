"""Queries beside those of the article, on the same documents.

The article's filters are sent as they are printed there, with its index (Labels.Name, Labels.Confidence); the library
sends its own for the same question, in the order of the keys. *Examined* is documents read for each that is found,
over the whole result. *First 50* is the median time until they are there, all fields included. Documents have up to 20
labels each, drawn from 20,000 answers of the stand-in's generator. Rows without the article's figures are more forms,
without a goal. The last rows are sizes of the collection and of its two largest indexes.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from benchmarks import collection
from benchmarks.bench import database, measure
from benchmarks.ingest import MIDNIGHT
from image_labels import indexes, plans, queries

if TYPE_CHECKING:
    from pymongo.collection import Collection

    from benchmarks.bench import Bench, Row, Work

FIRST = 50
ROUNDS = 15


def _sure(name: str) -> Row:
    return {"Labels": {"$elemMatch": {"Name": name, "Confidence": {"$gte": 90.0}}}}


def _sure_by_index(name: str) -> list[Row]:
    return [{"Labels.Name": name}, {"Labels.Confidence": {"$gte": 90.0}}, _sure(name)]


def _persons(**instances: bool) -> Row:
    exist = {f"Instances.{number[1:]}": {"$exists": there} for number, there in instances.items()}
    return {"Labels": {"$elemMatch": {"Name": "Person", "Confidence": {"$gte": 90.0}, **exist}}}


FORMS: dict[str, Row | None] = {
    "Person>=90": {"$and": _sure_by_index("Person")},
    "Book>=90": {"$and": _sure_by_index("Book")},
    "Book>=90 Person>=90": {"$and": [*_sure_by_index("Book"), *_sure_by_index("Person")]},
    "Car>=90 Tree>=90": {"$and": [*_sure_by_index("Car"), *_sure_by_index("Tree")]},
    "Person>=90:4..": _persons(_3=True),
    "Person>=90:2..3": _persons(_1=True, _3=False),
    "Person>=90:4..@90": None,
    "Person>=83 Car": None,
    "Cat|Dog": None,
    "Person>=90 -Tree": None,
    "parent:Animal": None,
    "photographer:nobody": None,
}
"""The library's text form of each query, and the article's filter if it has one."""

COLUMNS = {
    "query": ("query", ""),
    "found": ("images", ",d"),
    "article_examined": ("article: examined", ".2f"),
    "article_ms": ("first 50, ms", ".1f"),
    "examined": ("library: examined", ".2f"),
    "ms": ("first 50, ms", ".1f"),
    "goal": ("goal", ""),
    "met": ("met", ""),
}


def run(bench: Bench) -> list[Row]:
    """Measure all forms on one collection."""
    with bench.place():
        collection.fill(bench.size(50_000, 1_000_000), MIDNIGHT)
        rows: list[Row] = measure(prepare).value
    return rows


def prepare() -> Work:
    """Make the indexes."""
    images = database()["images"]
    indexes.ensure(images)

    def work() -> list[Row]:
        return [_row(images, text, theirs) for text, theirs in FORMS.items()] + _sizes(images)

    return work


def _row(images: Collection[Row], text: str, theirs: Row | None) -> Row:
    query = queries.parse(text)
    by = queries.order("key")
    plan = plans.explain(images, queries.to_filter(query), by, run=True)
    row: Row = {
        "query": f"`{text}`".replace("|", "\\|"),
        "found": plan.returned,
        "examined": (plan.documents_examined or 0) / (plan.returned or 1),
        "ms": _milliseconds(lambda: queries.find(images, query, limit=FIRST)),
    }
    if theirs is None:
        return row
    article = plans.explain(images, theirs, run=True)
    if article.returned != plan.returned:
        raise RuntimeError(f"{text} finds {plan.returned}, the article's filter {article.returned}")
    return row | {
        "article_examined": (article.documents_examined or 0) / (article.returned or 1),
        "article_ms": _milliseconds(lambda: list(images.find(theirs).limit(FIRST))),
        "goal": "≤ 1.05, < 20 ms",
        "met": row["examined"] <= 1.05 and row["ms"] < 20,
    }


def _milliseconds(act: Callable[[], Any]) -> float:
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        act()
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times)


def _sizes(images: Collection[Row]) -> list[Row]:
    stats = images.database.command("collStats", images.name)
    sizes = {
        "documents": stats["storageSize"],
        **{name: stats["indexSizes"][name] for name in ("idx_labels", "idx_tokens")},
    }
    return [{"query": f"{name}: {size / 1e6:,.0f} MB on disk", "found": stats["count"]} for name, size in sizes.items()]
