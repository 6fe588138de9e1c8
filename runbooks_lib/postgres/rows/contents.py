"""What a database holds, comparable across servers: a digest of every table, the sequences' values, large objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from psycopg import sql

from runbooks_lib.facts.databases import RowsDump
from runbooks_lib.names import qualified
from runbooks_lib.postgres.catalog.catalog import identifier
from runbooks_lib.postgres.queries import query
from runbooks_lib.postgres.rows.content import content_hash
from runbooks_lib.postgres.session.connect import Connection
from runbooks_lib.progress import report

LARGE_OBJECTS = "large objects"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """Rows and digest of each table (and of the large objects), and [last value, called] of each sequence."""

    tables: Mapping[str, tuple[int, str]]
    sequences: Mapping[str, tuple[int, bool]]


def read_contents(conn: Connection) -> Contents:
    """Read what pg_dump dumps the rows of; call it inside `Sessions.snapshot`. No row leaves the server.

    Raises psycopg errors as they come, naming the table: a missing SELECT, policies that would hide rows.
    """
    tables: dict[str, tuple[int, str]] = {}
    names = _names(conn, "dumped_tables")
    for number, name in enumerate(names, start=1):
        tables[name] = content_hash(conn, name, alone=True)  # a foreign table may inherit from it
        report("rows read", done=number, total=len(names), unit="tables")
    tables[LARGE_OBJECTS] = _large_objects(conn)
    return Contents(tables=tables, sequences=read_sequence_values(conn))


def told_of_rows(conn: Connection) -> dict[str, list[str]]:
    """Return foreign tables and materialized views, whose rows nobody reads, and tables with a cast of their rows."""
    told: dict[str, list[str]] = {}
    for row in conn.execute(query("told_of_rows")).fetchall():
        told.setdefault(row["kind"], []).append(qualified(row["schema"], row["name"]))
    return told


def read_sequence_values(conn: Connection) -> dict[str, tuple[int, bool]]:
    """Return last value and is_called of every sequence that pg_dump dumps: no snapshot holds them still."""
    values = {}
    for name in _names(conn, "dumped_sequences"):
        statement = sql.SQL("SELECT last_value, is_called FROM {}").format(identifier(name))
        row = conn.execute(statement).fetchone()
        assert row is not None
        values[name] = (row["last_value"], row["is_called"])
    return values


def compare_contents(restored: Contents, source: RowsDump) -> Iterator[str]:
    """Yield what a restored database has otherwise than its source, table by table; nothing when it has the same.

    Sequences move under everybody's hands while a dump is made: the
    restored value must be one of those from before to after it.
    """
    for name in dict.fromkeys([*source.tables, *restored.tables]):
        have, want = restored.tables.get(name), source.tables.get(name)
        if have is None or want is None:
            yield f"{name}: {'missing' if have is None else 'not wanted'}"
        elif have != want:
            words = (
                "other rows of the same number" if have[0] == want[0] else f"{have[0]} rows, want {want[0]}"
            )
            yield f"{name}: {words}"
    for name in dict.fromkeys([*source.sequences, *restored.sequences]):
        value, seen = restored.sequences.get(name), source.sequences.get(name)
        if value is None or seen is None:
            yield f"sequence {name}: {'missing' if value is None else 'not wanted'}"
        elif not _between(value, *seen):
            yield f"sequence {name}: {value[0]}, want {seen[0][0]}"


def _between(value: tuple[int, bool], before: tuple[int, bool], after: tuple[int, bool]) -> bool:
    if before == after:
        return value == before
    low, high = sorted((before[0], after[0]))
    return low <= value[0] <= high


def _names(conn: Connection, name: str) -> list[str]:
    return [qualified(row["schema"], row["name"]) for row in conn.execute(query(name)).fetchall()]


def _large_objects(conn: Connection) -> tuple[int, str]:
    """Return number and digest of the large objects, each read whole by the server, one after the other."""
    row = conn.execute(query("large_objects")).fetchone()
    assert row is not None
    return row["n"], row["digest"]
