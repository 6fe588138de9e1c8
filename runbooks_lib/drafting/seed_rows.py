"""Rows of a table as a seed file: those of a tenant, or all, as they are in the database."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from psycopg import sql

from runbooks_lib.drafting.phase_file import SeedDraft
from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.names import parts, qualified
from runbooks_lib.postgres.catalog.catalog import Catalog, identifier
from runbooks_lib.postgres.session.connect import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedWish:
    """What is asked for: a table, and the column and value by which its rows are chosen."""

    table: str
    column: str | None = None
    value: str = ""


def read_wish(text: str) -> SeedWish:
    """Read TABLE[:COLUMN=VALUE]. Raises PreconditionFailed when it has another form."""
    table, colon, choice = text.partition(":")
    column, equals, value = choice.partition("=")
    try:
        named = parts(table)
    except ValueError:
        named = ()
    if len(named) not in (1, 2) or (colon and not (column and equals)):
        raise PreconditionFailed(
            f"{text!r} is not TABLE or TABLE:COLUMN=VALUE.", "Such as public.Order:tenantId=acme."
        )
    name = qualified(*(named if len(named) == 2 else ("public", *named)))
    return SeedWish(table=name, column=column or None, value=value)


def write_seeds(conn: Connection, catalog: Catalog, wish: SeedWish, folder: Path) -> SeedDraft:
    """Write the rows that are wished for as CSV into a folder, in the order of their key.

    Raises PreconditionFailed when there is no such table or column, it has no primary key, or no row.
    """
    columns = [column.name for column in catalog.columns.get(wish.table, ()) if not column.generated]
    key = catalog.primary_key(wish.table)
    if not key or (wish.column is not None and wish.column not in columns):
        what = f"column {wish.column} of" if key else "table" if not columns else "primary key of"
        raise PreconditionFailed(
            f"There is no {what} {wish.table}.", "Seed rows are found by a table's primary key."
        )
    chosen: sql.Composable = sql.SQL("true")
    if wish.column is not None:
        chosen = sql.SQL("{}::text = {}").format(sql.Identifier(wish.column), sql.Literal(wish.value))
    asked = sql.SQL(
        "COPY (SELECT {} FROM {} WHERE {} ORDER BY {}) TO STDOUT WITH (FORMAT csv, HEADER)"
    ).format(
        sql.SQL(", ").join(map(sql.Identifier, columns)),
        identifier(wish.table),
        chosen,
        sql.SQL(", ").join(map(sql.Identifier, key)),
    )
    name = _file_name(wish.table, folder)
    with conn.cursor() as cursor, (folder / name).open("wb") as file:
        with cursor.copy(asked) as copy:
            for block in copy:
                file.write(block)
        rows = cursor.rowcount
    if rows < 1:
        raise PreconditionFailed(
            f"{wish.table} has no such row.", "Leave the seeds out, or name rows that are there."
        )
    return SeedDraft(table=wish.table, key=key, file=name, rows=rows, tenant=wish.column)


def _file_name(table: str, folder: Path) -> str:
    """Return the name of a new file for a table's rows: the table's, as far as a file may have it."""
    name = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in table)
    taken = {path.name.casefold() for path in folder.iterdir()}
    numbered = (f"{name}{more}.csv" for more in ("", *(f"-{n}" for n in range(2, len(taken) + 3))))
    return next(each for each in numbered if each.casefold() not in taken)
