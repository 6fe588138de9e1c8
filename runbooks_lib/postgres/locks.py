"""Who holds an advisory lock of a database, and who else is at work there?"""

from __future__ import annotations

from runbooks_lib.postgres.connect import Connection, Row
from runbooks_lib.postgres.queries import query


def lock_holder(conn: Connection, key: int) -> str | None:
    """Return who holds an advisory lock in this database: role, application_name, pid, address, since when.

    `key` as pg_advisory_lock(bigint) takes it. Reads pg_locks and pg_stat_activity; what a role without
    pg_read_all_stats may not see is left out. None when nobody holds it.
    """
    holder = conn.execute(query("lock_holder"), {"key": key}).fetchone()
    if holder is None:
        return None
    address = f", from {holder['address']}" if holder["address"] else ""
    since = f" since {holder['since']:%Y-%m-%d %H:%M:%S} UTC" if holder["since"] else ""
    return (
        f"{holder['role_name']} ({holder['application'] or 'no application_name'}, "
        f"pid {holder['pid']}{address}){since}"
    )


def other_runs(conn: Connection, run_id: str) -> tuple[str, ...]:
    """Return who else carries a runbook out in this database: role, step and run, address, since when.

    Reads pg_stat_activity: sessions whose application_name is that of a run other than `run_id`. A step keeps its
    sessions until it is closed, so an operator who reads a plan is seen too.
    """
    return tuple(_in_words(row) for row in conn.execute(query("other_runs"), {"run": run_id}))


def _in_words(row: Row) -> str:
    address = f", from {row['address']}" if row["address"] else ""
    return f"{row['role_name']} ({row['application']}{address}) since {row['since']:%Y-%m-%d %H:%M:%S} UTC"
