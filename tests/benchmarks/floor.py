"""The floor: one interpreter that asks all the questions of the notebooks, without kernels, and shows nothing.

python floor.py RUN_FOLDER [apply]
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

from runbooks_lib.archive.notebooks import code_cells, notebooks_folder
from runbooks_lib.archive.run import Run, now
from runbooks_lib.execution.confirmation import confirmation_of
from runbooks_lib.findings import Answer, gate
from runbooks_lib.package import package
from runbooks_lib.phase import STEPS, load_phase

if TYPE_CHECKING:
    from runbooks_lib.notebook.step import Step

PHASE = "PH15-AMAZON-DB-FOUNDATION-01"


def main(folder: str, *, apply: bool, steps: Collection[str]) -> None:
    """Execute the code cells of each notebook (of these steps, if any), in order, with these parameters."""
    _silence()
    for notebook in sorted(notebooks_folder().glob("*.ipynb")):
        if notebook.stem[3:] not in (steps or STEPS):
            continue
        parameters, *cells = code_cells(notebook)
        names: dict[str, object] = {}
        exec(parameters, names)
        names |= {"phase": PHASE, "run": folder, "apply": apply}
        if apply and "confirm" in names:
            names["confirm"] = confirmation_of(load_phase(PHASE), Run.open(Path(folder)))
        for cell in cells:
            exec(cell, names)


def _silence() -> None:
    """Put in the place of what notebooks show a package that shows nothing, and loads no pandas."""
    silent = ModuleType("runbooks_lib.notebook")
    silent.__path__ = [str(package() / "notebook")]
    sys.modules[silent.__name__] = silent
    from runbooks_lib.notebook.step import open_step

    parts = {
        "gate": lambda findings, **options: gate(findings),
        "open_step": open_step,
        "decide": _decide,
        "show": lambda shown: None,
    }
    silent.__dict__.update(parts)


def _decide(step: Step, question: Callable[..., Answer], **options: Any) -> SimpleNamespace:
    answer = step.ask(question, **options, by="benchmark", at=now())
    return SimpleNamespace(answer=answer, findings=answer.findings, **options)


if __name__ == "__main__":
    options = sys.argv[2:]
    main(sys.argv[1], apply="--apply" in options, steps=[each for each in options if each != "--apply"])
