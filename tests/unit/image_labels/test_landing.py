"""What lies in the landing place, in which order, and what of it is new."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_labels.errors import BadSettings
from image_labels.landing import (
    CARRIED,
    DONE,
    QUARANTINED,
    LandingFile,
    LocalLanding,
    S3Landing,
    Survey,
    is_candidate,
    merge,
    new_files,
)
from image_labels.layout import Layout
from image_labels.operators.base import open_landing

ODD_NAMES = [
    "a.jpg", "a b.jpg", "a+b.jpg", "a%2Fb.jpg", "a#b?.jpg", "a'b\".jpg", "a\nb.jpg", "a!.jpg", "a-b.jpg", "A.JPG",
    "Ä.jpg", "A\u0308.jpg", "ä.jpg", "日本.jpg", "🙂.jpg", "\uffee.jpg", "\u200fa.jpg", "a.jpg.jpg",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "landing"
    folder.mkdir()
    return folder


def put(file: Path, content: bytes = b"x") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def found(folder: Path) -> list[str]:
    return [file.path for file in LocalLanding(str(folder)).files()]


def problems(folder: Path) -> dict[str, str | None]:
    return {file.path: file.problem for file in LocalLanding(str(folder)).files()}


# --- order ---


def test_files_and_folders_come_in_the_order_of_their_keys(folder: Path) -> None:
    paths = ["a b.jpg", "a.jpg", "a/b.jpg", "a0.jpg", "a/b/c.jpg", "a.jpg.d/x.jpg", "a!/z.jpg"]
    for path in paths:
        put(folder / path)
    assert found(folder) == sorted(paths, key=str.encode)


def test_odd_names_come_in_the_order_of_their_bytes(folder: Path) -> None:
    paths = [*ODD_NAMES, *(f"{name}.d/{name}" for name in ODD_NAMES)]
    for path in paths:
        put(folder / path)
    assert found(folder) == sorted(paths, key=str.encode)


@given(st.sets(st.lists(st.text(" !-.0ab~é🙂", min_size=1, max_size=2), min_size=1, max_size=3).map("/".join)))
def test_the_order_of_any_tree_is_that_of_s3(tmp_path_factory: pytest.TempPathFactory, paths: set[str]) -> None:
    folder = tmp_path_factory.mktemp("tree")
    for path in paths:
        if set(path.split("/")).isdisjoint((".", "..")) and not (folder / f"{path}.jpg").exists():
            put(folder / f"{path}.jpg")
    listed = found(folder)
    assert listed == sorted(listed, key=str.encode)
    made = [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()]
    assert set(listed) == {path for path in made if all(map(is_candidate, path.split("/")))}


def test_a_name_that_is_not_utf_8_is_listed(folder: Path) -> None:
    with open(os.fsencode(folder) + b"/caf\xe9.jpg", "wb"):
        pass
    (file,) = LocalLanding(str(folder)).files()
    assert os.fsencode(file.path) == b"caf\xe9.jpg"


def test_a_file_is_known_by_size_and_version(folder: Path) -> None:
    put(folder / "a.jpg", b"12345")
    landing = LocalLanding(str(folder))
    (before,) = landing.files()
    assert before.size == 5
    assert landing.version("a.jpg") == before.version
    os.utime(folder / "a.jpg", ns=(1, 1))
    (after,) = landing.files()
    assert after.version != before.version
    assert landing.version("gone.jpg") is None


def test_files_of_a_folder_are_read_by_their_paths(folder: Path) -> None:
    put(folder / "a b/ü.jpg", b"content")
    landing = LocalLanding(str(folder))
    with landing.open("a b/ü.jpg") as file:
        assert file.read() == b"content"
    assert landing.key_in_place("a b/ü.jpg") is None
    with pytest.raises(FileNotFoundError):
        landing.open("gone.jpg")


# --- what is left out ---


@pytest.mark.parametrize(
    "name",
    [
        ".hidden.jpg", ".DS_Store", ".a.jpg.Xy12Z", "a.jpg.part", "a.jpg.PART", "a.jpg.crdownload", "a.jpg.filepart",
        "a.tmp", "a.jpg~", ".a.jpg.swp", "Thumbs.db", "desktop.ini", ".git/a.jpg", "x/.trash/a.jpg",
        "a.jpg.download/a.jpg",
    ],
)  # fmt: skip
def test_hidden_temporary_and_partial_files_are_left_out(folder: Path, name: str) -> None:
    put(folder / name)
    put(folder / "photo.jpg")
    assert found(folder) == ["photo.jpg"]


@pytest.mark.parametrize("name", ["a", "notes.txt", "a.jpg.bak", "part", "tmp", "tmp/a.jpg", "thumbs.db.jpg"])
def test_any_other_file_may_be_a_photo_whatever_its_name(folder: Path, name: str) -> None:
    put(folder / name)
    assert found(folder) == [name]


def test_an_empty_folder_is_empty(folder: Path) -> None:
    (folder / "empty/deeper").mkdir(parents=True)
    assert found(folder) == []


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"The landing place '.*/gone' is not there.*param `landing`"):
        found(tmp_path / "gone")


def test_a_file_is_no_landing_place(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is no folder"):
        found(put(tmp_path / "a.jpg"))


# --- links and what is no file ---


def test_a_link_to_a_file_inside_is_read_like_a_file(folder: Path) -> None:
    put(folder / "real/a.jpg", b"12345")
    (folder / "link.jpg").symlink_to("real/a.jpg")
    files = {file.path: file for file in LocalLanding(str(folder)).files()}
    assert files["link.jpg"].problem is None
    assert (files["link.jpg"].size, files["link.jpg"].version) == (5, files["real/a.jpg"].version)


def test_linked_folders_inside_are_found_where_they_really_are(folder: Path) -> None:
    put(folder / "real/a.jpg")
    (folder / "link").symlink_to("real")
    (folder / "real/up").symlink_to("..")
    (folder / "real/self").symlink_to(".")
    assert problems(folder) == {"real/a.jpg": None}


@pytest.mark.parametrize("target", ["{outside}/secret.jpg", "../outside/secret.jpg", "{outside}"], ids=str)
def test_a_link_that_leads_out_is_reported_and_not_followed(folder: Path, target: str) -> None:
    outside = put(folder.parent / "outside/secret.jpg", b"secret").parent
    (folder / "link.jpg").symlink_to(target.format(outside=outside))
    assert problems(folder) == {"link.jpg": "it is a link that leads out of the landing place"}
    with pytest.raises(PermissionError, match="leads out"):
        LocalLanding(str(folder)).open("link.jpg")


def test_a_place_whose_name_begins_alike_is_outside(folder: Path) -> None:
    put(folder.parent / "landing-private/a.jpg")
    (folder / "link.jpg").symlink_to("../landing-private/a.jpg")
    assert problems(folder) == {"link.jpg": "it is a link that leads out of the landing place"}


def test_a_file_that_becomes_a_link_out_after_it_was_sensed_is_not_read(folder: Path) -> None:
    file = put(folder / "a.jpg")
    landing = LocalLanding(str(folder))
    assert [file.problem for file in landing.files()] == [None]
    file.unlink()
    file.symlink_to(put(folder.parent / "secret.jpg"))
    with pytest.raises(PermissionError, match="leads out"):
        landing.open("a.jpg")


def test_the_landing_place_itself_may_be_a_link(folder: Path, tmp_path: Path) -> None:
    put(folder / "a.jpg")
    (folder / "b.jpg").symlink_to("a.jpg")
    (tmp_path / "link").symlink_to(folder)
    assert problems(tmp_path / "link") == {"a.jpg": None, "b.jpg": None}


def test_links_in_a_circle_are_reported(folder: Path) -> None:
    (folder / "a.jpg").symlink_to("b.jpg")
    (folder / "b.jpg").symlink_to("a.jpg")
    assert problems(folder) == dict.fromkeys(("a.jpg", "b.jpg"), os.strerror(errno.ELOOP))


def test_a_link_to_nothing_is_reported(folder: Path) -> None:
    (folder / "a.jpg").symlink_to("gone.jpg")
    assert problems(folder) == {"a.jpg": "it is a link to nothing"}


@pytest.mark.timeout(10)
def test_a_pipe_is_reported_and_holds_nobody_up(folder: Path) -> None:
    os.mkfifo(folder / "pipe.jpg")
    (folder / "link.jpg").symlink_to("pipe.jpg")
    assert problems(folder) == dict.fromkeys(("pipe.jpg", "link.jpg"), "it is not a regular file")


def test_an_unreadable_folder_is_reported_and_the_rest_is_listed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ("a.jpg", "locked/b.jpg", "z.jpg"):
        put(folder / path)
    deny_scanning(monkeypatch, folder / "locked")
    assert problems(folder) == {"a.jpg": None, "locked/": "the folder can't be read: Permission denied", "z.jpg": None}


def test_a_landing_place_that_cannot_be_read_at_all_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deny_scanning(monkeypatch, folder)
    with pytest.raises(PermissionError, match=folder.name):
        found(folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_permissions_that_are_denied_are_reported(folder: Path) -> None:
    put(folder / "locked/b.jpg")
    (folder / "locked").chmod(0)
    try:
        assert problems(folder) == {"locked/": "the folder can't be read: Permission denied"}
    finally:
        (folder / "locked").chmod(0o700)


def deny_scanning(monkeypatch: pytest.MonkeyPatch, denied: Path) -> None:
    scandir = os.scandir

    def scan(path: str) -> Any:
        if Path(path) == denied:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)


def test_a_file_that_vanishes_while_it_is_listed_was_never_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(folder / "a.jpg")
    put(folder / "b.jpg")
    files = LocalLanding(str(folder)).files()
    assert next(files).path == "a.jpg"
    (folder / "b.jpg").unlink()
    assert list(files) == []


def test_a_path_that_is_too_long_is_reported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(folder / "a.jpg")
    lstat = os.lstat

    def too_long(path: str) -> os.stat_result:
        if path.endswith("a.jpg"):
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), path)
        return lstat(path)

    monkeypatch.setattr(os, "lstat", too_long)
    assert problems(folder) == {"a.jpg": "File name too long"}


# --- settled ---


@pytest.mark.parametrize("mtime", [0, 4_000_000_000], ids=["of long ago", "still to come"])
def test_a_file_settles_by_when_it_came_whatever_time_it_carries(folder: Path, mtime: int) -> None:
    before = time.time() - 1
    os.utime(put(folder / "a.jpg"), (mtime, mtime))
    (file,) = LocalLanding(str(folder)).files()
    assert before <= file.changed_at <= time.time() + 1


def survey(
    files: list[LandingFile], ledger: list[list[Any]] | None = None, **options: Any
) -> tuple[list[LandingFile], Survey]:
    counts = Survey()
    options = {"run_id": "today", "settled_before": 100.0, **options}
    return list(new_files(iter(files), iter(ledger or []), survey=counts, **options)), counts


def row(file: LandingFile, run_id: str = "yesterday", fate: str = DONE, since: str = "2026-01-01") -> list[Any]:
    return [file.path, file.size, file.version, run_id, fate, since]


def test_a_file_that_is_still_changing_waits() -> None:
    old, young = LandingFile("a", 1, "v", changed_at=100.0), LandingFile("b", 1, "v", changed_at=100.1)
    new, counts = survey([old, young])
    assert new == [old]
    assert counts.books() == {"seen": 2, "known": 0, "unsettled": 1, "new": 1}
    assert not counts.is_ready


@pytest.mark.parametrize(
    ("survey", "ready"),
    [
        (Survey(), False),
        (Survey(seen=2, known=2), False),
        (Survey(seen=2, known=1), True),
        (Survey(seen=2, known=1, unsettled=1), False),
        (Survey(seen=3, known=1, unsettled=1), False),
    ],
    ids=str,
)
def test_it_is_time_when_something_is_new_and_nothing_is_changing(survey: Survey, ready: bool) -> None:
    assert survey.is_ready is ready


# --- known and new ---

A, B, C = (LandingFile(path, 1, "v1") for path in ("a.jpg", "b/c.jpg", "d.jpg"))


def test_what_an_earlier_run_is_done_with_is_known() -> None:
    new, counts = survey([A, B, C], [row(A), row(B), row(C)])
    assert new == []
    assert counts.books() == {"seen": 3, "known": 3, "unsettled": 0, "new": 0}


@pytest.mark.parametrize("changed", [A._replace(size=2), A._replace(version="v2")], ids=["size", "version"])
def test_a_file_that_has_changed_is_new(changed: LandingFile) -> None:
    assert survey([changed, B], [row(A), row(B)])[0] == [changed]


def test_what_is_no_longer_there_disturbs_nothing() -> None:
    gone = [LandingFile(path, 1, "v1") for path in ("0.jpg", "b/b.jpg", "z.jpg")]
    ledger = sorted([row(A), row(C), *map(row, gone)])
    assert survey([A, B, C], ledger)[0] == [B]


def test_what_the_run_itself_has_done_is_new_again() -> None:
    (again,), _ = survey([A, B], [row(A, "today"), row(B)])
    assert again.path == "a.jpg"


def test_what_the_budget_had_no_room_for_is_new_and_has_its_place_in_the_queue() -> None:
    (carried,), _ = survey([A, B], [row(A, fate=CARRIED, since="2025-12-24"), row(B)])
    assert (carried.path, carried.waiting_since) == ("a.jpg", "2025-12-24")


def test_what_is_in_quarantine_is_new_only_when_asked_for() -> None:
    ledger = [row(A, fate=QUARANTINED), row(B)]
    assert survey([A, B], ledger)[0] == []
    assert [file.path for file in survey([A, B], ledger, retry_quarantined=True)[0]] == ["a.jpg"]


PATHS = st.text("ab/. é🙂", min_size=1, max_size=3)


@given(st.dictionaries(PATHS, st.integers(0, 2)), st.dictionaries(PATHS, st.integers(0, 2)))
def test_new_is_what_the_ledger_does_not_have_as_it_is(there: dict[str, int], ledger: dict[str, int]) -> None:
    files = [LandingFile(path, 1, str(version)) for path, version in sorted(there.items())]
    rows = [[path, 1, str(version), "yesterday", DONE, "2026-01-01"] for path, version in sorted(ledger.items())]
    new, counts = survey(files, rows)
    assert [file.path for file in new] == sorted(path for path, version in there.items() if ledger.get(path) != version)
    assert counts.known + len(new) == counts.seen == len(there)


@given(st.dictionaries(PATHS, st.integers()), st.dictionaries(PATHS, st.integers()))
def test_the_ledger_takes_up_the_new_rows_as_a_dictionary_would(old: dict[str, int], new: dict[str, int]) -> None:
    merged = list(merge(([path, n] for path, n in sorted(old.items())), ([path, n] for path, n in sorted(new.items()))))
    assert merged == [[path, n] for path, n in sorted((old | new).items())]


def test_a_second_run_over_the_merged_ledger_finds_nothing_new() -> None:
    files = [A, B, C]
    first, _ = survey(files)
    ledger = list(merge([], [row(file, "today") for file in first]))
    assert survey(files, ledger, run_id="tomorrow")[0] == []


# --- addresses ---

DAY = date(2026, 1, 5)
LAYOUT = Layout("photos", "image-labels")


@pytest.mark.parametrize("address", ["{}", "{}/", "file://{}"], ids=str)
def test_a_folder_is_given_by_its_path(folder: Path, address: str) -> None:
    put(folder / "trips/a.jpg")
    landing = open_landing(address.format(folder), DAY, LAYOUT, "aws_default")
    assert [file.path for file in landing.files()] == ["trips/a.jpg"]
    assert landing.uri == f"file://{folder}"


@pytest.mark.parametrize(
    "name", ["with space", "50% off", "%20", "a#b", "a?b", "ünïcode", "it's", "a+b", "[x]"], ids=str
)
def test_a_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    put(tmp_path / name / "a.jpg", b"content")
    landing = open_landing(str(tmp_path / name), DAY, LAYOUT, "aws_default")
    assert [file.path for file in landing.files()] == ["a.jpg"]
    with landing.open("a.jpg") as file:
        assert file.read() == b"content"


def test_the_home_folder_may_be_abbreviated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    put(tmp_path / "Pictures/a.jpg")
    assert [file.path for file in open_landing("~/Pictures", DAY, LAYOUT, "aws_default").files()] == ["a.jpg"]


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("{{ ds }}", "2026-01-05/IMG_0001.jpg"),
        ("{{ds}}", "2026-01-05/IMG_0001.jpg"),
        ("day-{{ ds }}/in", "day-2026-01-05/in/IMG_0001.jpg"),
        ("cards/{{ ds }}/{{ ds }}", "2026-01-05/2026-01-05/IMG_0001.jpg"),
    ],
)
def test_the_folder_of_the_day_is_part_of_the_path(folder: Path, pattern: str, path: str) -> None:
    """Two days' ``IMG_0001.jpg`` are two images."""
    put(folder / "cards/2026-01-05/2026-01-05/IMG_0001.jpg")
    put(folder / "day-2026-01-05/in/IMG_0001.jpg")
    put(folder / "2026-01-05/IMG_0001.jpg", b"content")
    put(folder / "2026-01-06/IMG_0001.jpg")
    landing = open_landing(f"{folder}/{pattern}", DAY, LAYOUT, "aws_default")
    files = list(landing.files())
    assert [file.path for file in files] == [path]
    assert landing.version(path) == files[0].version
    with landing.open(path) as file:
        assert file.read()


