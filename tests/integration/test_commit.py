"""What became of a COMMIT that nobody answered: a connection cut before and after it, a standby that is waited for."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from msgspec import structs

from runbooks_lib.errors import GateClosed
from runbooks_lib.facts.databases import Dump
from runbooks_lib.facts.writing import KeptPlan, Plan
from runbooks_lib.findings import Answer, Finding, Verdict, gate
from runbooks_lib.lab.lab import Lab
from runbooks_lib.phase import Phase, load_phase
from runbooks_lib.postgres.session import commit as commits
from runbooks_lib.postgres.session import connect as connecting
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.steps import baseline_migration as step

from ..faults.campaign import fault

SHIPPED = load_phase("PH15-AMAZON-DB-FOUNDATION-01")
DATABASE = "commit_test"
DUMPS = {
    "legacy": Dump(
        path="s.sql",
        size_bytes=1,
        complete=True,
        sha256="a" * 64,
        content_sha256="a" * 64,
        database="",
        fingerprint="",
    )
}
COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"  # as the protocol's simple query
SCRIPT = "CREATE TABLE IF NOT EXISTS public.kept (id int PRIMARY KEY);"


class Proxy:
    """Hands bytes on to a server until, once it is armed, a COMMIT comes by, and cuts that connection.

    `cuts` says whether before or after the server has it; `gone` says that nobody is let in afterwards.
    """

    def __init__(self, port: int, *, cuts: str, gone: bool = False) -> None:
        self.server, self.cuts, self.gone = port, cuts, gone
        self.armed, self.cut = threading.Event(), threading.Event()
        self.meanwhile: Callable[[], None] = lambda: None
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.listening.accept()
                if self.cut.is_set() and self.gone:
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self.server))
                mute = threading.Event()
                threading.Thread(target=self._to_server, args=(client, server, mute), daemon=True).start()
                threading.Thread(target=self._to_client, args=(server, client, mute), daemon=True).start()

    def _to_server(self, client: socket.socket, server: socket.socket, mute: threading.Event) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                if data.endswith(COMMIT) and self.armed.is_set() and not self.cut.is_set():
                    self.cut.set()
                    mute.set()
                    if self.cuts == "after":
                        server.sendall(data)
                        threading.Event().wait(0.3)  # its answer is taken up, and goes no further
                    self.meanwhile()
                    break
                server.sendall(data)
        for each in (client, server):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _to_client(self, server: socket.socket, client: socket.socket, mute: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                if not mute.is_set():
                    client.sendall(data)


@pytest.fixture
def db(lab: Lab) -> Iterator[psycopg.Connection[Any]]:
    with lab.admin("postgres") as admin:
        admin.execute(f"CREATE DATABASE {DATABASE} TEMPLATE keybuzz")
    try:
        with lab.admin(DATABASE) as conn:
            yield conn
    finally:
        with lab.admin("postgres") as admin:
            admin.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")


@pytest.fixture
def phase(tmp_path: Path) -> Phase:
    (tmp_path / "baseline.sql").write_text(SCRIPT)
    return replace(
        SHIPPED,
        folder=tmp_path,
        targets={"legacy": replace(SHIPPED.targets["legacy"], database=DATABASE)},
        backup=replace(SHIPPED.backup, targets=("legacy",)),
        prisma=None,
        tables=(),
        enums=(),
        indexes=(),
    )


@contextmanager
def through(
    lab: Lab, folder: Path, monkeypatch: pytest.MonkeyPatch, *, cuts: str, gone: bool = False
) -> Iterator[Proxy]:
    """Let the services of the lab's leader lead through a proxy."""
    port = lab.leader.port
    assert port is not None
    proxy = Proxy(port, cuts=cuts, gone=gone)
    try:
        for variable in ("PGSERVICEFILE", "PGPASSFILE"):
            file = folder / variable
            text = Path(lab.env()[variable]).read_text()
            file.write_text(
                text.replace(f"port={port}", f"port={proxy.port}").replace(f":{port}:", f":{proxy.port}:")
            )
            file.chmod(0o600)
            monkeypatch.setenv(variable, str(file))
        yield proxy
    finally:
        proxy.close()


def ask(phase: Phase, question: Any, **options: Any) -> Answer:
    with Sessions(phase.targets, application_name="runbooks tests", run="this") as sessions:
        answer: Answer = question(phase, sessions, **options)
    return answer


def applied(phase: Phase, proxy: Proxy | None = None) -> Answer:
    plan = ask(phase, step.plan, dumps=DUMPS, code="c").facts
    if proxy:
        proxy.armed.set()
    return ask(phase, step.apply, plan=plan, planned=None, confirm=plan.confirmation, apply=True)


def ending(answer: Answer) -> Finding:
    (found,) = (f for f in answer.findings if f.check == "baseline_is_applied")
    return found


def is_there(db: psycopg.Connection[Any]) -> bool:
    return db.execute("SELECT to_regclass('public.kept') IS NOT NULL").fetchone() == (True,)


