"""pg_dump, driven so that what it writes can be trusted: one snapshot, whole files only, equal schemas equal bytes."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from psycopg.conninfo import make_conninfo

from runbooks_lib.errors import BackupError
from runbooks_lib.phase import Target
from runbooks_lib.postgres.clients import Client
from runbooks_lib.progress import growing

# The end of a whole dump: nothing may follow but the line that belongs to --restrict-key.
COMPLETE = re.compile(
    rb"\n--\n-- PostgreSQL database dump complete\n--\n\n(\\unrestrict [0-9A-Za-z]+\n\n)?\Z"
)
RESTRICTED = re.compile(rb"^\\restrict ", re.MULTILINE)
DUMP_TIMEOUT_S = 3600
LOCK_WAIT_TIMEOUT_MS = 60_000
CHUNK_BYTES = 1 << 20
TAIL_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpFile:
    """A dump on disk: its size, its hash, and whether pg_dump wrote its last line."""

    path: Path
    size_bytes: int
    sha256: str
    complete: bool


def dump_schema(client: Client, target: Target, file: Path, *, snapshot: str, restrict_key: str) -> None:
    """Write a target's schema to `file`, as of an exported snapshot; nobody ever sees half a file under that name.

    Reads the target through pg_dump, which takes ACCESS SHARE locks; writes `file` only. `restrict_key` makes
    dumps of equal schemas byte-equal (letters and digits; pg_dump 18 and the minor releases of August 2025).

    Raises BackupError with pg_dump's own words, when it fails or when the file cannot be written.
    Source: https://www.postgresql.org/docs/current/app-pgdump.html
    """
    partial = file.with_name(f".{file.name}.partial")
    try:
        if file.exists():
            raise BackupError(f"{file} exists already.", "Dumps are never overwritten; run the step again.")
        reproducible = [f"--restrict-key={restrict_key}"] if _knows_restrict_key(client) else []
        command = dump_command(client, target, partial, "--schema-only", *reproducible, snapshot=snapshot)
        with growing(f"dump of {target.name}", partial):
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=DUMP_TIMEOUT_S,
                check=False,
            )
        if done.returncode != 0:
            raise BackupError(
                f"pg_dump {client.version} of target {target.name!r} failed: {' '.join(done.stderr.split())}",
                "Mend what it says (a missing privilege, a lock, a full disk, a lost connection), "
                "then run the step again.",
            )
        partial.chmod(0o600)
        _sync(partial)
        os.replace(partial, file)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BackupError(
            f"The dump of target {target.name!r} could not be made: {error}",
            "Check the disk and pg_dump; no file was left under the backup's name.",
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def dump_command(client: Client, target: Target, output: Path, *options: str, snapshot: str) -> list[str]:
    """Return the command line by which pg_dump writes a target to `output`, as of an exported snapshot."""
    return [
        str(client.pg_dump),
        "--no-password",
        "--encoding=UTF8",
        f"--lock-wait-timeout={LOCK_WAIT_TIMEOUT_MS}",
        f"--snapshot={snapshot}",
        f"--file={output}",
        *options,
        f"--dbname={make_conninfo(service=target.service, dbname=target.database)}",
    ]


def read_dump(file: Path) -> DumpFile:
    """Read a dump back: size, SHA-256, and whether it ends as pg_dump ends a whole one.

    Raises BackupError when the file cannot be read.
    """
    digest = hashlib.sha256()
    head = tail = b""
    try:
        with file.open("rb") as stream:
            while chunk := stream.read(CHUNK_BYTES):
                head = head or chunk[:TAIL_BYTES]
                digest.update(chunk)
                tail = (tail + chunk)[-TAIL_BYTES:]
        size_bytes = file.stat().st_size
    except OSError as error:
        raise BackupError(f"The dump {file} cannot be read: {error}", "Make the backup again.") from error
    end = COMPLETE.search(tail)
    complete = end is not None and (RESTRICTED.search(head) is None or end[1] is not None)
    return DumpFile(path=file, size_bytes=size_bytes, sha256=digest.hexdigest(), complete=complete)


def _knows_restrict_key(client: Client) -> bool:
    known = subprocess.run(
        [str(client.pg_dump), "--help"], capture_output=True, text=True, timeout=30, check=False
    )
    return "--restrict-key" in known.stdout


def _sync(file: Path) -> None:
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
