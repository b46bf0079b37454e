"""The demo: the stack, an album, and the daily DAG on it under the real scheduler, watched until its books are closed.

``make demo`` runs it. Settings come from the environment: ALBUM, REKOGNITION_URL and the ports.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import httpx
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import album
import ports
from airflow_client import AirflowError, Dag
from servers import AIRFLOW_USER, Site
from stack import HOME, Stack, StackError
from supervision import SupervisionError

DAG_ID = "image_labels"
DAG_FILE_TIMEOUT = 120
TOP = 15
LOG_LINES = 20
_OVER = {"success", "failed", "skipped", "upstream_failed", "removed"}
_WORDS = {"deferred": "waiting", "up_for_retry": "failed, will be tried again", "upstream_failed": "not run"}


def main() -> int:
    """Run the demo.

    :return: exit status: 0 only if the DAG run succeeded
    """
    try:
        return _demo()
    except (StackError, SupervisionError, ports.PortTaken, AirflowError, NotADirectoryError) as error:
        print(error, file=sys.stderr)
        return 1
    except httpx.HTTPError as error:
        print(f"\n{error!r}: Airflow or the stand-in answers no more, see .local/logs", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nWhat has started goes on; `make stop` ends it.", file=sys.stderr)
        return 130


def _demo() -> int:
    start = time.monotonic()
    photos = _photos(os.environ.get("ALBUM", ""))
    stack = Stack(wanted_ports=ports.chosen(os.environ), rekognition_url=os.environ.get("REKOGNITION_URL", ""))
    with _step("Servers and Airflow"):
        stack.start()
    site = stack.site
    dag = Dag(site, DAG_ID)
    with _step(f"DAG {DAG_ID}"):
        paused = _wait_for(dag)
    counted_before = _counts(site)
    print(f"Photos of {photos}")
    run_id = _trigger(dag, photos)
    state = _follow(dag, run_id)
    # As it was found: the demo is no decision to run every day.
    dag.pause(paused)
    if state == "success":
        _show_results(site, dag, run_id, counted_before)
    else:
        _explain(dag, run_id)
    print(
        f"\nAirflow: {site.url('airflow')}/dags/{DAG_ID}/runs/{run_id}\n"
        f"   user {AIRFLOW_USER}, password {site.secrets['airflow_password']}\n"
        f"   The daily schedule is {'off; the DAG is switched on there' if paused else 'on'}.\n"
        f"The demo took {time.monotonic() - start:.0f} s. Everything runs on; `make stop` ends it."
    )
    return 0 if state == "success" else 1


def _photos(given: str) -> Path:
    if not given:
        album.build(HOME / "album")
        return HOME / "album"
    folder = Path(given).expanduser().resolve()
    if not folder.is_dir():
        raise NotADirectoryError(f"ALBUM={given} is no folder: give one with photos in it, at any depth")
    return folder


@contextmanager
def _step(name: str) -> Iterator[None]:
    start = time.monotonic()
    print(f"{name} ...", flush=True)
    yield
    print(f"{name}: ready after {time.monotonic() - start:.1f} s", flush=True)


def _wait_for(dag: Dag) -> bool:
    """Wait until Airflow has read the DAG's file, and return whether the DAG is switched off."""
    deadline = time.monotonic() + DAG_FILE_TIMEOUT
    while (details := dag.details()) is None:
        if time.monotonic() > deadline:
            raise AirflowError(f"Airflow has not found the DAG within {DAG_FILE_TIMEOUT} s: see .local/logs")
        time.sleep(0.5)
    paused: bool = details["is_paused"]
    return paused


def _trigger(dag: Dag, photos: Path) -> str:
    if at_work := dag.active_runs():
        print(f"Waiting for {', '.join(at_work)} to end: one run at a time")
    # The files lie still, so there is nothing to wait for; and the stand-in has the quota of a large region.
    run_id = dag.trigger({"landing": str(photos), "wait_minutes": 0, "settle_seconds": 0, "quota": 50})
    dag.pause(False)
    return run_id


def _follow(dag: Dag, run_id: str) -> str:
    """Show what changes until the run is over, and return how it ended."""
    start = time.monotonic()
    shown: dict[str, str] = {}
    live = sys.stdout.isatty()
    while True:
        state: str = dag.run(run_id)["state"]
        now = progress(dag.task_instances(run_id))
        if live:
            print("\r\033[K", end="")
        for task, text in now.items():
            if shown.get(task) != text:
                print(f"{time.monotonic() - start:7.1f} s  {task:<15} {text}", flush=True)
        shown = now
        if state in ("success", "failed"):
            return state
        if live:
            at_work = [task for task, text in now.items() if "running" in text]
            print(f"{time.monotonic() - start:7.1f} s  {', '.join(at_work) or state}", end="", flush=True)
        time.sleep(0.5)


