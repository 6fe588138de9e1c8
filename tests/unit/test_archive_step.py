"""A step of a run: answers are on disk before they are judged, and a closed gate stays closed.

No question here reaches a database: the questions are made up, the phase is the shipped one.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runbooks_lib.archive.files import write_json
from runbooks_lib.archive.plans import keep_plan
from runbooks_lib.archive.reader import sha256_of
from runbooks_lib.archive.run import Run
from runbooks_lib.errors import (
    ConnectionFailed,
    EvidenceError,
    GateClosed,
    PreconditionFailed,
    SpecError,
)
from runbooks_lib.facts.writing import NotUndone, Plan, Undo
from runbooks_lib.findings import Answer, Finding, Verdict, gate
from runbooks_lib.notebook import step as module
from runbooks_lib.notebook.step import Step, open_step
from runbooks_lib.phase import Phase, load_phase
from runbooks_lib.postgres.session.connect import Sessions

PHASE = "PH15-AMAZON-DB-FOUNDATION-01"


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RUNBOOKS_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "none"))
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))
    return tmp_path / "runs"


def finding(verdict: Verdict) -> Finding:
    return Finding(check="has_table", target="leader", object="public.a", have="x", want="y", verdict=verdict)


def question(phase: Phase, sessions: Sessions, *, verdict: Verdict = Verdict.PASS, **facts: Any) -> Answer:
    """Answer what is wanted.

    More words.
    """
    return Answer(findings=(finding(verdict),), facts={"phase": phase.id, **facts})


def another(phase: Phase, sessions: Sessions, *, verdict: Verdict = Verdict.PASS) -> Answer:
    """Answer a second one."""
    return Answer(findings=(finding(verdict),))


def unreachable(phase: Phase, sessions: Sessions) -> Answer:
    """Fail as a target does."""
    raise ConnectionFailed("It does not answer.", "Start it.")


def broken(phase: Phase, sessions: Sessions) -> Answer:
    """Fail as a defect does."""
    raise ZeroDivisionError("oh")


def wordless(phase: Phase, sessions: Sessions) -> Answer:
    return Answer(findings=())


def recorded(step: Step) -> dict[str, Any]:
    return dict(json.loads(step.path.read_text(encoding="utf-8")))


# --- open_step --------------------------------------------------------------------------------------------------


def test_preflight_begins_a_new_run_and_the_others_join_it() -> None:
    first = open_step("preflight", phase=PHASE)
    second = open_step("preflight", phase=PHASE)
    assert first.run != second.run
    assert first.path == first.run.path / "01_preflight.json"
    newest = max((first.run, second.run), key=lambda run: run.id)
    assert open_step("backup", phase=PHASE).run == newest
    assert open_step("report", phase=PHASE, run=str(first.run.path)).run == first.run
    newest.update(finished_at="2026-01-08T00:00:01Z")
    assert open_step("backup", phase=PHASE).run not in (first.run, second.run)


def test_opening_a_step_forgets_its_earlier_record() -> None:
    step = open_step("preflight", phase=PHASE)
    step.ask(question)
    again = open_step("preflight", phase=PHASE, run=str(step.run.path))
    assert recorded(again)["answers"] == {}
    assert recorded(again)["verdict"] is None


def test_the_record_says_what_it_is_of() -> None:
    step = open_step("seed_verification", phase=PHASE, apply=True)
    said = recorded(step)
    assert (said["step"], said["run"], said["phase"]) == ("seed_verification", step.run.id, PHASE)
    assert (said["mode"], said["finished_at"], said["code"]) == ("apply", None, step.code)
    assert step.run.header().mode == "apply"
    open_step("report", phase=PHASE)
    assert step.run.header().mode == "apply"


@pytest.mark.parametrize("apply", ["True", "False", 1, None])
def test_apply_that_is_no_boolean_is_refused(runs: Path, apply: Any) -> None:
    with pytest.raises(PreconditionFailed, match="is no boolean"):
        open_step("preflight", phase=PHASE, apply=apply)
    assert not runs.exists()


def test_a_run_of_another_version_of_the_phase_is_refused(tmp_path: Path) -> None:
    phase = load_phase(PHASE)
    old = Run.create(tmp_path, replace(phase, digest="0" * 64))
    with pytest.raises(PreconditionFailed, match="begun with another version of phase") as caught:
        open_step("backup", phase=PHASE, run=str(old.path))
    assert "01_preflight.ipynb" in caught.value.what_to_do
    assert not (old.path / "02_backup.json").exists()


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match=r"run\.json cannot be read"):
        open_step("backup", phase=PHASE, run=str(tmp_path))
    write_json(tmp_path / "run.json", {"hello": 1})
    with pytest.raises(EvidenceError, match="no header of a run"):
        open_step("backup", phase=PHASE, run=str(tmp_path))


def test_a_phase_that_nobody_knows_is_refused(runs: Path) -> None:
    with pytest.raises(SpecError):
        open_step("preflight", phase="no-such-phase")
    assert not runs.exists()


def test_a_step_that_no_phase_has_is_refused() -> None:
    with pytest.raises(EvidenceError, match="There is no step 'nonsense'"):
        open_step("nonsense", phase=PHASE)


# --- ask --------------------------------------------------------------------------------------------------------


def test_an_answer_is_on_disk_before_the_gate_judges_it() -> None:
    step = open_step("preflight", phase=PHASE)
    answer = step.ask(question, verdict=Verdict.FAIL, deep={"list": [1, None]})
    kept = recorded(step)["answers"]["question"]
    assert kept["asked"] == "Answer what is wanted."
    assert kept["verdict"] == "FAIL"
    assert kept["facts"] == {"phase": PHASE, "deep": {"list": [1, None]}}
    assert kept["findings"] == [finding.to_dict() for finding in answer.findings]
    with pytest.raises(GateClosed):
        gate(answer.findings)
    assert recorded(step)["answers"]["question"] == kept


def test_what_could_not_be_asked_is_an_error_finding() -> None:
    step = open_step("preflight", phase=PHASE)
    answer = step.ask(unreachable)
    assert answer.verdict is Verdict.ERROR
    (row,) = recorded(step)["answers"]["unreachable"]["findings"]
    assert (row["check"], row["object"], row["verdict"]) == ("step_is_carried_out", "unreachable", "ERROR")
    assert (row["have"], row["hint"]) == ("It does not answer.", "Start it.")
    with pytest.raises(GateClosed, match="It does not answer"):
        gate(answer.findings)


def test_a_defect_is_recorded_and_raised() -> None:
    step = open_step("preflight", phase=PHASE)
    with pytest.raises(ZeroDivisionError):
        step.ask(broken)
    kept = recorded(step)["answers"]["broken"]
    assert kept["verdict"] == "ERROR"
    assert kept["findings"][0]["have"] == "ZeroDivisionError: oh"
    assert "defect" in kept["findings"][0]["hint"]
    with pytest.raises(GateClosed, match="ZeroDivisionError"):
        step.close()


def test_an_empty_answer_is_an_error() -> None:
    step = open_step("preflight", phase=PHASE)
    answer = step.ask(wordless)
    kept = recorded(step)["answers"]["wordless"]
    assert (kept["verdict"], kept["asked"]) == ("ERROR", "")
    assert kept["findings"][0]["have"] == "Nothing was found out about `wordless`."
    with pytest.raises(GateClosed, match="Nothing was found out"):
        gate(answer.findings)


def test_asking_again_replaces_the_answer() -> None:
    step = open_step("preflight", phase=PHASE)
    step.ask(question, verdict=Verdict.FAIL)
    step.ask(question)
    assert step.close().verdict is Verdict.PASS


def test_no_secret_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    password = "p@ss/w:rd'\"$é\\"
    (tmp_path / "pass").write_text("*:*:*:u:" + password.replace("\\", "\\\\").replace(":", "\\:") + "\n")
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "pass"))
    step = open_step("preflight", phase=PHASE)
    step.ask(question, said=f"<{password}>", deep=[{password: 1}])
    step.save("report.en.md", f"<{password}>")
    assert recorded(step)["answers"]["question"]["facts"]["said"] == "<***>"
    assert (step.run.path / "report.en.md").read_text() == "<***>"
    assert "p@ss" not in step.path.read_text()


# --- facts ------------------------------------------------------------------------------------------------------


def test_facts_of_an_earlier_step_and_of_this_one() -> None:
    first = open_step("preflight", phase=PHASE)
    first.ask(question, n=1)
    second = open_step("backup", phase=PHASE, run=str(first.run.path))
    second.ask(question, n=2)
    assert second.facts("preflight", "question")["n"] == 1
    assert second.facts("backup", "question")["n"] == 2
    assert list(second.evidence().records) == ["preflight", "backup"]


@pytest.mark.parametrize("asked", [False, True])
def test_facts_that_are_missing_name_the_notebook(asked: bool) -> None:
    first = open_step("preflight", phase=PHASE)
    if asked:
        open_step("backup", phase=PHASE, run=str(first.run.path)).ask(question)
    step = open_step("baseline_migration", phase=PHASE, run=str(first.run.path))
    with pytest.raises(PreconditionFailed, match="no answer of step backup to `dump`") as caught:
        step.facts("backup", "dump")
    assert f"Run 02_backup.ipynb first, with the same run folder: {first.run.path}" in caught.value.what_to_do


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.ERROR])
def test_nothing_is_built_on_an_answer_that_closed_the_gate(verdict: Verdict) -> None:
    first = open_step("backup", phase=PHASE)
    first.ask(question, verdict=verdict)
    step = open_step("baseline_migration", phase=PHASE, run=str(first.run.path))
    with pytest.raises(PreconditionFailed, match=f"answer of step backup to `question` is {verdict}"):
        step.facts("backup", "question")


# --- close ------------------------------------------------------------------------------------------------------


def test_close_gives_the_verdict_and_the_evidence() -> None:
    step = open_step("preflight", phase=PHASE)
    step.ask(question)
    step.ask(another, verdict=Verdict.OPEN)
    answer = step.close()
    (row,) = answer.rows
    assert (row["step"], row["verdict"], row["findings"]) == ("01_preflight", "OPEN", 2)
    assert row["evidence"] == str(step.path)
    assert row["SHA-256"] == sha256_of(step.path)
    assert row["next"] == "02_backup.ipynb"
    said = recorded(step)
    assert said["verdict"] == "OPEN"
    assert said["finished_at"] >= said["started_at"]
    assert said["duration_s"] >= 0


def test_the_last_step_has_none_after_it() -> None:
    step = open_step("report", phase=PHASE)
    step.ask(question)
    assert step.close().rows[0]["next"] == "none: this was the last"


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.ERROR])
def test_close_closes_the_gate(verdict: Verdict) -> None:
    step = open_step("preflight", phase=PHASE)
    step.ask(question, verdict=verdict)
    step.ask(another)
    with pytest.raises(GateClosed, match=f"{verdict} has_table leader public.a"):
        step.close()
    assert recorded(step)["verdict"] == verdict
    assert recorded(step)["finished_at"] is not None


def test_close_without_an_answer_closes_the_gate() -> None:
    step = open_step("preflight", phase=PHASE)
    with pytest.raises(GateClosed, match="no finding"):
        step.close()
    assert recorded(step)["verdict"] == "ERROR"


def test_a_record_that_cannot_be_written_stops_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The writing itself is broken here; a full disk is test_archive_files.py's."""
    step = open_step("preflight", phase=PHASE)

    def full(*_: object) -> None:
        raise EvidenceError("The disk is full.", "Free space.")

    monkeypatch.setattr(module, "write_json", full)
    with pytest.raises(EvidenceError, match="The disk is full"):
        step.ask(question)


def test_folders() -> None:
    step = open_step("backup", phase=PHASE)
    assert step.folder("backup").is_dir()
    assert step.folder("plan") == step.run.path / "plan"


def test_the_undo_of_a_plan_is_kept_beside_it_and_stays_when_a_later_plan_makes_nothing() -> None:
    step = open_step("baseline_migration", phase=PHASE)
    undo = Undo(statements=("DROP TABLE t",), left_over=(NotUndone(line=3, words="row\nt", why="why"),))
    for plan in (Plan(hash="a" * 64, undo=undo), Plan(hash="b" * 64)):
        made = keep_plan(step.run, plan)
        assert ("plan/undo.sql" in made) is (plan.undo is not None)
    text = (step.run.path / "plan" / "undo.sql").read_text()
    assert "plan aaaaaaaa of" in text
    assert text.endswith("\nBEGIN;\nDROP TABLE t;\nCOMMIT;\n")
    assert "-- line 3, row t: why" in text
