"""Homes: the folders of servers of ours, each for one server's life."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
import tempfile
from pathlib import Path

from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.postgres.scratch.account import Account, server_account

MEMORY = Path("/dev/shm")
ENOUGH_BYTES = 1 << 30  # a container's /dev/shm is often 64 MB
LONGEST_HOME = 80  # a socket's path in it must stay below 104 bytes
_HOME = re.compile(r"runbooks-[0-9a-f]{12}")


def bases() -> tuple[Path, ...]:
    """Return the folders in which homes are made."""
    return MEMORY, Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")


def is_home(home: Path) -> bool:
    """Tell whether a folder is one that `choose_home` names, and belongs to us or to our servers' account."""
    if not _HOME.fullmatch(home.name) or home.parent not in bases():
        return False
    try:
        found = home.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid in (os.geteuid(), server_account().uid)


def remove_home(home: Path) -> None:
    """Delete a home; whatever is none stays."""
    if is_home(home):
        shutil.rmtree(home)


def create_home(home: Path, account: Account) -> None:
    """Make the folder that `choose_home` chose, owned by `account` and closed to all others."""
    home.mkdir(mode=0o700)
    account.own(home)


def choose_home(account: Account, *, in_memory: bool = False) -> Path:
    """Return the path of a folder, yet to be made, for servers' data.

    It lies below the system's temporary folder: an account that root switches to
    cannot reach a folder below root's home, and the paths of sockets must be short.
    With `in_memory` it lies in /dev/shm where that has room: for what is small and
    ends with its caller, since systemd empties /dev/shm when a user logs out.

    Raises PreconditionFailed when the account can reach no temporary folder.
    """
    memory, *others = bases()
    for base in (memory, *others) if in_memory and _has_room(memory) else others:
        if base.is_dir() and len(str(base)) < LONGEST_HOME - 24 and account.can_enter(base):
            return base / f"runbooks-{secrets.token_hex(6)}"
    raise PreconditionFailed(
        "There is no temporary folder with a short path that the servers' account can reach.",
        "Let TMPDIR name one, or make /tmp accessible (mode 1777).",
    )


def _has_room(folder: Path) -> bool:
    """Tell whether we may write to `folder`, and much more than a lab fills is free there."""
    if not os.access(folder, os.W_OK | os.X_OK):
        return False
    free = os.statvfs(folder)
    return free.f_bavail * free.f_frsize >= ENOUGH_BYTES


def write_private(path: Path, text: str, account: Account | None = None) -> None:
    """Write `text` to a new file that only its owner can read: the caller, or `account`.

    The file appears whole or not at all.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        if account is not None:
            account.own(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
