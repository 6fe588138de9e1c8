"""docs/faults.md has the rows that the tests declare, and no others; enough of them run in CI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ..faults.page import NOT_YET, PAGE, declared, first_column, page, results_of, results_on

FAULTS = Path(__file__).parents[1] / "faults"
WITHOUT_ROWS = {"test_doors.py"}


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return declared()


def test_every_test_of_the_campaign_has_a_row() -> None:
    for file in FAULTS.glob("test_*.py"):
        text = file.read_text("utf-8")
        marked, tests = text.count("@fault("), text.count("\ndef test_")
        assert file.name in WITHOUT_ROWS or marked == tests, f"{file.name}: {tests} tests, {marked} rows"


def test_the_page_has_just_the_declared_rows(rows: list[dict[str, Any]]) -> None:
    text = PAGE.read_text("utf-8")
    assert text == page(rows, results_on(text)), "python tests/faults/page.py writes the page anew"


def test_there_are_rows_enough_and_enough_of_them_run_in_ci(rows: list[dict[str, Any]]) -> None:
    assert len(rows) >= 120
    assert sum(row["fast"] for row in rows) >= 40


def test_each_row_says_everything(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert all(text.strip() for name, text in row.items() if name != "fast"), row


@pytest.mark.parametrize(
    ("outcomes", "said"),
    [
        (["passed", "passed"], "passed (today)"),
        (["passed", "failed"], "failed (today)"),
        (["skipped"], "not run here: no <mount> (today)"),
        (["passed", "skipped"], "passed, in part not run here: no <mount> (today)"),
        ([], NOT_YET),
    ],
)
def test_a_row_is_as_green_as_its_worst_test(outcomes: list[str], said: str) -> None:
    texts = dict.fromkeys(("injected", "seen", "told", "goes_on"), "x | y")
    row = {"kind": "network", "fault": "a|b", "lost": "nothing", "fast": True, **texts}
    entry = {"row": row, "tests": [], "outcomes": outcomes, "why": "no <mount>", "seconds": 1.0}
    text = page([row], results_of([entry], "today"))
    assert results_on(text) == {first_column(row): said.replace("<", "&lt;")}
    assert page([row], results_on(text)) == text, "what the page says is kept"
