"""Private folders of a process in the temporary directory, which the next one deletes when that was killed.

Whoever made one holds its lock for as long as it lives: a number of a process says nothing in another container.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runbooks_lib.owned import hold, is_held, is_ours_alone

SOCKETS = "kernel"  # a kernel's sockets
ANSWERS = "ahead"  # what Prisma answered ahead

_held: dict[Path, int] = {}


@contextmanager
def temporary_folder(kind: str) -> Iterator[Path]:
    """Give the block a folder of its own, with no link in its path; those of killed processes go first."""
    sweep(kind)
    folder = new_folder(kind)
    try:
        yield folder.resolve()
    finally:
        delete_folder(folder)


def new_folder(kind: str) -> Path:
    """Make a folder that only this account can open; its name begins with this process's number."""
    folder = Path(tempfile.mkdtemp(prefix=f"runbooks-{kind}-{os.getpid()}-"))
    _held[folder] = hold(folder)
    return folder


def delete_folder(folder: Path) -> None:
    """Delete a folder that `new_folder` made."""
    shutil.rmtree(folder, ignore_errors=True)
    if (held := _held.pop(folder, None)) is not None:
        os.close(held)


def is_gone(folder: Path, pid: str) -> bool:
    """Tell whether a folder is ours, and nobody's any more: its lock is free, and no process here has this number.

    Without /proc nobody is taken for gone.
    """
    known = pid.isdigit() and Path("/proc/self").exists()
    return known and is_ours_alone(folder) and not is_held(folder) and not Path("/proc", pid).exists()


def sweep(kind: str) -> None:
    """Delete the folders whose owner is gone."""
    prefix = f"runbooks-{kind}-"
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*-*"):
        if is_gone(folder, folder.name.removeprefix(prefix).partition("-")[0]):
            shutil.rmtree(folder, ignore_errors=True)
