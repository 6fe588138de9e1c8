"""`runbooks run` loses a process of its own, or its servers, in the middle of a plan or an apply; then one goes on.

Each row: the fault in a step that is at work; then the three things; then `--resume latest`, which ends as an
undisturbed run does.
"""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
import pytest

from .campaign import fault
from .proof import dumps, require_no_green
from .stage import AGAIN, MODES, STEP, Stage, at_work, below, ended, start

SIGNALS = pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM], ids=lambda s: s.name)
MOMENTS = 50  # spread over a little more than a plan takes
STARTED_S = 1.0  # Python itself starts before that, and says what it likes of a Ctrl-C
LONGEST_S = 10.0
STOPPED_S = 5.0


@fault(
    kind="processes",
    fault="{sent.name} to the kernel of a step, {mode}",
    injected="the signal, while the notebook of that step is executed",
    seen="the kernel's process ends",
    told="ERROR: the step ended without a verdict, its kernel died; which notebook to read",
    goes_on=AGAIN,
)
@SIGNALS
@MODES
def test_a_kernel_that_is_ended(
    scene: Stage, reset: None, tmp_path: Path, sent: signal.Signals, mode: str, apply: bool
) -> None:
    process = scene.start(tmp_path, apply=apply)
    at_work(process, tmp_path, STEP[apply]).send_signal(sent)
    found = ended(process)
    scene.require_three(
        tmp_path, found, cause="kernel died", next_step=r"--resume|[Rr]ead the archived", apply=apply
    )
    scene.require_resumed(tmp_path, apply=apply)


@fault(
    kind="processes",
    fault="{sent.name} to `runbooks run`, plan",
    injected="the signal to the command itself, while a step is at work",
    seen="the process ends; its kernels see that it is gone",
    told="{told}",
    goes_on=AGAIN,
)
@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (signal.SIGKILL, "`runbooks verify RUN`: the run is not sealed, take it up or begin anew"),
        (signal.SIGTERM, "exit 130: the step was interrupted, and the next command"),
        (signal.SIGINT, "exit 130: the step was interrupted, and the next command"),
    ],
    ids=["SIGKILL", "SIGTERM", "SIGINT"],
)
def test_a_runner_that_is_ended(scene: Stage, tmp_path: Path, sent: signal.Signals, told: str) -> None:
    process = scene.start(tmp_path)
    kernel = at_work(process, tmp_path, STEP[False])
    process.send_signal(sent)
    found = ended(process)
    psutil.wait_procs([kernel], 10)
    assert not kernel.is_running(), "no kernel outlives its runner"
    if sent is signal.SIGKILL:
        (header,) = tmp_path.glob("*/2*/run.json")
        found = scene.command("verify", header.parent)
    else:
        assert found.code == 130
        assert "ZMQ" not in found.err
    scene.require_three(
        tmp_path, found, cause=r"interrupted|not sealed|no manifest|did not come to its end|killed|incomplete",
        next_step=r"--resume|[Rr]un the phase|again", apply=False,
    )  # fmt: skip
    scene.require_resumed(tmp_path, apply=False)


@fault(
    kind="processes",
    fault="the process that forks kernels is dead, {mode}",
    injected="kill -9 of it, while a step is at work: its kernels end with it",
    seen="the kernel's process ends; the next one is an ordinary one",
    told="ERROR: the step ended without a verdict, its kernel died; which notebook to read",
    goes_on=AGAIN,
)
@MODES
def test_a_dead_fork_server(scene: Stage, reset: None, tmp_path: Path, mode: str, apply: bool) -> None:
    process = scene.start(tmp_path, apply=apply)
    at_work(process, tmp_path, STEP[apply])
    forker = below(process, "kernels.forker")
    assert forker is not None
    (forker if forker.ppid() == process.pid else forker.parent()).kill()
    found = ended(process)
    scene.require_three(
        tmp_path, found, cause="kernel died", next_step=r"--resume|[Rr]ead the archived", apply=apply
    )
    scene.require_resumed(tmp_path, apply=apply)


