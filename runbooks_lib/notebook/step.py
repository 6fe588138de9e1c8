"""One step of a run, as its notebook sees it: ask questions, have the answers recorded, close with a verdict.

Every answer is on disk before the gate judges it: what stopped a run is evidence too.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from runbooks_lib.archive.files import write_json, write_text
from runbooks_lib.archive.notebooks import code_digest
from runbooks_lib.archive.plans import find_plan, keep_plan
from runbooks_lib.archive.run import (
    SEALED_BY_RUNNER,
    Run,
    all_runs,
    now,
    runs_folder,
    step_name,
    unfinished,
)
from runbooks_lib.checks import Check
from runbooks_lib.errors import ExecutionError, PreconditionFailed, RunbookError
from runbooks_lib.findings import CLOSING, Answer, Finding, Verdict, could_not_run, gate, worst
from runbooks_lib.package import library_digest
from runbooks_lib.phase import STEPS, Phase, load_phase, shipped_ids
from runbooks_lib.postgres.session.connect import Sessions

SCHEMA_VERSION = 1
OURS = "This is a defect of the runbooks: report it."


class Step:
    """A step of a run in progress. Notebooks get one from `open_step`."""

    seals = True  # without the runner, closing the last step seals the run

    def __init__(self, name: str, phase: Phase, run: Run, *, apply: bool) -> None:
        self.name = name
        self.phase = phase
        self.run = run
        self.apply = apply
        self.sessions = Sessions(phase.targets, application_name=f"runbooks {name} {run.id}", run=run.id)
        self.path = run.path / f"{step_name(name)}.json"
        self._clock = time.monotonic()
        self._findings: list[Finding] = []
        self._made: dict[str, str | None] = {}  # the files that this step has made, with their SHA-256
        self._record: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "step": name,
            "run": run.id,
            "phase": phase.id,
            "mode": "apply" if apply else "plan",
            "code": code_digest(),
            "library": library_digest(),
            "started_at": now(),
            "finished_at": None,
            "duration_s": None,
            "verdict": None,
            "answers": {},
        }
        run.note({self.path.name: None, run.notebook(name).name: None})  # those of an earlier execution
        self._write()

    def arm(self) -> None:
        """Let this step write, and note in its record and in run.json that it may."""
        self.apply = True
        self._record["mode"] = "apply"
        self._write()
        if self.run.header()["mode"] != "apply":
            self.run.update(mode="apply")

    def ask(self, question: Callable[..., Answer], /, **options: Any) -> Answer:
        """Ask one question of the step's module and record the answer before anybody judges it.

        Calls `question(phase, sessions, **options)`. Whatever it raises becomes an ERROR finding, and so does an
        answer without findings: a check that could not run is never a PASS. A defect of ours is also raised.
        """
        began, clock = now(), time.monotonic()
        defect: Exception | None = None
        try:
            answer = question(self.phase, self.sessions, **options)
            if not answer.findings:
                raise ExecutionError(f"Nothing was found out about `{question.__name__}`.", OURS)
        except RunbookError as error:
            answer = Answer(
                findings=(could_not_run(Check.STEP_IS_CARRIED_OUT, "-", question.__name__, error),)
            )
        except Exception as error:  # noqa: BLE001 -- whatever it is, it is evidence
            what = ExecutionError(f"{type(error).__name__}: {error}", OURS)
            answer = Answer(
                findings=(could_not_run(Check.STEP_IS_CARRIED_OUT, "-", question.__name__, what),)
            )
            defect = error
        self._keep(question, began, clock, answer)
        if defect is not None:
            raise defect
        return answer

    def facts(self, step: str, question: str) -> Mapping[str, Any]:
        """Return the facts that a step of this run recorded for a question.

        Raises PreconditionFailed, naming the notebook to run first, when there are none, or when the answer closed
        that step's gate: nothing may be built on it.
        """
        record = self._record if step == self.name else self.run.record(step)
        answer = (record or {}).get("answers", {}).get(question)
        if answer is None:
            raise PreconditionFailed(
                f"This run has no answer of step {step} to `{question}`.",
                f"Run {step_name(step)}.ipynb first, with the same run folder: {self.run.path}",
            )
        if answer["verdict"] in CLOSING:
            raise PreconditionFailed(
                f"The answer of step {step} to `{question}` is {answer['verdict']} in this run.",
                f"Mend what {step_name(step)}.ipynb names and run it again, with the same run folder: {self.run.path}",
            )
        facts: Mapping[str, Any] = answer["facts"]
        return facts

    def evidence(self) -> dict[str, dict[str, Any]]:
        """Return what every step of this run recorded so far, this one included."""
        return self.run.evidence()

    @property
    def code(self) -> str:
        """Return the digest of the notebooks' code, as the plan hashes it."""
        return code_digest()

    def save(self, name: str, text: str) -> Path:
        """Write a text file of the run, atomically and with secrets masked; return its path."""
        path = self.run.path / name
        self._made[name] = write_text(path, text)
        return path

    def planned(self, confirm: str) -> Mapping[str, Any] | None:
        """Return the facts of the plan that `confirm` names, of this run or of an earlier one; None without any.

        Its `ours` says whether it was made in this run: only then may an interrupted apply be taken up again.
        """
        found = find_plan(self.run, confirm)
        return None if found is None else {**found, "ours": found["run"] == self.run.id}

    def applied_plan(self) -> Mapping[str, Any] | None:
        """Return the facts of the plan that this run confirmed and applied; None as long as it has not.

        Whoever writes after the baseline writes under the same confirmation, and step 3 is where it is checked.
        """
        record = self.run.record("baseline_migration") or {}
        answers = record.get("answers", {})
        if not record.get("finished_at") or not answers.get("apply", {}).get("facts", {}).get("applied"):
            return None
        facts: Mapping[str, Any] = answers["plan"]["facts"]
        return facts

    def rehearsed_plan(self) -> Mapping[str, Any] | None:
        """Return the facts of the plan that this run has rehearsed and not applied; None where this step applies.

        What it makes is not there yet: whoever looks for it in a run that only plans judges it later.
        """
        answers = (self.run.record("baseline_migration") or {}).get("answers", {})
        rehearsed = answers.get("rehearse", {}).get("verdict", Verdict.ERROR) not in CLOSING
        if self.apply or not rehearsed or answers.get("apply", {}).get("facts", {}).get("applied"):
            return None
        facts: Mapping[str, Any] = answers["plan"]["facts"]
        return facts

    def schema_dump(self, target: str) -> Path | None:
        """Return this run's dump of a target's schema; None when there is none, or its gate closed."""
        answer = (self.run.record("backup") or {}).get("answers", {}).get("dump")
        if answer is None or answer["verdict"] in CLOSING or target not in answer["facts"].get("dumps", {}):
            return None
        return self.folder("backup") / str(answer["facts"]["dumps"][target]["path"])

    def superuser_objects(self) -> list[str]:
        """Return the objects that this run's scratch servers may make by a superuser, as its backup was proved."""
        answer = (self.run.record("backup") or {}).get("answers", {}).get("prove", {})
        return list(answer.get("facts", {}).get("superuser_objects", []))

    def folder(self, name: str) -> Path:
        """Return a folder of the run: backup or plan."""
        return self.run.path / name

    def close(self) -> Answer:
        """Give the step its verdict, write it down, close the sessions, and close the gate if it is FAIL or ERROR.

        Without the runner the last step also finishes and seals the run.
        Returns one row: verdict, findings, evidence file and its SHA-256, the next notebook.
        Raises GateClosed.
        """
        self.sessions.close()
        self._record |= {
            "finished_at": now(),
            "duration_s": round(time.monotonic() - self._clock, 3),
            "verdict": worst(self._findings),
        }
        digest = self._write()
        self.run.note({**self._made, self.path.name: digest})
        gate(self._findings)
        if self.seals and self.name == STEPS[-1] and os.environ.get(SEALED_BY_RUNNER) != self.run.id:
            from runbooks_lib.execution.finish import finish_by_hand

            finish_by_hand(self.run)
        position = STEPS.index(self.name) + 1
        following = (
            step_name(STEPS[position]) + ".ipynb" if position < len(STEPS) else "none: this was the last"
        )
        row = {
            "step": step_name(self.name),
            "verdict": worst(self._findings).value,
            "findings": len(self._findings),
            "evidence": str(self.path),
            "SHA-256": digest,
            "next": following,
        }
        return Answer(findings=tuple(self._findings), rows=(row,))

    def _keep(self, question: Callable[..., Answer], began: str, clock: float, answer: Answer) -> None:
        self._record["answers"][question.__name__] = {
            "asked": (question.__doc__ or "").strip().partition("\n")[0],
            "started_at": began,
            "duration_s": round(time.monotonic() - clock, 3),
            "verdict": answer.verdict,
            "findings": [finding.to_dict() for finding in answer.findings],
            "facts": answer.facts,
        }
        self._findings = [
            Finding.from_dict(row) for kept in self._record["answers"].values() for row in kept["findings"]
        ]
        self._write()
        if "confirmation" in answer.facts:
            self._made |= keep_plan(self.run, answer.facts)

    def _write(self) -> str:
        return write_json(self.path, self._record)


