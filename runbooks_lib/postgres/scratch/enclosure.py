"""What a server of ours that may execute foreign code is started in: as much of a sandbox as this machine gives.

The first line of defence is in the database: such code runs as an ordinary role. This is the second: without network,
with nothing to write to but the server's own folder, and with limits. Where the kernel, or the container that we are
in, refuses namespaces, less of it holds; `runbooks doctor` says what does.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from shutil import which

from runbooks_lib.postgres.binaries import clean_environment
from runbooks_lib.postgres.scratch.account import Account

GIB = 1 << 30
MEMORY_BYTES = 16 * GIB  # of addresses: a server maps more than it uses
FILE_BYTES = 2 * GIB  # PostgreSQL's own largest is 1 GiB
MORE_PROCESSES = 512  # than the machine has: the system counts all of an account
PROBE_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Enclosure:
    """A way to start a server; `words` says what of it holds, `tools` the programs before its own command line."""

    words: str
    tools: tuple[str, ...]
    folder_option: str = ""  # how the server's own folder is named to them, the only one that may be written

    def command(self, home: Path) -> list[str]:
        """Return what is put before the command line of a server whose data lie in `home`."""
        own = [self.folder_option, str(home), str(home), "--"] if self.folder_option else []
        return [*_limits(), *self.tools, *own]


@lru_cache(maxsize=4)
def enclosure(account: Account) -> Enclosure:
    """Return the best enclosure that works here for an account; each is tried once. Starts short programs."""
    return next(each for each in _ways() if not each.tools or _works(each, account))


def _ways() -> Iterator[Enclosure]:
    bwrap, unshare, setpriv = which("bwrap"), which("unshare"), which("setpriv")
    # --dev after --ro-bind: shared memory of the server's own
    if bwrap:
        view = ("--ro-bind", "/", "/", "--dev", "/dev", "--unshare-net", "--unshare-ipc", "--unshare-uts")
        words = "no network, nothing to write to but their own folder, no new privileges (bubblewrap)"
        yield Enclosure(words=words, tools=(bwrap, *view), folder_option="--bind")
    if unshare and setpriv:
        alone = (unshare, "--user", "--map-current-user", "--net", "--")
        words = "no network, no new privileges; they can write what their account can (install bubblewrap)"
        yield Enclosure(words=words, tools=(*alone, setpriv, "--no-new-privs", "--"))
    if setpriv:
        words = (
            "no new privileges; namespaces are refused here, so that network and files are their account's"
        )
        yield Enclosure(words=words, tools=(setpriv, "--no-new-privs", "--"))
    yield Enclosure(
        words="nothing but their account: this machine has no bubblewrap, unshare or setpriv", tools=()
    )


def _works(way: Enclosure, account: Account) -> bool:
    own = [way.folder_option, "/proc", "/proc", "--"] if way.folder_option else []
    try:
        tried = subprocess.run(
            [*way.tools, *own, which("true") or "true"],
            cwd="/",
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_S,
            check=False,
            **account.switch,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return tried.returncode == 0


def _limits() -> list[str]:
    """Return the program that sets limits, and them; nothing where there is none."""
    prlimit = which("prlimit")
    if prlimit is None:
        return []
    try:
        running = int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
    except (OSError, ValueError, IndexError):
        return []
    limits = {"as": MEMORY_BYTES, "fsize": FILE_BYTES, "nproc": running + MORE_PROCESSES, "core": 0}
    return [prlimit, *(f"--{name}={value}" for name, value in limits.items())]
