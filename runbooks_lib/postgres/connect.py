"""From a libpq service name to a guarded session.

Passwords stay where libpq finds them: the service file, the pass file or the environment. Nothing here
reads them, and no error of ours repeats them.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import psycopg
from psycopg.rows import dict_row

from runbooks_lib.errors import ConnectionFailed, PreconditionFailed
from runbooks_lib.phase import Role, Target
from runbooks_lib.postgres.queries import query
from runbooks_lib.postgres.sqlstate import what_to_do

Row = dict[str, Any]
Connection = psycopg.Connection[Row]

CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_MS = 60_000
IDLE_IN_TRANSACTION_TIMEOUT_MS = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who answered: one row of sql/identity.sql, and the address that we used."""

    host: str
    port: int
    database: str
    role_name: str
    system_identifier: str
    timeline: int
    in_recovery: bool
    server_version: str
    server_version_num: int
    lsn: str
    cluster_name: str
    data_checksums: str

    @property
    def role(self) -> Role:
        """Return standby when the server is in recovery, else primary."""
        return Role.STANDBY if self.in_recovery else Role.PRIMARY

    @property
    def server(self) -> str:
        """Return host:port, the name that operators know the server by."""
        return f"{self.host}:{self.port}"

    @property
    def major(self) -> int:
        """Return the major version: 18 for 18.4."""
        return self.server_version_num // 10_000


def service_files() -> tuple[Path, ...]:
    """Return the service files that libpq reads, in its order; they need not exist.

    Source: https://www.postgresql.org/docs/current/libpq-pgservice.html
    """
    own = Path(os.environ.get("PGSERVICEFILE") or Path.home() / ".pg_service.conf")
    shared = os.environ.get("PGSYSCONFDIR")
    return (own, Path(shared) / "pg_service.conf") if shared else (own,)


def service_names() -> frozenset[str]:
    """Return the names of every service that the service files define; passwords are not kept."""
    names: set[str] = set()
    for path in service_files():
        parser = configparser.RawConfigParser(strict=False, allow_no_value=True, delimiters=("=",))
        with suppress(OSError, configparser.Error, UnicodeDecodeError):
            parser.read_string(path.read_text(encoding="utf-8"))
            names.update(parser.sections())
    return frozenset(names)


def require_services(targets: Mapping[str, Target]) -> None:
    """Check that every target's service is defined.

    Reads the service files. Raises PreconditionFailed, naming the missing services and where they were sought.
    """
    known = service_names()
    missing = {t.service: name for name, t in targets.items() if t.service not in known}
    if missing:
        sought = " and ".join(str(path) for path in service_files())
        names = ", ".join(f"{service!r} (target {target})" for service, target in missing.items())
        raise PreconditionFailed(
            f"The service file does not define {names}; it was sought in {sought}"
            + (
                f", which define(s): {', '.join(sorted(known))}."
                if known
                else ", which define(s) no service."
            ),
            "Add a [service] section with host, port and user there, or point PGSERVICEFILE at the right file; "
            'for the lab: eval "$(runbooks lab env)".',
        )


def connect(
    target: Target,
    *,
    application_name: str,
    read_only: bool = True,
    database: str | None = None,
    lock_timeout_ms: int = READ_TIMEOUT_MS,
    statement_timeout_ms: int = READ_TIMEOUT_MS,
) -> Connection:
    """Open an autocommit session at a target's service, without judging who answers.

    Read-only unless asked; search_path is pg_catalog, so that PostgreSQL prints every name qualified. With
    row_security off, a table whose policies would hide rows is an error and not a smaller count.
    Raises ConnectionFailed with libpq's own words and the SQLSTATE where the server gave one.
    """
    settings = {
        "default_transaction_read_only": "on" if read_only else "off",
        "search_path": "pg_catalog",
        "row_security": "off",
        "lock_timeout": str(lock_timeout_ms),
        "statement_timeout": str(statement_timeout_ms),
        "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_TIMEOUT_MS),
        "timezone": "UTC",
    }
    database = database or target.database
    try:
        return psycopg.connect(
            service=target.service,
            dbname=database,
            application_name=application_name[:63],
            connect_timeout=CONNECT_TIMEOUT_S,
            client_encoding="utf8",
            options=" ".join(f"-c {name}={value}" for name, value in settings.items()),
            autocommit=True,
            row_factory=dict_row,
        )
    except psycopg.Error as error:
        raise ConnectionFailed(
            f"Target {target.name!r} (service {target.service}, database {database}) does not answer: "
            f"{_one_line(error)}",
            f"Check that the server runs and that `psql service={target.service}` connects; "
            "the database and role of the phase file must be those of this server.",
            sqlstate=error.sqlstate,
        ) from error


def identify(conn: Connection) -> Identity:
    """Ask the server who it is.

    Reads pg_control_system() and its relatives; writes nothing.
    Source: https://www.postgresql.org/docs/current/functions-info.html
    """
    row = conn.execute(query("identity")).fetchone()
    assert row is not None
    return Identity(host=conn.info.host or conn.info.hostaddr, port=conn.info.port, **row)


