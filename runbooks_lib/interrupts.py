"""Signals around what must be cleaned up: turned into exceptions, or held back for a moment or to a better one."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

_listening: list[list[int]] = []  # what the open block of `between_callbacks` has received; at most one


@contextmanager
def termination_raises() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block by SystemExit, so that `finally` clauses run.

    Ctrl-C does so of itself (KeyboardInterrupt). Signals are the main thread's
    business: in another one this does nothing. A signal that is ignored (nohup) stays so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, _exit) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold back Ctrl-C, SIGTERM and SIGHUP until the block has ended; then they take effect."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        received.append(number)

    numbers = [
        n for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is not signal.SIG_IGN
    ]
    before = {number: signal.signal(number, remember) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for first in received[:1]:
            signal.raise_signal(first)


@contextmanager
def between_callbacks() -> Iterator[list[int]]:
    """Let Ctrl-C and SIGTERM end what an event loop does between two of its callbacks, outside of a loop at once.

    An exception out of the middle would have asyncio lose callbacks, and whoever waits for them would wait for ever.
    The second signal does not wait. Yields the numbers of the signals that came: what was interrupted may fail in
    another way before it tells so. An inner block leaves them to the outer one. A loop that waits for the block
    itself, as a kernel's does, has no callback before its end: there a signal does not wait.
    """
    if _listening:
        yield _listening[0]
        return
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    numbers = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.getsignal(number) for number in numbers}
    waits = running_loop()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def interrupt(number: int, frame: FrameType | None) -> None:
        restore()
        received.append(number)
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # tasks that are torn off have nobody to tell
        loop = running_loop()
        if loop is None or loop is waits:
            signal.default_int_handler(number, frame)
        else:
            loop.call_soon_threadsafe(signal.default_int_handler, number, frame)

    for number in numbers:
        signal.signal(number, interrupt)
    _listening.append(received)
    try:
        yield received
    finally:
        _listening.remove(received)
        restore()


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs in this thread, if one does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
