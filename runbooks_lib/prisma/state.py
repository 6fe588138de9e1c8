"""One look at a Prisma project and its database: the folder, the rows, and how the two stand to each other."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from runbooks_lib.errors import PrismaError
from runbooks_lib.postgres.session.connect import Connection
from runbooks_lib.prisma.history import (
    TABLE,
    History,
    MigrationFile,
    MigrationRow,
    checksum_matches,
    diagnose,
    folder_digest,
    read_migrations,
    read_rows,
)
from runbooks_lib.prisma.oddities import HistoryTable, read_tables
from runbooks_lib.prisma.project import PrismaProject


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What the folder and `_prisma_migrations` held at one moment; `rows` is None without the table.

    `schema` is where Prisma keeps that table; `tables` are all relations of this name in the database.
    """

    files: tuple[MigrationFile, ...]
    rows: tuple[MigrationRow, ...] | None
    history: History
    schema: str = "public"
    tables: tuple[HistoryTable, ...] = ()

    @property
    def scripts(self) -> tuple[tuple[str, str], ...]:
        """Return name and text of each migration whose file is there, in the folder's order."""
        return tuple((file.name, file.script) for file in self.files if file.script is not None)

    @property
    def digest(self) -> str:
        """Return the SHA-256 (hex) of the migrations and the history."""
        return hashlib.sha256(f"{folder_digest(self.files)} {self.rows!r}".encode()).hexdigest()

    def row(self, name: str) -> MigrationRow | None:
        """Return the row by which a migration counts as applied."""
        return next((row for row in self.rows or () if row.name == name and row.applied), None)

    def failed(self, name: str) -> bool:
        """Return whether a migration began, did not end, and was not applied since."""
        return name in self.history.failed and name not in self.history.applied

    def recorded(self, name: str) -> str:
        """Say how a migration is recorded: applied, failed, rolled back, no."""
        mine = [row for row in self.rows or () if row.name == name]
        if any(row.applied for row in mine):
            return "applied"
        if any(row.failed for row in mine):
            return "failed"
        return "rolled back" if mine else "no"

    def applied_as(self, name: str) -> str:
        """Say whether a migration is applied, and whether as the file in the folder."""
        row = self.row(name)
        script = next((file.script for file in self.files if file.name == name), None)
        if row is None:
            return "no applied row"
        if script is None:
            return "applied, but its migration.sql is lost"
        if checksum_matches(script, row.checksum):
            return "applied, checksum of this file"
        return f"applied, checksum of another file ({row.checksum[:16]})"


def look(conn: Connection, project: PrismaProject) -> State:
    """Read the migrations folder and the rows; call it inside `Sessions.snapshot`, before Prisma is started.

    The rows are those of the schema in which the project's Prisma keeps them. A rolled-back migration counts as pending
    here, whatever the engine says.
    Raises PrismaError when the schema does not exist: Prisma would create it, and when what stands there is no table.
    PreconditionFailed where the folder cannot be read.
    """
    schema = project.configuration.history_schema
    there = conn.execute("SELECT to_regnamespace(quote_ident(%s)) IS NOT NULL AS there", (schema,)).fetchone()
    if there is None or not there["there"]:
        raise PrismaError(
            f"The database {conn.info.dbname} has no schema {schema}; Prisma would create it, and was not started.",
            "Is it the right database? If the schema was dropped, restore it from the backup.",
        )
    tables = read_tables(conn)
    for table in tables:
        if table.schema == schema and not table.holds_rows:
            raise PrismaError(
                f"{schema}.{TABLE} is a {table.kind}, not the table that Prisma makes, and was not read.",
                "Find out who replaced it, and put the table back: Prisma could not write to what stands there.",
            )
    files, rows = read_migrations(project.migrations), read_rows(conn, schema=schema)
    return State(
        files=files,
        rows=rows,
        history=diagnose(files, rows, rolled_back_is_pending=True),
        schema=schema,
        tables=tables,
    )