def test_a_day_whose_folder_is_not_there_yet_is_empty(folder: Path) -> None:
    assert list(open_landing(f"{folder}/{{{{ ds }}}}", DAY, LAYOUT, "aws_default").files()) == []


def test_a_place_where_no_day_can_arrive_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is not there"):
        list(open_landing(f"{tmp_path}/gone/{{{{ ds }}}}", DAY, LAYOUT, "aws_default").files())


@pytest.mark.parametrize("landing", ["http://example.com/photos", "memory://photos"])
def test_any_other_address_is_named(landing: str) -> None:
    with pytest.raises(BadSettings, match=f"'{landing}' is neither a local folder nor an s3:// address"):
        open_landing(landing, DAY, LAYOUT, "aws_default")


# --- S3, without S3 ---


class Listing:
    """An S3 client that lists."""

    def __init__(self, *keys: str) -> None:
        self._keys = keys

    def get_paginator(self, operation: str) -> Listing:
        assert operation == "list_objects_v2"
        return self

    def paginate(self, **where: str) -> Iterator[dict[str, Any]]:
        keys = sorted(key for key in self._keys if key.startswith(where["Prefix"]))
        for key in keys:
            yield {"Name": "landing", "Contents": [{"Key": key, "Size": 1, "ETag": '"e"'}]}
        yield {"Name": "landing"}


