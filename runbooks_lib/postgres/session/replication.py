"""How far is a standby behind its primary?"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any, LiteralString

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
STILL_S = 1.0  # how long a standby has to wait for more WAL until that is believed
# What is not flushed yet is not sent: no standby could replay it, and an idle server may keep it for long.
_SENDABLE_LSN = "SELECT pg_current_wal_flush_lsn()::text AS value"
# A commit that did not wait for its flush (synchronous_commit = off) is flushed within three rounds of the WAL writer.
_INSERTED_LSN = """
    SELECT pg_current_wal_insert_lsn()::text AS lsn, 3 * setting::float8 / 1000 AS flushed_within_s
    FROM pg_settings WHERE name = 'wal_writer_delay'
"""
_IS_FLUSHED = "SELECT pg_current_wal_flush_lsn() >= %s::pg_lsn AS value"
# The WAL writer flushes whole pages, so the last record may be there in part: replay then waits for its rest.
_AWAITS_MORE = """
    SELECT coalesce(pg_last_wal_receive_lsn() >= %s::pg_lsn, false) AND EXISTS (
        SELECT FROM pg_stat_activity WHERE backend_type = 'startup' AND wait_event = 'RecoveryWalStream'
    ) AS value
"""


def measure_lag(sessions: Sessions, name: str, target: Target) -> Lag:
    """Measure a standby's lag, then wait up to REPLAY_TIMEOUT_S until it has replayed its primary's present LSN.

    What the primary has committed counts, also without waiting for its flush; of a record that it has flushed in part,
    no replay is asked. Reads the WAL positions of both and pg_stat_wal_receiver; writes nothing. Raises
    ConnectionFailed when one of the two cannot be read.
    Source: https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-RECOVERY-CONTROL
    """
    assert target.primary is not None
    primary, standby = sessions.read(target.primary), sessions.read(name)
    try:
        lsn = _lsn_to_replay(primary)
    except psycopg.Error as error:
        raise lost(sessions.targets[target.primary], error) from error
    try:
        state = standby.execute(query("replication")).fetchone()
        started = time.monotonic()
        samples, replayed = _until_replayed(standby, lsn)
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
        replayed=replayed,
        samples=samples,
    )


def present_lag(sessions: Sessions, name: str, target: Target) -> int:
    """Return how many bytes of WAL a standby has yet to replay, without waiting for it.

    Raises ConnectionFailed when one of the two servers cannot be read.
    """
    assert target.primary is not None
    try:
        lsn = str(_value(sessions.read(target.primary), _SENDABLE_LSN))
        return _sample(sessions.read(name), lsn).lag_bytes
    except psycopg.Error as error:
        raise lost(target, error) from error


def _in_words(state: Row) -> str:
    if not state["may_see"]:
        return "hidden from this role: it needs pg_read_all_stats"
    delayed = f", delayed by {state['apply_delay_ms']} ms" if state["apply_delay_ms"] else ""
    return (state["receiver_status"] or "none") + (", replay paused" if state["is_paused"] else "") + delayed


def _lsn_to_replay(primary: Connection) -> str:
    """Return up to where a standby has to replay: what is inserted by now, or else as much of it as is ever sent."""
    inserted = primary.execute(_INSERTED_LSN).fetchone()
    assert inserted is not None
    deadline = time.monotonic() + inserted["flushed_within_s"]
    while not _value(primary, _IS_FLUSHED, inserted["lsn"]):
        if time.monotonic() > deadline:  # the rest belongs to no commit
            return str(_value(primary, _SENDABLE_LSN))
        time.sleep(POLL_S)
    return str(inserted["lsn"])


def _until_replayed(standby: Connection, lsn: str) -> tuple[tuple[Sample, ...], bool]:
    """Look at a standby until it has replayed an LSN, or REPLAY_TIMEOUT_S is over; return the samples, and whether."""
    started = kept_at = moving_at = time.monotonic()
    samples = [_sample(standby, lsn)]
    latest = samples[0]
    while latest.lag_bytes > 0 and (now := time.monotonic()) - started < REPLAY_TIMEOUT_S:
        time.sleep(POLL_S)
        latest = _sample(standby, lsn)
        if now - kept_at >= SAMPLE_S:
            samples.append(latest)
            kept_at = now
            if not _value(standby, _AWAITS_MORE, lsn):
                moving_at = now
            elif now - moving_at >= STILL_S:
                return tuple(samples), True
    return tuple(samples if latest is samples[-1] else [*samples, latest]), latest.lag_bytes == 0


def _sample(standby: Connection, lsn: str) -> Sample:
    text = "SELECT pg_wal_lsn_diff(%s::pg_lsn, pg_last_wal_replay_lsn())::text AS value"
    size = max(int(_value(standby, text, lsn)), 0)
    return Sample(at=Moment(datetime.now(UTC).isoformat(timespec="milliseconds")), lag_bytes=size)


def _value(conn: Connection, statement: LiteralString, *parameters: str) -> Any:
    row = conn.execute(statement, parameters).fetchone()
    if row is None or row["value"] is None:
        raise ConnectionFailed(
            "The standby has not replayed anything yet.", "Wait until its recovery has begun."
        )
    return row["value"]
