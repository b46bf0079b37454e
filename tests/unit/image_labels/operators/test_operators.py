"""What an Airflow user expects of every operator, checked on all that the package has."""

from __future__ import annotations

import gc
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import BaseOperator

import image_labels.operators
import image_labels.sensors
from image_labels.operators.base import ImageLabelsOperator
from image_labels.operators.detect_labels import DetectLabelsOperator
from image_labels.operators.upload import UploadImagesOperator
from image_labels.triggers.new_images import NewImagesTrigger

PROJECT = Path(__file__).resolve().parents[4]
HEAVY = ("pymongo", "pandas", "pyarrow", "PIL", "pillow_heif", "boto3", "botocore", "vl_convert")


def operators_of(package: ModuleType) -> list[type[ImageLabelsOperator]]:
    modules = (importlib.import_module(f"{package.__name__}.{m.name}") for m in pkgutil.iter_modules(package.__path__))
    return [
        kind
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, BaseOperator) and kind.__module__ == module.__name__
    ]


OPERATORS = sorted(
    {*operators_of(image_labels.operators), *operators_of(image_labels.sensors)} - {ImageLabelsOperator},
    key=lambda kind: kind.__name__,
)
each_operator = pytest.mark.parametrize("operator", OPERATORS, ids=lambda kind: kind.__name__)


def arguments(operator: type) -> dict[str, inspect.Parameter]:
    """Return the arguments of the operator's own constructor and those that all operators here have."""
    own = {
        name: parameter
        for kind in (ImageLabelsOperator, operator)
        for name, parameter in inspect.signature(kind.__init__).parameters.items()
    }
    return {name: own[name] for name in own if name not in ("self", "kwargs", "args")}


def test_the_operators_are_found() -> None:
    assert {kind.__name__ for kind in OPERATORS} >= {
        "NewImagesSensor", "UploadImagesOperator", "DetectLabelsOperator", "IngestLabelsOperator",
        "EnsureIndexesOperator", "ExportReportsOperator", "BalanceBooksOperator", "RebuildCollectionOperator",
    }  # fmt: skip


@each_operator
def test_what_is_templated_is_an_argument(operator: type[ImageLabelsOperator]) -> None:
    assert set(operator.template_fields) <= set(arguments(operator))
    assert len(set(operator.template_fields)) == len(operator.template_fields)
    assert set(ImageLabelsOperator.template_fields) <= set(operator.template_fields)
    assert set(operator.template_fields_renderers) <= set(operator.template_fields)


@each_operator
def test_arguments_are_kept_as_they_are_given(operator: type[ImageLabelsOperator]) -> None:
    """Anything else would look at a template before it is rendered."""
    given: dict[str, Any] = {name: f"{{{{ params.{name} }}}}" for name in arguments(operator)}
    task = operator(task_id="task", **given)
    assert {name: getattr(task, name) for name in given} == given


@each_operator
def test_what_may_be_left_out_has_its_default(operator: type[ImageLabelsOperator]) -> None:
    expected = {n: p.default for n, p in arguments(operator).items() if p.default is not inspect.Parameter.empty}
    needed = {name: "given" for name in arguments(operator) if name not in expected}
    task = operator(task_id="task", **needed)
    assert {name: getattr(task, name) for name in expected} == expected


@each_operator
def test_every_argument_is_documented(operator: type[ImageLabelsOperator]) -> None:
    described = set(re.findall(r":param (\w+):", inspect.getdoc(operator) or ""))
    common = set(re.findall(r":param (\w+):", inspect.getdoc(ImageLabelsOperator) or ""))
    assert described | common == set(arguments(operator))


@each_operator
def test_what_is_documented_as_templated_is(operator: type[ImageLabelsOperator]) -> None:
    text = re.sub(r"\s+", " ", f"{inspect.getdoc(ImageLabelsOperator)} {inspect.getdoc(operator)}")
    described = re.findall(r":param (\w+):((?:(?!:param|:returns|\.\. seealso).)*)", text)
    assert {name for name, words in described if "(templated)" in words} == set(operator.template_fields)


def test_the_trigger_is_rebuilt_from_what_it_serialises() -> None:
    given: dict[str, Any] = {
        name: f"value of {name}" for name in inspect.signature(NewImagesTrigger.__init__).parameters if name != "self"
    }
    path, arguments = NewImagesTrigger(**given).serialize()
    assert arguments == given
    module, _, name = path.rpartition(".")
    assert getattr(importlib.import_module(module), name) is NewImagesTrigger


def loaded_after(code: str) -> set[str]:
    """Return which of the heavy packages a fresh interpreter has loaded after running ``code``."""
    code = f"{code}\nimport sys\nprint(*(name for name in {HEAVY} if name in sys.modules), sep='\\n')"
    paths = [str(PROJECT / "plugins"), str(PROJECT / "dags")]
    code = f"import sys\nsys.path[:0] = {paths}\n{code}"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(run.stdout.split())


def test_importing_operators_the_plugin_and_the_dags_loads_no_heavy_package() -> None:
    by_airflow = loaded_after("import airflow.sdk, airflow.plugins_manager, airflow.listeners")
    modules = {kind.__module__ for kind in OPERATORS} | {"image_labels.plugin", NewImagesTrigger.__module__}
    dags = [str(file) for file in (PROJECT / "dags").glob("*.py")]
    ours = "\n".join(
        ["import runpy", *(f"import {module}" for module in sorted(modules)), *(f"runpy.run_path({d!r})" for d in dags)]
    )
    assert loaded_after(ours) - by_airflow == set()


@pytest.fixture
def niceness(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """What tasks set their process to, which is not done; and the collector of garbage as it was afterwards."""
    given: list[int] = []
    monkeypatch.setattr("os.setpriority", lambda which, process, niceness: given.append(niceness))
    before = gc.get_threshold()
    yield given
    gc.set_threshold(*before)
    gc.unfreeze()


def prepare(operator: type[ImageLabelsOperator], map_index: int) -> None:
    object.__new__(operator).pre_execute({"ti": SimpleNamespace(map_index=map_index)})


@each_operator
def test_python_does_not_look_for_garbage_among_what_was_imported(
    operator: type[ImageLabelsOperator], niceness: list[int]
) -> None:
    prepare(operator, 0)
    assert gc.get_freeze_count() > 10_000
    assert gc.get_threshold()[0] > 10_000


def test_uploads_let_what_is_further_on_go_first(niceness: list[int]) -> None:
    for number in range(10):
        prepare(UploadImagesOperator, number)
    assert niceness == sorted(niceness)
    assert (niceness[0], niceness[-1]) == (4, 19)
    prepare(DetectLabelsOperator, 0)
    assert len(niceness) == 10
