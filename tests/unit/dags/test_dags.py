"""The DAG files as Airflow reads them."""

from __future__ import annotations

import itertools
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow._shared.module_loading.file_discovery import find_path_from_directory
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import WeightRule
from airflow.sdk.definitions.mappedoperator import MappedOperator
from airflow.sdk.exceptions import ParamValidationError
from airflow.serialization.serialized_objects import DagSerialization

from image_labels.notifications import TroubleNotifier
from image_labels.operators.base import RETRY_POLICY, is_true
from image_labels.tables import TABLES

if TYPE_CHECKING:
    from airflow.sdk import DAG

PROJECT = Path(__file__).resolve().parents[3]

FILES = {
    "image_labels_daily.py": ["image_labels"],
    "image_labels_forget.py": ["image_labels_forget"],
    "image_labels_rebuild.py": ["image_labels_rebuild"],
    "image_labels_report_example.py": ["image_labels_report_example"],
}
"""Every file below dags/ with its DAGs: a new one is entered here, and so is tested."""

DAG_IDS = [dag_id for dag_ids in FILES.values() for dag_id in dag_ids]
TAGS = {"image-labels"}


@pytest.fixture(scope="module")
def dag_bag() -> DagBag:
    return DagBag(PROJECT / "dags", safe_mode=False)


@pytest.fixture
def daily(dag_bag: DagBag) -> DAG:
    return dag_bag.dags["image_labels"]


def test_every_file_is_listed_with_its_dags(dag_bag: DagBag) -> None:
    assert dag_bag.import_errors == {}
    assert {file.name for file in (PROJECT / "dags").rglob("*.py")} == set(FILES)
    found = {name: sorted(d.dag_id for d in dag_bag.dags.values() if Path(d.fileloc).name == name) for name in FILES}
    assert found == FILES


@pytest.mark.parametrize(("setting", "batches"), [(None, 2), ("7", 7)])
def test_how_many_batches_upload_at_once_is_a_setting(
    monkeypatch: pytest.MonkeyPatch, setting: str | None, batches: int
) -> None:
    if setting:
        monkeypatch.setenv("AIRFLOW__IMAGE_LABELS__UPLOADS_AT_ONCE", setting)
    dag = DagBag(PROJECT / "dags/image_labels_daily.py", safe_mode=False).dags["image_labels"]
    assert dag.get_task("batch.upload").max_active_tis_per_dag == batches
    assert dag.get_task("batch.analyse").max_active_tis_per_dag == 4


@pytest.mark.parametrize("dag_id", DAG_IDS)
def test_each_dag_may_be_left_alone(dag_bag: DagBag, dag_id: str) -> None:
    dag = dag_bag.dags[dag_id]
    assert not dag.catchup
    assert dag.max_active_runs == 1
    assert dag.tags == TAGS
    assert dag.description
    for task in dag.tasks:
        assert task.owner == "image-labels"
        assert task.retries >= 1
        assert task.retry_policy is RETRY_POLICY


@pytest.mark.parametrize("dag_id", DAG_IDS)
def test_each_dag_and_task_tells_what_it_does(dag_bag: DagBag, dag_id: str) -> None:
    dag = dag_bag.dags[dag_id]
    assert dag.doc_md.strip().startswith("# ")
    assert "may be run again" in dag.doc_md
    assert [task.task_id for task in dag.tasks if not task.doc_md] == []
    assert [name for name, param in dag.params.items() if not dag.params.get_param(name).description] == []


def test_each_task_is_in_the_manual(daily: DAG) -> None:
    described = set(re.findall(r"^\| `([\w.]+)` \|", daily.doc_md, flags=re.MULTILINE))
    assert described == set(daily.task_ids)


def test_the_day_is_a_whole_day_in_utc(daily: DAG) -> None:
    timetable = DagSerialization.from_dict(DagSerialization.to_dict(daily)).timetable
    run = timetable.infer_manual_data_interval(run_after=datetime(2026, 3, 30, 3, tzinfo=UTC))
    # The clocks of Europe change on this day.
    assert (run.start, run.end) == (datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 3, 30, tzinfo=UTC))
    assert daily.start_date is not None
    assert daily.start_date.utcoffset() == timedelta(0)


def test_the_rebuild_runs_only_when_it_is_asked_for(dag_bag: DagBag) -> None:
    assert dag_bag.dags["image_labels_rebuild"].schedule is None


def test_the_tasks_follow_the_flow(daily: DAG) -> None:
    batch = ["sense", "batch.upload", "batch.analyse", "batch.ingest"]
    flow = [*itertools.pairwise(batch), *itertools.product(["batch.ingest"], ["index", "report"])]
    assert {*batch, "index", "report", "account"} == set(daily.task_ids)
    for earlier, later in [*flow, ("index", "account"), ("report", "account")]:
        assert later in daily.get_task(earlier).downstream_task_ids


def test_the_books_are_closed_when_all_is_over(daily: DAG) -> None:
    account = daily.get_task("account")
    assert account.trigger_rule == "all_done"
    assert account.upstream_task_ids == set(daily.task_ids) - {"account", "batch.upload", "batch.analyse"}
    assert account.downstream_task_ids == set()


