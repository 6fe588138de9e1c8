"""Prisma writes: one migration, two, and a whole history, recorded or deployed by the real command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from runbooks_lib.errors import PreconditionFailed, PrismaError
from runbooks_lib.prisma.command import STAND_IN, Written
from runbooks_lib.prisma.history import read_folder
from runbooks_lib.prisma.lock import MIGRATION_LOCK

from .conftest import PHASE, Place, name_the_engine
from .test_prisma import ODD_PASSWORD, command_lines

NAME = PHASE.prisma.settle[0]
FIRST = "20251210093000_init_amazon_inbound"
HISTORY = "SELECT migration_name, finished_at IS NOT NULL, rolled_back_at IS NOT NULL FROM _prisma_migrations"


def many(place: Place, count: int, script: str = "SELECT 1;") -> tuple[str, ...]:
    """Add migrations to the folder that nobody has run."""
    names = tuple(f"2026{number:010d}_m{number}" for number in range(count))
    for name in names:
        place.migrate(name, script, run=False, record=False)
    return names


def history(place: Place) -> list[tuple[Any, ...]]:
    with place.admin() as conn:
        return conn.execute(f"{HISTORY} ORDER BY started_at".encode()).fetchall()


def applied(place: Place) -> list[str]:
    return [name for name, finished, rolled_back in history(place) if finished and not rolled_back]


# --- resolve ----------------------------------------------------------------------------------------------------------


def test_one_is_recorded_by_the_plain_command(place: Place) -> None:
    prisma = place.prisma()
    written = prisma.resolve(applied=[NAME])
    assert (written.done, written.failed) == ((NAME,), None)
    assert prisma.ran == ["migrate status", f"migrate resolve --applied {NAME}"]
    assert written.said[0].command == f"prisma migrate resolve --applied {NAME}"
    assert applied(place) == [FIRST, NAME]


def test_nothing_to_record_starts_nothing(place: Place) -> None:
    prisma = place.prisma()
    assert prisma.resolve() == Written(done=(), said=(), failed=None)
    assert prisma.ran == []


@pytest.mark.parametrize("named", [False, True], ids=["stand-in", "named engine"])
def test_two_are_taken_back_and_two_recorded_in_the_order_that_is_given(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    if named:
        name_the_engine(monkeypatch, tmp_path)
    names = many(place, 4)
    for name in names[2:]:
        place.record(name, finished=False)
    prisma = place.prisma()
    written = prisma.resolve(applied=[names[1], names[0]], rolled_back=names[2:])
    assert (written.done, written.failed) == ((*names[2:], names[1], names[0]), None)
    assert [said.exit_code for said in written.said] == [0, 0]
    assert written.said[1].command == f"prisma migrate resolve --applied {names[1]} (and 1 more)"
    assert history(place)[1:] == [
        (names[2], False, True),
        (names[3], False, True),
        (names[1], True, False),
        (names[0], True, False),
    ]
    with place.admin() as conn:
        checksums = dict(conn.execute("SELECT migration_name, checksum FROM _prisma_migrations").fetchall())
    assert checksums[names[0]] == next(f.checksum for f in read_folder(place.project) if f.name == names[0])


def test_four_hundred_are_recorded_by_one_engine(place: Place) -> None:
    names = many(place, 400)
    prisma = place.prisma()
    begun = time.monotonic()
    with command_lines() as seen:
        written = prisma.resolve(applied=(NAME, *names))
    took_s = time.monotonic() - begun
    assert (written.done, written.failed) == ((NAME, *names), None)
    assert applied(place) == [FIRST, NAME, *names]
    assert len([ran for ran in prisma.ran if "resolve" in ran]) == 1
    engines = [
        line for line in seen if str(STAND_IN) in line and place.database in line and " cli " not in line
    ]
    assert 0 < len(engines) <= 2, engines  # one for the status, one that writes
    assert prisma.status().up_to_date
    print(f"400 migrations: {took_s:.1f} s")
    assert took_s < 60


def test_without_a_history_prisma_makes_its_table_and_the_role_that_is_named_owns_it(place: Place) -> None:
    place.execute("DROP TABLE _prisma_migrations")
    written = place.prisma().resolve(applied=[FIRST, NAME], role="kb_backend")
    assert (written.done, written.failed) == ((FIRST, NAME), None), written.said
    assert applied(place) == [FIRST, NAME]
    with place.admin() as conn:
        owner = conn.execute(
            "SELECT relowner::regrole::text FROM pg_class WHERE relname = '_prisma_migrations'"
        )
        assert owner.fetchone() == ("kb_backend",)


def test_a_role_that_may_not_be_taken_writes_nothing(place: Place) -> None:
    written = place.prisma().resolve(applied=[NAME], role="kb_legacy")
    assert (written.done, written.failed) == ((), NAME)
    assert applied(place) == [FIRST]


@pytest.mark.parametrize("unknown", ["20260101000000_not_there", FIRST])
def test_it_stops_at_the_first_that_prisma_refuses(place: Place, unknown: str) -> None:
    names = many(place, 3)
    written = place.prisma().resolve(applied=[names[0], unknown, names[2]])
    assert (written.done, written.failed) == ((names[0],), unknown)
    assert written.said[-1].code == ("P3008" if unknown == FIRST else "P3017")
    assert applied(place) == [FIRST, names[0]]


def test_what_is_not_failed_is_not_taken_back_and_nothing_else_is_begun(place: Place) -> None:
    names = many(place, 2)
    written = place.prisma().resolve(applied=names, rolled_back=[FIRST])
    assert (written.done, written.failed, written.said[0].code) == ((), FIRST, "P3012")
    assert applied(place) == [FIRST]


def test_a_lock_that_is_held_refuses_the_first(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRISMA_SCHEMA_ENGINE_LOCK_TIMEOUT", "500")
    names = many(place, 3)
    with place.admin() as conn:
        conn.execute("SELECT pg_advisory_lock(%s)", (MIGRATION_LOCK,))
        prisma = place.prisma()
        written = prisma.resolve(applied=names)
        deployed = prisma.deploy()
    assert (written.done, written.failed, written.said[0].code) == ((), names[0], "P1002")
    assert (deployed.exit_code, deployed.code) == (1, "P1002")
    assert applied(place) == [FIRST]


def test_a_time_out_says_so_and_the_table_says_how_far_it_came(place: Place) -> None:
    names = many(place, 3)
    prisma = place.prisma()
    prisma.status()
    prisma.timeout_s = 0.2 - 3  # what recording three may take comes on top
    with pytest.raises(PrismaError, match=r"did not end within 0\.2 seconds"):
        prisma.resolve(applied=names)
    assert applied(place) == [FIRST]


@pytest.mark.parametrize("names", [["--help"], [""], [NAME, NAME]])
def test_what_is_no_name_or_stands_twice_is_not_handed_on(place: Place, names: list[str]) -> None:
    prisma = place.prisma()
    with pytest.raises(PreconditionFailed):
        prisma.resolve(applied=names)
    with pytest.raises(PreconditionFailed, match="twice"):
        prisma.resolve(applied=[NAME], rolled_back=[NAME])
    assert prisma.ran == []


@pytest.mark.parametrize("what", ["system_identifier", "role"])
def test_a_stranger_is_refused_before_any_is_recorded(place: Place, what: str) -> None:
    names = many(place, 3)
    prisma = place.prisma(**{what: "another"})
    prisma._aimed_well = True
    written = prisma.resolve(applied=names)
    assert (written.done, written.failed) == ((), names[0])
    assert "Refused, and nothing was written" in written.said[0].output
    deployed = prisma.deploy()
    assert (deployed.exit_code, "Refused, and nothing was written" in deployed.output) == (1, True)
    assert applied(place) == [FIRST]


def test_no_password_is_shown(place: Place) -> None:
    with place.lab.admin("postgres") as conn:
        conn.execute(psycopg.sql.SQL("CREATE ROLE odd LOGIN SUPERUSER PASSWORD {}").format(ODD_PASSWORD))
    try:
        names = many(place, 5)
        prisma = place.prisma(user="odd", role="odd", password=ODD_PASSWORD)
        with command_lines() as seen:
            written = prisma.resolve(applied=[NAME, *names[:-1]])
            deployed = prisma.deploy()
        assert (written.failed, deployed.exit_code) == (None, 0), deployed.output
        assert any("repeating-engine" in line for line in seen)
        said = "\n".join([*seen, *(one.output + one.command for one in (*written.said, deployed))])
        assert ODD_PASSWORD[:6] not in said
        assert "p%40ss" not in said
    finally:
        with place.lab.admin("postgres") as conn:
            conn.execute("DROP ROLE odd")


KILLED = """
import sys
from dataclasses import replace
from pathlib import Path
import psycopg
from runbooks_lib.prisma.command import Prisma, aim
with psycopg.connect("service=keybuzz_leader") as conn:
    url = replace(aim(conn), dbname=sys.argv[2])
