"""The notebook, from its first cell to its last, on photographs that the vision model has looked at."""

from __future__ import annotations

import base64
import hashlib
import io
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import nbformat
import pymongo
import pytest
from nbclient import NotebookClient
from PIL import Image

from image_labels import indexes
from image_labels.ingest import ingest
from image_labels.queries import find, parse
from servers import PROJECT

if TYPE_CHECKING:
    from pymongo.collection import Collection

    from servers import Site

NOTEBOOK = PROJECT / "include/notebooks/explore_labels.ipynb"
DAY = datetime(2026, 3, 1, tzinfo=UTC)
NOW = DAY.isoformat()
PHOTOS = ("chelsea.png", "motorcycle_left.png", "motorcycle_right.png", "astronaut.png", "coffee.png", "china.jpg")


@pytest.fixture(scope="module")
def environment(site: Site) -> dict[str, str]:
    """What ``.local/env`` exports, with a database of its own."""
    return {**os.environ, **site.exports(), "DOCUMENTDB_DATABASE": "test_notebook", "NO_PROXY": "127.0.0.1"}


@pytest.fixture(scope="module")
def images(site: Site, environment: dict[str, str], photos: dict[str, Path]) -> Iterator[Collection[dict[str, Any]]]:
    """Some photographs, each in S3, looked at and stored."""
    keys = {
        "aws_access_key_id": environment["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": environment["AWS_SECRET_ACCESS_KEY"],
    }
    s3, rekognition = (
        boto3.client(service, endpoint_url=url, region_name=environment["AWS_DEFAULT_REGION"], **keys)
        for service, url in (("s3", site.url("s3")), ("rekognition", site.rekognition))
    )
    bucket = environment["IMAGE_LABELS_BUCKET"]
    rows = []
    for name in PHOTOS:
        content = photos[name].read_bytes()
        key = f"notebook/{name}"
        s3.put_object(Bucket=bucket, Key=key, Body=content)
        answer = rekognition.detect_labels(Image={"S3Object": {"Bucket": bucket, "Name": key}}, MinConfidence=50)
        image = {"key": key, "img": name, "bucket": bucket, "sha256": hashlib.sha256(content).hexdigest()}
        rows.append({"image": image, "answer": answer, "analysis": {"at": NOW, "opened_at": NOW}})
    with pymongo.MongoClient(site.documentdb_uri) as client:
        collection = client["test_notebook"]["images"]
        ingest(rows, collection, DAY)
        indexes.ensure(collection)
        yield collection
        client.drop_database("test_notebook")


@pytest.fixture(scope="module")
def executed(images: Collection[dict[str, Any]], environment: dict[str, str]) -> Any:
    """The notebook with its outputs; a cell that fails fails the tests."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": NOTEBOOK.parent}}
    )
    return client.execute(env=environment)


def outputs(notebook: Any, beginning: str) -> list[Any]:
    """Return the outputs of the cell in which a line begins so."""
    [cell] = [one for one in notebook.cells if one.cell_type == "code" and f"\n{beginning}" in f"\n{one.source}"]
    found: list[Any] = cell.outputs
    return found


def test_it_counts_the_images(executed: Any) -> None:
    assert outputs(executed, "total =")[0]["data"]["text/plain"] == str(len(PHOTOS))


def test_it_shows_the_labels_and_their_chart(executed: Any) -> None:
    [table] = outputs(executed, "frequency = ")
    assert "Motorcycle" in table["data"]["text/plain"]
    assert "Motorcycle" in outputs(executed, "pd.DataFrame(\n    images.aggregate")[0]["data"]["text/plain"]
    [chart] = outputs(executed, "Image(notebook.chart")
    assert Image.open(io.BytesIO(base64.b64decode(chart["data"]["image/png"]))).width > 500


def test_it_draws_boxes_into_the_pictures(executed: Any, images: Collection[dict[str, Any]]) -> None:
    text, picture = outputs(executed, "one =")
    query = parse(text["text"].partition(" finds ")[0])
    drawn = Image.open(io.BytesIO(base64.b64decode(picture["data"]["image/jpeg"]))).convert("RGB")
    box = find(images, query, limit=1).images[0]
    [label] = [label for label in box["Labels"] if label["Name"] == query.all_of[0].name]
    assert label["Instances"]
    colours = drawn.getcolors(drawn.width * drawn.height)
    assert colours
    assert sum(count for count, (r, g, b) in colours if r > 180 and 50 < g < 130 and b < 100) > 200


def test_it_explains_the_index_before_and_after(executed: Any, images: Collection[dict[str, Any]]) -> None:
    text = "".join(output["text"] for output in outputs(executed, "copy = "))
    before, after = text.splitlines()
    assert before == "before: COLLSCAN"
    assert after.endswith("IXSCAN (idx_labels)")
    assert images.database.list_collection_names(filter={"name": "explore_labels_copy"}) == []
    assert "IXSCAN (idx_tokens)" in outputs(executed, "for query in")[0]["text"]


def test_what_is_committed_and_what_comes_out_name_no_place_on_a_machine(executed: Any, site: Site) -> None:
    for text in (NOTEBOOK.read_text(), nbformat.writes(executed)):
        for secret in (str(PROJECT), str(site.root), site.secrets["documentdb_password"]):
            assert secret not in text
