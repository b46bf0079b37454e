"""Queries on a real server, beside a plain filter in Python over the same random documents."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from image_labels import indexes, queries
from image_labels.documents import build
from image_labels.queries import LabelTerm, Query, Span, parse

if TYPE_CHECKING:
    from pymongo import MongoClient
    from pymongo.collection import Collection

Document = dict[str, Any]

NAMES = (
    "Person",
    "Book",
    "Cat",
    "Dog",
    "Sea",
    "T-Shirt",
    "Bird's Nest",
    "St. Bernard",
    "Text (Sign)",
    "$gt",
    "a.b",
    '"',
)
"""The first are common, the last are rare."""
PHOTOGRAPHERS = ("Coleen Rivas", "José Ümit", "Annie Spratt")
START = datetime(2021, 1, 1, tzinfo=UTC)
DAY = datetime(2026, 3, 1, tzinfo=UTC)
COUNT = 2000


def random_label(draw: random.Random) -> Document:
    """Return a label as odd as Rekognition's may be: lists missing or null, whole confidences, an alias."""
    name = draw.choice(NAMES[: draw.randint(1, len(NAMES))])
    label: Document = {"Name": name, "Confidence": draw.choice([100, 90, 90.0, 89.99, draw.uniform(40, 100)])}
    lists = {
        "Instances": [
            {} if draw.random() < 0.05 else {"Confidence": draw.choice([90, draw.uniform(40, 100)])}
            for _ in range(draw.choice([0, 1, 2, 3, 4, 5, 9, 10, 11, 14]))
        ],
        "Aliases": [{"Name": "Human"}] if name == "Person" else [],
        "Parents": [{"Name": parent} for parent in draw.sample(["Animal", "Pet", "Wildlife"], draw.randint(0, 2))],
        "Categories": [{"Name": draw.choice(["Animals and Pets", "Text"])}],
    }
    for field, value in lists.items():
        if draw.random() < 0.9:
            label[field] = value if draw.random() < 0.95 else None
    return label


def random_row(number: int, draw: random.Random) -> Document:
    name = f"{draw.choice(['IMG_', 'img_', 'a*'])}{number:05}.jpg"
    image: Document = {"key": f"images/{draw.randint(0, 9)}/{name}", "img": name, "sha256": f"{number:064x}"}
    if draw.random() < 0.6:
        image["taken_at"] = (START + timedelta(hours=draw.randint(0, 400) * 24)).isoformat()
    if draw.random() < 0.6:
        image["photographer"] = draw.choice(PHOTOGRAPHERS)
    if draw.random() < 0.6:
        place = [draw.uniform(-180, 180), draw.uniform(-90, 90)] if draw.random() < 0.5 else [103.8, draw.uniform(0, 3)]
        image["location"] = {"type": "Point", "coordinates": place}
    labels = [random_label(draw) for _ in range(draw.randint(0, 12))]
    times = {"at": START.isoformat(), "opened_at": START.isoformat()}
    return {"image": image, "answer": {"Labels": labels}, "analysis": times}


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    draw = random.Random(20260301)
    return [build(random_row(number, draw), DAY + timedelta(days=number % 5)) for number in range(COUNT)]


@pytest.fixture(scope="module")
def images(mongo: MongoClient[Document], documents: list[Document]) -> Iterator[Collection[Document]]:
    """The collection with the random documents and its indexes."""
    database = mongo["test_queries"]
    mongo.drop_database(database)
    database["images"].insert_many(documents)
    indexes.ensure(database["images"])
    yield database["images"]
    mongo.drop_database(database)


# --- the same in plain Python ---


def has(document: Document, term: LabelTerm) -> bool:
    return any(is_like(label, term) for label in document["Labels"])


def is_like(label: Document, term: LabelTerm) -> bool:
    instances = [
        instance
        for instance in label.get("Instances") or []
        if term.instance_confidence is None or instance.get("Confidence", -1) >= term.instance_confidence
    ]
    return (
        term.name in [label["Name"], *(alias["Name"] for alias in label.get("Aliases") or [])]
        and label["Confidence"] >= (term.min_confidence or 0)
        and len(instances) >= (term.min_instances or 0)
        and (term.fewer_than is None or len(instances) < term.fewer_than)
    )


def of_labels(document: Document, field: str) -> set[str]:
    return {entry["Name"] for label in document["Labels"] for entry in label.get(field) or []}


