"""The guard of the integration tests is only worth something if it notices what DocumentDB lacks, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from pymongo.monitoring import CommandStartedEvent

from documentdb_guard import NEITHER, ONLY_8, SUPPORT, DocumentDBGuard

INDEX = {"key": {"a": 1}, "name": "a_1"}


def noticed(command: dict[str, Any]) -> list[str]:
    guard = DocumentDBGuard()
    guard.started(CommandStartedEvent(command, "db", 1, ("localhost", 27017), 1))
    return guard.violations


def aggregate(*stages: dict[str, Any], **options: Any) -> dict[str, Any]:
    return {"aggregate": "images", "pipeline": list(stages), "cursor": {}, **options}


def find(query: dict[str, Any], **options: Any) -> dict[str, Any]:
    return {"find": "images", "filter": query, **options}


def update(change: Any, query: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    return {"update": "images", "updates": [{"q": query or {}, "u": change, **options}]}


def create_index(**options: Any) -> dict[str, Any]:
    return {"createIndexes": "images", "indexes": [{**INDEX, **options}]}


ONLY_ON_8 = {
    "stage $merge": aggregate({"$match": {}}, {"$merge": {"into": "x"}}),
    "stage $bucket": aggregate({"$bucket": {"groupBy": "$a", "boundaries": [0, 1]}}),
    "stage $set": aggregate({"$set": {"a": 1}}),
    "stage $unset": aggregate({"$unset": "a"}),
    "stage $replaceWith": aggregate({"$replaceWith": "$a"}),
    "operator in expressions $dateTrunc": aggregate(
        {"$group": {"_id": {"$dateTrunc": {"date": "$a", "unit": "day"}}, "n": {"$sum": 1}}}
    ),
    "operator in expressions $pow": aggregate({"$group": {"_id": None, "a": {"$sum": {"$pow": ["$a", 2]}}}}),
    "option collation of find": find({}, collation={"locale": "en"}),
    "option collation of aggregate": aggregate({"$match": {}}, collation={"locale": "en"}),
    "option collation of a write": update({"$set": {"a": 1}}, collation={"locale": "en"}),
    "option viewOn of create": {"create": "images", "viewOn": "x", "pipeline": []},
    "index option collation": create_index(collation={"locale": "en", "strength": 2}),
}

LACKING = {
    "command mapReduce": {"mapReduce": "images", "map": "", "reduce": ""},
    "command bulkWrite": {"bulkWrite": 1, "ops": []},
    "stage $facet": aggregate({"$facet": {"all": []}}),
    "stage $unionWith": aggregate({"$unionWith": "x"}),
    "stage $sortByCount": aggregate({"$sortByCount": "$a"}),
    "stage $graphLookup": aggregate({"$lookup": {"from": "x", "as": "x", "pipeline": [{"$graphLookup": {}}]}}),
    "stage $documents": aggregate({"$documents": [{"a": 1}]}),
    "correlated $lookup": aggregate({"$lookup": {"from": "x", "as": "x", "let": {"a": "$a"}, "pipeline": []}}),
    "operator in expressions $round": aggregate({"$project": {"a": {"$round": ["$a", 1]}}}),
    "operator in expressions $sortArray": aggregate(
        {"$addFields": {"a": {"$sortArray": {"input": "$a", "sortBy": 1}}}}
    ),
    "operator in expressions $getField": aggregate({"$match": {"$expr": {"$eq": [{"$getField": "a"}, 1]}}}),
    "operator in projections $firstN": find({}, projection={"a": {"$firstN": {"input": "$a", "n": 1}}}),
    "accumulator $count": aggregate({"$group": {"_id": "$a", "n": {"$count": {}}}}),
    "accumulator $topN": aggregate({"$group": {"_id": "$a", "n": {"$topN": {}}}}),
    "accumulator $percentile": aggregate({"$group": {"_id": "$a", "n": {"$percentile": {}}}}),
    "accumulator $stdDevPop": aggregate({"$group": {"_id": "$a", "n": {"$stdDevPop": "$b"}}}),
    "variable $$REMOVE": aggregate({"$project": {"a": {"$cond": ["$a", "$a", "$$REMOVE"]}}}),
    "operator in queries $where": find({"$where": "this.a"}),
    "operator in queries $centerSphere": find({"location": {"$geoWithin": {"$centerSphere": [[0, 0], 1]}}}),
    "operator in queries $sampleRate": aggregate({"$match": {"$sampleRate": 0.5}}),
    "$elemMatch within $all": find({"$and": [{"Labels": {"$all": [{"$elemMatch": {"Name": "Book"}}]}}]}),
    "scan backwards": find({}, sort={"$natural": -1}),
    "option allowDiskUse of find": find({}, allowDiskUse=True),
    "option noCursorTimeout of find": find({}, noCursorTimeout=True),
    "option tailable of find": find({}, tailable=True),
    "option capped of create": {"create": "images", "capped": True, "size": 1},
    "option timeseries of create": {"create": "images", "timeseries": {"timeField": "at"}},
    "filter by type in listCollections": {"listCollections": 1, "filter": {"type": "collection"}},
    "update by pipeline": update([{"$addFields": {"a": 1}}]),
    "update operator $foo": update({"$foo": {"a": 1}}),
    "update modifier $foo": update({"$push": {"a": {"$each": [1], "$foo": 1}}}),
    "operator in queries $where, of an update": update({"$set": {"a": 1}}, {"$where": "this.a"}),
    "operator in queries $where, of a deletion": {"delete": "images", "deletes": [{"q": {"$where": "1"}, "limit": 0}]},
    "operator in queries $where, of a count": {"count": "images", "query": {"$where": "1"}},
    "update by pipeline, findAndModify": {"findAndModify": "images", "query": {}, "update": [{"$addFields": {"a": 1}}]},
    "index option hidden": create_index(hidden=True),
    "index option wildcardProjection": create_index(wildcardProjection={"a": 1}),
    "index kind hashed": create_index(key={"a": "hashed"}),
    "index kind 2d": create_index(key={"a": "2d"}),
    "index kind wildcard": create_index(key={"$**": 1}),
    "operator in partial indexes $in": create_index(partialFilterExpression={"$and": [{"a": {"$in": [1, 2]}}]}),
    "option commitQuorum of createIndexes": {**create_index(), "commitQuorum": "majority"},
    "retryable writes": {"insert": "images", "documents": [{"a": 1}], "txnNumber": 1, "lsid": {}},
    "stage $facet, explained": {"explain": aggregate({"$facet": {}}), "verbosity": "queryPlanner"},
}

THERE = {
    "insert": {"insert": "images", "documents": [{"_id": 1, "text": "$facet", "query": {"$merge": 1}}]},
    "bulk upsert": update({"_id": 1, "Labels": []}, {"_id": 1}, upsert=True, multi=False),
    "atomic counters": {
        "findAndModify": "limits",
        "query": {"_id": 1, "at": {"$lt": 3}},
        "update": {"$inc": {"n": 1}, "$max": {"at": 1}},
        "new": True,
    },
    "update with modifiers": update({"$push": {"a": {"$each": [1], "$slice": -5}}, "$setOnInsert": {"b": {"c": 1}}}),
    "transaction": {"insert": "images", "documents": [], "txnNumber": 1, "autocommit": False, "startTransaction": True},
    "array queries": find(
        {
            "$and": [
                {"Labels.Name": "Book"},
                {
                    "Labels": {
                        "$elemMatch": {"Name": "Book", "Confidence": {"$gte": 90}, "Instances.3": {"$exists": True}}
                    }
                },
            ]
        },
        projection={"_id": 0, "img": 1},
        sort={"img": 1},
        limit=5,
    ),
    "values that look like operators": find({"text": {"$in": ["$facet", "$where"]}, "a": {"$eq": {"b": "$$REMOVE"}}}),
    "place": find(
        {"location": {"$nearSphere": {"$geometry": {"type": "Point", "coordinates": [0, 0]}, "$maxDistance": 5}}}
    ),
    "frequencies": aggregate(
        {"$match": {"at": {"$gte": 1}}},
        {"$addFields": {"n": {"$size": {"$setUnion": [{"$ifNull": ["$Labels.Name", []]}, []]}}}},
        {"$unwind": "$Labels"},
        {
            "$group": {
                "_id": {
                    "label": "$Labels.Name",
                    "floor": {"$switch": {"branches": [{"case": {"$gte": ["$c", 90]}, "then": 90}], "default": None}},
                },
                "images": {"$sum": 1},
                "highest": {"$max": "$Labels.Confidence"},
            }
        },
        {"$project": {"note": {"$literal": "$$REMOVE"}, "images": 1}},
        {"$sort": {"images": -1, "_id": 1}},
        allowDiskUse=True,
    ),
    "uncorrelated lookup": aggregate({"$lookup": {"from": "x", "as": "x", "pipeline": [{"$match": {"a": 1}}]}}),
    "joining lookup": aggregate({"$lookup": {"from": "x", "as": "x", "localField": "a", "foreignField": "b"}}),
    "index": create_index(unique=True, sparse=True, expireAfterSeconds=60, background=True),
    "partial index": create_index(partialFilterExpression={"$and": [{"a": {"$exists": True}}, {"b": {"$eq": 1}}]}),
    "place index": create_index(key={"location": "2dsphere"}),
    "explain": {"explain": find({"a": 1}), "verbosity": "queryPlanner"},
    "names of collections": {"listCollections": 1, "cursor": {}, "nameOnly": True},
    "what the driver sends": {"hello": 1},
    "end of the driver's sessions": {"endSessions": []},
    "what a test does to its server": {"replSetStepDown": 60},
}


@pytest.mark.parametrize(
    ("what", "command", "versions"),
    [(what, command, NEITHER) for what, command in LACKING.items()]
    + [(what, command, ONLY_8) for what, command in ONLY_ON_8.items()],
    ids=[*LACKING, *ONLY_ON_8],
)
def test_what_a_version_lacks_is_noticed(what: str, command: dict[str, Any], versions: str) -> None:
    [violation] = noticed(command)
    assert violation.startswith(what.partition(",")[0])
    assert violation.endswith(f": not in DocumentDB {versions}: {str(command)[:2000]}")


def test_nothing_is_in_the_table_twice() -> None:
    for support in SUPPORT.values():
        names = f"{support.on_both} {support.only_on_8}".split()
        assert len(names) == len(set(names))


@pytest.mark.parametrize("command", THERE.values(), ids=THERE)
def test_what_documentdb_has_passes(command: dict[str, Any]) -> None:
    assert noticed(command) == []


def test_all_violations_of_a_command_are_noticed() -> None:
    stages = {"$match": {"$where": "1"}}, {"$facet": {}}, {"$project": {"a": {"$round": "$a"}}}
    assert len(noticed(aggregate(*stages, collation={"locale": "en"}))) == 4
