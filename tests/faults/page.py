"""docs/faults.md: the rows that tests declare, and what became of each: python tests/faults/page.py [RESULTS].

A row that is not in RESULTS keeps the result that the page has for it, if it has one.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "faults.md"
KINDS = {
    "processes": "Processes",
    "network": "Network",
    "storage": "Storage",
    "database": "Database",
    "input": "Input",
    "doors": "Doors",
    "load": "Load",
}
COLUMNS = ("injected", "seen", "told", "lost", "goes_on")
HEADS = ("fault", "injected how", "seen how", "what the user is told", "lost", "how one goes on", "result")
NOT_YET = "not run yet"
INTRODUCTION = """# What it survives

Each row is a fault that tests bring about on real servers, by real means. Each asserts that nothing is green that was
not done, and what the user is told. Rows of whole commands also compare dumps of the databases before and after, and
go on from there; rows of a single question look at its answer. A row marked * also runs in CI; `make faults` runs all
of them and writes this page.
"""


def declared() -> list[dict[str, Any]]:
    """Return the rows that the tests declare, collected by a pytest of its own."""
    files = [str(file) for file in TESTS.glob("*/test_*.py") if "@fault(" in file.read_text("utf-8")]
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "fault", "-p", "no:xdist"]
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        done = subprocess.run(
            [*command, *files],
            cwd=TESTS.parent,
            env={**os.environ, "RUNBOOKS_FAULTS": file.name, "PYTEST_ADDOPTS": ""},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)
        return [entry["row"] for entry in json.load(file)]


def results_of(entries: Iterable[dict[str, Any]], date: str) -> dict[str, str]:
    """Return what a run of the campaign says of each row that it ran, by the row's first column."""
    return {
        first_column(entry["row"]): f"{_outcome(entry)} ({date})" for entry in entries if entry["outcomes"]
    }


def results_on(text: str) -> dict[str, str]:
    """Return the results that a page has, by the rows' first columns."""
    found = re.findall(r"^\| (.+?) \|.*(?<!\\)\| (.+) \|$", text, re.M)
    return {first: result for first, result in found if first not in (HEADS[0], "---")}


def page(rows: Iterable[dict[str, Any]], results: Mapping[str, str]) -> str:
    """Return the page: rows by kind, each with its result."""
    ordered = sorted(rows, key=lambda row: (list(KINDS).index(row["kind"]), row["fault"]))
    words = ("passed", "failed", "not run here", NOT_YET)
    said = [results.get(first_column(row), NOT_YET) for row in ordered]
    counts = [(sum(each.startswith(word) for each in said), word) for word in words]
    told = ", ".join(f"{count} {word}" for count, word in counts if count)
    lines = [INTRODUCTION, f"{len(ordered)} rows: {told}."]
    for kind, title in KINDS.items():
        if of_kind := [row for row in ordered if row["kind"] == kind]:
            lines += ["", f"## {title}", "", _line(HEADS), _line("---" for _ in HEADS)]
            lines += [_line(_cells(row, results)) for row in of_kind]
    return "\n".join(lines) + "\n"


def first_column(row: Mapping[str, Any]) -> str:
    """Return what the page has for a row in its first column."""
    return _escaped(row["fault"]) + (" *" if row["fast"] else "")


def _cells(row: Mapping[str, Any], results: Mapping[str, str]) -> Iterator[str]:
    yield first_column(row)
    yield from (_escaped(row[column]) for column in COLUMNS)
    yield results.get(first_column(row), NOT_YET)


def _outcome(entry: Mapping[str, Any]) -> str:
    outcomes = entry["outcomes"]
    why = _escaped(entry["why"])
    if "failed" in outcomes:
        return "failed"
    if "passed" not in outcomes:
        return f"not run here: {why}"
    return f"passed, in part not run here: {why}" if "skipped" in outcomes else "passed"


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    before = PAGE.read_text("utf-8") if PAGE.exists() else ""
    ran = json.loads(Path(sys.argv[1]).read_text("utf-8")) if len(sys.argv) > 1 else []
    PAGE.write_text(
        page(declared(), results_on(before) | results_of(ran, f"{datetime.now(UTC):%Y-%m-%d}")), "utf-8"
    )
    print(f"{PAGE} is written.")
