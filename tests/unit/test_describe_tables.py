from __future__ import annotations

import re
from pathlib import Path

import pytest

import describe_tables
from image_labels.tables import TABLES


@pytest.mark.parametrize("path", describe_tables.FILES, ids=lambda path: path.name)
def test_what_is_told_of_the_tables_is_what_they_are(path: Path) -> None:
    written = describe_tables.FILES[path]()
    assert path.read_text(encoding="utf-8") == written, "`make docs` writes it anew"


def test_athena_has_each_table_with_its_columns_in_order() -> None:
    statements = dict(
        re.findall(r"CREATE EXTERNAL TABLE IF NOT EXISTS `(\w+)` \(\n(.*?)\n\)\n", describe_tables.ddl(), re.S)
    )
    assert statements.keys() == TABLES.keys()
    for name, columns in statements.items():
        assert re.findall(r"^  `(\w+)` ", columns, re.M) == TABLES[name].schema().names


def test_athena_gets_only_what_it_takes() -> None:
    comments = re.findall(r"COMMENT '(.*)'", describe_tables.ddl())
    assert len(comments) == sum(len(table.columns) + 1 for table in TABLES.values())
    for comment in comments:
        assert "'" not in comment
        assert len(comment.encode()) <= 255


def test_the_dictionary_describes_each_column() -> None:
    rows = re.findall(r"^\| `(\w+)` \| [a-z ]+ \| (.+) \|$", describe_tables.dictionary(), re.M)
    assert [name for name, _ in rows] == [name for table in TABLES.values() for name in table.schema().names]
