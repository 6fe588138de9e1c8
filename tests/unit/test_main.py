"""Ctrl-C in the first, in the last and in an odd moment of the command, and a full output: no traceback."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys

import pytest

from runbooks_lib.interrupts import between_callbacks

LOADING = """
import signal, sys
class Finder:
    def find_spec(self, name, path, target=None):
        if name == "runbooks_lib.cli.explain":
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Finder())
from runbooks_lib.__main__ import main
main()
"""
LEAVING = """
import atexit, signal, sys
atexit.register(signal.raise_signal, signal.SIGINT)
sys.argv = ["runbooks", "--version"]
from runbooks_lib.__main__ import main
main()
"""

SWALLOWED = """
import signal, time
from runbooks_lib import cli
class Left:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)
def command(standalone_mode):
    Left()
    time.sleep(20)
cli.commands = command
cli.main()
"""
FULL = """
import sys
from runbooks_lib import cli
def command(standalone_mode):
    sys.stdout = open("/dev/full", "w")
    sys.stdout.write("kept in the buffer")
    sys.stdout.flush()
cli.commands = command
cli.main()
"""
NO_SPACE = (
    "error: The system refused: No space left on device. Check the path, its permissions and the disk.\n"
)


@pytest.mark.parametrize(
    ("code", "exit_code", "said"),
    [
        (LOADING, 130, "interrupted\n"),
        (LEAVING, 0, ""),
        (SWALLOWED, 130, "interrupted\n"),
        (FULL, 4, NO_SPACE),
    ],
)
def test_a_signal_at_the_ends_of_the_command(code: str, exit_code: int, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (exit_code, said)


def test_an_interrupt_comes_between_two_callbacks() -> None:
    """What the loop was about to do is still done by whoever cleans up in the same loop."""
    loop = asyncio.new_event_loop()
    steps: list[str] = []

    async def work() -> None:
        steps.append("begun")
        signal.raise_signal(signal.SIGINT)  # to this thread: another one would be told a moment later
        steps.append("not torn apart")
        await asyncio.sleep(0)
        steps.append("cleaned up")

    task = loop.create_task(work())
    with between_callbacks() as signals:
        with pytest.raises(KeyboardInterrupt):
            loop.run_forever()
        assert (steps, signals) == (["begun", "not torn apart"], [signal.SIGINT])
        loop.run_until_complete(task)
        assert steps[-1] == "cleaned up"
        with pytest.raises(KeyboardInterrupt):  # the second one does not wait
            signal.raise_signal(signal.SIGINT)
    loop.close()


def test_an_interrupt_does_not_wait_for_the_loop_that_waits_for_us() -> None:
    """As in a notebook's kernel: the loop goes on only when the cell has ended."""
    torn: list[str] = []

    async def cell() -> None:
        with between_callbacks() as signals:
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            torn.extend(signal.Signals(number).name for number in signals)

    asyncio.run(cell())
    assert torn == ["SIGINT"]
