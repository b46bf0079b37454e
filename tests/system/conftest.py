"""The whole stack with Airflow under its scheduler, started once a session in a folder of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pymongo
import pytest
from moto.server import ThreadedMotoServer
from xdist.scheduler import LoadScopeScheduling

import album
import ports
import servers
from airflow_client import Dag
from dag_runs import AT_ONCE, finish, start
from stack import Stack

if TYPE_CHECKING:
    from servers import Site

OF_THEIR_OWN = ("test_bare_install.py", "test_distributed.py")
"""Have servers of their own, or none."""


class TwoParts(LoadScopeScheduling):
    """Gives the tests on the session's stack to one process, in order, and the others to another one."""

    def _split_scope(self, nodeid: str) -> str:
        return "others" if nodeid.partition("::")[0].endswith(OF_THEIR_OWN) else "on the stack"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> TwoParts:
    return TwoParts(config, log)


@pytest.fixture(scope="session")
def aws() -> Iterator[str]:
    """The address of what stands in for Amazon SNS and SQS, which the local stack has no need of."""
    server = ThreadedMotoServer(ip_address=ports.HOST, port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, aws: str) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("stack"), airflow=True, wanted_ports=dict.fromkeys(ports.DEFAULTS, ports.ANY))
    environment = servers.airflow_environment
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(servers, "airflow_environment", lambda site: environment(site) | {"AWS_ENDPOINT_URL_SNS": aws})
        try:
            stack.start()
            yield stack
        finally:
            stack.stop()


@pytest.fixture(scope="session")
def site(stack: Stack) -> Site:
    return stack.site


@pytest.fixture(scope="session")
def demo_album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's photographs, with two files that are none."""
    folder = tmp_path_factory.mktemp("photos") / "album"
    album.build(folder)
    return folder


@pytest.fixture(scope="session")
def collection(site: Site) -> Iterator[Any]:
    with images_of(site) as collection:
        yield collection


@pytest.fixture(scope="session")
def s3(site: Site) -> Any:
    return s3_of(site)


@contextmanager
def images_of(site: Site) -> Iterator[Any]:
    """Connect to the documents of a stack."""
    exports = site.exports()
    with pymongo.MongoClient(site.documentdb_uri, tz_aware=True) as client:
        yield client[exports["DOCUMENTDB_DATABASE"]][exports["DOCUMENTDB_COLLECTION"]]


def s3_of(site: Site) -> Any:
    """Return a client for the S3 of a stack."""
    exports = site.exports()
    return boto3.client(
        "s3",
        endpoint_url=exports["AWS_ENDPOINT_URL_S3"],
        region_name=exports["AWS_DEFAULT_REGION"],
        aws_access_key_id=exports["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=exports["AWS_SECRET_ACCESS_KEY"],
    )


@pytest.fixture
def dag(site: Site) -> Iterator[Dag]:
    """The daily DAG, switched on while the test lasts."""
    yield from _switched_on(site, "image_labels")


@pytest.fixture
def rebuild_dag(site: Site) -> Iterator[Dag]:
    yield from _switched_on(site, "image_labels_rebuild")


def _switched_on(site: Site, dag_id: str) -> Iterator[Dag]:
    dag = Dag(site, dag_id)
    yield dag
    dag.pause(True)


@pytest.fixture(scope="session")
def first_run(site: Site, demo_album: Path) -> tuple[Dag, str]:
    """A run over the demo album."""
    dag = Dag(site, "image_labels")
    run_id = start(dag, landing=str(demo_album), **AT_ONCE)
    assert finish(dag, run_id) == "success"
    return dag, run_id
