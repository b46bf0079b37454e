"""The books of a run: what came in, what became of it, and whether that adds up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from image_labels.tables import RUNS

if TYPE_CHECKING:
    import pyarrow as pa

Step = Mapping[str, int]
Books = dict[str, dict[str, int]]

BALANCES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("sense.batches", ("upload.batches",)),
    ("sense.new", ("upload.sensed", "sense.carried")),
    ("upload.sensed", ("upload.uploaded", "upload.unchanged", "upload.quarantined", "upload.carried")),
    ("upload.to_analyse + upload.answered", ("upload.uploaded", "upload.unchanged")),
    ("upload.manifests", ("analyse.batches",)),
    ("upload.to_analyse", ("analyse.to_analyse",)),
    ("analyse.to_analyse", ("analyse.called", "analyse.reused", "analyse.quarantined")),
    ("analyse.batches", ("ingest.batches",)),
    ("ingest.ingested", ("analyse.called", "analyse.reused")),
)
"""What has to be equal: the left sum and the right one."""


def add_up(sense: Step, upload: Iterable[Step], analyse: Iterable[Step], ingest: Iterable[Step]) -> Books:
    """Return the books of a run from what its tasks counted; those of the batches are added up."""
    return {"sense": dict(sense), "upload": _sum(upload), "analyse": _sum(analyse), "ingest": _sum(ingest)}


def _sum(steps: Iterable[Step]) -> dict[str, int]:
    total = {"batches": 0}
    for step in steps:
        total["batches"] += 1
        for name, count in step.items():
            total[name] = total.get(name, 0) + count
    return total


def imbalances(books: Books) -> list[str]:
    """Return a sentence for each sum that does not come out; none if all do."""

    def value(term: str) -> int:
        step, name = term.split(".")
        return books[step].get(name, 0)

    wrong = []
    for left, right in BALANCES:
        left_terms = left.split(" + ")
        if sum(map(value, left_terms)) != sum(map(value, right)):
            shown = [" + ".join(f"{term} ({value(term)})" for term in terms) for terms in (left_terms, right)]
            wrong.append(f"{shown[0]} should be {shown[1]}")
    return wrong


def quarantined(books: Books) -> int:
    """Return how many images the run put into quarantine."""
    return books["upload"].get("quarantined", 0) + books["analyse"].get("quarantined", 0)


def carried(books: Books) -> int:
    """Return how many new files are left to the next run: by the budget, or as they are more than a run can have."""
    return books["sense"].get("carried", 0) + books["upload"].get("carried", 0)


def looked_at(books: Books) -> int:
    """Return how many images the run did not carry to the next one."""
    return books["upload"].get("sensed", 0) - books["upload"].get("carried", 0)


def table(runs: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Return the table of runs.

    :param runs: entries of the collection of that name
    """
    import pyarrow as pa

    return pa.Table.from_pylist([_row(run) for run in runs], schema=RUNS.schema()).sort_by(RUNS.sort_keys)


def _row(run: Mapping[str, Any]) -> dict[str, Any]:
    settings, books = run.get("settings") or {}, run.get("books") or {}
    sense, upload, analyse, ingest = (books.get(step) or {} for step in ("sense", "upload", "analyse", "ingest"))
    return {
        "run_id": run["_id"],
        "day": run["logical_date"].date(),
        "asked_min_confidence": settings.get("min_confidence"),
        "asked_max_labels": settings.get("max_labels"),
        "problems": run.get("problems") or [],
        "quarantined": quarantined(books) if books else None,
        **{name: run.get(name) for name in ("dag_id", "state", "opened_at", "closed_at", "landing", "spent_usd")},
        **{name: sense.get(name) for name in ("seen", "known", "unsettled", "new")},
        **{name: upload.get(name) for name in ("uploaded", "unchanged")},
        "carried": carried(books) if upload.get("batches") else None,
        **{name: analyse.get(name) for name in ("to_analyse", "called", "reused")},
        "ingested": ingest.get("ingested"),
    }


def summary(books: Books, day: str, problems: list[str], price_per_thousand: float) -> str:
    """Return the books as the Markdown of a run's note.

    :param problems: why they can't be closed, a sentence each
    :param price_per_thousand: US dollars for a thousand calls
    """
    sense, upload, analyse, ingest = (books[step] for step in ("sense", "upload", "analyse", "ingest"))
    spent = analyse.get("called", 0) * price_per_thousand / 1000

    def count(step: dict[str, int], name: str) -> str:
        return f"{step.get(name, 0):,}"

    lines = [
        f"**Books of {day}**",
        "",
        "| step | |",
        "| --- | --- |",
        (
            f"| sense | {count(sense, 'seen')} files in the landing place: {count(sense, 'known')} known, "
            f"{count(sense, 'unsettled')} still changing, {count(sense, 'new')} new |"
        ),
        (
            f"| upload | {count(sense, 'new')} = {count(upload, 'uploaded')} uploaded"
            f" + {count(upload, 'unchanged')} unchanged + {count(upload, 'quarantined')} quarantined"
            f" + {carried(books):,} carried to the next run |"
        ),
        (
            f"| analyse | {count(analyse, 'to_analyse')} = {count(analyse, 'called')} called"
            f" + {count(analyse, 'reused')} reused + {count(analyse, 'quarantined')} quarantined; {spent:,.3f} USD |"
        ),
        f"| ingest | {count(ingest, 'ingested')} documents |",
    ]
    if problems:
        lines += ["", "**Not closed:**", "", *(f"- {problem}" for problem in problems)]
    return "\n".join(lines)


def forecast(books: Books, day: str, price_per_thousand: float, quota: float) -> str:
    """Return what a run would do, as the Markdown of a dry run's note.

    :param price_per_thousand: US dollars for a thousand calls
    :param quota: calls a second
    """
    upload = books["upload"]
    calls = upload.get("calls", 0)
    lines = [
        f"**Dry run of {day}**: nothing was uploaded, Rekognition was not called",
        "",
        "| | |",
        "| --- | --- |",
        f"| new files | {books['sense'].get('new', 0):,} |",
        f"| not to be taken | {upload.get('quarantined', 0):,} |",
        f"| left to the next run | {carried(books):,} |",
        f"| images to analyse | {upload.get('to_analyse', 0):,} |",
        f"| calls of Rekognition | {calls:,} |",
        f"| price | {calls * price_per_thousand / 1000:,.3f} USD |",
        f"| time at {quota:g} calls a second | {calls / quota:,.0f} s |",
    ]
    return "\n".join(lines)
