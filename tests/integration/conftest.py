"""The real servers, started once a session, and clients for them.

Every test has a bucket, a database and a collection of its own.
"""

from __future__ import annotations

import functools
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
import pymongo
import pytest
from botocore.config import Config
from pymongo import monitoring

import ports
import rekognition_guard
from documentdb_guard import GUARD
from stack import Stack

if TYPE_CHECKING:
    from pymongo.collection import Collection
    from pymongo.database import Database

    from servers import Site


# Every task makes sessions of its own, and each would read the services' models anew.
botocore.session.create_loader = functools.cache(botocore.session.create_loader)

# For every client made from now on, those of the operators included.
monitoring.register(GUARD)
rekognition_guard.install()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """mongod, SeaweedFS and the Rekognition stand-in, on free ports and in a folder of their own."""
    stack = Stack(
        tmp_path_factory.mktemp("stack"), airflow=False, wanted_ports=dict.fromkeys(ports.DEFAULTS, ports.ANY)
    )
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


@pytest.fixture(scope="session")
def site(stack: Stack) -> Site:
    """Addresses and logins of the servers."""
    return stack.site


@pytest.fixture(scope="session")
def s3(site: Site) -> Any:
    return _client(site, "s3", site.url("s3"))


@pytest.fixture(scope="session")
def rekognition(site: Site) -> Any:
    """A client that makes no retries of its own, so that each error is seen."""
    return _client(site, "rekognition", site.rekognition, retries={"total_max_attempts": 1})


@pytest.fixture
def bucket(s3: Any) -> Iterator[str]:
    """An empty bucket."""
    name = f"test-{uuid.uuid4().hex}"
    s3.create_bucket(Bucket=name)
    yield name
    # SeaweedFS deletes what is in it as well.
    s3.delete_bucket(Bucket=name)


@pytest.fixture(scope="session")
def mongo(site: Site) -> Iterator[pymongo.MongoClient[dict[str, Any]]]:
    with pymongo.MongoClient(site.documentdb_uri, tz_aware=True) as client:
        yield client


@pytest.fixture
def database(mongo: pymongo.MongoClient[dict[str, Any]]) -> Iterator[Database[dict[str, Any]]]:
    """An empty database."""
    name = f"test_{uuid.uuid4().hex}"
    yield mongo[name]
    mongo.drop_database(name)


@pytest.fixture
def collection(database: Database[dict[str, Any]]) -> Collection[dict[str, Any]]:
    """The empty collection ``images``."""
    return database["images"]


@pytest.fixture(autouse=True)
def speaks_documentdb() -> Iterator[None]:
    """Fail a test in which any client sent what Amazon DocumentDB 5.0 or 8.0 does not know."""
    GUARD.violations.clear()
    yield
    assert not GUARD.violations


@pytest.fixture(autouse=True)
def answers_as_rekognition() -> Iterator[None]:
    """Fail a test in which DetectLabels was answered in a way that the service would not."""
    rekognition_guard.violations.clear()
    yield
    assert not rekognition_guard.violations


def _client(site: Site, service: str, url: str, **options: Any) -> Any:
    return boto3.client(
        service,
        endpoint_url=url,
        region_name=site.exports()["AWS_DEFAULT_REGION"],
        aws_access_key_id=site.secrets["aws_access_key_id"],
        aws_secret_access_key=site.secrets["aws_secret_access_key"],
        config=Config(proxies={}, **options),
    )
