"""The search page's API on real servers: what it finds, shows, refuses, and says when something is away."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pymongo
import pytest
import schemathesis
from botocore.config import Config
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from image_labels import documents, images, indexes
from image_labels.explorer import access, api
from image_labels.explorer.app import app
from image_labels.layout import Layout
from image_labels.operators.base import IMAGES, RUNS
from image_labels.queries import remember_labels
from image_labels.tables import LABEL_FREQUENCY

DAY = datetime(2026, 1, 5, tzinfo=UTC)
HOSTILE = '"><img src=x onerror=alert(1)>.jpg'


@pytest.fixture
def layout(bucket: str) -> Layout:
    return Layout(bucket, "image-labels")


@pytest.fixture
def client(s3: Any, database: Any, layout: Layout) -> Iterator[TestClient]:
    """A browser of somebody who may read the DAG."""
    (may_read,) = app.router.dependencies
    app.dependency_overrides |= {
        may_read.dependency: lambda: None,
        access.s3_client: lambda: s3,
        access.database: lambda: database,
        access.layout: lambda: layout,
    }
    yield TestClient(app, raise_server_exceptions=False)
    app.dependency_overrides.clear()


@pytest.fixture
def store(s3: Any, collection: Any, layout: Layout) -> Any:
    """Brings images into the collection as the pipeline does."""
    indexes.ensure(collection)

    def store(name: str, labels: list[dict[str, Any]], content: bytes | None = None, **more: Any) -> str:
        key = layout.image(name)
        image = {"key": key, "path": name, "img": name.rsplit("/", 1)[-1], "bucket": layout.bucket}
        if content is None:
            image |= {
                "sha256": hashlib.sha256(name.encode()).hexdigest(),
                "bytes": 1,
                "format": "JPEG",
                "width": 4,
                "height": 3,
            }
        else:
            picture = images.inspect(io.BytesIO(content))
            image |= {"sha256": picture.sha256, "bytes": picture.bytes, "format": picture.format}
            image |= {"width": picture.width, "height": picture.height, **picture.metadata}
            there = s3.put_object(Bucket=layout.bucket, Key=key, Body=content, ContentType="text/html")
            image["etag"] = there["ETag"].strip('"')
        now = datetime.now(UTC).isoformat()
        analysis = {"at": now, "settings": {}, "paid_by": "r", "dag_run": "manual__1", "opened_at": now}
        row = {"image": image | more, "answer": {"Labels": labels}, "analysis": analysis}
        documents.upsert(collection, [documents.build(row, DAY)])
        return key

    return store


def label(name: str, confidence: float, **more: Any) -> dict[str, Any]:
    return {"Name": name, "Confidence": confidence, "Instances": [], "Parents": [], **more}


def sha256(client: TestClient, key: str) -> str:
    return str(client.get("/api/image", params={"key": key}).json()["sha256"])


def keys(client: TestClient, **parameters: Any) -> list[str]:
    """Return the keys of a whole result, page by page."""
    found: list[str] = []
    after = None
    while True:
        answer = client.get("/api/images", params=parameters | ({"after": after} if after else {}))
        assert answer.status_code == 200, answer.text
        found += [image["key"] for image in answer.json()["images"]]
        after = answer.json()["next"]
        if after is None:
            return found


def test_a_result_is_read_by_pages_without_gaps_or_repeats(client: TestClient, store: Any) -> None:
    stored = sorted(store(f"{n:02d}.jpg", [label("Cat", 50 + n)]) for n in range(37))
    assert keys(client, q="Cat", limit=10) == stored
    assert keys(client, q="Cat", limit=10, sort="-key") == stored[::-1]
    assert keys(client, q="Cat>=70", limit=7) == stored[20:]


def test_the_slider_holds_for_labels_that_say_no_confidence(client: TestClient, store: Any) -> None:
    sure, unsure = store("a.jpg", [label("Cat", 95)]), store("b.jpg", [label("Cat", 60)])
    assert keys(client, q="Cat", min_confidence=90) == [sure]
    assert keys(client, q="Cat>=50", min_confidence=90) == [sure, unsure]
    assert keys(client, q="-Cat", min_confidence=90) == [unsure]


def test_a_count_is_bounded(client: TestClient, store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(5):
        store(f"{n}.jpg", [label("Cat", 90)])
    assert client.get("/api/images/count", params={"q": "Cat"}).json() == {"count": 5, "exact": True}
    monkeypatch.setattr(api, "MOST_COUNTED", 4)
    assert client.get("/api/images/count", params={"q": "Cat"}).json() == {"count": 4, "exact": False}


def test_explain_names_the_index_and_what_was_examined(client: TestClient, store: Any) -> None:
    for n in range(20):
        store(f"{n}.jpg", [label("Cat" if n < 3 else "Dog", 95)])
    plan = client.get("/api/images/explain", params={"q": "Cat", "min_confidence": 90}).json()
    assert plan["indexes"]
    assert "COLLSCAN" not in plan["stages"]
    assert plan["returned"] == 3
    assert plan["documents_examined"] <= 4
    assert "90" in plan["query"]
    assert json.loads(plan["filter"])


def test_an_image_is_told_whole(client: TestClient, store: Any) -> None:
    box = {"Left": 0.1, "Top": 0.2, "Width": 0.3, "Height": 0.4}
    seen = label("Cat", 95.5, Instances=[{"BoundingBox": box, "Confidence": 91.0}], Parents=[{"Name": "Animal"}])
    bare = {"Name": "Outdoors", "Confidence": 100, "Instances": None, "Aliases": None}
    key = store(HOSTILE, [seen, bare], taken_at="2021-03-05T14:30:00+00:00", camera={"make": "NIKON", "model": "D1"})
    image = client.get("/api/image", params={"key": key}).json()
    assert (image["name"], image["run"], image["camera"]) == (HOSTILE, "manual__1", "NIKON D1")
    assert [found["name"] for found in image["labels"]] == ["Outdoors", "Cat"]
    assert image["labels"][1]["boxes"] == [{"left": 0.1, "top": 0.2, "width": 0.3, "height": 0.4, "confidence": 91.0}]
    assert image["labels"][1]["parents"] == ["Animal"]


def test_similar_images_come_with_their_likeness(client: TestClient, store: Any) -> None:
    key = store("a.jpg", [label("Cat", 95), label("Indoors", 90)])
    alike = store("b.jpg", [label("Cat", 94), label("Indoors", 91)])
    store("c.jpg", [label("Car", 94)])
    found = client.get("/api/image/similar", params={"key": key}).json()
    assert found[0]["key"] == alike
    assert 0 < found[0]["likeness"] <= 1
    assert client.get("/api/image/similar", params={"key": "x"}).status_code == 404


def test_labels_are_completed_with_their_counts(client: TestClient, collection: Any, store: Any) -> None:
    store("a.jpg", [label("Cat", 95)])
    remember_labels(collection, {"Cat": 7, "Car": 12, "Dog": 3})
    found = client.get("/api/labels", params={"prefix": "ca"}).json()
    assert found == [{"label": "Car", "images": 12}, {"label": "Cat", "images": 7}]


# --- Pictures ---


def turned_jpeg() -> bytes:
    """Return a picture of 1,200 x 900 pixels that a camera held upright has put down lying."""
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (1200, 900), "red").save(out, "JPEG", exif=exif)
    return out.getvalue()


def test_a_thumbnail_is_small_and_upright_and_made_once(
    client: TestClient, store: Any, s3: Any, layout: Layout
) -> None:
    key = store("turned.jpg", [], turned_jpeg())
    address = f"/api/thumbnails/{sha256(client, key)}"
    first = client.get(address)
    assert Image.open(io.BytesIO(first.content)).size == (360, 480)
    assert first.headers["content-type"] == "image/jpeg"
    assert "immutable" in first.headers["cache-control"]
    s3.delete_object(Bucket=layout.bucket, Key=key)
    assert client.get(address).content == first.content


def test_where_rekognition_saw_a_rendition_it_is_shown(
    client: TestClient, store: Any, s3: Any, layout: Layout, photos: dict[str, Path]
) -> None:
    out = io.BytesIO()
    Image.open(photos["china.jpg"]).save(out, "TIFF")
    tiff = out.getvalue()
    rendition = layout.rendition(images.inspect(io.BytesIO(tiff)).sha256)
    jpeg = io.BytesIO()
    images.render(io.BytesIO(tiff), jpeg)
    s3.put_object(Bucket=layout.bucket, Key=rendition, Body=jpeg.getvalue())
    key = store("a.tif", [], tiff, rendition=rendition)
    picture = f"/api/pictures/{sha256(client, key)}"
    assert client.get(picture).content == jpeg.getvalue()
    assert client.get(picture).headers["content-type"] == "image/jpeg"
    assert client.get(f"/api/thumbnails/{sha256(client, key)}").status_code == 200
    original = client.get(picture, params={"original": True})
    assert original.content == tiff
    assert original.headers["content-type"] == "image/tiff"


def test_a_file_is_never_shown_as_anything_but_a_picture(client: TestClient, store: Any, photos: Any) -> None:
    key = store(HOSTILE, [], photos["rocket.jpg"].read_bytes())
    picture = client.get(f"/api/pictures/{sha256(client, key)}")
    assert picture.headers["content-type"] == "image/jpeg"  # S3 says text/html
    assert picture.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in picture.headers["content-security-policy"]
    saved = client.get(f"/api/pictures/{sha256(client, key)}", params={"original": True})
    assert saved.headers["content-disposition"] == (
        "attachment; filename*=UTF-8''%22%3E%3Cimg%20src%3Dx%20onerror%3Dalert%281%29%3E.jpg"
    )


def test_pictures_of_other_buckets_are_refused(client: TestClient, store: Any, s3: Any, photos: Any) -> None:
    key = store("a.jpg", [], photos["rocket.jpg"].read_bytes(), bucket="somebody-s-own")
    content = sha256(client, key)
    assert client.get(f"/api/pictures/{content}").status_code == 404
    assert client.get(f"/api/thumbnails/{content}").status_code == 404


@pytest.mark.parametrize("content", ["0" * 64, "0" * 63, "..", "..%2F..%2Fsecret", f"{'0' * 64}.jpg", f"{'A' * 64}"])
def test_what_is_no_content_of_the_collection_is_refused(client: TestClient, content: str) -> None:
    assert client.get(f"/api/pictures/{content}").status_code in (404, 422)
    assert client.get(f"/api/thumbnails/{content}").status_code in (404, 422)


def test_another_picture_in_its_place_is_not_shown_for_it(
    client: TestClient, store: Any, s3: Any, layout: Layout, photos: dict[str, Path]
) -> None:
    key = store("a.jpg", [], photos["rocket.jpg"].read_bytes())
    content = sha256(client, key)
    s3.put_object(Bucket=layout.bucket, Key=key, Body=photos["china.jpg"].read_bytes())
    for address in (f"/api/thumbnails/{content}", f"/api/pictures/{content}", f"/api/pictures/{content}?original=true"):
        assert client.get(address).status_code == 404
    s3.delete_object(Bucket=layout.bucket, Key=key)
    assert client.get(f"/api/thumbnails/{content}").status_code == 404


def test_a_picture_that_cannot_be_decoded_has_no_thumbnail(
    client: TestClient, store: Any, s3: Any, layout: Layout, collection: Any, photos: dict[str, Path]
) -> None:
    key = store("a.jpg", [], photos["rocket.jpg"].read_bytes())
    there = s3.put_object(Bucket=layout.bucket, Key=key, Body=b"no picture at all")
    collection.update_one({"_id": key}, {"$set": {"etag": there["ETag"].strip('"')}})
    answer = client.get(f"/api/thumbnails/{sha256(client, key)}")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert "No thumbnail can be made" in answer.json()["detail"]


# --- Files of a result ---


def test_a_result_is_downloaded_whole(client: TestClient, store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("image_labels.explorer.exports.PAGE", 4)
    stored = [store(f"{n}.jpg", [label("Cat", 90, Instances=[{"Confidence": 90}])]) for n in range(9)]
    store("=1+1.jpg", [label("Dog", 90)])
    answer = client.get("/api/images/export", params={"q": "Cat", "format": "csv"})
    assert answer.headers["content-disposition"] == 'attachment; filename="images.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert [row["key"] for row in rows] == stored
    answer = client.get("/api/images/export", params={"q": "Cat", "format": "parquet"})
    table = pq.read_table(io.BytesIO(answer.content)).to_pylist()
    assert [row["key"] for row in table] == stored
    assert table[0]["labels"] == [{"name": "Cat", "confidence": 90.0, "instances": 1}]
    assert client.get("/api/images/export", params={"q": '"'}).status_code == 422


# --- Reports, runs, quarantine ---


def put_report(s3: Any, layout: Layout, day: datetime) -> None:
    """Put a day's table of two labels: of all images, and of the day's."""
    rows = [
        {
            "scope": scope, "min_confidence": floor, "label": name, "images": count, "instances": 0,
            "share": count / 3, "mean_confidence": 95.0, "max_confidence": 99.0, "model_versions": ["3.0"],
        }
        for scope in ("all", "day")
        for floor, name, count in ((50.0, "Cat", 3), (50.0, "Dog", 2), (90.0, "Cat", 3), (90.0, "Dog", 1))
    ]  # fmt: skip
    table = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=LABEL_FREQUENCY.schema()), table)
    key = layout.report("label_frequency", day.date(), "label_frequency.parquet")
    s3.put_object(Bucket=layout.bucket, Key=key, Body=table.getvalue())


def test_frequencies_come_from_the_reports(client: TestClient, s3: Any, layout: Layout) -> None:
    nothing = client.get("/api/labels/frequencies").json()
    assert (nothing["day"], nothing["labels"]) == (None, [])
    today = datetime.now(UTC)
    for day in (today, today - timedelta(days=1)):
        put_report(s3, layout, day)
    latest = client.get("/api/labels/frequencies", params={"min_confidence": 90}).json()
    assert latest["day"] == today.date().isoformat()
    assert latest["days"] == [today.date().isoformat(), (today - timedelta(days=1)).date().isoformat()]
    assert latest["thresholds"] == [50.0, 90.0]
    assert [(row["label"], row["images"], row["share"]) for row in latest["labels"]] == [
        ("Cat", 3, 1.0), ("Dog", 1, pytest.approx(1 / 3)),
    ]  # fmt: skip
    one = client.get("/api/labels/frequencies", params={"limit": 1, "scope": "day"}).json()
    assert (len(one["labels"]), one["total"]) == (1, 2)
    assert client.get("/api/labels/frequencies", params={"day": "1999-01-01"}).status_code == 404


def test_runs_come_with_their_books_the_latest_first(client: TestClient, database: Any) -> None:
    database[RUNS].insert_many(
        {
            "_id": f"manual__{n}", "dag_id": "image_labels", "logical_date": DAY, "state": "balanced",
            "opened_at": DAY + timedelta(minutes=n), "problems": [],
            "books": {"upload": {"quarantined": n}, "analyse": {"quarantined": 1}},
        }
        for n in range(5)
    )  # fmt: skip
    database[RUNS].insert_one(
        {"_id": "open", "state": "open", "logical_date": DAY, "opened_at": DAY + timedelta(hours=1)}
    )
    first = client.get("/api/runs", params={"limit": 4}).json()
    rest = client.get("/api/runs", params={"limit": 4, "before": first["next"]}).json()
    assert [run["run"] for run in first["runs"] + rest["runs"]] == ["open", *(f"manual__{n}" for n in (4, 3, 2, 1, 0))]
    assert rest["next"] is None
    assert first["runs"][1]["quarantined"] == 5


def test_the_quarantine_is_read_by_pages(client: TestClient, database: Any, s3: Any, layout: Layout) -> None:
    quarantine = layout.run(DAY.date(), "manual__1").quarantine
    rows = [
        {"path": f"ä{n}{HOSTILE}", "step": "upload", "code": "empty", "reason": "it is empty", "at": DAY.isoformat()}
        for n in range(7)
    ]
    rows[3]["key"] = layout.image("a b.jpg")
    s3.put_object(Bucket=layout.bucket, Key=quarantine, Body="".join(json.dumps(row) + "\n" for row in rows).encode())
    database[RUNS].insert_one({"_id": "manual__1", "quarantine": layout.uri(quarantine)})
    found: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        page = client.get("/api/runs/quarantine", params={"run": "manual__1", "after": after, "limit": 3}).json()
        found += page["files"]
        after = page["next"]
    assert [file["path"] for file in found] == [row["path"] for row in rows]
    assert found[3]["picture"] == f"s3/{layout.bucket}/image-labels/images/a%20b.jpg"
    assert client.get("/api/runs/quarantine", params={"run": "manual__1", "after": 7}).status_code == 422
    assert client.get("/api/runs/quarantine", params={"run": "manual__1", "after": 10**9}).json()["files"] == []


@pytest.mark.parametrize("uri", [None, "s3://somebody-s-own/x.jsonl", "s3://{bucket}/none-was-written.jsonl"])
def test_a_run_without_a_quarantine_of_its_own_has_none(
    client: TestClient, database: Any, layout: Layout, uri: str | None
) -> None:
    database[RUNS].insert_one({"_id": "r", "quarantine": uri and uri.format(bucket=layout.bucket)})
    assert client.get("/api/runs/quarantine", params={"run": "r"}).json() == {"files": [], "next": None}
    assert client.get("/api/runs/quarantine", params={"run": "s"}).status_code == 404


def test_reports_are_listed_by_month(client: TestClient, s3: Any, layout: Layout) -> None:
    for day in (DAY, DAY + timedelta(days=1), DAY + timedelta(days=40)):
        put_report(s3, layout, day)
    answer = client.get("/api/reports", params={"month": "2026-01"}).json()
    assert [file["day"] for file in answer["files"]] == ["2026-01-06", "2026-01-05"]
    assert answer["complete"]
    assert client.get(f"/{answer['files'][0]['href']}").content[:4] == b"PAR1"
    assert client.get("/api/reports", params={"month": "2025-01"}).json()["files"] == []


# --- What must not be ---

INJECTIONS = [
    '{"$ne": null}', '{"$gt": ""}', "$where", "$", '"$ne">=5', "Labels.Name", "parent:$where", 'photographer:"$regex"',
    "file:.*", "__proto__", "Cat\x00", "\ufffd",
]  # fmt: skip


@pytest.mark.parametrize("text", INJECTIONS)
def test_no_text_of_a_user_becomes_an_operator(client: TestClient, store: Any, text: str) -> None:
    key = store("a.jpg", [label("Cat", 95)], photographer="Ann")
    for path, parameters in [
        ("/api/images", {"q": text}),
        ("/api/images", {"q": "Cat", "after": text}),
        ("/api/images/count", {"q": text}),
        ("/api/images/explain", {"q": text}),
        ("/api/images/export", {"q": text}),
        ("/api/image", {"key": text}),
        ("/api/image/similar", {"key": text}),
        ("/api/labels", {"prefix": text}),
        ("/api/runs/quarantine", {"run": text}),
    ]:
        answer = client.get(path, params=parameters)
        assert answer.status_code in (200, 404, 422), (path, answer.text)
        assert key not in answer.text, path


@pytest.mark.parametrize("name", ["key[$ne]", "key.$gt", "$where"])
def test_no_name_of_a_parameter_becomes_an_operator(client: TestClient, store: Any, name: str) -> None:
    store("a.jpg", [label("Cat", 95)])
    assert client.get("/api/image", params={name: "x"}).status_code == 422


@pytest.mark.parametrize("path", ["/api/images", "/api/images/count", "/api/runs", "/api/image?key=a"])
def test_a_database_that_is_away_is_a_clear_problem(client: TestClient, path: str) -> None:
    away = pymongo.MongoClient("mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=200")
    app.dependency_overrides[access.database] = lambda: away["none"]
    answer = client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert "documentdb_default" in answer.json()["detail"]
    away.close()


def test_a_count_that_takes_too_long_is_given_up(
    client: TestClient, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store("a.jpg", [label("Cat", 95)])
    monkeypatch.setattr(api, "COUNT_SECONDS", 1e-9)
    answer = client.get("/api/images/count", params={"q": "-Cat"})
    assert answer.status_code == 422
    assert "takes too long" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/api/reports", "/api/labels/frequencies", f"/api/thumbnails/{'0' * 64}"])
def test_an_s3_that_is_away_is_a_clear_problem(client: TestClient, path: str) -> None:
    config = Config(connect_timeout=1, retries={"total_max_attempts": 1}, proxies={})
    away = boto3.client(
        "s3", endpoint_url="http://127.0.0.1:1", region_name="us-east-1", config=config,
        aws_access_key_id="a", aws_secret_access_key="b",
    )  # fmt: skip
    app.dependency_overrides[access.s3_client] = lambda: away
    answer = client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert "aws_default" in answer.json()["detail"]


def test_a_web_server_without_a_package_says_which(
    client: TestClient, store: Any, photos: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = sha256(client, store("a.jpg", [], photos["rocket.jpg"].read_bytes()))
    for module in ("PIL", "PIL.Image", "PIL.ImageOps"):
        monkeypatch.setitem(sys.modules, module, None)
    answer = client.get(f"/api/thumbnails/{content}")
    assert answer.status_code == 503
    assert "requirements.txt" in answer.json()["detail"]


# --- Any input at all ---

load_all_checks()
CHECKED = CHECKS.get_by_names(
    [
        "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance",
        "unsupported_method",
    ]
)  # fmt: skip


@pytest.fixture
def described(client: TestClient, store: Any, database: Any, s3: Any, layout: Layout) -> Any:
    store("a.jpg", [label("Cat", 95)])
    put_report(s3, layout, datetime.now(UTC))
    assert database[IMAGES].count_documents({}) == 1
    return schemathesis.openapi.from_asgi("/api/openapi.json", app)


@pytest.mark.parametrize("path", app.openapi()["paths"])
def test_no_input_is_too_much_for_the_api(described: Any, path: str) -> None:
    inputs = [described[path]["GET"].as_strategy(generation_mode=mode) for mode in GenerationMode]

    @given(case=st.one_of(inputs))
    @settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def ask(case: schemathesis.Case) -> None:
        case.call_and_validate(checks=CHECKED)

    ask()
