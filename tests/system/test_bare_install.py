"""The package in environments that have what Amazon MWAA's would have, and nothing else of this project.

On Python 3.12, which MWAA runs, where there is one; otherwise on the Python of the tests, and a warning says so.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import pytest

import certificates
import package

UV = Path(sys.executable).with_name("uv")

ON_WORKER = """
import json, sys
from pathlib import Path
from airflow.dag_processing.dagbag import DagBag
from airflow.plugins_manager import _get_plugins
from airflow.serialization.serialized_objects import DagSerialization

plugins, errors = _get_plugins()
bag = DagBag()
Path(sys.argv[1]).write_text(json.dumps({
    "plugins": [plugin.name for plugin in plugins], "errors": {**errors, **bag.import_errors},
    "dags": {name: DagSerialization.to_dict(dag) for name, dag in bag.dags.items()},
}, default=str))
"""

ON_WEB_SERVER = """
import json, sys
from importlib.util import find_spec
from pathlib import Path
from airflow.plugins_manager import _get_plugins, get_fastapi_plugins
from airflow.serialization.serialized_objects import DagSerialization
from image_labels.explorer.app import app
from starlette.testclient import TestClient

plugins, errors = _get_plugins()
serialised = json.loads(Path(sys.argv[1]).read_text())["dags"]
for dependency in app.router.dependencies:
    app.dependency_overrides[dependency.dependency] = lambda: None
[page] = [each["app"] for each in get_fastapi_plugins()[0] if each["name"] == "Image labels"]
client = TestClient(page)
print(json.dumps({
    "missing": [name for name in ("pymongo", "pandas", "pyarrow", "PIL", "vl_convert") if not find_spec(name)],
    "plugins": [plugin.name for plugin in plugins], "errors": errors,
    "tasks": {name: len(DagSerialization.from_dict(dag).tasks) for name, dag in serialised.items()},
    "answers": [[answer.status_code, answer.text] for answer in map(client.get, ("/", "/api/labels"))],
}))
"""


def python() -> Path:
    """Return the Python for the environments."""
    for candidate in ("python3.12", *sorted(Path.home().glob(".pyenv/versions/3.12.*/bin/python3.12"))):
        try:
            found = subprocess.run(
                [candidate, "-c", "import sys; print(sys.executable)"], capture_output=True, text=True
            )
        except FileNotFoundError:
            continue
        if found.returncode == 0:
            return Path(found.stdout.strip())
    warnings.warn(f"There is no Python 3.12 here: tested on {sys.version.split()[0]}", stacklevel=2)
    return Path(sys.executable)


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make package` makes."""
    folder = tmp_path_factory.mktemp("package")
    certificates.make(folder / "certificates")
    package.make(folder / "dist", folder / "certificates" / certificates.AUTHORITY)
    return folder / "dist"


@pytest.fixture(scope="module")
def home(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Airflow's folder on MWAA."""
    home = tmp_path_factory.mktemp("airflow")
    with zipfile.ZipFile(dist / "plugins.zip") as archive:
        archive.extractall(home / "plugins")
    (home / "dags").symlink_to(dist / "dags")
    return home


def run_bare(home: Path, requirements: str, script: str, *arguments: Path) -> str:
    """Run a script in a fresh environment with these packages and nothing of this folder, and return what it prints."""
    environment = home / f"environment-{len(list(home.glob('environment-*')))}"
    (home / "requirements.txt").write_text(requirements)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHON", "VIRTUAL"))}
    airflow = {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    interpreter = environment / "bin/python"
    for command in (
        [UV, "venv", "--quiet", "--python", python(), environment],
        [UV, "pip", "install", "--quiet", "--python", interpreter, "--requirement", home / "requirements.txt"],
        [interpreter, "-W", "ignore", "-c", script, *arguments],
    ):
        run = subprocess.run(command, cwd=home, env=kept | airflow, capture_output=True, text=True)
        assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.fixture(scope="module")
def requirements(dist: Path) -> str:
    """What MWAA installs, with the constraints where they lie here."""
    text = (dist / "requirements.txt").read_text()
    assert package.ON_WORKERS in text
    return text.replace(package.ON_WORKERS, str(dist / "dags/constraints.txt"))


@pytest.fixture(scope="module")
def on_worker(home: Path, requirements: str) -> Path:
    """What a worker's environment made of plugins and DAGs, as a file."""
    run_bare(home, requirements, ON_WORKER, home / "found.json")
    return home / "found.json"


def test_a_worker_loads_the_plugin_and_parses_all_dags(on_worker: Path, dist: Path) -> None:
    found = json.loads(on_worker.read_text())
    assert found["errors"] == {}
    assert "image_labels" in found["plugins"]
    assert len(found["dags"]) == len(list(dist.glob("dags/*.py")))


def test_a_web_server_without_the_packages_shows_the_dags_and_says_what_is_missing(
    on_worker: Path, home: Path, requirements: str
) -> None:
    """It has what MWAA's image has: Airflow with the amazon provider."""
    in_image = ("--constraint", "apache-airflow==", "apache-airflow-providers-amazon==")
    bare = "".join(line for line in requirements.splitlines(keepends=True) if line.startswith(in_image))
    found = json.loads(run_bare(home, bare, ON_WEB_SERVER, on_worker).splitlines()[-1])
    assert found["missing"] == ["pymongo", "pandas", "pyarrow", "PIL", "vl_convert"]
    assert found["errors"] == {}
    assert "image_labels" in found["plugins"]
    assert found["tasks"] == {
        name: len(dag["dag"]["tasks"]) for name, dag in json.loads(on_worker.read_text())["dags"].items()
    }
    [[page, _], [labels, said]] = found["answers"]
    assert (page, labels) == (200, 503)
    assert "web server lacks the Python package" in said
    assert "Install the project's requirements.txt there" in said
