from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from PIL import Image

from pipeline import Pipeline
from servers import airflow_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pymongo.database import Database

    from servers import Site


@pytest.fixture
def landing(tmp_path: Path) -> Path:
    """An empty landing place."""
    folder = tmp_path / "landing"
    folder.mkdir()
    return folder


@pytest.fixture
def pipeline(
    landing: Path,
    bucket: str,
    database: Database[dict[str, Any]],
    site: Site,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stand_in: StandIn,
) -> Pipeline:
    """The pipeline on an empty bucket and an empty database."""
    environment = airflow_environment(site)
    documentdb = json.loads(environment["AIRFLOW_CONN_DOCUMENTDB_DEFAULT"]) | {"schema": database.name}
    monkeypatch.setenv("AIRFLOW_CONN_DOCUMENTDB_DEFAULT", json.dumps(documentdb))
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", environment["AIRFLOW_CONN_AWS_DEFAULT"])
    state = tmp_path / "state"
    state.mkdir()
    return Pipeline(str(landing), bucket, state)


@pytest.fixture
def without_report(pipeline: Pipeline) -> None:
    """Leave out what takes longest, where a test has nothing to do with it."""
    pipeline.settings["report"] = False


class StandIn:
    """The Rekognition stand-in's switches and counters.

    :param url: its address
    """

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, trust_env=False)

    def set(self, **settings: Any) -> None:
        """Change settings; see ``rekognition.settings.Settings``."""
        self._http.put("/_settings", json=settings).raise_for_status()

    @property
    def settings(self) -> dict[str, Any]:
        return self._http.get("/_settings").json()

    @property
    def stats(self) -> dict[str, Any]:
        return self._http.get("/_stats").json()

    @property
    def answers(self) -> int:
        """Calls that were answered, and so paid for."""
        return int(self.stats["answers"])


@pytest.fixture
def stand_in(site: Site) -> Iterator[StandIn]:
    """The stand-in with fresh counters, without quota or faults, and quick: it makes labels up."""
    stand_in = StandIn(site.rekognition)
    before = stand_in.settings
    stand_in.set(tps=0, latency=0, labels="generator", read_images=True)
    stand_in._http.post("/_stats/reset").raise_for_status()
    yield stand_in
    stand_in.set(**before)


@pytest.fixture
def land(landing: Path, photos: dict[str, Path]) -> Callable[..., Path]:
    """Put a photograph into the landing place under a name."""

    def put(name: str, photo: str = "rocket.jpg") -> Path:
        target = landing / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photos[photo], target)
        return target

    return put


@pytest.fixture
def land_many(landing: Path) -> Callable[..., None]:
    """Put small pictures, each of another content, into the landing place."""

    def put(count: int, start: int = 0) -> None:
        for number in range(start, start + count):
            colour = (number % 251, number // 251 % 251, number // 63001)
            Image.new("RGB", (80, 80), colour).save(landing / f"picture-{number:06d}.png", compress_level=1)

    return put
