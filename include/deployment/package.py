"""Makes in ``dist/`` what Amazon MWAA takes, and prints how it gets there.

``plugins.zip`` has the package and, at its root, the certificates of DocumentDB's authorities: on MWAA they lie at
``/usr/local/airflow/plugins/global-bundle.pem``, which is what the connection's ``tlsCAFile`` says. The same content
makes the same bytes, so that an environment is not restarted for nothing.

.. seealso:: https://docs.aws.amazon.com/mwaa/latest/userguide/configuring-dag-import-plugins.html
"""

from __future__ import annotations

import argparse
import os
import shutil
import ssl
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
CA_BUNDLE = "https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem"
BUNDLE_NAME = "global-bundle.pem"
ON_WORKERS = "/usr/local/airflow/dags/constraints.txt"
LEFT_OUT = ("__pycache__", ".pyc")


class PackageError(Exception):
    """The package cannot be made; the message says why and what to do."""


def make(dist: Path, bundle: Path) -> None:
    """Make ``dags/``, ``plugins.zip``, ``requirements.txt`` and ``notebooks/`` in a folder, anew.

    :param bundle: file with the certificates of DocumentDB's authorities
    """
    shutil.rmtree(dist, ignore_errors=True)
    (dist / "dags").mkdir(parents=True)
    (dist / "notebooks").mkdir()
    for file in sorted((PROJECT / "dags").glob("*.py")):
        shutil.copy(file, dist / "dags")
    shutil.copy(PROJECT / "constraints.txt", dist / "dags")
    for file in sorted((PROJECT / "include/notebooks").glob("*.ipynb")):
        shutil.copy(file, dist / "notebooks")
    (dist / "requirements.txt").write_text(requirements())
    with zipfile.ZipFile(dist / "plugins.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in [*plugins(), (BUNDLE_NAME, bundle.read_bytes())]:
            entry = zipfile.ZipInfo(name, date_time=(2026, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)


def plugins() -> Iterator[tuple[str, bytes]]:
    """Yield all that is below ``plugins/``, static files and ``.airflowignore`` as well, by its path there."""
    root = PROJECT / "plugins"
    for file in sorted(root.rglob("*")):
        if file.is_file() and not any(part.endswith(LEFT_OUT) for part in file.parts):
            yield file.relative_to(root).as_posix(), file.read_bytes()


def requirements() -> str:
    """Return requirements.txt with the constraints where they lie on MWAA, which puts in its own if there are none."""
    ours = "--constraint constraints.txt\n"
    text = (PROJECT / "requirements.txt").read_text()
    if not text.startswith(ours):
        raise PackageError(f"requirements.txt does not begin with {ours!r}")
    return f'--constraint "{ON_WORKERS}"\n{text.removeprefix(ours)}'


def fetch_bundle(kept: Path) -> Path:
    """Return the file with the certificates of DocumentDB's authorities, fetched from AWS unless it is there already.

    :raises PackageError: if it can't be fetched
    """
    if not kept.exists():
        try:
            with urllib.request.urlopen(CA_BUNDLE, timeout=60) as answer:
                content = answer.read()
        except (urllib.error.URLError, OSError) as error:
            raise PackageError(f"{CA_BUNDLE} can't be fetched ({error}); bring it yourself: CA_BUNDLE=FILE") from error
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(content)
    return kept


def check_bundle(bundle: Path) -> int:
    """Return how many certificates a file holds.

    :raises PackageError: if it holds none, or something else
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(bundle)
    except (ssl.SSLError, OSError) as error:
        raise PackageError(f"{bundle} is no file of certificates: {error}") from error
    return len(context.get_ca_certs())


def main() -> None:
    """Make the package."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dist", type=Path, default=PROJECT / "dist")
    parser.add_argument("--ca-bundle", type=Path, help="the file, in place of fetching it")
    options = parser.parse_args()
    try:
        bundle = options.ca_bundle or fetch_bundle(PROJECT / ".local" / BUNDLE_NAME)
        certificates = check_bundle(bundle)
        make(options.dist, bundle)
    except PackageError as error:
        sys.exit(str(error))
    dist = os.path.relpath(options.dist)
    print(
        f"{dist}/ has dags/, plugins.zip (with {certificates} certificates), requirements.txt and notebooks/.\n"
        "`make deploy` uploads it. By hand:\n"
        f"  aws s3 sync {dist}/dags s3://BUCKET/dags --delete\n"
        f"  aws s3 sync {dist}/notebooks s3://BUCKET/notebooks --delete\n"
        f"  aws s3 cp {dist}/plugins.zip s3://BUCKET/plugins.zip\n"
        f"  aws s3 cp {dist}/requirements.txt s3://BUCKET/requirements.txt\n"
        "and give the environment the versions that S3 has now of the last two."
    )


if __name__ == "__main__":
    main()
