"""Imports point one way, and modules stay small."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "runbooks_lib"
ROOMS = (
    "package",
    "visible",
    "checks",
    "doors",
    "errors",
    "owned",
    "temporary",
    "cache",
    "progress",
    "interrupts",
    "amounts",
    "npm",
    "ordinary",
    "names",
    "typed",
    "findings",
    "given",
    "phase",
    "facts",
    "evidence",
    "postgres",
    "postgres.session",
    "postgres.catalog",
    "postgres.script",
    "postgres.dump",
    "postgres.rows",
    "postgres.scratch",
    "prisma",
    "api",
    "archive.masking",
    "archive",
    "archive.seal",
    "archive.store",
    "report",
    "report.pictures",
    "report.html",
    "drafting.forms",
    "drafting.units",
    "drafting.placed",
    "drafting.apart",
    "drafting.cascades",
    "drafting.lost",
    "drafting.renames",
    "drafting.labels",
    "drafting.baseline",
    "steps",
    "drafting",
    "lab",
    "execution.kernels",
    "execution",
    "execution.fleet",
    "notebook",
    "notebook.landing",
    "cli",
    "__main__",
    "notebooks",
)
WITHOUT_CODE = ("phases", "schemas", "texts")
MAX_LINES = 400
MAX_LINES_OF_A_FUNCTION = 60
MAX_MEDIAN = 180
NAMES_THAT_SAY_NOTHING = frozenset({"utils", "util", "helpers", "helper", "common", "misc"})
MODULES = sorted(file for file in PACKAGE.rglob("*.py") if "node_modules" not in file.parts)


def module_name(file: Path) -> str:
    parts = ("runbooks_lib", *file.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = frozenset(map(module_name, MODULES))


def room(module: str) -> str | None:
    """The room of a module of the package: the longest name of a room that its own begins with; else its first name."""
    inside = module.split(".")[1:]
    names = [".".join(inside[:length]) for length in range(len(inside), 0, -1)]
    return next((name for name in names if name in ROOMS), names[-1]) if names else None


def imported(source: str, module: str, *, is_package: bool) -> Iterator[tuple[int, str]]:
    """Yield line and module of each import of the package, wherever it stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            keep = len(module.split(".")) - node.level + (1 if is_package else 0)
            base = module.split(".")[:keep] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            within = [f"{origin}.{alias.name}" for alias in node.names]
            names = [name if name in NAMES or origin == "runbooks_lib" else origin for name in within]
        else:
            continue
        yield from ((node.lineno, name) for name in names if name.split(".")[0] == "runbooks_lib")


def mistakes(source: str, module: str, *, is_package: bool = False) -> list[str]:
    mine = room(module)
    if mine is None:
        return [f"line {n}: the package itself imports {name}" for n, name in
                imported(source, module, is_package=is_package)]  # fmt: skip
    if mine not in ROOMS:
        return [f"{mine} is no room"]
    found = []
    for line, name in imported(source, module, is_package=is_package):
        other = room(name)
        if other == "__version__":
            continue
        if other not in ROOMS or ROOMS.index(other) > ROOMS.index(mine):
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


def test_half_of_the_modules_are_short() -> None:
    assert median(len(file.read_text(encoding="utf-8").splitlines()) for file in MODULES) < MAX_MEDIAN


def long_functions(source: str) -> list[str]:
    return [
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= MAX_LINES_OF_A_FUNCTION
    ]


@pytest.mark.parametrize("file", MODULES, ids=module_name)
def test_what_looks_does_not_judge(file: Path) -> None:
    """PostgreSQL, Prisma and the API are looked at; verdicts are the steps'."""
    module = module_name(file)
    if (room(module) or "").partition(".")[0] in ("postgres", "prisma", "api"):
        found = imported(file.read_text(encoding="utf-8"), module, is_package=file.name == "__init__.py")
        assert [line for line, name in found if name == "runbooks_lib.findings"] == []


def test_no_function_is_long() -> None:
    assert [(f.name, name) for f in MODULES for name in long_functions(f.read_text("utf-8"))] == []
    assert long_functions("def f():\n" + "    pass\n" * 59) == []
    assert long_functions("def f():\n" + "    pass\n" * 60) == ["f"]


def test_there_are_modules_to_look_at() -> None:
    assert {"runbooks_lib", "runbooks_lib.errors", "runbooks_lib.findings"} <= NAMES
    assert {room(name) for name in NAMES} - {None} == set(ROOMS) - {"notebooks"}


def paths_out(source: str, module: str) -> list[str]:
    """Return what a module opens by path that lies in another room: where this one moves, nobody would see that."""
    found = [f"line {n}: leads out by __file__" for n, line in enumerate(source.splitlines(), 1)
             if "__file__" in line and line.count(".parent") > 1]  # fmt: skip
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "files":
            for argument in node.args:
                named = argument.value if isinstance(argument, ast.Constant) else None
                if isinstance(named, str) and room(named) not in (None, *WITHOUT_CODE, room(module)):
                    found.append(f"line {node.lineno}: opens files of {named}")
    return found


@pytest.mark.parametrize("file", MODULES, ids=module_name)
def test_no_file_of_another_room_is_opened_by_path(file: Path) -> None:
    assert paths_out(file.read_text(encoding="utf-8"), module_name(file)) == []


def test_the_rule_of_paths_itself() -> None:
    assert paths_out('files("runbooks_lib.lab")', "runbooks_lib.prisma.command") != []
    assert paths_out('Path(__file__).parent.parent / "lab"', "runbooks_lib.prisma.command") != []
    assert (
        paths_out('files("runbooks_lib.texts"), Path(__file__).parent', "runbooks_lib.prisma.command") == []
    )


@pytest.mark.parametrize(
    ("source", "module", "count"),
    [
        ("from runbooks_lib.errors import RunbookError", "runbooks_lib.phase.load", 0),
        ("from runbooks_lib.phase import reader\nfrom . import load", "runbooks_lib.phase.load", 0),
        ("import os, json", "runbooks_lib.errors", 0),
        ("from runbooks_lib import __version__", "runbooks_lib.cli", 0),
        ("from runbooks_lib.cli import main", "runbooks_lib.phase.load", 1),
        ("import runbooks_lib.lab.api", "runbooks_lib.steps.preflight", 1),
        ("from runbooks_lib import lab, errors", "runbooks_lib.steps.preflight", 1),
        ("from runbooks_lib.archive import run, seal", "runbooks_lib.archive.manifest", 1),
        ("from ..lab import api", "runbooks_lib.steps.preflight", 1),
        ("from .. import lab", "runbooks_lib.steps.preflight", 1),
        ("def f():\n    from runbooks_lib.steps import backup", "runbooks_lib.api.http", 1),
        (
            "if TYPE_CHECKING:\n    from runbooks_lib.notebook import Gate",
            "runbooks_lib.archive.seal.seal",
            1,
        ),
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
