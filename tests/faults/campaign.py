"""The campaign of faults: which rows the tests declare, and what became of each of them.

A test declares its row by `@fault(…)`; each of its parameters' values makes a row of its own where the words name it
(`{signal}`). Tests with the same words are one row. RUNBOOKS_FAULTS=FILE runs the slow ones too, and has what became
of all of them written there: docs/faults.md is made of it (`make faults`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import pytest

RESULTS = "RUNBOOKS_FAULTS"
LONGEST = ("test_load.py", "test_commands.py", "test_failover.py", "test_fleet.py", "test_commands_places.py")
Kind = Literal["processes", "network", "storage", "database", "input", "doors", "load"]
Test = TypeVar("Test", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of the page; `told` quotes what the user is told, `goes_on` says how one goes on."""

    kind: str
    fault: str
    injected: str
    seen: str
    told: str
    lost: str
    goes_on: str
    fast: bool


def fault(
    *,
    kind: Kind,
    fault: str,
    injected: str,
    seen: str,
    told: str,
    goes_on: str,
    lost: str = "nothing",
    fast: bool = False,
) -> Callable[[Test], Test]:
    """Declare that a test proves a row. In each text `{name}` stands for the test's parameter of this name.

    A `fast` one takes a few seconds at most and runs in CI.
    """
    assert kind in get_args(Kind)
    row = Row(
        kind=kind, fault=fault, injected=injected, seen=seen, told=told, lost=lost, goes_on=goes_on, fast=fast
    )
    return pytest.mark.fault(row)


def row_of(item: pytest.Item) -> Row | None:
    """Return the row that a collected test proves."""
    marker = item.get_closest_marker("fault")
    if marker is None:
        return None
    declared: Row = marker.args[0]
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    texts = {
        f.name: getattr(declared, f.name).format_map(parameters) for f in fields(Row) if f.name != "fast"
    }
    return Row(fast=declared.fast, **texts)


class Campaign:
    """The plugin: leaves out what is slow, and writes down which rows there are and what became of them."""

    def __init__(self) -> None:
        self._results = os.environ.get(RESULTS)
        self._rows: dict[tuple[str, str], dict[str, Any]] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Tell each test's row to whoever gets its report, workers' reports too; skip what is slow.

        A worker has a file to its end: where all of them run, the longest ones are begun first.
        """
        if self._results is not None:
            items.sort(
                key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST)
            )
        for item in items:
            if (row := row_of(item)) is None:
                continue
            item.user_properties.append(("fault", asdict(row)))
            self._entry(asdict(row), item.nodeid)
            if not row.fast and self._results is None:
                item.add_marker(pytest.mark.skip(reason="minutes: make faults"))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note how a test ended, and in which phase of it."""
        row = dict(report.user_properties).get("fault")
        if not isinstance(row, dict):
            return
        entry = self._entry(row, report.nodeid)
        entry["seconds"] += report.duration
        if report.failed:
            entry["outcomes"].append("failed")
        elif report.skipped:
            entry["outcomes"].append("skipped")
            entry["why"] = _reason(report)
        elif report.when == "call":
            entry["outcomes"].append("passed")

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write all rows, and how the tests of each ended."""
        if self._results and not hasattr(session.config, "workerinput"):
            Path(self._results).write_text(json.dumps([*self._rows.values()], indent=1), "utf-8")

    def _entry(self, row: dict[str, Any], nodeid: str) -> dict[str, Any]:
        new = {"row": row, "tests": [], "outcomes": [], "why": "", "seconds": 0.0}
        entry = self._rows.setdefault((row["kind"], row["fault"]), new)
        assert entry["row"] == row, f"two rows have the same fault: {row['fault']}"
        test = nodeid.partition("[")[0]
        if test not in entry["tests"]:
            entry["tests"].append(test)
        return entry


def _reason(report: pytest.TestReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")
