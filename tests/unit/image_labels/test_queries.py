"""The text form of a query, both ways, and the filter that comes of it."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from image_labels.queries import BadQuery, LabelTerm, Query, Span, find, order, parse, to_filter
from image_labels.query_text import LONGEST, MOST_TERMS


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]


TEXTS: dict[str, Query] = {
    "": Query(),
    "Person": Query((LabelTerm("Person"),)),
    "T-Shirt>=90": Query((LabelTerm("T-Shirt", 90.0),)),
    "Person>=90 Book>=82.5": Query((LabelTerm("Person", 90.0), LabelTerm("Book", 82.5))),
    "Person -Text -Car>=60": Query((LabelTerm("Person"),), none_of=(LabelTerm("Text"), LabelTerm("Car", 60.0))),
    "Person:4..": Query((LabelTerm("Person", None, 4),)),
    "Person>=90:2..3": Query((LabelTerm("Person", 90.0, 2, 4),)),
    "Person:..3": Query((LabelTerm("Person", fewer_than=4),)),
    "Person:3": Query((LabelTerm("Person", None, 3, 4),)),
    "Person:0": Query((LabelTerm("Person", fewer_than=1),)),
    "Person>=90:4..@80.5": Query((LabelTerm("Person", 90.0, 4, None, 80.5),)),
    '"Hot Dog">=90:2': Query((LabelTerm("Hot Dog", 90.0, 2, 3),)),
    r'"say \"cheese\" \\ now"': Query((LabelTerm('say "cheese" \\ now'),)),
    '"$where"': Query((LabelTerm("$where"),)),
    '"-Text"': Query((LabelTerm("-Text"),)),
    '"parent":2': Query((LabelTerm("parent", None, 2, 3),)),
    '""': Query((LabelTerm(""),)),
    "any:(Cat Dog>=80:2..)": Query(any_of=(LabelTerm("Cat"), LabelTerm("Dog", 80.0, 2))),
    "any:(Cat)": Query(any_of=(LabelTerm("Cat"),)),
    "Cat|Dog>=80 Sea": Query((LabelTerm("Sea"),), (LabelTerm("Cat"), LabelTerm("Dog", 80.0))),
    'parent:Animal category:"Animals and Pets"': Query(parents=("Animal",), categories=("Animals and Pets",)),
    'photographer:"coleen rivas" file:IMG_*': Query(photographer="coleen rivas", file_name="IMG_*"),
    "taken:2021": Query(taken=Span(at(2021, 1, 1), at(2022, 1, 1))),
    "taken:2021-12": Query(taken=Span(at(2021, 12, 1), at(2022, 1, 1))),
    "taken:2020-02-29": Query(taken=Span(at(2020, 2, 29), at(2020, 3, 1))),
    "taken:2021-03-05T14:30": Query(taken=Span(at(2021, 3, 5, 14, 30), at(2021, 3, 5, 14, 31))),
    "taken:2021-03-05T14:30:59.250": Query(
        taken=Span(at(2021, 3, 5, 14, 30, 59, 250_000), at(2021, 3, 5, 14, 30, 59, 251_000))
    ),
    "taken:2019..2021-06": Query(taken=Span(at(2019, 1, 1), at(2021, 7, 1))),
    "taken:2019.. day:..2026-03-05": Query(taken=Span(at(2019, 1, 1)), day=Span(None, at(2026, 3, 6))),
    "day:2026-03-01..2026-03-05": Query(day=Span(at(2026, 3, 1), at(2026, 3, 6))),
    "near:103.85,-1.29,0.5": Query(near=(103.85, -1.29, 500.0)),
    "box:103.6,1.2,104.1,1.5": Query(box=(103.6, 1.2, 104.1, 1.5)),
    "box:170,-10,-170,10": Query(box=(170.0, -10.0, -170.0, 10.0)),
}


@pytest.mark.parametrize(("text", "query"), TEXTS.items(), ids=TEXTS)
def test_a_text_is_read(text: str, query: Query) -> None:
    assert parse(text) == parse(f"  {text}\n") == query


MISTAKES: dict[str, tuple[int, str]] = {
    "Person >90": (7, "name is expected"),
    "Person>90": (6, "as in Person>=90:2..4"),
    "Person>=101": (0, "0 to 100"),
    "Sea Person>=9x": (10, "may be a confidence"),
    "colour:red": (6, "fields are parent, category"),
    "Person:": (6, "may be a confidence and a number"),
    "Person:..": (0, "4.., ..4, 2..4 or 4"),
    "Sea Person:4..2": (4, "comes second"),
    "Person:2x": (6, "may be a confidence"),
    "Cat|": (4, "name is expected"),
    "-": (1, "name is expected"),
    "Cat (Dog)": (4, "name is expected"),
    'Sea "Hot Dog': (4, "A quote has no end"),
    '"a\\n"': (0, "A quote has no end"),
    "any:(Cat": (0, "a ) is missing"),
    "any:()": (0, "empty"),
    "Cat|Dog Sea|Sky": (8, "one choice"),
    "Sea parent:": (11, "A value is expected after parent:"),
    "file:a file:b": (7, "another file:"),
    "taken:2021-13": (0, "A time is written"),
    "taken:2021-00": (0, "A time is written"),
    "taken:2021-02-29": (0, "A time is written"),
    "taken:9999": (0, "A time is written"),
    "taken:0000": (0, "A time is written"),
    "taken:yesterday": (0, "A time is written"),
    "day:2022..2021": (0, "The start comes first"),
    "day:..": (0, "a start or an end"),
    "near:103.85,1.29": (0, "near:longitude,latitude,kilometres"),
    "near:1.29,103.85,5": (0, "longitude comes first"),
    "near:0,0,0": (0, "distance"),
    "near:nan,0,1": (0, "near:longitude"),
    "box:2,1,1": (0, "box:west,south,east,north"),
    "box:0,5,1,1": (0, "box is written"),
    "Sea a\x00b": (4, "none of text"),
    "Sea \ud800": (4, "none of text"),
    'parent:"a\tb"': (0, "none of text"),
    " ".join("a" * (MOST_TERMS + 1)): (2 * MOST_TERMS, "at most 20 labels"),
    "a" * (LONGEST + 1): (LONGEST, "at most 1,000 characters"),
}


@pytest.mark.parametrize(
    ("text", "position", "problem"), [(t, *m) for t, m in MISTAKES.items()], ids=lambda v: str(v)[:30]
)
def test_a_mistake_is_told_with_its_place(text: str, position: int, problem: str) -> None:
    with pytest.raises(BadQuery) as error:
        parse(text)
    assert problem in error.value.problem
    assert error.value.position == position
    assert f"(character {position + 1})" in str(error.value)


names = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), max_size=12)
confidences = st.none() | st.sampled_from([0.0, 90.0]) | st.floats(0, 100)


@st.composite
def terms(draw: st.DrawFn) -> LabelTerm:
    least = draw(st.none() | st.integers(1, 20))
    below = draw(st.none() | st.integers((least or 0) + 1, 25))
    own = draw(confidences) if least or below else None
    return LabelTerm(draw(names), draw(confidences), least, below, own)


moments = st.none() | st.datetimes(datetime(1826, 1, 1), datetime(2199, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@st.composite
def spans(draw: st.DrawFn) -> Span:
    pair = draw(st.tuples(moments, moments).filter(lambda pair: any(pair)))
    start, end = sorted(pair) if all(pair) else pair  # type: ignore[type-var]
    try:
        return Span(start, end)
    except BadQuery:  # within a millisecond
        return Span(start)


longitudes, latitudes = st.floats(-180, 180), st.floats(-90, 90)


@st.composite
def boxes(draw: st.DrawFn) -> tuple[float, float, float, float]:
    west, east = draw(st.tuples(longitudes, longitudes).filter(lambda pair: pair[0] != pair[1]))
    south, north = sorted(draw(st.tuples(latitudes, latitudes).filter(lambda pair: pair[0] != pair[1])))
    return west, south, east, north


def tuples(of: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(of, max_size=3).map(tuple)


some_queries = st.builds(
    Query,
    all_of=tuples(terms()),
    any_of=tuples(terms()),
    none_of=tuples(terms()),
    parents=tuples(names),
    categories=tuples(names),
    photographer=st.none() | names,
    file_name=st.none() | names,
    taken=st.none() | spans(),
    day=st.none() | spans(),
    near=st.none() | st.tuples(longitudes, latitudes, st.floats(1, 2e7)),
    box=st.none() | boxes(),
)


@settings(max_examples=50, deadline=None)
@given(some_queries)
def test_what_a_query_is_written_as_is_read_as_the_same(query: Query) -> None:
    if len(str(query)) <= LONGEST:
        assert parse(str(query)) == query


@settings(deadline=None)
@given(st.text(max_size=40) | st.text('ab":|()-.>=@09, \\', max_size=25))
def test_any_text_is_a_query_or_a_bad_one(text: str) -> None:
    try:
        query = parse(text)
    except BadQuery as error:
        assert 0 <= error.position <= len(text)  # noqa: PT017 - either is right
    else:
        assert parse(str(query)) == query
        assert names_in(to_filter(query)) <= FIELDS | OPERATORS | ARGUMENTS


# --- the filter ---

FIELDS = {"tokens", "img", "taken_at", "logical_date", "location", "location.coordinates.0", "location.coordinates.1"}
OPERATORS = {
    "$and", "$or", "$nor", "$in", "$nin", "$gte", "$lt", "$lte", "$expr", "$anyElementTrue", "$map", "$eq", "$ifNull",
    "$size", "$filter", "$nearSphere", "$geometry", "$maxDistance",
}  # fmt: skip
ARGUMENTS = {"input", "as", "in", "cond", "type", "coordinates"}


def names_in(value: Any) -> set[str]:
    """Return the names of operators and fields in a filter, without what is said to be a text."""
    if isinstance(value, dict):
        if value.keys() == {"$literal"}:
            assert isinstance(value["$literal"], str)
            return set()
        return {*value, *(name for inner in value.values() for name in names_in(inner))}
    return {name for inner in value for name in names_in(inner)} if isinstance(value, list | tuple) else set()


@settings(max_examples=50, deadline=None)
@given(some_queries)
def test_no_text_becomes_an_operator_or_a_field(query: Query) -> None:
    assert names_in(to_filter(query)) <= FIELDS | OPERATORS | ARGUMENTS


@pytest.mark.parametrize("name", ["$where", "$$label.Name", "$Labels", "tokens", '{"$gt": ""}', "a.b", "has Cat"])
def test_the_name_of_a_label_is_a_value_wherever_it_goes(name: str) -> None:
    term = LabelTerm(name, 83.0, 2, None, 50.0)
    written = to_filter(Query((term,), (term,), (term,), (name,), (name,), name, name))

    def texts(value: Any) -> list[str]:
        if isinstance(value, dict):
            if "$literal" in value:
                return []
            return [text for inner in value.values() for text in texts(inner)]
        if isinstance(value, list):
            return [text for inner in value for text in texts(inner)]
        return [value] if isinstance(value, str) else []

    own = {"label", "instance", "$Labels", "$$label.Name", "$$label.Aliases.Name", "$$label.Confidence",
           "$$label.Instances", "$$instance.Confidence"}  # fmt: skip
    compared = {f"has {name}", f"parent {name}", f"category {name}", f"by {name.casefold()}", name}
    assert set(texts(written)) <= own | compared


@pytest.mark.parametrize(
    ("text", "filter"),
    [
        ("", {}),
        ("Person", {"tokens": "has Person"}),
        ("Person>=90", {"tokens": "sure Person"}),
        ("Person>=90 Book>=90", {"tokens": "both Book\tPerson"}),
        ("Person>=90:4..", {"tokens": "4+ sure Person"}),
        ("Person>=90:2..3", {"tokens": {"$in": ["2 sure Person", "3 sure Person"]}}),
        ("Person>=90:4..@90", {"tokens": "4+@90 sure Person"}),
        ("Person>=90:2..3@90", {"tokens": {"$in": ["2@90 sure Person", "3@90 sure Person"]}}),
        ("Cat|Dog>=90", {"tokens": {"$in": ["has Cat", "sure Dog"]}}),
        ("-Text", {"tokens": {"$nin": ["has Text"]}}),
        ("parent:Animal", {"tokens": "parent Animal"}),
        ("file:a.jpg", {"img": "a.jpg"}),
    ],
)
def test_what_the_article_asks_is_one_look_into_the_index(text: str, filter: dict[str, Any]) -> None:
    assert to_filter(parse(text)) == filter


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("Person>=83", "has Person"),
        ("Person>=95", "sure Person"),
        ("Person:4..", "has Person"),
        ("Person>=90:..3", "sure Person"),
        ("Person>=95:4..", "4+ sure Person"),
        ("Person>=90:4..@80", "4+ sure Person"),
        ("Person>=90:2..3@80", "2+ sure Person"),
        ("Person>=90:2..3@95", "2+@90 sure Person"),
        ("Person>=90:2..12", "2+ sure Person"),
        ("Person>=90:12..", "10+ sure Person"),
    ],
)
def test_what_no_token_says_is_looked_up_among_the_images_of_the_nearest(text: str, nearest: str) -> None:
    [token, looked_up] = to_filter(parse(text))["$and"]
    assert token == {"tokens": nearest}
    assert looked_up.keys() == {"$expr"}


@pytest.mark.parametrize("sort", ["", "-", "--key", "_id", "Labels", "$natural"])
def test_an_order_that_there_is_not_is_told(sort: str) -> None:
    with pytest.raises(BadQuery, match="there are key, taken_at, day"):
        order(sort)


def mark(*of: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(of).encode()).decode()


@pytest.mark.parametrize(
    "after",
    [
        pytest.param("x", id="short"),
        pytest.param("é", id="not ASCII"),
        pytest.param(base64.b64encode(b"\xff\xfe").decode(), id="no text"),
        pytest.param(base64.b64encode(b"[" * 3000).decode(), id="deep"),
        pytest.param(mark(), id="an empty list"),
        pytest.param(mark("key", None, {"$gt": ""}), id="an operator for a key"),
        pytest.param(mark("key", {"$gt": ""}, "a"), id="an operator for a time"),
        pytest.param(mark("taken_at", None, "a"), id="of another order"),
        pytest.param(mark("key", None, "\ud800"), id="half a character"),
        pytest.param(mark("key", "0001-01-01T00:00:00+14:00", "a"), id="before all time"),
    ],
)
def test_a_place_in_the_result_that_there_is_not_is_told(after: str) -> None:
    with pytest.raises(BadQuery, match="begin with the first page"):
        find(None, Query(), after=after)  # type: ignore[arg-type]
