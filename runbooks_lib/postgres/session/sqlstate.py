"""What an operator can do about an SQLSTATE, PostgreSQL's own code of what went wrong: 55P03 is a lock not got.

Messages come in the server's language and change between versions; the code does not. Nothing decides by a message.
Source: https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

from __future__ import annotations

import psycopg

UNKNOWN = "Read what the server says; its own log says more."
# No SQLSTATE: libpq itself gave up, and no server said why.
NO_ANSWER = "Check that the server runs and that the network leads to it, then run the step again."

_BY_CODE = {
    "0A000": "This server, or a pooler before it, can't do that: its version or its mode does not support it.",
    "22021": "The text holds bytes that are not of the database's encoding: save the file as UTF-8.",
    "23502": "A row lacks a value that the table demands: complete the row, or correct the table.",
    "23503": "A row refers to one that is not there: insert that one first.",
    "23505": "A row with this key stands there already: see which one, and whether it is the same.",
    "23514": "A row breaks a CHECK of the table: correct the row, or the CHECK.",
    "25006": "The session may only read: it is a standby, or read-only by a setting; what is to be written goes to "
    "the primary.",
    "25P02": "An earlier statement of the transaction failed: see its error.",
    "25P03": "The session stood idle in a transaction for too long and the server ended it: run the step again.",
    "25P04": "The transaction took longer than transaction_timeout: raise it for this role.",
    "28000": "The server's pg_hba.conf has no line that lets this role in from here: have one added.",
    "28P01": "The password is wrong: correct it in the pass file, the service file or PGPASSWORD.",
    "2BP01": "Other objects depend on it: see which, and decide about them first.",
    "3D000": "This server has no database of that name: correct the phase file's database, or the service.",
    "3F000": "The database has no schema of that name: create it, or correct the name.",
    "40001": "Somebody else's work crossed this one: run the step again. On a standby it is replay that cancelled the "
    "query: raise max_standby_streaming_delay or set hot_standby_feedback = on there.",
    "40P01": "Two sessions waited for each other's locks and the server ended one: run the step again.",
    "42501": "The role lacks a privilege: have the owner or a superuser grant what the message names; where that is "
    "row-level security, the rows are hidden from the role: it needs BYPASSRLS (ALTER ROLE … BYPASSRLS).",
    "42601": "The SQL is not PostgreSQL's, or is newer than this server: correct it.",
    "42622": "A name is longer than 63 bytes: shorten it.",
    "42704": "What the message names is not there: create it first, or correct the name.",
    "42710": "An object of this name stands there already: compare it with what the script makes.",
    "42723": "A function of this name and these arguments stands there already: compare it.",
    "42883": "No function or operator of this name takes these types: an extension or its schema may be missing.",
    "42P01": "No table or view of that name is there: create it first, or correct the name.",
    "42P06": "A schema of this name stands there already.",
    "42P07": "A table, view or index of this name stands there already: compare it with what the script makes.",
    "53100": "The server's disk is full: free space there before anything else.",
    "53200": "The server is out of memory, or of locks (max_locks_per_transaction): have its limits raised.",
    "53300": "All connection slots are taken: close idle sessions, or raise max_connections.",
    "55000": "The object is not in a state that allows this: read the message; on a standby most of it is not allowed.",
    "55006": "Others use the object: see who in pg_stat_activity, and run the step when they have ended.",
    "55P02": "The server takes this setting at its start only: have its configuration changed.",
    "55P03": "Something holds a lock on it: see the blockers in preflight, then run the step again.",
    "55P04": "A new enum label can't be used in the transaction that adds it: use it in a later one.",
    "57014": "It was cancelled: it took longer than the statement time-out, or somebody cancelled it. Raise the "
    "time-out (the phase's statement_timeout_ms), or find what holds it up.",
    "57P01": "An administrator ended the session, or the server stops: run the step again when it is back.",
    "57P02": "The server crashed and recovers: read its log before anything else.",
    "57P03": "The server starts, stops or recovers and takes no sessions yet: wait, then run the step again.",
    "57P04": "The database was dropped meanwhile: find out who did it.",
    "57P05": "The session stood idle for too long and the server ended it: run the step again.",
    "58P01": "The server misses a file, often that of an extension: install the extension's package there.",
    "72000": "The snapshot is too old: run the step again.",
}
_BY_CLASS = {
    "08": "The connection failed, or a pooler such as PgBouncer refused a start-up parameter: let the service lead to "
    "the server's own port.",
    "0P": "The role is not one that this session may take: correct the role in the service or the phase.",
    "22": "A value is not of its column's type or range: correct the value.",
    "23": "A row breaks a constraint of its table: correct the row.",
    "25": "The statement does not fit the state of its transaction: run the step again.",
    "28": "The server does not let this role in: check the service's user, the password and pg_hba.conf.",
    "40": "The transaction was rolled back because of others: run the step again.",
    "42": "Correct the SQL, or the name that the message shows.",
    "53": "The server lacks a resource: see which, and have it freed or raised.",
    "54": "A limit of PostgreSQL is exceeded: make the statement smaller.",
    "55": "The object is in use or in a state that does not allow this: run the step again later.",
    "57": "The server or its administrator intervened: see the server's log, then run the step again.",
    "58": "The server's operating system failed it: read the server's log before anything else.",
    "F0": "The server's configuration file is wrong: read its log.",
    "HV": "A foreign server did not do its part: check that it answers.",
    "P0": "A function or DO block raised this itself: read its message.",
    "XX": "This is a fault in the server, or damaged data: stop, read its log, and check with amcheck.",
}
# A standby's replay ends a query that still needs what it is about to remove (40001), or a session that holds a page
# that it waits for (40P01). No other kind of either can occur there: a standby has no serializable transactions.
_BY_REPLAY = frozenset({"40001", "40P01"})
NOT_ALLOWED = "42501"
# What the message names is not there: relation, column, type or role, function, schema.
MISSING = frozenset({"42P01", "42703", "42704", "42883", "3F000"})


def what_to_do(sqlstate: str | None) -> str:
    """Return in words what to do about an SQLSTATE: by its code, else by its class; None is no server's answer."""
    if sqlstate is None:
        return NO_ANSWER
    return _BY_CODE.get(sqlstate) or _BY_CLASS.get(sqlstate[:2], UNKNOWN)


def cancelled_by_replay(error: psycopg.Error, *, in_recovery: bool) -> bool:
    """Tell whether a standby's replay cancelled a query: then it may be asked again at once.

    Source: https://www.postgresql.org/docs/current/hot-standby.html#HOT-STANDBY-CONFLICT
    """
    return in_recovery and error.sqlstate in _BY_REPLAY
