"""Who answers at a service: the system, its history, the place where it was reached. One of these alone is no name.

A copy of a server has its system_identifier, a promoted one another timeline, and one behind the same name another
address.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import psycopg
from psycopg import errors

from runbooks_lib.errors import ConnectionFailed
from runbooks_lib.phase import Role
from runbooks_lib.postgres.queries import query
from runbooks_lib.postgres.session import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who answered: one row of sql/identity.sql, and where: the host as the service names it, and its address.

    `address` is that of the connection, or the folder of a socket. `timeline` is the one that is written or received
    now. `history` is the SHA-256 of that timeline's history file, `data_directory` the server's: each None where the
    role may not read it.
    """

    host: str
    address: str
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
    data_directory: str | None = None
    history: str | None = None

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

    def is_server_of(self, other: Identity) -> bool:
        """Return whether both were told by one server, by whatever address it was reached."""
        mine, others = self.parts(), other.parts()
        told = mine.keys() - {"address", "database"}
        return all(mine[part] == others[part] for part in told if None not in (mine[part], others[part]))

    def parts(self) -> dict[str, str | int | None]:
        """Return all that says which server this is, by name: what a plan is made for, and what may not change."""
        return {
            "system_identifier": self.system_identifier,
            "timeline": self.timeline,
            "history": self.history,
            "address": f"{self.address}:{self.port}",
            "data_directory": self.data_directory,
            "cluster_name": self.cluster_name,
            "database": self.database,
        }


def identify(conn: Connection) -> Identity:
    """Ask the server who it is.

    Reads pg_control_system() and its relatives; writes nothing. Raises ConnectionFailed when the role may not.
    Source: https://www.postgresql.org/docs/current/functions-info.html
    """
    try:
        row = conn.execute(query("identity")).fetchone()
    except errors.InsufficientPrivilege as error:
        raise ConnectionFailed(
            f"The server does not tell role {conn.info.user} which system it is: {error.diag.message_primary}.",
            "Have a superuser GRANT EXECUTE ON FUNCTION pg_control_system(), pg_control_checkpoint() to it: without "
            "them a copy of the server can't be told from it.",
            sqlstate=error.sqlstate,
        ) from error
    assert row is not None
    may_read_files = row.pop("may_read_files")
    return Identity(
        host=conn.info.host or conn.info.hostaddr,
        address=conn.info.hostaddr or conn.info.host,
        port=conn.info.port,
        history=_history(conn, row["timeline"]) if may_read_files else None,
        **row,
    )


def _history(conn: Connection, timeline: int) -> str | None:
    """Return the digest of a timeline's history file; None when there is none, as for the first."""
    try:
        row = conn.execute(query("history"), {"timeline": timeline}).fetchone()
    except psycopg.errors.InsufficientPrivilege:
        return None
    text = row["history"] if row else None
    return None if text is None else hashlib.sha256(text.encode()).hexdigest()
