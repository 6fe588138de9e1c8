"""The digest of the notebooks' code: it follows the code, and nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runbooks_lib.archive import notebooks
from runbooks_lib.archive.notebooks import code_cells, code_digest, notebooks_folder
from runbooks_lib.errors import EvidenceError


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the notebooks, which the digest is made of."""
    shutil.copytree(notebooks_folder(), tmp_path / "notebooks")
    monkeypatch.setattr(notebooks, "notebooks_folder", lambda: tmp_path / "notebooks")
    code_digest.cache_clear()
    yield tmp_path / "notebooks"
    code_digest.cache_clear()


def change(folder: Path, what: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "03_baseline_migration.ipynb"
    content = json.loads(path.read_text(encoding="utf-8"))
    what(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    code_digest.cache_clear()


def cells(content: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [cell for cell in content["cells"] if cell["cell_type"] == kind]


def edited_code(content: dict[str, Any]) -> None:
    cells(content, "code")[-1]["source"].append("\npass")


def a_new_cell(content: dict[str, Any]) -> None:
    content["cells"].append({"cell_type": "code", "source": ["1"], "outputs": [], "metadata": {}})


def swapped_cells(content: dict[str, Any]) -> None:
    content["cells"].reverse()


def an_output(content: dict[str, Any]) -> None:
    cells(content, "code")[0]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "x"}]
    cells(content, "code")[0]["execution_count"] = 7


def edited_prose(content: dict[str, Any]) -> None:
    cells(content, "markdown")[0]["source"] = ["other words"]
    content["metadata"]["new"] = True


def source_as_one_text(content: dict[str, Any]) -> None:
    for cell in content["cells"]:
        cell["source"] = "".join(cell["source"])


@pytest.mark.parametrize("what", [edited_code, a_new_cell, swapped_cells])
def test_it_changes_with_the_code(copy: Path, what: Callable[[dict[str, Any]], None]) -> None:
    before = code_digest()
    change(copy, what)
    assert code_digest() != before


@pytest.mark.parametrize("what", [an_output, edited_prose, source_as_one_text])
def test_it_does_not_change_with_anything_else(copy: Path, what: Callable[[dict[str, Any]], None]) -> None:
    before = code_digest()
    assert len(before) == 64
    change(copy, what)
    assert code_digest() == before


def test_code_cells_come_in_order(copy: Path) -> None:
    sources = code_cells(copy / "01_preflight.ipynb")
    assert sources[0].startswith("phase: str")
    assert sources[-1] == "show(step.close())"


@pytest.mark.parametrize(
    "damage", [lambda p: p.unlink(), lambda p: p.write_text("{}"), lambda p: p.write_text("[")]
)
def test_a_notebook_that_is_missing_or_none_is_an_evidence_error(
    copy: Path, damage: Callable[[Path], Any]
) -> None:
    damage(copy / "05_seed_verification.ipynb")
    with pytest.raises(EvidenceError, match=r"05_seed_verification\.ipynb"):
        code_digest()


def test_notebooks_lie_in_the_package_or_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "runbooks_lib"
    package.mkdir()
    monkeypatch.setattr(notebooks, "files", lambda name: tmp_path / name)
    with pytest.raises(EvidenceError, match="not installed"):
        notebooks_folder()
    (tmp_path / "notebooks").mkdir()
    assert notebooks_folder() == tmp_path / "notebooks"
    (package / "notebooks").mkdir()
    assert notebooks_folder() == package / "notebooks"
