"""Who keeps a session waiting: seen from a second session while it waits, since afterwards it cannot be told."""

from __future__ import annotations

import threading
from types import TracebackType

import psycopg

from runbooks_lib.errors import ConnectionFailed
from runbooks_lib.postgres.queries import query
from runbooks_lib.postgres.session.connect import Connection, Row
from runbooks_lib.postgres.session.session import Session, another

INTERVAL_S = 0.1  # between two looks; what takes less long is not looked at


class Waiting:
    """Looks, while the block runs, at who keeps the session waiting; `blockers` is whom it saw last.

    Opens its second session only when the block takes longer than INTERVAL_S. Reads pg_stat_activity, which
    shows the queries of others to members of pg_read_all_stats only. A look that fails names nobody.
    """

    def __init__(self, conn: Connection) -> None:
        self.blockers: tuple[Row, ...] = ()
        self._conn = conn
        self._pid = conn.server_pid if isinstance(conn, Session) else conn.info.backend_pid
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, name="waiting", daemon=True)

    def __enter__(self) -> Waiting:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def __str__(self) -> str:
        """Return the blockers in words: pid, role, application, age of the transaction, query."""
        return "; ".join(_words(blocker) for blocker in self.blockers)

    def _look(self) -> None:
        if self._done.wait(INTERVAL_S):
            return
        try:
            with another(self._conn) as conn:
                while True:
                    seen = conn.execute(query("blocking"), {"pid": self._pid}).fetchall()
                    self.blockers = tuple(seen) or self.blockers  # between wait and error a look sees nobody
                    if self._done.wait(INTERVAL_S):
                        return
        except (psycopg.Error, ConnectionFailed):
            return


def _words(blocker: Row) -> str:
    if blocker["pid"] == 0:
        return "a prepared transaction (pg_prepared_xacts names it)"
    parts = [f"pid {blocker['pid']}", blocker["role_name"], blocker["application"], blocker["state"]]
    age = f", its transaction open for {blocker['age_s']:.0f} s" if blocker["age_s"] is not None else ""
    said = " ".join(blocker["query"].split())
    return " ".join(filter(None, parts)) + age + (f", its query: {said}" if said else "")
