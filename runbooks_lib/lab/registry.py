"""What is written down of each lab, so that any process can find it, use it and end it.

A lab's state lies in the registry (`labs` in the cache, which is ours alone), where the next start looks for labs
whose owner was killed, also when their folder has been deleted. `lab.json` in the lab's own folder is for people: that
folder may be anybody's, and what is written there is neither executed nor removed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from runbooks_lib.cache import cache_directory
from runbooks_lib.owned import hold, is_held, our_folder, read_ours
from runbooks_lib.postgres.scratch.account import Account
from runbooks_lib.postgres.scratch.processes import Process
from runbooks_lib.postgres.scratch.programs import ServerPrograms
from runbooks_lib.postgres.scratch.storage import write_private

STATE_FILE = "lab.json"
ALIVE = ".alive"  # the file whose lock says that a lab is somebody's
_held: dict[Path, int] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One lab. It holds no secrets: passwords are in the lab's pass file alone.

    `home` is the folder of the servers' account; it is written down before it is made,
    so that a start killed at any moment can be cleaned up. `created` says that the lab made
    `directory`. `owner` is the process whose end is the lab's end: while it starts,
    the process that starts it; None for a lab that lives until it is taken down. Of a lab for somebody's own project
    `source` is what they named, and `copied` what stands for it in the lab's copy.
    """

    directory: Path
    created: bool
    programs: ServerPrograms
    home: Path
    leader_port: int
    replica_port: int
    api_port: int
    backend_port: int
    api: Process | None = None
    owner: Process | None = None
    ready: bool = False
    source: Path | None = None
    copied: Path | None = None

    def save(self) -> State:
        """Write the state to both its places and return it."""
        text = json.dumps(asdict(self), default=str, indent=2)
        write_private(registry_entry(self.directory), text)
        write_private(self.directory / STATE_FILE, text)
        return self

    def changed(self, **fields: Any) -> State:
        """Return a saved state with these fields changed."""
        return replace(self, **fields).save()

    def forget(self) -> None:
        """Delete the registry's entry, half-written ones included, and let go of its lock."""
        entry = registry_entry(self.directory)
        for path in (entry, entry.with_suffix(ALIVE), *entry.parent.glob(f".{entry.name}.*")):
            path.unlink(missing_ok=True)
        self.let_go()

    def let_go(self) -> None:
        """Hold the lab's lock no more in this process."""
        if (held := _held.pop(registry_entry(self.directory), None)) is not None:
            os.close(held)

    def keep_alive(self) -> int:
        """Hold the lab's lock while this process lives; return the descriptor, for a child that is to hold it."""
        entry = registry_entry(self.directory)
        if entry not in _held:
            _held[entry] = hold(entry.with_suffix(ALIVE))
        return _held[entry]

    @property
    def alive(self) -> bool:
        """Return whether somebody holds the lab's lock, in whichever container, or its owner runs in this one."""
        held = is_held(registry_entry(self.directory).with_suffix(ALIVE))
        return held or (self.owner is not None and self.owner.runs())


def registry_entry(directory: Path) -> Path:
    """Return the registry's file for the lab in `directory`."""
    return _registry() / f"{hashlib.sha256(os.fsencode(directory)).hexdigest()[:20]}.json"


def load(directory: Path) -> State | None:
    """Return the state of the lab in `directory`; None when there is none."""
    state = _read(registry_entry(directory))
    return state if state is not None and state.directory == directory else None


def registered() -> tuple[State, ...]:
    """Return the state of every lab in the registry."""
    found = (_read(path) for path in sorted(_registry().glob("*.json")))
    return tuple(s for s in found if s is not None and registry_entry(s.directory).is_file())


@contextmanager
def locked(directory: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of the lab in `directory`; yields False when it is held elsewhere and not waited for.

    The lock's file is deleted at the end. Whoever waited for it then holds a lock
    on a file that is gone, notices, and tries again.
    """
    path = registry_entry(directory).with_suffix(".lock")
    flags = fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, flags)
            if path.exists() and os.fstat(handle).st_ino == path.stat().st_ino:
                break
            os.close(handle)
        except BlockingIOError:
            os.close(handle)
            yield False
            return
        except BaseException:
            os.close(handle)
            raise
    try:
        yield True
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def _registry() -> Path:
    return our_folder(cache_directory() / "labs")


def _programs(found: dict[str, Any]) -> ServerPrograms:
    account = Account(**found["account"])
    return ServerPrograms(**{**found, "bindir": Path(found["bindir"]), "account": account})


def _read(path: Path) -> State | None:
    """Read a state; None when the file is missing, not ours, or is not one (a lab of another version)."""
    try:
        found = json.loads(read_ours(path) or "")
        return State(
            **{
                **found,
                "directory": Path(found["directory"]),
                "programs": _programs(found["programs"]),
                "home": Path(found["home"]),
                "api": Process(**found["api"]) if found["api"] else None,
                "owner": Process(**found["owner"]) if found["owner"] else None,
                **{name: Path(found[name]) for name in ("source", "copied") if found.get(name)},
            }
        )
    except (ValueError, KeyError, TypeError):
        return None
