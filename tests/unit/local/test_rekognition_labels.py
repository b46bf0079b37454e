"""How labels are named, joined, chosen and made up."""

from __future__ import annotations

import numpy as np
import pytest

from rekognition import generator, labels
from rekognition.detector import anchors, decode, suppress


def found(name: str, confidence: float, category: str = "Animals and Pets", boxes: tuple[float, ...] = ()):
    return labels.label(name, confidence, (), category, [{"Confidence": box} for box in boxes])


CAT, DOG, CAR = found("Cat", 90.0), found("Dog", 70.0), found("Car", 60.0, "Vehicles and Automotive")


def names(**parameters) -> list[str]:
    return [entry["Name"] for entry in labels.select([CAR, DOG, CAT], parameters)]


def filtered(**filters) -> list[str]:
    return names(Settings={"GeneralLabels": filters})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dining table", "Dining Table"),
        ("tv", "TV"),
        ("iPod", "iPod"),
        ("jack-o'-lantern", "Jack-O'-Lantern"),
    ],
)
def test_names_are_in_the_style_of_rekognition(name, expected):
    assert labels.title(name) == expected


def test_the_surest_labels_come_first():
    assert names() == ["Cat", "Dog", "Car"]


def test_labels_below_55_are_left_out_unless_asked_for():
    unsure = [found("Cat", 54.9)]
    assert labels.select(unsure, {}) == []
    assert labels.select(unsure, {"MinConfidence": 54.9}) == unsure


def test_max_labels_keeps_the_surest():
    assert names(MaxLabels=2) == ["Cat", "Dog"]
    assert names(MaxLabels=0) == []


def test_boxes_come_with_their_label_down_to_50_or_what_was_asked_for():
    person = [found("Person", 95.0, boxes=(95.0, 52.0, 40.0))]

    def boxes(floor: float) -> list[float]:
        return [box["Confidence"] for box in labels.select(person, {"MinConfidence": floor})[0]["Instances"]]

    assert boxes(90) == [95.0, 52.0]
    assert boxes(30) == [95.0, 52.0, 40.0]


def test_filters_include_labels_or_categories_and_then_exclude():
    assert filtered(LabelInclusionFilters=["Cat"]) == ["Cat"]
    assert filtered(LabelCategoryInclusionFilters=["Animals and Pets"]) == ["Cat", "Dog"]
    assert filtered(LabelInclusionFilters=["Car"], LabelCategoryInclusionFilters=["Animals and Pets"]) == [
        "Cat",
        "Dog",
        "Car",
    ]
    assert filtered(LabelExclusionFilters=["Dog"]) == ["Cat", "Car"]
    assert filtered(LabelCategoryExclusionFilters=["Animals and Pets"]) == ["Car"]
    assert filtered(LabelCategoryInclusionFilters=["Animals and Pets"], LabelExclusionFilters=["Cat"]) == ["Dog"]
    assert filtered(LabelInclusionFilters=["cat"]) == []


def test_parents_are_labels_too_as_sure_as_their_surest_child():
    beagle = labels.label("Beagle", 80.0, *labels.imagenet(162), [])
    car = labels.label("Car", 60.0, *labels.THINGS["Car"], [{"Confidence": 60.0}])
    bus = labels.label("Bus", 70.0, *labels.THINGS["Bus"], [])
    by_name = {entry["Name"]: entry for entry in labels.with_parents([beagle, car, bus])}
    assert {name: entry["Confidence"] for name, entry in by_name.items()} == {
        "Beagle": 80.0,
        "Dog": 80.0,
        "Animal": 80.0,
        "Car": 60.0,
        "Bus": 70.0,
        "Vehicle": 70.0,
    }
    assert by_name["Dog"]["Parents"] == [{"Name": "Animal"}]
    assert by_name["Vehicle"]["Instances"] == []


def test_what_both_models_see_is_one_label_with_the_boxes():
    whole = labels.label("Zebra", 99.0, *labels.THINGS["Zebra"], [])
    counted = labels.label("Zebra", 80.0, *labels.THINGS["Zebra"], [{"Confidence": 80.0}])
    zebra = labels.with_parents([counted, whole])[0]
    assert (zebra["Name"], zebra["Confidence"], zebra["Instances"]) == ("Zebra", 99.0, [{"Confidence": 80.0}])


def test_every_class_of_imagenet_has_a_place():
    places = [labels.imagenet(number) for number in range(1000)]
    for parents, category in places:
        labels.with_parents([labels.label("X", 1.0, parents, category, [])])
    assert places[0] == (("Fish", "Animal"), "Animals and Pets")
    assert places[999] == ((), "Everyday Objects")


def test_there_is_an_anchor_for_each_row_of_the_model():
    assert anchors().shape == (19206, 4)
    assert anchors()[0] == pytest.approx([4 / 320, 4 / 320, 24 / 320, 24 / 320])


def test_no_offset_is_the_anchor_itself_cut_at_the_edge_of_the_picture():
    box = decode(np.zeros((1, 4), np.float32), np.array([[0.5, 0.1, 0.2, 0.4]], np.float32))
    assert box[0] == pytest.approx([0.4, 0.0, 0.6, 0.3])


def test_weaker_sightings_of_the_same_thing_are_dropped():
    boxes = np.array([[0, 0, 1, 1], [0, 0, 0.9, 1], [0, 0, 0.3, 0.3], [0, 0, 1, 1]], np.float32)
    assert suppress(boxes, np.array([0.8, 0.9, 0.5, 0.01], np.float32)) == [1, 2]


def test_generated_labels_are_the_same_for_the_same_seed():
    assert generator.generate(b"a.jpg") == generator.generate(b"a.jpg")
    assert generator.generate(b"a.jpg") != generator.generate(b"b.jpg")


def test_generated_labels_are_realistic():
    answers = [generator.generate(str(n).encode()) for n in range(500)]
    everything = [entry for answer in answers for entry in answer]
    assert 15 <= len(everything) / len(answers) <= 25
    assert 0.3 <= sum(entry["Confidence"] >= 90 for entry in everything) / len(everything) <= 0.5
    assert sum(any(entry["Name"] == "Person" for entry in answer) for answer in answers) > 400
    for answer in answers:
        listed = {entry["Name"] for entry in answer}
        assert len(listed) == len(answer)
        assert all(parent["Name"] in listed for entry in answer for parent in entry["Parents"])
