"""Carries a phase through its notebooks by papermill, and believes evidence only.

Papermill's cell status is no evidence. A step has passed when its own record says so and is closed, and every code
cell of the archived notebook has an execution count.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from runbooks_lib import errors
from runbooks_lib.archive.files import write_notebook
from runbooks_lib.archive.notebooks import notebooks_folder
from runbooks_lib.archive.reader import read_json
from runbooks_lib.archive.run import SEALED_BY_RUNNER, Run, now
from runbooks_lib.errors import INTERRUPTED_EXIT_CODE, EvidenceError, ExecutionError, RunbookError
from runbooks_lib.evidence import StepEnd, step_name
from runbooks_lib.execution.ahead import Ahead
from runbooks_lib.execution.kernels.warm import warm_kernels, without_iri_grammar
from runbooks_lib.findings import CLOSING, Finding, Verdict, worst, worst_of
from runbooks_lib.interrupts import between_callbacks, uninterrupted
from runbooks_lib.phase import STEPS

ENGINE = "runbooks"
CELL_TIMEOUT_S = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a step ended: its verdict, its findings, and what stopped it, if anything did."""

    step: str
    verdict: Verdict
    duration_s: float
    findings: tuple[Finding, ...]
    stopped_by: RunbookError | None = None
    interrupted: bool = False
    kept: str = ""  # why it was not executed again, in a run that was taken up

    @property
    def exit_code(self) -> int:
        """Return 0, or what the command line ends with."""
        if self.interrupted:
            return INTERRUPTED_EXIT_CODE
        if self.stopped_by is not None:
            return self.stopped_by.exit_code
        return errors.GateClosed.exit_code if self.verdict in CLOSING else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a run ended."""

    run: Run
    outcomes: tuple[Outcome, ...]

    @property
    def verdict(self) -> Verdict:
        """Return the worst verdict of the steps; ERROR when there was none."""
        return worst_of(o.verdict for o in self.outcomes)

    @property
    def interrupted(self) -> bool:
        """Return whether somebody ended it before its time."""
        return any(o.interrupted for o in self.outcomes)

    @property
    def exit_code(self) -> int:
        """Return the first exit code that is not 0."""
        return next((o.exit_code for o in self.outcomes if o.exit_code), 0)


@warm_kernels()
def run_notebooks(
    run: Run,
    *,
    phase: str,
    apply: bool,
    confirm: Callable[[], str],
    steps: Sequence[str] = STEPS,
    keep: Mapping[str, str] = MappingProxyType({}),
    on_start: Callable[[str], None] = lambda step: None,
    on_end: Callable[[Outcome], None] = lambda outcome: None,
    cell_timeout_s: int = CELL_TIMEOUT_S,
) -> Result:
    """Execute the steps' notebooks in order until the end or the first that does not pass.

    Writes the executed notebooks and what the steps write themselves to the run folder, and the verdict to
    run.json, whatever happens; then the run is finished and sealed, which no signal interrupts. `confirm` is called
    when the baseline's notebook is due. `keep` names the steps that are not executed again, and why.
    Raises EvidenceError when the run folder cannot be written, or holds a secret at the end.
    """
    run.reopen()
    outcomes: list[Outcome] = []
    due = [step for step in steps if step not in keep]
    without_iri_grammar()
    from runbooks_lib.execution.kernels.spare import spare_kernels

    try:
        with (
            _sealing(run),
            between_callbacks() as signals,
            spare_kernels(),
            Ahead(run, phase, due) as ahead,
        ):
            for step in steps:
                if step in keep:
                    outcomes.append(_kept(run, step, keep[step]))
                    on_end(outcomes[-1])
                    continue
                on_start(step)
                parameters = _parameters(run, step, phase=phase, apply=apply, confirm=confirm)
                outcome = execute_step(
                    run, step, parameters, cell_timeout_s=cell_timeout_s, another_follows=step != due[-1]
                )
                if outcome.exit_code and signals:
                    outcome = _judge(run, step, KeyboardInterrupt(), duration_s=outcome.duration_s)
                outcomes.append(outcome)
                on_end(outcome)
                if signals:
                    raise KeyboardInterrupt
                if outcome.exit_code:
                    break
                ahead.after(step)
    except KeyboardInterrupt as problem:
        outcomes = _cut_short(run, steps, outcomes, problem)
    result = Result(run=run, outcomes=tuple(outcomes))
    with uninterrupted():
        _note_end(run, result)
        from runbooks_lib.execution.finish import finish

        finish(run)
    return result


def _cut_short(
    run: Run, steps: Sequence[str], outcomes: list[Outcome], problem: KeyboardInterrupt
) -> list[Outcome]:
    """Return the outcomes of a run that was interrupted: between two notebooks it is the next one that was."""
    if outcomes and outcomes[-1].interrupted:
        return outcomes
    at = steps[min(len(outcomes), len(steps) - 1)]
    return [*outcomes[: len(steps) - 1], _judge(run, at, problem, duration_s=0.0)]


def _parameters(
    run: Run, step: str, *, phase: str, apply: bool, confirm: Callable[[], str]
) -> dict[str, Any]:
    """Return the parameters of a step's notebook."""
    parameters: dict[str, Any] = {"phase": phase, "run": str(run.path), "apply": apply}
    if step == "baseline_migration":
        parameters["confirm"] = confirm() if apply else ""
    if step == "backup" and (allowed := run.header().superuser_objects):
        parameters["allow_superuser_objects"] = ",".join(allowed)
    return parameters


@contextmanager
def _sealing(run: Run) -> Iterator[None]:
    """Tell the kernels that start in this block that the runner seals the run, and not its last notebook."""
    os.environ[SEALED_BY_RUNNER] = run.id
    try:
        yield
    finally:
        os.environ.pop(SEALED_BY_RUNNER, None)


