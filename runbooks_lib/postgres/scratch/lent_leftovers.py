"""What a run that was killed left at a server that somebody lends: found by the next one, and dropped if it is ours.

Ours is what has our comment, with the token of the run that made it. While a run lives, a session of it holds an
advisory lock of that token.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator

import psycopg
from psycopg import sql

from runbooks_lib.postgres.session.connect import Connection

_MARK = re.compile(r"runbooks scratch ([0-9a-f]{12})")
# Databases first: a role can't be dropped while it owns one.
_MARKED = """
SELECT 'DATABASE' AS kind, datname AS name, shobj_description(oid, 'pg_database') AS mark
FROM pg_database WHERE shobj_description(oid, 'pg_database') LIKE 'runbooks scratch %'
UNION ALL
SELECT 'ROLE', rolname, shobj_description(oid, 'pg_authid')
FROM pg_roles WHERE shobj_description(oid, 'pg_authid') LIKE 'runbooks scratch %'
ORDER BY 1, 2
"""
_HELD = """
SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1
AND (classid::bigint << 32) + objid::bigint = %s
"""
_DROP = {"DATABASE": sql.SQL("DROP DATABASE {} WITH (FORCE)"), "ROLE": sql.SQL("DROP ROLE {}")}
_COMMENT = {kind: sql.SQL(f"COMMENT ON {kind} {{}} IS {{}}") for kind in ("DATABASE", "ROLE")}

logger = logging.getLogger(__name__)


def mark(conn: Connection, kind: str, name: str, token: str) -> None:
    """Write on a DATABASE or ROLE which run made it. `token` has 12 hexadecimal digits."""
    conn.execute(_COMMENT[kind].format(sql.Identifier(name), sql.Literal(f"runbooks scratch {token}")))


def hold(conn: Connection, token: str) -> None:
    """Let this session say, as long as it lasts, that the run of a token lives."""
    conn.execute("SELECT pg_advisory_lock(%s)", (int(token, 16),))


def sweep(conn: Connection) -> None:
    """Drop what runs that do not live any more made; warn of what cannot be dropped, by name."""
    left = []
    found = conn.execute(_MARKED).fetchall()
    dead = {token: _is_dead(conn, token) for token in set(_tokens(row["mark"] for row in found))}
    for row in found:
        if any(dead[token] for token in _tokens([row["mark"]])):
            try:
                conn.execute(_DROP[row["kind"]].format(sql.Identifier(row["name"])))
            except psycopg.Error as error:
                left.append(f"{row['kind'].lower()} {row['name']} ({error.diag.message_primary})")
    if left:
        logger.warning(
            "A run that was killed left at the server that lends room: %s. Drop it by hand.", ", ".join(left)
        )


def _tokens(marks: Iterator[str] | list[str]) -> Iterator[str]:
    return (found[1] for found in map(_MARK.fullmatch, marks) if found)


def _is_dead(conn: Connection, token: str) -> bool:
    return not conn.execute(_HELD, (int(token, 16),)).fetchall()
