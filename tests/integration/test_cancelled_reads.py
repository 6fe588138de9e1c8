"""Queries that a standby's replay cancels are asked again; standbys that are late on purpose are named as such."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import psycopg
import pytest

from runbooks_lib.errors import RunbookError
from runbooks_lib.findings import Answer, Finding, Verdict, could_not_run
from runbooks_lib.lab.lab import Lab
from runbooks_lib.phase import load_phase
from runbooks_lib.postgres.session import replication as replication_module
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.steps import preflight, standby_reads
from runbooks_lib.steps.standby_reads import read_again

from ..faults.campaign import fault

PHASE = load_phase("PH15-AMAZON-DB-FOUNDATION-01")
Conflict = Callable[..., None]


@pytest.fixture
def standby(fresh_lab: Lab) -> Iterator[psycopg.Connection[Any]]:
    passfile = fresh_lab.env()["PGPASSFILE"]
    with fresh_lab.replica.connect("keybuzz_backend", passfile=passfile) as conn:
        yield conn


@pytest.fixture
def conflict(fresh_lab: Lab, standby: psycopg.Connection[Any]) -> Iterator[Conflict]:
    """A function that removes on the leader what a snapshot on the standby still sees, and waits for its replay."""
    for setting in ("max_standby_streaming_delay = 0", "hot_standby_feedback = off"):
        standby.execute(f"ALTER SYSTEM SET {setting}".encode())
    standby.execute("SELECT pg_reload_conf()")

    def has_replayed(observer: psycopg.Connection[Any], lsn: str) -> bool:
        replayed = observer.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", (lsn,)).fetchone()
        return replayed == (True,)

    # Who looks is in another database: in this one replay would end that session, too, now and then.
    passfile = fresh_lab.env()["PGPASSFILE"]
    with (
        fresh_lab.admin("keybuzz_backend") as leader,
        fresh_lab.replica.connect("postgres", passfile=passfile) as observer,
    ):
        leader.execute("CREATE TABLE churn AS SELECT g AS a FROM generate_series(1, 50) g")
        leader.execute("GRANT SELECT ON churn TO keybuzz_operator")

        def cause(*, wait: bool = True) -> None:
            leader.execute("UPDATE churn SET a = a + 1")
            leader.execute("VACUUM churn")
            leader.execute("SELECT pg_switch_wal()")  # what VACUUM writes alone is not flushed at once
            (lsn,) = leader.execute("SELECT pg_current_wal_lsn()::text").fetchone() or ("",)
            while wait and not has_replayed(observer, lsn):
                time.sleep(0.005)

        cause()
        yield cause


def question(
    sessions: Sessions, causes: Callable[[int], None], *, target: str = "replica"
) -> Callable[[], Answer]:
    times: list[int] = []

    @read_again
    def rows() -> Answer:
        times.append(1)
        try:
            with sessions.snapshot(target) as conn:
                conn.execute("SELECT count(*) FROM public.churn")
                causes(len(times))
                conn.execute("SELECT count(*) FROM public.churn")
        except RunbookError as error:
            found = could_not_run("row_count_is", target, "churn", error)
        else:
            found = Finding(
                check="row_count_is", target=target, object="churn", have="", want="", verdict=Verdict.PASS
            )
        return Answer(findings=(found,), facts={"times": len(times)})

    return rows


@pytest.mark.parametrize("cancelled", [1, 2])
def test_a_cancelled_read_is_read_again_and_said(conflict: Conflict, cancelled: int) -> None:
    with Sessions(PHASE.targets) as sessions:
        answer = question(sessions, lambda time: conflict() if time <= cancelled else None)()
    assert answer.facts["times"] == cancelled + 1
    assert [(f.check, f.verdict) for f in answer.findings] == [
        ("row_count_is", Verdict.PASS),
        ("reads_are_not_cancelled", Verdict.OPEN),
    ]
    assert answer.findings[1].have.startswith(f"{cancelled} cancelled")


@fault(
    kind="processes",
    fault="SIGKILL to the standby's process of our session",
    injected="kill -9 in the middle of a snapshot",
    seen="the session is lost",
    told="it is read again, and said",
    goes_on="nothing has to be done",
    fast=True,
)
def test_a_session_that_a_standby_cuts_is_read_again(
    fresh_lab: Lab, standby: psycopg.Connection[Any], conflict: Conflict
) -> None:
    """The reason that a server gives when it closes the connection does not always arrive."""
    with Sessions(PHASE.targets) as sessions:

        def cut(time: int) -> None:
            if time == 1:
                os.kill(sessions.read("replica").server_pid, signal.SIGKILL)

        answer = question(sessions, cut)()
        fresh_lab.replica.wait_ready()
    assert answer.facts["times"] > 1


def test_it_is_not_tried_for_ever(conflict: Conflict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standby_reads, "PAUSE_S", 0.001)
    with Sessions(PHASE.targets) as sessions:
        answer = question(sessions, lambda time: conflict())()
    assert answer.facts["times"] == standby_reads.TIMES
    assert answer.findings[0].verdict is Verdict.ERROR
    assert "max_standby_streaming_delay" in answer.findings[0].hint


def test_nothing_is_asked_again_without_a_cancelled_query(fresh_lab: Lab) -> None:
    def fails(time: int) -> None:
        raise RunbookError("Something else.")

    with fresh_lab.admin("keybuzz_backend") as leader:
        leader.execute("CREATE TABLE churn (a int); GRANT SELECT ON churn TO keybuzz_operator")
    with Sessions(PHASE.targets) as sessions:
        answer = question(sessions, fails, target="leader")()
    assert answer.facts["times"] == 1
    assert [f.check for f in answer.findings] == ["row_count_is"]


def test_a_standby_that_is_late_on_purpose_is_named(
    fresh_lab: Lab, standby: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replication_module, "REPLAY_TIMEOUT_S", 0.2)
    standby.execute("ALTER SYSTEM SET recovery_min_apply_delay = '1h'")
    standby.execute("SELECT pg_reload_conf()")
    with fresh_lab.admin("keybuzz_backend") as leader:
        leader.execute('UPDATE "OAuthState" SET "usedAt" = now()')
    with Sessions(PHASE.targets) as sessions:
        answer = preflight.replication(PHASE, sessions)
    findings = {f.check: f for f in answer.findings}
    assert findings["standby_has_replayed"].verdict is Verdict.FAIL
    assert "recovery_min_apply_delay = 3600000 ms" in findings["standby_has_replayed"].hint
    assert "delayed by 3600000 ms" in findings["standby_is_streaming"].have
    assert findings["standby_is_streaming"].verdict is Verdict.PASS
    assert answer.facts.lag["replica"].apply_delay_ms == 3_600_000


@pytest.mark.parametrize("paused", [True, False])
def test_paused_replay_is_told_from_slow_replay(
    conflict: Conflict, standby: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch, paused: bool
) -> None:
    monkeypatch.setattr(replication_module, "REPLAY_TIMEOUT_S", 0.2)
    if paused:
        standby.execute("SELECT pg_wal_replay_pause()")
    else:  # a query that replay may not cancel holds it up
        standby.execute("ALTER SYSTEM SET max_standby_streaming_delay = -1")
        standby.execute("SELECT pg_reload_conf()")
        time.sleep(0.2)
        standby.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        standby.execute("SELECT FROM churn")
    conflict(wait=False)
    with Sessions(PHASE.targets) as sessions:
        answer = preflight.replication(PHASE, sessions)
    with suppress(psycopg.errors.SerializationFailure):  # replay goes on, and may cancel the very statement
        standby.execute("SELECT pg_wal_replay_resume()" if paused else "ROLLBACK")
    findings = {f.check: f for f in answer.findings}
    assert findings["standby_has_replayed"].verdict is Verdict.FAIL
    assert ("pg_wal_replay_resume" in findings["standby_has_replayed"].hint) is paused
    assert (findings["standby_is_streaming"].verdict is Verdict.FAIL) is paused


@pytest.mark.parametrize("paused", [False, True])
def test_the_rest_of_a_record_that_is_not_flushed_is_not_waited_for(
    fresh_lab: Lab, standby: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch, paused: bool
) -> None:
    """A writer that has not committed leaves a primary's WAL in the middle of a record, for as long as it likes."""
    monkeypatch.setattr(replication_module, "REPLAY_TIMEOUT_S", 3.0)
    torn, replica = 0, PHASE.targets["replica"]
    with fresh_lab.admin("keybuzz_backend") as leader:
        leader.execute("CREATE TABLE churn (a int)")
        if paused:
            standby.execute("SELECT pg_wal_replay_pause()")
        leader.autocommit = False
        for _ in range(20):
            leader.execute("INSERT INTO churn SELECT g FROM generate_series(1, 60) g")
            with Sessions(PHASE.targets) as sessions:
                lag = replication_module.measure_lag(sessions, "replica", replica)
            assert lag.replayed is not paused
            torn += lag.samples[-1].lag_bytes > 0
            if torn:
                break
        leader.rollback()
    if paused:
        standby.execute("SELECT pg_wal_replay_resume()")
    assert torn, "no record was flushed in part"


def test_a_commit_that_did_not_wait_for_its_flush_is_waited_for(fresh_lab: Lab) -> None:
    with fresh_lab.admin("keybuzz_backend") as leader:
        leader.execute("CREATE TABLE churn (a int)")
        leader.execute("SET synchronous_commit = off")
        for row in range(20):
            leader.execute(f"INSERT INTO churn VALUES ({row})".encode())
            with Sessions(PHASE.targets) as sessions:
                assert replication_module.measure_lag(sessions, "replica", PHASE.targets["replica"]).replayed
            passfile = fresh_lab.env()["PGPASSFILE"]
            with fresh_lab.replica.connect("keybuzz_backend", passfile=passfile) as conn:
                assert conn.execute("SELECT count(*) FROM churn").fetchone() == (row + 1,)
