"""What has to be made once before the stand-ins of docker-compose.yaml serve: run in containers of the project's image.

``prepare.py certificates | database | bucket``. Each may be run again.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "local"))

import certificates
import database
from servers import Site

HOST = "documentdb"
PORT = 27017
CERTIFICATES = Path("/opt/certificates")
AUTHORITY = Path("/opt/authority")


def make_certificates() -> None:
    """Make the database's certificate, and lay that of its authority where all can read it."""
    certificates.make(CERTIFICATES, names=[HOST])
    shutil.copyfile(CERTIFICATES / certificates.AUTHORITY, AUTHORITY / certificates.AUTHORITY)
    # For mongod, which is of the same group.
    (CERTIFICATES / certificates.SERVER).chmod(0o640)


def make_database() -> None:
    """Make the replica set and the user, and wait until the database takes writes.

    :raises TimeoutError: it does not within two minutes
    """
    site = Site(CERTIFICATES.parent, {"documentdb": PORT}, {"documentdb_password": os.environ["DOCUMENTDB_PASSWORD"]})
    deadline = time.monotonic() + 120
    while not database.ready(site, member=HOST):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{HOST} has no primary: see `docker compose logs {HOST}`")
        time.sleep(1)


def make_bucket() -> None:
    """Make the pipeline's bucket, if it is not there."""
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    bucket = os.environ["AIRFLOW_VAR_IMAGE_LABELS_BUCKET"]
    hook = S3Hook("aws_default")
    if not hook.check_for_bucket(bucket):
        hook.create_bucket(bucket)


if __name__ == "__main__":
    {"certificates": make_certificates, "database": make_database, "bucket": make_bucket}[sys.argv[1]]()
