"""A command on a real terminal: what a person sees there, and the keys that they press."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import psutil

CTRL_C, CTRL_D, ENTER = "\x03", "\x04", "\n"
PATIENCE_S = 120
AT_REST = 4  # looks at a process that find it asleep: Python's readline misses a signal that comes before its select()
# In a session of its own, whose terminal is the one on stdin: then Ctrl-C is a signal.
_TAKE_IT = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"


class Terminal:
    """`runbooks` with some words, at a terminal that is its input and its output; `seen` is what it printed there."""

    def __init__(self, words: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> None:
        self.seen = ""
        self._screen, theirs = pty.openpty()
        runbooks = str(Path(sys.executable).with_name("runbooks"))
        self._process = subprocess.Popen(
            [sys.executable, "-c", _TAKE_IT, runbooks, *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=cwd,
            env={**env, "COLUMNS": "250"},
            start_new_session=True,
        )
        os.close(theirs)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(PATIENCE_S)
        os.close(self._screen)

    def answer(self, question: str, keys: str) -> None:
        """Wait until a question is asked, and press keys when the command waits for them."""
        while question not in self.seen:
            assert self._read(), f"it ended, and did not ask {question}: {self.seen}"
        until, asleep = time.monotonic() + PATIENCE_S, 0
        while asleep < AT_REST and time.monotonic() < until:
            asleep = asleep + 1 if psutil.Process(self._process.pid).status() == psutil.STATUS_SLEEPING else 0
            time.sleep(0.05)
        os.write(self._screen, keys.encode())

    def end(self) -> int:
        """Read what comes yet; return the exit code."""
        while self._read():
            pass
        return self._process.wait(PATIENCE_S)

    def _read(self) -> bool:
        """Read what was printed meanwhile; return whether there can be more."""
        until = time.monotonic() + PATIENCE_S
        while not select.select([self._screen], [], [], 1)[0]:
            assert time.monotonic() < until, f"nothing more is printed: {self.seen}"
        try:
            said = os.read(self._screen, 65536)
        except OSError:  # how Linux says that nobody has the other end any more
            return False
        self.seen += said.decode(errors="replace")
        return bool(said)
