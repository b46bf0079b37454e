from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pyarrow as pa
import pytest
from PIL import Image, UnidentifiedImageError

import airflow_client
import album
import demo

ROW = {"scope": "all", "min_confidence": 50.0, "label": "Cat", "images": 3, "instances": 4, "share": 0.25}
DUE = {
    "next_dagrun_run_after": "2026-11-22T00:00:00Z",
    "next_dagrun_logical_date": "2026-11-21T00:00:00Z",
    "next_dagrun_data_interval_start": "2026-11-21T00:00:00Z",
    "next_dagrun_data_interval_end": "2026-11-22T00:00:00Z",
}


def instance(task_id: str, state: str | None, map_index: int = -1) -> dict[str, Any]:
    return {"task_id": task_id, "state": state, "map_index": map_index}


class TestProgress:
    def test_a_task_is_told_by_its_state(self):
        assert demo.progress([instance("upload", "running")]) == {"upload": "running"}

    def test_a_task_whose_turn_has_not_come_is_not_told(self):
        assert demo.progress([instance("upload", None), instance("batch.analyse", None)]) == {}

    def test_a_sensor_that_waits_in_the_triggerer(self):
        assert demo.progress([instance("sense", "deferred")]) == {"sense": "waiting"}

    @pytest.mark.parametrize(
        ("states", "told"),
        [
            ([None, None], "0/2"),
            (["success", "running", None], "1/3, 1 running"),
            (["success", "failed"], "2/2, 1 failed"),
            (["success", "up_for_retry"], "1/2, 1 failed, will be tried again"),
            (["success"] * 20, "20/20"),
        ],
    )
    def test_a_mapped_task_is_told_by_how_much_of_it_is_over(self, states, told):
        assert demo.progress([instance("a", state, i) for i, state in enumerate(states)]) == {"a": told}


class TestLabelTable:
    def table(self, *changes: dict[str, Any]) -> list[str]:
        rows = [ROW | {"mean_confidence": 77.06} | change for change in changes]
        return demo.label_table(pa.Table.from_pylist(rows)).splitlines()

    def test_a_label_with_its_counts(self):
        assert self.table({})[-1].split() == ["Cat", "3", "4", "25%", "77.1"]

    def test_only_the_whole_collection_at_the_lowest_threshold(self):
        lines = self.table({"scope": "day", "label": "Day"}, {}, {"min_confidence": 90.0, "label": "Sure"})
        assert "50 %" in lines[0]
        assert [line.split()[0] for line in lines[2:]] == ["Cat"]

    def test_a_collection_without_labels(self):
        table = pa.Table.from_pylist([ROW]).slice(0, 0)
        assert demo.label_table(table) == "The collection has no labels."


class TestTrigger:
    """Who makes the first run also decides whether the scheduler makes another for the same day."""

    @pytest.fixture
    def airflow(self, monkeypatch):
        """A server that knows one DAG, refuses logical dates that are ``taken`` and keeps what it is ``asked``."""
        server = SimpleNamespace(dag=DUE, taken=set(), asked=[])

        def answer(request: httpx.Request) -> httpx.Response:
            if request.url.path == "/auth/token":
                return httpx.Response(201, json={"access_token": "token"})
            if request.method == "GET":
                return httpx.Response(200, json=server.dag)
            run = json.loads(request.content)
            server.asked.append(run)
            if run["logical_date"] in server.taken:
                return httpx.Response(409, json={"detail": "conflict"})
            return httpx.Response(200, json={"dag_run_id": "manual"})

        client = httpx.Client
        monkeypatch.setattr(
            airflow_client.httpx, "Client", lambda **options: client(transport=httpx.MockTransport(answer), **options)
        )
        return server

    @pytest.fixture
    def dag(self, airflow) -> airflow_client.Dag:
        site = SimpleNamespace(url=lambda name: f"http://{name}", secrets={"airflow_password": "secret"})
        return airflow_client.Dag(site, "image_labels")

    def test_a_run_that_is_due_is_made_with_its_interval(self, airflow, dag):
        dag.trigger({"landing": "/photos"})
        assert airflow.asked == [
            {
                "conf": {"landing": "/photos"},
                "logical_date": "2026-11-21T00:00:00Z",
                "data_interval_start": "2026-11-21T00:00:00Z",
                "data_interval_end": "2026-11-22T00:00:00Z",
            }
        ]

    def test_otherwise_the_run_is_of_now(self, airflow, dag):
        airflow.dag = DUE | {"next_dagrun_run_after": "2999-01-01T00:00:00Z"}
        dag.trigger({})
        assert len(airflow.asked) == 1
        assert airflow.asked[0].keys() == {"conf", "logical_date"}

    def test_a_place_that_an_earlier_run_has_taken(self, airflow, dag):
        airflow.taken.add("2026-11-21T00:00:00Z")
        dag.trigger({})
        assert len(airflow.asked) == 2
        assert airflow.asked[1].keys() == {"conf", "logical_date"}


def test_a_log_is_told_with_its_exceptions_and_without_its_groups():
    log = [
        "a plain line",
        {"event": "::group::Pre Execute"},
        {
            "level": "error",
            "event": "Task failed",
            "error_detail": [{"exc_type": "ValueError", "exc_value": "no good"}],
        },
    ]
    assert list(airflow_client._lines(log)) == ["a plain line", "error Task failed", "ValueError: no good"]


class TestAlbum:
    def look(self, folder: Path) -> dict[str, tuple[bytes, int]]:
        files = [file for file in folder.rglob("*") if file.is_file()]
        return {str(file.relative_to(folder)): (file.read_bytes(), file.stat().st_mtime_ns) for file in files}

    def test_an_album_made_anew_is_the_same_album(self, tmp_path):
        album.build(tmp_path / "one")
        album.build(tmp_path / "two")
        assert self.look(tmp_path / "one") == self.look(tmp_path / "two")

    def test_an_album_that_is_there_is_left_alone(self, tmp_path):
        (tmp_path / "album").mkdir()
        album.build(tmp_path / "album")
        assert self.look(tmp_path / "album") == {}

    def test_it_has_photographs_and_what_is_none(self, tmp_path):
        album.build(tmp_path / "album")
        with Image.open(tmp_path / "album/travel/China.jpg") as image:
            image.load()
        with (
            Image.open(tmp_path / "album/scraps/rocket, cut short.jpg") as image,
            pytest.raises(OSError, match="truncated"),
        ):
            image.load()
        with pytest.raises(UnidentifiedImageError):
            Image.open(tmp_path / "album/scraps/notes.txt.jpg")
