from __future__ import annotations

from datetime import timedelta
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from image_labels import tables
from image_labels.changes import ENOUGH, images_of_scopes, label_changes
from sample_report import DAY, frequencies

if TYPE_CHECKING:
    import pyarrow as pa

AT_ONCE = {50.0: 1.0}


def report(images: int, models: tuple[str, ...] = ("3.0",), **counts: int) -> pa.Table:
    """Return a report of a day with images, of which some have a label."""
    return frequencies({"day": counts}, {"day": images}, models, AT_ONCE)


def before(*reports: pa.Table) -> list[Any]:
    """Return reports of the days before, that of yesterday first."""
    return [(DAY - timedelta(days=days), table) for days, table in enumerate(reports, start=1)]


def changes(today: pa.Table, *earlier: pa.Table, **aliases: str) -> dict[str, dict[str, Any]]:
    """Return the row of each label."""
    return {row["label"]: row for row in label_changes(today, before(*earlier), aliases).to_pylist()}


def test_a_label_is_compared_with_the_last_report_and_with_the_median() -> None:
    dog = changes(report(100, Dog=30), report(50, Dog=5), report(200, Dog=40), report(10, Cat=1))["Dog"]
    assert dog["status"] == "kept"
    assert (dog["images"], dog["scope_images"], dog["share"]) == (30, 100, 0.3)
    assert dog["last_report_date"] == DAY - timedelta(days=1)
    assert (dog["last_images"], dog["last_scope_images"], dog["last_share"]) == (5, 50, 0.1)
    assert (dog["reports"], dog["reports_with_label"], dog["median_share"]) == (3, 2, 0.1)


def test_new_and_vanished_labels() -> None:
    found = changes(report(100, Dog=30, Yak=1), report(50, Dog=5), report(50, Cat=5))
    assert {label: row["status"] for label, row in found.items()} == {"Dog": "kept", "Yak": "new", "Cat": "vanished"}
    assert (found["Cat"]["images"], found["Cat"]["share"], found["Cat"]["scope_images"]) == (0, 0.0, 100)
    assert (found["Cat"]["last_images"], found["Cat"]["median_share"]) == (0, 0.05)
    assert (found["Yak"]["last_images"], found["Yak"]["median_share"]) == (0, 0.0)


def test_the_first_report_has_nothing_to_be_compared_with() -> None:
    dog = changes(report(10, Dog=3))["Dog"]
    assert (dog["status"], dog["reports"]) == ("first", 0)
    assert {dog[name] for name in ("last_report_date", "last_share", "median_share", "deviation")} == {None}


def test_a_day_without_a_report_is_not_a_day_without_labels() -> None:
    earlier = [(DAY - timedelta(days=days), report(10, Dog=5)) for days in (3, 9, 20)]
    (dog,) = label_changes(report(10, Dog=5), earlier).to_pylist()
    assert (dog["reports"], dog["median_share"]) == (3, 0.5)
    assert dog["last_report_date"] == DAY - timedelta(days=3)


def test_a_day_without_images_does_not_count() -> None:
    dog = changes(report(10, Dog=5), report(0), report(10, Dog=5))["Dog"]
    assert (dog["reports"], dog["median_share"], dog["last_images"]) == (1, 0.5, 5)
    assert dog["last_report_date"] == DAY - timedelta(days=2)


def test_a_report_without_images_has_no_changes() -> None:
    assert changes(report(0), report(10, Dog=5)) == {}


def test_a_report_without_the_threshold_does_not_count_for_it() -> None:
    today = frequencies({"day": {"Dog": 4}}, {"day": 10}, thresholds={50.0: 1.0, 80.0: 0.5})
    rows = label_changes(today, before(report(10, Dog=5))).to_pylist()
    assert {row["min_confidence"]: row["reports"] for row in rows} == {50.0: 1, 80.0: 0}
    assert {row["min_confidence"]: row["status"] for row in rows} == {50.0: "kept", 80.0: "first"}


def test_a_threshold_that_is_no_longer_asked_for_has_no_rows() -> None:
    earlier = frequencies({"day": {"Dog": 4}}, {"day": 10}, thresholds={50.0: 1.0, 80.0: 0.5})
    assert {row["min_confidence"] for row in label_changes(report(10, Dog=5), before(earlier)).to_pylist()} == {50.0}


