from __future__ import annotations

import io

import pytest

from image_labels.images import Code, Rejected
from image_labels.intake import LONGEST_KEY, PIECE, LargePieces, check_key


@pytest.mark.parametrize(
    "key",
    ["images/a.jpg", "images/..a.jpg", "images/a..jpg", "images/...", "images//a.jpg", "n" * LONGEST_KEY, "é" * 512],
    ids=lambda key: key[:20],
)
def test_what_s3_can_hold_is_a_key(key: str) -> None:
    check_key(key)


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("images/../a.jpg", r"holds '\.' or '\.\.'"),
        ("images/..", r"holds '\.' or '\.\.'"),
        ("images/./a.jpg", r"holds '\.' or '\.\.'"),
        ("n" * (LONGEST_KEY + 1), "1025 bytes"),
        ("é" * 513, "1026 bytes"),
        ("caf\udce9.jpg", "not UTF-8"),
    ],
    ids=["up", "up at the end", "here", "long", "long in bytes", "not UTF-8"],
)
def test_what_s3_cannot_hold_is_refused_with_the_reason(key: str, reason: str) -> None:
    with pytest.raises(Rejected, match=reason) as rejection:
        check_key(key)
    assert rejection.value.code == Code.BAD_NAME


def test_a_file_goes_to_s3_in_large_pieces_whatever_the_client_asks_for() -> None:
    content = bytes(range(256)) * 3 * (PIECE // 512)
    file = LargePieces(io.BytesIO(content))
    pieces = list(iter(lambda: file.read(16 * 1024), b""))
    assert [len(piece) for piece in pieces] == [PIECE, PIECE // 2]
    assert b"".join(pieces) == content
    assert file.tell() == len(content)
    file.seek(0)
    assert file.read() == content
