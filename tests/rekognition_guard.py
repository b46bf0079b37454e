"""Notices when an answer of DetectLabels is not what botocore's model of the service says.

Requests need no guard: botocore checks them before it sends them, and the stand-in does so again.
"""

from __future__ import annotations

import json
from typing import Any

from botocore.parsers import JSONParser
from botocore.validate import ParamValidator

ANSWER = "DetectLabelsResponse"

violations: list[str] = []
"""A sentence for each answer that was not right."""


def install() -> None:
    """Look at the answers that all clients of this process get from now on."""
    parse = JSONParser.parse

    def look_and_parse(self: JSONParser, response: dict[str, Any], shape: Any) -> Any:
        if getattr(shape, "name", "") == ANSWER and response["status_code"] == 200:
            violations.extend(wrong_in(response["body"], shape))
        return parse(self, response, shape)

    JSONParser.parse = look_and_parse


def wrong_in(body: bytes, shape: Any) -> list[str]:
    """Return what is wrong in an answer. One that was cut short on its way is none."""
    try:
        answer = json.loads(body)
    except ValueError:
        return []
    report = ParamValidator().validate(without_nulls(answer), shape)
    return [report.generate_report()] if report.has_errors() else []


def without_nulls(value: Any) -> Any:
    """Return a value as botocore reads it: what is null is missing."""
    if isinstance(value, dict):
        return {name: without_nulls(item) for name, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value
