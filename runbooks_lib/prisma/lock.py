"""Who holds the lock that Prisma takes before it writes? Prisma itself waits ten seconds for it and names nobody."""

from __future__ import annotations

from runbooks_lib.postgres.session.connect import Connection
from runbooks_lib.postgres.session.locks import Holder, lock_holder

MIGRATION_LOCK = (
    72707369  # https://www.prisma.io/docs/orm/prisma-migrate/workflows/development-and-production
)


def holder_of_lock(conn: Connection) -> Holder | None:
    """Return who holds Prisma's lock in this database; None when it is free."""
    return lock_holder(conn, MIGRATION_LOCK)
