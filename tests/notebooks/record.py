"""`make notebooks`: executes the shipped notebooks against a lab and writes down what they showed.

What is committed is a real run that only plans, and for the last notebook a fleet run of two databases, one of which is
not as the phase says; `tests/notebooks/test_nbval.py` runs them again and compares. The links between the notebooks are
written anew too.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
import papermill

from runbooks_lib.archive.notebooks import notebooks_folder
from runbooks_lib.execution.kernels.warm import warm_kernels
from runbooks_lib.lab.lab import running
from runbooks_lib.postgres.scratch.programs import find_server

RUNS = Path(tempfile.gettempdir()) / "runs"  # what the reader of the outputs sees as the archive
TAGS = ("parameters", "writes")
FLEET = """\
spec_version = 1
target = "leader"
[[targets]]
service = "keybuzz_leader"
[[targets]]
service = "keybuzz_leader"
database = "keybuzz"
[services]
replica = "keybuzz_replica"
legacy = "keybuzz_legacy"
[databases]
replica = "{database}"
legacy = "keybuzz"
"""


def main() -> None:
    """Execute all notebooks in their order, and write each back with its outputs."""
    folder = notebooks_folder()
    names = sorted(path.stem for path in folder.glob("*.ipynb"))
    with tempfile.TemporaryDirectory() as place, running() as lab, warm_kernels():
        os.environ |= lab.env() | {
            "RUNBOOKS_RUNS": f"{place}/runs",
            "RUNBOOKS_PG_BIN": str(find_server().bindir),
        }
        plan_a_fleet(Path(place))
        for name in names:
            path, executed = folder / f"{name}.ipynb", Path(place, f"{name}.ipynb")
            nbformat.write(linked(nbformat.read(path, as_version=4), name, names), path)
            papermill.execute_notebook(str(path), str(executed), engine_name="runbooks", progress_bar=False)
            text = (
                executed.read_text("utf-8")
                .replace(f"{place}/runs", str(RUNS))
                .replace(f"{folder.parent}/", "")
            )
            nbformat.write(cleaned(nbformat.reads(text, as_version=4)), path)
            print(name, file=sys.stderr)


def plan_a_fleet(folder: Path) -> None:
    """Plan the reference phase at two databases of the lab, by its variables; the fleet file is made in the folder."""
    (folder / "fleet.toml").write_text(FLEET)
    program = str(Path(sys.executable).with_name("runbooks"))
    words = ["fleet", "run", "PH15-AMAZON-DB-FOUNDATION-01", "--targets", str(folder / "fleet.toml")]
    # Both write to the same database: side by side, each would see the other at work.
    words += ["--workers", "1"]
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr  # one of them is not as the phase says


def links(name: str, names: list[str]) -> str:
    """Return the line of links to the notebooks before and after one."""
    place = names.index(name)
    words = {n: f"{n[:2]} {n[3:].replace('_', ' ').capitalize().replace('Api', 'API')}" for n in names}
    before = [f"[← {words[n]}]({n}.ipynb)" for n in names[:place][-1:]]
    after = [f"[{words[n]} →]({n}.ipynb)" for n in names[place + 1 :][:1]]
    return " | ".join([*before, *after])


def linked(notebook: Any, name: str, names: list[str]) -> Any:
    """Write the links anew: the last line of the first cell of prose, and of the last."""
    prose = [cell for cell in notebook.cells if cell.cell_type == "markdown"]
    for cell in (prose[0], prose[-1]):
        cell.source = "\n".join([*cell.source.splitlines()[:-1], links(name, names)])
    return notebook


def cleaned(notebook: Any) -> Any:
    """Take out what is papermill's or of this moment: metadata, and when what was executed."""
    notebook.metadata = {"kernelspec": notebook.metadata.kernelspec, "language_info": {"name": "python"}}
    for cell in notebook.cells:
        tags = [tag for tag in cell.metadata.get("tags", ()) if tag in TAGS]
        cell.metadata = {"tags": tags} if tags else {}
    return notebook


if __name__ == "__main__":
    main()
