"""Does a dump restore? Into a scratch cluster of our own, never into the target."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from runbooks_lib.errors import BackupError
from runbooks_lib.postgres.binaries import clean_environment
from runbooks_lib.postgres.catalog import Catalog, read_catalog
from runbooks_lib.postgres.clients import choose, find_clients
from runbooks_lib.postgres.scratch import SUPERUSER, Scratch, scratch
from runbooks_lib.postgres.server import find_server_for

RESTORE_TIMEOUT_S = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a dump restores to, and the version of the scratch server that took it."""

    server_version: str
    server_major: int
    catalog: Catalog


class Restores:
    """Scratch clusters for several restores, one for each major version; all are gone when the block ends."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._copies: dict[int, Scratch] = {}

    def __enter__(self) -> Restores:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def restore_schema(self, dump: Path, *, server_major: int, roles: Iterable[str]) -> Restored:
        """Restore a plain schema dump into a database of its own in a scratch cluster, and read back what it made.

        The scratch has the source's major version, else the lowest newer one found. `roles` are the source's: they
        are created there without a password, so that owners and grants can be restored.

        Raises BackupError with psql's own words when the dump does not restore as a whole; PreconditionFailed or
        LabError when there is no scratch to restore it into.
        """
        if server_major not in self._copies:
            self._copies[server_major] = self._open.enter_context(scratch(find_server_for(server_major)))
        copy = self._copies[server_major]
        database = f"restored_{secrets.token_hex(4)}"
        restore_into(copy, dump, database, roles=roles)
        with copy.connect(database) as conn:
            return Restored(
                server_version=copy.version,
                server_major=copy.cluster.programs.major,
                catalog=read_catalog(conn),
            )


def restore_into(copy: Scratch, dump: Path, database: str, *, roles: Iterable[str]) -> None:
    """Restore a plain schema dump into a new database of a scratch cluster, whole or not at all.

    Raises BackupError with psql's own words.
    """
    copy.create_database(database, roles=roles)
    _run_psql(copy, dump, database)


def environment_of(copy: Scratch, **more: str) -> dict[str, str]:
    """Return the environment of a client program that is to work in a scratch cluster, as its superuser."""
    address = copy.cluster.address()
    return clean_environment(
        {
            "PATH": os.environ.get("PATH", os.defpath),
            "PGHOST": address["host"],
            "PGPORT": address["port"],
            "PGUSER": SUPERUSER,
            "PGPASSWORD": copy.password,
            "PGSSLMODE": "disable",
            **more,
        }
    )


def _run_psql(copy: Scratch, dump: Path, database: str) -> None:
    psql = choose(find_clients(), copy.cluster.programs.major).psql
    command = [
        str(psql),
        "--no-psqlrc",
        "--quiet",
        "--set=ON_ERROR_STOP=1",
        "--single-transaction",
        f"--file={dump}",
    ]
    try:
        done = subprocess.run(
            command,
            env=environment_of(copy, PGDATABASE=database),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=RESTORE_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BackupError(f"{dump.name} could not be restored: {error}.", "Make the backup again.") from error
    if done.returncode != 0:
        raise BackupError(
            f"{dump.name} does not restore into PostgreSQL {copy.version}: {' '.join(done.stderr.split())[:1000]}",
            "If the message names an extension, let RUNBOOKS_PG_BIN name server programs that have it; "
            "otherwise do not trust this dump: make it again.",
        )
