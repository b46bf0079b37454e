"""Rows in temporary files, where memory would grow with the collection."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

from image_labels import jsonlines

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator


class RowsOnDisk:
    """Rows by their keys, in a file that vanishes with this; of memory it takes SQLite's cache of 2 MB.

    For the thread that made it; a row is what JSON can hold.

    .. seealso:: https://www.sqlite.org/inmemorydb.html#temp_db
    """

    def __init__(self) -> None:
        # An empty name: a temporary file that SQLite removes itself.
        self._db = sqlite3.connect("")
        self._db.execute("CREATE TABLE row (key BLOB PRIMARY KEY, value BLOB)")

    def __enter__(self) -> RowsOnDisk:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._db.close()

    def put(self, rows: Iterable[tuple[str, Any]]) -> None:
        """Put rows, each given with its key; of two with the same key the later one counts."""
        packed = ((_key(key), jsonlines.encode(row)) for key, row in rows)
        self._db.executemany("INSERT OR REPLACE INTO row VALUES (?, ?)", packed)

    def __getitem__(self, key: str) -> bytes:
        """Return the JSON of a row.

        :raises KeyError: if there is none
        """
        found = self._db.execute("SELECT value FROM row WHERE key = ?", (_key(key),)).fetchone()
        if found is None:
            raise KeyError(key)
        return bytes(found[0])

    def __contains__(self, key: str) -> bool:
        return self._db.execute("SELECT 1 FROM row WHERE key = ?", (_key(key),)).fetchone() is not None

    def remove(self, keys: Iterable[str]) -> None:
        """Remove rows; what is not there is no error."""
        self._db.executemany("DELETE FROM row WHERE key = ?", ((_key(key),) for key in keys))

    def is_empty(self) -> bool:
        """Tell whether there are no rows."""
        return self._db.execute("SELECT 1 FROM row").fetchone() is None

    def in_order(self) -> Iterator[bytes]:
        """Yield the JSON of the rows in the order of their keys."""
        return (value for (value,) in self._db.execute("SELECT value FROM row ORDER BY key"))


def _key(key: str) -> bytes:
    # Names that are not UTF-8 sort here as they do in Python.
    return key.encode(errors="surrogatepass")


def sorted_on_disk(rows: Iterable[tuple[str, Any]]) -> Generator[Any, None, None]:
    """Yield rows, each given with its key, in the order of their keys, however many; to be closed unless read whole.

    :param rows: of two with the same key the later one counts
    """
    with RowsOnDisk() as on_disk:
        on_disk.put(rows)
        yield from map(jsonlines.decode, on_disk.in_order())