Prisma(Path(sys.argv[1]), url).resolve(applied=sys.argv[3:])
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_killed_half_way_it_stops_and_the_rest_is_recorded_later(place: Place, number: int) -> None:
    """Also where Prisma itself is left alone: it would go on for four hundred names that nobody waits for."""
    names = many(place, 300)
    caller = subprocess.Popen([sys.executable, "-c", KILLED, str(place.project), place.database, *names])
    try:
        deadline = time.monotonic() + 60
        while len(applied(place)) < 5 and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(caller.pid, number)
    finally:
        caller.wait(60)
    before = -1
    while before != (now := len(applied(place))):  # until nothing more comes
        before = now
        time.sleep(1)
    done = applied(place)
    assert 5 <= len(done) < len(names), len(done)
    assert done == [FIRST, *names[: len(done) - 1]]
    written = place.prisma().resolve(applied=names[len(done) - 1 :])
    assert written.failed is None
    assert applied(place) == [FIRST, *names]


# --- deploy -----------------------------------------------------------------------------------------------------------


def test_what_is_pending_is_deployed_in_order_and_belongs_to_the_role_that_is_named(place: Place) -> None:
    place.execute('DROP TABLE "OAuthState"')
    place.migrate("20260101000000_a", "CREATE TABLE a (); SELECT pg_sleep(0.01);", run=False, record=False)
    place.migrate("20260102000000_b", "ALTER TABLE a ADD COLUMN b int;", run=False, record=False)
    said = place.prisma().deploy(role="kb_backend")
    assert (said.exit_code, said.code) == (0, None), said.output
    assert applied(place) == [FIRST, NAME, "20260101000000_a", "20260102000000_b"]
    with place.admin() as conn:
        owners = conn.execute(
            "SELECT DISTINCT relowner::regrole::text FROM pg_class WHERE relname IN ('a', 'OAuthState')"
        )
        assert owners.fetchall() == [("kb_backend",)]
    assert said.command == "prisma migrate deploy"


