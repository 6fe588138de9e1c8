"""What a test session leaves behind: no server, no kernel, no temporary folder."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import psutil

MARK = "RUNBOOKS_TEST_SESSION"
OURS = ("postgres", "ipykernel", "runbooks", "prisma", "initdb", "pg_dump", "psql", "jupyter")


def folders() -> set[Path]:
    """Return our temporary folders, in which processes may be at work."""
    places = (Path(tempfile.gettempdir()), Path("/dev/shm"), Path("/var/tmp"))
    return {folder for place in places if place.is_dir() for folder in place.glob("runbooks-*")}


def left_behind(before: set[Path], patience_s: float = 20) -> list[str]:
    """Return command lines of processes that bear this session's mark, and folders that were not there before.

    A kernel that was told to end takes a moment: nothing is left that is gone within `patience_s`. Folders bear
    no mark: beside another session's tests they are not judged.
    """
    deadline = time.monotonic() + patience_s
    while (left := _left(before)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def _left(before: set[Path]) -> list[str]:
    marked = _marked()
    own = [line for line, mark in marked if mark == os.environ[MARK]]
    alone = len(own) == len(marked)
    servers = (line for line in own if any(word in line for word in OURS))
    return [*servers, *(map(str, _abandoned() - before) if alone else ())]


def _marked() -> list[tuple[str, str]]:
    """Return command line and mark of each process that descends from a test session, but for this one and its own."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        try:
            mark = process.environ().get(MARK)
            if process.pid != os.getpid() and mark is not None:
                found.append((" ".join(process.info["cmdline"] or ()), mark))
        except psutil.Error:
            continue  # gone meanwhile, or another account's
    return found


def _abandoned() -> set[Path]:
    """Return our temporary folders in which no living process works."""
    lines = " ".join(" ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"]))
    return {
        folder
        for folder in folders()
        if folder.name not in lines and not folder.name.startswith("runbooks-cache")
    }
