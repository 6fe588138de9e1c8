"""Rows that may lack the default with which a script added their column: counted where no catalogue tells of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import groupby

from psycopg import sql

from runbooks_lib.names import qualified
from runbooks_lib.postgres.queries import query
from runbooks_lib.postgres.rows.asked import Asker
from runbooks_lib.postgres.rows.done import Judged, not_judged
from runbooks_lib.postgres.rows.told import Script
from runbooks_lib.postgres.rows.trees import NotAsked
from runbooks_lib.postgres.script.calls import Name
from runbooks_lib.postgres.script.defaulted import Added, added_with_default
from runbooks_lib.postgres.script.effects import in_words
from runbooks_lib.postgres.session.connect import Connection


def unfilled(
    conn: Connection, scripts: Sequence[Script], names: Collection[str], *, schema: str
) -> Mapping[str, tuple[Judged, ...]]:
    """Return, by the names of scripts, the statements of which nothing tells whether rows got the default they add.

    `scripts` are all that ran, in their order; only those in `names` are asked for. A database in which every row has a
    value, or whose catalogue says that the column came with its default, has none. Call it inside `Sessions.snapshot`.
    Reads tables; writes nothing. Raises psycopg errors when the session is lost.
    """
    added = {key: each for key, each in added_with_default(scripts, schema).items() if each.script in names}
    asker = Asker(conn, schema, temporary=frozenset())
    why: dict[Added, list[str]] = {}
    for table, columns in _standing(conn, added).items():
        for column, said in _told(asker, table, columns).items():
            why.setdefault(added[table, column], []).append(said)
    found: dict[str, tuple[Judged, ...]] = {}
    for each in sorted(why, key=lambda each: each.at):
        piece = each.piece
        judged = not_judged(
            line=piece.line,
            tag=piece.tag,
            words=in_words(piece),
            text=piece.text,
            at=each.at,
            why="; ".join(why[each]),
        )
        found[each.script] = (*found.get(each.script, ()), judged)
    return found


def _standing(conn: Connection, added: Collection[tuple[Name, str]]) -> dict[Name, list[str]]:
    """Return the columns of which the catalogue does not tell, by table."""
    if not added:
        return {}
    schemas, tables, names = zip(*((*table, column) for table, column in added), strict=True)
    asked = {"schemas": list(schemas), "tables": list(tables), "names": list(names)}
    rows = conn.execute(query("asked_defaults"), asked).fetchall()
    by_table = groupby(rows, key=lambda row: (row["schema"], row["table"]))
    return {table: [row["name"] for row in its] for table, its in by_table}


def _told(asker: Asker, table: Name, columns: Sequence[str]) -> dict[str, str]:
    """Return what is told of the columns that have NULL in a row, or that can't be asked."""
    spelt = qualified(*table)
    counts = sql.SQL(", ").join(
        sql.SQL("count(*) FILTER (WHERE {} IS NULL) AS {}").format(
            sql.Identifier(column), sql.Identifier(f"c{n}")
        )
        for n, column in enumerate(columns)
    )
    try:
        row = asker.row(sql.SQL("SELECT {} FROM {}").format(counts, asker.table(table).identifier))
    except NotAsked as error:
        return dict.fromkeys(columns, f"whether rows of {spelt} lack its default: {error}")
    lack = {column: row[f"c{n}"] for n, column in enumerate(columns) if row[f"c{n}"]}
    return {
        column: f"{rows} row{'s'[: rows != 1]} of {spelt} ha{'ve' if rows != 1 else 's'} NULL in {column}: never given "
        "its default, or set so since"
        for column, rows in lack.items()
    }
