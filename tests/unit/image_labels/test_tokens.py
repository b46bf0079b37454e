from __future__ import annotations

from typing import Any

import pytest

from image_labels import tokens


def label(name: str, confidence: float, *instances: float, **lists: list[str] | None) -> dict[str, Any]:
    return {
        "Name": name,
        "Confidence": confidence,
        "Instances": [{"Confidence": one} for one in instances],
        **{field: names and [{"Name": one} for one in names] for field, names in lists.items()},
    }


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        pytest.param([], set(), id="no labels"),
        pytest.param([label("Cat", 89.99)], {"has Cat"}, id="not sure"),
        pytest.param([label("Cat", 90)], {"has Cat", "sure Cat"}, id="sure"),
        pytest.param([{"Name": "Cat", "Confidence": 60.0, "Instances": None}], {"has Cat"}, id="lists null or missing"),
        pytest.param([label("Cat", 89.0, 95.0, 95.0)], {"has Cat"}, id="instances of one that is not sure"),
        pytest.param([label("Cat", 95.0, 60.0)], {"has Cat", "sure Cat", "1 sure Cat"}, id="an instance"),
        pytest.param(
            [label("Cat", 95.0, 90)], {"has Cat", "sure Cat", "1 sure Cat", "1@90 sure Cat"}, id="a sure instance"
        ),
        pytest.param(
            [label("Cat", 95.0, 95.0, 90.0, 50.0)],
            {"has Cat", "sure Cat", "2+ sure Cat", "3+ sure Cat", "3 sure Cat", "2+@90 sure Cat", "2@90 sure Cat"},
            id="instances",
        ),
        pytest.param(
            [label("Book", 95.0, *[50.0] * 12)],
            {"has Book", "sure Book", *(f"{number}+ sure Book" for number in range(2, 11))},
            id="more instances than are told apart",
        ),
        pytest.param(
            [label("Sea", 99.0), label("Book", 95.0), label("Cat", 70.0)],
            {"has Sea", "sure Sea", "has Book", "sure Book", "both Book\tSea", "has Cat"},
            id="two sure ones",
        ),
        pytest.param(
            [label("Person", 99.0, Aliases=["Human"])],
            {"has Person", "sure Person", "has Human", "sure Human", "both Human\tPerson"},
            id="an alias",
        ),
        pytest.param(
            [label("Dog", 60.0, Parents=["Animal", "Pet"], Categories=["Nature"]), label("Cat", 60.0, Parents=["Pet"])],
            {"has Dog", "has Cat", "parent Animal", "parent Pet", "category Nature"},
            id="parents and categories",
        ),
        pytest.param(
            [label("Cat", 60.0, 50.0, 50.0), label("Cat", 95.0, 80.0)],
            {"has Cat", "sure Cat", "1 sure Cat"},
            id="a label twice, each with instances of its own",
        ),
    ],
)  # fmt: skip
def test_an_image_is_found_by(labels: list[dict[str, Any]], expected: set[str]) -> None:
    found = tokens.of(labels, None)
    assert set(found) == expected
    assert len(found) == len(expected)


def test_a_photographer_is_found_in_any_case() -> None:
    assert tokens.of([], "Coleen RIVAS") == [tokens.photographer("coleen rivas")] == ["by coleen rivas"]


def test_the_order_is_always_the_same() -> None:
    labels = [label("Dog", 99.0, 99.0, 98.0, Parents=["Animal"]), label("Cat", 99.0, Parents=["Pet"])]
    assert tokens.of(labels, "Jane Doe") == [
        "has Dog", "sure Dog", "2+ sure Dog", "2 sure Dog", "2+@90 sure Dog", "2@90 sure Dog", "has Cat", "sure Cat",
        "both Cat\tDog", "parent Animal", "parent Pet", "by jane doe",
    ]  # fmt: skip
