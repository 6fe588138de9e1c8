"""Looks again and again, on a thread of its own, as long as somebody is there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import ClassVar

EVERY_S = 5.0
QUIET_S = 3600.0  # without a click: nobody looks at what would be shown


class Live:
    """Calls `look` every 5 s until nobody has clicked for an hour, and then `ended`; a kernel has one at a time.

    Both are called under `lock`, as every click is. `ended` is called whatever it is that ends it.
    """

    running: ClassVar[Live | None] = None

    def __init__(self, lock: threading.RLock, *, look: Callable[[], None], ended: Callable[[], None]) -> None:
        self._lock = lock
        self._look = look
        self._ended = ended
        self._clicked = 0.0
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def clicked(self) -> None:
        """Note that somebody is there, and begin to look unless that is done already."""
        with self._lock:
            self._clicked = time.monotonic()
            if self._thread is None:
                stop()
                Live.running = self
                self._stopped = threading.Event()
                self._thread = threading.Thread(
                    target=self._go, args=(self._stopped,), name="runbooks live", daemon=True
                )
                self._thread.start()

    def stop(self) -> None:
        """Have it end as soon as it is not looking."""
        self._stopped.set()

    def _go(self, stopped: threading.Event) -> None:
        going = True
        while going:
            stopped.wait(EVERY_S)
            with self._lock:
                going = not stopped.is_set() and time.monotonic() - self._clicked < QUIET_S
                try:
                    if going:
                        self._look()
                except BaseException:
                    going = False
                    raise
                finally:
                    if not going:
                        self._thread = None
                        self._ended()


def stop() -> None:
    """Have the one that runs in this kernel end, if there is one."""
    if Live.running is not None:
        Live.running.stop()
        Live.running = None


def clock() -> str:
    """Return the time of day, UTC."""
    return f"{datetime.now(UTC):%H:%M:%S}"
