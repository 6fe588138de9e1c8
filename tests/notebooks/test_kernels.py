"""Kernels: forked ones and ordinary ones do the same, and nothing of one notebook reaches the next."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import nbformat
import papermill
import psutil
import pytest
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.exceptions import PapermillExecutionError

from runbooks_lib.execution.kernels import engine, provisioner, warm
from runbooks_lib.execution.kernels.engine import HonestClient, KernelNotReadyError
from runbooks_lib.execution.kernels.provisioner import QuickManager
from runbooks_lib.execution.kernels.warm import COLD, KIND_VARIABLE, Forker, NotForked, current, warm_kernels
from runbooks_lib.package import own_python

FORKS = warm.can_fork()
KINDS = ["cold", pytest.param("warm", marks=pytest.mark.skipif(not FORKS, reason="no fork here"))]
Execute = Callable[..., dict[str, Any]]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv(KIND_VARIABLE, request.param)
    with warm_kernels():
        assert (current() is not None) == (request.param == "warm")
        yield request.param


@pytest.fixture
def execute(tmp_path: Path) -> Execute:
    """Execute cells as a notebook; return what its first cell printed as JSON, if it did."""

    def run(*cells: str, **options: Any) -> dict[str, Any]:
        write(tmp_path / "in.ipynb", *cells)
        papermill.execute_notebook(
            str(tmp_path / "in.ipynb"),
            str(tmp_path / "out.ipynb"),
            engine_name="runbooks",
            progress_bar=False,
            **options,
        )
        printed = "".join(out.get("text", "") for out in read(tmp_path).cells[0].outputs)
        return dict(json.loads(printed)) if printed.startswith("{") else {}

    return run


def write(path: Path, *cells: str) -> None:
    notebook = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    )
    notebook.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    nbformat.write(notebook, path)


def read(folder: Path) -> Any:
    return nbformat.read(folder / "out.ipynb", as_version=4)


def statuses(folder: Path) -> list[str]:
    return [cell.metadata.papermill.status for cell in read(folder).cells]


LOOK = """
import decimal, json, os, random, signal, sys, threading, warnings
print(json.dumps({
    "variable": os.environ.get("LEAK"), "path": os.environ["PATH"], "cwd": os.getcwd(),
    "module": "leak" in sys.modules, "attribute": hasattr(json, "leak"), "sys.path": "/leak" in sys.path,
    "builtin": "leak" in dir(__builtins__), "name": "leak" in globals(),
    "SIGTERM": str(signal.getsignal(signal.SIGTERM)), "SIGINT": str(signal.getsignal(signal.SIGINT)),
    "SIGCHLD": str(signal.getsignal(signal.SIGCHLD)), "blocked": len(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    "umask": os.umask(0o22), "option": decimal.DefaultContext.prec,
    "filters": len(warnings.filters), "recursion": sys.getrecursionlimit(), "trace": sys.gettrace() is None,
    "threads": sorted(t.name for t in threading.enumerate()), "debugpy": sys.modules.get("debugpy", "") is None,
    "costly": any(name in sys.modules for name in ("numpy", "pandas")),  # no notebook needs them
    "arguments": len(sys.argv), "stdin": sys.stdin.closed, "main": sys.modules["__main__"].__name__,
}))
"""
LEAK = """
import builtins, decimal, json, os, signal, sys, threading, types, warnings
os.environ["LEAK"] = "x"; os.environ["PATH"] = "/leak"; os.chdir("/"); os.umask(0o77)
sys.modules["leak"] = types.ModuleType("leak"); json.leak = builtins.leak = leak = 1; sys.path.insert(0, "/leak")
for number in (signal.SIGTERM, signal.SIGCHLD): signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
decimal.DefaultContext.prec = 7; warnings.simplefilter("ignore"); sys.setrecursionlimit(777)
threading.Thread(target=threading.Event().wait, name="leak", daemon=True).start()
"""


def test_nothing_of_a_notebook_reaches_the_next(kind: str, execute: Execute) -> None:
    before = execute(LOOK)
    execute(LEAK)
    assert execute(LOOK) == before
    assert not any(
        before[name] for name in ("variable", "module", "attribute", "sys.path", "builtin", "name", "costly")
    )
    assert before["cwd"] == os.getcwd()


@pytest.mark.skipif(not FORKS, reason="no fork here")
def test_both_kinds_look_alike_from_inside(execute: Execute, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    for kind in ("cold", "warm"):
        monkeypatch.setenv(KIND_VARIABLE, kind)
        seen.append(execute(LOOK))
    assert seen[0] == seen[1]


PROCESS = """
import json, os, random, uuid
import psycopg
print(json.dumps({"pid": os.getpid(), "parent": os.getppid(), "group": os.getpgid(0), "mine": os.environ.get("MINE"),
    "cwd": os.getcwd(), "random": [random.random(), str(uuid.uuid4())]}))
"""


def test_each_notebook_has_a_process_and_a_group_of_its_own(kind: str, execute: Execute) -> None:
    first, second = execute(PROCESS), execute(PROCESS)
    assert len({first["pid"], second["pid"], os.getpid()}) == 3
    assert all(seen["group"] != os.getpgid(0) for seen in (first, second))
    assert first["group"] == first["pid"]
    forker_pid = psutil.Process(first["parent"]).pid if kind == "warm" else os.getpid()
    assert {first["parent"], second["parent"]} == {forker_pid}
    assert not set(first["random"]) & set(second["random"])
    for seen in (first, second):
        assert not psutil.pid_exists(seen["pid"]) or psutil.Process(seen["pid"]).status() == "zombie"


def test_a_kernel_sees_its_callers_environment_of_that_moment(
    kind: str, execute: Execute, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MINE", "later")
    monkeypatch.chdir(tmp_path)
    seen = execute(PROCESS)
    assert (seen["mine"], seen["cwd"]) == ("later", str(tmp_path))


# --- how a notebook ends ----------------------------------------------------------------------------------------


def test_an_error_in_a_cell(kind: str, execute: Execute, tmp_path: Path) -> None:
    with pytest.raises(PapermillExecutionError, match="no such thing"):
        execute("1", "raise KeyError('no such thing')", "2")
    cells = [cell for cell in read(tmp_path).cells if cell.cell_type == "code"]
    assert [cell.metadata.papermill.status for cell in cells] == ["completed", "failed", "pending"]
    assert cells[-1].execution_count is None


def test_a_dead_kernel(kind: str, execute: Execute, tmp_path: Path) -> None:
    with pytest.raises(DeadKernelError):
        execute("import os, signal", "os.kill(os.getpid(), signal.SIGKILL)", "2")
    assert statuses(tmp_path) == ["completed", "failed", "pending"]


def test_a_kernel_that_is_killed_before_it_answers(
    kind: str, execute: Execute, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = QuickManager.client

    def killed(self: QuickManager, **options: Any) -> Any:
        os.kill(self.provisioner.pid, signal.SIGKILL)
        return client(self, **options)

    monkeypatch.setattr(QuickManager, "client", killed)
    with pytest.raises(KernelNotReadyError):
        execute("1")


def test_a_kernel_that_cannot_start_says_why(
    execute: Execute, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "ipykernel_launcher.py").write_text("raise ImportError('half installed')\n", encoding="utf-8")
    monkeypatch.setenv(KIND_VARIABLE, COLD)
    monkeypatch.setattr(
        provisioner, "own_python", lambda env: {**own_python(env), "PYTHONPATH": str(tmp_path)}
    )
    with pytest.raises(KernelNotReadyError, match="ImportError: half installed"):
        execute("1")


def test_ctrl_c_while_a_kernel_starts_leaves_neither_it_nor_its_sockets(
    kind: str, execute: Execute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when a stop of the loop is still to come, as one does that was meant for what was interrupted."""
    seen: list[tuple[int, Path]] = []

    def interrupted(self: QuickManager, **options: Any) -> Any:
        seen.append((self.provisioner.pid, Path(self.connection_file).parent))
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.stop)
        raise KeyboardInterrupt

    monkeypatch.setattr(QuickManager, "client", interrupted)
    with pytest.raises(KeyboardInterrupt):
        execute("1")
    ((pid, sockets),) = seen
    assert not sockets.exists()
    wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie", timeout_s=30)


