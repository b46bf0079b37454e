"""What a person is told when something that the page needs is missing or away."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from pymongo.errors import ExecutionTimeout, OperationFailure, ServerSelectionTimeoutError

from image_labels.errors import BadSettings
from image_labels.explorer import problems
from image_labels.queries import BadQuery


def s3_error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "secret"}}, "GetObject")


async def answer_to(error: Exception) -> dict[str, Any]:
    app = FastAPI()
    problems.install(app)

    @app.get("/")
    def fail() -> None:
        raise error

    transport = ASGITransport(app, raise_app_exceptions=False)
    response = await AsyncClient(transport=transport, base_url="http://airflow").get("/")
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["status"] == response.status_code
    assert "secret" not in problem["detail"]
    return problem


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (ModuleNotFoundError("No module named 'pymongo'", name="pymongo"), 503, "lacks the Python package pymongo"),
        (BadSettings("Connection 'documentdb_default' has no host"), 503, "has no host"),
        (BadQuery("A quote is open", 3), 422, "(character 4)"),
        (ServerSelectionTimeoutError("secret"), 503, "connection documentdb_default"),
        (OperationFailure("secret", code=13), 503, "The database refuses"),
        (ExecutionTimeout("secret", code=50), 422, "takes too long"),
        (s3_error("NoSuchKey"), 404, "no longer"),
        (s3_error("PreconditionFailed"), 404, "no longer"),
        (s3_error("AccessDenied"), 503, "s3:GetObject"),
        (s3_error("SlowDown"), 503, "connection aws_default"),
        (EndpointConnectionError(endpoint_url="http://secret"), 503, "connection aws_default"),
        (RuntimeError("secret"), 500, "log"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_each_fault_is_told_with_what_to_do_and_no_more(error: Exception, status: int, said: str) -> None:
    problem = await answer_to(error)
    assert problem["status"] == status
    assert said in problem["detail"]


def test_a_web_server_without_the_workers_packages_still_has_the_page() -> None:
    """As on Amazon MWAA, where requirements.txt may be installed on the workers alone."""
    script = """
import sys
sys.modules |= dict.fromkeys(("pymongo", "bson", "pyarrow", "PIL", "pandas", "numpy"))
from fastapi.testclient import TestClient
from image_labels.explorer import access
from image_labels.explorer.app import app
from image_labels.layout import Layout
(may_read,) = app.router.dependencies
app.dependency_overrides |= {may_read.dependency: lambda: None, access.layout: lambda: Layout("photos", "")}
client = TestClient(app, raise_server_exceptions=False)
assert client.get("/").status_code == 200
answer = client.get("/api/images")
print(answer.status_code, answer.json()["detail"])
"""
    paths = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    status, said = done.stdout.strip().splitlines()[-1].split(maxsplit=1)
    assert status == "503"
    assert "requirements.txt" in said
