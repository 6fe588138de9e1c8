"""A dump of all rows: pg_dump's directory format, by several processes, under one snapshot; and its way back."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from psycopg import sql

from runbooks_lib.errors import BackupError, PreconditionFailed
from runbooks_lib.phase import Target
from runbooks_lib.postgres.binaries import clean_environment
from runbooks_lib.postgres.clients import Client, choose, find_clients
from runbooks_lib.postgres.connect import Connection
from runbooks_lib.postgres.contents import Contents, read_contents
from runbooks_lib.postgres.directory import directory_digest
from runbooks_lib.postgres.dump import dump_command, unreadable, without_key
from runbooks_lib.postgres.dump_script import Kind, Piece, makes_table
from runbooks_lib.postgres.restore import (
    LACKING_HINT,
    RESTORER,
    Outcome,
    Paths,
    lend_extensions,
    pieces_of,
    restore_pieces,
)
from runbooks_lib.postgres.scratch import Scratch, scratch
from runbooks_lib.postgres.server import find_server_for
from runbooks_lib.postgres.service_file import child_environment
from runbooks_lib.progress import growing

DATABASE = "restored"
TABLE_OF_CONTENTS = "toc.dat"
TIMEOUT_S = 24 * 3600
MAX_JOBS = 4
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
HIDDEN_ROWS = "row-level security"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataDump:
    """A directory of a dump: how many files and bytes, and a SHA-256 over the names and hashes of all files."""

    path: Path
    files: int
    size_bytes: int
    sha256: str
    complete: bool


def dump_data(client: Client, target: Target, conn: Connection, folder: Path, *, snapshot: str) -> None:
    """Write a target's schema and rows to a new directory, as of a snapshot that `conn` exported; whole, or not at all.

    Reads the target through pg_dump, by several sessions at once, which take ACCESS SHARE locks.
    Raises BackupError with pg_dump's own words.
    Source: https://www.postgresql.org/docs/current/app-pgdump.html
    """
    partial = folder.with_name(f".{folder.name}.partial")
    parallel = ("--format=directory", f"--jobs={jobs()}")
    command = dump_command(client, target, conn, partial, *parallel, snapshot=snapshot)
    try:
        if folder.exists():
            raise BackupError(f"{folder} exists already.", "Dumps are never overwritten; run the step again.")
        with growing(f"dump of {target.name}", partial):
            _run(
                command,
                f"pg_dump {client.version} of the rows of target {target.name!r}",
                environment=child_environment(),
            )
        for file in partial.iterdir():
            file.chmod(0o600)
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
        partial.chmod(0o700)
        os.replace(partial, folder)
    except OSError as error:
        raise BackupError(
            f"The dump of the rows of target {target.name!r} could not be made: {error}",
            "Check the disk and pg_dump; nothing was left under the backup's name.",
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def read_data_dump(folder: Path) -> DataDump:
    """Read a dump's directory back: every file hashed, names and hashes together hashed once more.

    Raises BackupError when the directory, or a file in it, cannot be read.
    """
    try:
        files = sorted(folder.iterdir())
        hashes = {file.name: _sha256(file) for file in files}
        size_bytes = sum(file.stat().st_size for file in files)
    except OSError as error:
        raise unreadable(folder, error) from error
    return DataDump(
        path=folder,
        files=len(files),
        size_bytes=size_bytes,
        sha256=directory_digest(hashes),
        complete=TABLE_OF_CONTENTS in hashes,
    )


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoredData:
    """What stands where a directory was restored; `path_set` when functions needed a search_path to find others."""

    server_version: str
    contents: Contents
    path_set: bool


def restore_data(
    folder: Path, *, server_major: int, roles: Iterable[str], database_bytes: int
) -> RestoredData:
    """Restore a dump's directory into a scratch cluster on disk, as an ordinary role; return what stands there.

    Materialized views are not filled: their queries could go anywhere, and they hold no row of their own.
    Raises BackupError with the words of the server or pg_restore; PreconditionFailed when there is no room for
    `database_bytes`, or no scratch; LabError when that does not start.
    """
    with scratch(find_server_for(server_major), in_memory=False) as copy, copy.cluster.ended_after(TIMEOUT_S):
        free = shutil.disk_usage(copy.cluster.home).free
        if free < database_bytes:
            raise PreconditionFailed(
                f"{copy.cluster.home.parent} has {free} bytes free, and the restored database takes {database_bytes}.",
                "Free space, or let TMPDIR name a folder that has room.",
            )
        with growing(f"restore of {folder.name}", copy.cluster.home, total_bytes=database_bytes):
            path_set = _load(copy, folder, roles)
        with copy.session(DATABASE, owner=RESTORER, schema="pg_catalog") as conn:
            return RestoredData(server_version=copy.version, contents=read_contents(conn), path_set=path_set)


def _load(copy: Scratch, folder: Path, roles: Iterable[str]) -> bool:
    """Restore everything; return whether functions had to be given a search_path for it, in a second attempt."""
    before, after = (_section(copy, folder, name) for name in ("pre-data", "post-data"))
    what = f"{folder.name} into PostgreSQL {copy.version}: pg_restore"
    copy.create_database(DATABASE, roles=roles, owner=RESTORER)
    made = _make_tables(copy, before, folder.name)
    path_set = made.path_set
    try:
        _run(_restoring(copy, folder), what, environment=_environment_of(copy))
    except BackupError:
        with copy.connect("template1") as conn:
            conn.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)".encode())
        copy.create_database(DATABASE, roles=roles, owner=RESTORER)
        _make_tables(copy, before, folder.name)
        with copy.session(DATABASE, owner=RESTORER) as conn:
            path_set = Paths(conn).help()
        if not path_set:
            raise
        _run(_restoring(copy, folder), what, environment=_environment_of(copy))
    rest = restore_pieces(copy, DATABASE, after, what=folder.name, before=made.left_out, timeout_s=TIMEOUT_S)
    return rest.path_set or path_set


def _make_tables(copy: Scratch, pieces: Sequence[Piece], what: str) -> Outcome:
    """Make what stands before the rows.

    Raises BackupError when a table cannot be made here: then its rows cannot be compared.
    """
    outcome = restore_pieces(copy, DATABASE, pieces, what=what)
    with copy.connect(DATABASE) as conn:
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


def _section(copy: Scratch, folder: Path, section: str) -> tuple[Piece, ...]:
    """Return the statements of a part of the archive, without owners and the like: every row is the restorer's."""
    client = choose(find_clients(), copy.cluster.programs.major)
    command = [str(client.pg_restore), f"--section={section}", *UNLABELLED, "--file=-", str(folder)]
    script = _run(command, f"Reading {folder.name}: pg_restore", environment=_environment_of(copy))
    pieces = pieces_of(without_key(script)[0], folder.name)
    return tuple(piece for piece in pieces if piece.kind is not Kind.EVENT)


def _restoring(copy: Scratch, folder: Path) -> list[str]:
    client = choose(find_clients(), copy.cluster.programs.major)
    rows = ["--section=data", *UNLABELLED, "--exit-on-error", f"--jobs={jobs()}"]
    return [str(client.pg_restore), *rows, f"--dbname={DATABASE}", str(folder)]


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


def jobs() -> int:
    """Return how many processes dump or restore at once."""
    return max(1, min(MAX_JOBS, os.cpu_count() or 1))


def _run(command: list[str], what: str, *, environment: dict[str, str]) -> str:
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BackupError(f"{what} failed: {error}.", "Make the backup again.") from error
    if done.returncode != 0:
        words = " ".join(done.stderr.split())[:1000]
        raise BackupError(
            f"{what} failed: {words}",
            "Policies hide rows of that table from this role, and a dump without them is none: give the role "
            "BYPASSRLS, or leave the target out of backup.data."
            if HIDDEN_ROWS in words
            else "Mend what it says (a missing privilege, a lock, a full disk, a damaged file), "
            "then run the step again.",
        )
    return done.stdout
