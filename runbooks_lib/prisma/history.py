"""Prisma's history: the rows of `_prisma_migrations` against the migrations folder. Reads only.

The rules are those of Prisma's own schema engine (its diagnoseMigrationHistory), read from how it behaves.
Prisma's `migrate status` is milder than they are: it stays green when an applied migration was edited, when
the database has a migration that the folder lacks, and (engines before 7.9) when one was rolled back.
"""

from __future__ import annotations

import codecs
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from runbooks_lib.errors import PreconditionFailed, PrismaError
from runbooks_lib.facts.writing import PrismaHistory
from runbooks_lib.given import read_given
from runbooks_lib.prisma.named import find_project
from runbooks_lib.prisma.project import read_project

TABLE = "_prisma_migrations"
LOCK_FILE = "migration_lock.toml"
CLEAN = "every migration applied, nothing else"
_PUNCTUATION = " _-,;:!?.'\"()[]{}@*/\\&#%`^+<=>|~$"  # in the order of Unicode's collation
_COLUMNS = (
    "id",
    "checksum",
    "migration_name",
    "started_at",
    "finished_at",
    "rolled_back_at",
    "logs",
    "applied_steps_count",
)


class Relation(StrEnum):
    """How the database and the folder stand to each other."""

    IN_SYNC = "in sync"
    DATABASE_IS_BEHIND = "database is behind"
    FOLDER_IS_BEHIND = "migrations folder is behind"
    DIVERGED = "histories diverge"


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationFile:
    """One folder of prisma/migrations; `script` is None when its migration.sql is lost."""

    name: str
    script: str | None

    @property
    def checksum(self) -> str | None:
        """Return what Prisma would write today: SHA-256 over the script's UTF-8 bytes, in hex."""
        return None if self.script is None else _digest(self.script).hex()


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationRow:
    """One row of `_prisma_migrations`. A migration that was tried twice has two."""

    id: str
    checksum: str
    name: str
    started_at: datetime
    finished_at: datetime | None
    rolled_back_at: datetime | None
    logs: str | None
    applied_steps_count: int

    @property
    def applied(self) -> bool:
        """Return whether the migration ended well and was not taken back."""
        return self.finished_at is not None and self.rolled_back_at is None

    @property
    def failed(self) -> bool:
        """Return whether the migration began, did not end, and nobody has said what became of it."""
        return self.finished_at is None and self.rolled_back_at is None


class History(PrismaHistory):
    """What `_prisma_migrations` says of the migrations folder, and how the two stand to each other."""

    @property
    def relation(self) -> Relation:
        """Return how the database and the folder stand to each other."""
        match bool(self.pending), bool(self.extra):
            case False, False:
                return Relation.IN_SYNC
            case True, False:
                return Relation.DATABASE_IS_BEHIND
            case False, True:
                return Relation.FOLDER_IS_BEHIND
            case _:
                return Relation.DIVERGED

    @property
    def summary(self) -> str:
        """Return what is not clean, by kind and name; CLEAN when nothing is."""
        if not self.table_exists:
            return f"no table {TABLE}"
        return "; ".join(f"{what}: {', '.join(which)}" for what, which in self._blemishes.items()) or CLEAN

    @property
    def _blemishes(self) -> dict[str, tuple[str, ...]]:
        named = {
            "pending": self.pending,
            "edited": self.edited,
            "failed": self.failed,
            "extra": self.extra,
            "rolled back": self.rolled_back,
            "lost": self.lost,
        }
        return {what: which for what, which in named.items() if which}


def read_folder(project: Path) -> tuple[MigrationFile, ...]:
    """Read the migrations of a Prisma project, where Prisma itself reads them; see `read_migrations`.

    Raises PreconditionFailed when the project has none, or Prisma cannot read its configuration.
    """
    return read_migrations(read_project(project).migrations)


def read_scripts(project: str | None) -> tuple[list[tuple[str, str]], str]:
    """Return names and texts of a project's migrations, in their order, and the schema in which Prisma runs them.

    Of a migrations folder, where that is named, the schema is public. Raises PreconditionFailed as `read_folder` does,
    and when a migration has no script.
    """
    folder, schema = find_project(project), "public"
    if not (folder / LOCK_FILE).is_file():
        configured = read_project(folder).configuration
        folder, schema = configured.migrations, configured.history_schema
    files = read_migrations(folder)
    lost = [file.name for file in files if file.script is None]
    if lost:
        raise PreconditionFailed(f"{', '.join(lost)} has no migration.sql.", "Put the file back.")
    return [(file.name, file.script) for file in files if file.script is not None], schema


def read_migrations(migrations: Path) -> tuple[MigrationFile, ...]:
    """Read a migrations folder, in Prisma's order.

    Takes real directories only, no links to them, as Prisma does.
    Raises PreconditionFailed when it, or a script in it, cannot be read.
    """
    try:
        folders = [entry for entry in migrations.iterdir() if entry.is_dir() and not entry.is_symlink()]
    except OSError as error:
        raise PreconditionFailed(
            f"The migrations folder {migrations} cannot be read: {error.strerror}.",
            "Check its permissions.",
        ) from error
    return tuple(
        MigrationFile(name=folder.name, script=_read_script(folder / "migration.sql"))
        for folder in sorted(folders, key=lambda folder: _collation_key(folder.name))
    )


def folder_digest(files: Sequence[MigrationFile]) -> str:
    """Return the SHA-256 (hex) over the migrations' names and scripts: it changes when any of them does."""
    content = json.dumps([[file.name, file.checksum] for file in files])
    return hashlib.sha256(content.encode()).hexdigest()


