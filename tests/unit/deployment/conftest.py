from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws
from moto.cloudformation.models import ChangeSet

import certificates
import package
from deploy import Deployment

Deploy = Callable[..., Deployment]


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a certificate of an authority."""
    folder = tmp_path_factory.mktemp("certificates")
    certificates.make(folder)
    return folder / certificates.AUTHORITY


@pytest.fixture(scope="session")
def dist(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The package. Not to be changed."""
    folder = tmp_path_factory.mktemp("package") / "dist"
    package.make(folder, bundle)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def aws() -> Iterator[boto3.Session]:
    """An account that moto plays, the same for all tests of a module."""
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setattr(ChangeSet, "apply", apply)
        yield boto3.Session(region_name="us-east-1")


def apply(change_set: Any) -> None:
    """Do what moto leaves out when a change set is executed: conditions, parameters and outputs."""
    stack = change_set.stack
    fresh = not stack.template
    stack.template, stack.parameters = change_set.template, change_set.parameters
    stack._parse_template()
    for unknown in ("AirflowURL", "NotebookConsole"):
        stack.template_dict.get("Outputs", {}).pop(unknown, None)
    if fresh:
        stack.resource_map = stack._create_resource_map()
        stack.resource_map.create(stack.template_dict)
    else:
        stack.resource_map.update(stack.template_dict, stack.parameters)
    stack.output_map = stack._create_output_map()


@pytest.fixture(scope="module")
def said() -> list[str]:
    """All that a person was told or asked."""
    return []


@pytest.fixture(scope="module")
def deployment(aws: boto3.Session, said: list[str]) -> Deploy:
    """Return a deployment whose person gives these answers, one after the other and the last for ever."""

    def deployment(*parts: str, name: str = "album", answers: tuple[str, ...] = ("y",), **given: str) -> Deployment:
        left = list(answers)

        def ask(question: str) -> str:
            said.append(question)
            return left.pop(0) if len(left) > 1 else left[0]

        return Deployment(aws, name, list(parts), given, ask=ask, say=said.append, poll_seconds=0)

    return deployment
