"""The API of the search page; each answer reads no more than it shows."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import StreamingResponse

from image_labels import queries
from image_labels.books import quarantined
from image_labels.explorer import exports, models
from image_labels.explorer.access import DAG_ID, S3, Documents, Places
from image_labels.explorer.folders import place
from image_labels.explorer.problems import RESPONSES
from image_labels.layout import Layout, split_uri
from image_labels.operators.base import IMAGES, RUNS
from image_labels.publication import PAGE

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MOST_COUNTED = 10_000
COUNT_SECONDS = 2
"""The longest that counting may take: the images are there without it."""
MOST_REPORT_FILES = 500
DAYS_WITH_REPORTS = 366
"""How far back the chart's days go."""
REPORT = "label_frequency"
MONTH = r"^[1-9]\d{3}-(0[1-9]|1[0-2])$"

router = APIRouter(responses=RESPONSES)

Text = Annotated[str, Query(max_length=1000, description="A query in its text form, such as `Person>=90 -Text`")]
Key = Annotated[str, Query(min_length=1, max_length=1024, description="Key of an image in S3")]
Confidence = Annotated[float, Query(ge=0, le=100, allow_inf_nan=False, description="In percent")]
Sort = Literal["key", "-key", "taken_at", "-taken_at", "day", "-day"]
Day = Annotated[date, Query(description="YYYY-MM-DD")]


def parsed(
    q: Text = "",
    min_confidence: Annotated[Confidence, Query(description="Of labels that say none themselves, in percent")] = 0,
) -> queries.Query:
    """Read a query."""
    query = queries.parse(q)
    if not min_confidence:
        return query

    def surer(terms: tuple[queries.LabelTerm, ...]) -> tuple[queries.LabelTerm, ...]:
        return tuple(replace(t, min_confidence=min_confidence) if t.min_confidence is None else t for t in terms)

    return replace(query, all_of=surer(query.all_of), any_of=surer(query.any_of), none_of=surer(query.none_of))


Asked = Annotated[queries.Query, Depends(parsed)]


