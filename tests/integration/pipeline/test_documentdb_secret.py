"""The connection in Secrets Manager as the template makes it, and its password changed while somebody is at work.

Secrets Manager is moto's, DocumentDB the real mongod.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from airflow.sdk import Variable
from moto import mock_aws
from pymongo.errors import OperationFailure

from image_labels.hooks.documentdb import DocumentDBHook

if TYPE_CHECKING:
    from pymongo import MongoClient
    from pymongo.database import Database

    from conftest import StandIn
    from pipeline import Pipeline
    from servers import Site

NAME = "album/connections/documentdb_default"


@pytest.fixture
def user(mongo: MongoClient[dict[str, Any]]) -> Iterator[str]:
    """A user of the database with the password ``old``."""
    name = f"test_{uuid.uuid4().hex}"
    mongo.admin.command("createUser", name, pwd="old", roles=["readWriteAnyDatabase"])
    yield name
    mongo.admin.command("dropUser", name)


@pytest.fixture
def secret(
    site: Site, user: str, database: Database[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], None]]:
    """Airflow looks for its connections in Secrets Manager; a function that sets the password in the secret."""
    kwargs = {
        "connections_prefix": "album/connections", "connections_lookup_pattern": "^documentdb_default$",
        "variables_prefix": "album/variables", "variables_lookup_pattern": "^image_labels_", "config_prefix": None,
    }  # fmt: skip
    backend = "airflow.providers.amazon.aws.secrets.secrets_manager.SecretsManagerBackend"
    monkeypatch.delenv("AIRFLOW_CONN_DOCUMENTDB_DEFAULT", raising=False)
    monkeypatch.setenv("AIRFLOW__SECRETS__BACKEND", backend)
    monkeypatch.setenv("AIRFLOW__SECRETS__BACKEND_KWARGS", json.dumps(kwargs))
    for name, value in {"ACCESS_KEY_ID": "x", "SECRET_ACCESS_KEY": "x", "DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    with mock_aws():
        client = boto3.client("secretsmanager")
        content = {
            "username": user, "password": "old", "database": database.name, "engine": "mongo", "ssl": True,
            "host": "127.0.0.1", "port": site.ports["documentdb"], "dbClusterIdentifier": "album",
            "extra": {name: site.documentdb_options[name] for name in ("tlsCAFile", "replicaSet", "readPreference")},
        }  # fmt: skip
        client.create_secret(Name=NAME, SecretString=json.dumps(content))
        client.create_secret(Name="album/variables/image_labels_bucket", SecretString="photos")

        def set_password(password: str) -> None:
            client.put_secret_value(SecretId=NAME, SecretString=json.dumps(content | {"password": password}))

        yield set_password


@pytest.mark.usefixtures("secret")
def test_the_secret_is_the_connection(user: str, database: Database[dict[str, Any]]) -> None:
    """Without ``ssl``, which the backend drops; TLS is on without it."""
    with DocumentDBHook() as hook:
        assert (hook.connection.login, hook.connection.schema) == (user, database.name)
        assert hook.connection.extra_dejson.keys() == {"tlsCAFile", "replicaSet", "readPreference"}
        assert hook.get_conn().options.pool_options._ssl_context is not None
        assert hook.test_connection() == (True, f"Connected to 127.0.0.1, database {database.name}")


@pytest.mark.usefixtures("secret")
def test_the_variables_are_there_as_well() -> None:
    assert Variable.get("image_labels_bucket") == "photos"
    assert Variable.get("image_labels_prefix", default="image-labels") == "image-labels"


def test_who_is_at_work_goes_on_when_the_password_is_changed(
    secret: Callable[[str], None], user: str, mongo: MongoClient[dict[str, Any]]
) -> None:
    with DocumentDBHook() as hook:
        collection = hook.database[f"test_{uuid.uuid4().hex}"]
        collection.insert_one({"_id": 1})
        mongo.admin.command("updateUser", user, pwd="new")
        secret("new")
        # What is open stays open: a new connection is what the password is needed for.
        hook.get_conn()._topology._servers[("127.0.0.1", hook.connection.port)].pool.reset()
        assert collection.find_one() == {"_id": 1}
        collection.drop()


def test_a_run_goes_on_when_the_password_is_changed_meanwhile(
    pipeline: Pipeline,
    secret: Callable[[str], None],
    user: str,
    mongo: MongoClient[dict[str, Any]],
    collection: Any,
    land_many: Callable[..., None],
    stand_in: StandIn,
) -> None:
    """While images are analysed; the tasks after that log in anew."""
    land_many(40)
    with ThreadPoolExecutor(1) as at_once:
        run = at_once.submit(pipeline.run, quota=20)
        while stand_in.answers < 5:
            assert not run.done(), run.result()
            time.sleep(0.05)
        mongo.admin.command("updateUser", user, pwd="new")
        secret("new")
        assert stand_in.answers < 40
        books = run.result()
    assert books["analyse"]["called"] == books["ingest"]["ingested"] == collection.count_documents({}) == 40


@pytest.mark.usefixtures("secret")
def test_a_password_that_is_only_wrong_is_said(mongo: MongoClient[dict[str, Any]], user: str) -> None:
    mongo.admin.command("updateUser", user, pwd="new")
    with DocumentDBHook() as hook, pytest.raises(OperationFailure, match="Authentication failed"):
        hook.database["images"].find_one()
