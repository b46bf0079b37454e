"""A connection as an operator of Airflow enters it, and what is said when it is wrong."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import MongoClient, ReadPreference
from pymongo.errors import ServerSelectionTimeoutError

from image_labels.errors import BadSettings
from image_labels.hooks.documentdb import DocumentDBHook
from servers import airflow_environment

if TYPE_CHECKING:
    from servers import Site

Connect = Callable[..., DocumentDBHook]


@pytest.fixture
def given(site: Site) -> dict[str, Any]:
    """The connection to the server with only what it needs."""
    connection: dict[str, Any] = json.loads(airflow_environment(site)["AIRFLOW_CONN_DOCUMENTDB_DEFAULT"])
    connection["extra"] = {"tlsCAFile": connection["extra"]["tlsCAFile"], "serverSelectionTimeoutMS": 1000}
    return connection


@pytest.fixture
def connect(given: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Return the hook of a connection that differs from the right one by fields, and in ``extra`` by options."""

    def connect(extra: dict[str, Any] | None = None, **fields: Any) -> DocumentDBHook:
        options = {name: value for name, value in (given["extra"] | (extra or {})).items() if value is not None}
        monkeypatch.setenv("AIRFLOW_CONN_MY_CLUSTER", json.dumps(given | fields | {"extra": options}))
        return DocumentDBHook("my_cluster")

    return connect


def options_of(client: MongoClient[Any]) -> dict[str, Any]:
    return {"tls": client.options.pool_options._ssl_context is not None, "retryWrites": client.options.retry_writes}


def test_what_documentdb_needs_is_the_default(connect: Connect) -> None:
    with connect() as hook:
        assert options_of(hook.get_conn()) == {"tls": True, "retryWrites": False}
        assert hook.test_connection() == (True, "Connected to 127.0.0.1, database image_labels")


def test_the_database_is_the_schema_and_is_read_from_the_primary(connect: Connect) -> None:
    name = f"test_{uuid.uuid4().hex}"
    with connect({"readPreference": "secondaryPreferred", "replicaSet": "rs0"}, schema=name) as hook:
        hook.database["images"].insert_one({"_id": 1})
        assert hook.database.name == name
        assert hook.database.read_preference == ReadPreference.PRIMARY
        assert hook.get_conn().read_preference == ReadPreference.SECONDARY_PREFERRED
        assert hook.database["images"].find_one() == {"_id": 1}
        hook.get_conn().drop_database(name)


def test_the_client_is_closed_with_its_context(connect: Connect) -> None:
    with connect() as hook:
        client = hook.get_conn()
        assert hook.get_conn() is client
    assert client._closed


def test_login_and_password_may_hold_any_character(connect: Connect) -> None:
    """They reach the server as they are, which does not know them."""
    with connect(login="a/b@c", password="p@ss:w/rd%?#&+ü") as hook:
        assert hook.test_connection() == (False, "The server is there but refused: Authentication failed.")


# --- what is wrong is said ---


def test_a_wrong_password_is_told_from_an_absent_server(connect: Connect, given: dict[str, Any]) -> None:
    with connect(password="wrong") as hook:
        assert hook.test_connection() == (False, "The server is there but refused: Authentication failed.")
    with connect(port=1) as hook:
        answered, message = hook.test_connection()
        assert not answered
        assert message.startswith("No server answered at 127.0.0.1:1: ")


def test_a_missing_ca_file_is_named_with_where_to_get_it(connect: Connect, tmp_path: Path) -> None:
    missing = str(tmp_path / "global-bundle.pem")
    with pytest.raises(BadSettings) as error:
        connect({"tlsCAFile": missing})
    message = str(error.value)
    assert "'my_cluster'" in message
    assert missing in message
    assert "https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem" in message


def test_a_file_that_holds_no_certificates_is_an_error_of_the_connection(connect: Connect, tmp_path: Path) -> None:
    file = tmp_path / "bundle.pem"
    file.write_text("<html>not found</html>")
    with connect({"tlsCAFile": str(file)}) as hook, pytest.raises(BadSettings, match="'my_cluster'"):
        hook.get_conn()


@pytest.mark.parametrize("field", ["schema", "host"])
@pytest.mark.parametrize("value", ["", None], ids=["empty", "absent"])
def test_a_field_that_is_missing_is_named(connect: Connect, field: str, value: str | None) -> None:
    with pytest.raises(BadSettings, match=f"'my_cluster' has no {field}; set it to"):
        connect(**{field: value})


@pytest.mark.parametrize("extra", [{"ssl_ca_certs": "x.pem"}, {"readPreference": "nearby"}], ids=str)
def test_an_option_that_the_driver_does_not_know_is_an_error_of_the_connection(
    connect: Connect, extra: dict[str, Any]
) -> None:
    with connect(extra) as hook, pytest.raises(BadSettings, match="Connection 'my_cluster': "):
        hook.get_conn()


# --- TLS is never lost ---


@pytest.mark.parametrize(
    "extra",
    [{"ssl": True}, {"ssl": "true"}, {"tls": True}, {"tls": "True"}, {"ssl": True, "allow_insecure": False}],
    ids=str,
)
def test_tls_is_on_however_it_is_written(connect: Connect, extra: dict[str, Any]) -> None:
    with connect(extra) as hook:
        assert options_of(hook.get_conn())["tls"]
        assert hook.test_connection()[0]


@pytest.mark.parametrize("extra", [{"ssl": True}, {"tls": True}, {}], ids=["ssl", "tls", "by default"])
def test_allowing_any_certificate_leaves_tls_on(connect: Connect, extra: dict[str, Any]) -> None:
    """``{"ssl": true, "allow_insecure": true}`` makes the provider's own hook speak without TLS."""
    with connect({**extra, "allow_insecure": True, "tlsCAFile": None}) as hook:
        assert options_of(hook.get_conn())["tls"]
        assert hook.test_connection()[0]


def test_a_certificate_of_an_unknown_authority_is_refused(connect: Connect) -> None:
    with connect({"tlsCAFile": None}) as hook:
        answered, message = hook.test_connection()
        assert not answered
        assert "CERTIFICATE_VERIFY_FAILED" in message


def test_tls_is_off_only_when_it_is_turned_off(connect: Connect) -> None:
    with connect({"tls": False, "tlsCAFile": None}) as hook:
        assert not options_of(hook.get_conn())["tls"]
        with pytest.raises(ServerSelectionTimeoutError):
            hook.database.command("ping")


@pytest.mark.parametrize("extra", [{"tls": False}, {"ssl": "false"}], ids=str)
def test_allowing_any_certificate_without_tls_is_a_contradiction(connect: Connect, extra: dict[str, Any]) -> None:
    with pytest.raises(BadSettings, match="allow_insecure says nothing where TLS is off"):
        connect({**extra, "allow_insecure": True})


def test_retryable_writes_may_be_turned_on_for_engines_that_have_them(connect: Connect) -> None:
    with connect({"retryWrites": "true"}) as hook:
        assert options_of(hook.get_conn())["retryWrites"]
