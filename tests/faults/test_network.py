"""The line to the server fails: in each phase of the protocol, in each way, and it is never taken for an answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runbooks_lib.errors import GateClosed
from runbooks_lib.findings import Answer, Verdict, gate
from runbooks_lib.lab.lab import Lab
from runbooks_lib.phase import load_phase
from runbooks_lib.postgres.session import connect as connect_module
from runbooks_lib.postgres.session import session as session_module
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.steps import preflight

from .campaign import fault
from .proof import dumps, passwords, require_told, require_unchanged
from .proxy import Fault, Line, Phase, line

PHASE = load_phase("PH15-AMAZON-DB-FOUNDATION-01")
PATIENCE_S = 2.0


@pytest.fixture
def own_line(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    """A line to the leader, over which the lab's services lead; who waits for it waits for two seconds."""
    monkeypatch.setattr(session_module.Session, "deadline_s", PATIENCE_S)
    monkeypatch.setattr(connect_module, "GRACE_S", PATIENCE_S - connect_module.READ_TIMEOUT_MS / 1000)
    with line(lab.env(), int(lab.leader.port or 0), tmp_path, connect_timeout=2) as (made, env):
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        yield made


@pytest.fixture(scope="module")
def before(lab: Lab) -> dict[str, str]:
    return dumps(lab)


def ask(question: Callable[..., Answer]) -> Answer:
    with Sessions(PHASE.targets) as sessions:
        return question(PHASE, sessions)


def require_three(lab: Lab, before: dict[str, str], answer: Answer, *, cause: str, next_step: str) -> None:
    """Nothing is lost; nothing of the leader is green; the gate closes in words that name cause and next step."""
    require_unchanged(before, dumps(lab))
    of_the_leader = [f for f in answer.findings if f.target == "leader"]
    assert {f.verdict for f in of_the_leader} == {Verdict.ERROR}
    with pytest.raises(GateClosed):
        gate(answer.findings)
    for found in of_the_leader:
        require_told(f"{found.have} {found.hint}", cause=cause, next_step=next_step, secrets=passwords(lab))


def require_goes_on(question: Callable[..., Answer]) -> None:
    assert all(f.verdict in (Verdict.PASS, Verdict.OPEN, Verdict.SKIP) for f in ask(question).findings)


PHASES = pytest.mark.parametrize(
    "phase", ["connect", "startup", "password", "greeting", "question", "answer"]
)
CLOSED = r"closed the connection|Connection reset|Broken pipe"  # as libpq was reading, or already writing
HOW = "a TCP proxy before the leader, while preflight asks who answers"


def require_refused(
    lab: Lab, own_line: Line, before: dict[str, str], phase: Phase, how: Fault, cause: str
) -> None:
    own_line.broken(phase, how)
    answer = ask(preflight.targets)
    require_three(lab, before, answer, cause=cause, next_step=r"[Cc]heck that the server runs")
    own_line.phase = None
    require_goes_on(preflight.targets)


@fault(
    kind="network",
    fault="the connection is cut in the phase {phase!r} of the protocol",
    injected=HOW,
    seen="libpq's error",
    told="ERROR: the connection was closed; check that the server runs, and that psql connects",
    goes_on="the same command, when the line is mended",
    fast=True,
)
@PHASES
def test_a_connection_that_is_cut(lab: Lab, own_line: Line, before: dict[str, str], phase: Phase) -> None:
    require_refused(lab, own_line, before, phase, "cut", CLOSED)


@fault(
    kind="network",
    fault="{how} in the phase {phase!r} of the protocol",
    injected=HOW,
    seen="our deadline for an answer, or libpq's for a connection",
    told="ERROR: no answer within so many seconds, or the time-out of libpq; check that the server runs",
    goes_on="the same command, when the line is mended",
)
@PHASES
@pytest.mark.parametrize("how", ["black hole", "half-open"])
def test_a_silent_line(lab: Lab, own_line: Line, before: dict[str, str], phase: Phase, how: Fault) -> None:
    require_refused(lab, own_line, before, phase, how, r"timeout expired|no answer within \d+ seconds")


