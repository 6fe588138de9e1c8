"""Two operators at once, and whoever else is in the way: one writes, the others are told who does."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from runbooks_lib.archive.run import Run, all_runs
from runbooks_lib.errors import MigrationError
from runbooks_lib.execution.confirmation import confirmation_of
from runbooks_lib.lab.lab import Lab, running
from runbooks_lib.notebook.step import Step
from runbooks_lib.phase import Phase, load_phase
from runbooks_lib.postgres.queries import query
from runbooks_lib.postgres.script.apply import LOCK_KEY, run_script
from runbooks_lib.postgres.script.script import parse_script
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.steps import backup

from .campaign import fault

PHASE = "PH15-AMAZON-DB-FOUNDATION-01"
RUNBOOKS = Path(sys.executable).with_name("runbooks")
TABLES = {
    "MarketplaceConnection",
    "MarketplaceSyncState",
    "OAuthState",
    "inbound_addresses",
    "inbound_connections",
}
PATIENCE_S = 120
GATE = 7  # class of the advisory locks below; the object is the pid that may pass, 0 lets nobody pass

# Whoever creates a type waits while somebody else's gate is closed: so the test decides when a script goes on.
WAIT_AT_THE_GATE = f"""
CREATE SCHEMA gatekeeper;
CREATE FUNCTION gatekeeper.wait() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
  WHILE EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND granted AND classid = {GATE}
                AND objsubid = 2 AND objid <> pg_catalog.pg_backend_pid()::oid) LOOP
    PERFORM pg_catalog.pg_sleep(0.02);
  END LOOP;
END $$;
CREATE EVENT TRIGGER gatekeeper ON ddl_command_end WHEN TAG IN ('CREATE TYPE') EXECUTE FUNCTION gatekeeper.wait();
"""


@pytest.fixture(scope="module")
def operators(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab of this file's own, whose leader the operators fight over; the session's comes first (see `fresh_lab`)."""
    with running() as started, pytest.MonkeyPatch.context() as patch:
        for name, value in started.env().items():
            patch.setenv(name, value)
        yield started


@pytest.fixture
def admin(operators: Lab) -> Iterator[psycopg.Connection[Any]]:
    with operators.admin("keybuzz") as conn:
        yield conn


def confirmation(folder: Path) -> str:
    """The confirmation of the plan as it is now, made as the demo makes it."""
    phase = load_phase(PHASE)
    run = Run.create(folder, phase)
    step = Step("backup", phase, run, apply=False)
    step.ask(backup.client)
    step.ask(backup.dump, folder=step.folder("backup"))
    step.close()
    return confirmation_of(phase, run)


