"""The local stack: DocumentDB, S3, Rekognition and Airflow as processes of this machine, all in one folder.

As a script it is what ``make`` calls: ``python include/local/stack.py stop|status``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import secrets
import shlex
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path

import boto3
import httpx
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from cryptography.fernet import Fernet

import certificates
import database
import distributed
import ports
import servers
from servers import PROJECT, Server, Site
from supervision import Supervision, write_private

HOME = PROJECT / ".local"
"""The folder of the stack that ``make`` runs."""

_PACKAGES_OF_LIBRARIES = {"libcurl.so.4": "libcurl4", "libssl.so.3": "libssl3", "libcrypto.so.3": "libssl3"}


class StackError(Exception):
    """The stack cannot run; the message says why and what to do."""


class Stack:
    """The servers of one folder. Nothing runs until :meth:`start`.

    :param root: folder that holds all of the stack: data, secrets, logs
    :param airflow: whether Airflow runs as well
    :param workers: number of Celery workers, as on several machines; 0 for an Airflow of one machine
    :param airflow_settings: Airflow's settings, by section and name, that differ from those of the stack
    :param wanted_ports: ports by name (``ports.DEFAULTS``) that must be as given, 0 for any free one
    :param rekognition_url: an endpoint that speaks Rekognition's protocol, in place of the stand-in
    :param say: is told of what a person may want to know
    """

    def __init__(
        self,
        root: Path = HOME,
        *,
        airflow: bool = True,
        workers: int = 0,
        airflow_settings: Mapping[tuple[str, str], object] | None = None,
        wanted_ports: Mapping[str, int] | None = None,
        rekognition_url: str = "",
        say: Callable[[str], None] = print,
    ) -> None:
        self.root = root.resolve()
        self.airflow = airflow
        self.workers = workers
        self.airflow_settings = dict(airflow_settings or {})
        self.wanted_ports = wanted_ports or {}
        self.rekognition_url = rekognition_url
        self.say = say
        self.supervision = Supervision(self.root)

    @property
    def site(self) -> Site:
        """Ports and secrets of the stack, as its last start settled them.

        :raises StackError: it was never started
        """
        try:
            settled = json.loads((self.root / "ports.json").read_text())
            secret = json.loads((self.root / "secrets/secrets.json").read_text())
        except FileNotFoundError as error:
            raise StackError(f"There is no stack in {self.root}: `make demo` makes one") from error
        return Site(self.root, settled, secret, self.rekognition_url, self.workers, self.airflow_settings)

    def start(self) -> None:
        """Start what does not run, restart what has changed, and return when everything answers.

        :raises StackError: something is missing on the machine or does not start
        """
        check_system_libraries(servers.MONGOD)
        if self.workers:
            check_distributed_servers()
        for folder in ("documentdb", "s3", "airflow", "secrets"):
            (self.root / folder).mkdir(parents=True, exist_ok=True, mode=0o700)
        make_secrets(self.root / "secrets")
        certificates.make(self.root / "certificates")
        try:
            ports.settle(self.root / "ports.json", self.wanted_ports, self.supervision.listening(), self.say)
        except ports.PortTaken as error:
            raise StackError(str(error)) from error
        site = self.site
        base = [servers.documentdb(site), servers.s3(site)]
        if not self.rekognition_url:
            base.append(servers.rekognition(site))
        kind = servers
        if self.workers:
            kind = distributed
            distributed.prepare(site)
            base += [distributed.postgresql(site), distributed.redis(site)]
        airflow = kind.airflow(site) if self.airflow else []
        self.supervision.run(base, airflow)
        write_private(self.root / "env", render_exports(site.exports()))
        if airflow:
            if self.workers:
                self._wait(distributed.postgresql(site), distributed.postgresql_ready, site)
            self._migrate(kind.airflow_environment(site))
            self.supervision.start_dependants()
        for server in [*base, *airflow]:
            self._wait(server, _ready_check(server), site)

    def stop(self) -> int:
        """End what was started, and nothing else.

        :return: number of processes that were ended
        """
        return self.supervision.stop()

    def _migrate(self, environment: Mapping[str, str]) -> None:
        home = self.root / "airflow"
        done = home / ("migrated-postgresql" if self.workers else "migrated")
        version = metadata.version("apache-airflow")
        if done.is_file() and done.read_text() == version:
            return
        migration = subprocess.run(
            [sys.executable, "-m", "airflow", "db", "migrate"],
            env=self.supervision.environment() | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            umask=0o077,
        )
        (self.root / "logs/airflow-db-migrate.log").write_text(migration.stdout)
        if migration.returncode:
            raise StackError(f"`airflow db migrate` failed. The end of what it said:\n{migration.stdout[-2000:]}")
        if not self.workers:
            # In this mode, which the file remembers, readers and the one writer do not wait for each other.
            with contextlib.closing(sqlite3.connect(home / "airflow.db")) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
        done.write_text(version)

    def _wait(self, server: Server, ready: Callable[[Site], bool], site: Site, timeout: float = 300) -> None:
        start = looked = time.monotonic()
        while not ready(site):
            time.sleep(0.1)
            if time.monotonic() < looked + 2:
                continue
            looked = time.monotonic()
            state = self.supervision.states().get(server.name, "unknown")
            if state not in ("STARTING", "RUNNING") or looked > start + timeout:
                raise StackError(
                    f"{server.name} does not answer (its state is {state}). The end of its log, "
                    f"{self.supervision.log(server.name)}:\n{self.supervision.last_words(server.name)}"
                )


def check_system_libraries(program: Path) -> None:
    """See whether the machine has what a program is linked against.

    :raises StackError: a library is missing, or the program
    """
    if not program.is_file():
        raise StackError(f"{program} is not there: `make setup` fetches it")
    linked = subprocess.run(["/usr/bin/ldd", str(program)], capture_output=True, text=True, check=False).stdout
    if missing := [line.split()[0] for line in linked.splitlines() if "not found" in line]:
        packages = sorted({_PACKAGES_OF_LIBRARIES.get(library, library) for library in missing})
        raise StackError(
            f"{program.name} needs {', '.join(missing)}, which this machine lacks. This brings it:\n"
            f"    sudo apt-get install -y {' '.join(packages)}"
        )


def check_distributed_servers() -> None:
    """See whether the machine has the servers of an Airflow with workers.

    :raises StackError: one is missing
    """
    if missing := distributed.missing():
        raise StackError(
            "Several workers need servers that this machine lacks. This brings them:\n"
            f"    sudo apt-get install -y {' '.join(missing)}"
        )


def make_secrets(folder: Path) -> None:
    """Draw the stack's keys and passwords, once, and write the files in which servers expect theirs."""
    file = folder / "secrets.json"
    drawn = json.loads(file.read_text()) if file.is_file() else {}
    keys = (
        "documentdb_password",
        "replica_set_key",
        "seaweedfs_key",
        "airflow_api_key",
        "airflow_jwt_key",
        "postgresql_password",
        "redis_password",
    )
    drawn = {
        "aws_access_key_id": f"LOCAL{secrets.token_hex(8).upper()}",
        "aws_secret_access_key": secrets.token_urlsafe(30),
        "airflow_password": secrets.token_urlsafe(9),
        "airflow_fernet_key": Fernet.generate_key().decode(),
        **{name: secrets.token_hex(32) for name in keys},
        **drawn,
    }
    identity = {
        "name": "local",
        "credentials": [{"accessKey": drawn["aws_access_key_id"], "secretKey": drawn["aws_secret_access_key"]}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    write_private(file, json.dumps(drawn, indent=2) + "\n")
    write_private(folder / "s3.json", json.dumps({"identities": [identity]}))
    write_private(folder / "replica_set_key", drawn["replica_set_key"])
    write_private(folder / "postgresql_password", drawn["postgresql_password"])
    write_private(folder / "redis.conf", f"requirepass {drawn['redis_password']}\n")
    write_private(folder / "airflow_passwords.json", json.dumps({servers.AIRFLOW_USER: drawn["airflow_password"]}))


def render_exports(exports: Mapping[str, str]) -> str:
    """Return a shell file that exports the variables, whatever characters their values hold."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in exports.items())


def s3_ready(site: Site) -> bool:
    """Tell whether S3 answers and has the bucket."""
    client = boto3.client(
        "s3",
        endpoint_url=site.url("s3"),
        region_name=servers.REGION,
        aws_access_key_id=site.secrets["aws_access_key_id"],
        aws_secret_access_key=site.secrets["aws_secret_access_key"],
        config=Config(connect_timeout=1, read_timeout=5, retries={"total_max_attempts": 1}, proxies={}),
    )
    try:
        client.head_bucket(Bucket=servers.BUCKET)
    except (BotoCoreError, ClientError):
        return False
    return True


def rekognition_ready(site: Site) -> bool:
    """Tell whether the stand-in answers."""
    try:
        return httpx.get(f"{site.rekognition}/_health", trust_env=False, timeout=2).is_success
    except httpx.HTTPError:
        return False


def airflow_ready(site: Site) -> bool:
    """Tell whether Airflow's processes all say that they are well."""
    try:
        # What the tasks speak to is made at the first call, which may take longer than a task would wait.
        httpx.get(f"{site.url('airflow')}/execution/health", trust_env=False, timeout=60).raise_for_status()
        parts = httpx.get(f"{site.url('airflow')}/api/v2/monitor/health", trust_env=False, timeout=5).json()
    except (httpx.HTTPError, ValueError):
        return False
    needed = ("metadatabase", "scheduler", "triggerer", "dag_processor")
    return all(parts[part]["status"] == "healthy" for part in needed)


_READY = {
    "documentdb": database.ready,
    "s3": s3_ready,
    "rekognition": rekognition_ready,
    "postgresql": distributed.postgresql_ready,
    "redis": distributed.redis_ready,
    "airflow": airflow_ready,
    "airflow-worker": distributed.workers_ready,
}


def _ready_check(server: Server) -> Callable[[Site], bool]:
    """Return what tells whether a server is ready, its name being one of those above with a word or none after it."""
    return next(check for name, check in reversed(_READY.items()) if f"{server.name}-".startswith(f"{name}-"))


def show_status(stack: Stack) -> None:
    """Print a table of the servers, their states and addresses."""
    states = stack.supervision.states()
    if not states:
        print("Nothing runs; `make demo` starts the stack.")
        return
    site = stack.site
    print(f"{'SERVER':<24}{'STATE':<12}ADDRESS")
    for name, state in states.items():
        port = site.ports.get({"airflow-api-server": "airflow"}.get(name, name), "")
        print(f"{name:<24}{state:<12}{port and f'{ports.HOST}:{port}'}")
    print(f"\nLogs are in {stack.root / 'logs'}. `. .local/env` gives other tools addresses and logins.")


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=("stop", "status"))
    stack = Stack()
    if parser.parse_args().action == "status":
        show_status(stack)
    else:
        print(f"Ended {stack.stop()} processes.")


if __name__ == "__main__":
    main()
