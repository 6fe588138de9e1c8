"""Warm kernels, the answering side: preload what notebooks import, then fork a kernel for each request.

Started by `warm` as a program. What the first notebook needs comes first, the rest when that has its kernel. It stays
as it was after preloading: whatever a kernel does to itself, the next one is forked from the same state. It forks only
while it has one thread and no connection but the one to its owner.
"""

from __future__ import annotations

import ast
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from runbooks_lib.archive.notebooks import code_cells, code_digest, notebooks_folder
from runbooks_lib.ordinary import own_words
from runbooks_lib.package import library_digest
from runbooks_lib.phase import STEPS

PR_SET_PDEATHSIG = 1
# What a kernel imports when it starts, and what the library imports when a notebook first needs it.
PRELOADED = (
    "ipykernel.kernelapp",
    "ipykernel.ipkernel",
    "ipykernel.zmqshell",
    "ipykernel.debugger",
    "IPython.core.completerlib",
    "IPython.core.debugger",
    "IPython.core.oinspect",
    "IPython.extensions.storemagic",
    "encodings.idna",
    "psutil",
    "psycopg",
    "sqlite3",
    "tornado.platform.asyncio",
    "tornado.queues",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Birth:
    """What a forked process is to become: a kernel with these arguments, environment and working directory."""

    arguments: tuple[str, ...]
    env: dict[str, str]
    cwd: str
    ready: int


def main(descriptor: int) -> None:
    """Preload, then fork a kernel for each request until the owner is gone; in a kernel: be one until it ends."""
    _forget_where_we_started()
    owner = socket.socket(fileno=descriptor)
    birth = _serve(owner)
    if birth is not None:
        _be_a_kernel(birth)


def _forget_where_we_started() -> None:
    """Leave the working directory out of the import path, as ipykernel's launcher does while it imports."""
    if sys.path[0] == "" or Path(sys.path[0]) == Path.cwd():
        del sys.path[0]
    os.environ.pop("JPY_PARENT_PID", None)  # that of a kernel which we were started from


def _preload(modules: Sequence[str], steps: Sequence[str]) -> str | None:
    """Import modules, and what the notebooks of steps import; return why that failed, None when it did not."""
    sys.modules["debugpy"] = None  # type: ignore[assignment] # nobody debugs a headless kernel: 0.1 s less
    gc.disable()  # modules are no garbage: a tenth of the time
    try:
        for name in modules:
            importlib.import_module(name)
        _import_as_notebooks_do(steps)
        for what_all_need in (library_digest, code_digest, own_words):
            what_all_need()  # once, for every kernel
    except Exception as error:  # noqa: BLE001 - told to the owner; an ordinary kernel will meet it in the notebook
        return f"preloading failed: {type(error).__name__}: {error}"
    finally:
        del sys.modules["debugpy"]
        gc.freeze()  # what is shared stays shared; looking for the little garbage first would take longer than it saves
        gc.enable()
    return None


def _import_as_notebooks_do(steps: Sequence[str]) -> None:
    from runbooks_lib.evidence import step_name

    for step in steps:
        for source in code_cells(notebooks_folder() / f"{step_name(step)}.ipynb"):
            tree = ast.parse(source)
            tree.body = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
            exec(compile(tree, step, "exec"), {})  # noqa: S102 - our own import lines


def _unfit(owner: socket.socket) -> str | None:
    """Return why this process cannot be forked safely; None when it can."""
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:
        return f"{threads} threads run after preloading"
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the listing's own
            if int(name) > 2 and int(name) != owner.fileno():
                target = os.readlink(f"/proc/self/fd/{name}")
                if target.startswith("socket:"):
                    return "a connection is open after preloading"
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        return f"pidfd_open: {error.strerror}"
    return None


def _serve(owner: socket.socket) -> Birth | None:
    """Answer the owner's requests. Returns None when the owner is gone, and in each child what it is to become."""
    refusal = _preload(PRELOADED, STEPS[:1]) or _unfit(owner)
    whole = False
    kernels: dict[int, int] = {}  # pidfd: process
    poll = select.poll()
    poll.register(owner, select.POLLIN)
    requests = owner.makefile("rb")
    while True:
        for descriptor, _ in poll.poll():
            if descriptor in kernels:
                poll.unregister(descriptor)
                os.waitpid(kernels.pop(descriptor), 0)
                os.close(descriptor)
                continue
            line = requests.readline()
            if not line:
                return None
            if refusal is not None:
                owner.sendall(json.dumps({"refused": refusal}).encode())
                continue
            # The kernel writes to `ready` when it listens; the owner reads `listening`, and sees the end of it, too,
            # when the kernel dies before: nobody has to ask every few milliseconds.
            listening, ready = os.pipe()
            forker, pid = os.getpid(), os.fork()
            if pid == 0:  # the child keeps nothing open that would have somebody wait for it
                for inherited in (listening, *kernels):
                    os.close(inherited)
                requests.close()
                owner.close()
                _end_with(forker)
                return Birth(**json.loads(line), ready=ready)
            kernels[_hand_over(owner, pid, listening)] = pid
            os.close(ready)
            poll.register(max(kernels), select.POLLIN)
            if not whole:  # while the first notebook works, there is time for what the others need
                refusal = _preload((), STEPS[1:]) or _unfit(owner)
                whole = True


def _hand_over(owner: socket.socket, pid: int, listening: int) -> int:
    """Tell the owner of a kernel; return the descriptor by which its end is noticed."""
    _lead_a_group(pid)
    pidfd = os.pidfd_open(pid)
    socket.send_fds(owner, [json.dumps({"pid": pid}).encode()], [pidfd, listening])
    os.close(listening)
    return pidfd


def _lead_a_group(pid: int) -> None:
    """Give a process a group of its own. Done on both sides of a fork: whoever comes first, it is never in ours."""
    with suppress(ProcessLookupError, PermissionError):
        os.setpgid(pid, pid or os.getpid())


def _end_with(forker: int) -> None:
    """Have the operating system end this process when the one that forked it ends."""
    _lead_a_group(0)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != forker:
        os._exit(1)


def _be_a_kernel(birth: Birth) -> None:
    """Run a kernel as ipykernel's launcher does, and tell when it listens."""
    os.chdir(birth.cwd)
    os.environ.clear()
    os.environ.update(birth.env)
    sys.argv = ["ipykernel_launcher", *birth.arguments]
    from ipykernel.kernelapp import IPKernelApp

    # What cells print comes as messages; the rest is what a kernel says that was stopped.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for terminal in (1, 2):
        os.dup2(nowhere, terminal)
    os.close(nowhere)
    app = IPKernelApp.instance(parent_handle=os.getppid())
    app.initialize(sys.argv[1:])
    os.write(birth.ready, b"\n")
    os.close(birth.ready)
    app.start()


if __name__ == "__main__":
    main(int(sys.argv[1]))
