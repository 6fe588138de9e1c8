"""Measuring in pairs: ours and a named yardstick by turns in one run, medians, and ratios of them."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a program took: seconds on the clock, seconds of CPU (with its children's); and what it printed."""

    wall_s: float
    cpu_s: float
    printed: str = ""


@dataclass(slots=True, kw_only=True)
class Figure:
    """One comparison: `ratio` says how many times faster ours is than the yardstick."""

    name: str
    yardstick: str
    ours_s: list[float] = field(default_factory=list)
    yardstick_s: list[float] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """Return the yardstick's median over ours; None where ours was measured alone."""
        if not self.yardstick_s:
            return None
        return statistics.median(self.yardstick_s) / self.ours_median_s

    @property
    def ours_median_s(self) -> float:
        """Return the median of ours."""
        return statistics.median(self.ours_s)

    def times(self) -> dict[str, float]:
        """Return how many times as long ours took, pair by pair: what else the machine does hits both of one."""
        pairs = [ours / other for ours, other in zip(self.ours_s, self.yardstick_s, strict=True)]
        return {
            "times_the_yardstick": round(statistics.median(pairs), 2),
            "at_its_best": round(min(pairs), 2),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return everything, the single measurements included."""
        return {
            "name": self.name,
            "yardstick": self.yardstick,
            "ratio": None if self.ratio is None else round(self.ratio, 2),
            "ours_median_s": round(self.ours_median_s, 4),
            "yardstick_median_s": round(statistics.median(self.yardstick_s), 4) if self.yardstick_s else None,
            "ours_s": [round(each, 4) for each in self.ours_s],
            "yardstick_s": [round(each, 4) for each in self.yardstick_s],
            **self.more,
        }


def in_pairs(
    name: str, yardstick: str, ours: Callable[[], float], other: Callable[[], float], pairs: int
) -> Figure:
    """Measure both by turns, each beginning as often as the other: what else the machine does hits both."""
    figure = Figure(name=name, yardstick=yardstick)
    for number in range(pairs):
        turns = [(ours, figure.ours_s), (other, figure.yardstick_s)]
        for measure, results in turns if number % 2 == 0 else reversed(turns):
            results.append(measure())
    return figure


def clocked(work: Callable[[], object]) -> Callable[[], float]:
    """Return a function that does the work and returns the seconds it took."""

    def measure() -> float:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    return measure


def run(argv: Sequence[str], *, ok: Sequence[int] = (0,)) -> Usage:
    """Run a program to its end. Raises RuntimeError, with what it printed, when its exit code is not expected."""
    began = time.perf_counter()
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        printed = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in ok:
        raise RuntimeError(f"{argv} ended with {process.returncode}:\n{printed}")
    return Usage(
        wall_s=time.perf_counter() - began,
        cpu_s=usage.ru_utime + usage.ru_stime,
        printed=printed,
    )


def peak_mb() -> float:
    """Return this process's peak memory. Linux: ru_maxrss would count that of the process that started it."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    return int(found[1]) / 1024 if found else 0.0