def test_a_failed_run_and_a_late_one_are_told(daily: DAG) -> None:
    """By a class that the DAG processor and the triggerer can import, so by none of a DAG file."""
    assert isinstance(daily.on_failure_callback, TroubleNotifier)
    [deadline] = daily.deadline
    assert deadline.callback.path == "image_labels.notifications.TroubleNotifier"
    DagSerialization.from_dict(DagSerialization.to_dict(daily))


def test_a_day_without_photos_still_has_its_report(daily: DAG) -> None:
    """No batch means that the mapped tasks are skipped."""
    assert daily.get_task("index").trigger_rule == "none_failed"
    assert daily.get_task("report").trigger_rule == "none_failed"


@pytest.mark.parametrize(
    ("logical_date", "asked", "recount"),
    [
        (datetime(2026, 3, 1, tzinfo=UTC), False, True),
        (datetime(2026, 3, 2, tzinfo=UTC), False, False),
        (datetime(2026, 3, 2, tzinfo=UTC), True, True),
        (None, False, True),
    ],
    ids=["first of the month", "other day", "asked for", "without a date, on the first"],
)
def test_all_is_counted_anew_every_month(daily: DAG, logical_date: datetime | None, asked: bool, recount: bool) -> None:
    report = daily.get_task("report")
    run = SimpleNamespace(logical_date=logical_date, run_after=datetime(2026, 4, 1, 5, tzinfo=UTC))
    rendered = report.render_template(report.recount, {"params": {"recount": asked}, "dag_run": run})
    assert is_true(rendered) is recount


def test_batches_are_mapped_and_have_names(daily: DAG) -> None:
    mapped = [task for task in daily.tasks if task.get_closest_mapped_task_group()]
    assert [task.task_id for task in mapped] == ["batch.upload", "batch.analyse", "batch.ingest"]
    assert all(task.map_index_template for task in mapped)
    assert not any(isinstance(task, MappedOperator) for task in daily.tasks)


def test_what_is_begun_is_finished_before_more_is_begun(daily: DAG) -> None:
    """The scheduler takes first what has most behind it, and of the same task the batch that comes first."""
    assert {task.weight_rule for task in daily.tasks} == {WeightRule.UPSTREAM}


def test_each_table_is_an_asset(daily: DAG) -> None:
    told = [asset.name for task in daily.tasks for asset in task.outlets]
    assert sorted(told) == sorted(TABLES)


def test_the_example_waits_for_a_table_of_the_report(dag_bag: DagBag, daily: DAG) -> None:
    schedule = dag_bag.dags["image_labels_report_example"].schedule
    assert {asset.name for asset in schedule} <= {asset.name for asset in daily.get_task("report").outlets}


@pytest.mark.parametrize("dag_id", DAG_IDS)
def test_the_params_accept_their_defaults(dag_bag: DagBag, dag_id: str) -> None:
    dag = dag_bag.dags[dag_id]
    for name in dag.params:
        dag.params.get_param(name).resolve()


def test_the_defaults_are_those_of_the_design(daily: DAG) -> None:
    assert {"min_confidence": 50, "max_labels": 100, "thresholds": [50, 70, 90]}.items() <= daily.params.dump().items()
    assert {"landing", "bucket", "prefix", "batch_size", "quota"} <= daily.params.keys()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("min_confidence", 0), ("min_confidence", 62.5), ("max_labels", 1000), ("thresholds", [0]),
        ("thresholds", [99.9, 50]), ("quota", 0.5), ("landing", "s3://conn@cards/in/{{ ds }}"), ("batch_size", 1),
        ("wait_minutes", 0), ("max_images", None), ("max_images", 0), ("max_spend_usd", 12.5), ("dry_run", True),
    ],
)  # fmt: skip
def test_a_param_accepts(daily: DAG, name: str, value: Any) -> None:
    assert daily.params.get_param(name).resolve(value) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("min_confidence", -1), ("min_confidence", 101), ("min_confidence", "high"), ("max_labels", 0),
        ("max_labels", 1001), ("max_labels", 2.5), ("thresholds", []), ("thresholds", [101]), ("thresholds", 50),
        ("thresholds", ["high"]), ("batch_size", 0), ("quota", 0), ("quota", -5), ("wait_minutes", -1),
        ("settle_seconds", -1), ("landing", None), ("bucket", 5), ("max_images", -1), ("max_images", 1.5),
        ("max_spend_usd", -0.01), ("price_per_thousand", -1), ("max_failure_share", 1.5), ("dry_run", "no"),
    ],
)  # fmt: skip
def test_a_param_refuses(daily: DAG, name: str, value: Any) -> None:
    with pytest.raises(ParamValidationError):
        daily.params.get_param(name).resolve(value)


def test_every_param_is_used(daily: DAG) -> None:
    def templates(value: Any) -> str:
        return value if isinstance(value, str) else ""

    used = " ".join(templates(getattr(task, field)) for task in daily.tasks for field in task.template_fields)
    assert set(re.findall(r"params\.(\w+)", used)) == set(daily.params)


def test_airflow_executes_only_the_plugin_of_the_package() -> None:
    """Every other module would be loaded a second time under its bare name, in every Airflow process."""
    plugins = PROJECT / "plugins"
    executed = [Path(file) for file in find_path_from_directory(plugins, ".airflowignore", "glob")]
    assert [file.relative_to(plugins).as_posix() for file in executed if file.suffix == ".py"] == [
        "image_labels/plugin.py"
    ]
