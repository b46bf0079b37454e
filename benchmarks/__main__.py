"""Run the benchmarks: ``python -m benchmarks [--size short|full] [name ...]``; ``make bench`` does all of them.

Each writes its figures as JSON into ``benchmarks/results/``, of all of which ``docs/benchmarks.md`` is made. A ``note``
that somebody adds there is shown below the table, and is gone with the figures that it is about.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import shutil
import textwrap
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
RESULTS = PROJECT / "benchmarks/results"
WORK = PROJECT / ".local/bench"
PAGE = PROJECT / "docs/benchmarks.md"

TITLES = {
    "quota": "Share of the quota",
    "analysis": "Analysis beside a loop and a thread pool",
    "dag_run": "A whole DAG run",
    "workers": "Several workers",
    "upload": "Upload",
    "ingest": "Ingest",
    "queries": "Queries",
    "report": "Report",
    "growth": "Growth",
    "nothing_new": "Nothing new",
    "parse": "Reading the DAG files",
}

HEAD = """\
# Benchmarks

Made by `make bench SIZE=full` (`SIZE=short` takes five minutes); do not edit. Everything runs on one machine: the
pipeline, MongoDB in the place of DocumentDB, SeaweedFS in the place of S3, and the stand-in for Rekognition with its
label generator. So the figures that count are the ratios, of what one run measured side by side. Where *cores busy*
comes near 100 %, the machine is the limit and not the pipeline.
"""


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(description="Measure the pipeline.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(TITLES)}; all if none is given")
    parser.add_argument("--size", choices=("short", "full"), default="short")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(TITLES):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    run(arguments.names or list(TITLES), full=arguments.size == "full")
    PAGE.write_text(page())


def run(names: list[str], *, full: bool) -> None:
    """Run benchmarks on servers of their own, which end with them."""
    # Here, since the processes that are measured import this module, too.
    import ports
    from benchmarks.bench import Bench, environment
    from stack import Stack

    shutil.rmtree(WORK, ignore_errors=True)
    stack = Stack(WORK / "stack", airflow=False, wanted_ports=dict.fromkeys(ports.DEFAULTS, ports.ANY))
    (WORK / "stack").mkdir(parents=True)
    try:
        stack.start()
        # Before Airflow is imported: it reads its settings but once.
        os.environ.update(environment(stack.site, "bench"))
        for name in names:
            began = time.monotonic()
            print(f"{TITLES[name]} ...", flush=True)
            module = importlib.import_module(f"benchmarks.{name}")
            rows = module.run(Bench(stack, WORK / name, full))
            shutil.rmtree(WORK / name, ignore_errors=True)
            result = {
                "name": name,
                "size": "full" if full else "short",
                "at": datetime.now(UTC).isoformat(timespec="seconds"),
                "took_seconds": round(time.monotonic() - began, 1),
                "machine": f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}",
                "text": module.__doc__,
                "columns": module.COLUMNS,
                "rows": rows,
            }
            (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
            print(section(result), flush=True)
    finally:
        stack.stop()
        shutil.rmtree(WORK, ignore_errors=True)


def page() -> str:
    """Return the page of all results that there are."""
    files = [RESULTS / f"{name}.json" for name in TITLES]
    return "\n".join([HEAD, *(section(json.loads(file.read_text())) for file in files if file.is_file())])


def section(result: dict[str, Any]) -> str:
    """Return what the page says of one benchmark."""
    columns = {key: tuple(column) for key, column in result["columns"].items()}
    lines = [" | ".join(title for title, _ in columns.values()), " | ".join("---" for _ in columns)]
    lines += [" | ".join(cell(row.get(key, ""), form) for key, (_, form) in columns.items()) for row in result["rows"]]
    return "\n".join(
        [
            f"## {TITLES[result['name']]}",
            "",
            result["text"],
            *(f"| {line} |" for line in lines),
            "",
            *([textwrap.fill(result["note"], 120), ""] if "note" in result else []),
            f"{result['at'][:10]}, {result['size']}, {result['machine']}; took {result['took_seconds']:.0f} s.",
            "",
        ]
    )


def cell(value: Any, form: str) -> str:
    """Return the text of a figure."""
    if isinstance(value, bool):
        return "yes" if value else "**no**"
    return format(value, form) if value != "" else ""


if __name__ == "__main__":
    main()
