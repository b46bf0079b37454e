from __future__ import annotations

import copy
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from image_labels.documents import Settings, build

DAY = datetime(2026, 1, 5, tzinfo=UTC)

IMAGE = {
    "key": "image-labels/images/trips/annie-spratt-abc123-unsplash.jpg",
    "path": "trips/annie-spratt-abc123-unsplash.jpg",
    "img": "annie-spratt-abc123-unsplash.jpg",
    "bucket": "photos",
    "etag": "9f62",
    "sha256": "ab" * 32,
    "bytes": 1234,
    "format": "JPEG",
    "width": 640,
    "height": 480,
}
ANALYSIS = {
    "at": "2026-01-05T09:30:00.125+00:00",
    "settings": {"min_confidence": 50.0, "max_labels": 100},
    "dag_run": "scheduled__2026-01-05",
    "paid_by": "scheduled__2026-01-05",
    "opened_at": "2026-01-05T09:00:00.000+00:00",
}
BOX = {"Width": 0.1, "Height": 0.2, "Left": 0.3, "Top": 0.4}

ANSWERS: dict[str, dict[str, Any]] = {
    "model 3.0": {
        "Labels": [
            {
                "Name": "Person",
                "Confidence": 99.5,
                "Instances": [{"BoundingBox": BOX, "Confidence": 99.5}, {"BoundingBox": BOX, "Confidence": 43.1}],
                "Parents": [],
                "Aliases": [{"Name": "Human"}],
                "Categories": [{"Name": "Person Description"}],
            }
        ],
        "LabelModelVersion": "3.0",
    },
    "lists missing": {"Labels": [{"Name": "Cat", "Confidence": 91.2}], "LabelModelVersion": "2.0"},
    "lists null": {
        "Labels": [{"Name": "Cat", "Confidence": 91.2, "Instances": None, "Parents": None, "Aliases": None}],
        "LabelModelVersion": None,
    },
    "whole confidence": {"Labels": [{"Name": "Cat", "Confidence": 100}, {"Name": "Pet", "Confidence": 99.9}]},
    "an instance without confidence": {
        "Labels": [{"Name": "Cat", "Confidence": 91.2, "Instances": [{"BoundingBox": BOX}]}]
    },
    "a parent that is no label": {
        "Labels": [{"Name": "Cat", "Confidence": 60.0, "Parents": [{"Name": "Mammal"}, {"Name": "Animal"}]}]
    },
    "any order": {"Labels": [{"Name": "Sea", "Confidence": 51.0}, {"Name": "Boat", "Confidence": 99.0}]},
    "odd names": {
        "Labels": [
            {"Name": name, "Confidence": 70.0}
            for name in ("T-Shirt", "Bird's Nest", "St. Bernard", "Crêpe", "Text (Sign)", "$gt", "a.b", '"', "")
        ]
    },
    "the same name twice": {"Labels": [{"Name": "Cat", "Confidence": 60.0}, {"Name": "Cat", "Confidence": 70.0}]},
    "no labels": {"Labels": [], "LabelModelVersion": "3.0"},
    "more than labels": {"Labels": [], "ImageProperties": {"Quality": {"Brightness": 40.0}}},
}


def row(answer: dict[str, Any], **image: Any) -> dict[str, Any]:
    return {"image": {**IMAGE, **image}, "answer": answer, "analysis": ANALYSIS}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_labels_are_stored_as_rekognition_gave_them(answer: dict[str, Any]) -> None:
    # By way of JSON, as the row comes from S3.
    document = build(json.loads(json.dumps(row(answer))), DAY)
    assert document["Labels"] == answer["Labels"]
    assert document.get("LabelModelVersion") == answer.get("LabelModelVersion")


@pytest.mark.parametrize("answer", [{}, {"Labels": None}], ids=["missing", "null"])
def test_an_answer_without_a_list_has_no_labels(answer: dict[str, Any]) -> None:
    assert build(row(answer), DAY)["Labels"] == []


def test_a_missing_model_version_is_a_missing_field() -> None:
    assert "LabelModelVersion" not in build(row({"Labels": [], "LabelModelVersion": None}), DAY)


