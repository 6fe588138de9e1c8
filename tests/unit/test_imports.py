"""Imports point one way, and modules stay small."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "runbooks_lib"
LAYERS = (
    "package",
    "visible",
    "given",
    "ordinary",
    "errors",
    "names",
    "findings",
    "progress",
    "owned",
    "cache",
    "temporary",
    "phase",
    "postgres",
    "prisma",
    "services",
    "steps",
    "archive",
    "lab",
    "execution",
    "widgets",
    "cli",
    "notebooks",
)
MAX_LINES = 400
NAMES_THAT_SAY_NOTHING = frozenset({"utils", "util", "helpers", "helper", "common", "misc"})
MODULES = sorted(file for file in PACKAGE.rglob("*.py") if "node_modules" not in file.parts)


def module_name(file: Path) -> str:
    parts = ("runbooks_lib", *file.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer(module: str) -> str | None:
    """The layer of a module of the package; None for the package itself."""
    return module.split(".")[1] if "." in module else None


def imported(source: str, module: str, *, is_package: bool) -> Iterator[tuple[int, str]]:
    """Yield line and module of each import of the package, wherever it stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            keep = len(module.split(".")) - node.level + (1 if is_package else 0)
            base = module.split(".")[:keep] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{origin}.{alias.name}" if origin == "runbooks_lib" else origin for alias in node.names]
        else:
            continue
        yield from ((node.lineno, name) for name in names if name.split(".")[0] == "runbooks_lib")


def mistakes(source: str, module: str, *, is_package: bool = False) -> list[str]:
    mine = layer(module)
    if mine is None:
        return [f"line {n}: the package itself imports {name}" for n, name in
                imported(source, module, is_package=is_package)]  # fmt: skip
    if mine not in LAYERS:
        return [f"{mine} is in no layer"]
    found = []
    for line, name in imported(source, module, is_package=is_package):
        other = layer(name)
        if other == "__version__":
            continue
        if other not in LAYERS or LAYERS.index(other) > LAYERS.index(mine):
            found.append(f"line {line}: {mine} imports {name}")
    return found


@pytest.mark.parametrize("file", MODULES, ids=module_name)
def test_imports_point_left(file: Path) -> None:
    source = file.read_text(encoding="utf-8")
    assert mistakes(source, module_name(file), is_package=file.name == "__init__.py") == []


@pytest.mark.parametrize("file", MODULES, ids=module_name)
def test_modules_are_small_and_named_for_what_they_do(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= MAX_LINES
    assert file.stem not in NAMES_THAT_SAY_NOTHING


def test_there_are_modules_to_look_at() -> None:
    assert {"runbooks_lib", "runbooks_lib.errors", "runbooks_lib.findings"} <= {
        module_name(file) for file in MODULES
    }


@pytest.mark.parametrize(
    ("source", "module", "count"),
    [
        ("from runbooks_lib.errors import RunbookError", "runbooks_lib.phase.load", 0),
        ("from runbooks_lib.phase import reader\nfrom . import load", "runbooks_lib.phase.load", 0),
        ("import os, json", "runbooks_lib.errors", 0),
        ("from runbooks_lib import __version__", "runbooks_lib.cli", 0),
        ("from runbooks_lib.cli import main", "runbooks_lib.phase.load", 1),
        ("import runbooks_lib.lab.api", "runbooks_lib.steps.preflight", 1),
        ("from runbooks_lib import archive, errors", "runbooks_lib.steps.preflight", 1),
        ("from ..lab import api", "runbooks_lib.steps.preflight", 1),
        ("from .. import lab", "runbooks_lib.steps.preflight", 1),
        ("def f():\n    from runbooks_lib.steps import backup", "runbooks_lib.services.http", 1),
        ("if TYPE_CHECKING:\n    from runbooks_lib.widgets import Gate", "runbooks_lib.archive.seal", 1),
        ("from runbooks_lib.tools import x", "runbooks_lib.cli", 1),
        ("", "runbooks_lib.tools.x", 1),
        ("from runbooks_lib.errors import RunbookError", "runbooks_lib", 1),
    ],
)
def test_the_rule_itself(source: str, module: str, count: int) -> None:
    assert len(mistakes(source, module)) == count


def test_relative_imports_of_a_package_start_at_itself() -> None:
    assert mistakes("from .load import x", "runbooks_lib.phase", is_package=True) == []
    assert len(mistakes("from ..lab import x", "runbooks_lib.phase", is_package=True)) == 1
