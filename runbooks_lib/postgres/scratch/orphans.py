"""What is swept as soon as its owner is gone, also by SIGKILL: nobody has to start anything for that.

A shell waits at the other end of a pipe, which the system closes with its owner; a Python starts only where there is
something to sweep.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from runbooks_lib.package import own_python
from runbooks_lib.postgres.scratch.processes import POLL_S, Process

_WAIT = 'read -r _ || exec "$0" -m "$@" "$PPID"'  # a line is told by whoever has ended as it should


@contextmanager
def swept_without_us(module: str, function: str) -> Iterator[None]:
    """Have a function called by a process of its own when this one is gone before the block has ended."""
    watcher = subprocess.Popen(
        ["/bin/sh", "-c", _WAIT, sys.executable, __name__, module, function],
        cwd="/",
        env=own_python(os.environ),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # what ends our process group is no reason to end
    )
    try:
        yield
    finally:
        watcher.communicate(b"\n")


def main(module: str, function: str, owner: str) -> None:
    """Call a function when the owner is gone: its pipe is closed a moment before it ends."""
    while Process.of(int(owner)).runs():
        time.sleep(POLL_S)
    getattr(import_module(module), function)()


if __name__ == "__main__":
    main(*sys.argv[1:])
