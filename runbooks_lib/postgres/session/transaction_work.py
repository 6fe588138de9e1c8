"""What has a transaction done? Told by its own counters and locks, which nobody else's work gets into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.names import qualified
from runbooks_lib.postgres.queries import query
from runbooks_lib.postgres.session.connect import Connection


class Rows(NamedTuple):
    """How many rows of a table were inserted, updated, deleted."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0

    def __str__(self) -> str:
        """Say those that are not zero."""
        return ", ".join(f"{n} {what}" for what, n in self._asdict().items() if n)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Rows written by table, entries of the system catalogue written, and the sequences that were asked for a value."""

    rows: Mapping[str, Rows]
    catalogue: int
    sequences: frozenset[str]

    def since(self, before: Work) -> Work:
        """Return what was done after another look of the same transaction."""
        rows = {}
        for table, now in self.rows.items():
            was = before.rows.get(table, Rows())
            done = Rows(*(a - b for a, b in zip(now, was, strict=True)))
            if any(done):
                rows[table] = done
        return Work(
            rows=rows,
            catalogue=self.catalogue - before.catalogue,
            sequences=self.sequences - before.sequences,
        )

    def beside(self, tables: frozenset[str]) -> Work:
        """Return the same without the rows of some tables."""
        return replace(self, rows={table: rows for table, rows in self.rows.items() if table not in tables})

    def __str__(self) -> str:
        """Say which rows were written, and that it was none."""
        return "; ".join(f"{table}: {rows}" for table, rows in sorted(self.rows.items())) or "no row written"


def read_work(conn: Connection) -> Work:
    """Read what the open transaction has done so far, in a session that has not written before.

    Two looks of one transaction show what was done between them (`Work.since`). Reads pg_locks and pg_stat_xact_*, of
    this session alone.
    Raises PreconditionFailed when the server does not count (track_counts is off): then zero says nothing.
    """
    counts = conn.execute("SELECT current_setting('track_counts') AS counts").fetchone()
    if counts is None or counts["counts"] != "on":
        raise PreconditionFailed(
            "The server counts no rows (track_counts is off), so that what a transaction wrote cannot be told.",
            "Have track_counts turned on: autovacuum needs it too.",
        )
    rows: dict[str, Rows] = {}
    sequences, catalogue = set(), 0
    for row in conn.execute(query("own_work")):
        done = Rows(row["inserted"], row["updated"], row["deleted"])
        name = qualified(row["schema"], row["name"])
        if row["kind"] == "c":
            catalogue = sum(done)
        elif row["kind"] == "S":
            sequences.add(name)
        else:
            rows[name] = done
    return Work(rows=rows, catalogue=catalogue, sequences=frozenset(sequences))
