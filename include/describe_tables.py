"""Writes what is told of the reports' tables elsewhere, from their one definition: ``make docs``.

The data dictionary ``docs/tables.md``, and ``include/athena/tables.sql`` for Amazon Athena.
"""

from __future__ import annotations

from pathlib import Path
from string import Template
from textwrap import shorten
from typing import TYPE_CHECKING

from image_labels.tables import TABLES, Table

if TYPE_CHECKING:
    import pyarrow as pa

PROJECT = Path(__file__).resolve().parents[1]

DICTIONARY = """\
<!-- Written by `make docs` from plugins/image_labels/tables.py -->

# The tables of the reports

Each day's part of a table lies in S3 under `reports/<table>/report_date=YYYY-MM-DD/`, as Parquet. The files carry the
descriptions of their columns and the version of their schema in their metadata. "Or empty" means that a value may be
missing; times are in UTC. How to read a report is in [reports.md](reports.md).
"""

# https://docs.aws.amazon.com/athena/latest/ug/partition-projection-supported-types.html
DDL = Template("""\
-- $name: $text.
CREATE EXTERNAL TABLE IF NOT EXISTS `$name` (
$columns
)
PARTITIONED BY (`report_date` string COMMENT 'Day of the report, YYYY-MM-DD')
STORED AS PARQUET
LOCATION 's3://BUCKET/PREFIX/reports/$name/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.report_date.type' = 'date',
  'projection.report_date.format' = 'yyyy-MM-dd',
  'projection.report_date.range' = '2026-01-01,NOW',
  'storage.location.template' = 's3://BUCKET/PREFIX/reports/$name/report_date=$${report_date}/',
  'schema_version' = '$version'
);
""")

ATHENA = """\
-- Written by `make docs` from plugins/image_labels/tables.py: the reports' tables for Amazon Athena.
--
-- Fill in the pipeline's bucket and prefix, and where reports go further back their first day in place of 2026-01-01:
--     sed 's/BUCKET/my-bucket/; s/PREFIX/image-labels/' include/athena/tables.sql
-- Athena runs one statement at a time. New days need no further statement: it works out the partitions itself.
"""


def dictionary() -> str:
    """Return the data dictionary in Markdown."""
    return "\n".join([DICTIONARY, *map(_section, TABLES.values())])


def ddl() -> str:
    """Return the statements that make the tables in Athena."""
    return "\n".join([ATHENA, *map(_statement, TABLES.values())])


def _section(table: Table) -> str:
    order = ", ".join(f"`{name.removeprefix('-')}`{' descending' * name.startswith('-')}" for name in table.order)
    rows = [
        f"| `{column.name}` | {column.kind}{' or empty' * column.nullable} | {column.text.replace('|', '&#124;')} |"
        for column in table.columns
    ]
    return "\n".join(
        [
            f"## {table.name}",
            "",
            f"{table.text}. Sorted by {order}. Schema version {table.version}.",
            "",
            "| column | type | |",
            "| --- | --- | --- |",
            *rows,
            "",
        ]
    )


def _statement(table: Table) -> str:
    columns = [
        f"  `{field.name}` {_athena(field.type)} COMMENT '{_comment(column.text)}'"
        for field, column in zip(table.schema(), table.columns, strict=True)
    ]
    return DDL.substitute(name=table.name, text=table.text, columns=",\n".join(columns), version=table.version)


def _comment(text: str) -> str:
    """Return a text that needs no escapes, as short as the Glue Data Catalog wants it.

    .. seealso:: https://docs.aws.amazon.com/glue/latest/webapi/API_Column.html
    """
    return shorten(text.replace("'", "\u2019"), 240, placeholder=" \u2026")


def _athena(kind: pa.DataType) -> str:
    """Return the name of an Arrow type in Athena's DDL.

    :raises KeyError: if this does not know the type
    """
    import pyarrow as pa

    if isinstance(kind, pa.ListType):
        return f"array<{_athena(kind.value_type)}>"
    if isinstance(kind, pa.StructType):
        return f"struct<{','.join(f'`{field.name}`:{_athena(field.type)}' for field in kind)}>"
    if isinstance(kind, pa.TimestampType):
        return "timestamp"
    return {pa.string(): "string", pa.int64(): "bigint", pa.float64(): "double", pa.date32(): "date"}[kind]


FILES = {PROJECT / "docs/tables.md": dictionary, PROJECT / "include/athena/tables.sql": ddl}

if __name__ == "__main__":
    for path, written in FILES.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(written(), encoding="utf-8")
