"""What Amazon DocumentDB 5.0 and 8.0 have of MongoDB's API, and a listener that notices when anything else is sent.

The table names what there is and not what is missing, so that what a later MongoDB brings is noticed as well. It
follows AWS's own, without what can't occur here (users, roles, shards). Where AWS's pages and its compatibility tool
differ about something, it is left out. 8.0 stands for 8.0.0, which is what the template makes: what 8.0.1 and later
add is not in it.

.. seealso::
    https://docs.aws.amazon.com/documentdb/latest/developerguide/mongo-apis.html,
    https://docs.aws.amazon.com/documentdb/latest/developerguide/functional-differences.html,
    https://docs.aws.amazon.com/documentdb/latest/developerguide/compatibility.html,
    https://docs.aws.amazon.com/documentdb/latest/developerguide/partial-index.html,
    https://github.com/awslabs/amazon-documentdb-tools/tree/master/compat-tool
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from pymongo import monitoring

NEITHER = "5.0 and 8.0"
ONLY_8 = "5.0"
"""The versions that lack something."""


@dataclass(frozen=True)
class Support:
    """A row of the table.

    :param on_both: names of what 5.0 and 8.0 have
    :param only_on_8: names of what 8.0 has besides
    """

    on_both: str
    only_on_8: str = ""

    def lacked_by(self, name: str) -> str:
        """Return the versions that have nothing of that name; empty if both do."""
        if name in self.on_both.split():
            return ""
        return ONLY_8 if name in self.only_on_8.split() else NEITHER


_ACCUMULATORS = "$addToSet $avg $first $last $max $min $push $sum"

SUPPORT = {
    "command": Support(
        """
        aggregate count distinct delete find findAndModify getMore insert update abortTransaction commitTransaction
        collMod create createIndexes drop dropDatabase dropIndexes killCursors listCollections listDatabases listIndexes
        reIndex renameCollection buildInfo collStats connectionStatus currentOp dataSize dbStats explain hostInfo killOp
        serverStatus startSession killSessions top
        """
    ),
    "stage": Support(
        """
        $addFields $changeStream $count $currentOp $geoNear $group $indexStats $limit $lookup $match $out $project
        $redact $replaceRoot $sample $search $skip $sort $unwind
        """,
        "$bucket $collStats $merge $replaceWith $set $unset $vectorSearch",
    ),
    "accumulator": Support(_ACCUMULATORS),
    "operator in expressions": Support(
        f"""
        {_ACCUMULATORS}
        $mergeObjects $abs $add $ceil $divide $exp $floor $ln $log $log10 $mod $multiply $sqrt $subtract
        $arrayElemAt $arrayToObject $concatArrays $filter $in $indexOfArray $isArray $objectToArray $range $reverseArray
        $reduce $size $slice $zip $and $not $or $cmp $eq $gt $gte $lt $lte $ne $cond $ifNull $switch $type
        $dateAdd $dateFromString $dateSubtract $dateToString $dayOfMonth $dayOfWeek $dayOfYear $hour $isoDayOfWeek
        $isoWeek $isoWeekYear $millisecond $minute $month $second $week $year $literal $allElementsTrue $anyElementTrue
        $setDifference $setEquals $setIntersection $setIsSubset $setUnion $concat $indexOfBytes $indexOfCP $regexFind
        $regexMatch $split $strcasecmp $strLenBytes $strLenCP $substr $substrBytes $substrCP $toLower $toUpper $meta
        $convert $toBool $toDate $toDecimal $toDouble $toInt $toLong $toObjectId $toString $let $map
        """,
        "$dateDiff $dateTrunc $pow $rand",
    ),
    # Written in capitals; others are those of $let, $map and the like.
    "variable": Support("$$DESCEND $$KEEP $$PRUNE $$ROOT"),
    "operator in projections": Support("$elemMatch $meta $slice"),
    "operator in queries": Support(
        """
        $all $elemMatch $size $bitsAllSet $bitsAnySet $bitsAllClear $bitsAnyClear $comment $eq $gt $gte $in $lt $lte $ne
        $nin $exists $type $expr $jsonSchema $mod $regex $options $text $and $nor $not $or
        $geometry $maxDistance $minDistance $nearSphere $geoIntersects $geoWithin
        """
    ),
    "update operator": Support(
        "$addToSet $pop $pullAll $pull $push $bit $currentDate $inc $max $min $mul $rename $set $setOnInsert $unset"
    ),
    "update modifier": Support("$each $position $slice $sort"),
    "index kind": Support("1 -1 2dsphere text vector"),
    "index option": Support(
        """
        key name v background unique sparse expireAfterSeconds partialFilterExpression vectorOptions
        2dsphereIndexVersion weights default_language language_override textIndexVersion
        """,
        "collation",
    ),
    "operator in partial indexes": Support("$and $eq $exists $gt $gte $lt $lte"),
}
"""The table: what there is, by its kind."""

_COLLATION = {"collation": ONLY_8}
LACKING_OPTIONS: Mapping[str, Mapping[str, str]] = {
    "find": _COLLATION
    | dict.fromkeys(
        ("allowDiskUse", "max", "min", "noCursorTimeout", "returnKey", "showRecordId", "tailable"), NEITHER
    ),
    "create": _COLLATION | {"viewOn": ONLY_8, "capped": NEITHER, "timeseries": NEITHER},
    **dict.fromkeys(("aggregate", "count", "distinct", "findAndModify"), _COLLATION),
}
"""Options of commands, and the versions that do not know them. AWS's pages name them by what is missing."""

