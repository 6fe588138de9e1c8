"""Who holds the lock that Prisma takes before it writes? Prisma itself waits ten seconds for it and names nobody."""

from __future__ import annotations

from runbooks_lib.postgres.connect import Connection
from runbooks_lib.postgres.locks import lock_holder

MIGRATION_LOCK = (
    72707369  # https://www.prisma.io/docs/orm/prisma-migrate/workflows/development-and-production
)
FREE = "free"


def lock_state(conn: Connection) -> str:
    """Return "free", or who holds Prisma's lock in this database: role, application_name, pid, since when.

    Reads pg_locks and pg_stat_activity. What a role without pg_read_all_stats may not see is left out.
    """
    holder = lock_holder(conn, MIGRATION_LOCK)
    return FREE if holder is None else f"held by {holder}"
