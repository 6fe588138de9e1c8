"""The folder that keeps, from run to run, what can be made again."""

from __future__ import annotations

import os
from pathlib import Path

from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.owned import is_ours_alone, our_folder

ENV_CACHE = "RUNBOOKS_CACHE"


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