def test_a_time_out_lets_the_cell_end_what_it_started(kind: str, execute: Execute, tmp_path: Path) -> None:
    child = tmp_path / "child"
    cell = f"""
import pathlib, subprocess, time
process = subprocess.Popen(["sleep", "60"], start_new_session=True)
pathlib.Path({str(child)!r}).write_text(str(process.pid))
try:
    time.sleep(60)
finally:
    process.kill(); process.wait()
"""
    with pytest.raises(CellTimeoutError):
        execute("1", cell, "2", execution_timeout=8)
    assert statuses(tmp_path) == ["completed", "failed", "pending"]
    assert not psutil.pid_exists(int(child.read_text(encoding="utf-8")))


def test_sys_exit_leaves_cells_without_a_count(kind: str, execute: Execute, tmp_path: Path) -> None:
    execute("1", "import sys; sys.exit(0)", "2")
    assert [cell.execution_count is None for cell in read(tmp_path).cells] == [False, False, True]


def test_what_is_printed_and_displayed_is_archived(kind: str, execute: Execute, tmp_path: Path) -> None:
    cell = "import sys; print('out'); print('err', file=sys.stderr); display('shown'); 6 * 7"
    execute(cell)
    outputs = read(tmp_path).cells[0].outputs
    assert {out.output_type for out in outputs} == {"stream", "display_data", "execute_result"}
    assert {out.name: out.text for out in outputs if out.output_type == "stream"} == {
        "stdout": "out\n",
        "stderr": "err\n",
    }