OF_THE_DRIVER = "hello ismaster isMaster ping saslStart saslContinue authenticate endSessions"
"""Commands sent by the driver itself, which does without an answer to ``endSessions``."""

OF_THE_TESTS = """
    configureFailPoint createUser dropUser fsync getCmdLineOpts replSetFreeze replSetGetStatus replSetInitiate
    replSetReconfig replSetStepDown shutdown updateUser
"""
"""What a test does to the mongod that it runs, where on DocumentDB it is AWS that would."""


class Lack(NamedTuple):
    """Something that a command needs and an engine does not have."""

    what: str
    versions: str = NEITHER


class DocumentDBGuard(monitoring.CommandListener):
    """Listens to all that is sent to a database.

    :ivar violations: a sentence for each thing that DocumentDB 5.0 or 8.0 does not have, with the command
    """

    def __init__(self) -> None:
        self.violations: list[str] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        """Look at a command that is about to be sent."""
        self.violations += [
            f"{lack.what}: not in DocumentDB {lack.versions}: {str(event.command)[:2000]}"
            for lack in lacking(event.command_name, event.command)
        ]

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Do nothing."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Do nothing."""


GUARD = DocumentDBGuard()
"""The one that the integration tests register for all clients."""


def lacking(name: str, command: Mapping[str, Any]) -> Iterator[Lack]:
    """Yield what a command needs that DocumentDB 5.0 or 8.0 does not have."""
    if name in OF_THE_DRIVER.split() or name in OF_THE_TESTS.split():
        return
    if unknown := list(_look_up("command", name)):
        yield from unknown
        return
    if "txnNumber" in command and command.get("autocommit") is not False:
        yield Lack("retryable writes (retryWrites=false)")
    for option, versions in LACKING_OPTIONS.get(name, {}).items():
        if command.get(option):
            yield Lack(f"option {option} of {name}", versions)
    if name in _PARTS:
        yield from _PARTS[name](command)


def _look_up(kind: str, name: str) -> Iterator[Lack]:
    """Yield a name of that kind if it is not in the table for both versions."""
    if versions := SUPPORT[kind].lacked_by(name):
        yield Lack(f"{kind} {name}", versions)


def _aggregate(command: Mapping[str, Any]) -> Iterator[Lack]:
    return _pipeline(command["pipeline"])


def _find(command: Mapping[str, Any]) -> Iterator[Lack]:
    yield from _query(command.get("filter", {}))
    yield from _projection(command.get("projection") or {})
    for order in (command.get("sort"), command.get("hint")):
        if isinstance(order, Mapping) and order.get("$natural") == -1:
            yield Lack("scan backwards ($natural: -1)")


def _projection(projection: Mapping[str, Any]) -> Iterator[Lack]:
    for value in projection.values():
        for name, operand in value.items() if isinstance(value, Mapping) else ():
            yield from _look_up("operator in projections", name)
            yield from _query(operand)


