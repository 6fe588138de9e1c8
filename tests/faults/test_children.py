"""The programs that steps start are killed, ended, interrupted or stopped, while they are at work."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest

from runbooks_lib.errors import GateClosed
from runbooks_lib.findings import CLOSING, Answer, Verdict, gate
from runbooks_lib.lab.lab import Lab
from runbooks_lib.phase import load_phase
from runbooks_lib.postgres.scratch import storage
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.steps import backup, prisma_resolve

from .campaign import fault
from .proof import dumps, passwords, require_told, require_unchanged
from .stage import small_disk

PHASE = load_phase("PH15-AMAZON-DB-FOUNDATION-01")
STOPPED_S = 3.0
ENDING = pytest.mark.parametrize(
    "sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda s: s.name
)


@pytest.fixture(scope="module")
def before(lab: Lab) -> dict[str, str]:
    return dumps(lab)


@pytest.fixture(scope="module")
def made(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answer]:
    """Dumps, and the answer that tells of them."""
    folder = tmp_path_factory.mktemp("backup")
    return folder, ask(lambda sessions: backup.dump(PHASE, sessions, folder=folder))


def ask(question: Callable[[Sessions], Answer]) -> Answer:
    with Sessions(PHASE.targets) as sessions:
        return question(sessions)


@contextmanager
def meanwhile(deed: Callable[[psutil.Process], None], *words: str) -> Iterator[None]:
    """Do something to the first descendant of this process in whose command line these words stand."""
    done, over = threading.Event(), threading.Event()

    def watch() -> None:
        while not over.is_set():
            for each in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    if all(word in " ".join(each.cmdline()) for word in words):
                        deed(each)
                        done.set()
                        return
            time.sleep(0.002)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert done.is_set(), f"nothing was seen with {words}"


def send(number: signal.Signals) -> Callable[[psutil.Process], None]:
    def deed(process: psutil.Process) -> None:
        process.send_signal(number)
        if number is signal.SIGSTOP:
            time.sleep(STOPPED_S)
            process.send_signal(signal.SIGCONT)

    return deed


def require_three(lab: Lab, before: dict[str, str], answer: Answer, *, cause: str, next_step: str) -> None:
    require_unchanged(before, dumps(lab))
    assert {f.verdict for f in answer.findings if f.verdict in CLOSING} == {Verdict.ERROR}
    with pytest.raises(GateClosed) as closed:
        gate(answer.findings)
    require_told(str(closed.value), cause=cause, next_step=next_step, secrets=passwords(lab))


# --- pg_dump -------------------------------------------------------------------------------------------------------


@fault(
    kind="processes",
    fault="{sent.name} to pg_dump",
    injected="the signal, as soon as it is there",
    seen="its exit code",
    told="ERROR: pg_dump failed, on which database; run the backup again",
    goes_on="`runbooks run PHASE --resume latest`",
    fast=True,
)
@ENDING
def test_pg_dump_is_ended(lab: Lab, before: dict[str, str], tmp_path: Path, sent: signal.Signals) -> None:
    with meanwhile(send(sent), "pg_dump", "--snapshot", "--file"):
        answer = ask(lambda sessions: backup.dump(PHASE, sessions, folder=tmp_path))
    require_three(lab, before, answer, cause=r"pg_dump", next_step=r"again|Run|run")
    assert list(answer.facts.dumps) == ["legacy"]
    assert len(list(tmp_path.iterdir())) == 1, "of the dump that was ended nothing stays"
    (tmp_path / "again").mkdir()
    gate(ask(lambda sessions: backup.dump(PHASE, sessions, folder=tmp_path / "again")).findings)


@fault(
    kind="processes",
    fault="SIGSTOP to pg_dump for some seconds",
    injected="SIGSTOP, and SIGCONT after three seconds",
    seen="it takes longer",
    told="PASS: the dump is whole",
    goes_on="nothing has to be done",
)
def test_pg_dump_is_stopped_for_a_while(lab: Lab, before: dict[str, str], tmp_path: Path) -> None:
    with meanwhile(send(signal.SIGSTOP), "pg_dump", "--snapshot", "--file"):
        answer = ask(lambda sessions: backup.dump(PHASE, sessions, folder=tmp_path))
    gate(answer.findings)
    require_unchanged(before, dumps(lab))
    told = ask(
        lambda sessions: backup.verify(PHASE, sessions, folder=tmp_path, dumps=dict(answer.facts.dumps))
    )
    gate(told.findings)


# --- the scratch server, into which a dump is restored ---------------------------------------------------------------


@fault(
    kind="processes",
    fault="{sent.name} to the scratch server in which a dump is proven",
    injected="the signal to its postmaster, in the middle of a restore (there is no pg_restore and no psql)",
    seen="the session that restores is lost, or refused",
    told="ERROR: the scratch server and its last words; run it again",
    goes_on="`runbooks run PHASE --resume latest`",
    fast=True,
)
@ENDING
def test_the_scratch_server_is_ended(
    lab: Lab, before: dict[str, str], made: tuple[Path, Answer], sent: signal.Signals
) -> None:
    folder, told = made

    def prove(sessions: Sessions) -> Answer:
        return backup.prove(PHASE, sessions, folder=folder, dumps=dict(told.facts.dumps))

    def end(process: psutil.Process) -> None:
        server = process.parent()
        assert server is not None
        server.send_signal(sent)

    with meanwhile(end, "postgres: scratch: runbooks restorer"):
        answer = ask(prove)
    require_three(lab, before, answer, cause=r"scratch|restore", next_step=r"again|[Rr]un|[Cc]heck")
    gate(ask(prove).findings)


@fault(
    kind="processes",
    fault="SIGSTOP to the scratch server for some seconds",
    injected="SIGSTOP to its postmaster while it starts, and SIGCONT after three seconds",
    seen="it takes longer",
    told="PASS: the dump restores",
    goes_on="nothing has to be done",
)
def test_the_scratch_server_is_stopped_for_a_while(
    lab: Lab, before: dict[str, str], made: tuple[Path, Answer]
) -> None:
    folder, told = made
    with meanwhile(send(signal.SIGSTOP), "bin/postgres -D"):
        answer = ask(
            lambda sessions: backup.prove(PHASE, sessions, folder=folder, dumps=dict(told.facts.dumps))
        )
    gate(answer.findings)
    require_unchanged(before, dumps(lab))


@fault(
    kind="storage",
    fault="the disk of the scratch server in which a dump is proven is full",
    injected="a tmpfs of 16 MiB as the folder of scratch servers",
    seen="ENOSPC, while its data are copied or written",
    told="ERROR: No space left on device, where; run it again",
    goes_on="free space, or TMPDIR elsewhere, then `runbooks run PHASE --resume latest`",
    fast=True,
)
def test_the_scratch_server_has_no_room(
    lab: Lab, before: dict[str, str], made: tuple[Path, Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, told = made

    def prove(sessions: Sessions) -> Answer:
        return backup.prove(PHASE, sessions, folder=folder, dumps=dict(told.facts.dumps))

    with TemporaryDirectory(dir="/tmp") as short, small_disk(Path(short), "16m", "mode=1777") as small:
        with monkeypatch.context() as patch:
            patch.setattr(storage, "bases", lambda: (small, small))
            answer = ask(prove)
        assert list(small.iterdir()) == [], "nothing stays of it"
    require_three(
        lab, before, answer, cause=r"No space left|could not extend|full", next_step=r"[Ff]ree|again|[Rr]un"
    )
    gate(ask(prove).findings)


# --- Prisma and its engine -------------------------------------------------------------------------------------------

PRISMA = {"Prisma's command line": "prisma/build/index.js", "Prisma's engine": "schema-engine.cjs"}


def status(sessions: Sessions) -> Answer:
    return prisma_resolve.status(PHASE, sessions, prisma=prisma_resolve.command_line(PHASE, sessions))


@fault(
    kind="processes",
    fault="{sent.name} to {which}",
    injected="the signal, while `prisma migrate status` is at work",
    seen="its exit code, and that it did not say what it says at its end",
    told="ERROR: what Prisma said last; run it again",
    goes_on="`runbooks run PHASE --resume latest`",
)
@ENDING
@pytest.mark.parametrize("which", list(PRISMA))
def test_prisma_is_ended(lab: Lab, before: dict[str, str], sent: signal.Signals, which: str) -> None:
    with meanwhile(send(sent), PRISMA[which]):
        answer = ask(status)
    require_three(lab, before, answer, cause=r"[Pp]risma", next_step=r"again|[Rr]un|[Cc]heck|[Rr]ead")
    gate(ask(status).findings)


@fault(
    kind="processes",
    fault="SIGSTOP to {which} for some seconds",
    injected="SIGSTOP, and SIGCONT after three seconds",
    seen="it takes longer",
    told="PASS: Prisma's answer",
    goes_on="nothing has to be done",
)
@pytest.mark.parametrize("which", list(PRISMA))
def test_prisma_is_stopped_for_a_while(lab: Lab, before: dict[str, str], which: str) -> None:
    with meanwhile(send(signal.SIGSTOP), PRISMA[which]):
        answer = ask(status)
    gate(answer.findings)
    require_unchanged(before, dumps(lab))
