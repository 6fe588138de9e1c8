"""COMMIT, and what became of it: after a lost connection only another session can tell."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import psycopg

from runbooks_lib.errors import RunbookError
from runbooks_lib.postgres.session.connect import Connection, Identity, identify

ASK_FOR_S = 15  # how long a server that has just gone away may take to come back, and a transaction to end
ASK_EVERY_S = 0.25


class Ending(StrEnum):
    """What became of a transaction."""

    COMMITTED = "committed"
    ABORTED = "aborted"
    IN_PROGRESS = "in progress"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """A transaction that is to be committed: its id, its session's pid, and the server that it is on."""

    id: str
    pid: int
    server: Identity


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What became of a transaction. `lost` says how its COMMIT went unanswered, "" when it was answered.

    `waits_for` is the wait event of its session where it is still at work, `why` what kept us from asking.
    """

    transaction: Transaction
    outcome: Ending
    lost: str = ""
    waits_for: str = ""
    why: str = ""


class CommitLost(RunbookError):
    """Nobody answered a COMMIT: whether it was carried out is not known."""

    def __init__(self, transaction: Transaction, why: str) -> None:
        super().__init__(
            f"The session was lost at COMMIT of transaction {transaction.id}: {why}",
            "Look with a new session what became of it: SELECT pg_xact_status(…).",
        )
        self.transaction = transaction
        self.why = why


def commit(conn: Connection, server: Identity) -> Transaction:
    """Commit the open transaction, whose id is noted before; the session's own deadline bounds the wait.

    `server` is the one that the session is at.
    Raises CommitLost when no answer came: the session is closed then, and the server left alone. A COMMIT that the
    server refuses raises psycopg's error: it was rolled back.
    Source: https://www.postgresql.org/docs/current/functions-info.html (pg_xact_status)
    """
    row = conn.execute("SELECT pg_current_xact_id()::text AS id").fetchone()
    assert row is not None
    transaction = Transaction(id=row["id"], pid=conn.info.backend_pid, server=server)
    try:
        done = conn.execute("COMMIT")
    except psycopg.Error as error:
        if not conn.closed:
            raise
        raise CommitLost(transaction, " ".join(str(error).split())) from error
    if done.statusmessage != "COMMIT":
        raise psycopg.errors.InFailedSqlTransaction(f"COMMIT was answered by {done.statusmessage}")
    return transaction


def settle(lost: CommitLost, connect: Callable[[], Connection]) -> Settled:
    """Ask new sessions what became of a transaction, until one knows it to have ended or the time is up.

    `connect` opens a session at the service that the transaction was made through. Writes nothing, cancels nothing.
    """
    until = time.monotonic() + ASK_FOR_S
    while True:
        try:
            with connect() as conn:
                settled = _ask(conn, lost)
        except (RunbookError, psycopg.Error) as error:
            why = error.what_happened if isinstance(error, RunbookError) else " ".join(str(error).split())
            settled = _settled(lost, Ending.UNKNOWN, why=why)
        ended = settled.outcome in (Ending.COMMITTED, Ending.ABORTED)
        if ended or time.monotonic() + ASK_EVERY_S > until:
            return settled
        time.sleep(ASK_EVERY_S)


def _ask(conn: Connection, lost: CommitLost) -> Settled:
    transaction, who = lost.transaction, identify(conn)
    if who.is_other_system(transaction.server):
        return _settled(
            lost, Ending.UNKNOWN, why=f"Another PostgreSQL system answers now, {who.system_identifier}."
        )
    if who.system_identifier is None and not who.is_server_of(transaction.server):
        return _settled(
            lost,
            Ending.UNKNOWN,
            why="A server that was started anew answers, and does not say which system it is.",
        )
    if who.in_recovery:
        return _settled(lost, Ending.UNKNOWN, why="A standby answers now, which may not have it yet.")
    try:
        row = conn.execute("SELECT pg_xact_status(%s::xid8) AS status", (transaction.id,)).fetchone()
    except psycopg.errors.InvalidParameterValue:  # "in the future": the server crashed before it wrote of it
        return _settled(lost, Ending.ABORTED)
    if row is None or row["status"] is None:
        return _settled(lost, Ending.UNKNOWN, why="The server no longer keeps what became of it.")
    if row["status"] != Ending.IN_PROGRESS:
        return _settled(lost, Ending(row["status"]))
    asked = "SELECT wait_event FROM pg_stat_activity WHERE pid = %s"
    seen = conn.execute(asked, (transaction.pid,)).fetchone()
    return _settled(lost, Ending.IN_PROGRESS, waits_for=(seen and seen["wait_event"]) or "")


def _settled(lost: CommitLost, outcome: Ending, *, waits_for: str = "", why: str = "") -> Settled:
    return Settled(transaction=lost.transaction, outcome=outcome, lost=lost.why, waits_for=waits_for, why=why)
