"""The standard streams of a command: a reader that goes away, or a stream that was closed, ends nothing.

`runbooks run … 2>&1 | head -1` reads one line. What the run does goes on to its seal, and its exit code is its own.
"""

from __future__ import annotations

import io
import os
import sys

OUT, ERR = 1, 2


def keep_streams() -> None:
    """Give the process three standard streams whose reader may go away, and that stand even where they were closed.

    The next file that a process opens takes the number of a stream that was closed, and children would print into it.
    """
    while (opened := os.open(os.devnull, os.O_RDWR)) <= ERR:
        os.set_inheritable(opened, True)
    os.close(opened)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - it stays
    if sys.stdout in (None, sys.__stdout__):
        sys.stdout = _stream(OUT, sys.stdout)
    if sys.stderr in (None, sys.__stderr__):
        sys.stderr = _stream(ERR, sys.stderr)


def _stream(number: int, was: io.TextIOBase | None) -> io.TextIOWrapper:
    if was is not None:
        was.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Raw(number, "w", closefd=False)),
        encoding=was.encoding if was else "utf-8",
        errors=was.errors if was else "backslashreplace",
        line_buffering=number == ERR or os.isatty(number),
    )


class _Raw(io.FileIO):
    """Writes until nobody reads, and from then on nowhere. What is told on the way (stderr) stops nothing at all."""

    def write(self, content: object) -> int:
        """Write bytes; where nobody reads them, all of them count as written."""
        try:
            return super().write(content)  # type: ignore[arg-type]
        except OSError as error:
            if not isinstance(error, BrokenPipeError) and self.fileno() == OUT:
                raise
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)
        return len(memoryview(content).cast("B"))  # type: ignore[arg-type]
