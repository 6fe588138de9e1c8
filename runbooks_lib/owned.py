"""What is ours to read, to trust and to remove: by who owns it, who else may write to it, and who holds its lock.

A number of a process says nothing in another container; a lock on a file says in all of them whether somebody lives.
"""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

from runbooks_lib.errors import PreconditionFailed

LARGEST_BYTES = 1 << 20  # of what is written down
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


def is_ours_alone(path: Path) -> bool:
    """Tell whether a file or folder belongs to this account, and nobody else may write to it.

    A link is followed only out of a folder that is ours alone: nobody else can have put it there.
    """
    try:
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode) and is_ours_alone(path.parent):
            found = path.stat()
    except OSError:
        return False
    return (
        found.st_uid == os.geteuid()
        and not stat.S_ISLNK(found.st_mode)
        and not found.st_mode & _OTHERS_MAY_WRITE
    )


def read_ours(path: Path, largest_bytes: int = LARGEST_BYTES) -> str | None:
    """Return what an ordinary file says that this account alone may write; None for everything else."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        found = os.fstat(handle)
        ours = found.st_uid == os.geteuid() and not found.st_mode & _OTHERS_MAY_WRITE
        if not (ours and stat.S_ISREG(found.st_mode) and found.st_size <= largest_bytes):
            return None
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read(largest_bytes).decode("utf-8", "replace")
    finally:
        os.close(handle)


def our_folder(folder: Path) -> Path:
    """Return a folder, made when missing, that is ours alone. Raises PreconditionFailed when somebody else made it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not is_ours_alone(folder):
        raise PreconditionFailed(
            f"{folder} does not belong to this account alone, so nothing in it is trusted.",
            f"Delete it, or make it yours: chown {os.geteuid()} and chmod go-w.",
        )
    return folder


def hold(path: Path) -> int:
    """Lock a file, made when missing, or a folder, for as long as the descriptor that is returned is open anywhere."""
    flags = os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT
    handle = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


def is_held(path: Path) -> bool:
    """Tell whether somebody who lives holds the lock of a file or folder."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
