from __future__ import annotations

import gzip
import io
import json
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from image_labels.errors import BadSettings
from image_labels.forget import forget
from image_labels.layout import Layout
from image_labels.operators.forget import ForgetImageOperator
from pipeline import PREFIX, Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pipeline import Pipeline

KEY = f"{PREFIX}/images/anna/secret.tif"
LEFT = [f"{PREFIX}/images/a.jpg", f"{PREFIX}/images/flower.jpg"]


def contents(s3: Any, bucket: str) -> Iterator[tuple[str, bytes]]:
    """Yield every version of every object, unpacked."""
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for version in page.get("Versions", ()):
            answer = s3.get_object(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])
            body = answer["Body"].read()
            yield version["Key"], gzip.decompress(body) if version["Key"].endswith(".gz") else body


def places(s3: Any, bucket: str, word: bytes) -> set[str]:
    """Return the folders below the prefix in which something has a word in it, or in its name."""
    found = {key for key, content in contents(s3, bucket) if word in content or word.decode() in key}
    return {key.split("/")[1] for key in found}


def answered(s3: Any, bucket: str) -> Iterator[str]:
    """Yield the keys of the images in the raw answers."""
    for key, content in contents(s3, bucket):
        if key.startswith(f"{PREFIX}/results/") and not key.partition(".checkpoints/")[1]:
            for line in content.splitlines():
                yield json.loads(line)["image"]["key"]


def scan(file: Path) -> None:
    """Put down a picture that Rekognition does not take as it is."""
    file.parent.mkdir(exist_ok=True)
    Image.new("RGB", (100, 100), "teal").save(file)


@pytest.fixture
def analysed(
    pipeline: Pipeline, land: Callable[..., Path], landing: Path, s3: Any, bucket: str, collection: Any
) -> Iterator[Callable[[], list[str]]]:
    """A versioned bucket with a run of three images, one of which has a rendition; a function that forgets that one."""
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    land("a.jpg", "rocket.jpg")
    scan(landing / "anna/secret.tif")
    land("flower.jpg", "flower.jpg")
    pipeline.run("run-1")
    document = collection.find_one({"_id": KEY})
    s3.put_object(Bucket=bucket, Key=Layout(bucket, PREFIX).thumbnail(document["sha256"]), Body=b"small")
    yield lambda: forget(KEY, collection, s3, Layout(bucket, PREFIX))
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for version in [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]:
            s3.delete_object(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])


def test_nothing_is_left_of_it_but_reports(
    analysed: Callable[[], list[str]], s3: Any, bucket: str, collection: Any, pipeline: Pipeline, landing: Path
) -> None:
    assert places(s3, bucket, b"secret.tif") >= {"images", "results", "manifests", "ledger"}
    touched = analysed()
    assert places(s3, bucket, b"secret.tif") <= {"reports", "staged"}
    assert not [key for key, _ in contents(s3, bucket) if key.startswith((f"{PREFIX}/rendit", f"{PREFIX}/thumb"))]
    assert f"s3://{bucket}/{KEY}" in touched
    assert sorted(answered(s3, bucket)) == LEFT
    assert analysed() == []
    assert [document["_id"] for document in collection.find().sort("_id")] == LEFT

    # The next report does not have it, and neither has a collection that is made anew.
    (landing / "anna/secret.tif").unlink()
    pipeline.run("run-2")
    folder = f"{PREFIX}/reports/images/report_date=2026-03-01/"
    [table] = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket, Prefix=folder)["Contents"]]
    content = s3.get_object(Bucket=bucket, Key=table)["Body"].read()
    assert [row["image"] for row in pq.read_table(io.BytesIO(content)).to_pylist()] == LEFT
    pipeline.rebuild()
    assert collection.count_documents({}) == 2


def test_a_copy_keeps_what_it_shares(
    analysed: Callable[[], list[str]], landing: Path, pipeline: Pipeline, collection: Any, s3: Any, bucket: str
) -> None:
    scan(landing / "copy.tif")
    pipeline.run("run-2", day="2026-03-02")
    analysed()
    copy = collection.find_one({"_id": f"{PREFIX}/images/copy.tif"})
    assert s3.head_object(Bucket=bucket, Key=copy["rendition"])
    assert s3.head_object(Bucket=bucket, Key=Layout(bucket, PREFIX).thumbnail(copy["sha256"]))


def test_a_dry_run_deletes_nothing(
    analysed: Callable[[], list[str]], pipeline: Pipeline, s3: Any, bucket: str, collection: Any
) -> None:
    before = sorted(contents(s3, bucket))
    run = Run(pipeline, "forget", "2026-03-01", {})
    would = run.execute(ForgetImageOperator, "forget", image=f"s3://{bucket}/{KEY}", dry_run_only="True")
    assert sorted(contents(s3, bucket)) == before
    assert collection.count_documents({"_id": KEY}) == 1
    assert run.execute(ForgetImageOperator, "forget", image=KEY) == would
    assert collection.count_documents({"_id": KEY}) == 0


def test_a_bucket_without_versions_loses_only_the_image(
    pipeline: Pipeline, land: Callable[..., Path], landing: Path, s3: Any, bucket: str, collection: Any
) -> None:
    land("a.jpg", "rocket.jpg")
    scan(landing / "anna/secret.tif")
    pipeline.run("run-1")
    forget(KEY, collection, s3, Layout(bucket, PREFIX))
    assert places(s3, bucket, b"secret.tif") <= {"reports"}
    collection.drop()
    assert pipeline.rebuild() == 1


def test_answers_of_pictures_that_it_was_before_go_as_well(
    pipeline: Pipeline, land: Callable[..., Path], s3: Any, bucket: str, collection: Any
) -> None:
    pipeline.settings["report"] = False
    for number, photo in enumerate(("rocket.jpg", "china.jpg"), start=1):
        land("a.jpg", photo)
        pipeline.run(f"run-{number}", day=f"2026-03-0{number}")
    kept = collection.database["answers"]
    assert kept.count_documents({}) == 2
    forget(f"{PREFIX}/images/a.jpg", collection, s3, Layout(bucket, PREFIX))
    assert kept.count_documents({}) == 0


@pytest.mark.parametrize("key", ["", f"{PREFIX}/reports/x.parquet", f"{PREFIX}/images", "s3://other/images/a.jpg"])
def test_what_is_no_image_is_refused(key: str, collection: Any, s3: Any, bucket: str) -> None:
    with pytest.raises(BadSettings, match="is no image"):
        forget(key, collection, s3, Layout(bucket, PREFIX))
