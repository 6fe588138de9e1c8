"""The processes that carry orders out, one for each thread that hands them out: of the client, or of a dask worker.

`ask` is all that a scheduler is told of: a function by its name, and plain values.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from runbooks_lib.package import own_python

END_S = 75.0  # a little more than an interrupted run is given to be sealed
LAST_WORDS = 400  # bytes of what a process said last

_of_thread = threading.local()
_every: set[Carrier] = set()


class CarrierLost(Exception):
    """The process that carried an order out is gone without an answer."""


def ask(order: dict[str, Any]) -> dict[str, Any]:
    """Have an order carried out by this thread's process, which is started where there is none; return its answer.

    Raises CarrierLost when the process ended without one.
    """
    carrier: Carrier | None = getattr(_of_thread, "carrier", None)
    if carrier is None or not carrier.alive:
        carrier = _of_thread.carrier = Carrier()
    return carrier.ask(order)


def end_carriers() -> None:
    """End every process of this one; what they carry out is interrupted and sealed."""
    for carrier in list(_every):
        carrier.leave()
    for carrier in list(_every):
        carrier.close()


class Carrier:
    """A process of ours that carries orders out."""

    def __init__(self) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 -- it goes with the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", "runbooks_lib.execution.fleet.carrier"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env=own_python(os.environ),
            start_new_session=True,  # a Ctrl-C in the terminal is for its owner alone
        )
        _every.add(self)

    @property
    def alive(self) -> bool:
        """Tell whether the process runs."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """Return the number of the process."""
        return self._process.pid

    def ask(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Return the process's answer. Raises CarrierLost."""
        assert self._process.stdin
        assert self._process.stdout
        with suppress(OSError):  # then there is no answer, either
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            self.close()
            raise CarrierLost(f"its process ended with {self._process.returncode}: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def leave(self) -> None:
        """Tell the process that nobody waits for it any more."""
        assert self._process.stdin
        with suppress(OSError):
            self._process.stdin.close()

    def close(self) -> None:
        """Wait until the process has ended; end it when it does not."""
        self.leave()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        _every.discard(self)

    def _last_words(self) -> str:
        from runbooks_lib.archive.masking.mask import redact

        self._said.seek(0)
        said = self._said.read()[-LAST_WORDS:].decode(errors="replace").split("\n")
        return redact(" ".join(said[-3:]).strip()) or "it said nothing"
