"""Names that files have in spite of everything, and that S3 can hold."""

from __future__ import annotations

NAMES = [
    "with space.jpg",
    " .jpg",
    "plus+plus.jpg",
    "per%2Fcent.jpg",
    "per%.jpg",
    "hash#mark.jpg",
    "question?.jpg",
    "a&b=c;d,e.jpg",
    'quote\'s "two" `three`.jpg',
    "new\nline.jpg",
    "tab\there.jpg",
    "emoji \N{CAMERA}.jpg",
    "right\u202eto\u200f-left.jpg",
    "Unicode é.jpg",
    "Unicode e\u0301.jpg",
    "CASE.jpg",
    "case.jpg",
    "<img src=x onerror=alert(1)>.jpg",
    "$where.jpg",
    "dots...jpg",
    "no extension",
    "deep/er/and deeper/photo.jpg",
    "/".join(["n" * 199] * 5),
]
