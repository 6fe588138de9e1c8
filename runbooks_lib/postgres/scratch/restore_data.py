"""The way back of all rows: a dump's directory, restored into a scratch cluster as an ordinary role."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from psycopg import sql

from runbooks_lib.errors import BackupError, PreconditionFailed
from runbooks_lib.postgres.binaries import clean_environment
from runbooks_lib.postgres.dump.clients import choose, find_clients
from runbooks_lib.postgres.dump.data_dump import TIMEOUT_S, jobs, run_client
from runbooks_lib.postgres.dump.dump import read_script, without_key
from runbooks_lib.postgres.dump.dump_script import Kind, Piece, makes_table
from runbooks_lib.postgres.rows.contents import Contents, read_contents
from runbooks_lib.postgres.scratch.programs import find_server_for
from runbooks_lib.postgres.scratch.restore import (
    LACKING_HINT,
    RESTORER,
    Outcome,
    Paths,
    lend_extensions,
    pieces_of,
    restore_pieces,
)
from runbooks_lib.postgres.scratch.scratch import Scratch, scratch
from runbooks_lib.progress import growing

DATABASE = "restored"
# Owners, privileges and the like say nothing of rows, and nothing of what is restored may need a superuser.
UNLABELLED = (
    "--no-owner",
    "--no-privileges",
    "--no-comments",
    "--no-publications",
    "--no-subscriptions",
    "--no-security-labels",
    "--no-tablespaces",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoredData:
    """What stands where a directory was restored; `path_set` when functions needed a search_path to find others."""

    server_version: str
    contents: Contents
    path_set: bool


def restore_data(
    folder: Path,
    *,
    server_major: int,
    roles: Iterable[str],
    database_bytes: int,
    extensions: Collection[str] = (),
    allowed: Iterable[str] = (),
) -> RestoredData:
    """Restore a dump's directory into a scratch cluster on disk, as an ordinary role; return what stands there.

    `extensions` are the source's, and decide which programs the scratch has. `allowed` names objects that the scratch
    server's superuser makes. Materialized views are not filled: their queries could go anywhere, and they hold no row
    of their own.
    Raises BackupError with the words of the server or pg_restore; PreconditionFailed when there is no room for
    `database_bytes`, or no scratch; LabError when that does not start.
    """
    # pg_restore sets what its own version knows, and an older server refuses that.
    clients = find_clients()
    programs = find_server_for(choose(clients, server_major).major, extensions=extensions)
    server = scratch(programs, in_memory=False, allowed=allowed)
    with server as copy, copy.cluster.ended_after(TIMEOUT_S):
        free = shutil.disk_usage(copy.cluster.home).free
        if free < database_bytes:
            raise PreconditionFailed(
                f"{copy.cluster.home.parent} has {free} bytes free, and the restored database takes {database_bytes}.",
                "Free space, or let TMPDIR name a folder that has room.",
            )
        with growing(f"restore of {folder.name}", copy.cluster.home, total_bytes=database_bytes):
            client = choose(clients, copy.cluster.programs.major)
            path_set = _load(copy, client.pg_restore, folder, DATABASE, roles).path_set
        with copy.session(DATABASE, owner=RESTORER, schema="pg_catalog") as conn:
            return RestoredData(server_version=copy.version, contents=read_contents(conn), path_set=path_set)


def restore_rows_into(
    copy: Scratch, folder: Path, dump: Path, database: str, *, roles: Iterable[str]
) -> Outcome:
    """Restore a dump's directory into a new database of a scratch cluster, with the owners that `dump` names.

    Event triggers are left out, which would fire. Raises BackupError with the words of the server or pg_restore.
    """
    client = choose(find_clients(), copy.cluster.programs.major)
    made = _load(copy, client.pg_restore, folder, database, roles)
    labels = [piece for piece in pieces_of(read_script(dump), dump.name) if piece.kind is Kind.LABEL]
    named = restore_pieces(copy, database, labels, what=dump.name, before=made.left_out)
    return replace(named, path_set=made.path_set)


def _load(copy: Scratch, pg_restore: Path, folder: Path, database: str, roles: Iterable[str]) -> Outcome:
    """Restore everything, in a second attempt with a search_path given to functions, if it needs that."""
    before, after = (_section(copy, pg_restore, folder, name) for name in ("pre-data", "post-data"))
    rows = ["--section=data", *UNLABELLED, "--exit-on-error", f"--jobs={jobs()}"]
    restoring = [str(pg_restore), *rows, f"--dbname={database}", str(folder)]
    what = f"{folder.name} into PostgreSQL {copy.version}: pg_restore"
    copy.create_database(database, roles=roles, owner=RESTORER)
    made = _make_tables(copy, database, before, folder.name)
    path_set = made.path_set
    try:
        run_client(restoring, what, environment=_environment_of(copy))
    except BackupError:
        with copy.connect("template1") as conn:
            conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database)))
        copy.create_database(database, roles=roles, owner=RESTORER)
        _make_tables(copy, database, before, folder.name)
        with copy.session(database, owner=RESTORER) as conn:
            path_set = Paths(conn).help()
        if not path_set:
            raise
        run_client(restoring, what, environment=_environment_of(copy))
    rest = restore_pieces(copy, database, after, what=folder.name, before=made.left_out, timeout_s=TIMEOUT_S)
    return replace(rest, path_set=rest.path_set or path_set)


def _make_tables(copy: Scratch, database: str, pieces: Sequence[Piece], what: str) -> Outcome:
    """Make what stands before the rows.

    Raises BackupError when a table cannot be made here: then its rows cannot be compared.
    """
    outcome = restore_pieces(copy, database, pieces, what=what)
    with copy.connect(database) as conn:
        lend_extensions(conn)  # the rows of their tables
        # Policies that hold for owners, too, would hide rows from it.
        conn.execute(sql.SQL("ALTER ROLE {} BYPASSRLS").format(sql.Identifier(RESTORER)))
    lost = [each for each in outcome.left_out if makes_table(each.statement)]
    if lost:
        raise BackupError(
            f"{len(lost)} tables of {what} cannot be made in PostgreSQL {copy.version}: {lost[0].why}",
            LACKING_HINT,
        )
    return outcome


def _section(copy: Scratch, pg_restore: Path, folder: Path, section: str) -> tuple[Piece, ...]:
    """Return the statements of a part of the archive, without owners and the like: every row is the restorer's."""
    command = [str(pg_restore), f"--section={section}", *UNLABELLED, "--file=-", str(folder)]
    script = run_client(command, f"Reading {folder.name}: pg_restore", environment=_environment_of(copy))
    pieces = pieces_of(without_key(script)[0], folder.name)
    return tuple(piece for piece in pieces if piece.kind is not Kind.EVENT)


def _environment_of(copy: Scratch) -> dict[str, str]:
    """Return the environment of a client program that is to work in a scratch cluster, as the ordinary role."""
    address = copy.cluster.address()
    return clean_environment(
        {
            "PATH": os.environ.get("PATH", os.defpath),
            "PGHOST": address["host"],
            "PGPORT": address["port"],
            "PGUSER": RESTORER,
            "PGPASSWORD": copy.lent,
            "PGSSLMODE": "disable",
        }
    )
