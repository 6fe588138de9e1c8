"""How far long work is: told to whoever listens, and free when nobody does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

LOOK_S = 0.2  # how often a growing file is looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How much of some work is done: `done` and `total` in `unit`; `total` is None when nobody can know it."""

    what: str
    done: int
    total: int | None
    unit: str


Listener = Callable[[Progress], None]
_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Have `listener` told of the work inside the block; it may be called from another thread."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def report(what: str, *, done: int, total: int | None, unit: str) -> None:
    """Tell whoever listens how far some work is."""
    listener = _listener.get()
    if listener is not None:
        listener(Progress(what=what, done=done, total=total, unit=unit))


@contextmanager
def growing(what: str, path: Path, *, total_bytes: int | None = None) -> Iterator[None]:
    """Tell whoever listens how a file or folder grows inside the block, while another program writes it."""
    listener = _listener.get()
    if listener is None:
        yield
        return
    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOK_S):
            listener(Progress(what=what, done=size_of(path), total=total_bytes, unit="bytes"))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder; what vanishes meanwhile counts as nothing."""
    size = 0
    for file in [path, *path.rglob("*")]:
        try:
            size += 0 if file.is_dir() else file.stat().st_size
        except OSError:
            continue
    return size
