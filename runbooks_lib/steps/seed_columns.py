"""Columns of seed rows whose values are known and whose names are not: found by the values that stand in them."""

from __future__ import annotations

from collections.abc import Mapping

from psycopg import sql

from runbooks_lib.phase import Seeds
from runbooks_lib.phase.seed_values import as_text
from runbooks_lib.postgres.catalog.catalog import identifier, tables_there
from runbooks_lib.postgres.queries import query
from runbooks_lib.postgres.session.connect import Connection


def real_names(conn: Connection, seeds: Seeds) -> dict[str, str]:
    """Return the column of the table that each of `anywhere` is: of those of a text type, which holds most values.

    No column is two of the rows' columns: the values of one of them would not be looked for. Reads the catalogue and
    the table. One whose values stand nowhere is left out.
    """
    table = tables_there(conn, [seeds.table]).get(seeds.table)
    if table is None or not seeds.anywhere:
        return {}
    named = {column for row in seeds.rows for column in row}.difference(seeds.anywhere)
    columns = [row["name"] for row in conn.execute(query("text_columns"), {"table": table})]
    left = [column for column in columns if column not in named]
    found: dict[str, str] = {}
    for name in seeds.anywhere:
        if column := _holding(conn, seeds, name, left):
            found[name] = column
            left.remove(column)
    return found


def _holding(conn: Connection, seeds: Seeds, name: str, columns: list[str]) -> str | None:
    values = [as_text(row[name]) for row in seeds.rows if name in row]
    if not columns:
        return None
    counts = sql.SQL(", ").join(
        sql.SQL(
            "count(*) FILTER (WHERE {}::pg_catalog.text = ANY (%(values)s::pg_catalog.text[])) AS {}"
        ).format(sql.Identifier(column), sql.Identifier(column))
        for column in columns
    )
    statement = sql.SQL("SELECT {} FROM {}").format(counts, identifier(seeds.table))
    (row,) = conn.execute(statement, {"values": values}).fetchall()
    most = max(columns, key=lambda column: row[column])
    return most if row[most] else None


def renamed(row: Mapping[str, object], names: Mapping[str, str]) -> dict[str, object]:
    """Return a row with other names for some of its columns."""
    return {names.get(column, column): value for column, value in row.items()}
