"""Is there a person at a front end, or does papermill execute this notebook?"""

from __future__ import annotations

import os
from pathlib import Path

from IPython import get_ipython

from runbooks_lib.archive.run import SEALED_BY_RUNNER


def front_end() -> bool:
    """Tell whether whoever sent this cell can answer: JupyterLab can; papermill, nbclient and nbval cannot.

    Read from the kernel, which is told with each cell whether it may ask for input.
    """
    kernel = getattr(get_ipython(), "kernel", None)
    return bool(getattr(kernel, "_allow_stdin", False)) and SEALED_BY_RUNNER not in os.environ


def link_to(path: Path) -> str:
    """Return a file of the archive as a link in a notebook: seen from the notebook's folder, the kernel's own.

    JupyterLab serves nothing above its own folder, which has the archive as `runs` beside the notebooks.
    """
    beside = Path.cwd().parent / "runs"
    archive, whole = beside.resolve(), path.resolve()
    return os.path.relpath(beside / whole.relative_to(archive) if whole.is_relative_to(archive) else whole)