def in_span(moment: datetime | None, span: Span | None) -> bool:
    if span is None:
        return True
    return moment is not None and (not span.start or span.start <= moment) and (not span.end or moment < span.end)


def in_place(document: Document, query: Query) -> bool:
    longitude, latitude = document.get("location", {}).get("coordinates", (None, None))
    if (query.near or query.box) and longitude is None:
        return False
    if query.near and queries._metres(longitude, latitude, *query.near[:2]) > query.near[2]:
        return False
    if query.box:
        west, south, east, north = query.box
        across = west <= longitude <= east if west < east else longitude >= west or longitude <= east
        return across and south <= latitude <= north
    return True


def matches(document: Document, query: Query) -> bool:
    img, name = document["img"], query.file_name
    return (
        all(has(document, term) for term in query.all_of)
        and (not query.any_of or any(has(document, term) for term in query.any_of))
        and not any(has(document, term) for term in query.none_of)
        and of_labels(document, "Parents").issuperset(query.parents)
        and of_labels(document, "Categories").issuperset(query.categories)
        and (not query.photographer or document.get("photographer", "").casefold() == query.photographer.casefold())
        and (name is None or (img.startswith(name[:-1]) if name.endswith("*") else img == name))
        and in_span(document.get("taken_at"), query.taken)
        and in_span(document["logical_date"], query.day)
        and in_place(document, query)
    )


def random_term(draw: random.Random) -> LabelTerm:
    confidence = draw.choice([None, None, 90.0, 90.0, draw.choice([0, 50, 83.5, 89.99, 95, 100])])
    least = draw.choice([None, None, 1, 2, 3, 4, 9, 10, 11, 12])
    below = draw.choice([None, None, (least or 0) + draw.choice([1, 2, 5])])
    own = draw.choice([None, 90.0, 70.0, 95.5]) if least or below else None
    return LabelTerm(draw.choice((*NAMES[: draw.randint(1, len(NAMES))], "Human")), confidence, least, below, own)


def random_query(draw: random.Random) -> Query:
    def some(chance: float, make: Callable[[], Any]) -> Any:
        return make() if draw.random() < chance else None

    return Query(
        all_of=tuple(random_term(draw) for _ in range(draw.choice([0, 1, 1, 1, 2, 2, 3]))),
        any_of=some(0.2, lambda: tuple(random_term(draw) for _ in range(draw.randint(1, 3)))) or (),
        none_of=some(0.2, lambda: tuple(random_term(draw) for _ in range(draw.randint(1, 2)))) or (),
        parents=some(0.1, lambda: ("Animal",)) or (),
        categories=some(0.1, lambda: ("Animals and Pets", "Text")) or (),
        photographer=some(0.1, lambda: draw.choice(["coleen rivas", "JOSÉ ÜMIT", "nobody"])),
        file_name=some(0.1, lambda: draw.choice(["IMG_00001.jpg", "IMG_*", "img_00*", "a**", "*", "a*"])),
        taken=some(0.1, lambda: Span(START + timedelta(days=30), draw.choice([None, START + timedelta(days=99)]))),
        day=some(0.1, lambda: Span(DAY, DAY + timedelta(days=draw.randint(1, 4)))),
        near=some(0.07, lambda: (103.8, draw.uniform(0, 3), draw.choice([5e4, 1e6, 9e6, 1.9e7]))),
        box=some(0.07, lambda: draw.choice([(103, 0, 104, 2), (100, -80, -100, 80), (-170.0, -90, 175.5, 90)])),
    )


def keys(documents: list[Document]) -> list[str]:
    return sorted(document["_id"] for document in documents)


@pytest.mark.parametrize("seed", range(4))
def test_a_query_finds_what_a_plain_filter_finds(
    images: Collection[Document], documents: list[Document], seed: int
) -> None:
    draw = random.Random(seed)
    for _ in range(50):
        query = random_query(draw)
        assert parse(str(query)) == query
        expected = keys([document for document in documents if matches(document, query)])
        assert [one["_id"] for one in queries.find(images, query, limit=COUNT).images] == expected, str(query)
        assert queries.count(images, query) == len(expected), str(query)


def test_most_of_the_random_queries_find_something(documents: list[Document]) -> None:
    """Otherwise the test above would be none."""
    draw = random.Random(0)
    found = [
        any(matches(document, query) for document in documents) for query in [random_query(draw) for _ in range(60)]
    ]
    assert sum(found) > 20


# --- the index ---

