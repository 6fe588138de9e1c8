"""kill -9 at random moments of a demo: never a folder that verifies and is not complete; and nothing stays behind.

RUNBOOKS_FAULT_KILLS says how many times; `make faults` tries twenty.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runbooks_lib.archive.run import Run
from runbooks_lib.archive.seal.verify import verify
from runbooks_lib.lab.lab import sweep
from runbooks_lib.postgres.scratch.homes import sweep_homes

RUNBOOKS = Path(sys.executable).with_name("runbooks")
KILLS = int(os.environ.get("RUNBOOKS_FAULT_KILLS", "2"))
LONGEST_S = 14.0  # a little more than a demo takes


@pytest.mark.parametrize("number", range(KILLS))
def test_a_killed_demo_never_verifies_unless_it_is_complete(number: int, tmp_path: Path) -> None:
    after_s = random.uniform(1.0, LONGEST_S)
    process = subprocess.Popen(
        [str(RUNBOOKS), "demo", "--runs", str(tmp_path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    time.sleep(after_s)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)
    sweep_homes()
    sweep()
    for header in tmp_path.glob("*/*/run.json"):
        found = verify(header.parent)
        complete = Run.open(header.parent).header().finished_at is not None
        assert not found.trusted or complete, f"killed after {after_s:.2f} s"
        if not found.trusted:
            assert found.problems
