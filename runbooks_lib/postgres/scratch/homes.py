"""Homes of clusters that end with their caller; those of killed callers are found and cleaned up."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

from runbooks_lib.cache import cache_directory
from runbooks_lib.errors import LabError
from runbooks_lib.owned import hold, is_held, our_folder, read_ours
from runbooks_lib.postgres.scratch import processes
from runbooks_lib.postgres.scratch.account import Account
from runbooks_lib.postgres.scratch.orphans import swept_without_us
from runbooks_lib.postgres.scratch.processes import Process
from runbooks_lib.postgres.scratch.storage import (
    bases,
    choose_home,
    create_home,
    is_home,
    remove_home,
    write_private,
)

ALIVE = ".alive"  # the file whose lock an owner holds
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

    It is written down in the cache (`homes`) first: `sweep_homes` finds it when the caller was killed. That is called
    then, and by the next start: who killed it may have killed what was to call it.

    Raises LabError when a process in it cannot be ended.
    """
    sweep_homes()
    home = choose_home(account, in_memory=in_memory)
    entry = _registry() / f"{home.name}.json"
    with ExitStack() as stack:
        stack.enter_context(swept_without_us(__name__, sweep_homes.__name__))
        stack.callback(os.close, hold(entry.with_suffix(ALIVE)))  # before there is an entry to be swept
        stack.callback(_clear, home, entry)
        write_private(entry, json.dumps({"home": str(home), "owner": asdict(Process.this())}))
        create_home(home, account)
        yield home


def sweep_homes() -> None:
    """Clear the homes whose owner is gone: nobody holds their lock, and no process here has the owner's number.

    What another account wrote down, and what is no home of ours, is left alone. One sweeps at a time: two would
    take the folder from under each other.
    Raises LabError when a process in one cannot be ended.
    """
    registry = _registry()
    if not any(map(_abandoned, registry.glob("*.json"))):
        return
    sweeping = hold(registry)
    try:
        for entry in registry.glob("*.json"):
            if home := _abandoned(entry):
                _clear(home, entry)
    finally:
        os.close(sweeping)


def _abandoned(entry: Path) -> Path | None:
    """Return the home of an entry of ours, if nobody lives whose it is."""
    noted = _noted(entry)
    if noted is None or is_held(entry.with_suffix(ALIVE)):
        return None
    home, owner = noted
    return None if owner.runs() else home


def _noted(entry: Path) -> tuple[Path, Process] | None:
    """Return the home of an entry and its owner; None when the entry is not ours, or names another folder."""
    try:
        found = json.loads(read_ours(entry) or "")
        home, owner = Path(found["home"]), Process(**found["owner"])
    except (ValueError, KeyError, TypeError):
        return None
    return (home, owner) if home.name == entry.stem and home.parent in bases() else None


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
    if is_home(home):
        end_leftovers(home)
        remove_home(home)
    entry.unlink(missing_ok=True)
    entry.with_suffix(ALIVE).unlink(missing_ok=True)


def _registry() -> Path:
    return our_folder(cache_directory() / "homes")
