"""The database server after its start: a replica set of one member, and the user."""

from __future__ import annotations

from typing import Any

from pymongo import MongoClient
from pymongo.errors import AutoReconnect, OperationFailure

from certificates import AUTHORITY
from ports import HOST
from servers import DOCUMENTDB_USER, Site

_AUTHENTICATION_FAILED = 18
_ALREADY_INITIALIZED = 23
_NOT_YET_INITIALIZED = 94
# What a DocumentDB user of the pipeline's may do, and for the stack itself: to give the replica set another address.
_ROLES = ("readWriteAnyDatabase", "dbAdminAnyDatabase", "userAdminAnyDatabase", "clusterAdmin")


def ready(site: Site, member: str = HOST) -> bool:
    """Tell whether the database takes writes; take the next step towards it if not.

    :param site: where it is
    :param member: the name under which clients find it
    :raises pymongo.errors.OperationFailure: the database refuses a step
    """
    try:
        with _client(site, username=DOCUMENTDB_USER, password=site.secrets["documentdb_password"]) as client:
            hello = client.admin.command("hello")
            if "setName" not in hello:
                # On another port than the last time, it does not find itself in its own replica set.
                client.admin.command("replSetReconfig", _replica_set(site, member), force=True)
            return bool(hello.get("isWritablePrimary"))
    except AutoReconnect:
        # Not there yet; also what a server that cannot be selected raises.
        pass
    except OperationFailure as error:
        if error.code == _AUTHENTICATION_FAILED:
            _found(site, member)
        elif error.code != _NOT_YET_INITIALIZED:
            raise
    return False


def _found(site: Site, member: str) -> None:
    """Make the replica set and the user, which a client on the same machine may do as long as there is no user."""
    with _client(site) as client:
        try:
            client.admin.command("replSetInitiate", _replica_set(site, member))
        except OperationFailure as error:
            if error.code != _ALREADY_INITIALIZED:
                raise
        if client.admin.command("hello").get("isWritablePrimary"):
            password = site.secrets["documentdb_password"]
            client.admin.command("createUser", DOCUMENTDB_USER, pwd=password, roles=list(_ROLES))


def _replica_set(site: Site, member: str) -> dict[str, Any]:
    return {"_id": "rs0", "version": 1, "members": [{"_id": 0, "host": f"{member}:{site.ports['documentdb']}"}]}


def _client(site: Site, **login: str) -> MongoClient[dict[str, Any]]:
    return MongoClient(
        HOST,
        site.ports["documentdb"],
        tls=True,
        tlsCAFile=str(site.root / "certificates" / AUTHORITY),
        directConnection=True,
        serverSelectionTimeoutMS=1000,
        **login,
    )
