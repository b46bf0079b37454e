from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from image_labels import frequencies
from image_labels.tables import GROUP_FREQUENCY, LABEL_FREQUENCY
from odd_documents import DAY, OLD, Document, documents

if TYPE_CHECKING:
    import pyarrow as pa
    from pymongo.collection import Collection


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


def recount_groups(images: list[Document], scope: str, floors: list[float], old: dict[str, str]) -> list[Document]:
    """The rows of the table of groups for one scope, the plain way."""
    found: defaultdict[tuple[str, float, str], list[Document]] = defaultdict(list)
    for floor in floors:
        for image in images:
            reaching = [entry for entry in image["Labels"] if entry["Confidence"] >= floor]
            names = {old.get(entry["Name"], entry["Name"]) for entry in reaching}
            above = {old.get(item["Name"], item["Name"]) for entry in reaching for item in entry.get("Parents") or []}
            categories = {item["Name"] for entry in reaching for item in entry.get("Categories") or []}
            groups = {"label": names, "label_with_children": names | above, "category": categories}
            for grouping, members in groups.items():
                for name in members:
                    found[grouping, floor, name].append(image)
    rows = [
        {
            "scope": scope,
            "min_confidence": floor,
            "grouping": grouping,
            "name": name,
            "images": len(having),
            "share": len(having) / len(images),
            "model_versions": sorted({v for image in having if (v := image.get("LabelModelVersion"))}),
        }
        for (grouping, floor, name), having in found.items()
    ]
    return sorted(rows, key=lambda row: (row["grouping"], row["min_confidence"], -row["images"], row["name"]))


def scopes(
    collection: Collection[Document], floors: list[float]
) -> tuple[list[frequencies.Scope], list[pa.Table], dict[str, str]]:
    """Count both scopes, and their groups, without anything kept."""
    queries: dict[str, Document] = {"day": {"logical_date": DAY}, "all": {}}
    labels = {name: frequencies.count_labels(collection, query, floors) for name, query in queries.items()}
    old = frequencies.renamed(labels["all"])
    counted = [
        frequencies.Scope(name, collection.count_documents(query), labels[name]) for name, query in queries.items()
    ]
    return counted, [frequencies.count_groups(collection, query, floors, old) for query in queries.values()], old


@pytest.mark.parametrize(
    "floors", [[50.0, 70.0, 90.0], [0.0], [89.99999, 90.0, 100.0]], ids=["usual", "everything", "narrow"]
)
@pytest.mark.parametrize("seed", [1, 2])
def test_the_tables_equal_a_plain_recount(collection: Collection[Document], seed: int, floors: list[float]) -> None:
    images = documents(seed)
    assert any(len({entry["Name"] for entry in image["Labels"]}) < len(image["Labels"]) for image in images)
    collection.insert_many(images)
    todays = [image for image in images if image["logical_date"] == DAY]

    counted, cells, old = scopes(collection, floors)
    labels = frequencies.label_frequency(counted, floors)
    groups = frequencies.group_frequency(counted, cells, floors, old)

    assert old == OLD
    assert labels.to_pylist() == recount(images, "all", floors) + recount(todays, "day", floors)
    assert groups.to_pylist() == recount_groups(images, "all", floors, OLD) + recount_groups(todays, "day", floors, OLD)
    for table, definition in ((labels, LABEL_FREQUENCY), (groups, GROUP_FREQUENCY)):
        assert table.schema.equals(definition.schema(), check_metadata=True)
        assert table.equals(table.sort_by(definition.sort_keys))


def test_an_image_counts_once_at_every_threshold_its_surest_mention_reaches(collection: Collection[Document]) -> None:
    mentions = [{"Name": "Person", "Confidence": confidence} for confidence in (60, 95.5, 95.5, 80)]
    collection.insert_one({"_id": "images/a.jpg", "Labels": mentions, "logical_date": DAY})
    counted, _, _ = scopes(collection, [50, 70, 90, 99])
    rows = frequencies.label_frequency(counted, [50, 70, 90, 99]).to_pylist()
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
    counted, _, _ = scopes(collection, [50])
    (row,) = frequencies.label_frequency(counted, [50]).to_pylist()
    assert (row["scope"], row["label"], row["images"], row["share"]) == ("all", "Person", 1, 0.5)


def test_cells_of_parts_add_up_to_those_of_the_whole(collection: Collection[Document]) -> None:
    collection.insert_many(documents(4))
    parts = [{"logical_date": DAY}, {"logical_date": {"$lt": DAY}}]
    for count in (
        lambda query: frequencies.count_labels(collection, query, [50, 90]),
        lambda query: frequencies.count_groups(collection, query, [50, 90], OLD),
    ):
        whole = frequencies.merge([count({})])
        merged = frequencies.merge([count(part) for part in parts])
        exact = [name for name in whole.schema.names if name != "confidence"]
        assert merged.select(exact).equals(whole.select(exact))


def test_without_a_change_of_model_nothing_is_renamed(collection: Collection[Document]) -> None:
    person = {"Name": "Person", "Confidence": 99, "Aliases": [{"Name": "Human"}]}
    collection.insert_one({"_id": "images/a.jpg", "Labels": [person], "logical_date": DAY})
    _, cells, old = scopes(collection, [50])
    assert old == {}
    assert cells[0].num_rows == 0
