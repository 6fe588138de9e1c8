"""pg_dump, driven so that what it writes can be trusted: one snapshot, whole files only, equal schemas equal bytes."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from runbooks_lib.errors import BackupError
from runbooks_lib.phase import Target
from runbooks_lib.postgres.dump.clients import Client
from runbooks_lib.postgres.session.connect import Connection
from runbooks_lib.postgres.session.service_file import child_environment, conninfo_of_child
from runbooks_lib.progress import growing

# pg_dump begins and ends a script by a key of its own, which it draws anew each time: psql refuses every other meta
# command in between. Whoever can write texts in the source could put the end of a key that he knows into them.
KEY = r"[0-9A-Za-z]+"
RESTRICT = re.compile(rf"\A((?:--[^\n]*\n|\n)*)\\restrict ({KEY})\n\n?")
# The end of a whole dump: nothing may follow but the line that belongs to the key.
COMPLETE = re.compile(rf"\n--\n-- PostgreSQL database dump complete\n--\n\n(?:\\unrestrict ({KEY})\n\n)?\Z")
DUMP_TIMEOUT_S = 3600
LOCK_WAIT_TIMEOUT_MS = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpFile:
    """A dump on disk: its size, its hash, and whether pg_dump wrote its last line.

    `content_sha256` is the hash without the key that pg_dump draws anew: equal schemas have it alike.
    """

    path: Path
    size_bytes: int
    sha256: str
    content_sha256: str
    complete: bool


def dump_schema(client: Client, target: Target, conn: Connection, file: Path, *, snapshot: str) -> None:
    """Write a target's schema to `file`, as of a snapshot that `conn` exported; whole, or not at all.

    Reads the target through pg_dump, which takes ACCESS SHARE locks; writes `file` only.

    Raises BackupError with pg_dump's own words, when it fails or when the file cannot be written.
    Source: https://www.postgresql.org/docs/current/app-pgdump.html
    """
    partial = file.with_name(f".{file.name}.partial")
    try:
        if file.exists():
            raise BackupError(f"{file} exists already.", "Dumps are never overwritten; run the step again.")
        command = dump_command(client, target, conn, partial, "--schema-only", snapshot=snapshot)
        with growing(f"dump of {target.name}", partial):
            done = subprocess.run(
                command,
                env=child_environment(),
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


def dump_command(
    client: Client, target: Target, conn: Connection, output: Path, *options: str, snapshot: str
) -> list[str]:
    """Return the command line by which pg_dump writes a target to `output`, as of a snapshot that `conn` exported.

    It goes to the very server of `conn`, and needs `child_environment` for that.
    """
    return [
        str(client.pg_dump),
        "--no-password",
        "--encoding=UTF8",
        f"--lock-wait-timeout={LOCK_WAIT_TIMEOUT_MS}",
        f"--snapshot={snapshot}",
        f"--file={output}",
        *options,
        f"--dbname={conninfo_of_child(conn, target.service)}",
    ]


def read_dump(file: Path) -> DumpFile:
    """Read a schema's dump back: size, hashes, and whether it ends as pg_dump ends a whole one.

    Raises BackupError when the file cannot be read.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise unreadable(file, error) from error
    plain, paired = without_key(content.decode("utf-8", "surrogateescape"))
    end = COMPLETE.search(plain)
    return DumpFile(
        path=file,
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        content_sha256=hashlib.sha256(plain.encode("utf-8", "surrogateescape")).hexdigest(),
        complete=end is not None and paired,
    )


def read_script(file: Path) -> str:
    """Return the SQL of a schema's dump, without pg_dump's key. Raises BackupError when it cannot be read as text."""
    try:
        return without_key(file.read_bytes().decode("utf-8"))[0]
    except OSError as error:
        raise unreadable(file, error) from error
    except UnicodeDecodeError as error:
        raise BackupError(
            f"The dump {file.name} is no UTF-8 text: byte {error.object[error.start]:#04x} at {error.start}.",
            "The database holds names or texts that are not of its encoding; rename what stands at that place.",
        ) from error


def without_key(text: str) -> tuple[str, bool]:
    """Return a script without the two lines of pg_dump's key; False beside it when only one of them is as it must be.

    The lines are known by their places, the first command and the last line, and by having the same key.
    """
    begin, end = RESTRICT.match(text), COMPLETE.search(text)
    if begin is None:
        return text, end is None or end[1] is None
    if end is None or end[1] != begin[2]:
        return text, False
    return text[: begin.end(1)] + text[begin.end() : end.start(1) - len("\\unrestrict ")], True


def unreadable(path: Path, error: OSError) -> BackupError:
    """Return the error for a dump that cannot be read."""
    return BackupError(f"The dump {path} cannot be read: {error}", "Make the backup again.")


def _sync(file: Path) -> None:
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
