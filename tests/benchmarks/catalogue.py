"""One look at a whole catalogue: against SQLAlchemy's bulk reflection, pg_dump and the bare queries."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import sqlalchemy
from measure import Figure, clocked, in_pairs

from runbooks_lib.postgres.catalog.catalog import read_catalog
from runbooks_lib.postgres.queries import query
from runbooks_lib.postgres.scratch.scratch import SUPERUSER, Scratch, scratch

LOCKS = "1024"  # pg_dump holds a lock on every table
BATCH = 200  # a standby holds the locks of a whole transaction, too
COLUMNS = 12
QUERIES = (
    "relations",
    "columns",
    "constraints",
    "indexes",
    "enums",
    "objects",
    "notes",
    "rare_kinds",
    "grants",
)


def measure(pairs: int, sizes: tuple[int, ...]) -> list[Figure]:
    """Return three comparisons for each number of tables."""
    figures: list[Figure] = []
    with _server() as server:
        for tables in sizes:
            name = f"tables_{tables}"
            server.create_database(name)
            with server.connect(name) as conn:
                make_tables(conn, range(tables))
            figures += _compare(server, name, tables, pairs)
    return figures


def _compare(server: Scratch, database: str, tables: int, pairs: int) -> list[Figure]:
    def ours() -> None:
        with server.connect(database) as conn, conn.transaction():
            conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            found = read_catalog(conn)
        assert len(found.tables()) == tables

    others = {
        "SQLAlchemy's get_multi_*": lambda: _reflect(server, database, tables),
        "pg_dump --schema-only": lambda: _dump(server, database),
        "the bare queries": lambda: _bare(server, database),
    }
    figures = []
    for yardstick, work in others.items():
        name = f"catalogue of {tables:,} tables"
        figure = in_pairs(name, yardstick, clocked(ours), clocked(work), pairs)
        figure.more = {"tables": tables, "times_the_yardstick": round(1 / (figure.ratio or 1), 2)}
        figures.append(figure)
    return figures


@contextmanager
def _server() -> Iterator[Scratch]:
    with scratch() as server:
        with server.connect("postgres") as conn:
            conn.execute(f"ALTER SYSTEM SET max_locks_per_transaction = {LOCKS}".encode())
        server.cluster.stop()
        server.cluster.start()
        server.cluster.wait_ready()
        yield server


def make_tables(conn: psycopg.Connection[Any], numbers: range) -> None:
    """Make tables public.t0 and so on, with twelve columns, a key and an index each."""
    columns = ", ".join(f"c{n} text NOT NULL DEFAULT 'x'" for n in range(COLUMNS - 2))
    for first in range(0, len(numbers), BATCH):
        statements = "".join(
            f"CREATE TABLE public.t{n} (id bigint PRIMARY KEY, {columns}, at timestamptz DEFAULT now());"
            f"CREATE INDEX ON public.t{n} (c0, at);"
            for n in numbers[first : first + BATCH]
        )
        conn.execute(statements.encode())
    conn.execute("VACUUM ANALYZE")


def _parameters(server: Scratch, database: str) -> dict[str, Any]:
    return {
        **server.cluster.address(),
        "dbname": database,
        "user": SUPERUSER,
        "password": server.password,
        "sslmode": "disable",
    }


def _reflect(server: Scratch, database: str, tables: int) -> None:
    """Reflect what a catalogue of ours holds, by the calls that ask for all tables at once."""
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(**_parameters(server, database))
    )
    inspector = sqlalchemy.inspect(engine)
    columns = inspector.get_multi_columns(schema="public")
    inspector.get_multi_pk_constraint(schema="public")
    inspector.get_multi_foreign_keys(schema="public")
    inspector.get_multi_unique_constraints(schema="public")
    inspector.get_multi_check_constraints(schema="public")
    inspector.get_multi_indexes(schema="public")
    engine.dispose()
    assert len(columns) == tables


def _dump(server: Scratch, database: str) -> None:
    conninfo = psycopg.conninfo.make_conninfo(**_parameters(server, database) | {"password": None})
    subprocess.run(
        [str(server.cluster.programs.bindir / "pg_dump"), "--schema-only", f"--dbname={conninfo}"],
        env={"PGPASSWORD": server.password, "LC_ALL": "C"},
        stdout=subprocess.DEVNULL,
        check=True,
    )


def _bare(server: Scratch, database: str) -> None:
    """Run the catalogue's queries and fetch their rows, and nothing else."""
    with server.connect(database) as conn, conn.transaction():
        cursor = conn.cursor(row_factory=psycopg.rows.tuple_row)
        for name in QUERIES:
            cursor.execute(query(name)).fetchall()
