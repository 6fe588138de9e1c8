"""How far is a standby behind its primary?"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import LiteralString

import psycopg

from runbooks_lib.errors import ConnectionFailed
from runbooks_lib.phase import Target
from runbooks_lib.postgres.connect import Connection, Sessions, lost
from runbooks_lib.postgres.queries import query

REPLAY_TIMEOUT_S = 10.0
POLL_S = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """A standby's lag: `lag_bytes` when asked, then how long it took to replay that LSN of its primary."""

    primary_lsn: str
    replay_lsn: str
    receiver: str
    lag_bytes: int
    waited_s: float
    replayed: bool


def measure_lag(sessions: Sessions, name: str, target: Target) -> Lag:
    """Measure a standby's lag, then wait up to REPLAY_TIMEOUT_S until it has replayed its primary's present LSN.

    Reads pg_current_wal_lsn() of the primary and pg_stat_wal_receiver of the standby; writes nothing.
    Raises ConnectionFailed when one of the two cannot be read.
    Source: https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-RECOVERY-CONTROL
    """
    assert target.primary is not None
    primary, standby = sessions.read(target.primary), sessions.read(name)
    try:
        lsn = _value(primary, "SELECT pg_current_wal_lsn()::text AS value")
    except psycopg.Error as error:
        raise lost(sessions.targets[target.primary], error) from error
    try:
        state = standby.execute(query("replication")).fetchone() or {}
        started = time.monotonic()
        first = left = _bytes_behind(standby, lsn)
        while left > 0 and time.monotonic() - started < REPLAY_TIMEOUT_S:
            time.sleep(POLL_S)
            left = _bytes_behind(standby, lsn)
    except psycopg.Error as error:
        raise lost(target, error) from error
    return Lag(
        primary_lsn=lsn,
        replay_lsn=str(state.get("replay_lsn")),
        receiver=(state.get("receiver_status") or "none")
        + (", replay paused" if state.get("is_paused") else ""),
        lag_bytes=max(first, 0),
        waited_s=round(time.monotonic() - started, 3),
        replayed=left <= 0,
    )


def _bytes_behind(standby: Connection, lsn: str) -> int:
    text = "SELECT pg_wal_lsn_diff(%s::pg_lsn, pg_last_wal_replay_lsn())::text AS value"
    return int(_value(standby, text, lsn))


def _value(conn: Connection, statement: LiteralString, *parameters: str) -> str:
    row = conn.execute(statement, parameters).fetchone()
    if row is None or row["value"] is None:
        raise ConnectionFailed(
            "The standby has not replayed anything yet.", "Wait until its recovery has begun."
        )
    return str(row["value"])