@router.get("/images", tags=["images"])
def images(
    query: Asked,
    documents: Documents,
    sort: Sort = "key",
    after: Annotated[str | None, Query(max_length=4096, description="`next` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
) -> models.Cards:
    """Return the images that a query finds, by pages."""
    page = queries.find(documents[IMAGES], query, sort=sort, after=after, limit=limit, fields=models.CARD_FIELDS)
    return models.Cards(
        images=[models.Card(**models.card(found)) for found in page.images],
        next=page.next,
        labels=[term.name for term in (*query.all_of, *query.any_of)],
    )


@router.get("/images/count", tags=["images"])
def count(query: Asked, documents: Documents) -> models.Count:
    """Return how many images a query finds, counted to 10,000 and for two seconds."""
    import pymongo

    with pymongo.timeout(COUNT_SECONDS):
        found = queries.count(documents[IMAGES], query, at_most=MOST_COUNTED + 1)
    return models.Count(count=min(found, MOST_COUNTED), exact=found <= MOST_COUNTED)


@router.get("/images/explain", tags=["images"])
def explain(query: Asked, documents: Documents, sort: Sort = "key") -> models.Plan:
    """Return how the database answers a query: the plan of the first page, its indexes, and what it examined."""
    from bson import json_util

    plan = queries.explain(documents[IMAGES], query, sort=sort)
    return models.Plan(
        query=str(query),
        filter=json_util.dumps(queries.to_filter(query), json_options=json_util.RELAXED_JSON_OPTIONS, indent=2),
        stages=list(plan.stages),
        indexes=list(plan.indexes),
        documents_examined=plan.documents_examined,
        keys_examined=plan.keys_examined,
        returned=plan.returned,
    )


@router.get(
    "/images/export",
    tags=["images"],
    response_class=StreamingResponse,
    responses={200: {"content": {media_type: {} for media_type, _ in exports.FORMATS.values()}}},
)
def export(
    query: Asked, documents: Documents, sort: Sort = "key", format: Literal["csv", "parquet"] = "csv"
) -> StreamingResponse:
    """Return a result as a file: at most 100,000 images."""
    media_type, write = exports.FORMATS[format]
    pages = exports.pages(documents[IMAGES], query, sort)
    headers = {"Content-Disposition": f'attachment; filename="images.{format}"'}
    return StreamingResponse(write(pages), media_type=media_type, headers=headers)


@router.get("/image", tags=["images"])
def image(key: Key, documents: Documents) -> models.Image:
    """Return all that is known of an image."""
    document = documents[IMAGES].find_one({"_id": key})
    if document is None:
        raise HTTPException(404, "The collection has no image with this key")
    return models.image(document)


@router.get("/image/similar", tags=["images"])
def similar(key: Key, documents: Documents, limit: Annotated[int, Query(ge=1, le=24)] = 12) -> list[models.Similar]:
    """Return the images whose labels are most like those of one, the most alike first."""
    try:
        found = queries.similar(documents[IMAGES], key, limit)
    except KeyError:
        raise HTTPException(404, "The collection has no image with this key") from None
    return [models.Similar(**models.card(document), likeness=likeness) for likeness, document in found]


@router.get("/labels", tags=["labels"])
def labels(
    documents: Documents,
    prefix: Annotated[str, Query(max_length=100)] = "",
    limit: Annotated[int, Query(ge=1, le=50)] = 10,
) -> list[models.LabelCount]:
    """Return the labels whose names begin so, with the number of their images as the last report has it."""
    found = queries.complete(documents[IMAGES], prefix, limit)
    return [models.LabelCount(label=label, images=number) for label, number in found]


@router.get("/labels/frequencies", tags=["labels"])
def frequencies(
    s3: S3,
    layout: Places,
    scope: Literal["all", "day"] = "all",
    day: Annotated[Day | None, Query(description="Of the report; the latest if none is given")] = None,
    min_confidence: Confidence = 90,
    limit: Annotated[int, Query(ge=1, le=200)] = 30,
) -> models.Frequencies:
    """Return the most frequent labels of a day, or of all images up to then, out of the day's report."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    days = sorted(_days(s3, layout), reverse=True)
    wanted = day or next(iter(days), None)
    answer = models.Frequencies(
        day=wanted, days=days, scope=scope, min_confidence=min_confidence, thresholds=[], total=0, labels=[]
    )
    if wanted is None:
        return answer
    try:
        content = s3.get_object(Bucket=layout.bucket, Key=layout.report(REPORT, wanted, f"{REPORT}.parquet"))["Body"]
    except s3.exceptions.NoSuchKey:
        raise HTTPException(404, f"There is no report of {wanted}") from None
    table = pq.read_table(io.BytesIO(content.read()))
    answer.thresholds = sorted({floor for floor in table["min_confidence"].to_pylist() if floor is not None})
    table = table.filter((pc.field("scope") == scope) & (pc.field("min_confidence") == min_confidence))
    answer.total = table.num_rows
    answer.labels = [models.Frequency(**row) for row in table.slice(0, limit).to_pylist()]
    return answer


def _days(s3: S3Client, layout: Layout) -> Iterator[date]:
    """Yield the days of the last year that have a report."""
    name = "report_date="
    folder = layout.key("reports", REPORT, name)
    since = (datetime.now(UTC) - timedelta(days=DAYS_WITH_REPORTS)).date().isoformat()
    page = s3.list_objects_v2(Bucket=layout.bucket, Prefix=folder, Delimiter="/", StartAfter=folder + since)
    for found in page.get("CommonPrefixes", ()):
        yield date.fromisoformat(found["Prefix"][len(folder) : -1])


@router.get("/runs", tags=["runs"])
def runs(
    documents: Documents,
    before: Annotated[int | None, Query(ge=0, le=10**13, description="`next` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> models.Runs:
    """Return the DAG runs with their books, the latest first."""
    earlier = {} if before is None else {"opened_at": {"$lt": datetime.fromtimestamp(before / 1000, UTC)}}
    found = list(documents[RUNS].find(earlier).sort([("opened_at", -1)]).limit(limit + 1))
    more, found = len(found) > limit, found[:limit]
    last = found[-1].get("opened_at") if more else None
    return models.Runs(
        runs=[
            models.Run(
                run=run["_id"],
                dag=run.get("dag_id", DAG_ID),
                day=run["logical_date"].date(),
                quarantined=quarantined(run["books"]) if run.get("books") else 0,
                state=run["state"],
                opened_at=run.get("opened_at"),
                closed_at=run.get("closed_at"),
                landing=run.get("landing"),
                spent_usd=run.get("spent_usd"),
                problems=run.get("problems") or [],
                books=run.get("books") or {},
            )
            for run in found
        ],
        next=last and round(last.timestamp() * 1000),
    )


@router.get("/runs/quarantine", tags=["runs"])
def quarantine(
    run: Annotated[str, Query(min_length=1, max_length=250, description="Id of a DAG run")],
    documents: Documents,
    s3: S3,
    layout: Places,
    after: Annotated[int, Query(ge=0, le=2**40, description="`next` of the page before")] = 0,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
) -> models.Quarantine:
    """Return the files that a run could not take, with the reasons, by pages."""
    entry = documents[RUNS].find_one({"_id": run}, {"quarantine": 1})
    if entry is None:
        raise HTTPException(404, "The books have no such run")
    files: list[models.Refused] = []
    position = after
    for line in _lines(s3, layout, entry.get("quarantine"), after):
        if len(files) == limit:
            return models.Quarantine(files=files, next=position)
        try:
            row = json.loads(line)
        except ValueError:
            raise HTTPException(422, f"after: {after} is no page of this run's quarantine") from None
        picture = place(layout.bucket, row["key"]) if row.get("key") else None
        files.append(models.Refused(**row | {"picture": picture}))
        position += len(line) + 1
    return models.Quarantine(files=files, next=None)


def _lines(s3: S3Client, layout: Layout, uri: str | None, start: int) -> Iterator[bytes]:
    """Yield the lines of an object from a byte on, as far as they are wanted."""
    bucket, key = split_uri(uri) if uri else ("", "")
    if bucket != layout.bucket:
        return
    try:
        body = s3.get_object(Bucket=bucket, Key=key, Range=f"bytes={start}-")["Body"]
    except s3.exceptions.ClientError as error:
        if error.response["Error"]["Code"] in ("NoSuchKey", "InvalidRange"):
            return  # none were written, or these are all
        raise
    with closing(body):
        yield from body.iter_lines(1 << 16)


@router.get("/reports", tags=["reports"])
def reports(
    s3: S3,
    layout: Places,
    month: Annotated[str | None, Query(pattern=MONTH, description="YYYY-MM; this one if none is given")] = None,
) -> models.Reports:
    """Return the reports of a month in S3."""
    month = month or datetime.now(UTC).strftime("%Y-%m")
    root = layout.key("reports") + "/"
    tables = s3.list_objects_v2(Bucket=layout.bucket, Prefix=root, Delimiter="/").get("CommonPrefixes", ())
    files: list[models.Report] = []
    complete = True
    for folder in (table["Prefix"] for table in tables):
        if folder[len(root)] == "_":
            continue  # no table: as Hive has it
        partitions = f"{folder}report_date="
        page = s3.list_objects_v2(Bucket=layout.bucket, Prefix=partitions + month, MaxKeys=MOST_REPORT_FILES)
        complete = complete and not page.get("IsTruncated")
        for item in page.get("Contents", ()):
            day, _, name = item["Key"][len(partitions) :].partition("/")
            files.append(
                models.Report(
                    table=folder[len(root) : -1],
                    day=date.fromisoformat(day),
                    name=name,
                    bytes=item["Size"],
                    href=place(layout.bucket, item["Key"]),
                )
            )
    files.sort(key=lambda file: (file.table != PAGE, file.table, file.name))
    files.sort(key=lambda file: file.day, reverse=True)
    return models.Reports(month=month, files=files, complete=complete, folder=place(layout.bucket, root))


@router.get("/openapi.json", include_in_schema=False)
def openapi(request: Request) -> dict[str, Any]:
    """Describe this API."""
    description: dict[str, Any] = request.app.openapi()
    return description | {"servers": [{"url": request.scope.get("root_path", "")}]}
