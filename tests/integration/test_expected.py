"""What scripts make, found out in a real scratch database; each call starts one (some 0.2 s)."""

from __future__ import annotations

import psycopg
import pytest

from runbooks_lib.errors import MigrationError, PreconditionFailed
from runbooks_lib.postgres.catalog import Value
from runbooks_lib.postgres.differences import Described, field
from runbooks_lib.postgres.expected import Expected, expect
from runbooks_lib.postgres.server import find_server
from runbooks_lib.postgres.surroundings import Surroundings

MAJOR = find_server().major
OWNER = "Shop Owner"
FIRST = """
CREATE TYPE "Status" AS ENUM ('NEW', 'OLD');
CREATE TABLE orders (id int PRIMARY KEY, status "Status" NOT NULL DEFAULT 'NEW', amount numeric CHECK (amount > 0));
CREATE TABLE lines (id serial PRIMARY KEY, "order" int REFERENCES orders ON DELETE CASCADE);
CREATE VIEW recent AS SELECT id FROM orders;
"""
SECOND = """
ALTER TABLE orders ADD COLUMN note text;
CREATE UNIQUE INDEX lines_order_key ON lines ("order");
DROP VIEW recent;
"""
THIRD = "DROP TABLE lines; -- and with it what SECOND made\n"


def made_by(*scripts: str, of: str | None = None, roles: tuple[str, ...] = ()) -> Expected:
    named = [(str(number), script) for number, script in enumerate(scripts, start=1)]
    return expect(
        named, owner=OWNER, server_major=MAJOR, of=of, like=Surroundings(database="shop", roles=roles)
    )


def columns(described: Described) -> list[tuple[Value, Value]]:
    """Return name and type of each column of public.orders."""
    value = described["columns", "public.orders"]
    assert isinstance(value, tuple)
    return [(field(column, "name"), field(column, "type")) for column in value]


def test_a_script_makes_every_kind_of_object_as_its_owner() -> None:
    found = made_by(FIRST)
    assert set(found.made) == {
        *(("relation", f"public.{name}") for name in ("orders", "lines", "lines_id_seq", "recent")),
        *(("columns", f"public.{name}") for name in ("orders", "lines", "recent")),
        ("constraint", "public.orders.orders_pkey"),
        ("constraint", "public.orders.orders_amount_check"),
        ("constraint", "public.lines.lines_pkey"),
        ("constraint", "public.lines.lines_order_fkey"),
        ("index", "public.orders_pkey"),
        ("index", "public.lines_pkey"),
        ("enum", "public.Status"),
        ("sequence", "public.lines_id_seq"),
        ("view", "public.recent"),
    }
    assert found.made["enum", "public.Status"] == (("owner", OWNER), ("labels", ("NEW", "OLD")))
    assert field(found.made["relation", "public.orders"], "owner") == OWNER
    assert "ON DELETE CASCADE" in str(
        field(found.made["constraint", "public.lines.lines_order_fkey"], "definition")
    )
    assert (found.before, found.removed, found.gone) == ({}, frozenset(), frozenset())
    assert found.stands == found.made
    assert found.server_version.startswith(str(MAJOR))


def test_only_what_the_last_one_changes_is_its_own() -> None:
    found = made_by(FIRST, SECOND)
    assert set(found.made) == {("columns", "public.orders"), ("index", "public.lines_order_key")}
    assert ("note", "text") in columns(found.made)
    assert set(found.before) == {
        ("columns", "public.orders"),
        *((kind, "public.recent") for kind in ("relation", "columns", "view")),
    }
    assert ("note", "text") not in columns(found.before)
    assert ("view", "public.recent") in found.removed
    assert found.removed == found.gone
    assert ("relation", "public.lines") in found.stands
    assert ("view", "public.recent") not in found.stands


def test_one_in_the_middle_and_what_became_of_it() -> None:
    found = made_by(FIRST, SECOND, THIRD, of="2")
    assert set(found.made) == {("columns", "public.orders"), ("index", "public.lines_order_key")}
    assert ("index", "public.lines_order_key") not in found.stands
    assert {
        ("index", "public.lines_order_key"),
        ("relation", "public.lines"),
        ("view", "public.recent"),
    } < found.gone
    assert ("note", "text") in columns(found.stands)


def test_what_one_makes_and_a_later_one_renames_is_gone_under_its_old_name() -> None:
    found = made_by("CREATE TABLE a (x int)", "ALTER TABLE a RENAME TO b", "CREATE TABLE c ()")
    assert found.gone == {("relation", "public.a"), ("columns", "public.a")}
    assert {name for _, name in found.stands} == {"public.b", "public.c"}


@pytest.mark.parametrize("scripts", [(), ("",), ("-- This is an empty migration.\n",), ("SELECT '100%'",)])
def test_scripts_that_make_nothing(scripts: tuple[str, ...]) -> None:
    found = made_by(*scripts)
    assert (found.made, found.stands, found.removed) == ({}, {}, frozenset())


def test_data_blocks_and_their_own_transactions_run_as_in_prisma() -> None:
    found = made_by(
        "CREATE TABLE a (x int); INSERT INTO a VALUES (1);",
        "DO $$ BEGIN IF EXISTS (SELECT FROM a) THEN CREATE TABLE b (); END IF; END $$;",
        "BEGIN; CREATE TABLE c (); COMMIT; BEGIN; CREATE TABLE d (); ROLLBACK;",
        "CREATE INDEX CONCURRENTLY a_idx ON a (x)",
        "CREATE SCHEMA IF NOT EXISTS public; SET search_path = pg_catalog",
        "CREATE TABLE e ()",
    )
    names = {name for kind, name in found.stands if kind in ("relation", "index")}
    assert names == {"public.a", "public.a_idx", "public.b", "public.c", "public.e"}


def test_grants_to_roles_that_the_target_has() -> None:
    script = "CREATE TABLE a (); GRANT SELECT ON a TO reports"
    found = made_by(script, roles=("reports", "postgres", OWNER))
    assert found.made["privileges", "public.a"] == (("privileges", (("reports", "SELECT", False),)),)
    with pytest.raises(
        MigrationError, match=r'1 does not run in an empty PostgreSQL .*role "reports"'
    ) as caught:
        made_by(script)
    assert caught.value.sqlstate == "42704"


def test_a_script_that_does_not_run_is_named_with_postgres_words() -> None:
    with pytest.raises(
        MigrationError, match=r'^2 does not run .*relation "nowhere" does not exist'
    ) as caught:
        made_by(FIRST, "ALTER TABLE nowhere ADD COLUMN x int", SECOND)
    assert isinstance(caught.value.__cause__, psycopg.Error)


def test_no_server_programs_that_are_new_enough() -> None:
    with pytest.raises(PreconditionFailed, match="No PostgreSQL server programs of version 99 or newer"):
        expect([("1", FIRST)], owner=OWNER, server_major=99, like=Surroundings(database="shop"))
