"""`make check-connections` on the local stack, as it is and with something wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

import check_connections

if TYPE_CHECKING:
    from servers import Site

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def exports(site: Site, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What `. .local/env` sets."""
    for name, value in site.exports().items():
        monkeypatch.setenv(name, value)
    return site.exports()


def failing(environment: dict[str, str]) -> dict[str, str]:
    return {finding.what: finding.message for finding in check_connections.check(environment) if not finding.works}


def test_all_works_on_the_local_stack(exports: dict[str, str]) -> None:
    script = PROJECT / "include/deployment/check_connections.py"
    environment = os.environ | exports | {"PYTHONPATH": str(PROJECT / "plugins")}
    run = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    lines = run.stdout.splitlines()
    assert all(line.startswith("ok ") for line in lines)
    assert [sum(service in line for line in lines) for service in ("S3:", "Rekognition:", "DocumentDB:")] == [4, 1, 5]
    assert exports["AWS_SECRET_ACCESS_KEY"] not in run.stdout


def test_a_bucket_that_is_not_there_is_named(exports: dict[str, str]) -> None:
    problems = failing(exports | {"IMAGE_LABELS_BUCKET": "nobody-s-bucket"})
    assert all(what.startswith("S3: ") for what in problems)
    assert any("NoSuchBucket" in message for message in problems.values())


def test_wrong_keys_are_told_from_an_absent_service(exports: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    assert "SignatureDoesNotMatch" in str(failing(exports))
    monkeypatch.setenv("AWS_ENDPOINT_URL_REKOGNITION", "http://127.0.0.1:9")
    assert "Could not connect" in failing(exports)["Rekognition: DetectLabels"]


def test_a_wrong_password_is_said(exports: dict[str, str]) -> None:
    login, _, place = exports["DOCUMENTDB_URI"].rpartition("@")
    problems = failing(exports | {"DOCUMENTDB_URI": f"{login}wrong@{place}"})
    assert "Authentication failed." in problems.values()


@pytest.mark.parametrize(
    ("operation", "permission"),
    [("PutObject", "s3:PutObject"), ("ListObjectsV2", "s3:ListBucket"), ("DetectLabels", "rekognition:DetectLabels")],
)
def test_the_missing_permission_is_named(operation: str, permission: str) -> None:
    """No server here denies anything to a user that it knows."""

    def denied() -> str:
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, operation)

    assert check_connections._try("what", denied).message == f"denied; allow {permission}"
