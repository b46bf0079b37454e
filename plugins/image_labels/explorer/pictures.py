"""Pictures of the collection: small ones, made once and kept in S3, and large ones, as Rekognition saw them."""

from __future__ import annotations

import io
import tempfile
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import anyio
from fastapi import APIRouter, HTTPException, Path
from fastapi.responses import Response, StreamingResponse

from image_labels import images
from image_labels.explorer.access import S3, Documents, Places
from image_labels.explorer.folders import chunks
from image_labels.explorer.problems import RESPONSES
from image_labels.operators.base import IMAGES

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from pymongo.database import Database

    from image_labels.layout import Layout

THUMBNAIL_SIDE = 480
"""Pixels of a thumbnail's longer side."""
THUMBNAILS_AT_ONCE = anyio.CapacityLimiter(8)
"""Threads of their own: Airflow's API must not wait for a page of large pictures."""

HEADERS = {
    # The address is the content's hash, so what it stands for never changes.
    "Cache-Control": "private, max-age=31536000, immutable",
    "Content-Security-Policy": "sandbox; default-src 'none'",
}
JPEG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}}, **RESPONSES}
PICTURE: dict[int | str, dict[str, Any]] = {200: {"content": {"image/*": {}}}, **RESPONSES}

Sha256 = Annotated[str, Path(pattern="^[0-9a-f]{64}$", description="SHA-256 of the original, in hex")]

router = APIRouter(tags=["pictures"])


@router.get("/thumbnails/{sha256}", response_class=Response, responses=JPEG)
async def thumbnail(sha256: Sha256, s3: S3, layout: Places, documents: Documents) -> Response:
    """Return a small JPEG of an image, upright. It is made when it is first asked for, and kept in S3."""

    def get() -> bytes:
        key = layout.thumbnail(sha256)
        try:
            kept: bytes = s3.get_object(Bucket=layout.bucket, Key=key)["Body"].read()
        except s3.exceptions.NoSuchKey:
            made = _make_thumbnail(s3, layout, _find(documents, layout, sha256))
            s3.put_object(Bucket=layout.bucket, Key=key, Body=made, ContentType="image/jpeg")
            return made
        return kept

    content = await anyio.to_thread.run_sync(get, limiter=THUMBNAILS_AT_ONCE)
    return Response(content, media_type="image/jpeg", headers=HEADERS)


@router.get("/pictures/{sha256}", response_class=StreamingResponse, responses=PICTURE)
def picture(sha256: Sha256, s3: S3, layout: Places, documents: Documents, original: bool = False) -> StreamingResponse:
    """Return an image as Rekognition saw it, to which the boxes of its labels belong; or its original, to save."""
    document = _find(documents, layout, sha256)
    body, kind = _open(s3, layout, document, original)
    headers = HEADERS
    if original:
        headers = HEADERS | {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(document['img'], safe='')}"}
    return StreamingResponse(chunks(body), media_type=f"image/{kind}", headers=headers)


def _find(documents: Database[dict[str, Any]], layout: Layout, sha256: str) -> dict[str, Any]:
    fields = {"img": 1, "format": 1, "rendition": 1, "etag": 1}
    document = documents[IMAGES].find_one({"sha256": sha256, "bucket": layout.bucket}, fields)
    if document is None:
        raise HTTPException(404, "The collection has no image with this content")
    return document


def _open(s3: S3Client, layout: Layout, document: dict[str, Any], original: bool = False) -> tuple[Any, str]:
    """Return what Rekognition was shown, which every browser can show too, or the original; and of which kind it is."""
    if not original and (rendition := document.get("rendition")):
        return s3.get_object(Bucket=layout.bucket, Key=rendition)["Body"], "jpeg"
    # What has taken its place since is not what the address stands for.
    found = s3.get_object(Bucket=layout.bucket, Key=document["_id"], IfMatch=f'"{document["etag"]}"')
    return found["Body"], str(document["format"]).lower()


def _make_thumbnail(s3: S3Client, layout: Layout, document: dict[str, Any]) -> bytes:
    """Return a small JPEG.

    :raises HTTPException: 404 if the picture can no longer be decoded
    """
    import PIL  # noqa: F401 - so that nothing is fetched in vain where it is missing

    body, _ = _open(s3, layout, document)
    out = io.BytesIO()
    with tempfile.SpooledTemporaryFile(images.MAX_BYTES) as file:
        for chunk in chunks(body):
            file.write(chunk)
        try:
            images.render(file, out, THUMBNAIL_SIDE)
        except images.Rejected as rejected:
            raise HTTPException(404, f"No thumbnail can be made: {rejected.reason}") from rejected
    return out.getvalue()