def start(runs: Path, confirm: str) -> subprocess.Popen[str]:
    """One operator: the command that operators type, in a process of its own."""
    return subprocess.Popen(
        [str(RUNBOOKS), "run", PHASE, "--apply", "--confirm", confirm, "--runs", str(runs), "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@contextmanager
def two(folder: Path, confirm: str) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """Two operators who start at the same time; their processes are gone afterwards."""
    processes = {name: start(folder / name, confirm) for name in ("anne", "bob")}
    try:
        yield processes
    finally:
        for process in processes.values():
            kill(process)


def kill(process: subprocess.Popen[str]) -> None:
    """SIGKILL the command and its kernel."""
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(process.pid)
        for each in (parent, *parent.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                each.kill()
    process.communicate()


def until(condition: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
    deadline = time.monotonic() + patience_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
    return found


def holder(conn: psycopg.Connection[Any]) -> tuple[int, str] | None:
    """Pid and application_name of the session that has our lock."""
    row = conn.execute(query("lock_holder"), {"key": LOCK_KEY}).fetchone()
    return (row[0], row[2]) if row else None


def tables(conn: psycopg.Connection[Any]) -> set[str]:
    rows = conn.execute(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    )
    return {row[0] for row in rows} - {"tenants"}


def run_of(folder: Path) -> Run:
    (run,) = all_runs(folder)
    return run


def said(run: Run) -> list[str]:
    """What closed the gate of step 3, in words."""
    record = run.record_json("baseline_migration")
    assert record is not None
    return [
        f["have"]
        for a in record["answers"].values()
        for f in a["findings"]
        if f["verdict"] in ("FAIL", "ERROR")
    ]


@fault(
    kind="database",
    fault="two operators start the same apply; the first is killed in the middle",
    injected="two commands at once on one leader; kill -9 of the one that has the lock",
    seen="the advisory lock is held; then its session is gone",
    told="the lock is held by whom, with pid, application and run",
    goes_on="the other operator runs it again: nothing of the first stands, and no lock",
    fast=True,
)
def test_the_second_is_refused_with_the_first_ones_name_and_a_killed_one_leaves_no_lock(
    admin: psycopg.Connection[Any], tmp_path: Path
) -> None:
    admin.execute(WAIT_AT_THE_GATE)
    try:
        confirm = confirmation(tmp_path / "plan")
        admin.execute("SELECT pg_advisory_lock(%s, 0)", (GATE,))
        with two(tmp_path, confirm) as processes:
            rehearsing, name = until(lambda: holder(admin))
            ids = {operator: run_of(tmp_path / operator).id for operator in processes}
            (first,) = [
                operator for operator, id_ in ids.items() if name == f"runbooks baseline_migration {id_}"
            ]
            (second,) = ids.keys() - {first}

            # The other one is refused and told who has the lock; the first goes on holding it.
            assert processes[second].wait(PATIENCE_S) == 1
            (words,) = set(said(run_of(tmp_path / second)))  # of the rehearsal, and of its undo
            assert f" s, is held by keybuzz_operator ({name}, pid {rehearsing}" in words
            assert ids[first] in words
            assert holder(admin) == (rehearsing, name)

            # Its rehearsal may end, its apply may not; in the middle of that it is killed.
            admin.execute("SELECT pg_advisory_lock(%s, %s)", (GATE, rehearsing))
            admin.execute("SELECT pg_advisory_unlock(%s, 0)", (GATE,))
            until(lambda: (now := holder(admin)) and now[0] != rehearsing)
            kill(processes[first])
            admin.execute("SELECT pg_advisory_unlock_all()")
            until(lambda: holder(admin) is None, patience_s=10)
        assert tables(admin) == set()
        record = run_of(tmp_path / first).record_json("baseline_migration")
        assert record is not None
        assert (record["verdict"], "apply" in record["answers"]) == (None, False)
    finally:
        admin.execute("SELECT pg_advisory_unlock_all()")
        admin.execute("DROP EVENT TRIGGER IF EXISTS gatekeeper")
        admin.execute("DROP SCHEMA gatekeeper CASCADE")


@fault(
    kind="database",
    fault="two operators apply the same plan at once",
    injected="two commands at once on one leader",
    seen="the advisory lock is held, or the plan is no longer that of the database",
    told="who has the lock, or that the database has changed since the plan",
    goes_on="plan anew",
    fast=True,
)
def test_of_two_at_once_one_applies(admin: psycopg.Connection[Any], tmp_path: Path) -> None:
    """Without a hand of ours in it; also after the one that was killed."""
    confirm = confirmation(tmp_path / "plan")
    with two(tmp_path, confirm) as processes:
        outputs = {
            operator: process.communicate(timeout=PATIENCE_S) for operator, process in processes.items()
        }
    codes = {operator: process.returncode for operator, process in processes.items()}
    assert sorted(codes.values()) == [0, 1], outputs
    winner, loser = sorted(codes, key=codes.__getitem__)

    done = json.loads(outputs[winner][0])
    assert done["verdict"] == "OPEN"
    assert tables(admin) == TABLES
    record = run_of(tmp_path / winner).record_json("baseline_migration")
    assert record is not None
    assert record["answers"]["apply"]["facts"]["applied"] is True
    refused = json.loads(outputs[loser][0])
    assert refused["verdict"] in ("FAIL", "ERROR")
    # Refused by the lock, or, when it came later, because its plan is no longer that of the database.
    told = " ".join(said(run_of(tmp_path / loser)))
    assert done["id"] in told or confirm in told or "changed since the plan was made" in told
    lost = run_of(tmp_path / loser).record_json("baseline_migration")
    assert lost is not None
    assert not lost["answers"].get("apply", {}).get("facts", {}).get("applied")
    with psycopg.connect(service="keybuzz_leader", dbname="keybuzz_backend") as backend:
        rows = backend.execute(
            "SELECT migration_name, count(*) FROM _prisma_migrations GROUP BY 1"
        ).fetchall()
    assert sorted(rows) == [
        ("20251210093000_init_amazon_inbound", 1),
        ("20251220235148_add_oauth_state_table", 1),
    ]


# --- somebody's lock on a table --------------------------------------------------------------------------------


@pytest.fixture
def waited_for(operators: Lab) -> Iterator[Phase]:
    """The phase at a database of its own."""
    with operators.admin("postgres") as postgres:
        postgres.execute("CREATE DATABASE waited_for TEMPLATE keybuzz")
        try:
            shipped = load_phase(PHASE)
            target = replace(shipped.targets["legacy"], database="waited_for")
            yield replace(shipped, targets={"legacy": target}, prisma=None)
        finally:
            postgres.execute("DROP DATABASE waited_for WITH (FORCE)")


@fault(
    kind="database",
    fault="somebody holds a lock on a table of the baseline: {words}",
    injected="LOCK TABLE in another session, beyond the time-out",
    seen="SQLSTATE 55P03 or 57014",
    told="the statement and its line; the holder's pid, role, application and query",
    goes_on="talk to its owner, then run the phase again",
    fast=True,
)
@pytest.mark.parametrize(
    ("timeouts", "words"),
    [
        ({"lock_timeout_ms": 400, "statement_timeout_ms": 5_000}, "canceling statement due to lock timeout"),
        (
            {"lock_timeout_ms": 5_000, "statement_timeout_ms": 400},
            "canceling statement due to statement timeout",
        ),
    ],
)
def test_who_locks_a_table_for_too_long_is_named(
    waited_for: Phase, operators: Lab, timeouts: dict[str, int], words: str
) -> None:
    statements = parse_script((waited_for.folder / waited_for.baseline.file).read_text(encoding="utf-8"))

    def run() -> None:
        with sessions.write("legacy", **timeouts) as conn, conn.transaction():
            run_script(conn, statements, owner=waited_for.owner, lock_timeout_ms=400)

    with Sessions(waited_for.targets, application_name="runbooks test") as sessions:
        run()
        with operators.admin("waited_for") as blocker:
            pid = blocker.info.backend_pid
            blocker.execute("SET application_name = 'nightly import'")
            with blocker.transaction():
                blocker.execute('LOCK TABLE public."OAuthState" IN SHARE ROW EXCLUSIVE MODE')
                with pytest.raises(MigrationError) as caught:
                    run()
        run()
    what_happened = caught.value.what_happened
    assert re.match(r"Line \d+ \(index public\.oauth_states_\w+\) failed: ", what_happened)
    assert f"{words}. It waited for pid {pid} postgres nightly import" in what_happened
    assert re.search(
        r"idle in transaction, its transaction open for \d+ s, its query: LOCK TABLE public\.", what_happened
    )
    assert "Talk to its owner" in caught.value.what_to_do


@fault(
    kind="database",
    fault="a statement of the baseline fails, and nobody is in its way",
    injected="a column of a type that does not exist",
    seen="SQLSTATE 42704",
    told="the statement and the server's own words; no session is blamed",
    goes_on="mend the baseline, then run the phase again",
    fast=True,
)
def test_without_a_wait_nobody_is_named(waited_for: Phase, operators: Lab) -> None:
    statements = parse_script("CREATE TABLE IF NOT EXISTS public.x (y none_of_this_type);")
    with (
        Sessions(waited_for.targets, application_name="runbooks test") as sessions,
        sessions.write("legacy", lock_timeout_ms=400, statement_timeout_ms=400) as conn,
        pytest.raises(MigrationError, match=r"does not exist") as caught,
        conn.transaction(),
    ):
        run_script(conn, statements, owner=waited_for.owner, lock_timeout_ms=400)
    assert "waited" not in str(caught.value)
