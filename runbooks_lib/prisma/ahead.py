"""Answers of Prisma's that were asked for ahead, by the process that carries the run, while other steps were at work.

An answer is kept under a digest of all that it depends on: whoever asks in another state does not find it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbooks_lib.typed import plain

if TYPE_CHECKING:
    from runbooks_lib.prisma.command import Prisma

VARIABLE = "RUNBOOKS_PRISMA_AHEAD"  # names a private folder


def ask(prisma: Prisma, look: Callable[[], str], folder: Path) -> None:
    """Ask Prisma for its status, and keep the answer if `look` sees the same state before and after.

    Raises RunbookError as `look` and Prisma do; then nothing is kept.
    """
    import fcntl  # not on Windows, where nothing is asked ahead

    state = look()
    key = prisma.key(state)
    with (folder / f"{key}.lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until it is closed; whoever wants the answer waits
        said = prisma.status()
        if said.code is None and look() == state:
            unfinished = folder / f"{key}.unfinished"
            unfinished.write_text(json.dumps(plain(said)), encoding="utf-8")
            unfinished.rename(folder / f"{key}.json")


def answer(key: str) -> dict[str, Any] | None:
    """Return the answer that was asked for under this key, when it has come; None where nobody did, or it failed."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        return None
    import fcntl

    try:
        with Path(folder, f"{key}.lock").open(encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
        content: dict[str, Any] = json.loads(Path(folder, f"{key}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content
