"""What docker-compose.yaml, the Dockerfile and the Helm values hold to, whoever changes them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.fernet import Fernet
from dotenv import dotenv_values

import make_env
from servers import PROJECT

COMPOSE = (PROJECT / "docker-compose.yaml").read_text()
FILE = yaml.safe_load(COMPOSE)
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
ONCE = {name: service for name, service in SERVICES.items() if service["restart"] == "on-failure:3"}
LASTING = {name: service for name, service in SERVICES.items() if name not in ONCE}
AIRFLOW = {name: service for name, service in LASTING.items() if name.startswith("airflow-")}
DOCKERFILE = (PROJECT / "Dockerfile").read_text()
HELM = yaml.safe_load((PROJECT / "include/helm/values.yaml").read_text())
STAND_INS = ("documentdb", "s3", "rekognition")

lasting = pytest.mark.parametrize("service", LASTING.values(), ids=LASTING)
every = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)


def test_all_parts_of_airflow_are_there() -> None:
    parts = ("api-server", "scheduler", "dag-processor", "triggerer", "worker")
    assert AIRFLOW.keys() == {f"airflow-{part}" for part in parts}
    assert "airflow-init" in ONCE


@lasting
def test_what_runs_on_is_looked_at_and_started_again(service: dict[str, Any]) -> None:
    assert service["healthcheck"].keys() >= {"test", "interval", "timeout", "retries", "start_period"}
    assert service["restart"] == "unless-stopped"


@every
def test_nothing_may_take_the_whole_machine(service: dict[str, Any]) -> None:
    limits = service["deploy"]["resources"]["limits"]
    assert limits["cpus"]
    assert limits["memory"]
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}


@every
def test_nothing_is_published_beyond_the_machine(service: dict[str, Any]) -> None:
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    assert service.get("network_mode", "none") in ("none", "service:documentdb")


@every
def test_no_container_has_rights_of_root(service: dict[str, Any]) -> None:
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.keys() & {"privileged", "cap_add"}
    if not service["image"].startswith("image-labels-"):
        assert service["user"] not in ("root", "0", 0)


def test_the_project_s_images_run_as_no_root() -> None:
    users = re.findall(r"^USER (\S+)", DOCKERFILE, re.MULTILINE)
    assert users == ["50000:0"]
    assert "FROM airflow AS rekognition" in DOCKERFILE


def test_images_have_exact_versions() -> None:
    foreign = [service["image"] for service in SERVICES.values() if not service["image"].startswith("image-labels-")]
    foreign += [name for name in re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) if ":" in name]
    assert foreign
    assert [name for name in foreign if not re.search(r":\d+\.\d+", name)] == []


def test_all_parts_of_airflow_share_settings_and_keys() -> None:
    first, *others = [service["environment"] for service in (*AIRFLOW.values(), SERVICES["airflow-init"])]
    assert all(settings == first for settings in others)
    assert first.keys() >= {
        "AIRFLOW__API_AUTH__JWT_SECRET",
        "AIRFLOW__API__SECRET_KEY",
        "AIRFLOW__CORE__FERNET_KEY",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL",
    }
    assert len({service["image"] for service in AIRFLOW.values()}) == 1


def test_workers_can_be_many_and_share_no_disk() -> None:
    worker = SERVICES["airflow-worker"]
    assert not worker.keys() & {"container_name", "hostname", "ports"}
    assert [volume for volume in worker["volumes"] if not volume.endswith(":ro")] == []
    assert make_env.settings()["IMAGE_LABELS_LANDING"].startswith("s3://")


def test_no_password_has_a_default() -> None:
    used = dict(re.findall(r"\$\{(\w+)([^}]*)\}", COMPOSE))
    secret = {name for name in used if re.search("PASSWORD|KEY|CONN", name)}
    assert len(secret) >= 10
    assert {used[name] for name in secret} == {":?run include/compose/make_env.py"}
    literal = re.compile("PASSWORD$|SECRET|_KEY|^AIRFLOW_CONN|ALCHEMY_CONN|RESULT_BACKEND|BROKER_URL")
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if literal.search(name):
                assert ":?" in str(value), name


def test_what_waits_for_a_stand_in_does_without_it() -> None:
    optional = {name for name, service in SERVICES.items() if "profiles" in service}
    assert {SERVICES[name]["profiles"][0] for name in optional} == set(STAND_INS)
    for name, service in SERVICES.items():
        for needed, condition in service.get("depends_on", {}).items():
            assert needed in SERVICES
            if needed in optional and SERVICES[needed]["profiles"] != service.get("profiles"):
                assert condition["required"] is False, (name, needed)


def test_the_env_has_all_that_the_file_needs_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    assert make_env.main(tmp_path / "env") == 0
    assert (tmp_path / "env").stat().st_mode & 0o777 == 0o600
    values = dotenv_values(tmp_path / "env")
    assert values.keys() >= set(re.findall(r"\$\{(\w+):\?", COMPOSE))
    aws, documentdb = (json.loads(str(values[f"AIRFLOW_CONN_{name}_DEFAULT"])) for name in ("AWS", "DOCUMENTDB"))
    assert aws["login"] == values["S3_ACCESS_KEY_ID"]
    assert documentdb["password"] == values["DOCUMENTDB_PASSWORD"]
    assert documentdb["extra"]["tls"] is True
    assert documentdb["extra"]["retryWrites"] is False
    Fernet(str(values["AIRFLOW_FERNET_KEY"]))
    assert str(values["COMPOSE_PROFILES"]).split(",") == list(STAND_INS)


def test_secrets_are_drawn_anew_for_each_stack_and_never_for_one_that_is_there(tmp_path: Path) -> None:
    one, other = make_env.settings(), make_env.settings()
    same = {name for name in one if one[name] == other[name]}
    assert same == {"COMPOSE_PROFILES", "IMAGE_LABELS_BUCKET", "IMAGE_LABELS_LANDING"}
    (tmp_path / "env").write_text("kept")
    assert make_env.main(tmp_path / "env") == 1
    assert (tmp_path / "env").read_text() == "kept"


def test_the_image_is_built_by_the_same_uv_as_the_environment() -> None:
    (wanted,) = set(re.findall(r"uv==[\d.]+", (PROJECT / "Makefile").read_text()))
    assert set(re.findall(r"uv==[\d.]+", DOCKERFILE)) == {wanted}


def test_the_image_gets_neither_secrets_nor_history() -> None:
    first, *taken = [line for line in (PROJECT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert first == "*"
    assert not {line for line in taken if line.startswith("!.")}


@pytest.fixture
def compose(tmp_path: Path) -> Any:
    """Docker Compose, which reads the file without an engine."""
    command = ["docker", "compose", f"--file={PROJECT / 'docker-compose.yaml'}", f"--env-file={tmp_path / 'env'}"]
    if not shutil.which("docker") or subprocess.run(["docker", "compose", "version"], capture_output=True).returncode:
        pytest.skip("there is no Docker Compose v2; on Debian trixie the package docker-compose brings it")
    (tmp_path / "env").touch()
    return lambda *arguments: subprocess.run(
        [*command, *arguments], capture_output=True, text=True, env={"PATH": "/usr/bin:/bin:/usr/local/bin"}
    )


def test_compose_takes_the_file(compose: Any, tmp_path: Path) -> None:
    (tmp_path / "env").unlink()
    make_env.main(tmp_path / "env")
    checked = compose("config", "--services")
    assert checked.returncode == 0, checked.stderr
    assert set(checked.stdout.split()) == SERVICES.keys()


def test_without_secrets_compose_says_what_to_do(compose: Any) -> None:
    refused = compose("config", "--quiet")
    assert refused.returncode != 0
    assert "run include/compose/make_env.py" in refused.stderr


def test_with_the_real_services_no_stand_in_runs(compose: Any, tmp_path: Path) -> None:
    (tmp_path / "env").unlink()
    make_env.main(tmp_path / "env")
    env = tmp_path / "env"
    env.write_text(env.read_text().replace("COMPOSE_PROFILES='documentdb,s3,rekognition'", "COMPOSE_PROFILES=''"))
    checked = compose("config", "--services")
    assert checked.returncode == 0, checked.stderr
    assert set(checked.stdout.split()) == {name for name, service in SERVICES.items() if "profiles" not in service}


def test_the_helm_values_use_keys_that_the_chart_has() -> None:
    # Of the chart's values.yaml, 1.22.
    of_the_chart = {
        *(
            "airflowVersion",
            "images",
            "executor",
            "postgresql",
            "redis",
            "statsd",
            "createUserJob",
            "data",
            "secret",
            "env",
        ),
        *("fernetKeySecretName", "apiSecretKeySecretName", "jwtSecretName", "securityContexts", "config"),
        *("apiServer", "scheduler", "dagProcessor", "triggerer", "workers"),
    }
    assert HELM.keys() <= of_the_chart
    assert HELM["workers"].keys() == {"logGroomerSidecar", "celery"}
    assert HELM["data"].keys() == {"metadataSecretName", "brokerUrlSecretName"}


def test_kubernetes_has_the_settings_of_compose() -> None:
    compose = SERVICES["airflow-worker"]["environment"]
    shared = {
        f"AIRFLOW__{section}__{option}".upper(): str(value)
        for section in ("celery", "scheduler", "workers", "logging")
        for option, value in HELM["config"][section].items()
    }
    assert len(shared) == 8
    for name, value in shared.items():
        in_compose = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", compose[name])
        assert value.lower() == in_compose.lower() or (value.startswith("s3://") and in_compose.startswith("s3://")), (
            name
        )
    given = {entry["name"] for entry in HELM["env"]} | {entry["envName"] for entry in HELM["secret"]}
    assert given == {name for name in compose if name.startswith(("AIRFLOW_VAR", "AIRFLOW_CONN"))}


def test_kubernetes_needs_no_shared_disk_and_has_no_secret_in_its_values() -> None:
    assert HELM["workers"]["celery"]["persistence"] == {"enabled": False}
    assert HELM["triggerer"]["persistence"] == {"enabled": False}
    assert HELM["postgresql"] == HELM["redis"] == {"enabled": False}
    assert HELM["images"]["airflow"]["tag"] not in ("", "latest")
    for part in ("apiServer", "scheduler", "dagProcessor", "triggerer"):
        assert HELM[part]["resources"]["limits"].keys() == {"cpu", "memory"}
