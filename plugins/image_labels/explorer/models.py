"""What the API answers with."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from image_labels.explorer.access import DAG_ID


class Card(BaseModel):
    """An image among others."""

    key: str = Field(description="Its key in S3, by which it is known")
    name: str = Field(description="Its file name")
    sha256: str = Field(description="Of its content: the address of its picture and thumbnail")
    width: int
    height: int


class Cards(BaseModel):
    """Some images of a result."""

    images: list[Card]
    next: str | None = Field(description="Goes into `after` for those that follow; null if these are the last")
    labels: list[str] = Field(description="That the query asks for")


class Count(BaseModel):
    """How many images a query finds."""

    count: int
    exact: bool = Field(description="False if there are more: counting stops at the limit")


class Plan(BaseModel):
    """How the database answers a query."""

    query: str = Field(description="The query as it was understood, with all confidences")
    filter: str = Field(description="What is sent to the database, as extended JSON")
    stages: list[str] = Field(description="Of the plan, the outermost first")
    indexes: list[str] = Field(description="Indexes that it reads; none is a scan of the whole collection")
    documents_examined: int | None
    keys_examined: int | None
    returned: int | None


class Box(BaseModel):
    """Where a label was located, in fractions of the upright picture."""

    left: float
    top: float
    width: float
    height: float
    confidence: float | None


class Label(BaseModel):
    """What Rekognition says is in an image."""

    name: str
    confidence: float = Field(description="In percent")
    parents: list[str]
    aliases: list[str]
    categories: list[str]
    boxes: list[Box]


class Image(Card):
    """All that is known of an image."""

    labels: list[Label] = Field(description="The surest first")
    format: str
    bytes: int
    day: date = Field(description="Of its ingest")
    analysed_at: datetime
    dag: str
    run: str = Field(description="The DAG run that brought it")
    model: str | None = Field(description="Version of Rekognition's label model")
    taken_at: datetime | None
    photographer: str | None
    source_url: str | None
    camera: str | None
    artist: str | None
    longitude: float | None
    latitude: float | None


class Similar(Card):
    """An image that shows much the same."""

    likeness: float = Field(description="Of their labels, 0 to 1")


class LabelCount(BaseModel):
    """How many images show a label."""

    label: str
    images: int


class Frequency(LabelCount):
    """How often a label is seen at a confidence."""

    share: float = Field(description="Of the images in scope, 0 to 1")
    instances: int
    mean_confidence: float


class Frequencies(BaseModel):
    """The most frequent labels, as a day's report has them."""

    day: date | None = Field(description="Of the report; null if there is none")
    days: list[date] = Field(description="That have a report, the latest first")
    scope: Literal["all", "day"]
    min_confidence: float
    thresholds: list[float] = Field(description="Confidences that the report has")
    total: int = Field(description="Labels that reach the threshold")
    labels: list[Frequency]


class Run(BaseModel):
    """The books of a DAG run."""

    run: str
    dag: str
    day: date
    state: str
    opened_at: datetime | None
    closed_at: datetime | None
    landing: str | None
    problems: list[str]
    books: dict[str, dict[str, int]]
    spent_usd: float | None
    quarantined: int


class Runs(BaseModel):
    """Some DAG runs, the latest first."""

    runs: list[Run]
    next: int | None = Field(description="Goes into `before` for earlier ones; null if these are the first")


class Refused(BaseModel):
    """A file that a run could not take."""

    path: str
    step: str
    code: str
    reason: str
    at: datetime
    picture: str | None = Field(description="Address of the file relative to the page, if S3 has it")


class Quarantine(BaseModel):
    """Some of the files that a run could not take."""

    files: list[Refused]
    next: int | None = Field(description="Goes into `after` for those that follow; null if these are the last")


class Report(BaseModel):
    """A file of a report."""

    table: str
    day: date
    name: str
    bytes: int
    href: str = Field(description="Its address relative to the page")


class Reports(BaseModel):
    """The reports of a month in S3."""

    month: str
    files: list[Report] = Field(description="The latest first")
    complete: bool = Field(description="False if there are more files than are listed")
    folder: str = Field(description="Address of the folder of all reports relative to the page")


def card(document: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a :class:`Card` from a document."""
    return {"key": document["_id"], "name": document["img"]} | {f: document[f] for f in ("sha256", "width", "height")}


CARD_FIELDS = ("img", "sha256", "width", "height")
"""Of a document, for :func:`card`."""


def image(document: dict[str, Any]) -> Image:
    """Return all that a document knows."""
    longitude, latitude = document.get("location", {}).get("coordinates", (None, None))
    camera = document.get("camera") or {}
    return Image(
        **card(document),
        labels=sorted(map(_label, document["Labels"]), key=lambda label: -label.confidence),
        format=document["format"],
        bytes=document["bytes"],
        day=document["logical_date"].date(),
        analysed_at=document["analysis"]["at"],
        dag=DAG_ID,
        run=document["analysis"]["dag_run"],
        model=document.get("LabelModelVersion"),
        taken_at=document.get("taken_at"),
        photographer=document.get("photographer"),
        source_url=document.get("source_url"),
        camera=" ".join(camera[part] for part in ("make", "model") if camera.get(part)) or None,
        artist=document.get("artist"),
        longitude=longitude,
        latitude=latitude,
    )


def _label(label: dict[str, Any]) -> Label:
    boxes = [(instance.get("BoundingBox"), instance) for instance in label.get("Instances") or ()]
    return Label(
        name=label["Name"],
        confidence=label["Confidence"],
        parents=_names(label, "Parents"),
        aliases=_names(label, "Aliases"),
        categories=_names(label, "Categories"),
        boxes=[
            Box(
                left=box["Left"],
                top=box["Top"],
                width=box["Width"],
                height=box["Height"],
                confidence=instance.get("Confidence"),
            )
            for box, instance in boxes
            if box
        ],
    )


def _names(label: dict[str, Any], field: str) -> list[str]:
    return [item["Name"] for item in label.get(field) or ()]
