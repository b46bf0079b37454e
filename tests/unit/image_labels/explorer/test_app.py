"""Who may see what in Airflow's web server."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, unquote, urljoin, urlsplit

import pytest
from airflow.api_fastapi.app import create_auth_manager
from botocore.response import StreamingBody
from httpx import ASGITransport, AsyncClient

from image_labels.explorer import access
from image_labels.explorer.app import STATIC, app

BUCKET = "photos"
PREFIX = "image-labels"
REPORT = f"{PREFIX}/reports/label_frequency/report_date=2026-01-05/label_frequency.html"
HOSTILE = '"><img src=x onerror=alert(1)>.jpg'

OBJECTS = {
    REPORT: b"<h1>chart</h1>",
    f"{PREFIX}/quarantine/ds=2026-01-05/run.jsonl": b'{"path": "a.jpg"}\n',
    f"{PREFIX}/images/{HOSTILE}": b"jpeg",
    f"{PREFIX}/images/a b+c#d?e%2F\u00e4.jpg": b"jpeg",
    f"{PREFIX}/images/trips/<b>/x.jpg": b"jpeg",
    f"{PREFIX}-private/secret.txt": b"secret",
    "secret.txt": b"secret",
}
TYPES = {"html": "text/html", "jsonl": "application/octet-stream", "jpg": "image/jpeg", "txt": "text/plain"}


class NoSuchKey(Exception):
    """S3 has no such object."""


class S3:
    """A bucket in memory that remembers what was asked of it."""

    class exceptions:  # noqa: N801 - as boto3 calls it
        NoSuchKey = NoSuchKey

    def __init__(self) -> None:
        self.asked: list[str] = []

    def get_object(self, **get: str) -> dict[str, Any]:
        self.asked.append(get["Key"])
        if get["Bucket"] != BUCKET or get["Key"] not in OBJECTS:
            raise NoSuchKey
        content = OBJECTS[get["Key"]]
        body = StreamingBody(io.BytesIO(content), len(content))
        return {"Body": body, "ContentType": TYPES[get["Key"].rsplit(".", 1)[-1]]}

    def list_objects_v2(self, **where: Any) -> dict[str, Any]:
        self.asked.append(where["Prefix"])
        rests = [key[len(where["Prefix"]) :] for key in sorted(OBJECTS) if key.startswith(where["Prefix"])]
        folders = sorted({where["Prefix"] + rest.partition("/")[0] + "/" for rest in rests if "/" in rest})
        return {
            "CommonPrefixes": [{"Prefix": folder} for folder in folders],
            "Contents": [{"Key": where["Prefix"] + rest} for rest in rests if "/" not in rest],
            "IsTruncated": False,
        }


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    monkeypatch.setenv("AIRFLOW_VAR_IMAGE_LABELS_BUCKET", BUCKET)
    monkeypatch.setenv("AIRFLOW_VAR_IMAGE_LABELS_PREFIX", PREFIX)
    access._layout.cache_clear()
    s3 = S3()
    app.dependency_overrides[access.s3_client] = lambda: s3
    yield s3
    app.dependency_overrides.clear()
    access._layout.cache_clear()


@pytest.fixture
def stranger(s3: S3) -> AsyncClient:
    """A browser without a login."""
    create_auth_manager()
    return AsyncClient(transport=ASGITransport(app), base_url="http://airflow")


@pytest.fixture
def user(s3: S3) -> AsyncClient:
    """A browser of somebody who may read the DAG."""
    (may_read,) = app.router.dependencies
    app.dependency_overrides[may_read.dependency] = lambda: None  # type: ignore[index]
    return AsyncClient(transport=ASGITransport(app), base_url="http://airflow")


def links_of(page: str) -> list[str]:
    """Return where the links of a page lead, as a browser reads them."""
    links: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert tag in {"html", "meta", "title", "style", "h1", "ul", "li", "a", "p"}, f"a file name became <{tag}>"
            links.extend(value for name, value in attrs if name == "href" and value)

    Reader().feed(page)
    return links


async def test_without_a_login_nothing_is_shown(stranger: AsyncClient, s3: S3) -> None:
    for key in (f"{PREFIX}/", f"{PREFIX}/images/trips/", next(iter(OBJECTS))):
        assert (await stranger.get(f"/s3/{BUCKET}/{key}")).status_code == 401
    assert s3.asked == []


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/api/openapi.json",
        f"/api/thumbnails/{'0' * 64}",
        f"/api/pictures/{'0' * 64}",
        *(f"/static/{name}" for name in STATIC),
        *(path for path in app.openapi()["paths"] if "{" not in path),
    ],
)
async def test_every_route_asks_who_it_is(stranger: AsyncClient, path: str) -> None:
    assert (await stranger.get(path)).status_code == 401


async def test_a_person_without_a_login_is_shown_the_way_to_one_and_back(stranger: AsyncClient) -> None:
    answer = await stranger.get("/?q=%22%3E%3Cimg%20src=x%3E", headers={"Accept": "text/html"})
    assert answer.status_code == 401
    (link,) = re.findall('href="([^"]+)"', answer.text)
    assert parse_qs(urlsplit(unescape(link)).query)["next"] == ["http://airflow/?q=%22%3E%3Cimg%20src=x%3E"]
    assert "<img" not in answer.text


async def test_the_page_runs_nothing_but_its_own_files(user: AsyncClient) -> None:
    answer = await user.get("/")
    assert answer.status_code == 200
    policy = {part.split()[0]: part.split()[1:] for part in answer.headers["content-security-policy"].split(";")}
    assert policy["default-src"] == ["'none'"]
    assert policy["script-src"] == policy["style-src"] == policy["img-src"] == policy["connect-src"] == ["'self'"]
    assert policy["frame-ancestors"] == ["'self'"]
    for name in re.findall('(?:src|href)="(static/[^"]+)"', answer.text):
        assert (await user.get(f"/{name}")).status_code == 200


@pytest.mark.parametrize("name", ["app.py", "..%2Fapp.py", "%2e%2e/app.py", "", "nope.js", "..%5Capp.py"])
async def test_only_the_page_s_own_files_are_handed_out(user: AsyncClient, name: str) -> None:
    answer = await user.get(f"/static/{name}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_no_script_of_the_page_makes_html_of_text() -> None:
    for name, file in STATIC.items():
        if name.endswith(".js"):
            assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", file.read_text()), (
                name
            )


async def test_an_object_is_shown_as_what_it_is(user: AsyncClient) -> None:
    report = await user.get(
        f"/s3/{BUCKET}/{PREFIX}/reports/label_frequency/report_date=2026-01-05/label_frequency.html"
    )
    assert (report.status_code, report.content) == (200, b"<h1>chart</h1>")
    assert report.headers["content-type"].startswith("text/html")


async def test_json_lines_are_shown_as_text(user: AsyncClient) -> None:
    page = await user.get(f"/s3/{BUCKET}/{PREFIX}/quarantine/ds=2026-01-05/run.jsonl")
    assert page.headers["content-type"] == "text/plain; charset=utf-8"
    assert page.text == '{"path": "a.jpg"}\n'


@pytest.mark.parametrize("path", [f"{PREFIX}/", REPORT], ids=["folder", "object"])
async def test_what_is_shown_has_no_rights_in_airflow(user: AsyncClient, path: str) -> None:
    headers = (await user.get(f"/s3/{BUCKET}/{path}")).headers
    policy = {part.split()[0]: part.split()[1:] for part in headers["content-security-policy"].split(";")}
    assert "allow-same-origin" not in policy["sandbox"]
    assert policy["default-src"] == ["'none'"]
    assert not {"connect-src", "form-action", "frame-src"} & policy.keys()
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        f"other/{PREFIX}/images/x.jpg",
        f"{BUCKET}/secret.txt",
        f"{BUCKET}/",
        f"{BUCKET}//",
        f"{BUCKET}/{PREFIX}-private/secret.txt",
        f"{BUCKET}/{PREFIX}/gone.jpg",
        f"{BUCKET}/{PREFIX}",
        f"{BUCKET}/{PREFIX}/..%2F..%2Fsecret.txt",
        f"{BUCKET}/{PREFIX}/%2e%2e/secret.txt",
        f"{BUCKET}/{PREFIX}%2F..%2Fsecret.txt",
        f"{BUCKET}/..%2F{BUCKET}/secret.txt",
        f"{BUCKET}%2Fsecret.txt/x",
        f"..%2F{BUCKET}/{PREFIX}/x.jpg",
    ],
)
async def test_what_is_not_below_the_prefix_is_not_found(user: AsyncClient, s3: S3, path: str) -> None:
    answer = await user.get(f"/s3/{path}")
    assert answer.status_code == 404
    assert b"secret" not in answer.content.replace(b"secret.txt", b"")
    assert not [key for key in s3.asked if not f"{key}/".startswith(f"{PREFIX}/")]


async def test_without_a_bucket_the_missing_variable_is_named(
    user: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIRFLOW_VAR_IMAGE_LABELS_BUCKET")
    monkeypatch.setattr("image_labels.explorer.access.Variable.get", lambda name, default=None: default)
    answer = await user.get(f"/s3/{BUCKET}/{PREFIX}/")
    assert answer.status_code == 503
    assert "Variable image_labels_bucket" in answer.json()["detail"]


@pytest.mark.parametrize("prefix", ["/image-labels/", "image-labels/"])
async def test_slashes_around_the_prefix_do_not_matter(
    user: AsyncClient, monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_IMAGE_LABELS_PREFIX", prefix)
    assert (await user.get(f"/s3/{BUCKET}/{PREFIX}/")).status_code == 200
    assert (await user.get(f"/s3/{BUCKET}/{PREFIX}-private/secret.txt")).status_code == 404


async def test_a_prefix_that_is_the_whole_bucket_shows_the_whole_bucket(
    user: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_IMAGE_LABELS_PREFIX", "")
    assert (await user.get(f"/s3/{BUCKET}/secret.txt")).content == b"secret"


async def test_names_of_files_are_no_html(user: AsyncClient) -> None:
    page = (await user.get(f"/s3/{BUCKET}/{PREFIX}/images/")).text
    links_of(page)
    assert "<img" not in page
    assert HOSTILE in unescape(page)
    hostile_folder = (await user.get(f"/s3/{BUCKET}/{PREFIX}/%3Cscript%3Ealert(1)%3C/script%3E/")).text
    links_of(hostile_folder)
    assert "<script>" not in hostile_folder


async def test_a_folder_leads_to_what_is_in_it(user: AsyncClient) -> None:
    place = f"/s3/{BUCKET}/{PREFIX}/images/"
    links = [urljoin(place, link) for link in links_of((await user.get(place)).text)]
    assert sorted(unquote(link) for link in links) == sorted(
        f"{place}{name}" for name in (HOSTILE, "a b+c#d?e%2F\u00e4.jpg", "trips/")
    )
    for link in links:
        assert (await user.get(link)).status_code == 200
