"""Was an archived notebook executed in order, and is its code the notebook's own? Papermill's status does not say."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from runbooks_lib.archive.seal.problem import Kind, Problem
from runbooks_lib.phase import STEPS
from runbooks_lib.typed import Typed

INJECTED = "injected-parameters"
WIDGET = "application/vnd.jupyter.widget-view+json"  # an output that only a front end can draw
WALKTHROUGH = "walkthrough"  # in a notebook's metadata: a person ran its cells
Lines = str | list[str]


class Output(Typed):
    """What a cell showed; `ename` is the error's name, where it was one."""

    output_type: str
    data: dict[str, Any] = {}
    ename: str = ""

    def shown(self, kind: str) -> str:
        """Return what it showed as one kind of text, such as text/html."""
        lines = self.data.get(kind, "")
        return "".join(lines) if isinstance(lines, str | list) else ""


class CellMetadata(Typed):
    """What else a cell says of itself."""

    tags: list[str] = []


class Cell(Typed):
    """A cell of an archived notebook."""

    cell_type: Literal["code", "markdown", "raw"]
    source: Lines
    metadata: CellMetadata
    execution_count: int | None = None
    outputs: tuple[Output, ...] = ()

    @property
    def code(self) -> str:
        """Return the cell's text, whether or not it is stored as lines."""
        return "".join(self.source)

    @property
    def is_injected(self) -> bool:
        """Tell whether papermill put the cell in, with the parameters of this execution."""
        return INJECTED in self.metadata.tags


class Notebook(Typed):
    """An archived notebook."""

    cells: tuple[Cell, ...]
    metadata: dict[str, Any]


def code_cells_of(notebook: Notebook) -> list[Cell]:
    """Return the code cells of a notebook that hold code: an empty one is never executed."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.code.strip()]


def stop_of(cells: list[Cell]) -> int | None:
    """Return the index of the cell that an error stopped; None when the notebook came to its end."""
    stopped = (n for n, cell in enumerate(cells) if any(o.output_type == "error" for o in cell.outputs))
    return next(stopped, None)


def order_problems(name: str, notebook: Notebook) -> Iterator[Problem]:
    """Yield what is wrong with the order in which the cells of an archived notebook were executed.

    Right is 1, 2, … n; of a notebook that was stopped: up to the cell that holds the error, and nothing behind it.
    A person may run a cell again, and what is archived is its last run: the counts of a walk-through rise with gaps.
    """
    cells = code_cells_of(notebook)
    wanted: list[int | None] = list(range(1, len(cells) + 1))
    if notebook.metadata.get(WALKTHROUGH):
        cells = [cell for cell in cells if not cell.is_injected]
        wanted = _rising([cell.execution_count for cell in cells])
    stop = stop_of(cells)
    counts = [cell.execution_count for cell in cells]
    if stop is not None:
        wanted[stop + 1 :] = [None] * (len(cells) - stop - 1)
        if counts[stop] is None:  # its kernel died in it
            wanted[stop] = None
    if counts != wanted:
        done = [count for count in counts if count is not None]
        if len(done) == len(cells) and sorted(done) == wanted:
            yield Problem(Kind.REORDERED, name, f"its cells were executed in the order {_in_words(counts)}")
        else:
            yield from (
                Problem(Kind.NOT_EXECUTED, name, f"code cell {n} has the execution count {have}, not {want}")
                for n, (have, want) in enumerate(zip(counts, wanted, strict=True), start=1)
                if have != want
            )
    if stop is not None:
        for number, cell in enumerate(cells[stop + 1 :], start=stop + 2):
            if cell.outputs:
                what = f"code cell {number} shows something, though cell {stop + 1} stopped the notebook"
                yield Problem(Kind.NOT_EXECUTED, name, what)


def code_problems(name: str, notebook: Notebook, shipped: list[str]) -> Iterator[Problem]:
    """Yield where the code of an archived notebook differs from the shipped one; injected parameters may."""
    own = own_code(notebook)
    if own != shipped:
        if sorted(own) == sorted(shipped):
            yield Problem(Kind.REORDERED, name, "its code cells are not in the order of the shipped notebook")
        elif len(own) != len(shipped):
            yield Problem(
                Kind.OTHER_CODE, name, f"it has {len(own)} code cells, the shipped notebook {len(shipped)}"
            )
        else:
            numbers = [n for n, (a, b) in enumerate(zip(own, shipped, strict=True), start=1) if a != b]
            yield Problem(
                Kind.OTHER_CODE, name, f"code cells that are not the shipped ones: {_in_words(numbers)}"
            )
    injected = [cell for cell in notebook.cells if cell.is_injected]
    if len(injected) > 1:
        yield Problem(Kind.OTHER_CODE, name, "parameters were injected more than once")
    for cell in injected:
        if not _only_assigns(cell.code):
            yield Problem(Kind.OTHER_CODE, name, "the injected cell holds more than parameters")


def own_code(notebook: Notebook) -> list[str]:
    """Return the sources of a notebook's code cells, without what papermill injected."""
    return [cell.code for cell in notebook.cells if cell.cell_type == "code" and not cell.is_injected]


def digest_of(notebooks: Mapping[str, Notebook]) -> str | None:
    """Return the digest that `code_digest` gave when these notebooks were shipped; None unless all seven are here."""
    if set(notebooks) != set(STEPS):
        return None
    code = {step: own_code(notebook) for step, notebook in notebooks.items()}
    return hashlib.sha256(json.dumps(code, sort_keys=True).encode()).hexdigest()


def _rising(counts: list[int | None]) -> list[int | None]:
    """Return the counts as they would be had each cell been executed after the one above it."""
    last = 0
    wanted: list[int | None] = []
    for count in counts:
        last = count if count is not None and count > last else last + 1
        wanted.append(last)
    return wanted


def _only_assigns(code: str) -> bool:
    """Tell whether code does nothing but give names to plain values."""
    try:
        body = ast.parse(code).body
        for statement in body:
            if not (isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)):
                return False
            ast.literal_eval(statement.value)
    except (SyntaxError, ValueError):
        return False
    return True


def _in_words(numbers: list[Any]) -> str:
    return ", ".join(map(str, numbers))
