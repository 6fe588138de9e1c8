"""What a run looks like while it goes on (a live table, or plain lines in CI), and what is left at its end."""

from __future__ import annotations

import shlex
import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table

from runbooks_lib.cli.terminal import console, say, say_lines, shown
from runbooks_lib.evidence import step_name
from runbooks_lib.facts.contents import Checklist
from runbooks_lib.facts.writing import Plan
from runbooks_lib.findings import CLOSING, Verdict
from runbooks_lib.phase import STEPS, text_in

if TYPE_CHECKING:
    from runbooks_lib.execution.runner import Outcome, Result

PROVES = {
    "preflight": "every server, table, label, index and row is as declared",
    "backup": "the schema is dumped, hashed and read back",
    "baseline_migration": "the declared objects exist, and twice is once",
    "prisma_resolve": "Prisma's history says what the database has",
    "seed_verification": "the seed rows are there, on leader and replica",
    "api_routes": "which service has which route",
    "report": "a last look at everything, the checklist, the report",
}
PLAIN_WIDTH = 110  # of the table where there is no terminal
STYLES = {
    Verdict.PASS: "green",
    Verdict.OPEN: "yellow",
    Verdict.FAIL: "bold red",
    Verdict.ERROR: "bold magenta",
    Verdict.SKIP: "dim",
}


class Progress:
    """Shows the steps as they run, on stderr."""

    def __init__(self, title: str) -> None:
        self._console = console(err=True)
        self._title = title
        self._outcomes: list[Outcome] = []
        self._running: tuple[str, float] | None = None
        self._live = Live(
            get_renderable=self._render, console=self._console, refresh_per_second=8, transient=True
        )

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live.start()
        else:
            self._console.print(shown(self._title))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def start(self, step: str) -> None:
        """Show that a step has begun."""
        self._running = (step, time.monotonic())

    def end(self, outcome: Outcome) -> None:
        """Show how a step ended."""
        self._running = None
        self._outcomes.append(outcome)
        if not self._console.is_terminal:
            took = "  kept" if outcome.kept else f"{outcome.duration_s:6.1f} s"
            line = f"{step_name(outcome.step):24} {outcome.verdict:6} {took}"
            self._console.print(shown(line))

    def _render(self) -> Group:
        table = _steps_table(self._outcomes)
        if self._running is not None:
            step, began = self._running
            table.add_row(step_name(step), PROVES[step], Spinner("dots"), f"{time.monotonic() - began:.1f}")
        return Group(shown(self._title), table)


def print_result(result: Result, *, lang: str, apply: bool) -> None:
    """Print a run's end: the steps on stdout with what is open and where the evidence is; what stopped it on stderr.

    `lang` is the language of the open items, which are texts of the phase.
    """
    console(width=None if console().is_terminal else PLAIN_WIDTH).print(_steps_table(result.outcomes))
    report = result.run.record("report") if "report" in [each.step for each in result.outcomes] else None
    for item in report.facts(Checklist).items if report else ():
        if item.verdict is Verdict.OPEN:
            counted = f"{item.passed} of {item.judged} findings passed"
            why = text_in(item.reason, lang) if item.reason else counted
            say(f"open: {text_in(item.text, lang)} ({why})")
    _print_plan(result, apply=apply)
    say(f"run folder: {result.run.path}")
    _print_stop(result)


def _print_plan(result: Result, *, apply: bool) -> None:
    if apply:
        return
    say("plan only: no database was written to")
    record = result.run.record("baseline_migration")
    plan = record.facts(Plan) if record else Plan()
    if result.exit_code == 0 and plan.confirmation:
        say(f"plan hash: {plan.hash}")
        names = result.run.header().superuser_objects
        allowed = "".join(f"--allow-superuser-objects {shlex.quote(name)} " for name in names)
        say(f"to apply it: {allowed}--apply --confirm {plan.confirmation}")


def _print_stop(result: Result) -> None:
    for outcome in result.outcomes:
        if not outcome.exit_code:
            continue
        closing = [f for f in outcome.findings if f.verdict in CLOSING]
        console(err=True).print(shown(f"stopped at {step_name(outcome.step)}:", style="bold"))
        for finding in closing:
            hint = f" {finding.hint}" if finding.hint else ""
            text = f"{finding.check} {finding.target} {finding.object}: have {finding.have}, want {finding.want}.{hint}"
            say(f"  {finding.verdict} {text}", err=True)
        if outcome.stopped_by is not None and not closing:
            say_lines(f"  {outcome.stopped_by}\n", err=True)
        say(f"  evidence: {result.run.notebook(outcome.step)}", err=True)
        if outcome.step != STEPS[-1]:
            say("  The steps after it were not run.", err=True)


def _steps_table(outcomes: list[Outcome] | tuple[Outcome, ...]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("step", "what it proves", "verdict"):
        table.add_column(heading, no_wrap=heading != "what it proves")
    table.add_column("seconds", justify="right")
    for outcome in outcomes:
        verdict = shown(outcome.verdict, style=STYLES[outcome.verdict])
        took = "kept" if outcome.kept else f"{outcome.duration_s:.1f}"
        table.add_row(step_name(outcome.step), PROVES[outcome.step], verdict, took)
    return table
