"""What Airflow on several machines has besides: PostgreSQL, Redis and Celery workers.

Here all of them are processes of one machine, but the workers could be anywhere: each has a home of its own, and they
share no file but the code and the certificate of the database's authority. What one leaves for another is in S3 and the
databases, the logs of its tasks too. Why the settings are as they are is told in docs/distributed.md.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import servers
from ports import HOST
from servers import BUCKET, Server, Site

TASKS_AT_ONCE = 4
"""Of each worker."""

_PACKAGES = {"initdb": "postgresql", "postgres": "postgresql", "redis-server": "redis-server"}

# PostgreSQL refuses root. So it is nobody then, with that right of root's by which it gets into the stack's folder.
_NOBODY = "setpriv --reuid=nobody --regid=nogroup --clear-groups --inh-caps=+dac_override --ambient-caps=+dac_override"


def missing() -> list[str]:
    """Return the Debian packages of the servers that this machine lacks."""
    return sorted({package for name, package in _PACKAGES.items() if _program(name) is None})


def prepare(site: Site) -> None:
    """Make the workers' folders and, if it is not there, PostgreSQL's data folder with its user.

    :raises subprocess.CalledProcessError: the data folder cannot be made
    """
    (site.root / "redis").mkdir(exist_ok=True, mode=0o700)
    for number in range(1, site.workers + 1):
        (_home(site, number) / "tmp").mkdir(exist_ok=True, parents=True, mode=0o700)
    if (site.root / "postgresql/PG_VERSION").is_file():
        return
    subprocess.run(
        [
            *_unprivileged(),
            str(_program("initdb")),
            "--pgdata=postgresql",
            f"--username={servers.POSTGRESQL_USER}",
            "--pwfile=secrets/postgresql_password",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--no-locale",
        ],
        cwd=site.root,
        check=True,
        stdout=subprocess.DEVNULL,
    )


def postgresql(site: Site) -> Server:
    """Return PostgreSQL, for what Airflow itself remembers."""
    command = [str(_program("postgres")), "-D", "postgresql", "-h", HOST, "-p", str(site.ports["postgresql"]), "-k", ""]
    return Server("postgresql", [*_unprivileged(), *command], port="postgresql")


def redis(site: Site) -> Server:
    """Return Redis, the queue between scheduler and workers: what it has taken it still has when it was killed."""
    options = {
        "bind": HOST,
        "port": str(site.ports["redis"]),
        "dir": "redis",
        "appendonly": "yes",
        "appendfsync": "always",
        # It would write its title over the mark by which the stack's processes are known.
        "set-proc-title": "no",
    }
    arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
    return Server("redis", [str(_program("redis-server")), "secrets/redis.conf", *arguments], port="redis")


def airflow(site: Site) -> list[Server]:
    """Return Airflow's four processes and the workers."""
    environment = airflow_environment(site)
    processes = [replace(server, environment=environment) for server in servers.airflow(site)]
    return [*processes, *(_worker(site, number, environment) for number in range(1, site.workers + 1))]


def _worker(site: Site, number: int, environment: dict[str, str]) -> Server:
    home = _home(site, number)
    # They are told apart by this name, for the machine's is the same.
    options = ["--skip-serve-logs", f"--celery-hostname=worker-{number}"]
    return Server(
        f"airflow-worker-{number}",
        [sys.executable, "-m", "airflow", "celery", "worker", *options],
        environment | {"AIRFLOW_HOME": str(home), "TMPDIR": str(home / "tmp")},
        # It would wait for running tasks, which others take up again.
        stop_seconds=8,
    )


def _home(site: Site, number: int) -> Path:
    return site.root / "workers" / str(number)


def airflow_environment(site: Site) -> dict[str, str]:
    """Return the settings and connections of every Airflow process."""
    settings = {
        ("core", "executor"): "CeleryExecutor",
        ("core", "parallelism"): site.workers * TASKS_AT_ONCE,
        ("database", "sql_alchemy_conn"): site.postgresql_uri,
        ("celery", "broker_url"): site.redis_uri,
        ("celery", "worker_concurrency"): TASKS_AT_ONCE,
        ("celery", "worker_prefetch_multiplier"): 1,
        ("celery", "task_acks_late"): True,
        ("celery_broker_transport_options", "visibility_timeout"): 86_400,
        ("scheduler", "task_queued_timeout"): 120,
        # A web server that is busy, or was started anew, must not cost a task.
        ("workers", "execution_api_timeout"): 30,
        # A worker takes its logs with it.
        ("logging", "remote_logging"): True,
        ("logging", "remote_base_log_folder"): f"s3://{BUCKET}/airflow-logs",
        ("logging", "remote_log_conn_id"): "aws_default",
        ("image_labels", "uploads_at_once"): max(2, site.workers),
    }
    return {
        **servers.airflow_environment(site),
        **servers.airflow_variables(settings | site.airflow_settings),
        "AIRFLOW_VAR_IMAGE_LABELS_LANDING": f"s3://{BUCKET}/landing",
    }


def postgresql_ready(site: Site) -> bool:
    """Tell whether PostgreSQL answers."""
    import psycopg2

    try:
        psycopg2.connect(site.postgresql_uri.replace("+psycopg2", ""), connect_timeout=2).close()
    except psycopg2.OperationalError:
        return False
    return True


def redis_ready(site: Site) -> bool:
    """Tell whether Redis answers."""
    from redis import Redis, RedisError

    try:
        with Redis.from_url(site.redis_uri, socket_timeout=2) as client:
            return bool(client.ping())
    except RedisError:
        return False


def workers_ready(site: Site) -> bool:
    """Tell whether all workers take tasks."""
    from celery import Celery
    from kombu.exceptions import OperationalError
    from redis import RedisError

    try:
        with Celery(broker=site.redis_uri) as queue:
            answers = queue.control.ping(timeout=1, limit=site.workers)
    except (OperationalError, RedisError):
        return False
    return len(answers) == site.workers


def _program(name: str) -> str | None:
    """Return a server's program, also where Debian keeps it out of the path."""
    debian = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), *debian]))


def _unprivileged() -> list[str]:
    return _NOBODY.split() if os.geteuid() == 0 else []
