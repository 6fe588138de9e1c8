"""What is odd in a history though it compares well: rows that Prisma does not write, files that say nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from psycopg import sql

from runbooks_lib.postgres.script.pieces import pieces
from runbooks_lib.postgres.session.connect import Connection
from runbooks_lib.prisma.history import TABLE, MigrationFile, MigrationRow, checksum_matches

CLOCKS_DIFFER = timedelta(
    seconds=60
)  # `started_at` is the server's clock, `finished_at` that of whoever deploys
KINDS = {
    "r": "table",
    "v": "view",
    "m": "materialized view",
    "f": "foreign table",
    "p": "partitioned table",
}
_TABLES = sql.SQL(
    "SELECT n.nspname AS schema, c.relkind::text AS kind, c.relispartition AS is_part, EXISTS (SELECT FROM"
    " pg_catalog.pg_inherits i WHERE c.oid IN (i.inhparent, i.inhrelid)) AS inherits"
    " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.relname = {} AND n.nspname !~ '^pg_' ORDER BY 1"
).format(sql.Literal(TABLE))


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryTable:
    """One relation called `_prisma_migrations`: its schema, and what kind of relation it is (KINDS)."""

    schema: str
    kind: str
    inherits: bool

    @property
    def holds_rows(self) -> bool:
        """Return whether it is a table of this database: what a view or a foreign table shows comes from elsewhere."""
        return self.kind in (KINDS["r"], KINDS["p"])

    @property
    def ordinary(self) -> bool:
        """Return whether it is what Prisma makes: a table, part of nothing and without parts."""
        return self.kind == KINDS["r"] and not self.inherits


@dataclass(frozen=True, slots=True, kw_only=True)
class Oddities:
    """Names of migrations, or pairs of spellings, by what is odd about them.

    `twice`: recorded as applied more than once. `erroneous`: applied, with an error in its logs. `early`: ended before
    it began, by more than clocks differ; `nearly_early`: by less. `both`: one row is finished and rolled back.
    `empty`: the script has no statement. `line_ends`: recorded with other line ends than the file has. `spelled`:
    names that only differ in case.
    """

    twice: tuple[str, ...]
    erroneous: tuple[str, ...]
    early: tuple[str, ...]
    nearly_early: tuple[str, ...]
    both: tuple[str, ...]
    empty: tuple[str, ...]
    line_ends: tuple[str, ...]
    spelled: tuple[tuple[str, ...], ...]


def read_tables(conn: Connection) -> tuple[HistoryTable, ...]:
    """Read which relations of the database are called `_prisma_migrations`, whatever they are."""
    return tuple(
        HistoryTable(
            schema=row["schema"],
            kind=KINDS.get(str(row["kind"]), "other relation"),
            inherits=row["is_part"] or row["inherits"],
        )
        for row in conn.execute(_TABLES)
    )


def find_oddities(files: Sequence[MigrationFile], rows: Sequence[MigrationRow]) -> Oddities:
    """Find what is odd in the rows and the files of a history."""
    applied = [row for row in rows if row.applied]
    ended = [(row.name, row.started_at - row.finished_at) for row in applied if row.finished_at]
    recorded = {row.name: row.checksum for row in applied}
    spellings: dict[str, set[str]] = {}
    for name in (*(file.name for file in files), *(row.name for row in rows)):
        spellings.setdefault(name.casefold(), set()).add(name)
    return Oddities(
        twice=tuple(name for name, count in Counter(row.name for row in applied).items() if count > 1),
        erroneous=tuple(row.name for row in applied if row.logs and row.logs.strip()),
        early=tuple(name for name, early_by in ended if early_by > CLOCKS_DIFFER),
        nearly_early=tuple(name for name, early_by in ended if timedelta() < early_by <= CLOCKS_DIFFER),
        both=tuple(row.name for row in rows if row.finished_at and row.rolled_back_at),
        empty=tuple(file.name for file in files if file.script is not None and pieces(file.script) == ()),
        line_ends=tuple(file.name for file in files if _other_line_ends(file, recorded.get(file.name))),
        spelled=tuple(tuple(sorted(names)) for names in spellings.values() if len(names) > 1),
    )


def _other_line_ends(file: MigrationFile, recorded: str | None) -> bool:
    """Return whether the file is as recorded but for its line ends."""
    if file.script is None or recorded is None or len(recorded) != len(file.checksum or ""):
        return False
    return recorded != file.checksum and checksum_matches(file.script, recorded)
