"""Finding images by what is in them: one typed query, its text form, its MongoDB filter, and who asks with it.

The text form is what a person types::

    Person>=90 Book>=90 -Text        a label, each at its own confidence in percent; a minus: without it
    Person:4..  Person:2..3          located four times or more; two or three times
    Person>=90:4..@80                so, each instance at a confidence of its own
    Cat|Dog>=80  any:(Cat Dog>=80)   at least one of them
    "Hot Dog"  "T-Shirt (Logo)":2    what has blanks or signs in it goes in quotes; \\" is a quote, \\\\ a backslash
    parent:Animal                    a label with this parent, such as Dog
    category:"Animals and Pets"
    photographer:"coleen rivas"      in any case
    file:IMG_0001.jpg  file:IMG_*    in any case; a star at the end stands for any end
    taken:2021-03  taken:2019..2021  year, month, day or time (2021-03-05T14:30) in UTC; both ends included
    day:2026-03-01..2026-03-05       day of ingest
    near:103.85,1.29,5               within 5 km of a longitude and latitude
    box:103.6,1.2,104.1,1.5          west, south, east, north

A label's name is also found where it is an alias: ``Human`` finds what newer label models call ``Person``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from pymongo.collection import Collection

    from image_labels.indexes import Plan

Document = dict[str, Any]


class BadQuery(ValueError):
    """A text that is no query.

    :param problem: what is wrong and what to do
    :param position: index into the text at which it is wrong
    """

    def __init__(self, problem: str, position: int = 0) -> None:
        super().__init__(problem, position)
        self.problem = problem
        self.position = position

    def __str__(self) -> str:
        return f"{self.problem} (at character {self.position + 1})"


@dataclass(frozen=True)
class LabelTerm:
    """A label, or an alias of one, as it has to be found in an image.

    :param name: as Rekognition writes it
    :param min_confidence: of the label, in percent
    :param min_instances: so many instances or more
    :param fewer_than: and fewer than so many
    :param instance_confidence: only instances at this confidence of their own count, in percent
    """

    name: str
    min_confidence: float | None = None
    min_instances: int | None = None
    fewer_than: int | None = None
    instance_confidence: float | None = None


@dataclass(frozen=True)
class Span:
    """A span of time in UTC, from its first moment up to and without its last; None is open."""

    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True)
class Query:
    """What images have to have: all that is said, so an empty query finds every image.

    :param all_of: labels that are all there
    :param any_of: labels of which at least one is there, if any is given
    :param none_of: labels that are not there
    :param parents: for each a label with this parent
    :param categories: for each a label of this category
    :param photographer: in any case
    :param file_name: in any case; a star at its end stands for any end
    :param taken: when the picture was taken
    :param day: the day of ingest (``logical_date``)
    :param near: longitude, latitude and metres
    :param box: west, south, east, north in degrees
    """

    all_of: tuple[LabelTerm, ...] = ()
    any_of: tuple[LabelTerm, ...] = ()
    none_of: tuple[LabelTerm, ...] = ()
    parents: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    photographer: str | None = None
    file_name: str | None = None
    taken: Span | None = None
    day: Span | None = None
    near: tuple[float, float, float] | None = None
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class Page:
    """Some images of a result.

    :param images: the documents, or the asked-for fields of them
    :param next: what :func:`find` takes as ``after`` for those that follow; None if these are the last
    """

    images: list[Document]
    next: str | None


SORTS = ("key", "-key", "taken_at", "-taken_at", "day", "-day")
"""Orders of a result; a minus is descending. Images of the same time are in the order of their keys."""


def parse(text: str) -> Query:
    """Read a query's text form.

    :raises BadQuery: if it is none
    """
    raise NotImplementedError


def to_filter(query: Query) -> dict[str, Any]:
    """Return the MongoDB filter for a query."""
    raise NotImplementedError


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

    :param sort: one of :data:`SORTS`
    :param after: ``next`` of the page before, for the same query and order
    :param limit: images at most
    :param fields: of the documents, beside ``_id``; all if none are given
    :raises BadQuery: if ``sort`` or ``after`` is none
    """
    raise NotImplementedError


def count(collection: Collection[Document], query: Query, at_most: int | None = None) -> int:
    """Return how many images a query finds.

    :param at_most: counts no further, which bounds the work
    """
    raise NotImplementedError


def explain(collection: Collection[Document], query: Query, *, sort: str = "key", limit: int = 50) -> Plan:
    """Run a query's first page and return how the database did it: stages, indexes, what it examined."""
    raise NotImplementedError


def frequency(collection: Collection[Document], min_confidence: float = 90.0, query: Query = Query()) -> pd.DataFrame:
    """Return how many images show each label: columns ``label`` and ``images``, most frequent first."""
    raise NotImplementedError


def together(
    collection: Collection[Document], label: str, min_confidence: float = 90.0, limit: int = 20
) -> pd.DataFrame:
    """Return the labels that occur with one: columns ``label``, ``images`` and ``share``, most frequent first."""
    raise NotImplementedError


def similar(collection: Collection[Document], key: str, limit: int = 12) -> list[tuple[float, Document]]:
    """Return the images whose labels are most like those of one, each with its likeness from 0 to 1, best first.

    :param key: ``_id`` of the image
    :raises KeyError: if it is not in the collection
    """
    raise NotImplementedError


def complete(collection: Collection[Document], prefix: str, limit: int = 10) -> list[tuple[str, int]]:
    """Return labels whose names begin so, in any case, with the number of their images, most frequent first.

    They are those of the last report (:func:`remember_labels`), so that no keystroke costs a count.
    """
    raise NotImplementedError


def remember_labels(collection: Collection[Document], images_by_label: Mapping[str, int]) -> None:
    """Store what :func:`complete` answers from; the report's step calls it with what it has counted."""
    raise NotImplementedError
