"""Processes are known by number and start, and one that has ended is none."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runbooks_lib.postgres.scratch.processes import command_line, command_lines, started

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="compares with Linux's /proc")
def test_the_start_is_the_systems_own_count_since_its_boot() -> None:
    ticks = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert started(os.getpid()) == f"{boot}/{ticks}"


def test_a_running_process_has_a_start_and_a_command_line_and_an_ended_one_has_none() -> None:
    with subprocess.Popen(SLEEP) as process:
        assert started(process.pid) is not None
        assert started(process.pid) == started(process.pid)
        deadline = time.monotonic() + 10
        while not command_line(process.pid) and time.monotonic() < deadline:
            pass  # the kernel has begun the program and not yet written down its arguments
        assert command_line(process.pid) == " ".join(SLEEP)
        assert command_lines()[process.pid] == " ".join(SLEEP)
        process.kill()
        process.wait()
    assert started(process.pid) is None
    assert command_line(process.pid) == ""
    assert process.pid not in command_lines()


def test_a_process_that_only_waits_to_be_collected_has_ended() -> None:
    """Its parent is another process: it can't be collected from here."""
    text = "import os, time; pid = os.fork(); pid or os._exit(0); print(pid, flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        while Path(f"/proc/{pid}/stat").exists() and ") Z" not in Path(f"/proc/{pid}/stat").read_text():
            pass
        assert started(pid) is None
        parent.kill()
