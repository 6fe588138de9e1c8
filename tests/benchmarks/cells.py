"""Notebooks of many cells: our engine against papermill's own, by papermill's API in one process."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from measure import Figure, clocked, in_pairs

from runbooks_lib.execution.kernels.warm import warm_kernels, without_iri_grammar


def measure(pairs: int, sizes: tuple[int, ...]) -> list[Figure]:
    """Return a comparison for each number of cells; each cell prints a line."""
    without_iri_grammar()
    import nbformat
    import papermill

    logging.getLogger("papermill").setLevel(logging.ERROR)
    figures = []
    with warm_kernels(), tempfile.TemporaryDirectory() as folder:
        for cells in sizes:
            notebook = nbformat.v4.new_notebook(
                metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
            )
            notebook.cells = [nbformat.v4.new_code_cell(f"print({n})") for n in range(cells)]
            source = Path(folder, "in.ipynb")
            nbformat.write(notebook, source)

            def execute(engine: str | None, source: Path = source) -> None:
                output = str(source.with_name("out.ipynb"))
                papermill.execute_notebook(str(source), output, engine_name=engine, progress_bar=False)

            figures.append(
                in_pairs(
                    f"notebook of {cells} cells",
                    "papermill's own engine",
                    clocked(lambda: execute("runbooks")),
                    clocked(lambda: execute(None)),
                    pairs,
                )
            )
            figures[-1].more = {"cells": cells}
    return figures
