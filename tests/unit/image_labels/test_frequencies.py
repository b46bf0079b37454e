from __future__ import annotations

import json

import pyarrow as pa
import pytest

from image_labels import frequencies


def cells(**aliases: list[str]) -> pa.Table:
    """Return cells of labels with their aliases."""
    return pa.table({"name": list(aliases), "aliases": [json.dumps(names) for names in aliases.values()]})


@pytest.mark.parametrize(
    "thresholds",
    [
        pytest.param([], id="none"),
        pytest.param([50, 101], id="above 100"),
        pytest.param([-1, 50], id="below 0"),
        pytest.param([float("nan")], id="not a number"),
        pytest.param([50, 50.0], id="twice"),
        pytest.param([90, 50], id="descending"),
    ],
)
def test_odd_thresholds_are_refused(thresholds: list[float]) -> None:
    with pytest.raises(ValueError, match=r"0 to 100 percent, each once and ascending") as error:
        frequencies.checked(thresholds)
    assert str(thresholds) in str(error.value)


@pytest.mark.parametrize(
    ("aliases", "old"),
    [
        pytest.param({"Person": ["Human"], "Human": []}, {"Human": "Person"}, id="a new name"),
        pytest.param({"Person": ["Human"]}, {}, id="an old name that no image has"),
        pytest.param({"Person": ["Person"]}, {}, id="its own alias"),
        pytest.param({"B": ["A"], "C": ["A"], "A": []}, {"A": "B"}, id="two claim it"),
        pytest.param({"A": [], "B": ["A"], "C": ["B"]}, {"A": "C", "B": "C"}, id="a chain"),
        pytest.param({"A": ["B"], "B": ["A"]}, {}, id="a circle"),
        pytest.param({"A": ["B"], "B": ["A"], "C": [], "D": ["C"]}, {"C": "D"}, id="a circle and another name"),
    ],
)
def test_an_old_name_is_one_that_has_become_an_alias(aliases: dict[str, list[str]], old: dict[str, str]) -> None:
    assert frequencies.renamed(cells(**aliases)) == old
