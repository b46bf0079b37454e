"""What file names tell. What EXIF blocks tell is tested with the pictures that hold them, in ``test_images.py``."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_labels import metadata


@pytest.mark.parametrize(
    ("name", "photographer", "photo_id"),
    [
        ("coleen-rivas-bZ2-9wl9wVc-unsplash.jpg", "Coleen Rivas", "bZ2-9wl9wVc"),
        ("annie-spratt-_dAnK9GJvdY-unsplash.jpg", "Annie Spratt", "_dAnK9GJvdY"),
        ("felix-kolthoff--BkcHDwQkSQ-unsplash.jpg", "Felix Kolthoff", "-BkcHDwQkSQ"),
        ("several-part-name-AbCdEfGhIjK-unsplash.jpg", "Several Part Name", "AbCdEfGhIjK"),
        ("nasa-Q1p7bh3SHj8-unsplash.jpg", "Nasa", "Q1p7bh3SHj8"),
        ("coleen-rivas-bZ2-9wl9wVc-unsplash (1).jpg", "Coleen Rivas", "bZ2-9wl9wVc"),
        ("coleen-rivas-bZ2-9wl9wVc-unsplash-1.jpg", "Coleen Rivas", "bZ2-9wl9wVc"),
        ("coleen-rivas-bZ2-9wl9wVc-unsplash", "Coleen Rivas", "bZ2-9wl9wVc"),
    ],
)
def test_an_unsplash_name_tells_who_took_the_picture(name, photographer, photo_id):
    assert metadata.file_name_facts(name) == {
        "photographer": photographer,
        "photo_id": photo_id,
        "source_url": f"https://unsplash.com/photos/{photo_id}",
    }


@pytest.mark.parametrize(
    "name",
    ["", "IMG_0001.jpg", "%2F.jpg", "-unsplash.jpg", "a-short-unsplash.jpg", "a-bZ2-9wl9wVc-unsplashed.jpg"],
)
def test_other_names_tell_nothing(name):
    assert metadata.file_name_facts(name) == {}


@given(st.one_of(st.text(), st.text().map("{}-bZ2-9wl9wVc-unsplash.jpg".format)))
def test_no_name_breaks_it(name):
    assert metadata.file_name_facts(name).keys() <= {"photographer", "photo_id", "source_url"}


ID = st.text("abcXYZ019-_", min_size=11, max_size=11)


@given(st.lists(st.text("abcdefghijklmnopqrstuvwxyzé", min_size=1), min_size=1, max_size=4), ID, st.text(max_size=9))
def test_the_id_is_found_whatever_it_is_made_of(parts, photo_id, rest):
    facts = metadata.file_name_facts(f"{'-'.join(parts)}-{photo_id}-unsplash.{rest}")
    assert facts["photo_id"] == photo_id
    assert facts["photographer"].casefold() == " ".join(parts).casefold()