# --- from outside -----------------------------------------------------------------------------------------------


def papermill_command(folder: Path, kind: str) -> list[str]:
    program = str(Path(sys.executable).with_name("papermill"))
    return [
        *("env", f"{KIND_VARIABLE}={kind}", program, "--engine", "runbooks", "--no-progress-bar"),
        *(str(folder / "in.ipynb"), str(folder / "out.ipynb")),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_papermills_own_command_line(kind: str, tmp_path: Path) -> None:
    write(tmp_path / "in.ipynb", "print(6 * 7)")
    subprocess.run(papermill_command(tmp_path, kind), check=True, capture_output=True)
    assert read(tmp_path).cells[0].outputs[0].text == "42\n"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["kill", "interrupt"])
def test_no_kernel_outlives_its_owner(kind: str, number: signal.Signals, tmp_path: Path) -> None:
    """And a killed papermill leaves a notebook that names the cell that was running."""
    seen = tmp_path / "pid"
    cell = (
        f"import os, pathlib, time; pathlib.Path({str(seen)!r}).write_text(str(os.getpid())); time.sleep(60)"
    )
    write(tmp_path / "in.ipynb", "1", cell, "2")
    process = subprocess.Popen(papermill_command(tmp_path, kind), stderr=subprocess.PIPE)
    wait_for(lambda: seen.exists() and seen.read_text(encoding="utf-8"))
    process.send_signal(number)
    process.communicate(timeout=30)
    pid = int(seen.read_text(encoding="utf-8"))
    wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie")
    middle = {signal.SIGKILL: "running", signal.SIGINT: "failed"}[number]
    assert statuses(tmp_path) == ["completed", middle, "pending"]
    assert not list(tmp_path.glob("*.saving"))