class Sessions:
    """The guarded sessions of one step: each target is connected once, on first use.

    `read` gives a read-only session at a server that is what the phase declares: right database, primary or
    standby as declared, a standby of the same system as its primary. `unguarded` gives the same session
    without judging it, for the step that does the judging. `write` opens a writing session for one block.
    """

    def __init__(self, targets: Mapping[str, Target], *, application_name: str = "runbooks") -> None:
        self.targets = targets
        self.application_name = application_name
        self._open: dict[str, Connection] = {}
        self._identities: dict[str, Identity] = {}

    def __enter__(self) -> Sessions:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every session."""
        while self._open:
            self._open.popitem()[1].close()
        self._identities.clear()

    def forget(self) -> None:
        """Ask anew who answers: a server may be promoted under an open session."""
        self._identities.clear()

    def unguarded(self, name: str) -> Connection:
        """Return the read-only session of a target; a new one when the last was lost."""
        conn = self._open.get(name)
        if conn is None or conn.closed or conn.broken:
            self._identities.pop(name, None)  # another server may answer now
            conn = connect(self.targets[name], application_name=self.application_name)
            self._open[name] = conn
        return conn

    def identity(self, name: str) -> Identity:
        """Return who answers at a target, asked once in each session."""
        conn = self.unguarded(name)
        if name not in self._identities:
            try:
                self._identities[name] = identify(conn)
            except psycopg.Error as error:
                raise lost(self.targets[name], error) from error
        return self._identities[name]

    def read(self, name: str) -> Connection:
        """Return the guarded read-only session of a target.

        Raises ConnectionFailed when another server, role or system than the declared one answers.
        """
        self._guard(name)
        return self.unguarded(name)

    @contextmanager
    def snapshot(self, name: str) -> Iterator[Connection]:
        """Run the block in one REPEATABLE READ, read-only transaction of a target's guarded session.

        Raises ConnectionFailed for whatever goes wrong with the session or a query in it.
        Source: https://www.postgresql.org/docs/current/transaction-iso.html
        """
        conn = self.read(name)
        try:
            with conn.transaction():
                conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                yield conn
        except psycopg.Error as error:
            raise lost(self.targets[name], error) from error

    @contextmanager
    def write(
        self,
        name: str,
        *,
        lock_timeout_ms: int,
        statement_timeout_ms: int,
        system_identifier: str | None = None,
    ) -> Iterator[Connection]:
        """Open a guarded writing session for one block, and close it.

        `system_identifier`, where given, is the one that the plan was made for.
        Raises ConnectionFailed when the server is not the primary that the phase declares, or another system.
        """
        target = self.targets[name]
        with connect(
            target,
            application_name=self.application_name,
            read_only=False,
            lock_timeout_ms=lock_timeout_ms,
            statement_timeout_ms=statement_timeout_ms,
        ) as conn:
            who = identify(conn)
            _require_declared(target, who)
            if who.in_recovery:
                raise ConnectionFailed(
                    f"Target {name!r} is a standby ({who.server}): nothing can be written there.",
                    "Point its service at the primary.",
                )
            if system_identifier and who.system_identifier != system_identifier:
                raise _other_system(target, who, system_identifier)
            yield conn

    def _guard(self, name: str) -> None:
        target = self.targets[name]
        who = self.identity(name)
        _require_declared(target, who)
        if target.primary is not None:
            primary = self.identity(target.primary)
            if who.system_identifier != primary.system_identifier:
                raise _other_system(target, who, primary.system_identifier)


def lost(target: Target, error: psycopg.Error) -> ConnectionFailed:
    """Wrap an error of an open session: a statement refused, or the connection gone."""
    return ConnectionFailed(
        f"Target {target.name!r} (service {target.service}, database {target.database}) could not be read: "
        f"{_one_line(error)}",
        what_to_do(error.sqlstate),
        sqlstate=error.sqlstate,
    )


def _require_declared(target: Target, who: Identity) -> None:
    if who.role is not target.role:
        raise ConnectionFailed(
            f"Target {target.name!r} is declared a {target.role} and service {target.service} leads to a "
            f"{who.role} ({who.server}).",
            "Point the service at the right server, or correct the role in the phase file.",
        )
    if who.database != target.database:
        raise ConnectionFailed(
            f"Target {target.name!r} should be database {target.database!r} and is {who.database!r}.",
            "Correct the database in the phase file or in the service file.",
        )


def _other_system(target: Target, who: Identity, wanted: str) -> ConnectionFailed:
    return ConnectionFailed(
        f"Target {target.name!r} ({who.server}) is another PostgreSQL system: its system_identifier is "
        f"{who.system_identifier}, and {wanted} is wanted.",
        "The service leads to a different cluster that happens to have a database of this name; point it back.",
    )


def _one_line(error: psycopg.Error) -> str:
    return " ".join(str(error).split())
