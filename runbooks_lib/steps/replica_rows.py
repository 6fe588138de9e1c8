"""Does a standby hold the rows of its primary? Told by digests that the servers make, whatever the tables' size."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from runbooks_lib.amounts import lasted, size
from runbooks_lib.checks import Check
from runbooks_lib.facts.databases import Lag
from runbooks_lib.findings import Finding, Verdict
from runbooks_lib.phase import Phase, Target
from runbooks_lib.postgres.catalog.catalog import tables_there
from runbooks_lib.postgres.rows.content import content_hash
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.postgres.session.replication import measure_lag
from runbooks_lib.postgres.session.session import take_time

LOOKS = 3  # at tables that are written to meanwhile

Content = tuple[int, str]

_HINTS = {
    Verdict.PASS: "",
    Verdict.FAIL: "The standby differs after replay: it is not this primary's, or its data is damaged (pg_amcheck).",
    Verdict.SKIP: "Choose a moment when nothing writes to them and the standby replays.",
}


def judge_replayed(name: str, target: Target, lag: Lag) -> Finding:
    """Judge standby_has_replayed: what follows would judge an old state otherwise."""
    if lag.paused:
        why = "Replay is paused: SELECT pg_wal_replay_resume(), once you know who paused it."
    elif lag.apply_delay_ms:
        why = (
            f"The standby is delayed on purpose (recovery_min_apply_delay = {lag.apply_delay_ms} ms), and can't prove "
            "what it has not applied: take another standby, or end the delay for this run."
        )
    else:
        why = "Replay is too slow: long queries on the standby, a conflict with them, I/O."
    return Finding(
        check=Check.STANDBY_HAS_REPLAYED,
        target=name,
        object=target.service,
        have="replayed" if lag.replayed else f"{size(lag.lag_bytes)} behind after {lasted(lag.waited_s)}",
        want="replayed",
        verdict=Verdict.PASS if lag.replayed else Verdict.FAIL,
        hint="" if lag.replayed else why,
    )


def check_rows(phase: Phase, sessions: Sessions, name: str, target: Target) -> Finding:
    """Compare the rows of every declared table of a standby with its primary's.

    A table that differs is asked for at the primary once more: only if it stood still there, the standby is wrong.
    Reads the tables on both sides; writes nothing. Raises ConnectionFailed when one cannot be read.
    """
    assert target.primary is not None
    moving: list[str] = [table.name for table in phase.tables]
    rows = 0
    for _ in range(LOOKS):
        want = _contents(sessions, target.primary, moving)
        if not want:  # the baseline is still to make them, or they are gone
            return replace(_finding(name, "not judged: no declared table is there", Verdict.SKIP), hint="")
        if not measure_lag(sessions, name, target).replayed:  # what was seen on the primary
            return _finding(name, "not judged: the standby has not replayed", Verdict.SKIP)
        have = _contents(sessions, name, moving)
        differing = [table for table in want if have.get(table) != want[table]]
        after = _contents(sessions, target.primary, differing)
        if wrong := [table for table in differing if after.get(table) == want[table]]:
            told = ", ".join(
                f"{table} ({have[table][0]:,} rows)" if table in have else table for table in wrong
            )
            return _finding(name, f"other rows in {told}", Verdict.FAIL)
        rows += sum(number for table, (number, _) in want.items() if table not in differing)
        moving = differing
        if not moving:
            return _finding(name, f"the same {rows:,} rows", Verdict.PASS)
    return _finding(
        name, f"not judged: {', '.join(moving)} changed during each of {LOOKS} looks", Verdict.SKIP
    )


def _contents(sessions: Sessions, name: str, tables: Iterable[str]) -> dict[str, Content]:
    """Return number and digest of the rows of each table that there is, all of one moment."""
    tables = tuple(tables)
    if not tables:
        return {}
    with sessions.snapshot(name) as conn:
        take_time(conn)
        return {table: content_hash(conn, table) for table in tables_there(conn, tables)}


def _finding(target: str, have: str, verdict: Verdict) -> Finding:
    return Finding(
        check=Check.ROWS_ARE_THOSE_OF_PRIMARY,
        target=target,
        object="declared tables",
        have=have,
        want="the same rows" if verdict is not Verdict.PASS else have,
        verdict=verdict,
        hint=_HINTS[verdict],
    )