def progress(instances: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Return a word on each task of a run that is under way; for a mapped one, how many of its instances are over."""
    states: dict[str, Counter[str]] = {}
    mapped = set()
    for instance in instances:
        if instance["state"]:
            states.setdefault(instance["task_id"], Counter())[instance["state"]] += 1
        if instance["map_index"] >= 0:
            mapped.add(instance["task_id"])
            states.setdefault(instance["task_id"], Counter())["none"] += not instance["state"]
    words = {}
    for task, counts in states.items():
        if task not in mapped:
            state = next(iter(counts))
            words[task] = _WORDS.get(state, state)
            continue
        over = sum(counts[state] for state in _OVER)
        others = [f"{counts[state]} {_WORDS.get(state, state)}" for state in ("running", "up_for_retry", "failed")]
        words[task] = ", ".join([f"{over}/{counts.total()}", *(word for word in others if not word.startswith("0 "))])
    return words


def _counts(site: Site) -> Counter[str]:
    """Return what the stand-in has counted; nothing if another endpoint takes its place."""
    if site.rekognition_url:
        return Counter()
    counts = httpx.get(f"{site.rekognition}/_stats", trust_env=False).raise_for_status().json()
    return Counter({name: counts[name] for name in ("calls", "throttles")})


def _show_results(site: Site, dag: Dag, run_id: str, counted_before: Counter[str]) -> None:
    print(f"\n{dag.xcom(run_id, 'account', 'note')}\n")
    books = dag.xcom(run_id, "account")
    # What the service has seen goes before what the pipeline says of itself.
    seen = _counts(site) - counted_before
    called = seen["calls"] or books["analyse"].get("called", 0)
    if called:
        throttled = f", and throttled {seen['throttles']} of the calls" if seen["throttles"] else ""
        print(f"Rekognition was called {called} time{'' if called == 1 else 's'}{throttled}.")
    elif books["sense"].get("new"):
        print("Nothing unknown: Rekognition was not called.")
    else:
        print("Nothing new: Rekognition was not called.")
    table: str = dag.xcom(run_id, "report")
    page: str = dag.xcom(run_id, "report", "s3_place")
    places = {"Frequencies": table, "Report": page, "Chart": page.replace(".html", ".png")}
    files = {name: _fetch(site, uri) for name, uri in places.items()}
    print(f"\n{label_table(pq.read_table(files['Frequencies']))}\n")
    for name, uri in places.items():
        print(f"{name}: {uri}\n   copied to {files[name]}")


def _fetch(site: Site, uri: str) -> Path:
    """Copy an object of a day's report to the local folder of that day."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    exports = site.exports()
    s3 = boto3.client(
        "s3",
        endpoint_url=exports["AWS_ENDPOINT_URL_S3"],
        region_name=exports["AWS_DEFAULT_REGION"],
        aws_access_key_id=exports["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=exports["AWS_SECRET_ACCESS_KEY"],
    )
    file = HOME / "reports" / Path(key).parent.name / Path(key).name
    file.parent.mkdir(parents=True, exist_ok=True)
    s3.download_file(bucket, key, str(file))
    return file


def label_table(table: pa.Table) -> str:
    """Return the most frequent labels of the whole collection, at the lowest threshold, as lines of text."""
    threshold = pc.min(table["min_confidence"]).as_py()
    if threshold is None:
        return "The collection has no labels."
    top = table.filter((pc.field("scope") == "all") & (pc.field("min_confidence") == threshold)).slice(0, TOP)
    lines = [f"Labels of the whole collection at a confidence of {threshold:g} % or more:"]
    lines += [f"{'LABEL':<24}{'IMAGES':>8}{'INSTANCES':>11}{'SHARE':>8}{'MEAN CONFIDENCE':>17}"]
    lines += [
        f"{row['label']:<24}{row['images']:>8}{row['instances']:>11}{row['share']:>8.0%}{row['mean_confidence']:>17.1f}"
        for row in top.to_pylist()
    ]
    return "\n".join(lines)


def _explain(dag: Dag, run_id: str) -> None:
    failed = [instance for instance in dag.task_instances(run_id) if instance["state"] == "failed"]
    print("\nThe run failed.")
    for instance in failed:
        where = f"[{instance['map_index']}]" if instance["map_index"] >= 0 else ""
        print(f"\nThe end of the log of {instance['task_id']}{where}:")
        print("\n".join(f"    {line}" for line in dag.log(run_id, instance)[-LOG_LINES:]))


if __name__ == "__main__":
    sys.exit(main())
