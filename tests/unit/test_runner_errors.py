"""What is said of a notebook that ended without a verdict: one sentence, never a traceback."""

from __future__ import annotations

import pytest
from papermill.exceptions import PapermillExecutionError

from runbooks_lib.execution.runner import _as_runbook_error


@pytest.mark.parametrize(
    ("ename", "evalue", "said"),
    [
        ("ValueError", "no such thing", "ValueError: no such thing."),
        ("AssertionError", "", "AssertionError."),
        ("KeyboardInterrupt", "", "its kernel was interrupted."),
    ],
)
def test_an_error_without_words_brings_no_traceback_along(ename: str, evalue: str, said: str) -> None:
    problem = PapermillExecutionError(0, 1, "", ename, evalue, ["Traceback (most recent call last)", ename])
    assert "Traceback" in str(problem)
    told = _as_runbook_error("backup", problem)
    assert told.what_happened == f"Step backup ended without a verdict: {said}"
