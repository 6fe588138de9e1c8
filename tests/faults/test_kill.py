"""kill -9 at random moments of a demo: never a folder that verifies and is not complete; and nothing stays behind.

Twice; `make faults` tries twenty times.
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

from .campaign import RESULTS, fault

RUNBOOKS = Path(sys.executable).with_name("runbooks")
KILLS = 20 if RESULTS in os.environ else 2
LONGEST_S = 14.0  # a little more than a demo takes


@fault(
    kind="processes",
    fault="SIGKILL to a demo and all that it started, at random moments",
    injected="kill -9 of the process group, 20 times between its first and its 14th second",
    seen="the folder has no seal, or a complete run",
    told="`runbooks verify`: the run is not sealed",
    goes_on="`runbooks demo` again: what the killed one left is swept away",
    fast=True,
)
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
