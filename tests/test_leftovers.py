"""What the tests leave behind: no server, no kernel, no temporary folder. Collected last: see conftest.py."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import psutil

from runbooks_lib.lab.lab import Lab

MARK = "RUNBOOKS_TEST_SESSION"
PLACES = (Path(tempfile.gettempdir()), Path("/dev/shm"), Path("/var/tmp"))


def ours() -> dict[int, str]:
    """Return the processes that descend from this test session, but for itself: by a mark in their environment."""
    found = {}
    for process in psutil.process_iter(["cmdline"]):
        try:
            if process.pid != os.getpid() and process.environ().get(MARK) == os.environ[MARK]:
                found[process.pid] = " ".join(process.info["cmdline"] or ())
        except psutil.Error:
            continue  # gone meanwhile, or another account's
    return found


def folders() -> set[Path]:
    """Return our temporary folders in which no living process works."""
    lines = " ".join(" ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"]))
    there = {folder for place in PLACES if place.is_dir() for folder in place.glob("runbooks-*")}
    return {
        folder
        for folder in there
        if folder.name not in lines and not folder.name.startswith("runbooks-cache")
    }


def test_nothing_is_left(lab: Lab, folders_before: set[Path]) -> None:
    """The session's own lab is still up: its processes and its folders are known, everything else is a leftover."""
    known = (str(lab.leader.home), str(lab.directory), os.environ["KEYBUZZ_API_URL"].rsplit(":", 1)[1])

    def left() -> list[str]:
        servers = (line for line in ours().values() if line and not line.startswith("postgres: "))
        new = folders() - folders_before - {lab.directory, lab.leader.home}
        return [*(line for line in servers if not any(word in line for word in known)), *map(str, new)]

    deadline = time.monotonic() + 5  # a kernel that was told to end takes a moment
    while left() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left() == []
