"""A baseline on a database that is in use: others write all the while, and neither side keeps the other from it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from runbooks_lib.facts.writing import Plan
from runbooks_lib.findings import Answer, Verdict
from runbooks_lib.lab.lab import Lab
from runbooks_lib.phase import Phase, load_phase
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.steps import backup
from runbooks_lib.steps import baseline_migration as step

SHIPPED = load_phase("PH15-AMAZON-DB-FOUNDATION-01")
DATABASE = "traffic_test"
LOCK_TIMEOUT_MS = 2_000
IN_USE = """
CREATE TABLE shops (id int PRIMARY KEY, name text NOT NULL, visits int NOT NULL DEFAULT 0);
INSERT INTO shops SELECT n, 'shop ' || n FROM generate_series(1, 100) n;
CREATE TABLE events (id bigserial PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(), n int);
CREATE TABLE hidden (id int PRIMARY KEY);
ALTER TABLE hidden ENABLE ROW LEVEL SECURITY;
ALTER TABLE hidden FORCE ROW LEVEL SECURITY;
"""
SCRIPT = """
ALTER TABLE public.shops ADD COLUMN IF NOT EXISTS phone text NOT NULL DEFAULT '';
CREATE INDEX IF NOT EXISTS shops_name_idx ON public.shops (name);
CREATE TABLE IF NOT EXISTS public.kinds (id int PRIMARY KEY, name text NOT NULL UNIQUE);
INSERT INTO public.kinds VALUES (1, 'one'), (2, 'two') ON CONFLICT DO NOTHING;
INSERT INTO public.shops (id, name) VALUES (1, 'shop 1'), (1001, 'new') ON CONFLICT DO NOTHING;
"""
ELSEWHERE = """
INSERT INTO public.events (n) VALUES (1);
UPDATE public.events SET n = n + 1 WHERE id = (SELECT max(id) FROM public.events);
\\sleep 20 ms
"""
THE_SAME = """
\\set id random(1, 100)
UPDATE public.shops SET visits = visits + 1 WHERE id = :id;
INSERT INTO public.shops (id, name) VALUES (100000 + random() * 1000000000, 'x') ON CONFLICT DO NOTHING;
\\sleep 20 ms
"""


@pytest.fixture
def db(fresh_lab: Lab) -> Iterator[psycopg.Connection[Any]]:
    """A database in use on a server that has room for a hundred and more."""
    for cluster in (fresh_lab.replica, fresh_lab.leader):
        cluster.stop()
        with (cluster.data / "runbooks.conf").open("a") as file:
            file.write("max_connections = 140\n")
    fresh_lab.leader.start()
    fresh_lab.leader.wait_ready()
    with fresh_lab.admin("postgres") as admin:
        admin.execute(f"CREATE DATABASE {DATABASE} TEMPLATE keybuzz")
    with fresh_lab.admin(DATABASE) as conn:
        conn.execute("SET ROLE kb_backend")
        conn.execute(IN_USE)
        conn.execute("RESET ROLE; GRANT SELECT ON ALL TABLES IN SCHEMA public TO keybuzz_operator")
        yield conn


@pytest.fixture
def phase(db: psycopg.Connection[Any], tmp_path: Path) -> Phase:
    (tmp_path / "baseline.sql").write_text(SCRIPT)
    return replace(
        SHIPPED,
        folder=tmp_path,
        targets={"legacy": replace(SHIPPED.targets["legacy"], database=DATABASE)},
        backup=replace(SHIPPED.backup, targets=("legacy",)),
        prisma=None,
        baseline=replace(SHIPPED.baseline, lock_timeout_ms=LOCK_TIMEOUT_MS),
        tables=(),
        enums=(),
        indexes=(),
    )


@contextmanager
def writers(lab: Lab, folder: Path, script: str, number: int) -> Iterator[list[float]]:
    """Let a number of others write until the block ends; then the list has what each transaction took, in seconds."""
    pgbench = lab.leader.programs.bindir / "pgbench"
    if not pgbench.is_file():
        pytest.skip(f"no {pgbench}")
    (folder / "traffic.sql").write_text(script)
    command = [pgbench, "--no-vacuum", f"--client={number}", "--jobs=2", "--time=120", "--file=traffic.sql", "--log",
               "--log-prefix=took"]  # fmt: skip
    environment = os.environ | {"PGSERVICE": "keybuzz_admin", "PGDATABASE": DATABASE}
    took: list[float] = []
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)  # fmt: skip
    try:
        yield took
        assert process.poll() is None, process.communicate()[1]
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate()
    for file in folder.glob("took*"):
        took += [int(line.split()[2]) / 1e6 for line in file.read_text().splitlines() if line.count(" ") >= 5]


def busy(db: psycopg.Connection[Any], at_least: int) -> None:
    """Wait until that many others are at work."""
    asked = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgbench' AND query <> ''"
    while (db.execute(asked).fetchone() or (0,))[0] < at_least:
        time.sleep(0.05)


def carried_out(phase: Phase) -> dict[str, Answer]:
    """Dump, plan, rehearse, apply and apply again."""

    def ask(question: Any, **options: Any) -> Answer:
        with Sessions(phase.targets, application_name="runbooks tests") as sessions:
            answer: Answer = question(phase, sessions, **options)
        return answer

    dumps = ask(backup.dump, folder=phase.folder).facts.dumps
    answers = {"parse": ask(step.parse)}
    plan = answers["plan"] = ask(step.plan, dumps=dumps, code="c", folder=phase.folder)
    answers["rehearse"] = ask(step.rehearse, plan=plan.facts)
    answers["apply"] = ask(
        step.apply, plan=plan.facts, planned=None, confirm=plan.facts.confirmation, apply=True
    )
    answers["second run"] = ask(step.second_run, apply=True)
    return answers


@pytest.mark.parametrize(
    ("script", "number"),
    [pytest.param(ELSEWHERE, 100, id="other tables"), pytest.param(THE_SAME, 20, id="the same tables")],
)
def test_others_write_all_the_while(
    fresh_lab: Lab, db: psycopg.Connection[Any], phase: Phase, tmp_path: Path, script: str, number: int
) -> None:
    table = "events" if script == ELSEWHERE else "shops"
    counted = f"SELECT count(*) FROM {table}"
    with writers(fresh_lab, tmp_path, script, number) as took:
        busy(db, number)
        before = db.execute(counted).fetchone()
        answers = carried_out(phase)
        after = db.execute(counted).fetchone()
    assert (after or (0,))[0] > (before or (0,))[0] + number  # they did not stand still
    judged = {
        (name, f.check, f.object): (f.verdict, f.have)
        for name, answer in answers.items()
        for f in answer.findings
        if f.verdict is not Verdict.PASS and f.check not in ("script_is_lint_free", "undo_restores")
    }
    assert judged == {}
    assert answers["apply"].facts.applied is True
    assert len(took) > number
    assert max(took) < LOCK_TIMEOUT_MS / 1000 + 1
    assert db.execute("SELECT count(*) FROM kinds").fetchone() == (2,)
    assert db.execute("SELECT count(phone) FROM shops WHERE id = 1001").fetchone() == (1,)


def test_all_statements_together_wait_no_longer_than_the_lock_timeout(
    fresh_lab: Lab, db: psycopg.Connection[Any], phase: Phase
) -> None:
    """Whoever needs the first table waits until the script has the second, or gives up: not for twice the time-out."""
    script = "".join(
        f"ALTER TABLE public.{table} ADD COLUMN IF NOT EXISTS x int;\n" for table in ("shops", "events")
    )
    (phase.folder / "baseline.sql").write_text(script)
    with Sessions(phase.targets, application_name="runbooks tests") as sessions, ThreadPoolExecutor() as pool:
        rehearsing: Future[Answer] | None = None
        with fresh_lab.admin(DATABASE) as second, second.transaction():
            second.execute("LOCK TABLE events IN SHARE MODE")
            with fresh_lab.admin(DATABASE) as first, first.transaction():
                first.execute("LOCK TABLE shops IN SHARE MODE")
                rehearsing = pool.submit(step.rehearse, phase, sessions, plan=Plan(makes=[], where="here"))
                waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'shops'::regclass"
                while db.execute(waiting).fetchone() == (0,):
                    time.sleep(0.01)
                time.sleep(LOCK_TIMEOUT_MS / 1000 * 0.7)
            released = time.monotonic()
            answer = rehearsing.result(timeout=30)
    assert answer.verdict is Verdict.ERROR
    assert "Line 2" in answer.findings[0].have
    assert time.monotonic() - released < LOCK_TIMEOUT_MS / 1000 * 0.7  # and not the whole time-out again