def _kept(run: Run, step: str, why: str) -> Outcome:
    record = run.record(step)
    assert record is not None
    verdict = record.verdict or Verdict.ERROR
    return Outcome(step=step, verdict=verdict, duration_s=0.0, findings=record.findings, kept=why)


def execute_step(
    run: Run, step: str, parameters: dict[str, Any], *, cell_timeout_s: int, another_follows: bool = False
) -> Outcome:
    """Execute one step's notebook, archive it, and say how it really ended.

    When `another_follows`, its kernel is started meanwhile.

    A record of the step from an earlier execution is removed first: it must not be taken for this one's.
    Raises EvidenceError when the archive cannot be written.
    """
    began = time.monotonic()
    final = run.notebook(step)
    partial = final.with_name(f".{final.stem}.partial.ipynb")
    try:
        record = final.with_suffix(".json")
        run.note({final.name: None, record.name: None})
        final.unlink(missing_ok=True)
        record.unlink(missing_ok=True)
        problem = _execute(
            notebooks_folder() / final.name, partial, parameters, cell_timeout_s, another_follows
        )
        if partial.exists():
            run.note({final.name: write_notebook(final, read_json(partial))})
    except OSError as error:
        raise EvidenceError(
            f"The notebook of step {step} could not be archived: {error}.",
            "Free space or choose another folder with --runs DIR, then run the phase again.",
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return _judge(run, step, problem, duration_s=round(time.monotonic() - began, 3))


def _execute(
    notebook: Path, output: Path, parameters: dict[str, Any], cell_timeout_s: int, another_follows: bool
) -> BaseException | None:
    """Run papermill; return what stopped the notebook, None when it came to its end."""
    without_iri_grammar()
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # its errors are raised, too, and told once
    try:
        papermill.execute_notebook(
            str(notebook),
            str(output),
            parameters=parameters,
            engine_name=ENGINE,
            progress_bar=False,
            execution_timeout=cell_timeout_s,
            another_follows=another_follows,
        )
    except (PapermillExecutionError, DeadKernelError, CellTimeoutError, KeyboardInterrupt) as problem:
        return problem
    except (RunbookError, OSError):
        raise
    except Exception as problem:  # noqa: BLE001 -- a kernel that does not start, say: the run is sealed all the same
        return problem
    return None


def _judge(run: Run, step: str, problem: BaseException | None, *, duration_s: float) -> Outcome:
    record = run.record(step)
    findings = record.findings if record else ()
    stopped_by: RunbookError | None = None
    if problem is not None:
        stopped_by = _as_runbook_error(step, problem)
        verdict = Verdict.ERROR
        if isinstance(stopped_by, errors.GateClosed) and worst(findings) in CLOSING:
            verdict = worst(findings)
    elif missing := _not_executed(run.notebook(step)):
        verdict = Verdict.ERROR
        stopped_by = ExecutionError(
            f"{missing} code cells of {step_name(step)}.ipynb were not executed, though nothing failed.",
            "A cell ended the kernel's work early (sys.exit?); read the archived notebook.",
        )
    elif record is None or record.finished_at is None or record.verdict is None:
        verdict = Verdict.ERROR
        stopped_by = ExecutionError(
            f"{step_name(step)}.ipynb came to its end without a closed record of the step.",
            "Its last cell must be show(step.close()); use the notebooks as they are shipped.",
        )
    else:
        verdict = record.verdict
    return Outcome(
        step=step,
        verdict=verdict,
        duration_s=duration_s,
        findings=findings,
        stopped_by=stopped_by,
        interrupted=isinstance(problem, KeyboardInterrupt),
    )


def _as_runbook_error(step: str, problem: BaseException) -> RunbookError:
    """Return the error that stopped a notebook, of the class that it had in the kernel where that is ours."""
    if isinstance(problem, KeyboardInterrupt):
        return ExecutionError(f"Step {step} was interrupted.", "What it did up to there is archived.")
    kind = getattr(problem, "ename", type(problem).__name__)
    text = getattr(problem, "evalue", str(problem))
    ours = getattr(errors, kind, None)
    if isinstance(ours, type) and issubclass(ours, RunbookError):
        return ours(text)
    meaning = {
        "DeadKernelError": "its kernel died (killed, or out of memory)",
        "KernelNotReadyError": f"its kernel died or did not answer before its first cell ({text})",
        "CellTimeoutError": "a cell took longer than the time-out",
        "KeyboardInterrupt": "its kernel was interrupted",
    }.get(kind, f"{kind}: {text}" if text else kind)
    return ExecutionError(
        f"Step {step} ended without a verdict: {meaning}.",
        f"Read the archived notebook {step_name(step)}.ipynb; what was recorded up to there is kept.",
    )


def _not_executed(notebook: Path) -> int:
    """Count the code cells without an execution count: the only trace of a cell that never ran."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return sum(1 for c in cells if c["cell_type"] == "code" and c["source"] and c["execution_count"] is None)


def _note_end(run: Run, result: Result) -> None:
    complete = {o.step for o in result.outcomes} == set(STEPS) and result.exit_code == 0
    run.update(
        stopped_at=now(),
        finished_at=now() if complete else None,
        verdict=result.verdict,
        exit_code=result.exit_code,
        steps=[
            StepEnd(
                step=o.step,
                verdict=o.verdict,
                duration_s=o.duration_s,
                kept=o.kept or None,
                stopped_by=None if o.stopped_by is None else str(o.stopped_by),
            )
            for o in result.outcomes
        ],
    )
