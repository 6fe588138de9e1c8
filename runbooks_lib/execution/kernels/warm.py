"""Warm kernels, the asking side: one preloaded process that forks a kernel for each notebook.

Only the standard library is imported here, and a module that imports nothing else, so that the process can preload
while its owner still imports papermill or starts a lab. See `forker` for the other side, and `kernels` for what
Jupyter sees of it.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from runbooks_lib.package import own_python

KIND_VARIABLE = "RUNBOOKS_KERNELS"
COLD = "cold"
ANSWER_TIMEOUT_S = 60.0
ANSWER_BYTES = 4096


class NotForked(Exception):
    """No kernel could be forked; an ordinary one does the same work, later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forked:
    """A kernel that was forked: its number, and two descriptors that the receiver closes.

    `pidfd` becomes readable when the process ends. `ready` yields one byte when the kernel listens, and its end
    when it never will.
    """

    pid: int
    pidfd: int
    ready: int


class Forker:
    """The preloaded process. It ends, and every kernel of it, when this side's socket is closed or its owner dies."""

    def __init__(self) -> None:
        env = own_python(os.environ)
        self._environment = _of_python(env)
        ours, theirs = socket.socketpair()
        ours.settimeout(ANSWER_TIMEOUT_S)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "runbooks_lib.execution.kernels.forker", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=env,
                start_new_session=True,  # a Ctrl-C in the terminal is for its owner alone
            )
        self._socket = ours

    def fork(self, arguments: Sequence[str], *, env: Mapping[str, str], cwd: str) -> Forked:
        """Return a kernel forked with these arguments, this environment and this working directory.

        Waits until the process has preloaded. Raises NotForked when it cannot fork, or not in time.
        """
        if _of_python(env) != self._environment:
            raise NotForked("Python's own variables have changed since the process was started")
        request = {"arguments": list(arguments), "env": dict(env), "cwd": cwd}
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            answer, descriptors, _, _ = socket.recv_fds(self._socket, ANSWER_BYTES, 2)
        except BaseException as error:
            self.close()  # an answer that comes late must not be taken for another request's
            if isinstance(error, OSError):
                raise NotForked(f"the preloaded process does not answer: {error}") from error
            raise
        if not answer:
            raise NotForked("the preloaded process is gone")
        content = json.loads(answer)
        if "refused" in content:
            raise NotForked(content["refused"])
        return Forked(pid=content["pid"], pidfd=descriptors[0], ready=descriptors[1])

    def close(self) -> None:
        """End the process, wherever it is; the kernel ends what it forked."""
        self._socket.close()
        self._process.kill()
        self._process.wait()


_current: list[Forker] = []  # at most one


def current() -> Forker | None:
    """Return the preloaded process that is running, if one is."""
    return _current[0] if _current else None


@contextmanager
def warm_kernels() -> Iterator[None]:
    """Have kernels forked within this block; an inner block uses the process of the outer one.

    Returns at once: the process preloads by itself. Does nothing where processes cannot be forked (macOS, Windows)
    and where RUNBOOKS_KERNELS=cold; then every kernel is an ordinary one, with the same results.
    """
    if _current or not can_fork():
        yield
        return
    forker = Forker()
    _current.append(forker)
    try:
        yield
    finally:
        _current.remove(forker)
        forker.close()


def can_fork() -> bool:
    """Tell whether warm kernels are wanted and possible here: Linux with pidfd (5.3 and newer)."""
    if os.environ.get(KIND_VARIABLE) == COLD:
        return False
    return sys.platform == "linux" and hasattr(os, "pidfd_open") and hasattr(socket, "recv_fds")


def without_iri_grammar() -> None:
    """Have what Jupyter imports leave out a grammar that takes a second to compile at import.

    JSON schemas use it for the formats `iri` and `iri-reference` alone, which notebooks have not.
    """
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]


def _of_python(env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that an interpreter reads when it starts: too late for one that is running."""
    return {name: value for name, value in env.items() if name.startswith("PYTHON")}
