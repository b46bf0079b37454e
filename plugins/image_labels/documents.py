"""From a raw answer to the document: the one place that knows the collection's shape.

A *result row* is one line of the files under ``results/`` and holds all that a document needs::

    {"image": {…the manifest's entry…}, "answer": {"Labels": […], …},
     "analysis": {"at", "settings", "paid_by", "dag_run", "opened_at", "reused_from"}}
    {"image": {…}, "refused": {"step", "code", "reason", "at"}}

``dag_run`` is the run that brought the image and ``opened_at`` when that run began, ``paid_by`` the run that called
Rekognition, ``reused_from`` the key of the image that was asked about if it is another one.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from image_labels import jsonlines, tokens

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pymongo import ReplaceOne
    from pymongo.collection import Collection
    from pymongo.errors import BulkWriteError

Row = dict[str, Any]
Document = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """What is asked of Rekognition; with the content of the image it decides the answer.

    :param min_confidence: labels below it are not returned, in percent
    :param max_labels: at most so many labels, the surest first
    :raises ValueError: if Rekognition would not take them

    .. seealso:: https://docs.aws.amazon.com/rekognition/latest/APIReference/API_DetectLabels.html
    """

    min_confidence: float = 50.0
    max_labels: int = 100

    def __post_init__(self) -> None:
        if not 0 <= self.min_confidence <= 100:
            raise ValueError(f"min_confidence is {self.min_confidence}; Rekognition takes 0 to 100 percent")
        if not 1 <= self.max_labels <= 1000:
            raise ValueError(f"max_labels is {self.max_labels}; Rekognition takes 1 to 1000 here")

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as they are stored with each document."""
        return asdict(self)

    def __str__(self) -> str:
        return f"min_confidence={self.min_confidence:g},max_labels={self.max_labels}"


ANSWER = {"sha256": 1, "Labels": 1, "LabelModelVersion": 1, "analysis": 1}
"""The fields of a document that hold an answer, and what it is the answer to."""


def build(row: Row, logical_date: datetime) -> Document:
    """Return the document of a result row with an answer. Labels stay as Rekognition gave them.

    :param logical_date: midnight UTC of the run's day
    """
    image: Row = row["image"]
    document: Document = {"_id": image["key"]}
    document |= {name: value for name, value in image.items() if name not in ("key", "path")}
    if "taken_at" in image:
        document["taken_at"] = datetime.fromisoformat(image["taken_at"])
    answer: Mapping[str, Any] = row["answer"]
    document["Labels"] = answer.get("Labels") or []
    document |= _helpers(document)
    if version := answer.get("LabelModelVersion"):
        document["LabelModelVersion"] = version
    times = {name: datetime.fromisoformat(row["analysis"][name]) for name in ("at", "opened_at")}
    document["analysis"] = row["analysis"] | times
    document["logical_date"] = logical_date
    return document


def _helpers(document: Document) -> Document:
    """Return the fields that only make queries faster; all else is as Rekognition and the image have it.

    :returns: ``tokens``, what the image is looked up by, and ``repeats``, whether a label is listed more than once
    """
    labels = document["Labels"]
    return {
        "tokens": tokens.of(labels, document.get("photographer")),
        "repeats": len({label["Name"] for label in labels}) < len(labels),
    }


def add_helpers(collection: Collection[Document]) -> int:
    """Give documents that were stored before there were helping fields theirs.

    :returns: how many documents
    """
    from pymongo import UpdateOne

    count = 0
    found = collection.find({"tokens": None}, {"Labels": 1, "photographer": 1})
    for chunk in jsonlines.batched(found, 1000):
        collection.bulk_write(
            # Unless it was replaced meanwhile.
            [UpdateOne({"_id": one["_id"], "tokens": None}, {"$set": _helpers(one)}) for one in chunk],
            ordered=False,
        )
        count += len(chunk)
    return count


def upsert(collection: Collection[Document], documents: list[Document]) -> None:
    """Store documents, each in place of what an earlier run has stored under its key.

    Where a later run was before, its document stays. New ones are inserted and only those that exist are replaced,
    which costs half of upserting all.

    :raises pymongo.errors.BulkWriteError: if a document is refused for another reason than being there already
    """
    from pymongo.errors import BulkWriteError

    found = collection.find(
        {"_id": {"$in": [document["_id"] for document in documents]}}, {"sha256": 1, "analysis.settings": 1}
    )
    there = {document["_id"]: _question(document) for document in found}
    if new := [document for document in documents if document["_id"] not in there]:
        try:
            collection.insert_many(new, ordered=False)
        except BulkWriteError as error:
            taken = [new[position]["_id"] for position in those_already_there(error)]
            # Another worker was faster; but a unique index of somebody's own refuses with the same code.
            if collection.count_documents({"_id": {"$in": taken}}) < len(set(taken)):
                raise
            there |= dict.fromkeys(taken)
    if there:
        old = [document for document in documents if document["_id"] in there]
        _keep_answers(collection, [document for document in old if _question(document) != there[document["_id"]]])
        collection.bulk_write([_replacement(document) for document in old], ordered=False)


