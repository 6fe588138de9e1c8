"""Declared rows compared in the server, which knows the types.

They travel there as one JSON document and become rows of the table's own type.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from runbooks_lib.phase import Seeds
from runbooks_lib.postgres.catalog import identifier
from runbooks_lib.postgres.connect import Connection

Rows = Iterable[Mapping[str, object]]


def compare(conn: Connection, seeds: Seeds, rows: Rows) -> list[dict[str, Any]]:
    """Return, per declared row, what is declared (`want`), what the table holds (`have`) and whether it is the `same`.

    `want` and `have` are JSON objects of the columns that the row declares, made by the server from rows of the
    table's own type; `have` is None when the row is missing, else `key` is its key as COPY prints it.
    """
    return [
        pair
        for columns, group in _by_columns(rows).items()
        for pair in conn.execute(_pairs(seeds, columns), (_document(group),)).fetchall()
    ]


def unexpected_keys(conn: Connection, seeds: Seeds, rows: Rows) -> list[str]:
    """Return the keys, as text, of rows that are not declared, within the declared tenants where there are any."""
    scope = (
        sql.SQL("have.{0} IN (SELECT DISTINCT {0} FROM declared)").format(sql.Identifier(seeds.tenant))
        if seeds.tenant
        else sql.SQL("true")
    )
    statement = sql.SQL(
        "WITH declared AS MATERIALIZED (SELECT * FROM jsonb_populate_recordset(NULL::{table}, %s)) "
        "SELECT concat_ws(', ', {key}) AS key FROM {table} AS have "
        "WHERE {scope} AND NOT EXISTS (SELECT FROM declared AS want WHERE {on}) ORDER BY 1"
    ).format(
        table=identifier(seeds.table),
        key=sql.SQL(", ").join(sql.Identifier("have", column) for column in seeds.key),
        scope=scope,
        on=_same_key(seeds),
    )
    return [row["key"] for row in conn.execute(statement, (_document(rows),)).fetchall()]


def _by_columns(rows: Rows) -> dict[frozenset[str], list[Mapping[str, object]]]:
    """Group the rows by the columns that they declare: a column that a row leaves out is not judged."""
    groups: dict[frozenset[str], list[Mapping[str, object]]] = {}
    for row in rows:
        groups.setdefault(frozenset(row), []).append(row)
    return groups


def _pairs(seeds: Seeds, columns: Iterable[str]) -> sql.Composed:
    return sql.SQL(
        "SELECT want, have, coalesce(want = have, false) AS same, key FROM ("
        "SELECT {want} AS want, CASE WHEN have.{first} IS NOT NULL THEN {have} END AS have, ARRAY[{key}] AS key "
        "FROM jsonb_populate_recordset(NULL::{table}, %s) AS want LEFT JOIN {table} AS have ON {on}"
        ") AS pairs"
    ).format(
        want=_object("want", columns),
        have=_object("have", columns),
        first=sql.Identifier(seeds.key[0]),
        key=sql.SQL(", ").join(sql.SQL("concat({})").format(sql.Identifier("have", c)) for c in seeds.key),
        table=identifier(seeds.table),
        on=_same_key(seeds),
    )


def _object(alias: str, columns: Iterable[str]) -> sql.Composable:
    pairs = (sql.SQL("{}, {}").format(sql.Literal(c), sql.Identifier(alias, c)) for c in columns)
    return sql.SQL("jsonb_build_object({})").format(sql.SQL(", ").join(pairs))


def _same_key(seeds: Seeds) -> sql.Composable:
    equal = (sql.SQL("have.{0} = want.{0}").format(sql.Identifier(column)) for column in seeds.key)
    return sql.SQL(" AND ").join(equal)


def _document(rows: Rows) -> Jsonb:
    return Jsonb([dict(row) for row in rows], dumps=lambda rows: json.dumps(rows, default=str))
