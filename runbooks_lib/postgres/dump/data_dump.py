"""A dump of all rows: pg_dump's directory format, by several processes, under one snapshot."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from runbooks_lib.errors import BackupError
from runbooks_lib.phase import Target
from runbooks_lib.postgres.dump.clients import Client
from runbooks_lib.postgres.dump.directory import directory_digest
from runbooks_lib.postgres.dump.dump import dump_command, unreadable
from runbooks_lib.postgres.session.connect import Connection
from runbooks_lib.postgres.session.service_file import child_environment
from runbooks_lib.progress import growing

TABLE_OF_CONTENTS = "toc.dat"
TIMEOUT_S = 24 * 3600
MAX_JOBS = 4
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
            run_client(
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


def jobs() -> int:
    """Return how many processes dump or restore at once."""
    return max(1, min(MAX_JOBS, os.cpu_count() or 1))


def run_client(command: list[str], what: str, *, environment: dict[str, str]) -> str:
    """Run pg_dump or pg_restore to its end; return what it printed. Raises BackupError with its own words."""
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