@fault(
    kind="processes",
    fault="kernels run out of memory",
    injected="RLIMIT_AS for the kernel of the second step, too small for what it does next",
    seen="MemoryError in the kernel, or its end",
    told="ERROR: the step ended without a verdict, with what its kernel said; which notebook to read",
    goes_on=AGAIN,
)
def test_a_kernel_without_memory(scene: Stage, tmp_path: Path) -> None:
    process = scene.start(tmp_path)
    kernel = at_work(process, tmp_path, "backup")
    psutil.Process(kernel.pid).rlimit(
        resource.RLIMIT_AS, (kernel.memory_info().vms, kernel.memory_info().vms)
    )
    found = ended(process)
    scene.require_three(
        tmp_path, found, cause=r"[Mm]emory|kernel died|allocate|thread",
        next_step=r"--resume|again|[Rr]ead", apply=False,
    )  # fmt: skip
    scene.require_resumed(tmp_path, apply=False)


def stop_and_start(scene: Stage, which: str) -> tuple[Callable[[], None], Callable[[], None]]:
    server = scene.lab.leader if which == "leader" else scene.lab.replica

    def end() -> None:
        pid = server.pid()
        assert pid
        os.kill(pid, signal.SIGKILL)

    return end, partial(start, scene, server)


@fault(
    kind="processes",
    fault="SIGKILL to the {which}, plan",
    injected="kill -9 of its postmaster, while a step is at work; it is started again afterwards",
    seen="sessions are lost, and refused",
    told="ERROR: which target does not answer or could not be read, and what to check",
    goes_on=f"start the server, then {AGAIN}",
)
@pytest.mark.parametrize("which", ["leader", "standby"])
def test_a_server_that_dies(scene: Stage, tmp_path: Path, which: str) -> None:
    end, begin = stop_and_start(scene, which)
    process = scene.start(tmp_path)
    at_work(process, tmp_path, STEP[False])
    end()
    found = ended(process)
    begin()
    scene.require_three(
        tmp_path, found, cause=r"does not answer|could not be read|not known|closed the connection|lost",
        next_step=r"[Cc]heck|--resume|again", apply=False,
    )  # fmt: skip
    scene.require_resumed(tmp_path, apply=False)


# --- all is stopped for a while, or interrupted at any moment ---------------------------------------------------------


@fault(
    kind="processes",
    fault="SIGSTOP to the {which} for some seconds, plan",
    injected="SIGSTOP while a step is at work, and SIGCONT after five seconds",
    seen="it takes longer",
    told="the plan, as without",
    goes_on="nothing has to be done",
)
@pytest.mark.parametrize("which", ["command", "kernel of a step", "leader", "standby"])
def test_what_is_stopped_for_a_while_goes_on(scene: Stage, tmp_path: Path, which: str) -> None:
    process = scene.start(tmp_path)
    kernel = at_work(process, tmp_path, STEP[False])
    server = scene.lab.leader if which == "leader" else scene.lab.replica
    stopped = {"command": process.pid, "kernel of a step": kernel.pid}.get(which) or server.pid()
    assert stopped
    everything = [
        psutil.Process(stopped),
        *psutil.Process(stopped).children(recursive=which in ("leader", "standby")),
    ]
    for each in everything:
        each.suspend()
    time.sleep(STOPPED_S)
    for each in everything:
        with suppress(psutil.NoSuchProcess):
            each.resume()
    found = ended(process)
    assert found.code == 0, found.said
    scene.require_done(tmp_path, apply=False)


@fault(
    kind="processes",
    fault="Ctrl-C at any of 50 moments of a plan",
    injected="SIGINT to the whole process group, as a terminal sends it, at 50 moments after Python's own start",
    seen="the command ends what it started",
    told="exit 130, the next command; no traceback, no noise of ZeroMQ",
    goes_on=AGAIN,
)
@pytest.mark.parametrize("number", range(MOMENTS))
def test_ctrl_c_at_any_moment(scene: Stage, tmp_path: Path, number: int) -> None:
    process = scene.start(tmp_path)
    time.sleep(STARTED_S + (LONGEST_S - STARTED_S) * number / MOMENTS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    found = ended(process)
    assert found.code in (0, 130), found.said
    for noise in ("Traceback", "ZMQ", "zmq", "Exception ignored"):
        assert noise not in found.said, found.said
    assert dumps(scene.lab) == scene.before
    if found.code == 130:
        require_no_green(tmp_path, found.code)
        if number % 10 == 5 and any(tmp_path.glob("*/2*/run.json")):
            scene.require_resumed(tmp_path, apply=False)
