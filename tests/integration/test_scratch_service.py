"""Migrations replayed at a server that somebody lends for it: nothing is left there, and no target's server serves."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runbooks_lib.errors import LabError, MigrationError, PreconditionFailed
from runbooks_lib.postgres.scratch import script_run as replaying
from runbooks_lib.postgres.scratch.lent import ENV_SERVICE, Served
from runbooks_lib.postgres.scratch.programs import find_server
from runbooks_lib.postgres.scratch.scratch import SUPERUSER, Scratch, scratch
from runbooks_lib.postgres.scratch.surroundings import Surroundings

from .expected import Expected, expect

MAJOR = find_server().major
LIKE = Surroundings(database="shop", roles=("shop_owner", "app"))
SCRIPT = """
CREATE EXTENSION IF NOT EXISTS pageinspect;
CREATE TABLE a (x int);
ALTER TABLE a OWNER TO app;
GRANT SELECT ON a TO app;
"""


@pytest.fixture(scope="module")
def lender() -> Iterator[Scratch]:
    """A server of somebody else, with an extension that only a superuser makes in template1."""
    with scratch() as server:
        with server.connect("template1") as conn:
            conn.execute("CREATE EXTENSION pageinspect SCHEMA public")
            conn.execute("CREATE ROLE maker LOGIN CREATEDB CREATEROLE PASSWORD 'm4ker-secret'")
            conn.execute("CREATE ROLE shadow LOGIN CREATEDB PASSWORD 'm4ker-secret'")
        yield server


@pytest.fixture
def lend(lender: Scratch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def point(role: str) -> None:
        address = lender.cluster.address()
        password = lender.password if role == SUPERUSER else "m4ker-secret"
        lines = ["[lent]", *(f"{k}={v}" for k, v in address.items()), f"user={role}", f"password={password}"]
        (tmp_path / "services").write_text("\n".join([*lines, "dbname=template1", "sslmode=disable", ""]))
        monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
        monkeypatch.setenv(
            "PGHOST", "nowhere.invalid"
        )  # and what the environment says does not lead elsewhere
        monkeypatch.setenv(ENV_SERVICE, "lent")

    return point


def state(server: Scratch) -> tuple[set[str], set[str]]:
    with server.connect("template1") as conn:
        databases = {row["datname"] for row in conn.execute("SELECT datname FROM pg_database")}
        roles = {row["rolname"] for row in conn.execute("SELECT rolname FROM pg_roles")}
    return databases, roles


def ask(
    script: str = SCRIPT, *, owner: str = "shop_owner", servers: frozenset[str] = frozenset()
) -> Expected:
    return expect([("1", script)], owner=owner, server_major=MAJOR, like=LIKE, servers=servers)


@pytest.mark.parametrize("role", [SUPERUSER, "maker"])
def test_scripts_run_there_in_the_owners_name_and_leave_nothing(
    lender: Scratch, lend: Callable[[str], None], role: str
) -> None:
    lend(role)
    before = state(lender)
    found = ask(f"{SCRIPT}-- {role}")
    assert ("relation", "public.a") in found.stands
    assert dict(found.stands["relation", "public.a"])["owner"] == "app"  # type: ignore[arg-type]
    assert found.lacking[-1] == "the name shop"
    assert state(lender) == before


def test_a_role_that_makes_databases_alone_runs_them_itself(
    lender: Scratch, lend: Callable[[str], None]
) -> None:
    lend("shadow")
    before = state(lender)
    found = ask("CREATE TABLE a (); GRANT CONNECT ON DATABASE shop TO PUBLIC", owner="shadow")
    assert [one.why for one in found.ran["1"].unjudged] == ["it names a database that is not here"]
    assert ("relation", "public.a") in found.stands
    assert "the roles app, shop_owner" in found.lacking
    assert state(lender) == before


def test_nothing_is_left_after_an_error(lender: Scratch, lend: Callable[[str], None]) -> None:
    lend("maker")
    before = state(lender)
    with pytest.raises(MigrationError, match="nowhere"):
        ask("CREATE TABLE a (); ALTER TABLE nowhere ADD x int")
    assert state(lender) == before


@pytest.mark.parametrize("role", [SUPERUSER, "maker"])
def test_no_script_gets_the_lenders_rights(lender: Scratch, lend: Callable[[str], None], role: str) -> None:
    lend(role)
    canary = lender.cluster.home / f"canary-{role}"
    function = "CREATE FUNCTION f() RETURNS int SECURITY DEFINER LANGUAGE sql AS 'SELECT 1'"
    found = ask(
        f"COPY (SELECT 1) TO PROGRAM 'touch {canary}'; SET ROLE {role};"
        f"{function}; ALTER FUNCTION f() OWNER TO {role}; CREATE TABLE b ();"
    )
    assert ("relation", "public.b") in found.stands
    assert len(found.ran["1"].unjudged) == 3
    assert not canary.exists()


def test_a_targets_server_an_older_one_and_one_that_is_away_do_not_serve(
    lender: Scratch, lend: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    lend("maker")
    before = state(lender)
    with lender.connect("template1") as conn:
        row = conn.execute("SELECT system_identifier::text AS s FROM pg_control_system()").fetchone() or {}
    with pytest.raises(PreconditionFailed, match="is the server of one of the phase's targets"):
        ask(servers=frozenset({row["s"]}))
    with pytest.raises(PreconditionFailed, match="older than the target's 99"):
        expect([("1", SCRIPT)], owner="o", server_major=99, like=LIKE)
    monkeypatch.setenv(ENV_SERVICE, "no_such_service")
    with pytest.raises(
        PreconditionFailed, match="no_such_service of RUNBOOKS_SCRATCH_SERVICE does not answer"
    ):
        ask()
    assert state(lender) == before


def test_a_role_that_is_there_already_is_not_taken(lender: Scratch, lend: Callable[[str], None]) -> None:
    lend(SUPERUSER)
    for owner in ("shadow", SUPERUSER):
        with pytest.raises(PreconditionFailed, match=f"has a role {owner} already"):
            ask(owner=owner)
    assert {name for name in state(lender)[0] if name.startswith("runbooks")} == set()


def test_what_cannot_be_dropped_is_named(
    lender: Scratch, lend: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    lend("maker")
    drop = Served.drop

    def held(copy: Served) -> None:
        with lender.connect("template1") as conn:
            (name,) = copy.names.values()
            conn.execute(f"ALTER DATABASE {name} OWNER TO {SUPERUSER}")
        try:
            drop(copy)
        finally:
            with lender.connect("template1") as conn:
                conn.execute(f"DROP DATABASE {name}")
                for made in copy.roles:
                    conn.execute(f"DROP ROLE IF EXISTS {made}")

    monkeypatch.setattr(Served, "drop", held)
    with pytest.raises(LabError, match=r"there is left: runbooks_scratch_\w+ \(must be owner"):
        ask("CREATE TABLE held ()")


LIVES = """
import sys, time
from runbooks_lib.postgres.scratch.lent import served
from runbooks_lib.postgres.scratch.surroundings import Surroundings
with served("lent", server_major=15, servers=frozenset()) as copy:
    copy.create_database("shop", roles=("app",), owner="shop_owner", like=Surroundings(database="shop"))
    print("made", flush=True)
    time.sleep(60)
