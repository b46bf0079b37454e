"""The images that the project builds upon and runs: pulled, or where no registry can be reached, made of packages.

What is made has the programs, users and paths of the real image and goes by its name until :func:`forget`. So the
project's own files are run unchanged.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import yaml

from servers import MONGOD, PROJECT

HERE = Path(__file__).parent
_SUITES = {"python": "bookworm", "mongo": "bookworm", "seaweedfs": "bookworm", "postgres": "trixie", "redis": "trixie"}
_TRUSTED = Path("/etc/ssl/certs/ca-certificates.crt")


def names() -> list[str]:
    """Return the names that the Dockerfile and docker-compose.yaml use, the project's own left out."""
    stages = re.findall(r"^FROM (\S+) AS", (PROJECT / "Dockerfile").read_text(), re.MULTILINE)
    services = yaml.safe_load((PROJECT / "docker-compose.yaml").read_text())["services"].values()
    found = [*stages, *(service["image"] for service in services)]
    return sorted({name for name in found if ":" in name and not name.startswith("image-labels-")})


def provide(folder: Path) -> list[str]:
    """See that each image is there.

    :param folder: for the files that go into those that have to be made
    :return: those that were made, and are not the real ones
    """
    made = []
    for name in names():
        if _docker("image", "inspect", name).returncode and _docker("pull", "--quiet", name).returncode:
            _make(name, folder)
            made.append(name)
    return made


def forget(made: Iterable[str]) -> None:
    """Take the names away from images that were made. Their layers stay, so that they are made faster the next time."""
    for name in made:
        _docker("image", "rm", "--no-prune", name)


def _make(name: str, folder: Path) -> None:
    kind = name.partition(":")[0].rpartition("/")[2]
    suite = f"image-labels-test/{_SUITES[kind]}"
    if _docker("image", "inspect", suite).returncode:
        root = folder / _SUITES[kind]
        _run("debootstrap", "--variant=minbase", _SUITES[kind], str(root))
        with subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE) as archive:
            subprocess.run(["docker", "import", "-", suite], stdin=archive.stdout, check=True, capture_output=True)
        shutil.rmtree(root)
    context = folder / "context"
    context.mkdir(exist_ok=True)
    for file in (MONGOD, Path(sys.executable).with_name("weed"), _TRUSTED, HERE / "postgres-entrypoint.sh"):
        shutil.copy2(file, context)
    _run("docker", "build", "--network=host", f"--tag={name}", f"--file={HERE / kind}.Dockerfile", str(context))


def _docker(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True)


def _run(*command: str) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout[-3000:]}"
