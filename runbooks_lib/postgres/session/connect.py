"""From a libpq service name to a guarded session.

Passwords stay where libpq finds them: the service file, the pass file or the environment. Nothing here
reads them, and no error of ours repeats them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any

import psycopg

from runbooks_lib.errors import ConnectionFailed
from runbooks_lib.phase import Target
from runbooks_lib.postgres.session.identity import Identity, identify
from runbooks_lib.postgres.session.kinship import Kinship, Server, kinship
from runbooks_lib.postgres.session.pass_file import why_no_password
from runbooks_lib.postgres.session.service_file import parameters_of
from runbooks_lib.postgres.session.session import (
    CONNECT_TIMEOUT_S,
    GRACE_S,
    Connection,
    Row,
    Session,
    open_session,
)
from runbooks_lib.postgres.session.sqlstate import what_to_do
from runbooks_lib.postgres.session.superuser import require_nothing_foreign_is_planned

__all__ = [
    "Connection", "Identity", "Row", "Session", "Sessions", "connect", "identify", "lost"
]  # fmt: skip

READ_TIMEOUT_MS = 60_000
SILENT_S = 1.0  # of waiting in vain for a server, after which a step does not wait for it again by itself
IDLE_IN_TRANSACTION_TIMEOUT_MS = 60_000
_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;"


def connect(
    target: Target,
    *,
    application_name: str,
    read_only: bool = True,
    database: str | None = None,
    lock_timeout_ms: int = READ_TIMEOUT_MS,
    statement_timeout_ms: int = READ_TIMEOUT_MS,
) -> Session:
    """Open an autocommit session at a target's service, without judging who answers.

    It goes where libpq and the service say, the service's options hold, and what it must be is told and read back:
    read-only unless asked (`session.SETTINGS` has the rest). Every question is answered, or ended on this side, a
    little after the statement time-out.
    Raises ConnectionFailed with libpq's own words and the SQLSTATE where there is one: libpq keeps that of a server
    that lets nobody in to itself.
    """
    database = database or target.database
    settings = {
        "default_transaction_read_only": "on" if read_only else "off",
        "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_TIMEOUT_MS),
        "lock_timeout": str(lock_timeout_ms),
        "statement_timeout": str(statement_timeout_ms),
    }
    where = f"Target {target.name!r} (service {target.service}, database {database})"
    parameters: dict[str, str] = {}
    try:
        parameters = parameters_of(target.service)
        parameters |= {
            "dbname": database,
            "application_name": application_name[:63],
            "client_encoding": "utf8",
        }
        parameters.setdefault("connect_timeout", str(CONNECT_TIMEOUT_S))
        conn = _opened(parameters, settings)
    except ConnectionFailed as error:
        raise ConnectionFailed(f"{where} is refused: {error.what_happened}", error.what_to_do) from error
    except psycopg.Error as error:
        no_password = why_no_password(error, parameters)
        raise ConnectionFailed(
            f"{where} does not answer: {_one_line(error)}",
            no_password
            or f"Check that the server runs and that `psql service={target.service}` connects; "
            f"the database and role of the phase file must be those of this server.{_about_tls(parameters)}",
            sqlstate=error.sqlstate,
            refused=isinstance(error, psycopg.OperationalError) and not no_password,
        ) from error
    conn.deadline_s = statement_timeout_ms / 1000 + GRACE_S
    return conn


def _about_tls(parameters: Mapping[str, str]) -> str:
    """Return what else to look at where the server's certificate is verified."""
    mode = parameters.get("sslmode", "")
    return (
        f" With sslmode={mode} its sslrootcert has to hold the authority that signed the server's certificate."
        if mode.startswith("verify-")
        else ""
    )


def _opened(parameters: Mapping[str, str], settings: Mapping[str, str]) -> Session:
    """Open a session in which reading a table executes nobody's code with a superuser's rights."""
    conn = open_session(parameters, settings)
    try:
        require_nothing_foreign_is_planned(conn)
    except BaseException:
        conn.close()
        raise
    return conn


