"""Indexes that are built CONCURRENTLY: outside any transaction, and once more where an attempt was broken off.

Such a statement keeps nobody from writing; but what breaks it off leaves an invalid index behind, which IF NOT EXISTS
takes for the index.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import psycopg
from pglast import ast, parse_sql
from pglast.stream import IndentedStream
from psycopg import sql
from psycopg.errors import Diagnostic

from runbooks_lib.errors import MigrationError
from runbooks_lib.facts.writing import Outcome
from runbooks_lib.names import parts, quoted
from runbooks_lib.postgres.script.script import Statement, parse_script
from runbooks_lib.postgres.session.connect import Connection
from runbooks_lib.postgres.session.session import GRACE_S, Session
from runbooks_lib.postgres.session.sqlstate import what_to_do

FORM = "CREATE [UNIQUE] INDEX CONCURRENTLY IF NOT EXISTS name ON …"
TIMEOUT_MS = 6 * 3_600_000  # nobody waits for it but other DDL
_STATE = """
SELECT i.indisvalid AS valid, (
  SELECT min(l.pid) FROM pg_locks l WHERE l.relation = i.indrelid AND l.mode = 'ShareUpdateExclusiveLock' AND l.granted
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND l.pid <> pg_backend_pid()
) AS pid FROM pg_index i WHERE i.indexrelid = to_regclass(%s)
"""


def parse_concurrent(text: str) -> tuple[Statement, ...]:
    """Parse a script of indexes that are built concurrently; each other statement is refused.

    Raises MigrationError as `parse_script` does.
    """
    return tuple(
        replace(each, refused="", remedy="", concurrent=True)
        if _is_concurrent(each)
        else replace(each, refused="nothing but such an index stands in this file", remedy=FORM)
        for each in parse_script(text)
    )


def _tree(statement: Statement) -> Any:
    return parse_sql(statement.text)[0].stmt


def _is_concurrent(statement: Statement) -> bool:
    node = _tree(statement)
    return isinstance(node, ast.IndexStmt) and bool(node.concurrent and node.if_not_exists and node.idxname)


def in_transaction(statement: Statement) -> Statement:
    """Return a statement as it runs in a transaction, where nobody else is that it could keep from writing."""
    node = _tree(statement)
    node.concurrent = False
    return replace(statement, text=IndentedStream()(node))


def build(
    conn: Connection, statements: Sequence[Statement], *, owner: str | None, wait_ms: int = TIMEOUT_MS
) -> tuple[Outcome, ...]:
    """Build each index in a session without a transaction, as `owner`; one that is invalid is dropped and built anew.

    Raises MigrationError, naming the index: the others before it stand, and it is not left behind half-built, unless
    the session was lost.
    """
    if owner is not None:
        conn.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(owner)))
    for name in ("statement_timeout", "lock_timeout"):
        conn.execute(sql.SQL("SET {} = {}").format(sql.Identifier(name), sql.Literal(wait_ms)))
    conn.execute("SET search_path = public")
    if isinstance(conn, Session):
        conn.deadline_s = wait_ms / 1000 + GRACE_S
    try:
        return tuple(_build(conn, statement) for statement in statements)
    finally:
        if not conn.broken:
            conn.execute("SET search_path = pg_catalog")
            conn.execute("RESET ROLE")


def _build(conn: Connection, statement: Statement) -> Outcome:
    notices: list[str] = []

    def keep(notice: Diagnostic) -> None:
        notices.append(notice.message_primary or "")

    conn.add_notice_handler(keep)
    try:
        if _is_invalid(conn, statement):
            _drop(conn, statement)
            notices.append("an invalid index of this name, of an attempt that was broken off, was dropped")
        done = conn.execute(statement.text.encode())
    except psycopg.Error as error:
        if not conn.broken and _is_invalid(conn, statement):
            _drop(conn, statement)
        raise MigrationError(
            f"Line {statement.line} (index {statement.object}) failed: {' '.join(str(error).split())}",
            f"{what_to_do(error.sqlstate)} The transaction before it stands; run the step again.",
            sqlstate=error.sqlstate,
        ) from error
    finally:
        conn.remove_notice_handler(keep)
    return Outcome(
        line=statement.line, object=statement.object, tag=done.statusmessage or "", notices=tuple(notices)
    )


def _is_invalid(conn: Connection, statement: Statement) -> bool:
    """Return whether an index is there and was not built to its end. Raises MigrationError while somebody builds it."""
    row = conn.execute(_STATE, (quoted(statement.object),)).fetchone()
    if row is None or row["valid"]:
        return False
    if row["pid"] is not None:
        raise MigrationError(
            f"The index {statement.object} is not valid yet, and pid {row['pid']} is at work on its table.",
            "It may be building it: wait until it has ended, then run this step again.",
        )
    return True


def _drop(conn: Connection, statement: Statement) -> None:
    name = sql.Identifier(*parts(statement.object))
    conn.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(name))