def _by_query(command: Mapping[str, Any]) -> Iterator[Lack]:
    return _query(command.get("query", {}))


def _update(command: Mapping[str, Any]) -> Iterator[Lack]:
    for statement in command.get("updates", ()):
        yield from _change(statement["q"], statement["u"], statement)


def _delete(command: Mapping[str, Any]) -> Iterator[Lack]:
    for statement in command.get("deletes", ()):
        yield from _change(statement["q"], {}, statement)


def _find_and_modify(command: Mapping[str, Any]) -> Iterator[Lack]:
    yield from _change(command.get("query", {}), command.get("update", {}), {})


def _list_collections(command: Mapping[str, Any]) -> Iterator[Lack]:
    if "type" in command.get("filter", {}):
        yield Lack("filter by type in listCollections")


def _create_indexes(command: Mapping[str, Any]) -> Iterator[Lack]:
    if "commitQuorum" in command:
        yield Lack("option commitQuorum of createIndexes")
    for index in command["indexes"]:
        for option in index:
            yield from _look_up("index option", option)
        for field, kind in index["key"].items():
            yield from _look_up("index kind", "wildcard" if "$**" in field else str(kind))
        for operator in _operators(index.get("partialFilterExpression", {})):
            yield from _look_up("operator in partial indexes", operator)


def _explain(command: Mapping[str, Any]) -> Iterator[Lack]:
    explained = command["explain"]
    return lacking(next(iter(explained)), explained)


_PARTS: Mapping[str, Callable[[Mapping[str, Any]], Iterator[Lack]]] = {
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


def _pipeline(stages: Iterable[Mapping[str, Any]]) -> Iterator[Lack]:
    for stage in stages:
        name, body = next(iter(stage.items()))
        if unknown := list(_look_up("stage", name)):
            yield from unknown
        elif name == "$match":
            yield from _query(body)
        elif name == "$group":
            yield from _group(body)
        elif name == "$lookup":
            if body.get("let") or ("pipeline" in body and "localField" in body):
                yield Lack("correlated $lookup")
            yield from _pipeline(body.get("pipeline", ()))
        elif name == "$geoNear":
            yield from _query(body.get("query", {}))
        else:
            yield from _expression(body)


def _group(body: Mapping[str, Any]) -> Iterator[Lack]:
    for field, value in body.items():
        if field == "_id":
            yield from _expression(value)
            continue
        for accumulator, expression in value.items():
            yield from _look_up("accumulator", accumulator)
            yield from _expression(expression)


def _expression(value: Any) -> Iterator[Lack]:
    if isinstance(value, str) and value.startswith("$$") and value[2:3].isupper():
        yield from _look_up("variable", value.partition(".")[0])
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _expression(item)
    elif isinstance(value, Mapping):
        for name, operand in value.items():
            if name.startswith("$"):
                yield from _look_up("operator in expressions", name)
            if name != "$literal":
                yield from _expression(operand)


def _query(query: Any) -> Iterator[Lack]:
    if not isinstance(query, Mapping):
        return
    for name, operand in query.items():
        if name.startswith("$"):
            yield from _look_up("operator in queries", name)
        if name == "$expr":
            yield from _expression(operand)
        elif name in ("$and", "$or", "$nor"):
            for part in operand:
                yield from _query(part)
        elif name == "$all" and any(isinstance(item, Mapping) and "$elemMatch" in item for item in operand):
            yield Lack("$elemMatch within $all")
        elif name not in ("$text", "$jsonSchema"):
            yield from _query(operand)


def _change(query: Mapping[str, Any], change: Any, statement: Mapping[str, Any]) -> Iterator[Lack]:
    yield from _query(query)
    if "collation" in statement:
        yield Lack("option collation of a write", ONLY_8)
    if isinstance(change, list):
        yield Lack("update by pipeline")
        return
    for name, fields in change.items():
        if not name.startswith("$"):
            continue
        yield from _look_up("update operator", name)
        if name in ("$push", "$addToSet"):
            for value in fields.values():
                for modifier in value if isinstance(value, Mapping) else ():
                    if modifier.startswith("$"):
                        yield from _look_up("update modifier", modifier)


def _operators(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield from (name for name in value if name.startswith("$"))
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _operators(item)
