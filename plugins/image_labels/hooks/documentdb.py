"""Amazon DocumentDB (with MongoDB compatibility)."""

from __future__ import annotations

import os
import ssl
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.mongo.hooks.mongo import MongoHook

from image_labels.errors import BadSettings

if TYPE_CHECKING:
    from pymongo import MongoClient
    from pymongo.database import Database

CA_BUNDLE = "https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem"


class DocumentDBHook(MongoHook):
    """Interact with DocumentDB.

    Each time that the driver opens a connection it logs in with the password that the Airflow connection has then, so
    that a password may be rotated while a task is at work.

    A connection of type ``mongo`` needs host, port, login, password, schema (the database) and the extra ``tlsCAFile``;
    what DocumentDB needs besides is the default: TLS on, retryable writes off. ``{"tls": false}`` turns TLS off.

    :param documentdb_conn_id: the Airflow connection

    .. seealso:: https://docs.aws.amazon.com/documentdb/latest/developerguide/connect_programmatically.html
    """

    conn_name_attr = "documentdb_conn_id"
    default_conn_name = "documentdb_default"
    hook_name = "Amazon DocumentDB"

    def __init__(self, documentdb_conn_id: str = default_conn_name) -> None:
        super().__init__(documentdb_conn_id)
        given = self.connection.extra_dejson
        if not self.connection.host:
            raise BadSettings(f"Connection {documentdb_conn_id!r} has no host; set it to the cluster's endpoint")
        if not self.connection.schema:
            raise BadSettings(f"Connection {documentdb_conn_id!r} has no schema; set it to the name of the database")
        tls = str(given.get("tls", given.get("ssl", True))).lower() == "true"
        # MongoHook forgets it where TLS is on by default only.
        self.allow_insecure = str(given.get("allow_insecure", False)).lower() == "true"
        if not tls and self.allow_insecure:
            raise BadSettings(
                f"Connection {documentdb_conn_id!r}: allow_insecure says nothing where TLS is off; remove it"
            )
        self.extras.pop("ssl", None)
        self.extras["tls"] = tls
        self.extras["retryWrites"] = str(given.get("retryWrites", False)).lower() == "true"
        # Users live in admin; with a database in the address the driver would look for them there.
        self.extras.setdefault("authSource", "admin")
        self.extras.setdefault("serverSelectionTimeoutMS", 20_000)
        ca_file = self.extras.get("tlsCAFile")
        if tls and ca_file and not os.path.isfile(ca_file):
            raise BadSettings(
                f"Connection {documentdb_conn_id!r}: its tlsCAFile {ca_file!r} is not there; "
                f"for DocumentDB fetch {CA_BUNDLE}"
            )

    def get_conn(self) -> MongoClient[dict[str, Any]]:
        """Return the client.

        :raises BadSettings: if the connection's settings make no client
        """
        from pymongo.errors import ConfigurationError

        if self.client is not None:
            return self.client
        try:
            client = super().get_conn()
            self._log_in_anew(client)
            return client
        except (ConfigurationError, ssl.SSLError, TypeError, ValueError) as error:
            raise BadSettings(f"Connection {self.mongo_conn_id!r}: {error}") from error

    def _log_in_anew(self, client: MongoClient[dict[str, Any]]) -> None:
        """Let the driver ask for the password whenever it needs it."""
        options = client.options.pool_options
        credentials = options._credentials
        if credentials is None:
            return

        class Login(type(credentials)):  # type: ignore[misc]
            password = property(lambda _: self.get_connection(self.mongo_conn_id).password)

        # The driver takes a function only for logins that DocumentDB does not have.
        options._PoolOptions__credentials = Login(*credentials)  # type: ignore[attr-defined]

    @cached_property
    def database(self) -> Database[dict[str, Any]]:
        """The database that the connection's schema names, read from the primary.

        A secondary may not have yet what the task before has written. The connection's ``readPreference`` holds for
        those who take the client.
        """
        from pymongo import ReadPreference

        return self.get_conn().get_database(str(self.connection.schema), read_preference=ReadPreference.PRIMARY)

    def test_connection(self) -> tuple[bool, str]:
        """Tell whether the database answers, and what is wrong where it does not."""
        from pymongo.errors import ConnectionFailure, OperationFailure

        try:
            self.database.command("ping")
        except OperationFailure as error:
            return False, f"The server is there but refused: {error.details and error.details.get('errmsg', error)}"
        except ConnectionFailure as error:
            return False, f"No server answered at {self.connection.host}:{self.connection.port or 27017}: {error}"
        return True, f"Connected to {self.connection.host}, database {self.connection.schema}"
