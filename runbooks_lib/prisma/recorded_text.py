"""What was a migration's text when it was recorded? Found in the Git of the project's checkout, by its checksum.

Git only lists and prints objects here: nothing of the repository's or the user's configuration is run or fetched.
"""

from __future__ import annotations

import os
import subprocess
from difflib import unified_diff
from pathlib import Path

from runbooks_lib.prisma.history import checksum_matches

VERSIONS = 200  # of one file; so far back we look
TIMEOUT_S = 20
_QUIET = (
    *("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "protocol.allow=never"),
    "--no-pager",
    "--no-replace-objects",
    "--no-optional-locks",
    "--literal-pathspecs",
)
_ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "HOME": os.devnull,
    "LC_ALL": "C",
    "PATH": os.defpath,
}


def recorded_text(file: Path, checksum: str) -> str | None:
    """Return the version of a migration's file, on any branch, whose checksum was recorded; None without one.

    Reads the repository that holds the file, if it is in one and Git is installed here.
    """
    listed = _git(file.parent, "rev-list", "--all", f"--max-count={VERSIONS}", "--", file.name)
    for commit in (listed or b"").decode("ascii", errors="replace").split():
        content = _git(file.parent, "cat-file", "blob", f"{commit}:./{file.name}")
        text = (content or b"").decode("utf-8", errors="replace")
        if content is not None and checksum_matches(text, checksum):
            return text
    return None


def what_changed(recorded: str, present: str) -> tuple[str, ...]:
    """Return the lines in which two versions of a script differ, as a unified diff; line ends alone are no change."""
    was, now = (text.replace("\r\n", "\n").splitlines() for text in (recorded, present))
    return tuple(unified_diff(was, now, "as it was recorded", "in the folder", lineterm="", n=1))


def _git(folder: Path, *arguments: str) -> bytes | None:
    """Return what Git prints; None when it is not installed, refuses, or takes too long."""
    try:
        done = subprocess.run(
            ("git", *_QUIET, *arguments),  # noqa: S607 - whichever git the user has
            cwd=folder,
            env=_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None