@fault(
    kind="network",
    fault="{how} in the middle of a snapshot",
    injected="a TCP proxy before the leader, when the catalogue has been read in part",
    seen="libpq's error, or our deadline for an answer",
    told="ERROR: the target could not be read, with the cause; check that the server runs",
    goes_on="the same command, when the line is mended",
)
@pytest.mark.parametrize("how", ["cut", "black hole", "half-open"])
def test_a_snapshot_that_is_torn(lab: Lab, own_line: Line, before: dict[str, str], how: Fault) -> None:
    with Sessions(PHASE.targets) as sessions:
        gate(preflight.targets(PHASE, sessions).findings)
        own_line.broken("answer", how)
        answer = preflight.schema(PHASE, sessions)
    cause = CLOSED + r"|no answer within \d+ seconds|timeout expired"
    require_three(lab, before, answer, cause=cause, next_step=r"[Cc]heck that the server runs")
    own_line.phase = None
    require_goes_on(preflight.schema)


@fault(
    kind="network",
    fault="{words}",
    injected="a TCP proxy before the leader that holds up every packet, or a few bytes at a time",
    seen="it is slow, and nothing else",
    told="PASS, as on a good line",
    goes_on="nothing has to be done",
    fast=True,
)
@pytest.mark.parametrize(
    ("words", "settings"),
    [
        ("latency of 250 ms each way", {"delay_s": 0.25}),
        ("answers trickle, 64 bytes a millisecond", {"bytes_at_once": 64}),
    ],
)
def test_a_slow_line_is_only_slow(
    lab: Lab,
    before: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: str,
    settings: dict[str, Any],
) -> None:
    with line(lab.env(), int(lab.leader.port or 0), tmp_path) as (made, env):
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        for name, value in settings.items():
            setattr(made, name, value)
        require_goes_on(preflight.targets)
    require_unchanged(before, dumps(lab))


@fault(
    kind="network",
    fault="the name of the server is not found",
    injected="a host in the service file that no resolver knows",
    seen="libpq's error",
    told="ERROR: could not translate host name; check the service",
    goes_on="mend the name or the resolver, then the same command",
    fast=True,
)
def test_a_name_that_is_not_found(
    lab: Lab, before: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = Path(lab.env()["PGSERVICEFILE"]).read_text("utf-8")
    (tmp_path / "services").write_text(services.replace("host=127.0.0.1", "host=no-such-host.invalid"))
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    answer = ask(preflight.targets)
    require_three(
        lab, before, answer, cause=r"(translate|resolve) host name|Name or service not known|failure in name",
        next_step=r"[Cc]heck that the server runs",
    )  # fmt: skip
    monkeypatch.setenv("PGSERVICEFILE", lab.env()["PGSERVICEFILE"])
    require_goes_on(preflight.targets)


@fault(
    kind="network",
    fault="the name leads to another address meanwhile: {to}",
    injected="the line's other end is moved while the session is open, which is then cut",
    seen="the new session asks anew who answers",
    told="{told}",
    goes_on="point the name at the right server, then the same command",
    fast=True,
)
@pytest.mark.parametrize(
    ("to", "told"),
    [
        ("the standby", "ERROR: declared a primary, and the service leads to a standby"),
        ("nobody", "ERROR: the server does not answer; check that it runs"),
    ],
)
def test_an_address_that_changes(
    lab: Lab, own_line: Line, before: dict[str, str], to: str, told: str
) -> None:
    port = own_line.to
    with Sessions(PHASE.targets) as sessions:
        gate(preflight.targets(PHASE, sessions).findings)
        own_line.to = int(lab.replica.port or 0) if to == "the standby" else 1
        sessions.read("leader").close()
        answer = preflight.schema(PHASE, sessions)
    cause, next_step = {
        "the standby": (
            r"declared a primary and service keybuzz_leader leads to a standby",
            "Point the service",
        ),
        "nobody": (CLOSED + "|refused", r"[Cc]heck that the server runs"),
    }[to]
    require_three(lab, before, answer, cause=cause, next_step=next_step)
    own_line.to = port
    require_goes_on(preflight.schema)
