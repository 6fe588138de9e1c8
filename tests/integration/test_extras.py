"""What acts on a declared table and is not declared: on a real server, each by itself."""

# ruff: noqa: E501
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from runbooks_lib.findings import Finding, Verdict
from runbooks_lib.phase import Column, Ignored, Phase, Schema, Table, load_phase
from runbooks_lib.postgres.catalog.catalog import Key, read_catalog
from runbooks_lib.postgres.scratch.scratch import scratch
from runbooks_lib.postgres.session.connect import Connection
from runbooks_lib.steps.extras import check_extras
from runbooks_lib.steps.inspection import by_object
from runbooks_lib.steps.own_objects import made_by
from runbooks_lib.steps.schema_checks import check_schema

ORDERS = Table(
    name="public.orders",
    owner="keeper",
    primary_key=("id",),
    columns=(
        Column(name="id", type="integer", not_null=True),
        Column(name="shop", type="integer"),
        Column(name="note", type="text"),
    ),
)
PHASE: Phase = replace(
    load_phase("PH15-AMAZON-DB-FOUNDATION-01"), tables=(ORDERS,), enums=(), indexes=(), seeds=()
)
MAKE = """
CREATE TABLE shops (id int PRIMARY KEY);
CREATE TABLE orders (id int PRIMARY KEY, shop int, note text);
ALTER TABLE orders OWNER TO keeper;
CREATE INDEX plain ON orders (note);
GRANT SELECT ON orders TO reader;
CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
"""
FK = "ALTER TABLE orders ADD CONSTRAINT of_shop FOREIGN KEY (shop) REFERENCES shops"


@pytest.fixture(scope="module")
def conn() -> Iterator[Connection]:
    with scratch() as server:
        server.create_database("extras", roles=("keeper", "reader"))
        with server.connect("extras") as conn:
            conn.execute(("SET search_path = public;" + MAKE + "SET search_path = pg_catalog").encode())
            yield conn


def judged(
    conn: Connection, statement: str, phase: Phase = PHASE, own: frozenset[Key] = frozenset()
) -> tuple[Finding, ...]:
    with conn.transaction(force_rollback=True):
        conn.execute(
            f"SET LOCAL search_path = public; {statement}; SET LOCAL search_path = pg_catalog".encode()
        )
        catalog = read_catalog(conn)
    assert {f.verdict for f in check_schema(phase, "t", catalog)} == {Verdict.PASS}, (
        "all that is declared is there"
    )
    return tuple(check_extras(phase, "t", catalog, own))


def test_nothing_else(conn: Connection) -> None:
    (found,) = judged(conn, "SELECT 1")
    assert (found.verdict, found.object, found.have) == (Verdict.PASS, "public.orders", "nothing")