@pytest.mark.parametrize(
    ("names", "repeats"),
    [([], False), (["Cat"], False), (["Cat", "Dog"], False), (["Cat", "Dog", "Cat"], True)],
    ids=str,
)
def test_a_document_tells_whether_its_answer_repeats_a_label(names: list[str], repeats: bool) -> None:
    answer = {"Labels": [{"Name": name, "Confidence": 70.0} for name in names]}
    assert build(row(answer), DAY)["repeats"] is repeats


def test_no_field_is_named_after_a_label() -> None:
    def field_names(value: Any) -> set[str]:
        if isinstance(value, dict):
            return {*value, *(name for inner in value.values() for name in field_names(inner))}
        return {name for inner in value for name in field_names(inner)} if isinstance(value, list) else set()

    names = field_names(build(row(ANSWERS["odd names"]), DAY))
    assert not [name for name in names if "." in name or name.startswith("$") or not name]


def test_the_document_is_keyed_by_the_image_and_holds_its_facts() -> None:
    facts = {
        "photographer": "Annie Spratt",
        "photo_id": "abc123",
        "source_url": "https://unsplash.com/photos/abc123",
        "location": {"type": "Point", "coordinates": [103.8, 1.3]},
        "camera": {"make": "Canon", "model": "EOS 5D"},
        "artist": "A. Spratt",
        "rendition": "image-labels/renditions/ab.jpg",
    }
    document = build(row({"Labels": []}, **facts), DAY)
    assert document["_id"] == IMAGE["key"]
    assert document["img"] == "annie-spratt-abc123-unsplash.jpg"
    assert facts.items() <= document.items()
    assert {name: value for name, value in IMAGE.items() if name not in ("key", "path")}.items() <= document.items()
    assert "key" not in document
    assert "path" not in document


def test_absent_facts_are_absent_fields() -> None:
    assert set(build(row({"Labels": []}), DAY)) == {
        "_id", "img", "bucket", "etag", "sha256", "bytes", "format", "width", "height", "Labels", "analysis",
        "logical_date", "tokens", "repeats",
    }  # fmt: skip


def test_times_are_stored_as_times() -> None:
    document = build(row({"Labels": []}, taken_at="2019-07-14T18:20:05"), DAY)
    assert document["taken_at"] == datetime(2019, 7, 14, 18, 20, 5)  # noqa: DTZ001 - a camera's clock knows no zone
    assert document["analysis"]["at"] == datetime(2026, 1, 5, 9, 30, 0, 125_000, tzinfo=UTC)
    assert document["analysis"]["settings"] == {"min_confidence": 50.0, "max_labels": 100}
    assert document["logical_date"] == DAY


def test_a_place_on_earth_may_say_its_own_time_zone() -> None:
    taken_at = build(row({"Labels": []}, taken_at="2019-07-14T18:20:05+08:00"), DAY)["taken_at"]
    assert taken_at == datetime(2019, 7, 14, 18, 20, 5, tzinfo=timezone(timedelta(hours=8)))


def test_the_row_stays_as_it_was() -> None:
    given = row(ANSWERS["model 3.0"], taken_at="2019-07-14T18:20:05")
    before = copy.deepcopy(given)
    build(given, DAY)
    assert given == before


def test_the_articles_queries_find_their_fields() -> None:
    document = build(row(ANSWERS["model 3.0"]), DAY)
    person = document["Labels"][0]
    assert document["img"]
    assert person["Name"] == "Person"
    assert person["Confidence"] >= 90.0
    assert len(person["Instances"]) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_confidence": -0.1}, "min_confidence is -0.1; Rekognition takes 0 to 100"),
        ({"min_confidence": 100.1}, "min_confidence is 100.1"),
        ({"max_labels": 0}, "max_labels is 0; Rekognition takes 1 to 1000"),
        ({"max_labels": 1001}, "max_labels is 1001"),
    ],
    ids=str,
)
def test_settings_that_rekognition_would_not_take_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings(**settings)


def test_the_same_settings_are_the_same_text() -> None:
    assert str(Settings(50, 100)) == str(Settings(50.0, 100)) == "min_confidence=50,max_labels=100"
    assert len({str(Settings(50)), str(Settings(50.5)), str(Settings(50, 99))}) == 3
