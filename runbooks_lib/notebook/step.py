"""One step of a run, as its notebook sees it: ask questions, have the answers recorded, close with a verdict.

Every answer is on disk before the gate judges it: what stopped a run is evidence too.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from runbooks_lib.archive.files import write_json, write_text
from runbooks_lib.archive.notebooks import code_digest
from runbooks_lib.archive.plans import find_plan, keep_plan
from runbooks_lib.archive.run import (
    SEALED_BY_RUNNER,
    Run,
    all_runs,
    now,
    runs_folder,
    unfinished,
)
from runbooks_lib.checks import Check
from runbooks_lib.errors import ExecutionError, PreconditionFailed, RunbookError
from runbooks_lib.evidence import SCHEMA_VERSION, Answered, Evidence, Record, step_name
from runbooks_lib.facts import FACTS
from runbooks_lib.facts.base import Facts
from runbooks_lib.facts.databases import Dumps, Proof
from runbooks_lib.facts.writing import Applied, KeptPlan, Plan
from runbooks_lib.findings import CLOSING, Answer, could_not_run, gate, worst
from runbooks_lib.package import library_digest
from runbooks_lib.phase import STEPS, Phase, load_phase, shipped_ids
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.typed import Moment

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
        self._made: dict[str, str | None] = {}  # the files that this step has made, with their SHA-256
        self._record = Record(
            schema_version=SCHEMA_VERSION,
            step=name,
            run=run.id,
            phase=phase.id,
            mode="apply" if apply else "plan",
            code=code_digest(),
            library=library_digest(),
            started_at=now(),
            finished_at=None,
            duration_s=None,
            verdict=None,
            answers={},
        )
        run.note({self.path.name: None, run.notebook(name).name: None})  # those of an earlier execution
        self._write()

    def arm(self) -> None:
        """Let this step write, and note in its record and in run.json that it may."""
        self.apply = True
        self._write(mode="apply")
        if self.run.header().mode != "apply":
            self.run.update(mode="apply")

    def ask(self, question: Callable[..., Answer], /, **options: Any) -> Answer:
        """Ask one question of the step's module and record the answer before anybody judges it.

        Calls `question(phase, sessions, **options)`. Whatever it raises becomes an ERROR finding, and so does an
        answer without findings: a check that could not run is never a PASS. A defect of ours is also raised.
        """
        began, clock = now(), time.monotonic()
        if question.__name__ in self._record.answers:
            self.sessions.retry()
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
        return answer if answer.facts else replace(answer, facts=_nothing(self.name, question.__name__))

    def facts(self, step: str, question: str) -> Any:
        """Return the facts that a step of this run recorded for a question, in the question's own type.

        Raises PreconditionFailed, naming the notebook to run first, when there are none, or when the answer closed
        that step's gate: nothing may be built on it.
        """
        record = self._record if step == self.name else self.run.record(step)
        answer = record.answers.get(question) if record else None
        if answer is None:
            raise PreconditionFailed(
                f"This run has no answer of step {step} to `{question}`.",
                f"Run {step_name(step)}.ipynb first, with the same run folder: {self.run.path}",
            )
        if answer.verdict in CLOSING:
            raise PreconditionFailed(
                f"The answer of step {step} to `{question}` is {answer.verdict} in this run.",
                f"Mend what {step_name(step)}.ipynb names and run it again, with the same run folder: {self.run.path}",
            )
        return answer.facts

    @property
    def record(self) -> Record:
        """Return what this step has recorded so far."""
        return self._record

    def evidence(self) -> Evidence:
        """Return header and records of this run as they are now, this step's own included."""
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

    def planned(self, confirm: str) -> KeptPlan | None:
        """Return the plan that `confirm` names, of this run or of an earlier one; None without any."""
        return find_plan(self.run, confirm)

    def applied_plan(self) -> Plan | None:
        """Return the plan that this run confirmed and applied; None as long as it has not.

        Whoever writes after the baseline writes under the same confirmation, and step 3 is where it is checked.
        """
        record = self.run.record("baseline_migration")
        ended = record is not None and record.finished_at and record.facts(Applied).applied
        return record.facts(Plan) if record is not None and ended else None

    def rehearsed_plan(self) -> Plan | None:
        """Return the plan that this run has rehearsed and not applied; None where this step applies.

        What it makes is not there yet: whoever looks for it in a run that only plans judges it later.
        """
        record = self.run.record("baseline_migration")
        rehearsal = record.answers.get("rehearse") if record else None
        if self.apply or record is None or rehearsal is None or rehearsal.verdict in CLOSING:
            return None
        return None if record.facts(Applied).applied else record.facts(Plan)

    def schema_dump(self, target: str) -> Path | None:
        """Return this run's dump of a target's schema; None when there is none, or its gate closed."""
        record = self.run.record("backup")
        if record is None or "dump" not in record.answers or record.answers["dump"].verdict in CLOSING:
            return None
        made = record.facts(Dumps).dumps.get(target)
        return self.folder("backup") / made.path if made else None

    def superuser_objects(self) -> list[str]:
        """Return the objects that this run's scratch servers may make by a superuser, as its backup was proved."""
        record = self.run.record("backup")
        return list(record.facts(Proof).superuser_objects) if record else []

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
        findings = self._record.findings
        duration_s = round(time.monotonic() - self._clock, 3)
        digest = self._write(finished_at=now(), duration_s=duration_s, verdict=worst(findings))
        self.run.note({**self._made, self.path.name: digest})
        gate(findings)
        if self.seals and self.name == STEPS[-1] and os.environ.get(SEALED_BY_RUNNER) != self.run.id:
            from runbooks_lib.execution.finish import finish_by_hand

            finish_by_hand(self.run)
        position = STEPS.index(self.name) + 1
        following = (
            step_name(STEPS[position]) + ".ipynb" if position < len(STEPS) else "none: this was the last"
        )
        row = {
            "step": step_name(self.name),
            "verdict": worst(findings).value,
            "findings": len(findings),
            "evidence": str(self.path),
            "SHA-256": digest,
            "next": following,
        }
        return Answer(findings=findings, rows=(row,))

    def _keep(self, question: Callable[..., Answer], began: Moment, clock: float, answer: Answer) -> None:
        kept = Answered(
            asked=(question.__doc__ or "").strip().partition("\n")[0],
            started_at=began,
            duration_s=round(time.monotonic() - clock, 3),
            verdict=answer.verdict,
            findings=answer.findings,
            facts=answer.facts,
        )
        self._write(answers={**self._record.answers, question.__name__: kept})
        if isinstance(answer.facts, Plan):
            self._made |= keep_plan(self.run, answer.facts)

    def _write(self, **changed: Any) -> str:
        """Write the record as it is with these fields changed; return its SHA-256."""
        self._record = msgspec.structs.replace(self._record, **changed)
        return write_json(self.path, self._record.to_json())


def _nothing(step: str, question: str) -> Facts:
    """Return empty facts in the question's own type."""
    return FACTS.get((step, question), Facts)()


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
        if newest is not None and (name != STEPS[0] or not newest.evidence().records):
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
    if newest is not None and (run or newest.header().finished_at is None):
        return newest.header().phase.ref
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