ARTICLE = {
    "Book>=90": {"Labels": {"$elemMatch": {"Name": "Book", "Confidence": {"$gte": 90.0}}}},
    "Book>=90 Person>=90": {
        "$and": [
            {"Labels": {"$elemMatch": {"Name": "Book", "Confidence": {"$gte": 90.0}}}},
            {"Labels": {"$elemMatch": {"Name": "Person", "Confidence": {"$gte": 90.0}}}},
        ]
    },
    "Person>=90:4..": {
        "Labels": {"$elemMatch": {"Name": "Person", "Confidence": {"$gte": 90.0}, "Instances.3": {"$exists": True}}}
    },
    "Person>=90:2..3": {
        "Labels": {
            "$elemMatch": {
                "Name": "Person",
                "Confidence": {"$gte": 90.0},
                "Instances.1": {"$exists": True},
                "Instances.3": {"$exists": False},
            }
        }
    },
}


@pytest.mark.parametrize("text", ARTICLE)
def test_the_article_s_questions_have_its_answers_and_examine_what_they_return(
    images: Collection[Document], text: str
) -> None:
    answer = list(images.find(ARTICLE[text], {"_id": 1}, sort={"_id": 1}))
    assert len(answer) > 20
    assert queries.find(images, parse(text), limit=COUNT, fields=[]).images == answer
    plan = queries.explain(images, parse(text), limit=COUNT)
    assert "IXSCAN" in plan.stages
    assert "COLLSCAN" not in plan.stages
    assert "SORT" not in plan.stages
    assert plan.indexes == ("idx_tokens",)
    assert plan.returned == len(answer)
    assert plan.documents_examined is not None
    assert plan.documents_examined <= 1.05 * len(answer)


@pytest.mark.parametrize(
    "text",
    ["Person", "Person>=90:4..@90", "Person>=90:2..3@90", "Cat|Dog", "parent:Animal", 'photographer:"coleen rivas"'],
)
def test_what_tokens_say_examines_what_it_returns(images: Collection[Document], text: str) -> None:
    plan = queries.explain(images, parse(text), limit=COUNT)
    assert plan.indexes == ("idx_tokens",)
    assert plan.documents_examined == plan.returned
    assert plan.returned


def test_a_page_examines_no_more_than_it_shows(images: Collection[Document]) -> None:
    plan = queries.explain(images, parse("Person>=90"), limit=50)
    assert plan.documents_examined == plan.returned == 50


# --- pages ---


@pytest.mark.parametrize("text", ["", "Person>=90", "-Person", "taken:2021.."])
@pytest.mark.parametrize("sort", [f"{minus}{name}" for name in queries.SORTS for minus in ("", "-")])
def test_pages_visit_each_image_once_and_in_order(
    images: Collection[Document], documents: list[Document], text: str, sort: str
) -> None:
    query = parse(text)
    found: list[Document] = []
    after = None
    while True:
        page = queries.find(images, query, sort=sort, after=after, limit=149, fields=["taken_at", "logical_date"])
        found += page.images
        after = page.next
        if after is None:
            break
        assert len(page.images) == 149
    assert keys(found) == keys([document for document in documents if matches(document, query)])
    field = queries.SORTS[sort.removeprefix("-")]
    nothing = datetime.min.replace(tzinfo=UTC)
    ranks = [(one.get(field) or nothing if field != "_id" else nothing, one["_id"]) for one in found]
    assert ranks == sorted(ranks, reverse=sort.startswith("-"))


def test_a_page_stays_where_it_is_when_images_come_and_go(collection: Collection[Document]) -> None:
    collection.insert_many([{"_id": key, "tokens": []} for key in "bdfh"])
    first = queries.find(collection, Query(), limit=2)
    collection.delete_one({"_id": "d"})
    collection.insert_many([{"_id": "a"}, {"_id": "e"}])
    rest = queries.find(collection, Query(), after=first.next)
    assert [one["_id"] for one in rest.images] == ["e", "f", "h"]
    assert rest.next is None


def test_the_last_page_may_be_full(collection: Collection[Document]) -> None:
    collection.insert_many([{"_id": key} for key in "ab"])
    page = queries.find(collection, Query(), limit=2)
    assert (len(page.images), page.next) == (2, None)


def test_counting_ends_where_it_is_told(images: Collection[Document]) -> None:
    assert queries.count(images, Query()) == COUNT
    assert queries.count(images, Query(), at_most=100) == 100
    assert queries.count(images, parse("near:103.8,1,20000"), at_most=10) == 10


# --- labels ---


def with_labels(*labels: tuple[str, float], key: str = "a", **facts: Any) -> Document:
    times = {"at": START.isoformat(), "opened_at": START.isoformat()}
    answer = {"Labels": [{"Name": name, "Confidence": confidence} for name, confidence in labels]}
    return build({"image": {"key": key, "img": key, **facts}, "answer": answer, "analysis": times}, DAY)


def test_the_frequency_of_labels_counts_each_image_once(collection: Collection[Document]) -> None:
    collection.insert_many(
        [
            with_labels(("Cat", 95.0), ("Cat", 91.0), ("Dog", 89.0), key="a"),
            with_labels(("Cat", 90), ("Dog", 99.0), key="b"),
            with_labels(key="c"),
        ]
    )
    found = queries.frequency(collection)
    assert found.to_dict("list") == {"label": ["Cat", "Dog"], "images": [2, 1]}
    assert queries.frequency(collection, 80.0).to_dict("list") == {"label": ["Cat", "Dog"], "images": [2, 2]}
    assert queries.frequency(collection, day=Span(DAY + timedelta(days=1))).to_dict("list") == {
        "label": [],
        "images": [],
    }


def test_labels_that_occur_together_are_told_with_their_share(collection: Collection[Document]) -> None:
    collection.insert_many(
        [
            with_labels(("Cat", 95.0), ("Sofa", 91.0), ("Toy", 89.0), key="a"),
            with_labels(("Cat", 95.0), ("Sofa", 91.0), ("Toy", 92.0), key="b"),
            with_labels(("Cat", 80.0), ("Dog", 91.0), key="c"),
            with_labels(("Sofa", 99.0), key="d"),
        ]
    )
    assert queries.together(collection, "Cat").to_dict("list") == {
        "label": ["Sofa", "Toy"], "images": [2, 1], "share": [1.0, 0.5],
    }  # fmt: skip
    assert queries.together(collection, "Cat", limit=1, among=1).to_dict("list") == {
        "label": ["Sofa"], "images": [1], "share": [1.0],
    }  # fmt: skip
    assert queries.together(collection, "Nothing").empty


def test_similar_images_share_labels_and_the_rarest_count_most(collection: Collection[Document]) -> None:
    collection.insert_many(
        [
            with_labels(("Person", 99.0), ("Saxophone", 95.0), key="player"),
            with_labels(("Person", 99.0), ("Saxophone", 95.0), key="player again"),
            with_labels(("Saxophone", 80.0), ("Stage", 90.0), key="stage"),
            *[with_labels(("Person", 99.0), ("Street", 95.0), key=f"street {number}") for number in range(9)],
            with_labels(("Sea", 99.0), key="sea"),
        ]
    )
    queries.remember_labels(collection, {"Person": 11, "Street": 9, "Saxophone": 3, "Stage": 1, "Sea": 1})
    found = queries.similar(collection, "player", limit=3)
    assert [document["_id"] for _, document in found] == ["player again", "stage", "street 0"]
    assert found[0][0] == 1.0
    assert 1 > found[1][0] > found[2][0] > 0
    assert "Labels" in found[0][1]


def test_nothing_is_like_an_image_without_labels(collection: Collection[Document]) -> None:
    collection.insert_many([with_labels(key="a"), with_labels(("Cat", 90.0), key="b")])
    assert queries.similar(collection, "a") == []
    with pytest.raises(KeyError):
        queries.similar(collection, "c")


def test_completion_knows_the_labels_of_the_last_report(collection: Collection[Document]) -> None:
    assert queries.complete(collection, "c") == []
    queries.remember_labels(collection, {"Cat": 3, "Car": 9, "Crêpe": 1, "Cake": 3, "$gt": 5, "Gone": 1})
    queries.remember_labels(collection, {"Cat": 4, "Car": 9, "Crêpe": 1, "Cake": 4, "$gt": 5})
    assert queries.complete(collection, "ca") == [("Car", 9), ("Cake", 4), ("Cat", 4)]
    assert queries.complete(collection, "CRÊ") == [("Crêpe", 1)]
    assert queries.complete(collection, "$") == [("$gt", 5)]
    assert queries.complete(collection, "", limit=2) == [("Car", 9), ("$gt", 5)]
    assert queries.complete(collection, "gone") == []