def test_a_commit_that_is_answered(db: psycopg.Connection[Any], phase: Phase) -> None:
    answer = applied(phase)
    assert (ending(answer).verdict, ending(answer).have) == (Verdict.PASS, "applied")
    assert answer.facts.transaction["outcome"] == "committed"
    assert is_there(db)


@fault(
    kind="network",
    fault="the connection is cut after COMMIT has got there",
    injected="a TCP proxy that cuts at COMMIT",
    seen="a new session asks for the state of the transaction",
    told="PASS: it is committed, as a new session found",
    goes_on="nothing has to be done",
    fast=True,
)
def test_lost_after_it_got_there(
    lab: Lab, db: psycopg.Connection[Any], phase: Phase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with through(lab, tmp_path, monkeypatch, cuts="after") as proxy:
        answer = applied(phase, proxy)
        assert proxy.cut.is_set()
        assert is_there(db)
        assert answer.facts.applied is True
        assert answer.facts.transaction["outcome"] == "committed"
        assert ending(answer).verdict is Verdict.PASS
        assert "is committed, as a new session found" in ending(answer).have
        again = ask(phase, step.second_run, apply=True)
    assert again.verdict is Verdict.PASS


@fault(
    kind="network",
    fault="the connection is cut before COMMIT has got there",
    injected="a TCP proxy that cuts at COMMIT",
    seen="a new session asks for the state of the transaction",
    told="FAIL: it was rolled back",
    goes_on="`runbooks run PHASE --resume latest`",
    fast=True,
)
def test_lost_before_it_got_there(
    lab: Lab, db: psycopg.Connection[Any], phase: Phase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with through(lab, tmp_path, monkeypatch, cuts="before") as proxy:
        answer = applied(phase, proxy)
        assert proxy.cut.is_set()
    assert not is_there(db)
    assert answer.facts.applied is False
    assert answer.facts.transaction["outcome"] == "aborted"
    assert ending(answer).verdict is Verdict.FAIL
    assert "was rolled back" in ending(answer).have


@fault(
    kind="network",
    fault="the connection is cut {cuts} COMMIT has got there, and the server can't be asked",
    injected="a TCP proxy that cuts at COMMIT and lets nobody in",
    seen="nobody answers",
    told="ERROR: not known, the session was lost at COMMIT",
    goes_on="`runbooks run PHASE --resume latest`: it asks again",
    fast=True,
)
@pytest.mark.parametrize("cuts", ["before", "after"])
def test_lost_and_nobody_to_ask(
    lab: Lab, db: psycopg.Connection[Any], phase: Phase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cuts: str
) -> None:  # fmt: skip
    monkeypatch.setattr(commits, "ASK_FOR_S", 0.5)
    with through(lab, tmp_path, monkeypatch, cuts=cuts, gone=True) as proxy:
        answer = applied(phase, proxy)
    assert is_there(db) is (cuts == "after")
    assert answer.facts.applied is None
    assert answer.facts.transaction["outcome"] == "unknown"
    assert ending(answer).verdict is Verdict.ERROR
    with pytest.raises(GateClosed, match="not known: the session was lost at COMMIT"):
        gate(answer.findings)


@fault(
    kind="network",
    fault="the connection is cut at COMMIT, and a standby has the address now",
    injected="a TCP proxy that cuts and leads to the standby",
    seen="the new session is at a standby",
    told="ERROR: not known; a standby answers now",
    goes_on="`runbooks run PHASE --resume latest`, when the primary has the address",
    fast=True,
)
def test_another_server_answers_afterwards(
    lab: Lab, db: psycopg.Connection[Any], phase: Phase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A standby has taken the address over: it may not have the transaction yet, and knows no better."""
    monkeypatch.setattr(commits, "ASK_FOR_S", 0.5)
    with through(lab, tmp_path, monkeypatch, cuts="after") as proxy:

        def take_over() -> None:
            assert lab.replica.port is not None
            proxy.server = lab.replica.port

        proxy.meanwhile = take_over
        answer = applied(phase, proxy)
    assert answer.facts.applied is None
    assert "A standby answers now" in ending(answer).have


def test_a_standby_that_a_commit_waits_for(
    fresh_lab: Lab, phase: Phase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """COMMIT would wait for ever. It is left alone, named, and ends as committed when it need not wait any more."""
    monkeypatch.setattr(commits, "ASK_FOR_S", 0.5)
    monkeypatch.setattr(connecting, "GRACE_S", 0.5)
    hurried = replace(phase, baseline=replace(phase.baseline, statement_timeout_ms=3_000))
    with fresh_lab.admin("postgres") as admin:
        admin.execute(f"CREATE DATABASE {DATABASE} TEMPLATE keybuzz")
        plan = ask(hurried, step.plan, dumps=DUMPS, code="c").facts
        admin.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody_has_this_name'")
        admin.execute("SELECT pg_reload_conf()")
        confirm = plan.confirmation
        answer = ask(hurried, step.apply, plan=plan, planned=None, confirm=confirm, apply=True)
        assert answer.facts.applied is None
        assert answer.facts.transaction["waits_for"] == "SyncRep"
        assert ending(answer).verdict is Verdict.ERROR
        assert "waits for a synchronous standby (SyncRep, pid " in ending(answer).have
        admin.execute("ALTER SYSTEM RESET synchronous_standby_names")
        admin.execute("SELECT pg_reload_conf()")
        with fresh_lab.admin(DATABASE) as conn:
            for _ in range(100):
                if is_there(conn):
                    break
                time.sleep(0.1)
            assert is_there(conn)
    planned = KeptPlan(**structs.asdict(plan), run="this")
    again = ask(hurried, step.plan, dumps=DUMPS, code="c").facts
    taken_up = ask(hurried, step.apply, plan=again, planned=planned, confirm=confirm, apply=True)
    assert taken_up.facts.applied is True


def test_the_server_crashes_and_its_numbers_are_given_out_again(
    fresh_lab: Lab, phase: Phase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was never written to the WAL is gone, number and all; somebody else's transaction commits under it."""
    with fresh_lab.admin("postgres") as admin:
        admin.execute(f"CREATE DATABASE {DATABASE} TEMPLATE keybuzz")
    with through(fresh_lab, tmp_path, monkeypatch, cuts="before") as proxy:

        def crash() -> None:
            fresh_lab.leader.stop()
            fresh_lab.leader.start()
            fresh_lab.leader.wait_ready()
            with fresh_lab.admin(DATABASE) as other:
                for number in range(30):
                    other.execute(f"CREATE TABLE other_{number} ()")

        proxy.meanwhile = crash
        real = commits.CommitLost.__init__

        def as_another(self: Any, transaction: Any, why: str) -> None:
            real(self, replace(transaction, id=str(int(transaction.id) + 5)), why)

        monkeypatch.setattr(commits.CommitLost, "__init__", as_another)
        answer = applied(phase, proxy)
    assert answer.facts.applied is None
    assert "what ours made is not there" in ending(answer).have


DEFERRED = (
    "CREATE FUNCTION public.no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not today'; END $$;"
    "CREATE TABLE public.held (id int PRIMARY KEY); ALTER TABLE public.held OWNER TO kb_backend;"
    "GRANT INSERT ON public.held TO keybuzz_operator;"
    "CREATE CONSTRAINT TRIGGER no AFTER INSERT ON public.held DEFERRABLE INITIALLY DEFERRED"
    " FOR EACH ROW EXECUTE FUNCTION public.no()"
)


def test_a_commit_that_the_server_refuses_is_no_lost_one(db: psycopg.Connection[Any], phase: Phase) -> None:
    """A deferred trigger speaks at COMMIT: that is an answer, and the transaction is rolled back."""
    db.execute(DEFERRED)
    with (
        Sessions(phase.targets) as sessions,
        sessions.write("legacy", lock_timeout_ms=1_000, statement_timeout_ms=5_000) as conn,
    ):
        server = connecting.identify(conn)
        conn.execute("BEGIN")
        conn.execute("INSERT INTO public.held VALUES (1)")
        with pytest.raises(psycopg.errors.RaiseException, match="not today"):
            commits.commit(conn, server)
        assert not conn.closed
    assert db.execute("SELECT count(*) FROM public.held").fetchone() == (0,)


def test_what_is_deferred_speaks_in_the_rehearsal(db: psycopg.Connection[Any], phase: Phase) -> None:
    db.execute(DEFERRED)
    (phase.folder / "baseline.sql").write_text("INSERT INTO public.held VALUES (1) ON CONFLICT DO NOTHING;")
    answer = ask(phase, step.rehearse, plan=Plan(makes=[]))
    assert answer.verdict is Verdict.ERROR
    assert "deferred constraint or trigger refuses" in answer.findings[0].have
    assert "not today" in answer.findings[0].have


@pytest.mark.parametrize("restarted", [False, True])
def test_a_server_that_does_not_say_who_it_is_settles_what_it_was_not_restarted_after(
    db: psycopg.Connection[Any], phase: Phase, monkeypatch: pytest.MonkeyPatch, restarted: bool
) -> None:
    """Its transaction's number is known to every other system too: only the same start tells that it is the same."""
    db.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
    monkeypatch.setattr(commits, "ASK_FOR_S", 0)
    with Sessions(phase.targets) as sessions:
        with sessions.write("legacy", lock_timeout_ms=1_000, statement_timeout_ms=5_000) as conn:
            server = connecting.identify(conn)
            conn.execute("BEGIN")
            conn.execute("SELECT pg_current_xact_id()")
            done = commits.commit(conn, replace(server, started="0") if restarted else server)
        settled = commits.settle(
            commits.CommitLost(done, "cut"),
            lambda: connecting.connect(phase.targets["legacy"], application_name="t"),
        )
    assert settled.outcome is (commits.Ending.UNKNOWN if restarted else commits.Ending.COMMITTED)
    assert ("started anew" in settled.why) is restarted