class Sessions:
    """The guarded sessions of one step: each target is connected once, on first use.

    `read` gives a read-only session at a server that is what the phase declares: right database, primary or
    standby as declared, a standby of the same system as its primary. `unguarded` gives the same session
    without judging it, for the step that does the judging. `write` opens a writing session for one block.
    `run` is the id of the run that they belong to.
    """

    def __init__(
        self, targets: Mapping[str, Target], *, application_name: str = "runbooks", run: str = ""
    ) -> None:
        self.targets = targets
        self.application_name = application_name
        self.run = run
        self._open: dict[str, Session] = {}
        self._identities: dict[str, Identity] = {}
        self._kinships: dict[str, Kinship] = {}
        self._silent: dict[str, ConnectionFailed] = {}  # targets that took long to say nothing

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
        self.forget()

    def forget(self) -> None:
        """Ask anew who answers."""
        self._identities.clear()
        self._kinships.clear()

    def unguarded(self, name: str) -> Session:
        """Return the read-only session of a target; a new one when the last was lost."""
        conn = self._open.get(name)
        if conn is None or conn.closed or conn.broken:
            self.forget()  # another server may answer now
            conn = self._open[name] = self._connected(name)
        return conn

    def _connected(self, name: str) -> Session:
        """Connect to a target, unless it was waited for in vain before: the next question need not wait, too."""
        if said := self._silent.get(name):
            raise ConnectionFailed(said.what_happened, said.what_to_do, sqlstate=said.sqlstate)
        began = time.monotonic()
        try:
            return connect(self.targets[name], application_name=self.application_name)
        except ConnectionFailed as error:
            if time.monotonic() - began > SILENT_S:
                self._silent[name] = error
            raise

    def retry(self) -> None:
        """Wait again for targets that said nothing: somebody may have mended them."""
        self._silent.clear()

    def identity(self, name: str) -> Identity:
        """Return who answers at a target, asked once in each session, and of a standby again once it is promoted."""
        conn = self.unguarded(name)
        known = self._identities.get(name)
        try:
            if known and known.in_recovery and not _in_recovery(conn):
                self.forget()
            if name not in self._identities:
                self._identities[name] = identify(conn)
        except psycopg.Error as error:
            raise lost(self.targets[name], error) from error
        return self._identities[name]

    def kinship(self, name: str) -> Kinship:
        """Return whether a standby is its primary's, asked once in each session of the two."""
        target = self.targets[name]
        assert target.primary is not None
        standby, primary = self._server(name), self._server(target.primary)
        if name not in self._kinships:
            try:
                found = kinship(primary, standby, self._others_of_its_system(name, standby.who))
            except psycopg.Error as error:
                raise lost(target, error) from error
            self._kinships[name] = found
        return self._kinships[name]

    def _server(self, name: str) -> Server:
        who = self.identity(name)
        return Server(target=name, conn=self.unguarded(name), who=who)

    def _others_of_its_system(self, name: str, who: Identity) -> list[Server]:
        """Return the servers of the other targets that answer as the same system: copies, and standbys between."""
        others = []
        for other in self.targets:
            with suppress(ConnectionFailed):
                if other != name and not self.identity(other).is_other_system(who):
                    others.append(self._server(other))
        return others

    def read(self, name: str) -> Session:
        """Return the guarded read-only session of a target.

        Raises ConnectionFailed when another server, role or system than the declared one answers, or a standby that
        another primary feeds.
        """
        self._guard(name)
        return self.unguarded(name)

    @contextmanager
    def snapshot(self, name: str) -> Iterator[Session]:
        """Run the block in one REPEATABLE READ, read-only transaction of a target's guarded session.

        Raises ConnectionFailed for whatever goes wrong with the session or a query in it.
        Source: https://www.postgresql.org/docs/current/transaction-iso.html
        """
        conn = self.read(name)
        deadline_s = conn.deadline_s
        try:
            with conn.transaction():
                conn.require_held(
                    _SNAPSHOT, transaction_isolation="repeatable read", transaction_read_only="on"
                )
                yield conn
        except psycopg.Error as error:
            raise lost(self.targets[name], error) from error
        finally:
            conn.deadline_s = deadline_s

    @contextmanager
    def write(
        self,
        name: str,
        *,
        lock_timeout_ms: int,
        statement_timeout_ms: int,
        server: Mapping[str, Any] | None = None,
    ) -> Iterator[Session]:
        """Open a guarded writing session for one block, and close it.

        `server`, where given, has the parts of the identity that the plan was made for.
        Raises ConnectionFailed when the server is not the primary that the phase declares, or another than planned.
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
            if server is not None and any(server.get(part) != value for part, value in who.parts().items()):
                raise _other_server(target, who, server)
            yield conn

    def _guard(self, name: str) -> None:
        target = self.targets[name]
        who = self.identity(name)
        _require_declared(target, who)
        if target.primary is not None:
            primary = self.identity(target.primary)
            if who.is_other_system(primary):
                raise _other_system(target, who, primary)
            if against := self.kinship(name).against:
                raise ConnectionFailed(
                    f"Target {name!r} ({who.server}) is no standby of target {target.primary}: {'; '.join(against)}.",
                    "One of the two services leads to a copy of the other's server: point it back.",
                )


def _in_recovery(conn: Session) -> bool:
    """Tell whether a server is a standby still: a promotion leaves its sessions open."""
    (row,) = conn.execute("SELECT pg_is_in_recovery() AS answer").fetchall()
    return bool(row["answer"])


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


def _other_system(target: Target, who: Identity, primary: Identity) -> ConnectionFailed:
    return ConnectionFailed(
        f"Target {target.name!r} ({who.server}) is another PostgreSQL system: its system_identifier is "
        f"{who.system_identifier}, and {primary.system_identifier} is wanted.",
        "The service leads to a different cluster that happens to have a database of this name; point it back.",
    )


def _other_server(target: Target, who: Identity, planned: Mapping[str, Any]) -> ConnectionFailed:
    changed = ", ".join(
        f"{part} was {planned.get(part)} and is {value}"
        for part, value in who.parts().items()
        if planned.get(part) != value
    )
    return ConnectionFailed(
        f"Target {target.name!r} ({who.server}) is not the server that the plan was made for: {changed}.",
        "A failover took place, or the service leads to a copy now: plan again, and confirm that plan.",
    )


def _one_line(error: psycopg.Error) -> str:
    return " ".join(str(error).split())
