"""Documents with every oddity that real answers have."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

DAY = datetime(2026, 11, 22, tzinfo=UTC)
OLD = {"Human": "Person", "$Cash": "$Money"}
"""Labels of model 2.0 that are aliases in model 3.0."""

NAMES = ["Person", "Rock'n'Roll", "$Money", "a.b", 'Said "hi"', "Café", "Palm Tree (Arecaceae)", "$$ROOT", "会"]

Document = dict[str, Any]


def documents(seed: int, count: int = 400) -> list[Document]:
    """Images with every oddity that real answers have; names repeat within an answer, also with the same confidence."""
    chance = random.Random(seed)
    return [document(chance, number) for number in range(count)]


def document(chance: random.Random, number: int) -> Document:
    model = chance.choice([{}, {"LabelModelVersion": None}, {"LabelModelVersion": "2.0"}, {"LabelModelVersion": "3.0"}])
    labels = [label(chance) for _ in range(chance.choice([0, 1, 3, 6]))]
    for entry in labels:
        if model.get("LabelModelVersion") == "2.0" and chance.random() < 0.5:
            entry["Name"] = chance.choice([*OLD, entry["Name"]])
        if model.get("LabelModelVersion") == "3.0":
            aliases = [old for old, new in OLD.items() if new == entry["Name"]]
            entry["Aliases"] = [{"Name": alias} for alias in aliases]
    return {
        "_id": f"images/{number}.jpg",
        "Labels": labels,
        "logical_date": DAY - timedelta(days=chance.choice([0, 0, 1, 30])),
        **model,
    }


def label(chance: random.Random) -> Document:
    confidence = chance.choice([chance.uniform(30, 100), chance.choice([50, 50.0, 70, 90, 89.99999, 100])])
    instances = [{}, {"Confidence": confidence / 2}, {"BoundingBox": {"Left": 0.1}, "Confidence": 99}]
    return {
        "Name": chance.choice(NAMES),
        "Confidence": confidence,
        **chance.choice([{}, {"Instances": None}, {"Instances": []}, {"Instances": instances}]),
        **chance.choice([{}, {"Parents": None}, {"Parents": [{"Name": parent} for parent in ("Person", "Thing")]}]),
        **chance.choice(
            [{}, {"Categories": None}, {"Categories": [{"Name": chance.choice(["$Arts", "Nature & Co."])}]}]
        ),
        **chance.choice([{}, {"Aliases": None}, {"Aliases": []}]),
    }
