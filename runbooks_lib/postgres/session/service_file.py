"""What a libpq service says, as libpq itself reads it, whatever the PG* variables of the environment say.

Passwords stay where libpq finds them: the service file, the pass file or PGPASSWORD.
Source: https://www.postgresql.org/docs/current/libpq-pgservice.html
"""

from __future__ import annotations

import os
import threading
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import pq
from psycopg.conninfo import make_conninfo

from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.phase import Target
from runbooks_lib.phase.mistakes import shown

# These would lead a session elsewhere, or make it another one than the service says. What an operator sets for
# himself stays: PGUSER, PGPASSWORD, PGPASSFILE, PGSERVICEFILE, and what TLS and Kerberos need.
AIMING = frozenset(
    {
        "PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGSERVICE", "PGOPTIONS", "PGTARGETSESSIONATTRS",
        "PGLOADBALANCEHOSTS", "PGAPPNAME", "PGCLIENTENCODING", "PGDATESTYLE", "PGTZ", "PGGEQO",
    }
)  # fmt: skip
_MISSING = "does not exist"
_hiding = threading.Lock()
_hidden_by = 0


@contextmanager
def own_environment() -> Iterator[None]:
    """Hide from libpq, which asks the C library, what would lead its sessions elsewhere; os.environ stays as it is."""
    global _hidden_by
    with _hiding:
        _hidden_by += 1
        for name in AIMING & os.environ.keys():
            os.unsetenv(name)
    try:
        yield
    finally:
        with _hiding:
            _hidden_by -= 1
            if not _hidden_by:
                for name in AIMING & os.environ.keys():
                    os.putenv(name, os.environ[name])


def child_environment() -> dict[str, str]:
    """Return the environment of a client program that is told by its connection string where to go."""
    return {name: value for name, value in os.environ.items() if name not in AIMING}


def conninfo_of_child(conn: psycopg.Connection[Any], service: str, **more: str) -> str:
    """Return the connection string by which a client program gets to the very server and role of a session.

    It names the service, where the program finds the password and TLS files again, and pins what may lead elsewhere.
    No secret is in it. The program needs `child_environment`.
    """
    info = conn.info
    pinned = {
        "host": info.host,
        "hostaddr": info.hostaddr,
        "port": str(info.port),
        "user": info.user,
        "dbname": info.dbname,
        "options": parameters_of(service)["options"],
        "target_session_attrs": "any",
    }
    return make_conninfo("", service=service, **pinned | more)


def service_files() -> tuple[Path, ...]:
    """Return the service files that libpq reads, in its order; they need not exist."""
    own = Path(os.environ.get("PGSERVICEFILE", Path.home() / ".pg_service.conf"))
    shared = os.environ.get("PGSYSCONFDIR")
    return (own, Path(shared) / "pg_service.conf") if shared else (own,)


def service_names() -> frozenset[str]:
    """Return the names of every service that the service files define; passwords are not kept.

    A section begins where libpq sees one: at a `[` that only blanks precede, up to the next `]`.
    """
    return frozenset(name for path in service_files() for name in _sections(path))


def _sections(path: Path) -> Iterator[str]:
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError:
        return
    for line in lines:
        stripped = line.strip()
        if stripped.startswith(b"[") and b"]" in stripped:
            yield os.fsdecode(stripped[1 : stripped.index(b"]")])


def _unread(path: Path) -> str:
    """Return what of a service file is a section for its reader, and none for libpq; "" where all is well."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError:
        return ""
    if lines[0].startswith(BOM_UTF8):
        return f" {path} begins with a byte order mark, which hides its first line: save it as UTF-8 without one."
    cut = next((n for n, each in enumerate(lines, 1) if each.strip()[:1] == b"[" and b"]" not in each), None)
    return f" Line {cut} of {path} has no ]." if cut else ""


def _why_none(path: Path) -> str:
    """Return why a service file gives no service."""
    if not path.name:
        return "is set, and empty"
    try:
        if unread := _unread(path):
            return f"defines no service.{unread.removesuffix('.')}"
        path.read_bytes()
    except FileNotFoundError:
        return _MISSING
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return "defines no service"


def parameters_of(service: str) -> dict[str, str]:
    """Return every connection parameter of a service, its password included, and libpq's default for the others.

    Parameters that the environment must not add are there, too, as ''.
    Raises psycopg.OperationalError in libpq's own words.
    """
    found = _ask(service, without="sslnegotiation")
    found["sslnegotiation"] = _ask(service, without="load_balance_hosts").get("sslnegotiation", "postgres")
    del found["service"]
    return {"host": "", "hostaddr": "", "options": ""} | found


def _ask(service: str, *, without: str) -> dict[str, str]:
    """Have libpq read the service, and stop before it connects: at a parameter that it does not accept."""
    quoted = service.replace("\\", "\\\\").replace("'", "\\'")
    with own_environment():
        asked = pq.PGconn.connect_start(f"service='{quoted}' {without}=none_of_these".encode())
        found = {
            option.keyword.decode(): os.fsdecode(option.val)
            for option in asked.info
            if option.val is not None and option.keyword.decode() != without
        }
        said = " ".join(asked.error_message.decode(errors="replace").split())
        asked.finish()
    if not found:
        raise psycopg.OperationalError(said)
    return found


def require_a_service() -> frozenset[str]:
    """Return the names of the services. Raises PreconditionFailed where there is no service file, or none in it."""
    names = service_names()
    if not names:
        said = {path if path.name else "PGSERVICEFILE": _why_none(path) for path in service_files()}
        there = [f"{path} {why}" for path, why in said.items() if why != _MISSING]
        what = "; ".join(there or [f"{path} {why}" for path, why in said.items()])
        raise PreconditionFailed(
            f"There is no PostgreSQL service: {what}.",
            "Write a [service] section with host, port, user and dbname there, or point PGSERVICEFILE at the right "
            'file; a lab has one: runbooks lab up, then eval "$(runbooks lab env)".',
        )
    return names


def require_services(targets: Mapping[str, Target]) -> None:
    """Check that every target's service is defined.

    Reads the service files. Raises PreconditionFailed, naming the missing services and where they were sought.
    """
    known = require_a_service() if targets else frozenset()
    missing = {t.service: name for name, t in targets.items() if t.service not in known}
    if missing:
        sought = " and ".join(str(path) for path in service_files())
        names = ", ".join(f"{shown(service)} (target {target})" for service, target in missing.items())
        raise PreconditionFailed(
            f"The service file does not define {names}; in {sought} there are: {', '.join(sorted(known))}."
            + "".join(map(_unread, service_files())),
            "Add a [service] section with host, port and user there, or point PGSERVICEFILE at the right file; "
            'for the lab: eval "$(runbooks lab env)".',
        )
