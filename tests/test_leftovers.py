"""What the tests leave behind: no server, no kernel, no temporary folder. Collected last: see conftest.py."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import psutil

from runbooks_lib.lab.lab import Lab
from runbooks_lib.lab.registry import registered

MARK = "RUNBOOKS_TEST_SESSION"
OURS = ("postgres", "ipykernel", "runbooks", "prisma", "initdb", "pg_dump", "psql", "jupyter")
PLACES = (Path(tempfile.gettempdir()), Path("/dev/shm"), Path("/var/tmp"))


def ours() -> dict[int, str]:
    """Return the processes that descend from this test session, but for itself: by a mark in their environment."""
    found = {}
    for process in psutil.process_iter(["cmdline"]):
        try:
            line = " ".join(process.info["cmdline"] or ())
            if process.pid == os.getpid() or not any(word in line for word in OURS):
                continue
            if process.environ().get(MARK) == os.environ[MARK]:
                found[process.pid] = line
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
    """The session's own labs are still up: their processes and folders are known, everything else is a leftover."""
    labs = [state for state in registered() if state.owner is not None and state.owner.pid == os.getpid()]
    assert lab.directory in [state.directory for state in labs]
    known = [
        str(part) for state in labs for part in (state.home, state.directory, f"--port {state.api_port}")
    ]

    def left() -> list[str]:
        servers = (line for line in ours().values() if line and not line.startswith("postgres: "))
        new = (
            folders()
            - folders_before
            - {folder for state in labs for folder in (state.directory, state.home)}
        )
        return [*(line for line in servers if not any(word in line for word in known)), *map(str, new)]

    deadline = time.monotonic() + 5  # a kernel that was told to end takes a moment
    while left() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left() == []
