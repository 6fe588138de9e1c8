"""A session that holds Prisma's advisory lock and does nothing, as a deployment that was killed may leave it.

`python -m runbooks_lib.lab.lock_holder HOST PORT DATABASE USER` prints `held`, and ends with its session.
"""

from __future__ import annotations

import sys

import psycopg

from runbooks_lib.prisma.lock import MIGRATION_LOCK


def main(host: str, port: str, database: str, user: str) -> None:
    """Take the lock, say so, and wait until the session is ended."""
    with psycopg.connect(
        host=host, port=port, dbname=database, user=user, application_name="prisma (killed)", autocommit=True
    ) as conn:
        conn.execute("SELECT pg_advisory_lock(%s)", (MIGRATION_LOCK,))
        print("held", flush=True)
        for _ in conn.notifies():  # none comes: this ends with an error when the session does
            pass


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except psycopg.OperationalError:
        sys.exit(0)
