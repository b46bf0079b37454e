"""What a notebook needs beside :mod:`image_labels.queries`: the way to the data, and pictures to look at.

Settings come from the environment: on a laptop from ``.local/env``, elsewhere from whoever made the notebook's machine.
"""

from __future__ import annotations

import io
import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from PIL import Image
    from pymongo.collection import Collection

    from image_labels.query_text import Query

Document = dict[str, Any]

HEIGHT, WIDTH, GAP, CAPTION = 260, 1000, 8, 22
"""Pixels of a row of pictures, of all rows, between pictures, and of the line below each."""

COLOURS = ("#e4572e", "#17a2b8", "#f2b134", "#76b041", "#a06cd5")


def collection() -> Collection[Document]:
    """Connect to the database and return the collection of the images.

    ``DOCUMENTDB_URI`` is the address with everything in it. Without it ``DOCUMENTDB_SECRET`` names the secret in AWS
    Secrets Manager that holds the cluster's ``host``, ``port``, ``username`` and ``password``, and
    ``DOCUMENTDB_CA_FILE`` is the file of Amazon's certificates. ``DOCUMENTDB_DATABASE`` and ``DOCUMENTDB_COLLECTION``
    say where in it; unless they do, it is ``images`` in ``image_labels``.

    :raises KeyError: if there is neither an address nor a secret
    """
    import pymongo

    client: pymongo.MongoClient[Document]
    if uri := os.environ.get("DOCUMENTDB_URI"):
        client = pymongo.MongoClient(uri, tz_aware=True)
    else:
        client = pymongo.MongoClient(tz_aware=True, **_login(os.environ["DOCUMENTDB_SECRET"]))
    database = client[os.environ.get("DOCUMENTDB_DATABASE", "image_labels")]
    return database[os.environ.get("DOCUMENTDB_COLLECTION", "images")]


def _login(secret: str) -> dict[str, Any]:
    import boto3

    held = json.loads(boto3.client("secretsmanager").get_secret_value(SecretId=secret)["SecretString"])
    return {
        "host": held["host"],
        "port": int(held.get("port", 27017)),
        "username": held["username"],
        "password": held["password"],
        "tls": True,
        "tlsCAFile": os.environ.get("DOCUMENTDB_CA_FILE", "global-bundle.pem"),
        "replicaSet": "rs0",
        "readPreference": "secondaryPreferred",
        "retryWrites": False,
    }


def chart(frequency: pd.DataFrame, top: int = 15) -> bytes:
    """Draw the most frequent labels.

    :param frequency: of :func:`image_labels.queries.frequency`
    :param top: labels that are drawn
    :returns: PNG
    """
    import vl_convert

    # No ticks between whole images.
    axis = {"tickCount": min(5, int(frequency["images"].max())) if len(frequency) else 1, "grid": False}
    drawing: bytes = vl_convert.vegalite_to_png(
        {
            "data": {"values": frequency.head(top).to_dict("records")},
            "mark": {"type": "bar", "color": "#2f6fae"},
            "encoding": {
                "y": {"field": "label", "type": "nominal", "sort": None, "title": None},
                "x": {"field": "images", "type": "quantitative", "axis": axis},
            },
            "width": 360,
            "background": "white",
        },
        scale=2,
        allowed_base_urls=[],
    )
    return drawing


def pictures(documents: Sequence[Document], query: Query | None = None) -> bytes:
    """Draw the pictures of documents side by side, with the boxes of the labels that a query asks for.

    :param documents: with ``_id``, ``bucket``, ``img``, ``Labels`` and, if there is one, ``rendition``
    :returns: JPEG
    """
    import boto3
    from PIL import Image, ImageDraw

    names = [term.name for term in (*query.all_of, *query.any_of)] if query else []
    colours = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(dict.fromkeys(names))}
    s3 = boto3.client("s3")
    places: list[tuple[int, int, Image.Image, str]] = []
    left = top = 0
    for document in documents:
        key = document.get("rendition") or document["_id"]
        picture = _upright(s3.get_object(Bucket=document["bucket"], Key=key)["Body"].read())
        _draw_boxes(picture, document, colours)
        if left and left + picture.width > WIDTH:
            left, top = 0, top + HEIGHT + CAPTION + GAP
        places.append((left, top, picture, document["img"]))
        left += picture.width + GAP
    sheet = Image.new("RGB", (WIDTH, top + HEIGHT + CAPTION), "white")
    pen = ImageDraw.Draw(sheet)
    for left, top, picture, name in places:
        sheet.paste(picture, (left, top))
        pen.text((left, top + HEIGHT + 3), _shortened(name, picture.width), fill="#333", font_size=14)
    out = io.BytesIO()
    sheet.save(out, "JPEG", quality=80)
    return out.getvalue()


def _upright(content: bytes) -> Image.Image:
    from PIL import Image

    from image_labels.images import render

    made = io.BytesIO()
    render(io.BytesIO(content), made, 2 * HEIGHT)
    picture = Image.open(made)
    return picture.convert("RGB").resize((min(WIDTH, max(1, round(picture.width * HEIGHT / picture.height))), HEIGHT))


def _draw_boxes(picture: Image.Image, document: Document, colours: dict[str, str]) -> None:
    from PIL import ImageDraw

    pen = ImageDraw.Draw(picture)
    for label in document["Labels"]:
        names = [label["Name"], *(alias["Name"] for alias in label.get("Aliases") or ())]
        colour = next((colours[name] for name in names if name in colours), None)
        for instance in label.get("Instances") or () if colour else ():
            box = instance["BoundingBox"]
            left, top = box["Left"] * picture.width, box["Top"] * picture.height
            right, bottom = left + box["Width"] * picture.width, top + box["Height"] * picture.height
            text, place = f"{label['Name']} {label['Confidence']:.0f}", (left + 6, top + 4)
            pen.rectangle((left, top, right, bottom), outline=colour, width=3)
            pen.rectangle((left, top, pen.textbbox(place, text, font_size=13)[2] + 4, top + 20), fill=colour)
            pen.text(place, text, fill="white", font_size=13)


def _shortened(name: str, width: int) -> str:
    most = max(4, width // 8)
    return name if len(name) <= most else f"{name[: most - 1]}…"
