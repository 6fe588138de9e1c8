"""Who holds an advisory lock of a database, and who else is at work there?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from runbooks_lib.names import qualified
from runbooks_lib.postgres.queries import query
from runbooks_lib.postgres.session.connect import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """The session that holds a lock. What a role without pg_read_all_stats may not see of it is None.

    `idle_since` is set while it does nothing; `asked_at` is when it was told something last.
    """

    pid: int
    role_name: str | None
    application: str | None
    address: str | None
    since: datetime | None
    idle_since: datetime | None
    asked_at: datetime | None

    def __str__(self) -> str:
        address = f", from {self.address}" if self.address else ""
        since = f" since {_time(self.since)}" if self.since else ""
        idle = f", idle since {_time(self.idle_since)}" if self.idle_since else ""
        application = self.application or "no application_name"
        return f"{self.role_name} ({application}, pid {self.pid}{address}){since}{idle}"


def lock_holder(conn: Connection, key: int) -> Holder | None:
    """Return who holds an advisory lock in this database; None when nobody does.

    `key` as pg_advisory_lock(bigint) takes it. Reads pg_locks and pg_stat_activity, as they are now: of the latter a
    transaction sees what it saw first, without whoever has connected since.
    """
    conn.execute("SELECT pg_stat_clear_snapshot()")
    row = conn.execute(query("lock_holder"), {"key": key}).fetchone()
    return None if row is None else Holder(**row)


def own_locks(conn: Connection) -> tuple[tuple[str, str], ...]:
    """Return the locks that the open transaction holds on relations, as (name, mode); reading ones left out."""
    rows = conn.execute(query("own_locks")).fetchall()
    return tuple((qualified(row["schema"], row["name"]), row["mode"]) for row in rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherRun:
    """Who else carries a runbook out: role, step and run, address, since when; `idle` while nothing is executed."""

    role_name: str
    application: str
    run: str
    address: str | None
    since: datetime
    idle: bool

    def __str__(self) -> str:
        address = f", from {self.address}" if self.address else ""
        return f"{self.role_name} ({self.application}{address}) since {_time(self.since)}"


def other_runs(conn: Connection, run_id: str) -> tuple[OtherRun, ...]:
    """Return who else carries a runbook out in this database.

    Reads pg_stat_activity: sessions whose application_name is that of a run other than `run_id`. A step keeps its
    sessions until it is closed, so an operator who reads a plan is seen too.
    """
    return tuple(OtherRun(**row) for row in conn.execute(query("other_runs"), {"run": run_id}))


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
