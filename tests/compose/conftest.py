"""docker-compose.yaml brought up for real, under a name, ports and an .env of its own, with two workers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from dotenv import dotenv_values

import base_images
import make_env
import ports
from airflow_client import Dag
from servers import PROJECT, Site


class Compose:
    """Docker Compose on the project's file."""

    def __init__(self, env: Path) -> None:
        self.values = dotenv_values(env)
        self._command = ["docker", "compose", "--project-name=image-labels-test", f"--env-file={env}"]

    def __call__(self, *arguments: str) -> str:
        """Run a command and return what it prints."""
        done = subprocess.run([*self._command, *arguments], cwd=PROJECT, capture_output=True, text=True)
        assert done.returncode == 0, f"docker compose {' '.join(arguments)}:\n{done.stdout}{done.stderr[-5000:]}"
        return done.stdout

    def python(self, service: str, code: str) -> str:
        """Run a line of Python in a container of a service."""
        return self("exec", "--no-TTY", service, "python", "-c", code)

    def containers(self, service: str = "") -> list[dict[str, Any]]:
        """Return what Compose knows of the containers that run."""
        return [json.loads(line) for line in self("ps", "--format=json", *filter(None, [service])).splitlines()]

    def stand_in(self, path: str, method: str = "GET", body: Any = None) -> Any:
        """Ask the stand-in for Rekognition, which only the containers can reach."""
        request = f"r.Request('http://rekognition:8340{path}', {json.dumps(body).encode()!r}, method={method!r})"
        return json.loads(
            self.python("rekognition", f"import urllib.request as r; print(r.urlopen({request}).read().decode())")
        )


@pytest.fixture(scope="session")
def engine() -> Iterator[None]:
    """A Docker engine that answers; one that is installed but not running is started, and ended afterwards."""
    if not (shutil.which("docker") and shutil.which("dockerd")):
        pytest.skip(
            "there is no Docker engine; on Debian docker.io brings it, docker-compose and docker-buildx of trixie"
        )
    if subprocess.run(["docker", "compose", "version"], capture_output=True).returncode:
        pytest.skip("there is no Docker Compose v2; on Debian trixie the package docker-compose brings it")
    if _answers():
        yield
        return
    log = Path("/var/log/dockerd-image-labels-test.log")
    with log.open("w") as output, subprocess.Popen(["dockerd"], stdout=output, stderr=output) as daemon:
        deadline = time.monotonic() + 30
        while not _answers() and daemon.poll() is None and time.monotonic() < deadline:
            time.sleep(0.5)
        if not _answers():
            daemon.terminate()
            pytest.skip(f"dockerd does not start, see {log}")
        yield
        daemon.terminate()


def _answers() -> bool:
    return subprocess.run(["docker", "info"], capture_output=True).returncode == 0


@pytest.fixture(scope="session")
def compose(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    folder = tmp_path_factory.mktemp("compose")
    assert make_env.main(folder / "env") == 0
    with (folder / "env").open("a") as env:
        airflow = ports.free_port(())
        env.write(f"IMAGE_TAG=test\nAIRFLOW_PORT={airflow}\nS3_PORT={ports.free_port((airflow,))}\n")
    compose = Compose(folder / "env")
    made = base_images.provide(folder)
    try:
        compose("build")
        # What an earlier one left when it was killed.
        compose("down", "--volumes", "--timeout=1")
        compose("up", "--detach", "--wait", "--wait-timeout=300", "--scale=airflow-worker=2")
        yield compose
    finally:
        if os.environ.get("KEEP_COMPOSE") is None:
            compose("down", "--volumes", "--timeout=5")
        base_images.forget(made)


@pytest.fixture(scope="session")
def site(compose: Compose) -> Site:
    return Site(
        PROJECT,
        {"airflow": int(str(compose.values["AIRFLOW_PORT"])), "s3": int(str(compose.values["S3_PORT"]))},
        {"airflow_password": str(compose.values["AIRFLOW_PASSWORD"])},
    )


@pytest.fixture(scope="session")
def s3(compose: Compose, site: Site) -> Any:
    """S3 as the machine reaches it, for photos to land."""
    return boto3.client(
        "s3",
        endpoint_url=site.url("s3"),
        region_name="us-east-1",
        aws_access_key_id=compose.values["S3_ACCESS_KEY_ID"],
        aws_secret_access_key=compose.values["S3_SECRET_ACCESS_KEY"],
        config=Config(proxies={}),
    )


@pytest.fixture(scope="session")
def dag(site: Site) -> Dag:
    return Dag(site, "image_labels")
