"""Who holds an advisory lock of a database?"""

from __future__ import annotations

from runbooks_lib.postgres.connect import Connection
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
