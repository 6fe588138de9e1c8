"""A phase on a running lab: against papermill's command line once a notebook, and against the floor."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from measure import Figure, Usage, run

from runbooks_lib.archive.notebooks import notebooks_folder
from runbooks_lib.archive.run import Run
from runbooks_lib.lab.lab import running
from runbooks_lib.phase import STEPS, load_phase

PHASE = "PH15-AMAZON-DB-FOUNDATION-01"
PROGRAMS = Path(sys.executable).parent
FLOOR = Path(__file__).with_name("floor.py")


def measure(pairs: int, *, quick: bool = False) -> list[Figure]:
    """Return the two comparisons, measured together; the phase is planned in a lab where it was applied before.

    Quick is the first step alone.
    Seconds of CPU are given beside those on the clock: they suffer less from what else the machine does.
    """
    cli = Figure(name="headless phase", yardstick="papermill's command line, once a notebook")
    floor = Figure(name="headless phase against its floor", yardstick="the questions in one process")
    ours: list[Usage] = []
    theirs: list[Usage] = []
    least: list[Usage] = []
    with running() as lab, tempfile.TemporaryDirectory() as folder:
        os.environ.update(lab.env())
        os.environ["RUNBOOKS_RUNS"] = folder
        only = STEPS[:1] if quick else ()
        if not quick:
            run([sys.executable, str(FLOOR), _new_run(folder), "--apply"])
        turns = [
            (
                ours,
                lambda: run([str(PROGRAMS / "runbooks"), "run", PHASE, *(f"--only={each}" for each in only)]),
            ),
            (theirs, lambda: _papermill(folder, only or STEPS)),
            (least, lambda: run([sys.executable, str(FLOOR), _new_run(folder), *only])),
        ]
        for number in range(pairs):
            for results, work in turns[number % 3 :] + turns[: number % 3]:
                results.append(work())
    cli.ours_s = floor.ours_s = [each.wall_s for each in ours]
    cli.yardstick_s = [each.wall_s for each in theirs]
    floor.yardstick_s = [each.wall_s for each in least]
    cli.more = _overheads("wall_s", ours, theirs, least) | _overheads("cpu_s", ours, theirs, least)
    floor.more = {"times_the_floor": round(1 / (floor.ratio or 1), 2)}
    return [cli, floor]


def _overheads(clock: str, ours: list[Usage], theirs: list[Usage], least: list[Usage]) -> dict[str, float]:
    """Return medians, and what is left of them without the floor."""
    mine, other, bottom = (
        median(getattr(each, clock) for each in usages) for usages in (ours, theirs, least)
    )
    over = max(mine - bottom, 0.001)
    return {
        f"ours_{clock}": round(mine, 3),
        f"yardstick_{clock}": round(other, 3),
        f"floor_{clock}": round(bottom, 3),
        f"overhead_ratio_{clock}": round((other - bottom) / over, 2),
    }


def _new_run(folder: str) -> str:
    return str(Run.create(Path(folder), load_phase(PHASE)).path)


def _papermill(folder: str, steps: Sequence[str]) -> Usage:
    """Return what a call of papermill for each notebook takes, with its own engine."""
    run_folder = _new_run(folder)
    used: list[Usage] = []
    for number, step in enumerate(steps, start=1):
        name = f"{number:02d}_{step}.ipynb"
        argv = [
            str(PROGRAMS / "papermill"),
            "--no-progress-bar",
            "-p",
            "phase",
            PHASE,
            "-p",
            "run",
            run_folder,
        ]
        used.append(run([*argv, str(notebooks_folder() / name), str(Path(run_folder) / name)]))
    return Usage(
        wall_s=sum(each.wall_s for each in used),
        cpu_s=sum(each.cpu_s for each in used),
    )
