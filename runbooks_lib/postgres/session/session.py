"""One session at a server: its settings told and read back, its server its own, its answers in time."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from typing import Any, ClassVar, LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import dict_row, tuple_row
from psycopg.waiting import Wait

from runbooks_lib.errors import ConnectionFailed
from runbooks_lib.postgres.session.service_file import own_environment
from runbooks_lib.postgres.session.sqlstate import cancelled_by_replay

Row = dict[str, Any]
Connection = psycopg.Connection[Row]

CONNECT_TIMEOUT_S = 5
GRACE_S = 10.0  # by which the server's own time-out is left to come first
LONG_S = 24 * 3600.0  # for a question that lasts as long as there are rows
LOOKS = 3  # at the servers behind a pooler
# What a session that prints, sees and is safe as all others has to be told, whatever the settings of its role,
# database or server.
SETTINGS: Mapping[str, str] = {
    "search_path": "pg_catalog",  # every other name is printed with its schema
    "row_security": "off",  # a table whose policies would hide rows is an error, not a smaller count
    "default_transaction_isolation": "read committed",  # a standby refuses serializable
    "default_transaction_deferrable": "off",
    "session_replication_role": "origin",
    "idle_session_timeout": "0",
    "timezone": "UTC",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "lc_monetary": "C",
    "xmlbinary": "base64",
    "xmloption": "content",
    "quote_all_identifiers": "off",
    "standard_conforming_strings": "on",
    "transform_null_equals": "off",
    "constraint_exclusion": "off",  # planning would execute the functions of a CHECK, with the reader's rights
    "gin_fuzzy_search_limit": "0",
    "check_function_bodies": "on",
    "client_min_messages": "notice",
    "client_encoding": "UTF8",
}
FROM_17 = {"transaction_timeout": "0"}
# A table that somebody swaps for a view would execute the view's functions with the rights of whoever reads it.
NO_VIEWS = {"restrict_nonsystem_relation_kind": "view"}
NO_VIEWS_SINCE = {14: 140_013, 15: 150_008, 16: 160_004}  # from 17 on all have it
SUPERUSERS = frozenset({"session_replication_role"})  # others can't set it, nor have it set by mistake
_PID = sql.SQL("pg_catalog.pg_backend_pid()")
_READ_BACK = sql.SQL(
    "SELECT pg_catalog.json_object_agg(name, pg_catalog.current_setting(name, true))"
    " FROM pg_catalog.unnest({names}::pg_catalog.text[]) AS s (name)"
)
# Whoever may not set a setting of superusers leaves it; nothing is set where another server process answers.
_SET = sql.SQL(
    "SELECT pg_catalog.json_object_agg(name, CASE"
    " WHEN pg_catalog.current_setting('is_superuser') OPERATOR(pg_catalog.=) 'on'"
    " OR NOT (name OPERATOR(pg_catalog.=) ANY ({superusers}::pg_catalog.text[]))"
    " THEN pg_catalog.set_config(name, value, false) END) AS held,"
    " pg_catalog.current_setting({mark}, true) AS taken, pg_catalog.pg_backend_pid() AS pid,"
    " pg_catalog.pg_is_in_recovery() AS standby"
    " FROM ROWS FROM (pg_catalog.unnest({names}::pg_catalog.text[]), pg_catalog.unnest({values}::pg_catalog.text[]))"
    " AS s (name, value)"
    " WHERE {only_at} OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()"
)
MARK = "runbooks.session"
OPTIONS_MARK = "runbooks.options"
_POOLED = (
    "Let the service lead to the server's own port, or to a pooler in session mode (pool_mode = session): with "
    "transaction or statement pooling, settings, locks and snapshots belong to whoever comes next."
)


class NoAnswer(psycopg.OperationalError):
    """A question was not answered in time; the session is closed, and whether the server still works at it is open."""


class Session(psycopg.Connection[Row]):
    """A connection whose every question is answered by `deadline_s` seconds, or ended on this side.

    `held` are the settings that were read back when it was opened, `server_pid` is the server process behind it: a
    pooler says another one (`info.backend_pid`). `meanwhile` is done once, while the server works at the next question.
    """

    deadline_s: float = CONNECT_TIMEOUT_S + GRACE_S
    held: Mapping[str, str] = {}
    server_pid: int = 0
    meanwhile: Callable[[], object] | None = None
    in_recovery: bool = False
    cancelled: ClassVar[int] = (
        0  # queries of all sessions that a standby's replay cancelled, or that were cut there
    )

    def wait(self, gen: Any, *args: Any, **options: Any) -> Any:
        """Wait as psycopg does, until the deadline. Raises NoAnswer."""
        try:
            return super().wait(self._until_deadline(gen), *args, **options)
        except psycopg.Error as error:
            if cancelled_by_replay(error, in_recovery=self.in_recovery) or self._was_cut(error):
                Session.cancelled += 1
            raise

    def _was_cut(self, error: psycopg.Error) -> bool:
        """Return whether a standby closed the connection and the reason did not arrive: it may have been replay's."""
        unsaid = error.sqlstate is None and not isinstance(error, NoAnswer)
        return self.in_recovery and unsaid and self.pgconn.status == psycopg.pq.ConnStatus.BAD

    def _until_deadline(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """Hand on what psycopg's generator waits for; psycopg looks in every 0.1 s when nothing comes."""
        ends_at = time.monotonic() + self.deadline_s
        try:
            waits_for = next(gen)
            while True:
                if self.meanwhile is not None and waits_for == Wait.R:  # the question is sent
                    work, self.meanwhile = self.meanwhile, None
                    work()
                ready = yield waits_for
                if time.monotonic() > ends_at:
                    self.pgconn.finish()
                    raise NoAnswer(
                        f"no answer within {self.deadline_s:g} seconds; the session was closed on this side"
                    )
                waits_for = gen.send(ready)
        except StopIteration as done:
            return done.value

    def require_held(self, begin: LiteralString = "", **more: str) -> None:
        """Read the session's settings back, and `more` of its transaction's; `begin` is executed in the same message.

        Raises ConnectionFailed naming those that do not hold: then something between here and the server changed them.
        """
        wanted = {**self.held, **more}
        question = _READ_BACK.format(names=sql.Literal(list(wanted)))
        with self.cursor(row_factory=tuple_row) as cursor:
            cursor.execute(sql.SQL(begin) + question, prepare=False)
            while cursor.nextset():
                pass
            (found,) = cursor.fetchone() or ({},)
        lost = [
            f"{name} is {have!r}, not {want!r}"
            for name, want in wanted.items()
            if (have := found.get(name)) != want
        ]
        if lost:
            raise ConnectionFailed(
                f"The session does not hold what it was told: {', '.join(lost)}.",
                f"A pooler such as PgBouncer gave it another server, or somebody reset it. {_POOLED}",
            )


def take_time(conn: Connection, seconds: float = LONG_S) -> None:
    """Give every question of the open transaction this much time: for what lasts as long as there are rows.

    `Sessions.snapshot` sets the usual deadline again when the transaction ends.
    """
    conn.execute("SELECT set_config('statement_timeout', %s, true)", (f"{seconds * 1000:.0f}",))
    if isinstance(conn, Session):
        conn.deadline_s = seconds + GRACE_S


def open_session(parameters: Mapping[str, str], settings: Mapping[str, str]) -> Session:
    """Open an autocommit session and tell it SETTINGS and `settings`; read them back; refuse what does not hold.

    `parameters` are libpq's, all that the environment could add among them (`parameters_of`). Raises psycopg errors
    as they come, and ConnectionFailed for what does not hold, or a pooler that gives another server to each
    transaction.
    """
    marked = dict(parameters)
    if marked.get("options"):
        marked["options"] += f" -c {OPTIONS_MARK}=taken"
    try:
        conn = begin(marked)
    except psycopg.Error:
        _require_options_are_taken(parameters)
        raise
    try:
        taken = _tell(conn, settings, only_at=conn.info.backend_pid)
        if taken is None:  # a pooler hands out numbers of its own; what it is told may be told to others
            _require_own_server(conn, marked)
            taken = _tell(conn, settings)
        if marked.get("options") and not taken:
            raise _options_are_lost("ignores")
        conn.require_held()
    except BaseException:
        conn.close()
        raise
    return conn


def another(conn: Connection) -> Session:
    """Open one more session at the very server of this one, in the same role and database, that only reads.

    Raises psycopg errors and ConnectionFailed as `open_session` does.
    """
    info = conn.info
    reached = {"host": info.host, "hostaddr": info.hostaddr, "port": str(info.port)}
    secret = {"password": info.password} if info.password else {}
    parameters = {"options": "", **info.get_parameters(), **reached, **secret, "target_session_attrs": "any"}
    return open_session(parameters, {"default_transaction_read_only": "on"})


def begin(parameters: Mapping[str, str]) -> Session:
    """Open an autocommit session that is told nothing; whatever the environment says, it goes where it is sent."""
    aimed = {"hostaddr": "", "options": "", "target_session_attrs": "any", "load_balance_hosts": "disable"}
    with own_environment():
        return Session.connect(**aimed | dict(parameters), autocommit=True, row_factory=dict_row)  # type: ignore[arg-type]


def _tell(conn: Session, settings: Mapping[str, str], *, only_at: int | None = None) -> bool | None:
    """Set everything in one round trip, and note how the server spells it: 60000 is 1min.

    Return whether the options that the connection began with have arrived; None when nothing was set, since it is not
    the server process `only_at` that answers.
    """
    wanted = {**SETTINGS, **settings, MARK: secrets.token_hex(8)}
    if conn.info.server_version >= 170_000:
        wanted |= FROM_17
    reads_only = settings.get("default_transaction_read_only") == "on"
    version = conn.info.server_version
    if reads_only and version >= NO_VIEWS_SINCE.get(version // 10_000, 170_000):
        wanted |= NO_VIEWS
    row = _ask_alone(
        conn,
        _SET.format(
            names=sql.Literal(list(wanted)),
            values=sql.Literal(list(wanted.values())),
            superusers=sql.Literal(list(SUPERUSERS)),
            mark=sql.Literal(OPTIONS_MARK),
            only_at=_PID if only_at is None else sql.Literal(only_at),
        ),
    )
    if row is None or row["held"] is None:
        return None
    conn.server_pid, conn.in_recovery = row["pid"], row["standby"]
    conn.held = row["held"] | {name: wanted[name] for name in SUPERUSERS}
    return bool(row["taken"])


def _ask_alone(conn: Session, question: sql.Composable) -> Row | None:
    """Ask in a transaction of its own that any server takes: where serializable is the default, a standby refuses all
    others.
    """
    cursor = conn.execute(
        sql.SQL("BEGIN ISOLATION LEVEL READ COMMITTED; {}; COMMIT").format(question), prepare=False
    )
    cursor.nextset()
    return cursor.fetchone()


def _server_pid(conn: Session) -> int:
    row = _ask_alone(conn, sql.SQL("SELECT {} AS pid").format(_PID))
    assert row is not None
    return int(row["pid"])


def _require_own_server(conn: Session, parameters: Mapping[str, str]) -> None:
    """Require that the pooler in between keeps one server for each session: that of another one is never this one's.

    Several looks, not taken in turns: a pooler that hands out its servers one after the other would look alike.
    """
    with begin(parameters) as other:
        ours, others = [], []
        for _ in range(LOOKS):
            ours += [_server_pid(conn), _server_pid(conn)]
            others.append(_server_pid(other))
    if len(set(ours)) > 1 or len(set(others)) > 1 or set(ours) & set(others):
        raise ConnectionFailed(
            "A pooler such as PgBouncer stands before the server and gives others this session's part of it.",
            _POOLED,
        )


def _require_options_are_taken(parameters: Mapping[str, str]) -> None:
    """Say so if it is a pooler that refused the service's options: without them it lets in."""
    if not parameters.get("options"):
        return
    with suppress(psycopg.Error), begin({**parameters, "options": ""}) as conn:
        if _server_pid(conn) != conn.info.backend_pid:
            raise _options_are_lost("refuses")


def _options_are_lost(does: str) -> ConnectionFailed:
    return ConnectionFailed(
        f"A pooler such as PgBouncer stands before the server and {does} the options of the service.",
        "Let the service lead to the server's own port, or take the options out of it and set them for the role: "
        "ALTER ROLE … SET.",
    )