def test_ctrl_c_in_the_middle_of_a_message_names_the_cell(
    kind: str, execute: Execute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message is handled in a task of its own; an exception out of it would come again when the loop cleans up."""
    once = ["interrupted"]
    handle = HonestClient.process_message

    def interrupted(self: Any, message: Any, *arguments: Any) -> Any:
        if message["msg_type"] == "stream" and once:
            once.clear()
            signal.raise_signal(signal.SIGINT)
        return handle(self, message, *arguments)

    monkeypatch.setattr(HonestClient, "process_message", interrupted)
    with pytest.raises(KeyboardInterrupt):
        execute("1", "import time; print('working', flush=True); time.sleep(60)", "2")
    assert statuses(tmp_path) == ["completed", "failed", "pending"]


def test_an_abort_is_recorded_whatever_cleaning_up_meets(
    kind: str, execute: Execute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as the second Ctrl-C of somebody who is in a hurry."""

    def in_a_hurry() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "forget_stop", in_a_hurry)
    with pytest.raises(KeyboardInterrupt):
        execute("1", "import os; os._exit(9)", "2")
    assert statuses(tmp_path) == ["completed", "failed", "pending"]


def wait_for(condition: Callable[[], object], timeout_s: float = 30.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


# --- when no kernel can be forked -------------------------------------------------------------------------------


@pytest.fixture
def forking(monkeypatch: pytest.MonkeyPatch) -> None:
    if not FORKS:
        pytest.skip("no fork here")
    monkeypatch.delenv(KIND_VARIABLE, raising=False)


@pytest.fixture
def broken_psycopg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Have our children import a psycopg that can't be imported. No variable leads them there any more."""
    (tmp_path / "psycopg.py").write_text("raise ImportError('broken')\n", encoding="utf-8")

    def astray(env: Mapping[str, str]) -> dict[str, str]:
        return {**own_python(env), "PYTHONPATH": str(tmp_path)}

    for module in (warm, provisioner):
        monkeypatch.setattr(module, "own_python", astray)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def test_an_ordinary_kernel_when_preloading_fails(
    forking: None, execute: Execute, broken_psycopg: None
) -> None:
    with warm_kernels():
        assert execute(PROCESS.replace("import psycopg\n", ""))["parent"] == os.getpid()


def test_an_ordinary_kernel_when_pythons_variables_change(
    forking: None, execute: Execute, monkeypatch: pytest.MonkeyPatch
) -> None:
    with warm_kernels():
        monkeypatch.setenv("PYTHONUTF8", "1")
        assert execute(PROCESS)["parent"] == os.getpid()


def test_an_ordinary_kernel_when_the_preloaded_process_was_killed(forking: None, execute: Execute) -> None:
    with warm_kernels():
        execute(PROCESS)
        preloaded = current()
        assert preloaded is not None
        preloaded.close()
        assert execute(PROCESS)["parent"] == os.getpid()


def test_a_refusal_says_why(forking: None, broken_psycopg: None) -> None:
    asked = Forker()
    env = {**own_python(os.environ), "PYTHONPATH": os.environ["PYTHONPATH"]}
    with pytest.raises(NotForked, match="preloading failed: ImportError: broken"):
        asked.fork([], env=env, cwd=os.getcwd())
    asked.close()


def test_a_process_with_threads_or_connections_does_not_fork() -> None:
    """Asked in a process of its own, since this one may have both."""
    program = """
import socket, threading
from runbooks_lib.execution.kernels.forker import _unfit
owner, other = socket.socketpair()
print(_unfit(owner)); other.close()
print(_unfit(owner))
threading.Thread(target=threading.Event().wait, daemon=True).start()
print(_unfit(owner))
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        "a connection is open after preloading",
        "None",
        "2 threads run after preloading",
    ]


def test_preloading_leaves_one_thread(forking: None) -> None:
    asked = Forker()
    forked = asked.fork(["--help"], env=own_python(os.environ), cwd=os.getcwd())
    assert psutil.Process(asked._process.pid).num_threads() == 1
    for descriptor in (forked.pidfd, forked.ready):
        os.close(descriptor)
    asked.close()
    assert not psutil.pid_exists(asked._process.pid)
