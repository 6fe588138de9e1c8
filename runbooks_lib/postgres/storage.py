"""Folders for what servers of ours need: a cache that lasts, and a home for one server's life."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.postgres.account import Account
from runbooks_lib.postgres.owned import bases, is_ours_alone, our_folder

ENV_CACHE = "RUNBOOKS_CACHE"
ENOUGH_BYTES = 1 << 30  # a container's /dev/shm is often 64 MB
LONGEST_HOME = 80  # a socket's path in it must stay below 104 bytes


def cache_directory() -> Path:
    """Return the cache folder, made when missing, writable by the caller alone: programs in it are executed.

    RUNBOOKS_CACHE, else `runbooks` in XDG_CACHE_HOME or ~/.cache; in one that others may write to, a folder of our own.

    Raises PreconditionFailed when it cannot be made, or when somebody else made it.
    """
    named = os.environ.get(ENV_CACHE)
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = Path(named).absolute() if named else Path(base).expanduser().absolute() / "runbooks"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise PreconditionFailed(
            f"The cache folder {folder} cannot be made: {error.strerror}.",
            f"Let {ENV_CACHE} name a folder that you may write to.",
        ) from error
    return folder if is_ours_alone(folder) else our_folder(folder / f"of-{os.geteuid()}")


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
