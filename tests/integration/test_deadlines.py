"""Every question ends: what does not answer is left by a deadline on this side, which is said."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from runbooks_lib.errors import ConnectionFailed
from runbooks_lib.lab.lab import Lab
from runbooks_lib.phase import load_phase
from runbooks_lib.postgres.session import session as session_module
from runbooks_lib.postgres.session.connect import Sessions, connect
from runbooks_lib.postgres.session.session import GRACE_S, NoAnswer, take_time

from ..faults.campaign import fault

PHASE = load_phase("PH15-AMAZON-DB-FOUNDATION-01")


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@fault(
    kind="processes",
    fault="SIGSTOP to the server process of a session",
    injected="SIGSTOP, beyond the deadline for an answer",
    seen="our deadline",
    told="no answer within so many seconds; the session is closed on this side",
    goes_on="the same command, when the server answers",
    fast=True,
)
def test_a_stopped_server_process_is_left(lab: Lab) -> None:
    with connect(PHASE.targets["leader"], application_name="t", statement_timeout_ms=1000) as conn:
        assert conn.deadline_s == 1 + GRACE_S
        conn.deadline_s = 0.5
        with stopped(conn.server_pid):
            started = time.monotonic()
            with pytest.raises(NoAnswer, match=r"no answer within 0\.5 seconds"):
                conn.execute("SELECT 1")
            assert time.monotonic() - started < 20
        assert conn.closed


@fault(
    kind="processes",
    fault="SIGSTOP to the server process of a session, before a snapshot",
    injected="SIGSTOP, beyond the deadline for an answer",
    seen="our deadline",
    told="ERROR: no answer; check that the server runs",
    goes_on="the next question opens another session",
    fast=True,
)
def test_a_stopped_process_in_a_snapshot_is_a_failed_connection_and_then_another_one(lab: Lab) -> None:
    with Sessions(PHASE.targets) as sessions:
        conn = sessions.read("leader")
        conn.deadline_s = 0.5
        with (
            stopped(conn.server_pid),
            pytest.raises(ConnectionFailed, match="no answer within") as failed,
            sessions.snapshot("leader"),
        ):
            pytest.fail("the block must not be entered")
        assert "server runs" in failed.value.what_to_do
        with sessions.snapshot("leader") as again:
            assert again is not conn


@fault(
    kind="processes",
    fault="SIGSTOP to the leader's postmaster, beyond the time-out",
    injected="SIGSTOP while one connects",
    seen="libpq's time-out",
    told="ERROR: the target does not answer; check that the server runs",
    goes_on="the same command, when the server answers",
    fast=True,
)
def test_a_server_that_is_stopped_as_a_whole_does_not_answer(fresh_lab: Lab) -> None:
    pid = fresh_lab.leader.pid()
    assert pid
    started = time.monotonic()
    with stopped(pid), pytest.raises(ConnectionFailed, match="does not answer"):
        connect(PHASE.targets["leader"], application_name="t")
    assert time.monotonic() - started < 15


@fault(
    kind="network",
    fault="an answer that drips without end",
    injected="a row every tenth of a second",
    seen="our deadline, whatever arrives",
    told="no answer within so many seconds",
    goes_on="the same command, when the server is quick again",
    fast=True,
)
def test_answers_that_drip_end_too(lab: Lab) -> None:
    """A row now and then keeps the connection busy and the question open."""
    with connect(PHASE.targets["leader"], application_name="t") as conn:
        conn.deadline_s = 0.6
        slow = "SELECT repeat('x', 100000), pg_sleep(0.1) FROM generate_series(1, 100)"
        with pytest.raises(NoAnswer):
            conn.execute(slow)


def test_a_line_that_is_cut_is_left(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is refused and nothing arrives: a firewall that drops, a route that is gone."""
    cut = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as ends:
        port = listener.getsockname()[1]

        def forward(source: socket.socket, target: socket.socket) -> None:
            with suppress(OSError):
                while data := source.recv(65536):
                    if not cut.is_set():
                        target.sendall(data)

        def accept() -> None:
            with suppress(OSError):
                client = ends.enter_context(listener.accept()[0])
                server = ends.enter_context(
                    socket.create_connection(("127.0.0.1", int(lab.leader.port or 0)))
                )
                ends.callback(server.shutdown, socket.SHUT_RDWR)  # the leader would keep the session
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=forward, args=pair, daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        services, passes = (Path(lab.env()[name]) for name in ("PGSERVICEFILE", "PGPASSFILE"))
        for path in (services, passes):
            (tmp_path / path.name).write_text(path.read_text().replace(str(lab.leader.port), str(port)))
            (tmp_path / path.name).chmod(0o600)
        monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / services.name))
        monkeypatch.setenv("PGPASSFILE", str(tmp_path / passes.name))
        conn = connect(PHASE.targets["leader"], application_name="t")
        cut.set()
        conn.deadline_s = 0.5
        with pytest.raises(NoAnswer):
            conn.execute("SELECT 1")


def test_what_lasts_has_more_time_until_its_transaction_ends(lab: Lab) -> None:
    with Sessions(PHASE.targets) as sessions:
        usual = sessions.read("leader").deadline_s
        with sessions.snapshot("leader") as conn:
            take_time(conn, 7200)
            assert conn.deadline_s == 7200 + GRACE_S
            assert conn.execute("SHOW statement_timeout").fetchone() == {"statement_timeout": "2h"}
        assert sessions.read("leader").deadline_s == usual
        assert conn.execute("SHOW statement_timeout").fetchone() == {"statement_timeout": "1min"}


def test_what_answers_in_time_is_not_touched(lab: Lab) -> None:
    with connect(PHASE.targets["leader"], application_name="t") as conn:
        conn.deadline_s = 5
        assert conn.execute("SELECT pg_sleep(0.5), 1 AS one").fetchone() == {"pg_sleep": "", "one": 1}
    assert session_module.GRACE_S > 0
