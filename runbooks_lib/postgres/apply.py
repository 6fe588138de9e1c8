"""Run a parsed script inside the caller's transaction, as the owner of what it makes, alone on its database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.errors import Diagnostic

from runbooks_lib.errors import MigrationError
from runbooks_lib.postgres.connect import Connection
from runbooks_lib.postgres.locks import lock_holder
from runbooks_lib.postgres.script import Statement
from runbooks_lib.postgres.sqlstate import what_to_do
from runbooks_lib.postgres.waiting import Waiting

LOCK_KEY = 0x52554E424F4F4B53 & 0x7FFFFFFFFFFFFFFF  # "RUNBOOKS", as a bigint


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the server said of one statement: its command tag and its notices ("…already exists, skipping")."""

    line: int
    object: str
    tag: str
    notices: tuple[str, ...]


LOCK_ATTEMPTS = 10


def take_lock(conn: Connection) -> None:
    """Take our advisory lock on this database until the transaction ends, or say who has it.

    A holder that has ended before it could be named has let go of the lock: then it is tried again.
    Raises MigrationError naming the holder: role, application_name, since when.
    """
    for _ in range(LOCK_ATTEMPTS):
        row = conn.execute("SELECT pg_try_advisory_xact_lock(%s) AS taken", (LOCK_KEY,)).fetchone()
        if row and row["taken"]:
            return
        if holder := lock_holder(conn, LOCK_KEY):
            break
    else:
        holder = "one session after the other, each ended before it could be named"
    raise MigrationError(
        f"Another run works on this database: its lock is held by {holder}.",
        "Wait until it has ended, or talk to its operator; then run this step again.",
    )


def run_script(conn: Connection, statements: Sequence[Statement], *, owner: str) -> tuple[Outcome, ...]:
    """Execute the statements in the open transaction as `owner`; afterwards the session's role is its own again.

    Writes what the script says; the caller commits or rolls back.
    Raises MigrationError with line, SQLSTATE and the server's words when a statement fails; when it waited in vain,
    with who it waited for.
    """
    notices: list[str] = []

    def keep(notice: Diagnostic) -> None:
        notices.append(notice.message_primary or "")

    outcomes = []
    conn.add_notice_handler(keep)
    try:
        conn.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(owner)))
        conn.execute("SET LOCAL search_path = public")
        for statement in statements:
            notices.clear()
            cursor = _execute(conn, statement)
            outcomes.append(
                Outcome(
                    line=statement.line,
                    object=statement.object,
                    tag=cursor.statusmessage or "",
                    notices=tuple(notices),
                )
            )
        conn.execute("SET LOCAL search_path = pg_catalog")
        conn.execute("RESET ROLE")
    finally:
        conn.remove_notice_handler(keep)
    return tuple(outcomes)


def _execute(conn: Connection, statement: Statement) -> psycopg.Cursor[dict[str, object]]:
    with Waiting(conn) as waiting:
        try:
            return conn.execute(statement.text.encode())
        except psycopg.Error as error:
            failure = error
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
