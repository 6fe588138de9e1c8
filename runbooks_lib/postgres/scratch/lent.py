"""Scratch databases at a server that somebody lends for it, as Prisma's shadow database: RUNBOOKS_SCRATCH_SERVICE.

For migrations whose extensions are not on this machine. Databases get random names there, and are dropped at the end
with the roles that were made for them; what a run that was killed left is dropped by the next. Scripts run as one of
these roles, never as a superuser of that server.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from runbooks_lib.errors import LabError, PreconditionFailed
from runbooks_lib.postgres.scratch.lent_leftovers import hold, mark, sweep
from runbooks_lib.postgres.scratch.scratch import path_option
from runbooks_lib.postgres.scratch.surroundings import Surroundings
from runbooks_lib.postgres.session.connect import Connection, Sessions
from runbooks_lib.postgres.session.identity import Identity, identify
from runbooks_lib.postgres.session.service_file import parameters_of
from runbooks_lib.postgres.session.session import Session, begin, open_session
from runbooks_lib.postgres.session.sqlstate import what_to_do

ENV_SERVICE = "RUNBOOKS_SCRATCH_SERVICE"
DEADLINE_S = 600.0
_SUPERUSER = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"


def scratch_service() -> str | None:
    """Return the name of the service that lends a server for scratch databases; None without one."""
    return os.environ.get(ENV_SERVICE) or None


def target_servers(sessions: Sessions) -> frozenset[str]:
    """Return the marks of the servers that may not lend theirs: those of all targets, if one is lent.

    Raises ConnectionFailed when a target does not answer: it cannot be told from the one that lends.
    """
    if scratch_service() is None:
        return frozenset()
    return frozenset().union(*(sessions.identity(name).marks for name in sessions.targets))


@dataclass(slots=True, kw_only=True)
class Served:
    """Databases and roles of ours at a server of somebody else's; `names` leads to their real names.

    `everybody` is a role that all of these roles belong to and that owns the databases: each may make objects there.
    `token` says which run made them, and a session, the `keeper`, that it lives.
    """

    parameters: dict[str, str] = field(repr=False)
    admin: str
    superuser: bool
    version: str
    lent: str = field(repr=False, default_factory=lambda: secrets.token_urlsafe(18))
    names: dict[str, str] = field(default_factory=dict)
    roles: list[str] = field(default_factory=list)
    token: str = field(default_factory=lambda: secrets.token_hex(6))
    keeper: Connection | None = field(repr=False, default=None)

    @property
    def everybody(self) -> str:
        """Return the name of the role that all others here belong to."""
        return f"runbooks_everybody_{self.token}"

    @property
    def major(self) -> int:
        """Return the major version: 18 for 18.6."""
        return int(self.version.split(".")[0])

    def create_database(
        self, name: str, *, roles: Iterable[str] = (), owner: str, like: Surroundings
    ) -> tuple[str, ...]:
        """Create a database of a random name for a role that may log in to it; say what of `like` cannot be had.

        Its template is template1, which may hold extensions that only a superuser makes.
        Raises PreconditionFailed when scripts would have a superuser's rights, or those of a role that is there.
        """
        real = f"runbooks_scratch_{secrets.token_hex(6)}"
        with self.connect(self.parameters["dbname"]) as conn:
            lacking: tuple[str, ...] = ()
            create = sql.SQL("CREATE DATABASE {} ").format(sql.Identifier(real))
            try:
                conn.execute(create + like.creation(self.major))
            except psycopg.Error:
                conn.execute(create)
                lacking = (f"the locale {like.locale_in_words}",)
            self.names[name] = real
            if self.keeper is None:
                self.keeper = self.connect(name)
                hold(self.keeper, self.token)
            mark(conn, "DATABASE", real, self.token)
            lacking += self._make_roles(conn, owner, {*roles, *like.roles})
            if owner != self.admin:
                give = sql.SQL("ALTER DATABASE {} OWNER TO {}")
                conn.execute(give.format(sql.Identifier(real), sql.Identifier(self.everybody)))
        return (*lacking, f"the name {name}")

    def _make_roles(self, conn: Connection, owner: str, roles: set[str]) -> tuple[str, ...]:
        there = {row["rolname"] for row in conn.execute("SELECT rolname FROM pg_roles").fetchall()}
        if (owner == self.admin and self.superuser) or (owner != self.admin and owner in there):
            raise PreconditionFailed(
                f"The server of {ENV_SERVICE} has a role {owner} already, in whose name scripts would run.",
                "Let the service name a server without it, or connect as that role where it is no superuser.",
            )
        missing = sorted(roles - there - {owner})
        ours = [self.everybody, owner] if owner != self.admin else []
        try:
            for role in (*ours, *missing):
                with conn.transaction():
                    conn.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
                    mark(conn, "ROLE", role, self.token)
                self.roles.append(role)
        except psycopg.errors.InsufficientPrivilege:
            if owner != self.admin:
                raise
            return (f"the roles {', '.join(missing)}",)
        whose = sql.Identifier(owner)
        if owner != self.admin:
            conn.execute(sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(whose, sql.Literal(self.lent)))
            made, everybody = _listed([owner, *missing]), sql.Identifier(self.everybody)
            conn.execute(sql.SQL("GRANT {} TO {}").format(everybody, made))
            if not self.superuser:
                conn.execute(sql.SQL("GRANT {}, {} TO CURRENT_USER").format(everybody, whose))
        if missing:
            conn.execute(sql.SQL("GRANT {} TO {} WITH ADMIN OPTION").format(_listed(missing), whose))
        return ()

    def session(self, database: str, *, owner: str, schema: str = "public") -> Session:
        """Open an autocommit session as the role that the database was made for, with `schema` as its search_path."""
        who = {} if owner == self.admin else {"user": owner, "password": self.lent}
        options = f"{self.parameters['options']} {path_option(schema)}".strip()
        parameters = {**self.parameters, **who, "dbname": self.names[database], "options": options}
        return begin(parameters)

    def connect(self, database: str) -> Connection:
        """Open an autocommit session as the service's own role, as `read_catalog` needs it."""
        parameters = {**self.parameters, "dbname": self.names.get(database, database)}
        settings = {
            "default_transaction_read_only": "off",
            "statement_timeout": "0",
            "idle_session_timeout": "0",
        }
        conn = open_session(parameters, settings)
        conn.deadline_s = DEADLINE_S
        return conn

    def is_ordinary(self, role: str) -> bool:
        """Return whether a role was made here, and so has no rights that a script could gain by it."""
        return role in self.roles

    def drop(self) -> None:
        """Drop every database and role that was made. Raises LabError naming what could not be dropped."""
        left = []
        if self.keeper is not None:
            self.keeper.close()
        with self.connect(self.parameters["dbname"]) as conn:
            commands = [("DROP DATABASE IF EXISTS {} WITH (FORCE)", name) for name in self.names.values()]
            commands += [("DROP ROLE IF EXISTS {}", name) for name in self.roles]
            for command, name in commands:
                try:
                    conn.execute(sql.SQL(command).format(sql.Identifier(name)))
                except psycopg.Error as error:
                    left.append(f"{name} ({error.diag.message_primary})")
        if left:
            raise LabError(
                f"At the server of {ENV_SERVICE} there is left: {', '.join(left)}.", "Drop it by hand."
            )


