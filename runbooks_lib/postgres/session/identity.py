"""Who answers at a service: the system, its history, the place where it was reached. One of these alone is no name.

A copy of a server has its system_identifier, a promoted one another timeline, and one behind the same name another
address.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from runbooks_lib.phase import Role
from runbooks_lib.postgres.queries import query

_READ_FILE = "pg_read_file(text, bigint, bigint, boolean)"
# Functions that a server may keep from its roles, and what each of them says. PostgreSQL asks for the privilege before
# it computes anything, so that no CASE in one statement spares a role the error.
# A primary names its timeline in the file that it writes: after a promotion the control file has it only from the next
# checkpoint on.
_KEPT = {
    "pg_control_system()": sql.SQL(
        "(SELECT system_identifier::text FROM pg_control_system()) AS system_identifier"
    ),
    "pg_walfile_name(pg_lsn)": sql.SQL(
        "CASE WHEN NOT pg_is_in_recovery() THEN"
        " ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer END AS written_timeline"
    ),
    "pg_control_checkpoint()": sql.SQL(
        "(SELECT timeline_id FROM pg_control_checkpoint()) AS checkpoint_timeline"
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who answered: one row of sql/identity.sql, and where: the host as the service names it, and its address.

    `address` is that of the connection, or the folder of a socket. `timeline` is the one that is written or received
    now; that of a standby without a receiver is that of its last restart point. `started` is when the server was
    started, in seconds since 1970. `history` is the SHA-256 of that timeline's history file, `data_directory` the
    server's. What the role may not read is None: `system_identifier`, `timeline`, `history`, `data_directory`.
    """

    host: str
    address: str
    port: int
    database: str
    role_name: str
    system_identifier: str | None
    timeline: int | None
    in_recovery: bool
    server_version: str
    server_version_num: int
    lsn: str
    started: str
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

    @property
    def marks(self) -> frozenset[str]:
        """Return what no two servers share at one moment: copies have the identifier in common, and are one system."""
        return frozenset({f"started {self.started}", *filter(None, [self.system_identifier])})

    def is_other_system(self, other: Identity) -> bool:
        """Return whether both say which system they are, and are two."""
        mine, others = self.system_identifier, other.system_identifier
        return None not in (mine, others) and mine != others

    def is_server_of(self, other: Identity) -> bool:
        """Return whether both were told by one server, by whatever address it was reached.

        One that does not say which system it is, is the one that was started at the same moment.
        """
        mine, others = self.parts(), other.parts()
        told = mine.keys() - {"address", "database"}
        if None in (self.system_identifier, other.system_identifier) and self.started != other.started:
            return False
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


def identify(conn: psycopg.Connection[Any]) -> Identity:
    """Ask the server who it is: what it says to every role, then what it says to this one.

    Reads pg_control_system() and its relatives where the role may; writes nothing.
    Source: https://www.postgresql.org/docs/current/functions-info.html
    """
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(query("identity"), {"functions": [*_KEPT, _READ_FILE]}).fetchone()
        assert row is not None
        may_call, received = row.pop("may_call"), row.pop("received_timeline")
        asked = [_KEPT[function] for function in may_call if function in _KEPT]
        told: Mapping[str, Any] = {}
        if asked:
            told = cursor.execute(sql.SQL("SELECT {}").format(sql.SQL(", ").join(asked))).fetchone() or {}
        timelines = (received, told.get("written_timeline"), told.get("checkpoint_timeline"))
        timeline = next((each for each in timelines if each is not None), None)
        return Identity(
            host=conn.info.host or conn.info.hostaddr,
            address=conn.info.hostaddr or conn.info.host,
            port=conn.info.port,
            system_identifier=told.get("system_identifier"),
            timeline=timeline,
            history=_history(cursor, timeline) if _READ_FILE in may_call else None,
            **row,
        )


def _history(cursor: psycopg.Cursor[dict[str, Any]], timeline: int | None) -> str | None:
    """Return the digest of a timeline's history file; None when there is none, as for the first."""
    try:
        row = cursor.execute(query("history"), {"timeline": timeline}).fetchone()
    except psycopg.errors.InsufficientPrivilege:
        return None
    text = row["history"] if row else None
    return None if text is None else hashlib.sha256(text.encode()).hexdigest()
