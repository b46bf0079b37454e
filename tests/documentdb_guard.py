"""What Amazon DocumentDB 5.0 has of MongoDB's API, and a listener that notices when anything else is sent.

The lists name what there is and not what is missing, so that what a later MongoDB brings is noticed as well. They are
those of AWS's own table, without what can't occur here (users, roles, shards):

.. seealso::
    https://docs.aws.amazon.com/documentdb/latest/developerguide/mongo-apis.html,
    https://docs.aws.amazon.com/documentdb/latest/developerguide/functional-differences.html,
    https://docs.aws.amazon.com/documentdb/latest/developerguide/partial-index.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from pymongo import monitoring


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


COMMANDS = _words(
    """
    aggregate count distinct delete find findAndModify getMore insert update abortTransaction commitTransaction
    collMod create createIndexes drop dropDatabase dropIndexes killCursors listCollections listDatabases listIndexes
    reIndex renameCollection buildInfo collStats connectionStatus currentOp dataSize dbStats explain hostInfo killOp
    serverStatus startSession killSessions top
    """
)
OF_THE_DRIVER = _words("hello ismaster isMaster ping saslStart saslContinue authenticate endSessions")
"""Sent by the driver itself, which does without an answer to ``endSessions``."""

OF_THE_TESTS = _words(
    """
    configureFailPoint createUser dropUser fsync getCmdLineOpts replSetFreeze replSetGetStatus replSetInitiate
    replSetReconfig replSetStepDown shutdown updateUser
    """
)
"""What a test does to the mongod that it runs, where on DocumentDB it is AWS that would."""

STAGES = _words(
    """
    $addFields $changeStream $collStats $count $currentOp $geoNear $group $indexStats $limit $lookup $match $out
    $project $redact $replaceRoot $sample $search $skip $sort $unwind
    """
)
ACCUMULATORS = _words("$addToSet $avg $first $last $max $min $push $sum")
EXPRESSIONS = ACCUMULATORS | _words(
    """
    $mergeObjects $abs $add $ceil $divide $exp $floor $ln $log $log10 $mod $multiply $sqrt $subtract
    $arrayElemAt $arrayToObject $concatArrays $filter $in $indexOfArray $isArray $objectToArray $range $reverseArray
    $reduce $size $slice $zip $and $not $or $cmp $eq $gt $gte $lt $lte $ne $cond $ifNull $switch $type
    $dateAdd $dateDiff $dateFromString $dateSubtract $dateToString $dayOfMonth $dayOfWeek $dayOfYear $hour $isoDayOfWeek
    $isoWeek $isoWeekYear $millisecond $minute $month $second $week $year $literal $allElementsTrue $anyElementTrue
    $setDifference $setEquals $setIntersection $setIsSubset $setUnion $concat $indexOfBytes $indexOfCP $ltrim
    $regexFind $regexFindAll $regexMatch $replaceAll $replaceOne $rtrim $split $strcasecmp $strLenBytes $strLenCP
    $substr $substrBytes $substrCP $toLower $toUpper $trim $meta $convert $toBool $toDate $toDecimal $toDouble
    $toInt $toLong $toObjectId $toString $let $map
    """
)
VARIABLES_LACKING = ("$$CURRENT", "$$REMOVE", "$$NOW", "$$CLUSTER_TIME")

QUERY_OPERATORS = _words(
    """
    $all $elemMatch $size $bitsAllSet $bitsAnySet $bitsAllClear $bitsAnyClear $comment $eq $gt $gte $in $lt $lte $ne
    $nin $exists $type $expr $jsonSchema $mod $regex $options $text $and $nor $not $or
    $geometry $maxDistance $minDistance $nearSphere $geoIntersects $geoWithin $near
    """
)
UPDATE_OPERATORS = _words(
    """
    $addToSet $pop $pullAll $pull $push $bit $currentDate $inc $max $min $mul $rename $set $setOnInsert $unset
    """
)
UPDATE_MODIFIERS = _words("$each $position $slice $sort")

INDEX_KINDS = (1, -1, "2dsphere", "text", "vector")
INDEX_OPTIONS = _words(
    """
    key name v background unique sparse expireAfterSeconds partialFilterExpression vectorOptions 2dsphereIndexVersion
    weights default_language language_override textIndexVersion
    """
)
PARTIAL_INDEX_OPERATORS = _words("$and $eq $exists $gt $gte $lt $lte")

OPTIONS_LACKING: Mapping[str, tuple[str, ...]] = {
    "find": ("allowDiskUse", "collation", "max", "min", "noCursorTimeout", "returnKey", "showRecordId", "tailable"),
    "create": ("capped", "collation", "timeseries", "viewOn"),
    **dict.fromkeys(("aggregate", "count", "distinct", "findAndModify"), ("collation",)),
}
"""Options of commands that the engine does not know."""


class DocumentDBGuard(monitoring.CommandListener):
    """Listens to all that is sent to a database.

    :ivar violations: a sentence for each thing that DocumentDB 5.0 does not have, with the command
    """

    def __init__(self) -> None:
        self.violations: list[str] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        """Look at a command that is about to be sent."""
        self.violations += [
            f"DocumentDB 5.0 has no {problem}: {str(event.command)[:2000]}"
            for problem in lacking(event.command_name, event.command)
        ]

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Do nothing."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Do nothing."""


GUARD = DocumentDBGuard()
"""The one that the integration tests register for all clients."""


