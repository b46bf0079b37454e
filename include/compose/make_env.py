"""Draw the passwords and keys of docker-compose.yaml and write them into ``.env``, which only its owner can read.

It needs nothing but Python. What the real services take in place of a stand-in is said in docs/compose.md.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys
from pathlib import Path

ENV = Path(__file__).resolve().parents[2] / ".env"
BUCKET = "image-labels"


def settings() -> dict[str, str]:
    """Return the settings of a stack on its own, each secret newly drawn."""
    drawn = {
        name: secrets.token_hex(24)
        for name in (
            "AIRFLOW_PASSWORD",
            "AIRFLOW_API_KEY",
            "AIRFLOW_JWT_KEY",
            "POSTGRES_PASSWORD",
            "REDIS_PASSWORD",
            "DOCUMENTDB_PASSWORD",
            "REPLICA_SET_KEY",
            "S3_ACCESS_KEY_ID",
            "S3_SECRET_ACCESS_KEY",
        )
    }
    aws = {
        "conn_type": "aws",
        "login": drawn["S3_ACCESS_KEY_ID"],
        "password": drawn["S3_SECRET_ACCESS_KEY"],
        "extra": {
            "region_name": "us-east-1",
            "service_config": {
                "s3": {"endpoint_url": "http://s3:8333"},
                "rekognition": {"endpoint_url": "http://rekognition:8340"},
            },
        },
    }
    documentdb = {
        "conn_type": "mongo",
        "host": "documentdb",
        "port": 27017,
        "login": "image_labels",
        "password": drawn["DOCUMENTDB_PASSWORD"],
        "schema": "image_labels",
        "extra": {
            "tls": True,
            "tlsCAFile": "/opt/authority/ca.crt",
            "replicaSet": "rs0",
            "readPreference": "secondaryPreferred",
            "retryWrites": False,
        },
    }
    return {
        "COMPOSE_PROFILES": "documentdb,s3,rekognition",
        "IMAGE_LABELS_BUCKET": BUCKET,
        "IMAGE_LABELS_LANDING": f"s3://{BUCKET}/landing",
        **drawn,
        "AIRFLOW_FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(aws),
        "AIRFLOW_CONN_DOCUMENTDB_DEFAULT": json.dumps(documentdb),
    }


def main(file: Path = ENV) -> int:
    """Write the file, unless there is one: its secrets are those of the volumes.

    :return: exit status
    """
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        print(f"{file} is there already, and the volumes know its passwords; it stays as it is.", file=sys.stderr)
        return 1
    with os.fdopen(descriptor, "w") as env:
        # Quoted: Compose puts nothing in the place of a $ then.
        env.writelines(f"{name}='{value}'\n" for name, value in settings().items())
    print(f"Wrote {file}. Airflow's user is admin, the password is AIRFLOW_PASSWORD in it.")
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:2])))