def listed(keys: list[str], bucket: str, folder: str, root: str, layout: Layout = LAYOUT) -> list[str]:
    return [file.path for file in S3Landing(Listing(*keys), bucket, folder, root, layout).files()]  # type: ignore[arg-type]


def test_objects_are_listed_by_their_path_below_the_root() -> None:
    keys = ["in/2026-01-05/a.jpg", "in/2026-01-05/x/b.jpg", "in/2026-01-050/c.jpg", "other/d.jpg"]
    assert listed(keys, "cards", "in/2026-01-05", "in/2026-01-05") == ["a.jpg", "x/b.jpg"]
    assert listed(keys, "cards", "in/2026-01-05", "in") == ["2026-01-05/a.jpg", "2026-01-05/x/b.jpg"]
    assert listed(keys, "cards", "", "") == sorted(keys)


def test_folder_markers_and_hidden_and_partial_objects_are_left_out() -> None:
    keys = ["in/", "in/a/", "in/.x/a.jpg", "in/a.jpg.part", "in/a.download/b.jpg", "in/Thumbs.db", "in/a.jpg"]
    assert listed(keys, "cards", "in", "in") == ["a.jpg"]


def test_folders_without_a_name_are_folders() -> None:
    assert listed(["in//a.jpg", "in/x//b.jpg"], "cards", "in", "in") == ["/a.jpg", "x//b.jpg"]


def test_what_the_pipeline_writes_is_no_photo_in_its_own_bucket_only() -> None:
    private = ["renditions/a.jpg", "manifests/a", "results/a", "quarantine/a", "reports/a.png", "ledger/a"]
    keys = [f"image-labels/{key}" for key in [*private, "images/a.jpg", "renditions-of-mine/a.jpg"]]
    assert listed(keys, "photos", "", "") == ["image-labels/images/a.jpg", "image-labels/renditions-of-mine/a.jpg"]
    assert listed(keys, "cards", "", "") == sorted(keys)
    assert listed(private, "photos", "", "", Layout("photos", "")) == []