"""


@contextmanager
def another_run() -> Iterator[subprocess.Popen[str]]:
    """A run that has made its database and roles, and lives until it is killed."""
    run = subprocess.Popen([sys.executable, "-c", LIVES], stdout=subprocess.PIPE, text=True)
    try:
        assert run.stdout is not None
        assert run.stdout.readline() == "made\n"
        yield run
    finally:
        run.kill()
        run.communicate()


def wait_alone(server: Scratch) -> None:
    """Wait until the server has noticed that whoever worked in it is gone."""
    others = "SELECT FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    with server.connect("template1") as conn:
        for _ in range(200):
            if not conn.execute(others).fetchall():
                return
            time.sleep(0.05)
    raise AssertionError("a session of a run that was killed stays")


def test_what_a_killed_run_left_is_dropped_by_the_next(lender: Scratch, lend: Callable[[str], None]) -> None:
    """And nothing else: neither what only has such a name, nor what a run that lives has made."""
    lend("maker")
    with lender.connect("template1") as conn:
        conn.execute("CREATE DATABASE runbooks_scratch_000000000000")
        conn.execute(
            "CREATE ROLE runbooks_everybody_0; COMMENT ON ROLE runbooks_everybody_0 IS 'runbooks scratch'"
        )
    before = state(lender)
    with another_run() as run:
        alive = state(lender)
        assert len(alive[0] - before[0]) == 1
        assert {"app", "shop_owner"} <= alive[1] - before[1]
        ask("CREATE TABLE beside ()", owner="another_owner")
        assert state(lender) == alive
        run.kill()
    wait_alone(lender)
    assert state(lender) == alive
    ask("CREATE TABLE after_it ()")  # in the name of the very role that was left
    assert state(lender) == before
    with lender.connect("template1") as conn:
        conn.execute("DROP DATABASE runbooks_scratch_000000000000")
        conn.execute("DROP ROLE runbooks_everybody_0")


def test_what_a_killed_run_left_and_others_may_not_drop_is_named(
    lender: Scratch, lend: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    lend(SUPERUSER)
    before = state(lender)
    with another_run():
        pass
    wait_alone(lender)
    lend("shadow")
    ask("CREATE TABLE named ()", owner="shadow")
    assert (
        "A run that was killed left at the server that lends room: database runbooks_scratch_" in caplog.text
    )
    assert "role shop_owner (permission denied" in caplog.text
    lend(SUPERUSER)
    ask("CREATE TABLE swept ()")
    assert state(lender) == before


def test_a_script_that_does_not_end_is_ended_there_too(
    lender: Scratch, lend: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    lend("maker")
    monkeypatch.setattr(replaying, "TIMEOUT_S", 0.5)
    with pytest.raises(MigrationError, match="did not end within"):
        ask("SELECT pg_sleep(60)")
    assert {name for name in state(lender)[0] if name.startswith("runbooks")} == set()
