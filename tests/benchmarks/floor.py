"""The floor: one interpreter that asks all the questions of the notebooks, without kernels, and shows nothing.

python floor.py RUN_FOLDER [apply]
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path
from types import ModuleType

from runbooks_lib.archive.code import code_cells, notebooks_folder
from runbooks_lib.archive.run import Run
from runbooks_lib.execution.confirmation import confirmation_of
from runbooks_lib.findings import gate
from runbooks_lib.phase import load_phase

PHASE = "PH15-AMAZON-DB-FOUNDATION-01"


def main(folder: str, *, apply: bool, steps: Collection[str]) -> None:
    """Execute the code cells of each notebook (of these steps, if any), in order, with these parameters."""
    silent = ModuleType("runbooks_lib.widgets")
    silent.__getattr__ = lambda name: lambda *args, **kwargs: None  # type: ignore[method-assign]
    silent.gate = gate  # type: ignore[attr-defined]
    sys.modules["runbooks_lib.widgets"] = silent
    for notebook in sorted(notebooks_folder().glob("*.ipynb")):
        if steps and notebook.stem[3:] not in steps:
            continue
        parameters, *cells = code_cells(notebook)
        names: dict[str, object] = {}
        exec(parameters, names)
        names |= {"phase": PHASE, "run": folder, "apply": apply}
        if apply and "confirm" in names:
            names["confirm"] = confirmation_of(load_phase(PHASE), Run.open(Path(folder)))
        for cell in cells:
            exec(cell, names)


if __name__ == "__main__":
    options = sys.argv[2:]
    main(sys.argv[1], apply="--apply" in options, steps=[each for each in options if each != "--apply"])
