"""Tokens: what an image is looked up by, as a flat list of words in its document.

DocumentDB 5.0's planner uses an index for an equality on a flat array, but not below ``$elemMatch``, nor for
``$exists``. So a document says in its field ``tokens`` in so many words what is asked for most: that it has a label,
that it has it at 90 or more, with which other, how often. Such a question is one equality on the index (tokens, _id),
which also gives the images in the order of their keys: nothing is examined that is not found, and a page is read from
where it begins. What no token says to the point, such as a confidence of 83, is looked for among the images with the
nearest token that they all have. So tokens decide how fast images are found, never which ones.

A label counts under its name and under its aliases alike. What makes a token worth its place in the index is that it is
asked for; two levels of confidence are, any and :data:`SURE`::

    has Person            the label                  sure Person           at 90 or more
    4+ sure Person        and four instances or      4 sure Person         and exactly four
                          more
    4+@90 sure Person     and four or more that      4@90 sure Person      and exactly four that
                          are sure themselves                              are sure themselves
    both Book<tab>Person  both sure, in the order    by coleen rivas       the photographer, in one case
                          of their names
    parent Animal         a label with this parent   category Technology   a label of this category
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SURE = 90
"""Percent from which a label, or an instance, is sure: the article's threshold."""
MOST = 10
"""Instances that are told apart; more count as so many."""


def has(name: str, sure: bool) -> str:
    """Return the token of images with a label."""
    return f"sure {name}" if sure else f"has {name}"


def at_least(name: str, instances: int, *, sure: bool) -> str:
    """Return the token of images with a sure label that has so many instances or more.

    :param instances: from 2 to :data:`MOST`
    :param sure: whether only those count that are sure themselves
    """
    return f"{instances}+{_AT_SURE if sure else ''} sure {name}"


def exactly(name: str, instances: int, *, sure: bool) -> str:
    """Return the token of images with a sure label that has so many instances.

    :param instances: from 1 to :data:`MOST`, without the latter
    :param sure: whether only those count that are sure themselves
    """
    return f"{instances}{_AT_SURE if sure else ''} sure {name}"


_AT_SURE = f"@{SURE}"


def both(one: str, other: str) -> str:
    """Return the token of images in which two labels are sure."""
    return "both {}\t{}".format(*sorted((one, other)))


def parent(name: str) -> str:
    """Return the token of images with a label that has a parent of this name."""
    return f"parent {name}"


def category(name: str) -> str:
    """Return the token of images with a label of this category."""
    return f"category {name}"


def photographer(name: str) -> str:
    """Return the token of a photographer's images."""
    return f"by {name.casefold()}"


def of(labels: Iterable[Mapping[str, Any]], taken_by: str | None) -> list[str]:
    """Return an image's tokens, always in the same order.

    :param labels: as Rekognition gave them; all lists in them may be missing or null
    :param taken_by: the photographer, if known
    """
    tokens: dict[str, None] = {}
    sure_names: set[str] = set()
    parents: set[str] = set()
    categories: set[str] = set()
    for label in labels:
        sure = label["Confidence"] >= SURE
        instances = (label.get("Instances") or ()) if sure else ()
        sure_instances = [1 for instance in instances if instance.get("Confidence", 0) >= SURE] if instances else ()
        names = [label["Name"]]
        if aliases := label.get("Aliases"):
            names += [alias["Name"] for alias in aliases]
        for name in names:
            tokens |= _of_label(name, sure, min(len(instances), MOST), min(len(sure_instances), MOST))
        if sure:
            sure_names.update(names)
        if found := label.get("Parents"):
            parents.update([entry["Name"] for entry in found])
        if found := label.get("Categories"):
            categories.update([entry["Name"] for entry in found])
    return [
        *tokens,
        *[f"both {one}\t{other}" for one, other in combinations(sorted(sure_names), 2)],
        *map(parent, sorted(parents)),
        *map(category, sorted(categories)),
        *([photographer(taken_by)] if taken_by else []),
    ]


@lru_cache(maxsize=1 << 16)
def _of_label(name: str, sure: bool, instances: int, sure_instances: int) -> dict[str, None]:
    words = [has(name, sure=False)]
    if sure:
        words.append(has(name, sure=True))
    for count, only_sure in ((instances, False), (sure_instances, True)):
        words += [at_least(name, number, sure=only_sure) for number in range(2, count + 1)]
        if 0 < count < MOST:
            words.append(exactly(name, count, sure=only_sure))
    return dict.fromkeys(words)
