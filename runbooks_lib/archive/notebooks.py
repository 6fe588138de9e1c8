"""The code that a plan was made with: the notebooks' code cells, hashed."""

from __future__ import annotations

import hashlib
import json
import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from runbooks_lib.archive.reader import read_json
from runbooks_lib.errors import EvidenceError
from runbooks_lib.phase import STEPS

ASKS = re.compile(r"(?:\.ask\(|decide\(\s*step,)\s*\w+\.(\w+)")  # in a cell's code: the question that it puts


def notebooks_folder() -> Path:
    """Return the folder of the notebooks: beside the package in a checkout, inside it when installed from a wheel.

    Raises EvidenceError when neither is there.
    """
    package = Path(str(files("runbooks_lib")))
    for folder in (package / "notebooks", package.parent / "notebooks"):
        if folder.is_dir():
            return folder
    raise EvidenceError("The notebooks are not installed.", "Install the package again.")


def code_cells(notebook: Path) -> list[str]:
    """Return the sources of a notebook's code cells, in order.

    Raises EvidenceError when the file is missing or no notebook.
    """
    try:
        cells = read_json(notebook)["cells"]
        return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    except (KeyError, TypeError) as error:
        raise EvidenceError(f"{notebook} is no notebook.", "Install the package again.") from error


@cache
def outline(notebook: Path) -> dict[str, str]:
    """Return the questions of a notebook in their order, each with the heading above it."""
    heading, found = "", {}
    for cell in read_json(notebook)["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown" and text.startswith("## "):
            heading = text.splitlines()[0].removeprefix("## ")
        elif cell["cell_type"] == "code" and (asked := ASKS.search(text)):
            found[asked[1]] = heading
    return found


def blank(notebook: Path) -> dict[str, Any]:
    """Return a shipped notebook in which nothing has been run. Raises EvidenceError when it cannot be read."""
    content = read_json(notebook)
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            cell |= {"execution_count": None, "outputs": []}
    return content


@cache
def code_digest() -> str:
    """Return the SHA-256 (hex) over the code cells of the seven notebooks, outputs and prose left out."""
    folder = notebooks_folder()
    code = {
        step: code_cells(folder / f"{number:02d}_{step}.ipynb") for number, step in enumerate(STEPS, start=1)
    }
    return hashlib.sha256(json.dumps(code, sort_keys=True).encode()).hexdigest()
