"""One image, deleted everywhere: all versions of its objects, its lines in all lists, and its document."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from image_labels import jsonlines
from image_labels.documents import ANSWERS, Document, mark_changed
from image_labels.errors import BadSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client
    from pymongo.collection import Collection

    from image_labels.layout import Layout

LISTS = ("results", "manifests", "quarantine", "ledger")
"""The folders with JSON Lines that tell of single images."""

log = logging.getLogger(__name__)


def forget(key: str, images: Collection[Document], s3: S3Client, layout: Layout, *, dry_run: bool = False) -> list[str]:
    """Delete an image and all that is known of it. May be repeated after any interruption.

    A rendition and a thumbnail that belong to another image of the same content as well are left to it. All lists are
    read, which takes some minutes for a million images.

    :param key: S3 key of the image
    :param images: collection of the documents
    :param dry_run: only tell what would be deleted
    :returns: addresses of the objects that were deleted, or written anew without the image's lines
    :raises BadSettings: if the key is of no image
    """
    document = images.find_one({"_id": key, "bucket": layout.bucket}, {"sha256": 1, "rendition": 1, "logical_date": 1})
    originals = layout.image("")
    if document is None and not key.startswith(f"{originals}/"):
        raise BadSettings(f"{key!r} is no image: the collection has none of that key, and it is not below {originals}/")
    gone = [key]
    if document and not images.find_one({"sha256": document["sha256"], "_id": {"$ne": key}}, {"_id": 1}):
        gone += [name for name in (document.get("rendition"), layout.thumbnail(document["sha256"])) if name]
    touched = [name for name in gone if _delete(s3, layout.bucket, name, dry_run)]
    for folder in LISTS:
        touched += _strike_out(key, s3, layout, f"{layout.key(folder)}/", dry_run)
    if not dry_run:
        images.database[ANSWERS].delete_many({"key": key})
    if document and not dry_run:
        # Last, for a repeated try knows by it what there is to delete.
        images.delete_one({"_id": key})
        mark_changed(images, document["logical_date"])
    return [layout.uri(name) for name in touched]


def _strike_out(key: str, s3: S3Client, layout: Layout, folder: str, dry_run: bool) -> Iterator[str]:
    """Write the lists of a folder anew that mention the image, delete their old versions that do, yield their keys."""
    path = key.removeprefix(layout.image("") + "/")
    bucket = layout.bucket
    for name, version, is_latest in list(_versions(s3, bucket, folder)):
        rows = list(jsonlines.read(s3, bucket, name, version))
        kept = [row for row in rows if not _is_of(row, key, path)]
        if len(kept) == len(rows):
            continue
        if not dry_run:
            if is_latest:
                jsonlines.write(s3, bucket, name, kept)
            # Where versioning is off, the new content has taken the place of the old version, with its name.
            if (name, version, True) not in _versions(s3, bucket, name):
                s3.delete_object(Bucket=bucket, Key=name, VersionId=version)
        log.info("%s: %d lines", name, len(rows) - len(kept))
        yield name


def _is_of(row: Any, key: str, path: str) -> bool:
    """Tell whether a row of any of the lists is of an image."""
    if isinstance(row, list):  # of the ledger
        return bool(row[0] == path)
    image = row.get("image", row)
    return bool(image["key"] == key if "key" in image else image.get("path") == path)


def _delete(s3: S3Client, bucket: str, key: str, dry_run: bool) -> bool:
    """Delete all versions of an object, and return whether there were any."""
    found = [version for name, version, _ in _versions(s3, bucket, key, marks_too=True) if name == key]
    if not dry_run:
        for version in found:
            s3.delete_object(Bucket=bucket, Key=key, VersionId=version)
    return bool(found)


def _versions(s3: S3Client, bucket: str, prefix: str, *, marks_too: bool = False) -> Iterator[tuple[str, str, bool]]:
    """Yield the key of each version of all objects that begin so, the version, and whether it is the latest.

    :param marks_too: with the marks that S3 puts down when an object is deleted
    """
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
        for found in [*page.get("Versions", ()), *(page.get("DeleteMarkers", ()) if marks_too else ())]:
            yield found["Key"], found["VersionId"], found["IsLatest"]