@pytest.mark.parametrize(
    ("statement", "name", "words", "verdict"),
    [
        ("CREATE RULE away AS ON INSERT TO orders DO INSTEAD NOTHING", "rule public.orders.away", "NOTHING", Verdict.FAIL),
        ("CREATE RULE away AS ON UPDATE TO orders WHERE old.id > 5 DO INSTEAD NOTHING", "rule public.orders.away", "NOTHING", Verdict.FAIL),
        ("CREATE RULE more AS ON INSERT TO orders DO ALSO NOTIFY orders", "rule public.orders.more", "NOTIFY", Verdict.OPEN),
        ("CREATE RULE away AS ON INSERT TO orders DO INSTEAD NOTHING; ALTER TABLE orders DISABLE RULE away",
         "rule public.orders.away", "disabled", Verdict.OPEN),
        ("CREATE TRIGGER before BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION f()", "trigger public.orders.before", "BEFORE INSERT", Verdict.OPEN),
        ("CREATE TRIGGER after AFTER DELETE ON orders EXECUTE FUNCTION f()", "trigger public.orders.after", "AFTER DELETE", Verdict.OPEN),
        ("ALTER TABLE orders ENABLE ROW LEVEL SECURITY", "row security public.orders", "other roles", Verdict.OPEN),
        ("ALTER TABLE orders ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY", "row security public.orders", "owner, too", Verdict.FAIL),
        ("CREATE POLICY few ON orders USING (id > 1)", "policy public.orders.few", "id > 1", Verdict.OPEN),
        ("ALTER TABLE orders ADD CONSTRAINT small CHECK (id < 9)", "constraint public.orders.small", "CHECK", Verdict.OPEN),
        ("ALTER TABLE orders ADD UNIQUE (note)", "constraint public.orders.orders_note_key", "UNIQUE", Verdict.OPEN),
        ("ALTER TABLE orders ADD EXCLUDE (note WITH =)", "constraint public.orders.orders_note_excl", "EXCLUDE", Verdict.OPEN),
        (FK, "constraint public.orders.of_shop", "FOREIGN KEY", Verdict.OPEN),
        ("CREATE UNIQUE INDEX one ON orders (lower(note))", "index public.one", "UNIQUE INDEX", Verdict.OPEN),
        ("CREATE TABLE heir () INHERITS (orders)", "inherits public.heir", "its rows show in public.orders", Verdict.OPEN),
        ("CREATE TABLE top (id int NOT NULL); ALTER TABLE orders INHERIT top", "inherits public.orders", "its rows show in public.top", Verdict.OPEN),
        ("GRANT DELETE, SELECT ON orders TO reader", "privileges public.orders reader", "reader may DELETE", Verdict.OPEN),
        ("GRANT SELECT ON orders TO PUBLIC", "privileges public.orders public", "public may SELECT", Verdict.OPEN),
        ("GRANT UPDATE (note) ON orders TO reader", "column privileges public.orders.note reader", "reader may UPDATE", Verdict.OPEN),
    ],
)  # fmt: skip
def test_whatever_acts_on_a_declared_table_is_named(
    conn: Connection, statement: str, name: str, words: str, verdict: Verdict
) -> None:
    (found,) = judged(conn, statement)
    assert (found.object, found.verdict) == (name, verdict)
    assert words in found.have
    assert name in found.hint
    (row,) = by_object([found])
    assert row["t"].startswith(verdict)
    (accepted,) = judged(
        conn, statement, replace(PHASE, schema=Schema(ignore=(Ignored(object=name, why="we know"),)))
    )
    assert (accepted.verdict, accepted.hint) == (Verdict.SKIP, "accepted: we know")


def test_a_constraint_that_is_not_enforced(conn: Connection) -> None:
    found = {
        f.object: f
        for f in judged(conn, f"{FK}; ALTER TABLE orders DISABLE TRIGGER ALL", own=frozenset(made_by(FK)))
    }
    assert set(found) == {
        f"internal trigger public.orders.of_shop.RI_FKey_check_{when}" for when in ("ins", "upd")
    }
    assert {f.verdict for f in found.values()} == {Verdict.OPEN}
    assert all("not enforced" in f.have for f in found.values())


@pytest.mark.parametrize(
    "statement",
    [
        FK,
        "CREATE TRIGGER t BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION f()",
        "ALTER TABLE orders ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; CREATE POLICY p ON orders",
        "CREATE UNIQUE INDEX one ON orders (note)",
        "GRANT INSERT, UPDATE ON orders TO reader; GRANT SELECT ON orders TO PUBLIC",
        "ALTER TABLE orders ADD CHECK (id > 0) NOT VALID",
    ],
)
def test_what_the_phases_own_scripts_make_is_not_foreign(conn: Connection, statement: str) -> None:
    assert [f.verdict for f in judged(conn, statement, own=frozenset(made_by(statement)))] == [Verdict.PASS]


def test_more_than_the_scripts_make_is_foreign(conn: Connection) -> None:
    own = frozenset(made_by("GRANT INSERT ON orders TO reader; ALTER TABLE orders ENABLE ROW LEVEL SECURITY"))
    (more,) = judged(conn, "GRANT INSERT, TRUNCATE ON orders TO reader", own=own)
    assert more.have == "reader may TRUNCATE"
    (forced,) = judged(
        conn, "ALTER TABLE orders ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY", own=own
    )
    assert forced.verdict is Verdict.FAIL
