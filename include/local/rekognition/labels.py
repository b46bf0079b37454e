"""Labels as the service words and selects them: names, parents, aliases, categories and filters.

Names are those of the data sets that the models learned from, in title case. Parents are COCO's
super-categories, and for ImageNet the branches of its tree that fill a run of class numbers. Categories are
Rekognition's.
"""

from __future__ import annotations

import string
from collections.abc import Iterable
from typing import Any

Label = dict[str, Any]

# COCO's things by super-category, with Rekognition's category for them.
_COCO: dict[tuple[str, str], str] = {
    ("", "Person Description"): "person",
    ("Vehicle", "Vehicles and Automotive"): "bicycle, car, motorcycle, airplane, bus, train, truck, boat",
    ("Outdoor", "Transport and Logistics"): "traffic light, fire hydrant, stop sign, parking meter, bench",
    ("Animal", "Animals and Pets"): "bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe",
    ("Accessory", "Apparel and Accessories"): "backpack, umbrella, handbag, tie, suitcase",
    ("Sports", "Sports"): (
        "frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, surfboard, "
        "tennis racket"
    ),
    ("Kitchen", "Kitchen and Dining"): "bottle, wine glass, cup, fork, knife, spoon, bowl",
    ("Food", "Food and Beverage"): ("banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake"),
    ("Furniture", "Furniture and Furnishings"): "chair, couch, potted plant, bed, dining table, toilet",
    ("Electronic", "Technology and Computing"): "tv, laptop, mouse, remote, keyboard, cell phone",
    ("Appliance", "Home and Indoors"): "microwave, oven, toaster, sink, refrigerator",
    ("Indoor", "Everyday Objects"): "book, clock, vase, scissors, teddy bear, hair drier, toothbrush",
}

# First of each run of ImageNet's 1,000 class numbers, with the branches of its tree that hold all of the run.
_IMAGENET: tuple[tuple[int, tuple[str, ...]], ...] = (
    (0, ("Fish", "Animal")),
    (7, ("Bird", "Animal")),
    (25, ("Amphibian", "Animal")),
    (33, ("Reptile", "Animal")),
    (69, ("Invertebrate", "Animal")),
    (80, ("Bird", "Animal")),
    (101, ("Mammal", "Animal")),
    (107, ("Invertebrate", "Animal")),
    (127, ("Bird", "Animal")),
    (147, ("Mammal", "Animal")),
    (151, ("Dog", "Animal")),
    (269, ("Mammal", "Animal")),
    (281, ("Cat", "Animal")),
    (286, ("Mammal", "Animal")),
    (300, ("Invertebrate", "Animal")),
    (330, ("Mammal", "Animal")),
    (389, ("Fish", "Animal")),
    (398, ()),
    (924, ("Food",)),
    (970, ("Nature",)),
    (971, ()),
    (972, ("Nature",)),
    (981, ("Person",)),
    (984, ("Plant",)),
    (991, ("Fungus",)),
    (998, ("Plant",)),
    (999, ()),
)
_OTHER = "Everyday Objects"
_CATEGORIES = {parent: category for parent, category in _COCO if parent} | {
    "Fungus": "Plants and Flowers",
    "Nature": "Nature and Outdoors",
    "Person": "Person Description",
    "Plant": "Plants and Flowers",
}

_ALIASES = {
    "Airplane": ("Aeroplane", "Plane"),
    "Bicycle": ("Bike",),
    "Cab": ("Taxi",),
    "Cell Phone": ("Mobile Phone",),
    "Cock": ("Rooster",),
    "Couch": ("Sofa",),
    "Donut": ("Doughnut",),
    "Hair Drier": ("Hair Dryer",),
    "Ice Bear": ("Polar Bear",),
    "Lakeside": ("Lakeshore",),
    "Motorcycle": ("Motorbike",),
    "Person": ("Human",),
    "Refrigerator": ("Fridge",),
    "Remote": ("Remote Control",),
    "Sax": ("Saxophone",),
    "Seashore": ("Coast",),
    "Streetcar": ("Tram", "Trolley"),
    "TV": ("Television",),
}


