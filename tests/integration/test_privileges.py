"""Privileges: every one that is missing is named, and what the hint says to run gives all of them, and enough."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.findings import Finding, Verdict
from runbooks_lib.phase import Backup, Baseline, Prisma, Table, load_phase
from runbooks_lib.postgres.binaries import clean_environment
from runbooks_lib.postgres.dump.clients import choose, find_clients
from runbooks_lib.postgres.scratch.programs import find_servers
from runbooks_lib.postgres.scratch.scratch import SUPERUSER, Scratch, scratch
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.steps import privileges

PHASE = load_phase("PH15-AMAZON-DB-FOUNDATION-01")
PROGRAMS = {programs.major: programs for programs in find_servers([])}
PASSWORD = "0perator-secret"
MAKE = """
CREATE SCHEMA app;
CREATE SCHEMA "Odd Name";
REVOKE ALL ON SCHEMA public FROM PUBLIC;
CREATE TYPE app.state AS ENUM ('a');
CREATE TABLE app.orders (id serial PRIMARY KEY, state app.state);
CREATE TABLE "Odd Name"."A.b" (id int);
CREATE TABLE public.plain (id int);
CREATE TABLE public._prisma_migrations (id int);
CREATE VIEW public.seen AS SELECT 1 AS one;
ALTER TABLE app.orders ENABLE ROW LEVEL SECURITY;
REVOKE USAGE ON TYPE app.state FROM PUBLIC;
"""
LEADER: dict[str, Any] = {
    "targets": {"leader": replace(PHASE.targets["leader"], service="shop", database="shop")},
    "tables": (Table(name="app.orders", owner="app_owner"),),
    "enums": (),
    "owner": "app_owner",
    "backup": Backup(targets=("leader",), data=("leader",)),
    "baseline": Baseline(file="baseline.sql", target="leader"),
    "prisma": Prisma(target="leader"),
}


@dataclass(slots=True, kw_only=True)
class Shop:
    """A target whose operator may do nothing but connect."""

    server: Scratch
    history: str = "public"
    changes: dict[str, Any] = field(default_factory=dict)

    def execute(self, *statements: str, user: str = SUPERUSER) -> None:
        password = self.server.password if user == SUPERUSER else PASSWORD
        address = {**self.server.cluster.address(), "user": user, "password": password, "dbname": "shop"}
        with psycopg.connect(**address, autocommit=True) as conn:  # type: ignore[arg-type]
            for statement in statements:
                conn.execute(statement.encode())

    def asks(self) -> dict[str, Finding]:
        phase = replace(PHASE, **{**LEADER, **self.changes})
        with (
            Sessions(phase.targets, application_name="runbooks test") as sessions,
            sessions.snapshot("leader") as conn,
        ):
            return {finding.object: finding for finding in privileges.check_privileges(phase, "leader", conn)}

    def missing(self) -> set[str]:
        return {name for name, finding in self.asks().items() if finding.verdict is not Verdict.PASS}


@pytest.fixture(scope="module", params=sorted(PROGRAMS))
def server(request: pytest.FixtureRequest) -> Iterator[Scratch]:
    with scratch(PROGRAMS[request.param]) as made:
        with made.connect("template1") as conn:
            conn.execute("CREATE ROLE app_owner")
        yield made


@pytest.fixture
def shop(server: Scratch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    address = {**server.cluster.address(), "user": "op", "password": PASSWORD, "dbname": "shop"}
    services = tmp_path / "services"
    services.write_text("".join(["[shop]\n", *(f"{key}={value}\n" for key, value in address.items())]))
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    server.create_database("shop")
    made = Shop(server=server)
    made.execute(f"CREATE ROLE op LOGIN PASSWORD '{PASSWORD}'", MAKE)
    project = SimpleNamespace(configuration=SimpleNamespace(history_schema="public"))
    monkeypatch.setattr(privileges, "find_project", lambda: tmp_path)
    monkeypatch.setattr(privileges, "read_project", lambda folder: project)
    yield made
    with server.connect("template1") as conn:
        conn.execute("DROP DATABASE shop WITH (FORCE)")
        conn.execute("DROP ROLE op")


def sql_of(hint: str) -> str:
    found = re.search(r"in shop; nothing more is needed: (.*)", hint)
    assert found
    return found[1]


def test_what_is_missing_is_named_and_one_hint_gives_it_all(shop: Shop) -> None:
    found = shop.asks()
    assert found[privileges.EVERY_ONE].verdict is Verdict.FAIL
    for need in (
        'SELECT on "app"."orders"',
        'SELECT on "Odd Name"."A.b"',
        "SELECT on public.plain",
        "SELECT on sequence app.orders_id_seq",
        'INSERT on "public"."_prisma_migrations"',
        "USAGE of schema app",
        "USAGE of schema Odd Name",
        "CREATE in schema app as app_owner",
        "USAGE of type app.state as app_owner",
        "SET ROLE app_owner",
        "every row of app.orders (row security)",
        "see what other sessions do",
    ):
        assert found[need].verdict is Verdict.FAIL, need
        assert sql_of(found[need].hint)
    deploying = found['UPDATE on "public"."_prisma_migrations" as app_owner']
    assert (deploying.verdict, "if a migration is deployed" in deploying.hint) == (Verdict.OPEN, True)
    shop.execute(sql_of(found[privileges.EVERY_ONE].hint))
    assert shop.missing() == set()


def test_what_is_granted_is_enough_for_what_the_steps_do(shop: Shop, tmp_path: Path) -> None:
    shop.execute(sql_of(shop.asks()[privileges.EVERY_ONE].hint))
    pg_dump = choose(find_clients(), shop.server.major).pg_dump
    where = [f"--{name}={value}" for name, value in shop.server.cluster.address().items()]
    for options in (["--schema-only"], ["--data-only"]):
        ran = subprocess.run(
            [pg_dump, *options, *where, "--username=op", "shop"],
            env=clean_environment({"PGPASSWORD": PASSWORD}), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ran.stderr == ""
    shop.execute(
        "INSERT INTO _prisma_migrations VALUES (1)",
        "UPDATE _prisma_migrations SET id = 2",
        "SET ROLE app_owner",
        "CREATE TABLE app.more (state app.state)",
        "INSERT INTO _prisma_migrations VALUES (3)",
        user="op",
    )


def test_one_that_is_missing_has_its_grant_and_no_list(shop: Shop) -> None:
    shop.execute(sql_of(shop.asks()[privileges.EVERY_ONE].hint))
    shop.execute("REVOKE SELECT ON public.plain FROM op")
    assert shop.missing() == {"SELECT on public.plain"}
    assert sql_of(shop.asks()["SELECT on public.plain"].hint) == "GRANT SELECT ON TABLE public.plain TO op;"


def test_a_member_that_may_not_set_the_role_keeps_its_inheritance(shop: Shop) -> None:
    if shop.server.major < 16:
        pytest.skip("before PostgreSQL 16 every member may SET ROLE")
    shop.execute("GRANT app_owner TO op WITH INHERIT TRUE, SET FALSE")
    shop.execute(sql_of(shop.asks()["SET ROLE app_owner"].hint))
    assert "SET ROLE app_owner" not in shop.missing()
    shop.execute("CREATE TABLE app.mine (id int)", "ALTER TABLE app.mine OWNER TO app_owner")
    shop.execute("GRANT USAGE ON SCHEMA app TO op")
    shop.execute("SELECT FROM app.mine", user="op")


def test_a_schema_that_is_not_there_is_made_for_its_owner(shop: Shop) -> None:
    shop.changes = {"tables": (Table(name="later.a", owner="app_owner"),)}
    assert "CREATE in schema later as app_owner" in shop.missing()
    shop.execute(sql_of(shop.asks()[privileges.EVERY_ONE].hint))
    assert shop.missing() == set()


def test_where_prisma_makes_its_table_somebody_may_create_it(shop: Shop) -> None:
    shop.changes = {"baseline": None, "backup": Backup(), "owner": None, "tables": ()}
    shop.execute("DROP TABLE _prisma_migrations", "GRANT pg_read_all_stats TO op")
    assert shop.missing() == {"CREATE in schema public", "USAGE of schema public", privileges.EVERY_ONE}
    shop.execute(sql_of(shop.asks()[privileges.EVERY_ONE].hint))
    assert shop.missing() == set()


def test_what_a_phase_leaves_out_needs_no_privilege(shop: Shop) -> None:
    shop.changes = {"baseline": None, "prisma": None, "backup": Backup(), "tables": (), "owner": None}
    shop.execute("GRANT pg_read_all_stats TO op")
    assert shop.missing() == set()


def test_a_project_that_cannot_be_read_is_said(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost() -> Path:
        raise PreconditionFailed("No Prisma project is named.", "Name one.")

    monkeypatch.setattr(privileges, "find_project", lost)
    with pytest.raises(PreconditionFailed):
        shop.asks()
