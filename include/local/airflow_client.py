"""The little of Airflow's REST API that the demo needs.

.. seealso:: https://airflow.apache.org/docs/apache-airflow/stable/stable-rest-api-ref.html
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from servers import AIRFLOW_USER, Site

_PAGE = 100
_INTERVAL = ("logical_date", "data_interval_start", "data_interval_end")


class AirflowError(Exception):
    """Airflow cannot run the DAG."""


class Dag:
    """A DAG in the Airflow of a stack.

    :param site: the stack
    :param dag_id: its name
    """

    def __init__(self, site: Site, dag_id: str) -> None:
        self._client = httpx.Client(base_url=site.url("airflow"), trust_env=False, timeout=30)
        login = {"username": AIRFLOW_USER, "password": site.secrets["airflow_password"]}
        token = self._client.post("/auth/token", json=login).raise_for_status().json()["access_token"]
        self._client.headers["Authorization"] = f"Bearer {token}"
        self._path = f"/api/v2/dags/{dag_id}"

    def details(self) -> dict[str, Any] | None:
        """Return what Airflow knows of the DAG, or None while it has not read the DAG's file.

        :raises AirflowError: the file cannot be imported
        """
        if errors := self._get("/api/v2/importErrors")["import_errors"]:
            raise AirflowError("\n".join(f"{error['filename']}:\n{error['stack_trace']}" for error in errors))
        answer = self._client.get(self._path)
        return None if answer.status_code == httpx.codes.NOT_FOUND else answer.raise_for_status().json()

    def trigger(self, conf: dict[str, Any]) -> str:
        """Make a run, in the place of the scheduled one if that is due.

        Switching on a DAG makes the scheduler catch up on the latest data interval at once. A run that already has this
        interval's logical date is taken for that one, so that the DAG does not run twice.

        :param conf: values of params
        :return: the run's id
        """
        now = datetime.now(UTC)
        at_once = {"logical_date": now.isoformat(), "conf": conf}
        dag = self._get(self._path)
        answer = None
        if (due := dag["next_dagrun_run_after"]) and datetime.fromisoformat(due) <= now:
            scheduled = {name: dag[f"next_dagrun_{name}"] for name in _INTERVAL}
            answer = self._client.post(f"{self._path}/dagRuns", json=at_once | scheduled)
        # A conflict: an earlier run has taken that place, and the scheduler does not know yet.
        if answer is None or answer.status_code == httpx.codes.CONFLICT:
            answer = self._client.post(f"{self._path}/dagRuns", json=at_once)
        if answer.is_error:
            raise AirflowError(f"Airflow does not take the run: {answer.text}")
        run_id: str = answer.json()["dag_run_id"]
        return run_id

    def pause(self, paused: bool) -> None:
        """Switch the DAG's schedule, without which no run starts, off or on."""
        self._client.patch(self._path, json={"is_paused": paused}).raise_for_status()

    def run(self, run_id: str) -> dict[str, Any]:
        """Return a run."""
        return self._get(f"{self._path}/dagRuns/{run_id}")

    def active_runs(self) -> list[str]:
        """Return the ids of the runs that are at work."""
        runs = self._get(f"{self._path}/dagRuns", state="running")["dag_runs"]
        return [run["dag_run_id"] for run in runs]

    def task_instances(self, run_id: str) -> Iterator[dict[str, Any]]:
        """Yield the task instances of a run."""
        offset = 0
        while True:
            page = self._get(f"{self._path}/dagRuns/{run_id}/taskInstances", limit=_PAGE, offset=offset)
            yield from page["task_instances"]
            offset += _PAGE
            if offset >= page["total_entries"]:
                return

    def xcom(self, run_id: str, task_id: str, key: str = "return_value") -> Any:
        """Return what a task has left for others, or None."""
        path = f"{self._path}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        answer = self._client.get(path, params={"deserialize": False, "stringify": False})
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        return answer.raise_for_status().json()["value"]

    def log(self, run_id: str, instance: dict[str, Any]) -> list[str]:
        """Return the lines of the log of a task instance's last try."""
        path = f"{self._path}/dagRuns/{run_id}/taskInstances/{instance['task_id']}/logs/{instance['try_number']}"
        answer = self._client.get(path, params={"map_index": instance["map_index"], "full_content": True})
        if answer.is_error:
            return [f"(no log: {answer.text})"]
        return list(_lines(answer.json()["content"]))

    # What is asked several times a second, over a long run, may fail once.
    @retry(retry=retry_if_exception_type(httpx.HTTPError), stop=stop_after_delay(20), wait=wait_fixed(1), reraise=True)
    def _get(self, path: str, **params: Any) -> dict[str, Any]:
        answer = self._client.get(path, params=params)
        shown: dict[str, Any] = answer.raise_for_status().json()
        return shown


def _lines(log: list[dict[str, Any] | str]) -> Iterator[str]:
    for entry in log:
        if isinstance(entry, str):
            yield entry
        elif not entry["event"].startswith("::"):
            yield f"{entry.get('level', '')} {entry['event']}".lstrip()
            for cause in entry.get("error_detail") or ():
                yield f"{cause['exc_type']}: {cause['exc_value']}"
