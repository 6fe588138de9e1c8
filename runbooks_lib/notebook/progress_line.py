"""A line that says how far long work is, where a person waits for it: bytes or tables, and the time left."""

from __future__ import annotations

import time
from typing import Any

from IPython.display import display

from runbooks_lib.progress import Progress
from runbooks_lib.visible import visible_html

LONG_S = 0.5
_UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


class ProgressLine:
    """Shows itself when work has become long, and goes when it is closed: what is archived are tables."""

    def __init__(self) -> None:
        self._opened = time.monotonic()
        self._began: dict[str, float] = {}
        self.box: Any = None

    def tell(self, news: Progress) -> None:
        """Show how far the work is."""
        now = time.monotonic()
        elapsed_s = now - self._began.setdefault(news.what, now)
        if now - self._opened < LONG_S:
            return
        if self.box is None:
            import ipywidgets  # of no use where nobody waits

            self.box = ipywidgets.HBox([ipywidgets.FloatProgress(min=0.0, max=1.0), ipywidgets.HTML()])
            self.box.add_class("runbooks-progress")
            display(self.box)
        bar, words = self.box.children
        bar.value = min(news.done / news.total, 1.0) if news.total else 0.0
        words.value = visible_html(in_words(news, elapsed_s))

    def close(self) -> None:
        """Take the line away."""
        if self.box is not None:
            self.box.close()


def in_words(news: Progress, elapsed_s: float) -> str:
    """Say how much is done, of how much, and how long the rest takes at this pace."""
    total = f" of {_amount(news.total, news.unit)}" if news.total else ""
    words = f"{news.what}: {_amount(news.done, news.unit)}{total}"
    if news.total and 0 < news.done < news.total and elapsed_s > 0:
        words += f", {_duration(elapsed_s * (news.total - news.done) / news.done)} left"
    return words


def _amount(number: int, unit: str) -> str:
    if unit != "bytes":
        return f"{number} {unit}"
    size, name = next(((size, name) for size, name in _UNITS if number >= size), (1, "bytes"))
    return f"{number / size:.1f} {name}" if size > 1 else f"{number} bytes"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
