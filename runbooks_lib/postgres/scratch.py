"""A scratch cluster for proofs: started from a cached template, ours alone, gone at the end."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from runbooks_lib.postgres.cluster import THROWAWAY, Cluster, copy_data
from runbooks_lib.postgres.connect import Connection
from runbooks_lib.postgres.homes import temporary_home
from runbooks_lib.postgres.server import ServerPrograms, find_server
from runbooks_lib.postgres.storage import write_private
from runbooks_lib.postgres.template import template

PASSWORD_FILE = "password"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scratch:
    """A running scratch cluster behind a socket that only its owner can reach."""

    cluster: Cluster
    password: str = field(repr=False)

    @property
    def version(self) -> str:
        """Return the server's version, such as 18.6."""
        return self.cluster.programs.version

    def create_database(self, name: str, *, roles: Iterable[str] = ()) -> None:
        """Create an empty UTF-8 database, and the roles that its objects will belong to; none may log in."""
        with self.connect("postgres") as conn:
            known = {row["rolname"] for row in conn.execute("SELECT rolname FROM pg_roles").fetchall()}
            for role in sorted(set(roles) - known):
                conn.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
            statement = "CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'"
            conn.execute(sql.SQL(statement).format(sql.Identifier(name)))

    def run(self, database: str, script: bytes, *, owner: str) -> None:
        """Execute a script as `owner`, who gets every right here, with search_path public.

        Raises psycopg errors as they come.
        """
        with self.connect(database) as conn:
            conn.execute(sql.SQL("ALTER ROLE {} SUPERUSER").format(sql.Identifier(owner)))
            conn.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(owner)))
            conn.execute("SET search_path = public")
            conn.execute(script)

    def connect(self, database: str) -> Connection:
        """Open an autocommit superuser session whose search_path is pg_catalog, as `read_catalog` needs it."""
        return psycopg.connect(
            **self.cluster.address(),  # type: ignore[arg-type]
            dbname=database,
            user="postgres",
            password=self.password,
            sslmode="disable",
            application_name="runbooks scratch",
            options="-c search_path=pg_catalog -c timezone=UTC",
            autocommit=True,
            row_factory=dict_row,
        )


def role_names(conn: Connection) -> tuple[str, ...]:
    """Return the roles of a server: what a scratch needs before it can take a copy of what they own."""
    rows = conn.execute("SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY 1").fetchall()
    return tuple(row["rolname"] for row in rows)


@contextmanager
def scratch(programs: ServerPrograms | None = None, *, in_memory: bool = True) -> Iterator[Scratch]:
    """Run an empty cluster; everything of it is gone at the end, also after an error or Ctrl-C.

    `in_memory` False keeps it on disk: for rows, which may be many.
    After a kill it is gone when the next one starts. Raises LabError when it does not start.
    """
    programs = programs or find_server()
    source = template("scratch", _ingredients(programs), lambda folder: _build(programs, folder))
    with temporary_home(programs.account, in_memory=in_memory) as home:
        cluster = Cluster(programs=programs, home=home, name="scratch")
        copy_data(source / "data", [cluster.data])
        cluster.configure()
        cluster.start()
        cluster.wait_ready()
        try:
            yield Scratch(cluster=cluster, password=(source / PASSWORD_FILE).read_text(encoding="utf-8"))
        finally:
            cluster.stop()


def _ingredients(programs: ServerPrograms) -> Iterator[str]:
    yield programs.identity
    yield json.dumps(dict(THROWAWAY), sort_keys=True)
    yield Path(__file__).read_text(encoding="utf-8")


def _build(programs: ServerPrograms, folder: Path) -> None:
    password = secrets.token_urlsafe(18)
    with temporary_home(programs.account, in_memory=True) as home:
        cluster = Cluster(programs=programs, home=home, name="scratch")
        cluster.initdb(password)
        cluster.configure()
        copy_data(cluster.data, [folder / "data"])
    write_private(folder / PASSWORD_FILE, password)
