from __future__ import annotations

import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest

from image_labels import frequencies

if TYPE_CHECKING:
    from pymongo.collection import Collection

DAY = datetime(2026, 11, 22, tzinfo=UTC)
NAMES = ["Person", "Rock'n'Roll", "$Money", "a.b", 'Said "hi"', "Café", "Palm Tree (Arecaceae)", "$$ROOT", "会"]

Document = dict[str, Any]


def documents(seed: int, count: int = 400) -> list[Document]:
    """Images with every oddity that real answers have; names repeat within an answer, also with the same confidence."""
    chance = random.Random(seed)
    return [
        {
            "_id": f"images/{number}.jpg",
            "Labels": [label(chance) for _ in range(chance.choice([0, 1, 3, 6]))],
            "logical_date": DAY - timedelta(days=chance.choice([0, 0, 1, 30])),
            **chance.choice(
                [{}, {"LabelModelVersion": None}, {"LabelModelVersion": "2.0"}, {"LabelModelVersion": "3.0"}]
            ),
        }
        for number in range(count)
    ]


def label(chance: random.Random) -> Document:
    confidence = chance.choice([chance.uniform(30, 100), chance.choice([50, 50.0, 70, 90, 89.99999, 100])])
    instances = [{}, {"Confidence": confidence / 2}, {"BoundingBox": {"Left": 0.1}, "Confidence": 99}]
    return {
        "Name": chance.choice(NAMES),
        "Confidence": confidence,
        **chance.choice([{}, {"Instances": None}, {"Instances": []}, {"Instances": instances}]),
        **chance.choice([{}, {"Parents": None}, {"Parents": [{"Name": "Person"}]}]),
    }


def recount(images: list[Document], scope: str, floors: list[float]) -> list[Document]:
    """The table's rows for one scope, the plain way."""
    rows = []
    for floor in floors:
        found: defaultdict[str, list[tuple[Document, Document]]] = defaultdict(list)
        for image in images:
            for entry in image["Labels"]:
                if entry["Confidence"] >= floor:
                    found[entry["Name"]].append((image, entry))
        for name, pairs in found.items():
            confidences = [entry["Confidence"] for _, entry in pairs]
            keys = {image["_id"] for image, _ in pairs}
            rows.append(
                {
                    "scope": scope,
                    "min_confidence": floor,
                    "label": name,
                    "images": len(keys),
                    "instances": sum(len(entry.get("Instances") or []) for _, entry in pairs),
                    "share": len(keys) / len(images),
                    "mean_confidence": round(sum(confidences) / len(confidences), 4),
                    "max_confidence": max(confidences),
                    "model_versions": sorted({v for image, _ in pairs if (v := image.get("LabelModelVersion"))}),
                }
            )
    return sorted(rows, key=lambda row: (row["min_confidence"], -row["images"], row["label"]))


@pytest.mark.parametrize(
    "floors", [[50.0, 70.0, 90.0], [0.0], [89.99999, 90.0, 100.0]], ids=["usual", "everything", "narrow"]
)
@pytest.mark.parametrize("seed", [1, 2])
def test_the_table_equals_a_plain_recount(collection: Collection[Document], seed: int, floors: list[float]) -> None:
    images = documents(seed)
    assert any(len({entry["Name"] for entry in image["Labels"]}) < len(image["Labels"]) for image in images)
    collection.insert_many(images)
    todays = [image for image in images if image["logical_date"] == DAY]

    table = frequencies.label_frequency(collection, DAY, floors)

    assert table.to_pylist() == recount(images, "all", floors) + recount(todays, "day", floors)
    assert table.schema.equals(frequencies.schema(), check_metadata=True)


def test_an_image_counts_once_at_every_threshold_its_surest_mention_reaches(collection: Collection[Document]) -> None:
    mentions = [{"Name": "Person", "Confidence": confidence} for confidence in (60, 95.5, 95.5, 80)]
    collection.insert_one({"_id": "images/a.jpg", "Labels": mentions, "logical_date": DAY})
    rows = frequencies.label_frequency(collection, DAY, [50, 70, 90, 99]).to_pylist()
    assert [
        (row["min_confidence"], row["images"], row["mean_confidence"]) for row in rows if row["scope"] == "all"
    ] == [
        (50, 1, 82.75),
        (70, 1, 90.3333),
        (90, 1, 95.5),
    ]


def test_a_day_without_images_adds_no_row_of_its_own(collection: Collection[Document]) -> None:
    labels = [{"Name": "Person", "Confidence": 99}]
    collection.insert_many(
        [
            {"_id": "images/a.jpg", "Labels": labels, "logical_date": DAY - timedelta(days=1)},
            {"_id": "images/b.jpg", "Labels": [], "logical_date": DAY - timedelta(days=1)},
        ]
    )
    (row,) = frequencies.label_frequency(collection, DAY, [50]).to_pylist()
    assert (row["scope"], row["label"], row["images"], row["share"]) == ("all", "Person", 1, 0.5)


def test_an_empty_collection_gives_a_table_without_rows(collection: Collection[Document]) -> None:
    assert frequencies.label_frequency(collection, DAY, [50]).num_rows == 0


def test_order_of_storage_does_not_show_in_the_file(collection: Collection[Document], tmp_path: Path) -> None:
    images = documents(3)
    for number, stored in enumerate((images, images[::-1])):
        collection.delete_many({})
        collection.insert_many(stored)
        frequencies.write_parquet(frequencies.label_frequency(collection, DAY, [50, 90]), tmp_path / f"{number}")
    assert (tmp_path / "0").read_bytes() == (tmp_path / "1").read_bytes()


def test_pyarrow_pandas_and_duckdb_read_the_same_rows(collection: Collection[Document], tmp_path: Path) -> None:
    collection.insert_many(documents(4))
    table = frequencies.label_frequency(collection, DAY, [50, 70, 90])
    file = tmp_path / "label_frequency.parquet"
    frequencies.write_parquet(table, file)

    assert pq.read_table(file).equals(table)
    frame = pd.read_parquet(file)
    assert list(frame["label"]) == table["label"].to_pylist()
    assert [list(versions) for versions in frame["model_versions"]] == table["model_versions"].to_pylist()
    columns = table.column_names
    rows = duckdb.read_parquet(str(file)).fetchall()
    assert [dict(zip(columns, row, strict=True)) for row in rows] == table.to_pylist()
