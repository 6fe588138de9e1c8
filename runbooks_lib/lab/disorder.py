"""The states in which people find a database: each can be made, in a lab to practise on, or in a test.

All are made of what a project's migrations left behind, whatever they are: `DISORDERS` names them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from runbooks_lib.errors import LabError, PreconditionFailed
from runbooks_lib.package import own_python
from runbooks_lib.postgres.scratch.processes import detached
from runbooks_lib.postgres.script.pieces import pieces
from runbooks_lib.prisma.history import MigrationFile

LAST = 3  # how many rows of the history are lost, or migrations pending
_MAKING = frozenset({"CreateStmt", "IndexStmt", "AlterTableStmt", "CreateEnumStmt"})
_INDEX = """
SELECT n.nspname, c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid =
c.relnamespace WHERE n.nspname !~ '^pg_' AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.indexrelid)
ORDER BY c.oid DESC LIMIT 1
"""
_COLUMN = """
SELECT n.nspname, c.relname, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n
ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND a.attnum > 1 AND NOT a.attisdropped AND n.nspname !~ '^pg_|^inf'
AND c.relname <> '_prisma_migrations' AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.refclassid = 'pg_class'::regclass
AND d.refobjid = c.oid AND d.refobjsubid = a.attnum AND d.classid <> 'pg_attrdef'::regclass)
ORDER BY c.oid DESC, a.attnum DESC LIMIT 1
"""
_HISTORY = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = '_prisma_migrations'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A database, by a session of who owns all in it, and the folder of the project's migrations, which are these."""

    conn: psycopg.Connection[Any]
    folder: Path
    migrations: Sequence[MigrationFile]

    def name(self, question: str, what: str) -> tuple[sql.Identifier, ...]:
        """Return the parts of the name that a question finds. Raises PreconditionFailed when the database has none."""
        row = self.conn.execute(question.encode()).fetchone()
        if row is None:
            raise PreconditionFailed(
                f"The database has no {what} that can be taken away.", "Choose another state."
            )
        return tuple(map(sql.Identifier, row))

    @property
    def history(self) -> sql.Composed:
        """Return the name of Prisma's table, with its schema."""
        return sql.SQL("{}.{}").format(*self.name(_HISTORY, "history"))

    def execute(self, statement: str, *names: sql.Composable, values: Sequence[object] = ()) -> None:
        """Execute a statement, with names in its braces."""
        self.conn.execute(sql.SQL(statement).format(*names), values)

    def forget(self, names: Sequence[str]) -> None:
        """Delete migrations from the history."""
        self.execute("DELETE FROM {} WHERE migration_name = ANY(%s)", self.history, values=(list(names),))

    def fail(self, name: str, logs: str = "it failed") -> None:
        """Have the history say that a migration failed, as a deployment leaves it."""
        self.forget([name])
        (checksum,) = (each.checksum for each in self.migrations if each.name == name)
        self.execute(
            "INSERT INTO {} (id, checksum, migration_name, logs) VALUES (gen_random_uuid(), %s, %s, %s)",
            self.history,
            values=(checksum, name, logs),
        )

    def run(self, name: str, statements: int) -> None:
        """Run the first statements of a migration, and record nothing."""
        (script,) = (each.script for each in self.migrations if each.name == name)
        self.conn.execute("SET search_path = public")
        for piece in (pieces(script or "") or ())[:statements]:
            self.conn.execute(piece.text.encode())
        self.conn.execute("RESET search_path")


@dataclass(frozen=True, slots=True, kw_only=True)
class Disorder:
    """A state: what it is, how it is made, and how many of the last migrations are not deployed before."""

    says: str
    make: Callable[[Place], None]
    pending: Callable[[Sequence[MigrationFile]], int] = lambda migrations: 0


def _last(migrations: Sequence[MigrationFile], number: int = 1) -> list[str]:
    return [each.name for each in migrations[-number:]]


def _one(migrations: Sequence[MigrationFile]) -> int:
    return min(1, len(migrations))


