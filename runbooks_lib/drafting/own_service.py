"""Which service leads to the database that a Prisma project has as its own: addresses are compared, and never shown."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg

from runbooks_lib.given import read_given_text
from runbooks_lib.postgres.session.service_file import parameters_of

_LINE = re.compile(r"""^\s*(?:export\s+)?(\w+)\s*=\s*["'`]?(postgres(?:ql)?://[^\s"'`]+)""", re.MULTILINE)
_ADDRESS = re.compile(r"postgres(?:ql)?://\S+")
_HERE = {"localhost", "127.0.0.1", "::1"}

Place = tuple[str, str, str]  # host, port, database


def own_service(services: Iterable[str], folder: Path) -> str | None:
    """Return the service whose host, port and database are those of an address of the project; None without one.

    The addresses are those of the environment and of the project's .env files, but for a shadow database's. Of several
    services of one database it is the one with the address's user, else the first by name; of several databases none.
    """
    addresses = set(_addresses(folder))
    users = {(place, user) for place, user in addresses}
    own = {place for place, _ in addresses}
    found = []
    for service in services:
        with suppress(psycopg.Error):
            leads = parameters_of(service)
            place = _place(
                leads["host"] or leads["hostaddr"],
                leads.get("port"),
                leads.get("dbname") or leads.get("user"),
            )
            if place in own:
                found.append((place, (place, leads.get("user", "")) not in users, service))
    return min(found)[2] if len({place for place, _, _ in found}) == 1 else None


def _addresses(folder: Path) -> Iterator[tuple[Place, str]]:
    """Yield where each address leads, and as whom. What the environment sets counts before what a file does."""
    named: dict[str, str] = {}
    for file in (folder / "prisma" / ".env", folder / ".env"):
        with suppress(OSError):
            named |= dict(_LINE.findall(read_given_text(file.resolve(), errors="replace")))
    named |= {name: value for name, value in os.environ.items() if name in named or _ADDRESS.fullmatch(value)}
    for name, value in named.items():
        if "SHADOW" not in name.upper() and not name.startswith("RUNBOOKS_"):
            with suppress(ValueError):
                address = urlsplit(value)
                host, database = unquote(address.hostname or ""), unquote(address.path[1:])
                yield _place(host, str(address.port or ""), database), unquote(address.username or "")


def _place(host: str, port: str | None, database: str | None) -> Place:
    return "localhost" if host in _HERE else host, port or "5432", database or ""
