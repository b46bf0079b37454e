"""The guard is only worth something if it notices what the service would not say, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import botocore.session
import pytest

from rekognition_guard import wrong_in

SHAPE = botocore.session.get_session().get_service_model("rekognition").operation_model("DetectLabels").output_shape


@pytest.mark.parametrize(
    "answer",
    [
        {"Labels": []},
        {"Labels": [{"Name": "Cat", "Confidence": 100, "Instances": None, "Parents": [{"Name": "Animal"}]}]},
        {"Labels": None, "LabelModelVersion": "3.0"},
    ],
    ids=["none", "cat", "nulls"],
)
def test_what_the_service_says_passes(answer: dict[str, Any]) -> None:
    assert wrong_in(json.dumps(answer).encode(), SHAPE) == []


@pytest.mark.parametrize(
    "answer",
    [
        {"Labels": [{"Name": "Cat", "Score": 0.5}]},
        {"Labels": [{"Name": "Cat", "Confidence": "99"}]},
        {"Labels": [{"Name": "Cat", "Instances": [{"BoundingBox": {"X": 0.5}}]}]},
        {"Labels": {"Cat": 99.0}},
    ],
    ids=["unknown", "type", "inner", "structure"],
)
def test_what_it_would_not_say_is_noticed(answer: dict[str, Any]) -> None:
    assert len(wrong_in(json.dumps(answer).encode(), SHAPE)) == 1


def test_an_answer_that_was_cut_short_is_none() -> None:
    assert wrong_in(b'{"Labels": [{"Na', SHAPE) == []
