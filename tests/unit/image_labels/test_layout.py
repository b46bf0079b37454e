from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_labels.layout import PRIVATE_FOLDERS, Layout, batch_name, batch_number, split_uri

DAY = date(2026, 1, 5)
RUN = "scheduled__2026-01-05T00:00:00+00:00"


def test_the_places_are_the_documented_ones() -> None:
    layout = Layout("photos", "image-labels")
    run = layout.run(DAY, RUN)
    assert layout.image("trips/paris.jpg") == "image-labels/images/trips/paris.jpg"
    assert layout.rendition("ab12") == "image-labels/renditions/ab12.jpg"
    assert layout.thumbnail("ab12") == "image-labels/thumbnails/ab12.jpg"
    assert run.manifest(0) == f"image-labels/manifests/ds=2026-01-05/{RUN}/batch-00000.jsonl"
    assert run.result(42) == f"image-labels/results/ds=2026-01-05/{RUN}/batch-00042.jsonl.gz"
    assert run.quarantine == f"image-labels/quarantine/ds=2026-01-05/{RUN}.jsonl"
    assert layout.report("label_frequency", DAY, "label_frequency.parquet") == (
        "image-labels/reports/label_frequency/report_date=2026-01-05/label_frequency.parquet"
    )
    assert layout.uri(layout.image("a b.jpg")) == "s3://photos/image-labels/images/a b.jpg"


@pytest.mark.parametrize("prefix", ["a/b", "/a/b", "a/b/", "//a/b//"])
def test_slashes_around_the_prefix_do_not_matter(prefix: str) -> None:
    assert Layout("photos", prefix).image("x.jpg") == "a/b/images/x.jpg"


@pytest.mark.parametrize("prefix", ["", "/"])
def test_the_prefix_may_be_the_whole_bucket(prefix: str) -> None:
    layout = Layout("photos", prefix)
    assert layout.image("x.jpg") == "images/x.jpg"
    assert layout.run(DAY, RUN).manifests == f"manifests/ds=2026-01-05/{RUN}/"


def test_all_that_is_written_beside_the_images_is_private() -> None:
    layout = Layout("photos", "")
    run = layout.run(DAY, RUN)
    keys = [
        layout.rendition("ab12"), layout.thumbnail("ab12"), layout.ledger("file:///landing", "min_confidence=50"),
        run.sensed(0), run.settled(0),
        run.manifest(0), run.refused("upload", 0), run.result(0), run.checkpoints(0), run.quarantine,
        layout.report("label_frequency", DAY, "x"), layout.publication(DAY), layout.staged(DAY, "x"),
        layout.counts("labels"),
    ]  # fmt: skip
    assert {key.partition("/")[0] for key in keys} == set(PRIVATE_FOLDERS)


def test_a_days_quarantine_is_that_of_its_runs() -> None:
    layout = Layout("photos", "p")
    assert layout.run(DAY, RUN).quarantine.startswith(layout.quarantines(DAY))


def test_each_landing_place_has_a_ledger_for_each_settings() -> None:
    layout = Layout("photos", "p")
    ledgers = {layout.ledger(place, asked) for place in ("file:///a", "file:///b") for asked in ("50", "60")}
    assert len(ledgers) == 4
    assert layout.ledger("file:///a", "50") in ledgers


def test_no_two_things_of_a_run_share_a_key() -> None:
    run = Layout("photos", "p").run(DAY, RUN)
    keys = [run.sensed(0), run.settled(0), run.quarantine, run.refused("upload", 0), run.refused("analyse", 0)]
    keys += [place(batch) for batch in (0, 1) for place in (run.manifest, run.result, run.checkpoints)]
    assert len(set(keys)) == len(keys)
    assert run.refused("upload", 0).startswith(run.refusals)
    assert not run.checkpoints(0).startswith(run.checkpoints(1))


@given(st.integers(0, 99_999))
def test_the_number_of_a_batch_is_read_back_from_its_files(number: int) -> None:
    run = Layout("photos", "p").run(DAY, RUN)
    for key in (run.sensed(number), run.manifest(number)):
        assert batch_number(run.layout.uri(key)) == number
        assert f"/{batch_name(number)}.jsonl" in key


@pytest.mark.parametrize(
    "uri", ["s3://b/batch-1.json", "s3://b/batch-x.jsonl", "s3://b/sensed.jsonl", "", "batch-.jsonl"]
)
def test_what_is_no_batch_is_named(uri: str) -> None:
    with pytest.raises(ValueError, match=r"not the address of a batch \(…/batch-00000.jsonl\)") as error:
        batch_number(uri)
    assert repr(uri) in str(error.value)


@pytest.mark.parametrize("key", ["x", "a/b.jpg", "a b/ä+%2F#?.jpg", "", "s3://x"])
def test_an_address_comes_apart_as_it_was_put_together(key: str) -> None:
    assert split_uri(Layout("photos", "").uri(key)) == ("photos", key)


@pytest.mark.parametrize("uri", ["photos/key", "/photos/key", "s3:///key", "s3://", "https://photos/key"])
def test_what_is_no_s3_address_is_named(uri: str) -> None:
    with pytest.raises(ValueError, match="not an S3 address"):
        split_uri(uri)