def those_already_there(error: BulkWriteError) -> list[int]:
    """Return the positions of the documents that could not be inserted because their keys are taken.

    :raises pymongo.errors.BulkWriteError: the error itself, if there is more to it
    """
    duplicate_key = 11000
    failures = error.details["writeErrors"]
    if error.details["writeConcernErrors"] or any(failure["code"] != duplicate_key for failure in failures):
        raise error
    return [failure["index"] for failure in failures]


def _replacement(document: Document) -> ReplaceOne[Document]:
    from pymongo import ReplaceOne

    later = {"$gt": document["analysis"]["opened_at"]}
    return ReplaceOne({"_id": document["_id"], "analysis.opened_at": {"$not": later}}, document)


ANSWERS = "answers"
"""Collection of answers whose document has made way for one with another content or other settings."""


def _question(document: Document) -> str | None:
    """Return what the answer of a document answers: a content and settings."""
    settings = document.get("analysis", {}).get("settings")
    return f"{document['sha256']} {Settings(**settings)}" if settings else None


def _keep_answers(collection: Collection[Document], changed: list[Document]) -> None:
    """Keep the answers of documents with another content than before, the new and the old: each may come again.

    :param changed: the new documents
    """
    from pymongo import ReplaceOne

    if not changed:
        return
    replaced = collection.find({"_id": {"$in": [document["_id"] for document in changed]}}, ANSWER)
    kept = [
        {"_id": question, "key": document["_id"], **{name: document[name] for name in ANSWER if name in document}}
        for document in (*replaced, *changed)
        if (question := _question(document))
    ]
    if kept:
        answers = [ReplaceOne({"_id": answer["_id"]}, answer, upsert=True) for answer in kept]
        collection.database[ANSWERS].bulk_write(answers, ordered=False)


STAMPS = "stamps"
"""Collection that tells on which days others have got documents, and when last."""


def mark_changed(collection: Collection[Document], day: datetime) -> None:
    """Put down that documents of a day are stored, so that what was counted over them has to be counted again.

    :param day: their ``logical_date``
    """
    from bson import ObjectId

    mark = {"collection": collection.name, "day": day, "stamp": ObjectId()}
    collection.database[STAMPS].replace_one({"_id": f"{collection.name} {day.date()}"}, mark, upsert=True)


def marks(collection: Collection[Document]) -> dict[datetime, str]:
    """Return for each day what differs whenever documents were stored with it since. Days are in UTC."""
    stamps = collection.database[STAMPS].find({"collection": collection.name})
    return {stamp["day"].replace(tzinfo=UTC): str(stamp["stamp"]) for stamp in stamps}


def answers_by_content(
    collection: Collection[Document], contents: Iterable[str], settings: Settings
) -> dict[str, Document]:
    """Find what has been answered before, under whatever name.

    :param contents: SHA-256 of the images, in hex
    :returns: for each content that has an answer under the same settings the document with it
    """
    wanted = list(contents)
    documents = collection.find({"sha256": {"$in": wanted}, **_same(settings)}, ANSWER)
    found = {document["sha256"]: document for document in documents}
    missing = [f"{content} {settings}" for content in wanted if content not in found]
    if missing:
        kept = collection.database[ANSWERS].find({"_id": {"$in": missing}})
        found |= {answer["sha256"]: {**answer, "_id": answer["key"]} for answer in kept}
    return found


def answered_keys(
    collection: Collection[Document], contents: Mapping[str, str], settings: Settings, run_id: str
) -> set[str]:
    """Find which images need no work: their document stands, for the same content and settings.

    Documents of this very run do not count, so that a run that is cleared does all its work again.

    :param contents: SHA-256 in hex by key
    """
    found = collection.find({"_id": {"$in": list(contents)}, **_same(settings)}, {"sha256": 1, "analysis.dag_run": 1})
    return {
        document["_id"]
        for document in found
        if document["sha256"] == contents[document["_id"]] and document["analysis"]["dag_run"] != run_id
    }


def _same(settings: Settings) -> dict[str, Any]:
    return {f"analysis.settings.{name}": value for name, value in settings.as_dict().items()}