def test_a_database_that_is_not_empty_and_has_no_history_is_p3005(place: Place) -> None:
    place.execute("DROP TABLE _prisma_migrations")
    said = place.prisma().deploy(role="kb_backend")
    assert (said.exit_code, said.code) == (1, "P3005")


@pytest.mark.parametrize("known", ["system_identifier", "started"])
def test_a_database_that_is_gone_is_not_made_anew(place: Place, known: str) -> None:
    """Prisma's deploy makes a database that is not there; a managed server tells only when it was started."""
    gone = f"{place.database}_gone"
    only = {"system_identifier": None, "started": None, known: "seen"}
    said = place.prisma(dbname=gone, **only).deploy()
    with place.lab.admin("postgres") as conn:
        made = conn.execute("SELECT FROM pg_database WHERE datname = %s", (gone,)).fetchall()
        conn.execute(f"DROP DATABASE IF EXISTS {gone}".encode())
    assert (said.exit_code, "none is made" in said.output, made) == (1, True, []), said.output


def test_after_a_failed_migration_it_is_p3009_and_one_that_fails_is_p3018(place: Place) -> None:
    place.record(NAME)
    place.migrate("20260101000000_a", "CREATE TABLE a (); SELECT 1/0;", run=False, record=False)
    prisma = place.prisma()
    said = prisma.deploy(role="kb_backend")
    assert (said.exit_code, said.code) == (1, "P3018"), said.output
    assert "division by zero" in said.output
    assert place.rows("20260101000000_a") == [(False, False)]
    with place.admin() as conn:
        assert conn.execute("SELECT to_regclass('a')").fetchone() == (None,)
    again = prisma.deploy(role="kb_backend")
    assert (again.exit_code, again.code) == (1, "P3009")
    assert prisma.resolve(rolled_back=["20260101000000_a"]).failed is None
    (place.migrations / "20260101000000_a" / "migration.sql").write_text("CREATE TABLE a ();")
    assert prisma.deploy(role="kb_backend").exit_code == 0
    assert place.rows("20260101000000_a") == [(False, True), (True, False)]


def test_a_statement_waits_for_a_lock_no_longer_than_it_may(place: Place) -> None:
    place.record(NAME)
    place.migrate("20260101000000_a", 'ALTER TABLE "OAuthState" ADD COLUMN a int;', run=False, record=False)
    with place.admin() as conn, conn.transaction():
        conn.execute('LOCK TABLE "OAuthState"')
        said = place.prisma().deploy(role="kb_backend", lock_timeout_ms=200)
    assert (said.exit_code, said.code) == (1, "P3018"), said.output
    assert "lock timeout" in said.output


DEPLOYED = KILLED.replace(
    "resolve(applied=sys.argv[3:])", 'deploy(role="kb_backend", timeout_s=float(sys.argv[3]))'
)


@pytest.mark.parametrize("how", ["time-out", "SIGKILL", "SIGINT"])
def test_a_deployment_that_is_ended_leaves_nothing_of_the_statement_that_ran(place: Place, how: str) -> None:
    """A statement whose client is gone would run to its end on the server, and commit."""
    place.record(NAME)
    place.migrate("20260101000000_a", "CREATE TABLE a (); SELECT pg_sleep(120);", run=False, record=False)
    limit_s = "10" if how == "time-out" else "110"
    command = [sys.executable, "-c", DEPLOYED, str(place.project), place.database, limit_s]
    running = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'CREATE TABLE a%'"
    with place.admin() as conn:

        def runs() -> bool:
            return conn.execute(running.encode()).fetchone() == (1,)

        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as caller:
            wait_until(runs)
            if how != "time-out":
                os.kill(caller.pid, getattr(signal, how))
            said = caller.communicate(timeout=60)[1]
        assert ("`prisma migrate deploy` did not end within 10 seconds" in said) is (how == "time-out"), said
        wait_until(lambda: not runs())
        assert conn.execute("SELECT to_regclass('a')").fetchone() == (None,)
    assert place.rows("20260101000000_a") == [(False, False)]
    assert place.prisma().deploy().code == "P3009"


def wait_until(holds: Callable[[], bool], at_most_s: float = 30) -> None:
    deadline = time.monotonic() + at_most_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
