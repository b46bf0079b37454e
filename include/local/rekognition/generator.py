"""Labels for load tests: realistic in number, names and confidence, drawn from a seed, of no picture."""

from __future__ import annotations

import itertools
import random
import zlib

from rekognition import labels

VERSION = "generator"

# Commonest first: the names that lead Rekognition's answers, then everything that COCO counts.
_LEADING = {
    "Person": "Person Description",
    "Outdoors": "Nature and Outdoors",
    "Nature": "Nature and Outdoors",
    "Plant": "Plants and Flowers",
    "Clothing": "Apparel and Accessories",
    "Face": "Person Description",
    "Tree": "Plants and Flowers",
    "Building": "Buildings and Architecture",
    "Vegetation": "Nature and Outdoors",
    "Architecture": "Buildings and Architecture",
    "Scenery": "Nature and Outdoors",
    "Water": "Nature and Outdoors",
    "Urban": "Colors and Visual Composition",
    "City": "Buildings and Architecture",
    "Land": "Nature and Outdoors",
    "Sky": "Nature and Outdoors",
    "Photography": "Hobbies and Interests",
    "Portrait": "Hobbies and Interests",
    "Accessories": "Apparel and Accessories",
    "Flower": "Plants and Flowers",
    "Road": "Transport and Logistics",
    "Mountain": "Nature and Outdoors",
    "Indoors": "Home and Indoors",
    "Art": "Hobbies and Interests",
}
_VOCABULARY = [(name, (), category) for name, category in _LEADING.items()] + [
    (name, *of) for name, of in labels.THINGS.items() if name not in _LEADING
]
# Zipf's law.
_WEIGHTS = list(itertools.accumulate(1 / rank for rank in range(1, len(_VOCABULARY) + 1)))


def generate(seed: bytes) -> list[labels.Label]:
    """Make about 20 labels, always the same for the same seed; two in five at a confidence of 90 or more."""
    draw = random.Random(zlib.crc32(seed))  # noqa: S311
    names = dict.fromkeys(draw.choices(range(len(_VOCABULARY)), cum_weights=_WEIGHTS, k=draw.randint(16, 44)))
    found = []
    for number in names:
        name, parents, category = _VOCABULARY[number]
        confidence = 100 - 45 * draw.random() ** 1.6
        boxes = draw.randint(1, 4) if name in labels.THINGS else 0
        instances = [_instance(draw, confidence) for _ in range(boxes)]
        found.append(labels.label(name, confidence, parents, category, instances))
    return labels.with_parents(found)


def _instance(draw: random.Random, confidence: float) -> dict[str, object]:
    width, height = 0.02 + 0.4 * draw.random(), 0.02 + 0.4 * draw.random()
    left, top = draw.random() * (1 - width), draw.random() * (1 - height)
    return {
        "BoundingBox": {"Width": width, "Height": height, "Left": left, "Top": top},
        "Confidence": confidence - 10 * draw.random(),
    }
