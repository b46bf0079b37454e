"""A landing place in S3."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from image_labels.landing import DONE, S3Landing, Survey, new_files
from image_labels.layout import Layout
from image_labels.operators.base import open_landing
from servers import airflow_environment

if TYPE_CHECKING:
    from servers import Site

DAY = date(2026, 1, 5)
ODD_NAMES = [
    "a b.jpg",
    "a+b.jpg",
    "a%2Fb.jpg",
    "a#b?.jpg",
    'it\'s "x".jpg',
    "Ä.jpg",
    "A\u0308.jpg",
    "日本.jpg",
    "🙂.jpg",
]


def put(s3: Any, bucket: str, *keys: str, content: bytes = b"12345") -> None:
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=content)


def landing(s3: Any, bucket: str, folder: str = "in", layout: Layout | None = None) -> S3Landing:
    return S3Landing(s3, bucket, folder, folder, layout or Layout("other", ""))


def paths(place: S3Landing) -> list[str]:
    return [file.path for file in place.files()]


def test_files_of_all_folders_are_found_by_their_paths(s3: Any, bucket: str) -> None:
    put(s3, bucket, "in/a.jpg", "in/trips/paris/b.jpg", "in-private/c.jpg", "d.jpg")
    assert paths(landing(s3, bucket)) == ["a.jpg", "trips/paris/b.jpg"]
    assert paths(landing(s3, bucket, "")) == ["d.jpg", "in-private/c.jpg", "in/a.jpg", "in/trips/paris/b.jpg"]


def test_files_come_in_the_order_of_their_bytes(s3: Any, bucket: str) -> None:
    in_folders = ["a/b.jpg", "a/b/c.jpg", "a.jpg.d/x.jpg", "a!/z.jpg", "a b.jpg.d/x.jpg"]
    names = ["a.jpg", "a0.jpg", "a-b.jpg", "B.jpg", *in_folders, *ODD_NAMES]
    put(s3, bucket, *(f"in/{name}" for name in names))
    assert paths(landing(s3, bucket)) == sorted(names, key=str.encode)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_file_with_an_odd_name_is_read(s3: Any, bucket: str, name: str) -> None:
    put(s3, bucket, f"in/{name}", content=name.encode())
    place = landing(s3, bucket)
    (file,) = place.files()
    assert (file.path, file.size, file.version) == (name, len(name.encode()), place.version(name))
    with place.open(name) as content:
        assert content.read() == name.encode()
        content.seek(0)
        assert content.read(1) == name.encode()[:1]


def test_hidden_and_partial_objects_and_folder_markers_are_left_out(s3: Any, bucket: str) -> None:
    put(s3, bucket, "in/", "in/.x/a.jpg", "in/.DS_Store", "in/a.jpg.part", "in/Thumbs.db", "in/sub/", "in/a.jpg")
    assert paths(landing(s3, bucket)) == ["a.jpg"]


def test_a_changed_object_has_another_version_and_a_vanished_one_none(s3: Any, bucket: str) -> None:
    put(s3, bucket, "in/a.jpg")
    place = landing(s3, bucket)
    first = place.version("a.jpg")
    put(s3, bucket, "in/a.jpg", content=b"other")
    assert place.version("a.jpg") not in (first, None)
    s3.delete_object(Bucket=bucket, Key="in/a.jpg")
    assert place.version("a.jpg") is None
    with pytest.raises(FileNotFoundError):
        place.open("a.jpg")


def test_objects_need_no_time_to_settle(s3: Any, bucket: str) -> None:
    put(s3, bucket, "in/a.jpg")
    survey = Survey()
    assert len(list(new_files(landing(s3, bucket).files(), [], "run", settled_before=1.0, survey=survey))) == 1
    assert survey.is_ready


def test_a_second_look_finds_nothing_new(s3: Any, bucket: str) -> None:
    put(s3, bucket, *(f"in/{name}" for name in ODD_NAMES), "in/x/y.jpg", "in/x.jpg", "in/x y.jpg")
    place = landing(s3, bucket)
    ledger = [[file.path, file.size, file.version, "yesterday", DONE, "2026-01-04"] for file in place.files()]
    survey = Survey()
    assert list(new_files(place.files(), ledger, "today", 1.0, survey)) == []
    assert survey.known == len(ODD_NAMES) + 3


def test_in_the_pipelines_own_bucket_photos_are_analysed_in_place(s3: Any, bucket: str) -> None:
    layout = Layout(bucket, "image-labels")
    put(s3, bucket, "in/a.jpg", "in/x/b.jpg")
    place = landing(s3, bucket, layout=layout)
    assert [place.key_in_place(path) for path in paths(place)] == ["in/a.jpg", "in/x/b.jpg"]


def test_in_another_bucket_photos_are_copied(s3: Any, bucket: str) -> None:
    put(s3, bucket, "in/a.jpg")
    assert landing(s3, bucket, layout=Layout("other", "image-labels")).key_in_place("a.jpg") is None


@pytest.mark.parametrize("prefix", ["image-labels", ""])
def test_what_the_pipeline_writes_is_never_taken_for_a_photo(s3: Any, bucket: str, prefix: str) -> None:
    layout = Layout(bucket, prefix)
    run = layout.run(DAY, "run")
    put(s3, bucket, layout.rendition("ab"), run.sensed(0), run.result(0), run.quarantine, layout.ledger("x", "y"))
    put(s3, bucket, layout.report("t", DAY, "chart.png"), layout.image("a.jpg"), "b.jpg")
    assert paths(landing(s3, bucket, "", layout=layout)) == sorted([layout.image("a.jpg"), "b.jpg"])


def test_a_missing_bucket_is_named(s3: Any) -> None:
    with pytest.raises(FileNotFoundError, match="s3://no-such-bucket/in: there is no such bucket"):
        paths(landing(s3, "no-such-bucket"))


def test_an_empty_folder_is_empty(s3: Any, bucket: str) -> None:
    assert paths(landing(s3, bucket)) == []


# --- addresses ---


@pytest.fixture
def connected(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", airflow_environment(site)["AIRFLOW_CONN_AWS_DEFAULT"])


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize(
    ("address", "folder", "path"),
    [
        ("s3://{}/in", "in/trips", "trips/IMG_0001.jpg"),
        ("s3://{}/in/", "in", "IMG_0001.jpg"),
        ("s3://{}", "in", "in/IMG_0001.jpg"),
        ("s3://{}/my photos/ü+%20", "my photos/ü+%20", "IMG_0001.jpg"),
        ("s3://{}/trip #1?", "trip #1?", "IMG_0001.jpg"),
        ("s3://{}/in/{{{{ ds }}}}", "in/2026-01-05", "2026-01-05/IMG_0001.jpg"),
        ("s3://{}/{{{{ ds }}}}/raw", "2026-01-05/raw", "2026-01-05/raw/IMG_0001.jpg"),
        ("s3://{}/in/day-{{{{ds}}}}", "in/day-2026-01-05", "day-2026-01-05/IMG_0001.jpg"),
    ],
)
def test_a_folder_of_a_bucket_is_given_by_its_address(
    s3: Any, bucket: str, address: str, folder: str, path: str
) -> None:
    put(s3, bucket, f"{folder}/IMG_0001.jpg")
    place = open_landing(address.format(bucket), DAY, Layout("other", ""), "aws_default")
    assert [file.path for file in place.files()] == [path]
    with place.open(path) as content:
        assert content.read() == b"12345"


def test_a_landing_place_may_have_a_connection_of_its_own(
    s3: Any, bucket: str, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CARDS", airflow_environment(site)["AIRFLOW_CONN_AWS_DEFAULT"])
    put(s3, bucket, "in/a.jpg")
    place = open_landing(f"s3://cards@{bucket}/in", DAY, Layout("other", ""), "no_such_connection")
    assert [file.path for file in place.files()] == ["a.jpg"]
