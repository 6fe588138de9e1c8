"""What the archive costs: as a share of a run, and by the number of runs that it holds.

    python archive.py

carries the reference phase out in the lab of the environment, and prints the seconds of the run and of its parts.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import Figure, clocked, in_pairs

from runbooks_lib.archive.manifest import MANIFEST
from runbooks_lib.archive.run import Run, all_runs
from runbooks_lib.archive.seal.seal import seal
from runbooks_lib.archive.store.listing import listed
from runbooks_lib.lab.lab import running
from runbooks_lib.phase import load_phase
from runbooks_lib.report.html.index import write_site

PHASE = "PH15-AMAZON-DB-FOUNDATION-01"


def measure(pairs: int, sizes: tuple[int, ...]) -> list[Figure]:
    """Return the archive's share of a planned phase, and comparisons for each number of runs in an archive."""
    with tempfile.TemporaryDirectory() as folder:
        share = Figure(name="archive and report", yardstick="the whole run that they are part of")
        parts: list[dict[str, float]] = []
        with running() as lab:
            environment = {**os.environ, **lab.env(), "RUNBOOKS_RUNS": folder}
            for _ in range(pairs):
                told = subprocess.run(
                    [sys.executable, __file__], env=environment, capture_output=True, text=True, check=True
                )
                parts.append(json.loads(told.stdout.splitlines()[-1]))
        share.yardstick_s = [part.pop("run") for part in parts]
        beside = [part.pop("beside the run") for part in parts]
        share.ours_s = [sum(part.values()) for part in parts]
        share.more = {
            "parts_of_the_last_s": {name: round(seconds, 3) for name, seconds in parts[-1].items()},
            "beside_the_run_s": [round(seconds, 3) for seconds in beside],  # nobody waits for it
        }
        return [share, *_growth(Path(folder), pairs, sizes)]


def _growth(folder: Path, pairs: int, sizes: tuple[int, ...]) -> list[Figure]:
    """Compare the index of the archive with the reading of every run's header, for archives of several sizes."""
    template = next(all_runs(folder))
    figures = []
    for size in sizes:
        runs = folder / f"archive_{size}"
        for number in range(size):
            path = (
                runs
                / PHASE
                / f"202601{number // 1440 + 1:02d}T{number // 60 % 24:02d}{number % 60:02d}00Z-{number:06x}"
            )
            shutil.copytree(template.path, path)
            (path / MANIFEST).unlink()
            copy = Run(path)
            copy.update(id=path.name)
            seal(copy)

        def headers(runs: Path = runs) -> None:
            assert sum(1 for run in all_runs(runs) if run.header()) == size  # noqa: B023 - called at once

        def ours(runs: Path = runs) -> None:
            assert len(listed(runs)) == size  # noqa: B023 - called at once
            write_site(runs)

        yardstick = "reading every run.json"
        figures.append(in_pairs(f"index of {size} runs", yardstick, clocked(ours), clocked(headers), pairs))
        figures[-1].more = {"runs": size}
        shutil.rmtree(runs)
    return figures


def main() -> None:
    """Plan the phase in this process, with the archive's own functions clocked, and print what they took."""
    from runbooks_lib.execution.kernels.warm import warm_kernels, without_iri_grammar

    without_iri_grammar()
    import papermill  # noqa: F401 - before the engine, which it registers

    from runbooks_lib.execution import ahead, finish, runner
    from runbooks_lib.execution.kernels import engine

    took: Counter[str] = Counter()

    def clock(place: Any, name: str, part: str) -> None:
        work: Callable[..., Any] = getattr(place, name)

        def clocked(*arguments: Any, **options: Any) -> Any:
            began = time.perf_counter()
            try:
                return work(*arguments, **options)
            finally:
                took[part] += time.perf_counter() - began

        setattr(place, name, clocked)

    clock(engine.CheapSaving, "save", "saving")
    clock(engine, "redact_cell", "masking")
    clock(engine, "Masker", "masking")
    clock(runner, "write_notebook", "saving")
    clock(ahead, "_draw", "beside the run")
    clock(ahead, "_preload_pages", "beside the run")
    clock(finish, "write_pages", "pages")
    clock(finish, "write_exports", "exports")
    clock(finish, "scan", "look for secrets")
    clock(finish, "seal", "seal")
    began = time.perf_counter()
    with warm_kernels():
        phase = load_phase(PHASE)
        run = Run.create(Path(os.environ["RUNBOOKS_RUNS"]), phase)
        result = runner.run_notebooks(run, phase=PHASE, apply=False, confirm=lambda: "")
    took["run"] = time.perf_counter() - began
    assert result.exit_code == 0, result
    took["report"] = (run.record_json("report") or {})["answers"]["write"]["duration_s"]
    print(json.dumps(took))


if __name__ == "__main__":
    main()