def title(name: str) -> str:
    """Put a data set's name into Rekognition's style: ``dining table`` is ``Dining Table``, ``iPod`` stays."""
    if name == "tv":
        return "TV"
    return " ".join(string.capwords(word, "-") if word.islower() else word for word in name.split(" "))


# Parents and category of everything that COCO counts, by name.
THINGS: dict[str, tuple[tuple[str, ...], str]] = {
    title(name): ((parent,) if parent else (), category)
    for (parent, category), names in _COCO.items()
    for name in names.split(", ")
}


def imagenet(number: int) -> tuple[tuple[str, ...], str]:
    """Return parents and category of one of ImageNet's classes, by its number."""
    parents = next(parents for first, parents in reversed(_IMAGENET) if first <= number)
    return parents, _CATEGORIES[parents[-1]] if parents else _OTHER


def label(name: str, confidence: float, parents: Iterable[str], category: str, instances: list[Any]) -> Label:
    """Make one entry of ``Labels``."""
    return {
        "Name": name,
        "Confidence": confidence,
        "Instances": instances,
        "Parents": [{"Name": parent} for parent in parents],
        "Aliases": [{"Name": alias} for alias in _ALIASES.get(name, ())],
        "Categories": [{"Name": category}],
    }


def with_parents(found: Iterable[Label]) -> list[Label]:
    """Join labels of one name, and list the parents too: each as sure as the surest of its children."""
    by_name: dict[str, Label] = {}
    for entry in found:
        _join(by_name, entry)
        parents = [parent["Name"] for parent in entry["Parents"]]
        for n, parent in enumerate(parents):
            above, category = THINGS.get(parent) or (parents[n + 1 :], _CATEGORIES[parents[-1]])
            _join(by_name, label(parent, entry["Confidence"], above, category, []))
    return list(by_name.values())


def _join(by_name: dict[str, Label], entry: Label) -> None:
    known = by_name.setdefault(entry["Name"], entry)
    if known is not entry:
        known["Confidence"] = max(known["Confidence"], entry["Confidence"])
        known["Instances"] += entry["Instances"]


def select(found: list[Label], parameters: dict[str, Any]) -> list[Label]:
    """Apply MinConfidence, the four filters and MaxLabels of a request, and sort by confidence.

    A label passes the inclusion filters if its name or its category is in one of them; the exclusion filters
    then take away. https://docs.aws.amazon.com/rekognition/latest/dg/labels-detect-labels-image.html

    :param parameters: The request's parameters.
    """
    filters = parameters.get("Settings", {}).get("GeneralLabels", {})
    names = set(filters.get("LabelInclusionFilters", ()))
    categories = set(filters.get("LabelCategoryInclusionFilters", ()))
    no_names = set(filters.get("LabelExclusionFilters", ()))
    no_categories = set(filters.get("LabelCategoryExclusionFilters", ()))
    floor = parameters.get("MinConfidence", 55)

    def wanted(entry: Label) -> bool:
        own = {category["Name"] for category in entry["Categories"]}
        included = not (names or categories) or entry["Name"] in names or bool(own & categories)
        return included and entry["Name"] not in no_names and not own & no_categories

    # Boxes a little below the asked-for confidence come along, as in the service's own answers.
    box_floor = min(floor, 50)
    chosen = [
        entry | {"Instances": [box for box in entry["Instances"] if box["Confidence"] >= box_floor]}
        for entry in found
        if entry["Confidence"] >= floor and wanted(entry)
    ]
    chosen.sort(key=lambda entry: (-entry["Confidence"], entry["Name"]))
    return chosen[: min(1000, parameters.get("MaxLabels", 1000))]
