"""The digest of a relation's rows: the same whatever their order, another when anything of them changes."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from runbooks_lib.postgres.rows.content import content_hash
from runbooks_lib.postgres.scratch.scratch import scratch
from runbooks_lib.postgres.session.connect import Connection

COLUMNS = (
    'id int, content text, "odd ""name" numeric, at timestamptz, data bytea, x float8, tags text[], doc jsonb'
)
ROWS = (
    "(1, 'a', 1.50, '2026-01-07 12:00+01', '\\x00ff', 0.1, '{a,NULL}', '{\"b\": 1}')",
    "(2, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
    "(3, '', 0, '2026-01-07 12:00Z', '', 'NaN', '{}', '[]')",
)


@pytest.fixture(scope="module")
def conn() -> Iterator[Connection]:
    with scratch() as server:
        server.create_database("content")
        with server.connect("content") as conn:
            yield conn


def table(conn: Connection, name: str, *rows: str, columns: str = COLUMNS) -> str:
    conn.execute(f"DROP TABLE IF EXISTS public.{name}; CREATE TABLE public.{name} ({columns})".encode())
    for row in rows:
        conn.execute(f"INSERT INTO public.{name} VALUES {row}".encode())
    return f"public.{name}"


def test_order_does_not_count(conn: Connection) -> None:
    one, other = table(conn, "one", *ROWS), table(conn, "other", *reversed(ROWS))
    assert content_hash(conn, one) == content_hash(conn, other)
    assert content_hash(conn, one)[0] == 3


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE public.one SET content = 'b' WHERE id = 1",
        "UPDATE public.one SET content = NULL WHERE id = 3",
        "UPDATE public.one SET x = 0.10000000000000002 WHERE id = 1",
        "UPDATE public.one SET data = '\\x00fe' WHERE id = 1",
        "UPDATE public.one SET id = 4 WHERE id = 2",
        "DELETE FROM public.one WHERE id = 2",
        "INSERT INTO public.one VALUES (2)",  # a row that stands twice counts twice
        "DELETE FROM public.one WHERE id = 2; INSERT INTO public.one SELECT * FROM public.one WHERE id = 1",
    ],
)
def test_any_change_of_a_row_counts(conn: Connection, change: str) -> None:
    name = table(conn, "one", *ROWS)
    before = content_hash(conn, name)
    conn.execute(change.encode())
    assert content_hash(conn, name) != before


def test_how_a_session_prints_does_not_count(conn: Connection) -> None:
    name = table(conn, "one", *ROWS)
    expected = content_hash(conn, name)
    conn.execute("SET datestyle = 'German'; SET timezone = 'Asia/Tokyo'; SET bytea_output = 'escape'")
    conn.execute("SET extra_float_digits = -10; SET intervalstyle = 'iso_8601'")
    assert content_hash(conn, name) == expected


def test_a_column_that_was_dropped_does_not_count(conn: Connection) -> None:
    name = table(conn, "dropped", "(1, 2)", columns="a int, b int")
    conn.execute("ALTER TABLE public.dropped DROP COLUMN b")
    assert content_hash(conn, name) == content_hash(conn, table(conn, "never", "(1)", columns="a int"))


def test_values_do_not_run_into_one_another(conn: Connection) -> None:
    one = table(conn, "one", "('a,b', 'c')", columns="a text, b text")
    assert content_hash(conn, one) != content_hash(
        conn, table(conn, "two", "('a', 'b,c')", columns="a text, b text")
    )


def test_an_empty_table_and_one_that_is_not_there(conn: Connection) -> None:
    rows, digest = content_hash(conn, table(conn, "one"))
    assert rows == 0
    assert len(digest) == 64
    with pytest.raises(psycopg.errors.UndefinedTable):
        content_hash(conn, "public.gone")
