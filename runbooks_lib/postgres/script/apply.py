"""Run a parsed script inside the caller's transaction, as the owner of what it makes, alone on its database."""

from __future__ import annotations

import time
from collections.abc import Sequence

import psycopg
from psycopg import sql
from psycopg.errors import Diagnostic

from runbooks_lib.errors import MigrationError
from runbooks_lib.facts.writing import Outcome
from runbooks_lib.postgres.script.script import Statement
from runbooks_lib.postgres.session.connect import Connection
from runbooks_lib.postgres.session.locks import lock_holder
from runbooks_lib.postgres.session.sqlstate import what_to_do
from runbooks_lib.postgres.session.waiting import Waiting
from runbooks_lib.progress import report

LOCK_KEY = 0x52554E424F4F4B53 & 0x7FFFFFFFFFFFFFFF  # "RUNBOOKS", as a bigint
LOCK_LOOK_S = 0.05  # between two looks at a lock that another run has
LATER_LOOK_S = 0.25  # after the first second: many may wait
QUEUE_S = 300.0


def take_lock(conn: Connection, *, wait_ms: int, queue_s: float = QUEUE_S) -> None:
    """Take our advisory lock on this database until the transaction ends; tells whoever listens that it waits.

    Runs that are at work are waited for one after the other, `queue_s` in all; a holder of whom nothing is seen for
    `wait_ms` is not. It asks again and again: a statement that waits has a snapshot, and the indexes that a holder
    builds concurrently would wait for that.
    Raises MigrationError naming the holder: role, application_name, since when.
    """
    began = seen = time.monotonic()
    holder = None
    while True:
        row = conn.execute("SELECT pg_try_advisory_xact_lock(%s) AS taken", (LOCK_KEY,)).fetchone()
        if row and row["taken"]:
            return
        now = time.monotonic()
        found = lock_holder(conn, LOCK_KEY)
        if found and found != holder:
            seen, holder = now if holder else began, found
        if now - seen > wait_ms / 1000 or now - began > queue_s:
            break
        report(f"waiting for {holder or 'another run'}", done=round(now - began), total=None, unit="s")
        time.sleep(LOCK_LOOK_S if now - began < 1 else LATER_LOOK_S)
    waited_s = max(wait_ms / 1000, round(now - began))
    said = holder or "one session after the other, each ended before it could be named"
    raise MigrationError(
        f"Another run works on this database: its lock, waited for {waited_s:g} s, is held by {said}.",
        "Wait until it has ended, or talk to its operator; then run this step again.",
    )


def run_script(
    conn: Connection, statements: Sequence[Statement], *, owner: str | None, lock_timeout_ms: int
) -> tuple[Outcome, ...]:
    """Execute the statements in the open transaction, as `owner` if there is one.

    Afterwards the session's role is its own again. Writes what the script says; the caller commits or rolls back. All
    statements together wait for locks no longer than `lock_timeout_ms`: whoever needs a lock that an earlier one took
    waits for them all.
    Raises MigrationError with line, SQLSTATE and the server's words when a statement fails; when it waited in vain,
    with who it waited for.
    """
    notices: list[str] = []

    def keep(notice: Diagnostic) -> None:
        notices.append(notice.message_primary or "")

    outcomes = []
    left_ms = lock_timeout_ms
    conn.add_notice_handler(keep)
    try:
        if owner is not None:
            conn.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(owner)))
        conn.execute("SET LOCAL search_path = public")
        for statement in statements:
            notices.clear()
            cursor, waited_ms = _execute(conn, statement)
            outcomes.append(
                Outcome(
                    line=statement.line,
                    object=statement.object,
                    tag=cursor.statusmessage or "",
                    notices=tuple(notices),
                )
            )
            if waited_ms:
                left_ms = max(left_ms - waited_ms, 1)
                conn.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(left_ms)))
        _check_what_was_deferred(conn)
        conn.execute("SET LOCAL search_path = pg_catalog")
        conn.execute("RESET ROLE")
    finally:
        conn.remove_notice_handler(keep)
    return tuple(outcomes)


def _check_what_was_deferred(conn: Connection) -> None:
    """Have deferred constraints and triggers speak now, and not at a COMMIT that a rehearsal never comes to."""
    try:
        conn.execute("SET CONSTRAINTS ALL IMMEDIATE")
    except psycopg.Error as error:
        raise MigrationError(
            f"A deferred constraint or trigger refuses what the script made: {' '.join(str(error).split())}",
            f"{what_to_do(error.sqlstate)} The transaction was rolled back.",
            sqlstate=error.sqlstate,
        ) from error


def _execute(conn: Connection, statement: Statement) -> tuple[psycopg.Cursor[dict[str, object]], int]:
    """Execute a statement; return with its cursor how many ms it took if somebody kept it waiting, else 0."""
    began = time.monotonic()
    with Waiting(conn) as waiting:
        try:
            cursor = conn.execute(statement.text.encode())
        except psycopg.Error as error:
            failure = error
        else:
            return cursor, round((time.monotonic() - began) * 1000) if waiting.blockers else 0
    raise _failed(statement, failure, waiting) from failure


def _failed(statement: Statement, error: psycopg.Error, waiting: Waiting) -> MigrationError:
    hint = f"{what_to_do(error.sqlstate)} The transaction was rolled back."
    waited = ""
    if error.sqlstate in ("55P03", "57014") and waiting.blockers:
        waited = f". It waited for {waiting}"
        hint = (
            "Talk to its owner; when that session has ended (or was ended, with pg_terminate_backend), "
            "run the step again."
        )
    return MigrationError(
        f"Line {statement.line} ({statement.kind} {statement.object}) failed: "
        f"{' '.join(str(error).split())}{waited}",
        hint,
        sqlstate=error.sqlstate,
    )
