"""Indexes that are built CONCURRENTLY, after the baseline's transaction: begun, broken off, taken up again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from runbooks_lib.errors import MigrationError
from runbooks_lib.facts.databases import Dump
from runbooks_lib.findings import Answer, Verdict
from runbooks_lib.lab.lab import Lab
from runbooks_lib.phase import Index, Phase, load_phase
from runbooks_lib.postgres.script.apply import LOCK_KEY
from runbooks_lib.postgres.script.concurrent import parse_concurrent
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.steps import baseline_migration as step
from runbooks_lib.steps import baseline_runs, planning
from runbooks_lib.steps.settling import Settling

SHIPPED = load_phase("PH15-AMAZON-DB-FOUNDATION-01")
DATABASE = "concurrent_test"
SCRIPT = "CREATE TABLE IF NOT EXISTS items (id int PRIMARY KEY, n int);\n"
INDEXES = "CREATE INDEX CONCURRENTLY IF NOT EXISTS items_n ON items (n);\n-- unique\n" \
          "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS items_un ON public.items (n) WHERE n > 0;\n"  # fmt: skip
DUMPS = {
    "legacy": Dump(
        path="s.sql", size_bytes=1, complete=True, sha256="a", content_sha256="a", database="", fingerprint=""
    )
}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "settle_all", lambda *_, **__: Settling())
    monkeypatch.setattr(step, "still_settled", lambda *_: ())


@pytest.fixture
def db(lab: Lab) -> Iterator[psycopg.Connection[Any]]:
    """A database with the table and ten thousand rows; a superuser's session in it."""
    name = sql.Identifier(DATABASE)
    with lab.admin("postgres") as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE keybuzz").format(name))
    try:
        with lab.admin(DATABASE) as conn:
            rows = "INSERT INTO items SELECT n, n FROM generate_series(1, 10000) n"
            conn.execute(f"SET ROLE kb_backend; {SCRIPT} {rows}; RESET ROLE")
            yield conn
    finally:
        with lab.admin("postgres") as admin:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


@pytest.fixture
def phase(tmp_path: Path) -> Phase:
    return with_indexes(tmp_path, INDEXES)


def with_indexes(folder: Path, text: str) -> Phase:
    (folder / "baseline.sql").write_text(SCRIPT)
    (folder / "indexes.sql").write_text(text)
    return replace(
        SHIPPED,
        folder=folder,
        targets={"legacy": replace(SHIPPED.targets["legacy"], database=DATABASE)},
        backup=replace(SHIPPED.backup, targets=("legacy",)),
        prisma=None,
        baseline=replace(SHIPPED.baseline, file="baseline.sql", concurrently="indexes.sql"),
        tables=(),
        enums=(),
        indexes=(Index(name="public.items_n", table="public.items"),),
    )


def ask(phase: Phase, question: Callable[..., Answer], **options: Any) -> Answer:
    with Sessions(phase.targets, application_name="runbooks tests") as sessions:
        return question(phase, sessions, **options)


def plan_of(phase: Phase) -> Any:
    return ask(phase, step.plan, dumps=DUMPS, code="c").facts


def make(phase: Phase) -> Answer:
    plan = plan_of(phase)
    assert plan.confirmation
    return ask(phase, step.apply, plan=plan, planned=None, confirm=plan.confirmation, apply=True)


def planned(phase: Phase) -> dict[str, str]:
    return {each.object: each.would for each in plan_of(phase).statements}


def found(answer: Answer, check: str, object: str) -> tuple[Verdict, str]:
    (finding,) = (f for f in answer.findings if (f.check, f.object) == (check, object))
    return finding.verdict, finding.have


def validity(db: psycopg.Connection[Any]) -> dict[str, bool]:
    return dict(db.execute("SELECT indexrelid::regclass::text, indisvalid FROM pg_index WHERE indrelid = "
                           "'items'::regclass AND NOT indisprimary").fetchall())  # fmt: skip


def test_indexes_are_planned_built_after_the_transaction_and_proved_by_a_second_run(
    db: psycopg.Connection[Any], phase: Phase
) -> None:
    parsed = ask(phase, step.parse)
    assert [f.have for f in parsed.findings if f.check == "statement_is_idempotent"] == ["idempotent"] * 3
    assert planned(phase) == {"public.items": "exists, same", "public.items_n": "would create",
                              "public.items_un": "would create"}  # fmt: skip
    rehearsed = ask(phase, step.rehearse, plan=plan_of(phase))
    assert found(rehearsed, "rehearsal_is_inert", "index public.items_n") == (
        Verdict.OPEN, "rehearsed in an empty database alone: CONCURRENTLY can't run in a transaction")  # fmt: skip
    assert found(rehearsed, "undo_restores", "undo script") == (
        Verdict.OPEN, "not rehearsed: built after the transaction: public.items_n, public.items_un")  # fmt: skip
    assert rehearsed.facts.undo.rehearsed is False
    assert not [f for f in rehearsed.findings if f.verdict in (Verdict.FAIL, Verdict.ERROR)]
    applied = make(phase)
    assert found(applied, "baseline_is_applied", "indexes.sql") == (Verdict.PASS, "applied")
    assert found(applied, "has_index", "public.items_n")[0] is Verdict.PASS
    assert found(applied, "script_makes_what_it_says", "objects of the script")[0] is Verdict.PASS
    assert validity(db) == {"items_n": True, "items_un": True}
    owner = "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'items_un'"
    assert db.execute(owner).fetchone() == ("kb_backend",)
    again = ask(phase, step.second_run, apply=True)
    assert found(again, "second_run_changes_nothing", "indexes.sql") == (Verdict.PASS, "catalogue as before")
    assert set(planned(phase).values()) == {"exists, same"}
    db.execute("DROP INDEX items_n")
    verdict, have = found(
        ask(phase, step.second_run, apply=True), "second_run_changes_nothing", "indexes.sql"
    )
    assert (verdict, have) == (Verdict.FAIL, "not there, or not valid: public.items_n")
    assert validity(db) == {"items_un": True}