def take_part(name: str, *, phase: str, run: str = "", begin: bool = True) -> tuple[Phase, Run]:
    """Load the phase and find the run that a step takes part in, or make it if the step may `begin` one.

    The phase is that of the run: its targets have the services that the run was begun with.
    `run` is its folder; empty: the newest unfinished run of the phase, and for preflight a new one unless that has
    only been begun. `phase` empty: that of the archive's newest unfinished run, else the only one that is shipped.
    Raises SpecError, PreconditionFailed or EvidenceError.
    """
    found = Run.open(Path(run)) if run else None
    loaded = load_phase(phase or phase_in_progress(found))
    if found is None:
        newest = unfinished(runs_folder(), loaded.id)
        if newest is not None and (name != STEPS[0] or not newest.evidence()):
            found = newest
        elif begin:
            found = Run.create(runs_folder(), loaded)
        else:
            raise PreconditionFailed(
                f"No run of {loaded.id} is in progress in {runs_folder()}.",
                f"Begin one: run {step_name(STEPS[0])}.ipynb.",
            )
    return found.at_its_services(loaded), found


def phase_in_progress(run: Run | None = None) -> str:
    """Return the phase of a run, else of the archive's newest run while it goes on, else the only one shipped.

    Raises PreconditionFailed when neither says which.
    """
    newest = run or max(all_runs(runs_folder()), key=lambda each: each.id, default=None)
    if newest is not None and (run or newest.header()["finished_at"] is None):
        return str(newest.header()["phase"]["ref"])
    if len(shipped_ids()) == 1:
        return shipped_ids()[0]
    raise PreconditionFailed(
        "No phase is named, and no run is in progress.",
        f"Name one in the parameter phase, or begin a run in 00_start.ipynb: {', '.join(shipped_ids())}.",
    )


def checked_apply(apply: object) -> bool:
    """Return the parameter apply. Raises PreconditionFailed when it is no boolean."""
    if not isinstance(apply, bool):
        raise PreconditionFailed(
            f"The parameter apply is {apply!r}, which is no boolean.",
            "Pass it as a boolean: papermill -p apply True; with -r it would be a text, and every text is true.",
        )
    return apply


def open_step(name: str, *, phase: str = "", run: str = "", apply: bool = False) -> Step:
    """Open a step for a notebook that papermill executes: find its run, start the step's record.

    Raises SpecError, PreconditionFailed or EvidenceError.
    """
    writes = checked_apply(apply)
    loaded, found = take_part(name, phase=phase, run=run)
    found.reopen()  # nothing happens while it goes on
    step = Step(name, loaded, found, apply=False)
    if writes:
        step.arm()
    return step