def _listed(roles: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, roles))


@contextmanager
def served(service: str, *, server_major: int, servers: frozenset[str]) -> Iterator[Served]:
    """Use the server of a service for scratch databases; all of them are gone at the end, also after an error.

    `servers` has the marks of the phase's targets: none of them may serve.
    Raises PreconditionFailed when the server is a target's, older than `server_major`, a standby, or does not answer.
    """
    try:
        parameters = {**parameters_of(service), "client_encoding": "utf8"}
        parameters["application_name"] = "runbooks scratch"
        parameters.setdefault("dbname", "postgres")
        with open_session(parameters, {"default_transaction_read_only": "on"}) as conn:
            who, superuser = identify(conn), conn.execute(_SUPERUSER).fetchone()
    except psycopg.Error as error:
        raise PreconditionFailed(
            f"The service {service} of {ENV_SERVICE} does not answer: {' '.join(str(error).split())}",
            what_to_do(error.sqlstate),
            sqlstate=error.sqlstate,
        ) from error
    copy = Served(
        parameters=parameters,
        admin=who.role_name,
        superuser=bool(superuser and superuser["rolsuper"]),
        version=who.server_version.split()[0],
    )
    _require_fit(copy, service, who, server_major, servers)
    with copy.connect(parameters["dbname"]) as conn:
        sweep(conn)
    try:
        yield copy
    finally:
        copy.drop()


def _require_fit(
    copy: Served, service: str, who: Identity, server_major: int, servers: frozenset[str]
) -> None:
    reasons = {
        "is the server of one of the phase's targets": bool(who.marks & servers),
        f"leads to PostgreSQL {copy.version}, older than the target's {server_major}": copy.major
        < server_major,
        "leads to a standby": who.in_recovery,
    }
    wrong = [reason for reason, holds in reasons.items() if holds]
    if wrong:
        raise PreconditionFailed(
            f"The service {service} of {ENV_SERVICE} {' and '.join(wrong)}.",
            "Let it name a server of its own, where databases may be made and dropped.",
        )
