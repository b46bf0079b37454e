"""The notebook's way to the database; the rest of it runs in tests/system."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pymongo
import pytest
from botocore.stub import Stubber

from image_labels import notebook


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URI", "SECRET", "CA_FILE", "DATABASE", "COLLECTION"):
        monkeypatch.delenv(f"DOCUMENTDB_{name}", raising=False)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the client of the database is made with; none is connected."""
    given: dict[str, Any] = {}
    real = pymongo.MongoClient

    def client(*address: str, **options: Any) -> Any:
        given.update({"address": address, **options})
        return real("mongodb://127.0.0.1:1", connect=False)

    monkeypatch.setattr(pymongo, "MongoClient", client)
    return given


def test_the_local_stack_s_address_is_all_it_takes(monkeypatch: pytest.MonkeyPatch, given: dict[str, Any]) -> None:
    monkeypatch.setenv("DOCUMENTDB_URI", "mongodb://127.0.0.1:27017/?tls=true")
    monkeypatch.setenv("DOCUMENTDB_DATABASE", "photos")
    assert notebook.collection().full_name == "photos.images"
    assert given == {"address": ("mongodb://127.0.0.1:27017/?tls=true",), "tz_aware": True}


def test_on_sagemaker_the_login_comes_from_secrets_manager(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any]
) -> None:
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "y"}
    secrets = boto3.client("secretsmanager", region_name="eu-west-1", **keys)
    held = {"username": "reader", "password": "p@ss/word", "host": "cluster.example", "port": 27018, "engine": "mongo"}
    monkeypatch.setenv("DOCUMENTDB_SECRET", "image-labels/documentdb")
    monkeypatch.setattr(boto3, "client", lambda service: {"secretsmanager": secrets}[service])
    with Stubber(secrets) as stub:
        stub.add_response(
            "get_secret_value", {"SecretString": json.dumps(held)}, {"SecretId": "image-labels/documentdb"}
        )
        assert notebook.collection().full_name == "image_labels.images"
    assert given == {
        "address": (), "tz_aware": True, "host": "cluster.example", "port": 27018, "username": "reader",
        "password": "p@ss/word", "tls": True, "tlsCAFile": "global-bundle.pem", "replicaSet": "rs0",
        "readPreference": "secondaryPreferred", "retryWrites": False,
    }  # fmt: skip


def test_without_settings_it_says_which_one_is_missing() -> None:
    with pytest.raises(KeyError, match="DOCUMENTDB_SECRET"):
        notebook.collection()
