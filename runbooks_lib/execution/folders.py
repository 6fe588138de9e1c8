"""Private folders of a process in the temporary directory, which the next one deletes when that was killed."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

SOCKETS = "kernel"  # a kernel's sockets
ANSWERS = "ahead"  # what Prisma answered ahead


def new_folder(kind: str) -> Path:
    """Make a folder that only this account can open; its name begins with this process's number."""
    return Path(tempfile.mkdtemp(prefix=f"runbooks-{kind}-{os.getpid()}-"))


def is_gone(pid: str) -> bool:
    """Tell whether no process has this number. Without /proc nobody is taken for gone."""
    return pid.isdigit() and Path("/proc/self").exists() and not Path("/proc", pid).exists()


def sweep(kind: str) -> None:
    """Delete the folders whose owner is gone."""
    prefix = f"runbooks-{kind}-"
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*-*"):
        if is_gone(folder.name.removeprefix(prefix).partition("-")[0]):
            shutil.rmtree(folder, ignore_errors=True)
