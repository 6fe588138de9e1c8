"""How far is a standby behind its primary?"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import LiteralString

import psycopg

from runbooks_lib.errors import ConnectionFailed
from runbooks_lib.facts.databases import Lag, Sample
from runbooks_lib.phase import Target
from runbooks_lib.postgres.queries import query
from runbooks_lib.postgres.session.connect import Connection, Row, Sessions, lost
from runbooks_lib.typed import Moment

REPLAY_TIMEOUT_S = 10.0
POLL_S = 0.005
SAMPLE_S = 0.1  # between two samples that are kept
# What is written and not flushed yet is not sent: no standby could replay it, and an idle server may keep it for long.
_SENDABLE_LSN = "SELECT pg_current_wal_flush_lsn()::text AS value"


def measure_lag(sessions: Sessions, name: str, target: Target) -> Lag:
    """Measure a standby's lag, then wait up to REPLAY_TIMEOUT_S until it has replayed its primary's present LSN.

    Reads pg_current_wal_flush_lsn() of the primary and pg_stat_wal_receiver of the standby; writes nothing.
    Raises ConnectionFailed when one of the two cannot be read.
    Source: https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-RECOVERY-CONTROL
    """
    assert target.primary is not None
    primary, standby = sessions.read(target.primary), sessions.read(name)
    try:
        lsn = _value(primary, _SENDABLE_LSN)
    except psycopg.Error as error:
        raise lost(sessions.targets[target.primary], error) from error
    try:
        state = standby.execute(query("replication")).fetchone()
        started = time.monotonic()
        samples = _until_replayed(standby, lsn)
    except psycopg.Error as error:
        raise lost(target, error) from error
    assert state is not None
    return Lag(
        primary_lsn=lsn,
        replay_lsn=str(state.get("replay_lsn")),
        receiver=_in_words(state),
        status=state["receiver_status"],
        paused=state["is_paused"],
        apply_delay_ms=state["apply_delay_ms"],
        lag_bytes=samples[0].lag_bytes,
        waited_s=round(time.monotonic() - started, 3),
        replayed=samples[-1].lag_bytes == 0,
        samples=samples,
    )


def present_lag(sessions: Sessions, name: str, target: Target) -> int:
    """Return how many bytes of WAL a standby has yet to replay, without waiting for it.

    Raises ConnectionFailed when one of the two servers cannot be read.
    """
    assert target.primary is not None
    try:
        lsn = _value(sessions.read(target.primary), _SENDABLE_LSN)
        return _sample(sessions.read(name), lsn).lag_bytes
    except psycopg.Error as error:
        raise lost(target, error) from error


def _in_words(state: Row) -> str:
    if not state["may_see"]:
        return "hidden from this role: it needs pg_read_all_stats"
    delayed = f", delayed by {state['apply_delay_ms']} ms" if state["apply_delay_ms"] else ""
    return (state["receiver_status"] or "none") + (", replay paused" if state["is_paused"] else "") + delayed


def _until_replayed(standby: Connection, lsn: str) -> tuple[Sample, ...]:
    """Look at a standby until it has replayed an LSN, or REPLAY_TIMEOUT_S is over; return the samples."""
    started = time.monotonic()
    samples, kept_at = [_sample(standby, lsn)], started
    latest = samples[0]
    while latest.lag_bytes > 0 and time.monotonic() - started < REPLAY_TIMEOUT_S:
        time.sleep(POLL_S)
        latest = _sample(standby, lsn)
        if time.monotonic() - kept_at >= SAMPLE_S:
            samples.append(latest)
            kept_at = time.monotonic()
    return tuple(samples if latest is samples[-1] else [*samples, latest])


def _sample(standby: Connection, lsn: str) -> Sample:
    text = "SELECT pg_wal_lsn_diff(%s::pg_lsn, pg_last_wal_replay_lsn())::text AS value"
    size = max(int(_value(standby, text, lsn)), 0)
    return Sample(at=Moment(datetime.now(UTC).isoformat(timespec="milliseconds")), lag_bytes=size)


def _value(conn: Connection, statement: LiteralString, *parameters: str) -> str:
    row = conn.execute(statement, parameters).fetchone()
    if row is None or row["value"] is None:
        raise ConnectionFailed(
            "The standby has not replayed anything yet.", "Wait until its recovery has begun."
        )
    return str(row["value"])
