"""The package as Amazon MWAA unpacks it: does all of it load, and what does the web server need for that?"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import package
from package import PROJECT, PackageError

WORKERS_ONLY = ("pymongo", "bson", "gridfs", "pandas", "pyarrow", "PIL", "pillow_heif", "vl_convert", "numpy")
"""What the pipeline brings in requirements.txt. A web server without internet (PRIVATE_ONLY) has none of it."""

LOOK = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
from airflow.dag_processing.dagbag import DagBag
from airflow.plugins_manager import _get_plugins

plugins, errors = _get_plugins()
bag = DagBag(safe_mode=False)
print(sorted(plugin.name for plugin in plugins if plugin.name == "image_labels"), errors)
print(sorted(bag.dags), bag.import_errors)
"""


@pytest.fixture(scope="module")
def home(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Airflow's folder on MWAA."""
    home = tmp_path_factory.mktemp("airflow")
    with zipfile.ZipFile(dist / "plugins.zip") as archive:
        archive.extractall(home / "plugins")
    (home / "dags").symlink_to(dist / "dags")
    return home


def look(home: Path, missing: tuple[str, ...]) -> list[str]:
    """Load plugins and DAGs in a process of its own, that finds nothing of this folder, and return what it says."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHON"))}
    environment = kept | {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    script = LOOK.format(missing=missing)
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], env=environment, cwd=home, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return run.stdout.splitlines()[-2:]


@pytest.mark.parametrize("missing", [(), WORKERS_ONLY], ids=["worker", "web server without packages"])
def test_the_plugin_loads_and_the_dags_parse(home: Path, missing: tuple[str, ...]) -> None:
    dags = sorted(file.stem for file in (PROJECT / "dags").glob("*.py"))
    plugins, found = look(home, missing)
    assert plugins == "['image_labels'] {}"
    assert found == f"{sorted(name.replace('_daily', '') for name in dags)} {{}}"


def test_everything_of_the_package_is_in_it(dist: Path) -> None:
    with zipfile.ZipFile(dist / "plugins.zip") as archive:
        names = set(archive.namelist())
    listed = subprocess.run(["git", "ls-files", "plugins"], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert {name.removeprefix("plugins/") for name in listed.stdout.split()} <= names
    assert {"global-bundle.pem", ".airflowignore", "image_labels/explorer/static/index.html"} <= names
    assert not [name for name in names if "__pycache__" in name]


def test_the_same_content_makes_the_same_bytes(dist: Path, bundle: Path, tmp_path: Path) -> None:
    package.make(tmp_path / "again", bundle)
    assert (tmp_path / "again/plugins.zip").read_bytes() == (dist / "plugins.zip").read_bytes()


def test_requirements_name_the_constraints_where_they_lie_on_mwaa(dist: Path) -> None:
    first, rest = (dist / "requirements.txt").read_text().split("\n", 1)
    assert first == '--constraint "/usr/local/airflow/dags/constraints.txt"'
    assert (dist / "dags/constraints.txt").read_bytes() == (PROJECT / "constraints.txt").read_bytes()
    assert rest == (PROJECT / "requirements.txt").read_text().split("\n", 1)[1]


def test_a_file_without_certificates_is_refused(tmp_path: Path, bundle: Path) -> None:
    page = tmp_path / "bundle.pem"
    page.write_text("<html>not found</html>")
    with pytest.raises(PackageError, match="no file of certificates"):
        package.check_bundle(page)
    assert package.check_bundle(bundle) == 1


def test_a_bundle_that_cannot_be_fetched_can_be_brought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "CA_BUNDLE", (tmp_path / "nothing").as_uri())
    with pytest.raises(PackageError, match="CA_BUNDLE=FILE"):
        package.fetch_bundle(tmp_path / "bundle.pem")


def test_the_bundle_is_the_one_that_the_hook_names() -> None:
    from image_labels.hooks import documentdb

    assert package.CA_BUNDLE == documentdb.CA_BUNDLE
