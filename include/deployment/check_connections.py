"""Says for AWS, S3, Rekognition and DocumentDB what works, and names the permission that is missing.

Where things are comes from the environment, as ``. .local/env`` sets it for the local stack: ``IMAGE_LABELS_BUCKET``,
``IMAGE_LABELS_PREFIX``, ``DOCUMENTDB_URI`` and ``DOCUMENTDB_DATABASE``; credentials and endpoints as boto3 takes them.
``DOCUMENTDB_SECRET``, the name of the secret, goes in place of the last two. Nothing is left behind, and nothing paid.
"""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from image_labels.errors import ACTIONS
from image_labels.layout import Layout

TIMEOUT_MS = 10_000
DENIED = ("AccessDenied", "AccessDeniedException", "403", "Forbidden")


@dataclass(frozen=True)
class Finding:
    """What came of one check."""

    what: str
    works: bool
    message: str


def check(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what works and what does not."""
    session = boto3.Session()
    stand_in = any(name in environment for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"))
    if not stand_in:
        yield _try("AWS: who I am", lambda: session.client("sts").get_caller_identity()["Arn"])
    yield from _s3(session, environment)
    yield _try("Rekognition: DetectLabels", lambda: _detect_labels(session))
    yield from _documentdb(session, environment)


def _s3(session: boto3.Session, environment: Mapping[str, str]) -> Iterator[Finding]:
    bucket = environment.get("IMAGE_LABELS_BUCKET")
    if not bucket:
        yield Finding("S3", False, "IMAGE_LABELS_BUCKET is not set")
        return
    s3 = session.client("s3")
    layout = Layout(bucket, environment.get("IMAGE_LABELS_PREFIX", "image-labels"))
    key = layout.key("manifests", f"check-{uuid.uuid4().hex}")
    place = {"Bucket": bucket, "Key": key}
    yield _try(f"S3: write {layout.uri(key)}", lambda: s3.put_object(**place, Body=b"check"))
    yield _try("S3: read it", lambda: s3.get_object(**place)["Body"].read())
    yield _try("S3: list it", lambda: s3.list_objects_v2(Bucket=bucket, Prefix=key))
    yield _try("S3: delete it", lambda: s3.delete_object(**place))


def _detect_labels(session: boto3.Session) -> None:
    """Ask about what is no picture: who may not ask is told so before the service looks, and it costs nothing."""
    try:
        session.client("rekognition").detect_labels(Image={"Bytes": b"no picture"})
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("InvalidImageFormatException", "InvalidParameterException"):
            raise


def _documentdb(session: boto3.Session, environment: Mapping[str, str]) -> Iterator[Finding]:
    login: dict[str, str] = {}
    if secret := environment.get("DOCUMENTDB_SECRET"):
        found = _try("DocumentDB: its secret", lambda: login.update(from_secret(session, secret)))
        yield found
        if not found.works:
            return
    uri = login.get("uri") or environment.get("DOCUMENTDB_URI")
    if not uri:
        yield Finding("DocumentDB", False, "neither DOCUMENTDB_SECRET nor DOCUMENTDB_URI is set")
        return
    name = login.get("database") or environment.get("DOCUMENTDB_DATABASE", "image_labels")
    try:
        client: MongoClient[dict[str, Any]] = MongoClient(uri, serverSelectionTimeoutMS=TIMEOUT_MS)
    except (PyMongoError, OSError, ValueError) as error:
        yield Finding("DocumentDB", False, str(error))
        return
    with client:
        database = client[name]
        tls = client.options.pool_options._ssl_context is not None
        yield Finding("DocumentDB: TLS", tls, "" if tls else "the connection has it turned off")
        found = _try("DocumentDB: it answers", lambda: f"version {database.command('buildInfo')['version']}")
        yield found
        if found.works:
            collection = database[f"check_{uuid.uuid4().hex}"]
            yield _try(f"DocumentDB: log in and write to {name}", lambda: collection.insert_one({}))
            yield _try("DocumentDB: read", lambda: collection.find_one())
            yield _try("DocumentDB: delete", lambda: collection.drop())


def from_secret(session: boto3.Session, name: str) -> dict[str, str]:
    """Return the address of the database and its name, from the secret that Airflow's connection is."""
    secret = json.loads(session.client("secretsmanager").get_secret_value(SecretId=name)["SecretString"])
    extra = secret.get("extra", {})
    options = {"tls": "true", "retryWrites": "false", "replicaSet": extra.get("replicaSet", "rs0")}
    # Where Airflow's workers have it; elsewhere the environment says.
    options["tlsCAFile"] = os.environ.get("DOCUMENTDB_CA_FILE") or extra.get("tlsCAFile", "global-bundle.pem")
    login = f"{quote_plus(secret['username'])}:{quote_plus(secret['password'])}"
    query = "&".join(f"{option}={quote_plus(value)}" for option, value in options.items())
    return {"uri": f"mongodb://{login}@{secret['host']}:{secret['port']}/?{query}", "database": secret["database"]}


def _try(what: str, action: Callable[[], Any]) -> Finding:
    try:
        said = action()
        return Finding(what, True, said if isinstance(said, str) else "")
    except ClientError as error:
        problem = error.response["Error"]
        if problem.get("Code") in DENIED:
            return Finding(what, False, f"denied; allow {ACTIONS[error.operation_name]}")
        return Finding(what, False, f"{problem.get('Code')}: {problem.get('Message', 'no message')}")
    except OperationFailure as error:
        text = str((error.details or {}).get("errmsg", error))
        return Finding(what, False, f"{text} (give the user the role readWrite)" if error.code == 13 else text)
    except (BotoCoreError, PyMongoError, OSError) as error:
        return Finding(what, False, str(error))


def main() -> None:
    """Check, and end with 1 if something does not work."""
    works = True
    for finding in check(os.environ):
        works &= finding.works
        said = f": {finding.message}" if finding.message else ""
        print(f"{'ok    ' if finding.works else 'FAILS '} {finding.what}{said}", flush=True)
    sys.exit(not works)


if __name__ == "__main__":
    main()
