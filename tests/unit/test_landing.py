"""The landing page's words: what is red, what comes next, and which of it is the one primary button."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
from msgspec.structs import replace as changed

from runbooks_lib.archive.run import Run
from runbooks_lib.evidence import Evidence, Record
from runbooks_lib.findings import Finding, Verdict
from runbooks_lib.notebook.landing.newest import Newest, ahead_of
from runbooks_lib.notebook.landing.start import _step_row
from runbooks_lib.notebook.walkthrough import _why_not_reached
from runbooks_lib.phase import STEPS


@pytest.fixture(scope="module")
def run(make_run: Callable[..., Run], tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def applied(run: Run) -> Evidence:
    return run.evidence()


def newest(run: Run, evidence: Evidence, *, why: str = "") -> Newest:
    found = Newest(run, lambda _: why)
    found.evidence = evidence
    return found


def going(evidence: Evidence, records: Mapping[str, Record]) -> Evidence:
    return Evidence(changed(evidence.header, finished_at=None, verdict=None), records)


def stopped(record: Record) -> Record:
    """A record of a notebook that one of its gates has stopped: its last cell was not run."""
    answers = {
        name: changed(
            answer,
            verdict=Verdict.FAIL,
            findings=tuple(replace(f, verdict=Verdict.FAIL) for f in answer.findings),
        )
        for name, answer in record.answers.items()
    }
    return changed(record, verdict=None, finished_at=None, answers=answers)


def test_a_step_that_its_gate_has_stopped_is_red(applied: Evidence) -> None:
    record = applied.records["preflight"]
    assert _step_row("preflight", record)["verdict"] == "✔ PASS"
    assert _step_row("preflight", stopped(record))["verdict"] == "✘ FAIL"
    at_work = changed(record, verdict=None, finished_at=None)
    assert _step_row("preflight", at_work)["verdict"] == "– begun"
    assert _step_row("preflight", None)["verdict"] == "– not yet"


def test_the_next_step_and_nothing_else_is_the_primary_button(run: Run, applied: Evidence) -> None:
    first = applied.records["preflight"]
    for records, name in (({}, "01_preflight"), ({"preflight": first}, "02_backup")):
        found = ahead_of(newest(run, going(applied, records)), begin=True)
        assert (found.name, found.primary) == (name, True)
    red = ahead_of(newest(run, going(applied, {"preflight": stopped(first)})), begin=True)
    assert (red.name, red.primary) == ("01_preflight", True)
    assert red.before == "It was stopped: mend what it names, and run it again: "
    done = ahead_of(newest(run, applied), begin=True)
    assert (done.before, done.primary) == (
        "Every step of this run has passed, and items are left open: ",
        True,
    )
    html = done.bundle()["text/html"]
    assert html.count("<a ") == html.count('class="runbooks-next"') == 1


def test_where_no_run_goes_on_the_button_is_that_which_begins_one(run: Run, applied: Evidence) -> None:
    header = changed(applied.header, finished_at="2026-11-24T08:01:00.000Z", verdict=Verdict.OPEN)
    ended = Evidence(header, {"preflight": applied.records["preflight"]})
    elsewhere = newest(run, applied, why="it was made elsewhere")
    for found, said in (
        (None, "Next: press Begin a run above, or open "),
        (newest(run, ended), f"Run {run.id} has ended as OPEN. Next: press Begin a run above, or open "),
        (
            elsewhere,
            f"Not begun here: run {run.id} is in the archive, and it was made elsewhere. Next: press ",
        ),
    ):
        ahead = ahead_of(found, begin=True)
        assert (ahead.name, ahead.primary) == ("01_preflight", False)
        assert ahead.before.startswith(said)
        assert "Begin" not in ahead_of(found, begin=False).bundle()["text/plain"]


def test_nothing_of_a_run_is_read_twice_at_one_look(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Run] = []
    evidence = Run.evidence
    monkeypatch.setattr(Run, "evidence", lambda self: (read.append(self), evidence(self))[1])
    seen = Newest(run, lambda evidence: f"{len(evidence.records)}")
    assert (seen.why, seen.goes_on, dict(seen.records)) == (f"{len(STEPS)}", False, {})
    assert run.id in seen.state
    assert len(read) == 1


def test_the_last_cell_says_what_stopped_the_notebook(applied: Evidence) -> None:
    findings: tuple[Finding, ...] = applied.records["preflight"].findings
    assert _why_not_reached(findings) == "A cell above waits for you, or was not run: run all cells."
    red = replace(findings[1], verdict=Verdict.FAIL, hint="Mend it.")
    said = _why_not_reached((findings[0], red))
    assert said == f"Stopped by FAIL {red.check} {red.target} {red.object}. Mend it."