def test_a_new_model_is_seen_with_the_names_it_has_changed() -> None:
    found = changes(
        report(100, ("3.0",), Person=50), report(100, ("2.0",), Person=50, Human=50), Human="Person", Kitten="Cat"
    )
    assert (found["Person"]["last_model_versions"], found["Person"]["model_versions"]) == (["2.0"], ["3.0"])
    assert (found["Human"]["status"], found["Human"]["now_called"]) == ("vanished", "Person")
    assert found["Person"]["now_called"] is None


def test_only_days_are_judged_and_only_when_there_is_something_usual() -> None:
    counts = {"day": {"Dog": 5}, "all": {"Dog": 50}}
    one = frequencies(counts, {"day": 10, "all": 100}, thresholds=AT_ONCE)
    for reports, judged in ((ENOUGH - 1, {"day": False, "all": False}), (ENOUGH, {"day": True, "all": False})):
        rows = label_changes(one, before(*[one] * reports)).to_pylist()
        assert {row["scope"]: row["deviation"] is not None for row in rows} == judged


def deviation(today: pa.Table, *earlier: pa.Table) -> float:
    return float(changes(today, *earlier)["Dog"]["deviation"])


def test_the_same_share_of_more_images_is_no_deviation() -> None:
    assert deviation(report(10_000, Dog=1000), *[report(100, Dog=10)] * 10) == pytest.approx(0, abs=0.01)


def test_few_images_say_little_and_many_say_much() -> None:
    usual = [report(1000, Dog=100)] * 10
    few, many = deviation(report(10, Dog=2), *usual), deviation(report(1000, Dog=200), *usual)
    assert 0 < few < 2
    assert many > 8


def test_a_rare_label_that_is_seen_once_is_no_surprise() -> None:
    assert deviation(report(100, Dog=1), *[report(100, Cat=9)] * 28) < 2


def test_where_days_scatter_more_than_chance_it_takes_more_to_stand_out() -> None:
    calm = [report(1000, Dog=100)] * 10
    restless = [report(1000, Dog=dogs) for dogs in (20, 180, 40, 160, 100, 60, 140, 100, 30, 170)]
    assert deviation(report(1000, Dog=200), *restless) < 3 < 8 < deviation(report(1000, Dog=200), *calm)


def test_one_strange_day_does_not_move_what_is_usual() -> None:
    calm = [report(1000, Dog=100)] * 10
    strange = [report(5000, Dog=5000), *calm[1:]]
    assert deviation(report(1000, Dog=130), *strange) == pytest.approx(deviation(report(1000, Dog=130), *calm))


LABELS = st.sampled_from(["Person", "Dog", "</script><b>", "Café", "a,b\nc"])
REPORTS = st.integers(1, 50).flatmap(
    lambda images: st.tuples(st.just(images), st.dictionaries(LABELS, st.integers(1, images)))
)


@settings(max_examples=60, deadline=None)
@given(REPORTS, st.lists(REPORTS, max_size=12))
def test_the_numbers_are_those_that_plain_counting_gives(
    now: tuple[int, dict[str, int]], earlier: list[tuple[int, dict[str, int]]]
) -> None:
    table = label_changes(report(now[0], **now[1]), before(*(report(size, **counts) for size, counts in earlier)))
    assert table.schema.equals(tables.LABEL_CHANGES.schema(), check_metadata=True)
    assert table == table.sort_by(tables.LABEL_CHANGES.sort_keys)
    rows = {row["label"]: row for row in table.to_pylist()}
    counted = [(size, counts) for size, counts in earlier if counts]
    if now[1]:
        assert rows.keys() == now[1].keys() | {label for _, counts in counted for label in counts}
    for label, row in rows.items():
        shares = [counts.get(label, 0) / size for size, counts in counted]
        assert row["images"] == now[1].get(label, 0)
        assert row["share"] == row["images"] / now[0]
        assert row["reports_with_label"] == sum(share > 0 for share in shares)
        assert row["median_share"] == (median(shares) if shares else None)
        assert row["last_share"] == (shares[0] if shares else None)
        if row["deviation"]:
            assert (row["deviation"] > 0) == (row["share"] > row["median_share"])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 10_000_000), st.data())
def test_the_images_of_a_scope_are_told_by_any_share(total: int, data: Any) -> None:
    images = data.draw(st.integers(1, total))
    assert images_of_scopes(report(total, Dog=images)) == {"day": total}
