"""A step that a person walks through at a front end: guarded against the wrong order, and archived as it goes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from IPython import get_ipython
from IPython.display import display

from runbooks_lib.archive.notebooks import notebooks_folder, outline
from runbooks_lib.archive.run import Run, runs_folder, unfinished
from runbooks_lib.errors import EvidenceError, PreconditionFailed, RunbookError
from runbooks_lib.evidence import step_name
from runbooks_lib.findings import CLOSING, Answer, Finding
from runbooks_lib.notebook import step as headless
from runbooks_lib.notebook.front_end import front_end, link_to
from runbooks_lib.notebook.progress_line import ProgressLine
from runbooks_lib.notebook.recorder import Recorder
from runbooks_lib.notebook.step import Step, checked_apply, take_part
from runbooks_lib.notebook.tables import prose
from runbooks_lib.phase import STEPS, Phase
from runbooks_lib.prisma.named import PROJECT_VARIABLE
from runbooks_lib.progress import listening


class WalkedStep(Step):
    """A step whose kernel may be old, whose notebook is archived cell by cell, and which is sealed after its last."""

    seals = False  # the notebook's last cell is still to be archived

    def __init__(self, name: str, phase: Phase, run: Run, *, chosen: bool) -> None:
        self.before = run.record(name)  # what was decided there is remembered
        super().__init__(name, phase, run, apply=False)
        self.chosen = chosen  # the run was named by the operator

    def ask(self, question: Callable[..., Answer], /, **options: Any) -> Answer:
        """Ask as `Step.ask` does, unless this kernel's run is no longer the one in progress.

        Raises PreconditionFailed or EvidenceError.
        """
        self._require_current()
        line = ProgressLine()
        try:
            with listening(line.tell):
                return super().ask(question, **options)
        finally:
            line.close()

    def close(self) -> Answer:
        """Close as `Step.close` does, unless this kernel's run is no longer the one in progress.

        Raises PreconditionFailed while there are questions that were not asked, naming them and what stopped before.
        """
        self._require_current()
        headings = outline(notebooks_folder() / f"{step_name(self.name)}.ipynb")
        if left := [heading for question, heading in headings.items() if question not in self.record.answers]:
            raise PreconditionFailed(f"Not reached: {' '.join(left)}", _why_not_reached(self.record.findings))
        return super().close()

    def superseded(self) -> RunbookError | None:
        """Return why this kernel's run or record is no longer the one in progress; None while it is."""
        again = "Restart the kernel and run all cells (Kernel ▸ Restart Kernel and Run All Cells)."
        if not self.run.path.is_dir():
            return EvidenceError(
                f"The run folder {self.run.path} is gone.", f"Put it back, or begin a new run. {again}"
            )
        if self.run.sealed:
            return EvidenceError(f"The run {self.run.id} is sealed meanwhile.", f"Begin a new run. {again}")
        newest = unfinished(runs_folder(), self.phase.id)
        if not self.chosen and newest is not None and newest.id != self.run.id:
            return PreconditionFailed(
                f"This kernel takes part in run {self.run.id}, and run {newest.id} was begun since.", again
            )
        record = self.run.record(self.name)
        if record is None or record.started_at != self._record.started_at:
            return PreconditionFailed(
                f"This kernel is stale: step {self.name} of run {self.run.id} was opened again elsewhere.",
                again,
            )
        return None

    def _require_current(self) -> None:
        if (why := self.superseded()) is not None:
            raise why


def open_step(name: str, *, phase: str = "", run: str = "", apply: bool = False) -> Step:
    """Open a step for a notebook, whoever executes it.

    At a front end the steps before it must have passed, and what is run is archived in the run folder. A step may
    write when `apply` says so or when the run's plan was confirmed.
    Raises SpecError, PreconditionFailed or EvidenceError.
    """
    if not front_end():
        return headless.open_step(name, phase=phase, run=run, apply=apply)
    from runbooks_lib.notebook.banner import Banner  # ipywidgets, of no use where nobody is

    banner = Banner(get_ipython(), outline(notebooks_folder() / f"{step_name(name)}.ipynb"))
    banner.show()
    writes = checked_apply(apply)
    loaded, found = take_part(name, phase=phase, run=run, begin=name == STEPS[0])
    if project := found.header().prisma_project:
        os.environ[PROJECT_VARIABLE] = project  # that of the run, whatever JupyterLab was started with
    _require_order(name, found)
    found.reopen()
    step = WalkedStep(name, loaded, found, chosen=bool(run))
    banner.record = lambda: step.record
    if writes or (name != "baseline_migration" and found.header().mode == "apply"):
        step.arm()
    _record(step, {"phase": phase, "run": run, "apply": apply})
    _greet(step)
    return step


def _why_not_reached(findings: Sequence[Finding]) -> str:
    """Return what stopped a notebook before its last cell: a gate, or somebody who has not decided yet."""
    stopped = next((f for f in findings if f.verdict in CLOSING), None)
    if stopped is None:
        return "A cell above waits for you, or was not run: run all cells."
    return f"Stopped by {stopped.verdict} {stopped.check} {stopped.target} {stopped.object}. {stopped.hint}".strip()


def _require_order(name: str, run: Run) -> None:
    """Raise PreconditionFailed, naming the notebook to run, unless each step before has passed, in their order."""
    ended = ""
    for earlier in STEPS[: STEPS.index(name)]:
        record = run.record(earlier)
        if record is None:
            how = "has not been run"
        elif record.finished_at is None or record.verdict is None:
            how = "was not run to its end"
        elif record.verdict in CLOSING:
            how = f"is {record.verdict}"
        elif record.started_at < ended:
            how = "is older than a step before it, which was run again"
        else:
            ended = record.finished_at
            continue
        raise PreconditionFailed(
            f"Step {earlier} {how} in run {run.id}, and {name} builds on it.",
            f"Run {step_name(earlier)}.ipynb first, then this notebook.",
        )


def _record(step: WalkedStep, parameters: dict[str, Any]) -> None:
    """Have this kernel archive what it runs from this cell on."""

    def after() -> None:
        record = step.run.record(step.name) if step.name == STEPS[-1] else None
        if record and record.finished_at:
            recorder.stop()
            _seal(step.run)

    recorder = Recorder(
        get_ipython(),
        step.name,
        step.run.notebook(step.name),
        parameters=parameters,
        current=lambda: step.superseded() is None,
        after=after,
    )
    recorder.start()


def _seal(run: Run) -> None:
    """Seal a run whose last notebook has just been archived, and say where it is, or why it could not be."""
    from runbooks_lib.execution.finish import finish_by_hand  # it draws pages: of no use in other kernels

    try:
        finish_by_hand(run)
    except RunbookError as error:
        display(prose(f"**The run is not sealed.** {error}"), raw=True)
        return
    link = link_to(run.path / "report.html")
    display(
        prose(
            f"**The run is sealed**: [read its report]({link}). To verify it: `runbooks verify {run.path}`"
        ),
        raw=True,
    )


def _greet(step: WalkedStep) -> None:
    """Say which run this is, and whether this step was done in it before."""
    before = step.before
    lines = [f"Run `{step.run.id}` of {step.phase.id}, in `{step.run.path}`."]
    if before and before.verdict:
        lines.append(
            f"This step was {before.verdict} in this run at {before.finished_at}; what follows replaces that "
            "evidence. What was decided is remembered, and what was applied stays."
        )
    display(prose("  \n".join(lines)), raw=True)