def building(db: psycopg.Connection[Any]) -> int:
    """Wait until an index is being built; return by which pid."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        row = db.execute("SELECT pid FROM pg_stat_progress_create_index WHERE phase ~ '^waiting'").fetchone()
        if row is not None:
            return int(row[0])
        time.sleep(0.02)
    raise AssertionError("no index is being built")


def test_an_index_whose_building_was_killed_is_found_and_built_anew(
    db: psycopg.Connection[Any], lab: Lab, phase: Phase
) -> None:
    with lab.admin(DATABASE) as other, ThreadPoolExecutor() as pool, other.transaction():
        other.execute("UPDATE items SET n = -n WHERE id = 1")  # what it waits for
        applying = pool.submit(make, phase)
        pid = building(db)
        assert db.execute("SELECT pg_try_advisory_lock(%s)", (LOCK_KEY,)).fetchone() == (False,)
        db.execute("SELECT pg_terminate_backend(%s)", (pid,))
        applied = applying.result(timeout=60)
    verdict, have = found(applied, "baseline_is_applied", "indexes.sql")
    assert (verdict, "not built: Line 1 (index public.items_n) failed" in have) == (Verdict.FAIL, True)
    assert found(applied, "baseline_is_applied", "baseline.sql")[0] is Verdict.PASS
    assert validity(db) == {"items_n": False}
    assert planned(phase)["public.items_n"] == "would change"
    applied = make(phase)
    assert validity(db) == {"items_n": True, "items_un": True}
    assert found(applied, "baseline_is_applied", "indexes.sql")[0] is Verdict.PASS
    notices = [notice for each in applied.facts.outcomes for notice in each.notices if "broken off" in notice]
    assert len(notices) == 1
    assert db.execute("SELECT pg_try_advisory_lock(%s)", (LOCK_KEY,)).fetchone() == (True,)


def test_an_index_that_cannot_be_built_is_not_left_behind_half_built(
    db: psycopg.Connection[Any], phase: Phase
) -> None:
    db.execute("UPDATE items SET n = 7 WHERE id < 3")
    verdict, have = found(make(phase), "baseline_is_applied", "indexes.sql")
    assert (verdict, "items_un) failed: could not create unique index" in have) == (Verdict.FAIL, True)
    assert validity(db) == {"items_n": True}
    db.execute("UPDATE items SET n = id")
    assert found(make(phase), "baseline_is_applied", "indexes.sql")[0] is Verdict.PASS


def test_a_session_that_is_lost_after_the_commit_leaves_it_applied(
    db: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch, phase: Phase
) -> None:
    def lose(conn: psycopg.Connection[Any], *_: Any, **__: Any) -> None:
        db.execute("SELECT pg_terminate_backend(%s)", (conn.info.backend_pid,))
        conn.execute("SELECT 1")

    monkeypatch.setattr(baseline_runs, "build", lose)
    applied = make(phase)
    verdict, have = found(applied, "baseline_is_applied", "indexes.sql")
    assert (verdict, have.startswith("not built: "), applied.facts.applied) == (Verdict.FAIL, True, True)
    assert found(applied, "baseline_is_applied", "baseline.sql")[0] is Verdict.PASS


def test_an_index_that_somebody_builds_is_left_to_them(
    db: psycopg.Connection[Any], lab: Lab, phase: Phase
) -> None:
    with lab.admin(DATABASE) as other, lab.admin(DATABASE) as builder, ThreadPoolExecutor() as pool:
        with other.transaction():
            other.execute("UPDATE items SET n = -n WHERE id = 1")
            by_hand = pool.submit(builder.execute, "SET ROLE kb_backend") and pool.submit(
                builder.execute, "CREATE INDEX CONCURRENTLY items_n ON items (n)"
            )
            pid = building(db)
            have = found(make(phase), "baseline_is_applied", "indexes.sql")[1]
            assert f"is not valid yet, and pid {pid} is at work on its table" in have
        by_hand.result(timeout=60)
    assert validity(db) == {"items_n": True}


def test_an_index_of_another_shape_is_different(db: psycopg.Connection[Any], phase: Phase) -> None:
    db.execute("SET ROLE kb_backend; CREATE INDEX items_n ON items (n DESC); RESET ROLE")
    assert planned(phase)["public.items_n"] == "exists, DIFFERENT"


@pytest.mark.parametrize(
    "text",
    [
        "CREATE INDEX IF NOT EXISTS i ON items (n);",
        "CREATE INDEX CONCURRENTLY i ON items (n);",
        "DROP INDEX CONCURRENTLY IF EXISTS i;",
        "CREATE TABLE IF NOT EXISTS t (id int);",
    ],
)
def test_nothing_else_stands_in_the_file(db: psycopg.Connection[Any], tmp_path: Path, text: str) -> None:
    assert "nothing but such an index" in parse_concurrent(text)[0].refused
    phase = with_indexes(tmp_path, text)
    assert ask(phase, step.parse).verdict is Verdict.FAIL
    for answer in (ask(phase, step.plan, dumps=DUMPS, code="c"), ask(phase, step.second_run, apply=True)):
        assert answer.verdict is Verdict.ERROR
    with pytest.raises(MigrationError, match="is not run"):
        step.indexes_to_build(phase)
