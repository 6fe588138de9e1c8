"""What pg_dump says of a change, beside what the fingerprint says."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from contextlib import suppress

import psycopg
import pytest
from psycopg import sql

from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.postgres.binaries import clean_environment
from runbooks_lib.postgres.catalog.catalog import read_catalog
from runbooks_lib.postgres.dump.clients import choose, find_clients
from runbooks_lib.postgres.scratch.programs import ServerPrograms, find_server_for
from runbooks_lib.postgres.scratch.scratch import SUPERUSER, Scratch

MASTER = "master"


def programs_of(major: int) -> ServerPrograms:
    """Return the server's programs of this version; skip the test where there are none."""
    try:
        programs = find_server_for(major)
    except PreconditionFailed as error:
        pytest.skip(error.what_happened)
    if programs.major != major:
        pytest.skip(f"there is no PostgreSQL {major} on this machine")
    return programs


class Oracle:
    """A server with a database of which each question gets a copy."""

    def __init__(self, server: Scratch, make: str, subscription: str, roles: Sequence[str]) -> None:
        self.server, self.major = server, server.cluster.programs.major
        self.subscription = subscription
        server.create_database(MASTER, roles=roles)
        with server.connect(MASTER) as conn:
            conn.execute("SET client_min_messages = error")
            conn.execute(make.encode())
        self._copy([])
        self._before = self._look()

    def differ(self, statements: Sequence[str]) -> tuple[bool, bool]:
        """Make the changes that can be made in a copy; say whether dumps differ, and whether fingerprints do."""
        self._copy(statements)
        dump, fingerprint = self._look()
        return dump != self._before[0], fingerprint != self._before[1]

    def _copy(self, statements: Sequence[str]) -> None:
        with self.server.connect("postgres") as conn:
            there = conn.execute("SELECT FROM pg_database WHERE datname = 'classes'").fetchone()
        if there is not None:
            self._drop_subscriptions()
        with self.server.connect("postgres") as conn:
            conn.execute("DROP DATABASE IF EXISTS classes")
            conn.execute(sql.SQL("CREATE DATABASE classes TEMPLATE {}").format(sql.Identifier(MASTER)))
        with self.server.connect("classes") as conn:
            conn.execute("SET client_min_messages = error")
            conn.execute(self.subscription.encode())
            for statement in statements:
                with suppress(psycopg.Error), conn.transaction():
                    conn.execute(statement.encode())
            conn.execute("RESET ROLE")
        with self.server.connect("postgres") as conn:
            conn.execute("ALTER ROLE keeper NOSUPERUSER")

    def _drop_subscriptions(self) -> None:
        """Drop them, whatever they are called now: a database that has one cannot be dropped."""
        with self.server.connect("classes") as conn:
            for row in conn.execute("SELECT subname FROM pg_subscription").fetchall():
                name = sql.Identifier(row["subname"])
                conn.execute(sql.SQL("ALTER SUBSCRIPTION {} DISABLE").format(name))
                conn.execute(sql.SQL("ALTER SUBSCRIPTION {} SET (slot_name = NONE)").format(name))
                conn.execute(sql.SQL("DROP SUBSCRIPTION {}").format(name))

    def _look(self) -> tuple[str, str]:
        with self.server.connect("classes") as conn:
            fingerprint = read_catalog(conn).dumped().fingerprint()
        client, address = choose(find_clients(), self.major), self.server.cluster.address()
        command = [str(client.pg_dump), "--schema-only", "--restrict-key=oracle", "--dbname=classes"]
        done = subprocess.run(
            command,
            env=clean_environment(
                {
                    "PGHOST": address["host"],
                    "PGPORT": address["port"],
                    "PGUSER": SUPERUSER,
                    "PGPASSWORD": self.server.password,
                }
            ),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout, fingerprint
