"""Declared rows compared in the server, by the equality of the columns' own types.

They travel as text and become values of these types there; only the columns that are declared are looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from runbooks_lib.errors import SpecError
from runbooks_lib.phase.seed_values import shown
from runbooks_lib.postgres.catalog.catalog import identifier
from runbooks_lib.postgres.rows.values import Fields, Relation, Values, listed
from runbooks_lib.postgres.session.connect import Connection

# What the server raises for a text that is no value of a type: 22P02, 42P01 for regclass, 0A000 for xml.
REFUSALS = (psycopg.DataError, psycopg.ProgrammingError, psycopg.NotSupportedError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A declared row, by its number, and a row with its key (`have` None: none), both as the server prints them.

    `same` says it of each column. `place` is the inheriting table in which the row stands, `in_scope` whether it is
    one of those that are compared.
    """

    number: int
    want: tuple[str | None, ...]
    have: tuple[str | None, ...] | None
    same: tuple[bool, ...]
    place: str | None
    in_scope: bool


EVERY_ROW = sql.SQL("true")


def compare(
    conn: Connection,
    relation: Relation,
    key: Sequence[str],
    columns: Sequence[str],
    rows: Sequence[Fields],
    *,
    scope: sql.Composable = EVERY_ROW,
) -> list[Pair]:
    """Return, for each declared row, a pair with each row that has its key, or one without.

    `rows` are values of `columns`; `scope` is a condition on rows of the table, as `have`. Raises SpecError for a value
    that its type refuses, psycopg errors as they come.
    """
    values = [relation.columns[name] for name in columns]
    on = (
        key_equal(relation.columns[name], columns.index(name), [row[columns.index(name)] for row in rows])
        for name in key
    )
    statement = sql.SQL(
        "SELECT want.n, ARRAY[{want}] AS want, ARRAY[{have}] AS have, ARRAY[{same}] AS same, have.there, have.place, "
        "have.in_scope FROM {listed} LEFT JOIN ("
        "SELECT true AS there, {place} AS place, ({scope}) AS in_scope, {columns} FROM {table} AS have"
        ") AS have ON {on} ORDER BY want.n"
    ).format(
        want=commas(v.printed(_column("want", n)) for n, v in enumerate(values)),
        have=commas(v.printed(_column("have", n)) for n, v in enumerate(values)),
        same=commas(v.same(_column("have", n), _column("want", n)) for n, v in enumerate(values)),
        listed=listed(conn, values, rows),
        place=relation.place,
        scope=scope,
        columns=commas(
            sql.SQL("have.{} AS {}").format(sql.Identifier(name), sql.Identifier(f"c{n}"))
            for n, name in enumerate(columns)
        ),
        table=identifier(relation.name),
        on=sql.SQL(" AND ").join(on),
    )
    try:
        with conn.transaction():
            found = conn.execute(statement).fetchall()
    except REFUSALS as error:
        refuse(conn, relation.name, values, rows, error)
        raise
    return [
        Pair(
            number=row["n"],
            want=tuple(row["want"]),
            have=tuple(row["have"]) if row["there"] else None,
            same=tuple(row["same"]),
            place=row["place"],
            in_scope=bool(row["in_scope"]),
        )
        for row in found
    ]


def key_equal(
    values: Values, place: int, wanted: Sequence[str | None], *, have: sql.Composable | None = None
) -> sql.Composable:
    """Return whether a row has a declared value, the `place`th of `want`, where all that is `wanted` is this.

    What it costs that NULL equals NULL is paid only where NULL is wanted.
    """
    equal = values.same if None in wanted else values.equal
    return equal(have or _column("have", place), _column("want", place))


def _column(alias: str, place: int) -> sql.Identifier:
    return sql.Identifier(alias, f"c{place}")


def commas(parts: Iterable[sql.Composable]) -> sql.Composed:
    """Return the parts with commas between them."""
    return sql.SQL(", ").join(parts)


def refuse(
    conn: Connection, table: str, values: Sequence[Values], rows: Sequence[Fields], error: psycopg.Error
) -> None:
    """Raise SpecError for the first declared value that its type refuses; return when none is refused."""
    if not _refused(conn, values, rows):
        return
    while len(rows) > 1:
        half = rows[: len(rows) // 2]
        rows = half if _refused(conn, values, half) else rows[len(half) :]
    for n, column in enumerate(values):
        if said := _refused(conn, [column], [[rows[0][n]]]):
            row = ", ".join(f"{v.name} {shown(text)}" for v, text in zip(values, rows[0], strict=True))
            raise SpecError(
                f"The seeds of {table} declare a value of {column.name} that its type refuses: {said} ({row[:200]}).",
                "Correct the declaration.",
            ) from error


def _refused(conn: Connection, values: Sequence[Values], rows: Sequence[Fields]) -> str | None:
    """Return what the server says of values that cannot be read; None when it reads them all."""
    try:
        with conn.transaction():
            conn.execute(sql.SQL("SELECT FROM {} LIMIT 0").format(listed(conn, values, rows)))
    except REFUSALS as refusal:
        return refusal.diag.message_primary or str(refusal)
    return None
