"""Who holds the lock that Prisma takes before it writes? Prisma itself waits ten seconds for it and names nobody."""

from __future__ import annotations

import time
from collections.abc import Callable

from runbooks_lib.postgres.session.connect import Connection
from runbooks_lib.postgres.session.locks import Holder, lock_holder

MIGRATION_LOCK = (
    72707369  # https://www.prisma.io/docs/orm/prisma-migrate/workflows/development-and-production
)
ENDS_WITHIN_S, LOOK_AGAIN_S = 5.0, 0.05


def holder_of_lock(conn: Connection) -> Holder | None:
    """Return who holds Prisma's lock in this database; None when it is free."""
    return lock_holder(conn, MIGRATION_LOCK)


def lasting_holder(look: Callable[[], Holder | None]) -> Holder | None:
    """Return who holds Prisma's lock and keeps it; None as soon as it is free.

    A Prisma that has just ended leaves a session that holds it for a moment more: on a busy machine, for seconds.
    """
    until = time.monotonic() + ENDS_WITHIN_S
    while (holder := look()) and time.monotonic() < until:
        time.sleep(LOOK_AGAIN_S)
    return holder