def read_rows(conn: psycopg.Connection[Any], *, schema: str = "public") -> tuple[MigrationRow, ...] | None:
    """Read `_prisma_migrations`, oldest attempt first; None when there is no such table.

    Raises PrismaError when the table cannot be read.
    """
    table = sql.Identifier(schema, TABLE)
    select = sql.SQL("SELECT {} FROM {} ORDER BY started_at").format(
        sql.SQL(", ").join(map(sql.Identifier, _COLUMNS)), table
    )
    try:
        with conn.cursor(row_factory=tuple_row) as cursor:
            found = cursor.execute("SELECT to_regclass(%s)", (table.as_string(conn),)).fetchone()
            if found is None or found[0] is None:
                return None
            rows = cursor.execute(select).fetchall()
    except psycopg.Error as problem:
        error = PrismaError(
            f"The table {schema}.{TABLE} cannot be read: {problem.diag.message_primary or problem}.",
            f"Grant SELECT on it to the role {conn.info.user}.",
        )
        error.sqlstate = problem.sqlstate
        raise error from problem
    return tuple(MigrationRow(**_named(row)) for row in rows)


def checksum_matches(script: str, stored: str) -> bool:
    """Return whether `stored` is the checksum of this script.

    Line ends do not count: Git changes them. Old versions of Prisma wrote each byte without its leading zero,
    so that the text was shorter than 64 characters.
    """
    unpadded = bool(stored) and len(stored) != 64
    with_lf = script.replace("\r\n", "\n")
    # from the script as it is, not from `with_lf`: "\r\r\n" and the like must come out as Prisma's do
    variants = (script, with_lf, script.replace("\n", "\r\n"))
    digests = (_digest(variant) for variant in variants)
    return any(("".join(f"{b:x}" for b in d) if unpadded else d.hex()) == stored for d in digests)


def diagnose(
    files: Sequence[MigrationFile], rows: Sequence[MigrationRow] | None, *, rolled_back_is_pending: bool
) -> History:
    """Compare the folder with the table.

    `rolled_back_is_pending`: whether a migration that has only rolled-back rows counts as pending, as engines
    from 7.9 on say, or as known, as those before it say. A file is compared with the attempt that stands: older
    engines compare it with the first attempt, and so call a migration edited that failed, was mended and then
    applied.
    """
    every_row = tuple(rows or ())
    standing = _first_of_each_name(row for row in every_row if not row.rolled_back_at)
    counted = standing if rolled_back_is_pending else _first_of_each_name(every_row)
    names = [file.name for file in files]
    pending = tuple(name for name in names if name not in counted)
    extra = tuple(name for name in counted if name not in names)
    applied = {row.name for row in every_row if row.applied}
    failed = tuple(dict.fromkeys(row.name for row in every_row if row.failed))
    open_names = applied.union(failed)
    return History(
        table_exists=rows is not None,
        applied=tuple(name for name in names if name in applied),
        pending=pending,
        edited=tuple(file.name for file in files if _edited(file, standing.get(file.name))),
        failed=failed,
        extra=extra,
        rolled_back=tuple(
            dict.fromkeys(r.name for r in every_row if r.rolled_back_at and r.name not in open_names)
        ),
        lost=tuple(file.name for file in files if file.script is None),
    )


def _first_of_each_name(rows: Iterable[MigrationRow]) -> dict[str, MigrationRow]:
    first: dict[str, MigrationRow] = {}
    for row in rows:
        first.setdefault(row.name, row)
    return first


def _edited(file: MigrationFile, row: MigrationRow | None) -> bool:
    return row is not None and file.script is not None and not checksum_matches(file.script, row.checksum)


def _digest(script: str) -> bytes:
    return hashlib.sha256(script.encode()).digest()


def _read_script(path: Path) -> str | None:
    """Return a script, its byte order mark too where it has one, as Prisma's checksum has it; None when it is lost.

    Raises PreconditionFailed when it is no UTF-8 text, or holds a NUL byte: Node would hand on something else than
    what stands in the file, and PostgreSQL reads up to the NUL byte.
    """
    try:
        content = read_given(path)
    except OSError:
        return None
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise _unreadable(path, content, 0, "the byte order mark of UTF-16")
    if (place := content.find(b"\0")) >= 0:
        raise _unreadable(
            path, content, place, "a NUL byte (an editor's UTF-16, or a block that was never written)"
        )
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _unreadable(
            path, content, error.start, f"0x{content[error.start]:02X}, which no character of UTF-8 is"
        ) from error


def _unreadable(path: Path, content: bytes, place: int, what: str) -> PreconditionFailed:
    line = content.count(b"\n", 0, place) + 1
    return PreconditionFailed(
        f"{path.parent.name}/{path.name} is not UTF-8 text: byte {place} (line {line}) is {what}.",
        "Find out what was run in the database, then save the file as UTF-8 or restore it from Git.",
    )


def _named(row: tuple[Any, ...]) -> dict[str, Any]:
    fields = dict(zip(_COLUMNS, row, strict=True))
    fields["name"] = fields.pop("migration_name")
    return fields


def _collation_key(name: str) -> tuple[object, ...]:
    """Return a key that sorts ASCII names as JavaScript's localeCompare does.

    Punctuation before digits before letters, and case counts last, small letters first: so `2025_a` comes
    before `20251_a`, where bytes would say the opposite.
    """
    ranks = tuple((2, c.lower()) if c.isalpha() else (1, c) if c.isdigit() else _punctuation(c) for c in name)
    return ranks, name.swapcase()


def _punctuation(character: str) -> tuple[int, str]:
    """Return the rank of a character that is neither digit nor letter; those not in the list come last."""
    place = _PUNCTUATION.find(character)
    return 0, chr(place if place >= 0 else len(_PUNCTUATION) + ord(character))
