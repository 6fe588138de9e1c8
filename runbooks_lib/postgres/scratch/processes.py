"""Processes by their number: who they are, whether they still run, and how to end them.

A number alone says little, since the system gives it out again. Where it
matters, a process is known by its number *and* the moment it was started.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

POLL_S = 0.004
_TICKS = os.sysconf("SC_CLK_TCK")  # a second; what the system counts starts in
Signals = tuple[tuple[signal.Signals, float], ...]  # each with the seconds to wait after it
STOPPING_POSTGRES: Signals = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process, known by its number and its start."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> Process:
        """Return the process that has this number now; one that never runs when none has it."""
        return cls(pid=pid, started=started(pid) or "ended")

    @classmethod
    def this(cls) -> Process:
        """Return the calling process."""
        return cls.of(os.getpid())

    def runs(self) -> bool:
        """Tell whether this very process still runs."""
        return started(self.pid) == self.started

    def end(self, by: Signals) -> bool:
        """End this process; return whether it ended."""
        return end(self.pid, self.runs, by=by)


def started(pid: int) -> str | None:
    """Return a text that names the start of process `pid`; None when there is no such process.

    It counts from the machine's start: setting the clock changes none of it. A process that has ended and only
    waits to be collected (a zombie) does not count.
    """
    reap(pid)
    try:
        process = psutil.Process(pid)
        if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return None
        return f"{_boot_id()}/{round((process.create_time() - psutil.boot_time()) * _TICKS)}"
    except psutil.NoSuchProcess:
        return None


def command_line(pid: int) -> str:
    """Return the command line of process `pid`, parts joined by a space; empty when it is not seen."""
    try:
        return " ".join(psutil.Process(pid).cmdline()).strip()
    except psutil.Error:
        return ""


def command_lines() -> Mapping[int, str]:
    """Return the command line of every process that the caller may look at, by number."""
    return {pid: command_line(pid) for pid in psutil.pids()}


def reap(pid: int) -> None:
    """Collect `pid` if it is a child of this process that has ended."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return  # somebody else's child: init collects it


def detached(process: subprocess.Popen[bytes]) -> int:
    """Give up `process` as an object and keep its number: it is to outlive us, or be ended by number.

    Popen would warn of it when collected; `reap` takes over from here.
    """
    process.returncode = 0
    return process.pid


def end(pid: int, is_it: Callable[[], bool], *, by: Signals) -> bool:
    """Send each signal in turn until `is_it` denies that the process still runs.

    Returns whether it ended.
    """
    for number, wait_s in by:
        if not is_it():
            return True
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return True
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline:
            if not is_it():
                return True
            time.sleep(POLL_S)
    return not is_it()


@cache
def _boot_id() -> str:
    """Return what tells this boot of the machine from the one before."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "boot"