def _half(script: str | None) -> int:
    """Return how many statements are the first half of what a script makes; 0 when it can't stand in part."""
    found = pieces(script or "") or ()
    making = [
        at
        for at, piece in enumerate(found, 1)
        if piece.tag in _MAKING and not piece.node.get("if_not_exists")
    ]
    return making[len(making) // 2 - 1] if len(making) > 1 else 0


def _in_parts(migrations: Sequence[MigrationFile]) -> int:
    """Return how many migrations there are from the last one on that can stand in part."""
    for number, each in enumerate(reversed(migrations), 1):
        if _half(each.script):
            return number
    raise PreconditionFailed(
        "No migration makes two things, so none can stand in part.", "Choose another state."
    )


def _half_way(place: Place) -> str:
    """Run the first half of the last migration that can stand in part; return its name."""
    each = place.migrations[-_in_parts(place.migrations)]
    place.run(each.name, _half(each.script))
    return each.name


def _edit(place: Place) -> None:
    script = place.folder / place.migrations[0].name / "migration.sql"
    script.write_text(script.read_text("utf-8") + "\nCREATE TABLE edited (id integer);\n", "utf-8")


def _drift(place: Place) -> None:
    place.conn.execute("CREATE TABLE public.made_by_hand (id integer PRIMARY KEY, note text)")


def _another_branch(place: Place) -> None:
    place.execute(
        "INSERT INTO {} (id, checksum, migration_name, finished_at, applied_steps_count)"
        " VALUES (gen_random_uuid(), %s, '20200101000000_another_branch', now(), 1)",
        place.history,
        values=("0" * 64,),
    )


def _lose_script(place: Place) -> None:
    (place.folder / place.migrations[-1].name / "migration.sql").unlink()


def _other_provider(place: Place) -> None:
    (place.folder / "migration_lock.toml").write_text('provider = "mysql"\n', "utf-8")


def _hold_lock(place: Place) -> None:
    """Start a process that holds Prisma's lock and does nothing, until the server ends or somebody ends its session."""
    info = place.conn.info
    password = {"PGPASSWORD": info.password} if info.password else {}
    held = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "runbooks_lib.lab.lock_holder",
            info.host,
            str(info.port),
            info.dbname,
            info.user,
        ],
        env=own_python({**os.environ, **password}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert held.stdout is not None
    with held.stdout as said:
        taken = said.readline() == b"held\n"
    detached(held)
    if not taken:
        raise LabError("The session that is to hold Prisma's lock could not be opened.")


DISORDERS: Mapping[str, Disorder] = {
    "no-history": Disorder(
        says="the history table is gone (P3005)",
        make=lambda place: place.execute("DROP TABLE {}", place.history),
    ),
    "empty-history": Disorder(
        says="the history table is empty",
        make=lambda place: place.execute("DELETE FROM {}", place.history),
    ),
    "rows-missing": Disorder(
        says=f"the last {LAST} migrations stand, and are not recorded",
        make=lambda place: place.forget(_last(place.migrations, LAST)),
    ),
    "pending": Disorder(
        says=f"the last {LAST} migrations were never run",
        make=lambda place: None,
        pending=lambda migrations: min(LAST, len(migrations)),
    ),
    "failed-whole": Disorder(
        says="the last migration is recorded as failed, and all of it stands (P3009)",
        make=lambda place: place.fail(*_last(place.migrations)),
    ),
    "failed-nothing": Disorder(
        says="the last migration is recorded as failed, and nothing of it stands (P3009)",
        make=lambda place: place.fail(*_last(place.migrations)),
        pending=_one,
    ),
    "failed-half-way": Disorder(
        says="a migration is recorded as failed, and the first half of it stands (P3009)",
        make=lambda place: place.fail(_half_way(place)),
        pending=_in_parts,
    ),
    "half-applied": Disorder(
        says="the first half of a pending migration was run by hand",
        make=lambda place: place.forget([_half_way(place)]),
        pending=_in_parts,
    ),
    "index-dropped": Disorder(
        says="an index of an applied migration is missing",
        make=lambda place: place.execute("DROP INDEX {}.{}", *place.name(_INDEX, "index")),
    ),
    "column-dropped": Disorder(
        says="a column of an applied migration is missing",
        make=lambda place: place.execute("ALTER TABLE {}.{} DROP COLUMN {}", *place.name(_COLUMN, "column")),
    ),
    "edited": Disorder(says="the file of an applied migration was edited", make=_edit),
    "drift": Disorder(says="a table was made by hand", make=_drift),
    "another-branch": Disorder(
        says="the history has a migration that the folder lacks", make=_another_branch
    ),
    "script-lost": Disorder(says="a folder has no migration.sql (P3015)", make=_lose_script),
    "other-provider": Disorder(says="the migrations are for MySQL (P3019)", make=_other_provider),
    "lock-held": Disorder(says="a session that does nothing holds Prisma's lock (P1002)", make=_hold_lock),
}
