"""Plans at many databases: by a fleet run of two workers, against as many `runbooks run`, one by one."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

from measure import Figure

from runbooks_lib.lab.lab import running

sys.path.append(str(Path(__file__).parents[2]))
from tests.fleets import Tenants, tenants

YARDSTICK = "runbooks run, one database after the other"
SEPARATE = 5  # of these are measured; each costs what the one before did


def measure(pairs: int, sizes: tuple[int, ...]) -> list[Figure]:
    """Return what a plan costs a database in fleets of these sizes; of the largest also with one worker, by turns."""
    figures = []
    with running() as lab, tempfile.TemporaryDirectory() as home:
        made = tenants(lab, Path(home), max(sizes))
        _one_by_one(made, made.names[:1])  # what is worked out once is there, for both sides
        for size in sizes:
            figure = Figure(name=f"fleet of {size} databases, each", yardstick=YARDSTICK)
            made.fleet_file("".join(f'[[targets]]\nservice = "{name}"\n' for name in made.names[:size]))
            names = made.names[: min(size, SEPARATE if pairs > 1 else 1)]
            alone_s = []
            for _ in range(pairs):
                figure.ours_s.append(_timed(partial(made.plan, "--workers", "2")) / size)
                figure.yardstick_s.append(_timed(partial(_one_by_one, made, names)) / len(names))
                if size == max(sizes):
                    alone_s.append(_timed(partial(made.plan, "--workers", "1")) / size)
            figure.more = {"databases": size}
            if alone_s:
                ratios = (alone / ours for alone, ours in zip(alone_s, figure.ours_s, strict=True))
                figure.more["times_one_worker"] = round(median(ratios), 2)
            figures.append(figure)
    return figures


def _timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _one_by_one(made: Tenants, names: tuple[str, ...]) -> None:
    program = str(Path(sys.executable).with_name("runbooks"))
    for name in names:
        subprocess.run(
            [program, "run", str(made.phase), "--service", f"leader={name}", "--database", f"leader={name}"],
            env={**os.environ, **made.env},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )
