"""Homes of clusters that end with their caller; those of killed callers are found and cleaned up."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from runbooks_lib.errors import LabError
from runbooks_lib.postgres import processes
from runbooks_lib.postgres.account import Account
from runbooks_lib.postgres.processes import Process
from runbooks_lib.postgres.storage import cache_directory, choose_home, create_home, write_private

PROGRAMS = (
    "cp",
    "initdb",
    "postgres",
    "prlimit",
    "bwrap",
    "unshare",
    "setpriv",
)  # and what a server is started in


@contextmanager
def temporary_home(account: Account, *, in_memory: bool = False) -> Iterator[Path]:
    """Make a home; whatever still runs in it is ended with the block, and the home deleted.

    It is written down in the cache (`homes`) first, so that `sweep_homes` finds it
    when the caller was killed.

    Raises LabError when a process in it cannot be ended.
    """
    sweep_homes()
    home = choose_home(account, in_memory=in_memory)
    entry = _registry() / f"{home.name}.json"
    write_private(entry, json.dumps({"home": str(home), "owner": asdict(Process.this())}))
    try:
        create_home(home, account)
        yield home
    finally:
        _clear(home, entry)


def sweep_homes() -> None:
    """Clear the homes whose owner is gone. Raises LabError when a process in one cannot be ended."""
    for entry in _registry().glob("*.json"):
        try:
            found = json.loads(entry.read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue  # its owner has just cleared it
        if not Process(**found["owner"]).runs():
            _clear(Path(found["home"]), entry)


def end_leftovers(home: Path) -> None:
    """End what works in `home`: servers, also without a pid file yet, and copies of a killed process.

    Raises LabError when one cannot be ended.
    """
    for pid, line in processes.command_lines().items():
        if f" {home}/" not in line or Path(line.split()[0]).name not in PROGRAMS:
            continue
        if not Process.of(pid).end(processes.STOPPING_POSTGRES):
            raise LabError(f"Process {pid}, which works in {home}, cannot be ended.")


def _clear(home: Path, entry: Path) -> None:
    if home.exists():
        end_leftovers(home)
        shutil.rmtree(home)
    entry.unlink(missing_ok=True)


def _registry() -> Path:
    folder = cache_directory() / "homes"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
