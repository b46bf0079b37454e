from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from image_labels.on_disk import RowsOnDisk, sorted_on_disk

BAD = "bad \udcff.jpg"


def test_rows_come_in_the_order_of_their_keys_as_python_sorts_them() -> None:
    keys = ["b", "a/b", "a", "B", "ä", "\uffff", "\U0001f600", BAD, "", "a b"]
    assert list(sorted_on_disk((key, [key, 1.5, None]) for key in keys)) == [[key, 1.5, None] for key in sorted(keys)]


def test_of_two_rows_with_one_key_the_later_one_counts() -> None:
    assert list(sorted_on_disk([("a", 1), ("b", 2), ("a", 3)])) == [3, 2]


def test_rows_are_looked_up_and_removed() -> None:
    with RowsOnDisk() as rows:
        assert rows.is_empty()
        rows.put([("a", {"n": 1}), (BAD, {"n": 2})])
        assert not rows.is_empty()
        assert (rows["a"], rows[BAD]) == (b'{"n":1}', b'{"n":2}')
        assert "a" in rows
        assert "c" not in rows
        rows.remove(["a", "c"])
        assert "a" not in rows
        with pytest.raises(KeyError, match="a"):
            rows["a"]


FILL = """
from pathlib import Path
from image_labels.on_disk import RowsOnDisk

def peak():
    # Not `ru_maxrss`, which begins with that of the process that started this one.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])

with RowsOnDisk() as rows:
    rows.put([("first", "x" * 1000)])
    before = peak()
    rows.put((f"{number * 7919 % 20011:064d}", "x" * 6000) for number in range(20_000))
    assert rows[f"{7919:064d}"] == b'"%b"' % (b"x" * 6000)
    print(peak() - before)
"""


def test_a_hundred_megabytes_of_rows_take_a_tenth_of_it_in_memory() -> None:
    plugins = Path(sys.modules[RowsOnDisk.__module__].__file__ or "").parents[1]
    done = subprocess.run([sys.executable, "-c", FILL], cwd=plugins, capture_output=True, text=True, check=True)
    assert int(done.stdout) * 1024 < 12_000_000