def lacking(name: str, command: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a command needs that DocumentDB 5.0 does not have."""
    if name in OF_THE_DRIVER or name in OF_THE_TESTS:
        return
    if name not in COMMANDS:
        yield f"command {name}"
        return
    if "txnNumber" in command and command.get("autocommit") is not False:
        yield "retryable writes (retryWrites=false)"
    for option in OPTIONS_LACKING.get(name, ()):
        if command.get(option):
            yield f"option {option} of {name}"
    if name in _PARTS:
        yield from _PARTS[name](command)


def _aggregate(command: Mapping[str, Any]) -> Iterator[str]:
    return _pipeline(command["pipeline"])


def _find(command: Mapping[str, Any]) -> Iterator[str]:
    yield from _query(command.get("filter", {}))
    yield from _expression(command.get("projection") or {}, EXPRESSIONS | {"$elemMatch"})
    for order in (command.get("sort"), command.get("hint")):
        if isinstance(order, Mapping) and order.get("$natural") == -1:
            yield "scan backwards ($natural: -1)"


def _by_query(command: Mapping[str, Any]) -> Iterator[str]:
    return _query(command.get("query", {}))


def _update(command: Mapping[str, Any]) -> Iterator[str]:
    for statement in command.get("updates", ()):
        yield from _change(statement["q"], statement["u"], statement)


def _delete(command: Mapping[str, Any]) -> Iterator[str]:
    for statement in command.get("deletes", ()):
        yield from _change(statement["q"], {}, statement)


def _find_and_modify(command: Mapping[str, Any]) -> Iterator[str]:
    yield from _change(command.get("query", {}), command.get("update", {}), {})


def _list_collections(command: Mapping[str, Any]) -> Iterator[str]:
    if "type" in command.get("filter", {}):
        yield "filter by type in listCollections"


def _create_indexes(command: Mapping[str, Any]) -> Iterator[str]:
    if "commitQuorum" in command:
        yield "option commitQuorum of createIndexes"
    for index in command["indexes"]:
        for option in index.keys() - INDEX_OPTIONS:
            yield f"index option {option}"
        for field, kind in index["key"].items():
            if kind not in INDEX_KINDS or "$**" in field:
                yield f"index of the kind {field}: {kind}"
        for operator in _operators(index.get("partialFilterExpression", {})):
            if operator not in PARTIAL_INDEX_OPERATORS:
                yield f"{operator} in a partial index"


def _explain(command: Mapping[str, Any]) -> Iterator[str]:
    explained = command["explain"]
    return lacking(next(iter(explained)), explained)


_PARTS: Mapping[str, Callable[[Mapping[str, Any]], Iterator[str]]] = {
    "aggregate": _aggregate,
    "find": _find,
    "count": _by_query,
    "distinct": _by_query,
    "update": _update,
    "delete": _delete,
    "findAndModify": _find_and_modify,
    "listCollections": _list_collections,
    "createIndexes": _create_indexes,
    "explain": _explain,
}


def _pipeline(stages: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for stage in stages:
        name, body = next(iter(stage.items()))
        if name not in STAGES:
            yield f"stage {name}"
        elif name == "$match":
            yield from _query(body)
        elif name == "$group":
            yield from _group(body)
        elif name == "$lookup":
            if body.get("let") or ("pipeline" in body and "localField" in body):
                yield "correlated $lookup"
            yield from _pipeline(body.get("pipeline", ()))
        elif name == "$geoNear":
            yield from _query(body.get("query", {}))
        else:
            yield from _expression(body)


def _group(body: Mapping[str, Any]) -> Iterator[str]:
    for field, value in body.items():
        if field == "_id":
            yield from _expression(value)
            continue
        for accumulator, expression in value.items():
            if accumulator not in ACCUMULATORS:
                yield f"accumulator {accumulator}"
            yield from _expression(expression)


def _expression(value: Any, known: frozenset[str] = EXPRESSIONS) -> Iterator[str]:
    if isinstance(value, str) and value.startswith(VARIABLES_LACKING):
        yield f"variable {value}"
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _expression(item, known)
    elif isinstance(value, Mapping):
        for name, operand in value.items():
            if name.startswith("$") and name not in known:
                yield f"operator {name} in expressions"
            if name != "$literal":
                yield from _expression(operand, known)


def _query(query: Any) -> Iterator[str]:
    if not isinstance(query, Mapping):
        return
    for name, operand in query.items():
        if name.startswith("$") and name not in QUERY_OPERATORS:
            yield f"operator {name} in queries"
        elif name == "$expr":
            yield from _expression(operand)
        elif name in ("$and", "$or", "$nor"):
            for part in operand:
                yield from _query(part)
        elif name == "$all" and any(isinstance(item, Mapping) and "$elemMatch" in item for item in operand):
            yield "$elemMatch within $all"
        elif name not in ("$text", "$jsonSchema"):
            yield from _query(operand)


def _change(query: Mapping[str, Any], change: Any, statement: Mapping[str, Any]) -> Iterator[str]:
    yield from _query(query)
    if "collation" in statement:
        yield "option collation of a write"
    if isinstance(change, list):
        yield "update by pipeline"
        return
    for name, fields in change.items():
        if not name.startswith("$"):
            continue
        if name not in UPDATE_OPERATORS:
            yield f"update operator {name}"
        elif name in ("$push", "$addToSet"):
            for value in fields.values():
                for modifier in value if isinstance(value, Mapping) else ():
                    if modifier.startswith("$") and modifier not in UPDATE_MODIFIERS:
                        yield f"update modifier {modifier}"


def _operators(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield from (name for name in value if name.startswith("$"))
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _operators(item)
