"""The landing notebook without a phase: one is drafted there, chosen, and its run knows the project."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runbooks_lib.archive.run import all_runs
from runbooks_lib.findings import Verdict
from runbooks_lib.lab.lab import Lab
from runbooks_lib.phase import load_phase

PHASE = "PH15-AMAZON-DB-FOUNDATION-01"
VARIABLE = "__import__('os').environ.get('RUNBOOKS_PRISMA_PROJECT')"
Operators = Callable[..., Any]


@pytest.fixture
def project(fresh_lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The lab's project, which no variable names, and an archive that is empty."""
    monkeypatch.setenv("RUNBOOKS_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("RUNBOOKS_PRISMA_PROJECT")
    return Path(fresh_lab.env()["RUNBOOKS_PRISMA_PROJECT"])


class Form:
    """What a person does in the box, and what they see there."""

    def __init__(self, me: Any) -> None:
        self._me = me
        assert me.run_all() is None

    def do(self, action: str) -> str:
        """Do something, and return what is said of it."""
        assert self._me.execute(f"start.adoption.{action}", silent=True) is None
        return self.holds("start.adoption._said.value")

    def holds(self, expression: str) -> str:
        shows = "from IPython.display import display; display({{'text/plain': str({})}}, raw=True)"
        assert self._me.execute(shows.format(expression)) is None
        return str(self._me.shown[-1]["text/plain"])


def test_a_phase_is_drafted_chosen_and_run_with_its_project(
    project: Path, operator: Operators, tmp_path: Path
) -> None:
    with operator("00_start", tmp_path) as me:
        form = Form(me)
        form.do("service.value = 'keybuzz_leader'")
        assert "No Prisma project is named" in form.do("look.click()")
        form.do(f"project.value = {str(project)!r}")
        assert "Press Draft a phase" in form.do("look.click()")
        assert "keybuzz_leader: database keybuzz_backend" in form.holds("start.adoption._seen.value")
        said = form.do("draft.click()")
        folder = tmp_path / "phase-keybuzz_leader"
        assert f"Drafted {folder / 'phase.toml'}" in said
        assert "REVIEW" in form.holds("start.adoption._seen.value")
        assert form.holds("start.picker.phases.value") == str(folder)
        assert load_phase(str(folder)).targets["leader"].service == "keybuzz_leader"
        assert me.execute("start.picker.begin.click()", silent=True) is None
        assert form.holds(VARIABLE) == "None"
    (run,) = all_runs(tmp_path / "runs")
    assert run.header().prisma_project == str(project)
    with operator("01_preflight", tmp_path) as me:
        assert me.run_all() is None
    with operator("00_start", tmp_path) as me:
        assert me.run_all() is None
        assert me.execute("start.picker.begin.click()", silent=True) is None
    assert {each.header().prisma_project for each in all_runs(tmp_path / "runs")} == {str(project)}
    assert len(list(all_runs(tmp_path / "runs"))) == 2
    assert (record := run.record("preflight")) is not None
    assert record.verdict in (Verdict.PASS, Verdict.OPEN)


def test_a_run_of_another_phase_has_nothing_of_the_project_that_was_looked_at(
    project: Path, operator: Operators, tmp_path: Path
) -> None:
    with operator("00_start", tmp_path) as me:
        form = Form(me)
        form.do(f"project.value = {str(project)!r}")
        form.do("service.value = 'keybuzz_leader'")
        form.do("look.click()")
        form.do("draft.click()")
        assert me.execute(f"start.picker.phases.value = {PHASE!r}", silent=True) is None
        assert me.execute("start.picker.begin.click()", silent=True) is None
    (run,) = all_runs(tmp_path / "runs")
    assert (run.header().phase.id, run.header().prisma_project) == (PHASE, None)


def test_what_stands_in_the_way_is_said_and_nothing_is_drafted(
    fresh_lab: Lab, project: Path, operator: Operators, tmp_path: Path
) -> None:
    with fresh_lab.admin("keybuzz_backend") as admin:
        admin.execute(
            "INSERT INTO _prisma_migrations"
            " (id, checksum, migration_name, started_at, finished_at, applied_steps_count)"
            " VALUES ('1', '', '20200101000000_of_another_branch', now(), now(), 1)"
        )
    with operator("00_start", tmp_path) as me:
        form = Form(me)
        form.do("service.value = 'keybuzz_leader'")
        form.do("project.value = '/nowhere/at/all'")
        assert "There is no folder /nowhere/at/all" in form.do("look.click()")
        assert "Nothing was looked at" in form.do("draft.click()")
        form.do(f"project.value = {str(project)!r}")
        assert "Say why, where that is asked" in form.do("look.click()")
        assert "Say why they may stay" in form.do("draft.click()")
        form.do("reasons['accept'].value = 'the branch was merged'")
        form.do("folder.value = '/proc/phase'")
        assert "✘" in form.do("draft.click()")
        form.do(f"folder.value = {str(tmp_path / 'mine')!r}")
        assert "Drafted" in form.do("draft.click()")
        text = (tmp_path / "mine" / "phase.toml").read_text("utf-8")
        assert "the branch was merged" in text
        form.do("service.value = 'keybuzz_replica'")
        assert form.holds("start.adoption._seen.value") == ""
        assert form.holds("start.adoption.reasons['accept'].value") == ""
        assert "Nothing was looked at" in form.do("draft.click()")
        said = form.do("look.click()")
        assert "Next: runbooks diagnose" in said
        assert "runbooks explain 25006" in said
        assert form.holds("len(start.adoption._asked.children)") == "0"
