"""The end of a run on the terminal: its table, what is open or stopped it, and one line with the next command."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from runbooks_lib.cli.progress import print_table
from runbooks_lib.cli.terminal import console, say, say_lines, shown
from runbooks_lib.drafting.phase_file import waits_for_reason
from runbooks_lib.evidence import step_name
from runbooks_lib.facts.contents import Checklist
from runbooks_lib.findings import CLOSING, Verdict, same_fault, told
from runbooks_lib.phase import text_in
from runbooks_lib.report.done import done, to_do

if TYPE_CHECKING:
    from runbooks_lib.execution.runner import Result

REPORT = "report.html"


def print_end(
    result: Result, *, lang: str, again: Sequence[str], chosen: Sequence[str] = (), file: Path | None = None
) -> None:
    """Print a run's end: the steps, its open items and its last line on stdout; what stopped it on stderr.

    `lang` is the language of the open items, which are texts of the phase. `again` are the words that run the phase
    again, and `chosen` those that were chosen for this run, and that one which is resumed has already. `file` is the
    phase's: where it waits for a reason, a red plan says so. Of a run that was interrupted only the last line is
    printed: whoever did so knows why.
    """
    if not result.interrupted:
        _print_steps(result, lang)
        if reason := waits_in(file) if file and result.verdict is Verdict.FAIL else "":
            say(reason)
    say(_last_line(result, again, chosen))


def waits_in(file: Path) -> str:
    """Return what a person has to write into a drafted phase first, without which its plan is red; "" when nothing."""
    line = waits_for_reason(file.read_text("utf-8")) if file.is_file() else None
    return f"first: say why in {file}, line {line}, if that is to be, and take its # away" if line else ""


def _print_steps(result: Result, lang: str) -> None:
    print_table(result)
    report = result.run.record("report") if "report" in [each.step for each in result.outcomes] else None
    for item in report.facts(Checklist).items if report else ():
        if item.verdict is Verdict.OPEN:
            counted = f"{item.passed} of {item.judged} findings passed"
            why = text_in(item.reason, lang) if item.reason else counted
            say(f"open item: {text_in(item.text, lang)} ({why})")
    _print_stop(result)


def _last_line(result: Result, again: Sequence[str], chosen: Sequence[str]) -> str:
    """Return verdict, what was done, where the report is, and the whole command that is next."""
    run = result.run
    page = run.path / REPORT
    stopped = next((o.step for o in result.outcomes if o.exit_code), None)
    what = f"stopped at {step_name(stopped)}, {done(run.evidence())}" if stopped else done(run.evidence())
    return " · ".join(
        (
            "interrupted" if result.interrupted else str(result.verdict),
            what,
            f"report: {page if page.exists() else run.path}",
            f"next: {shlex.join(_next(result, again, chosen))}",
        )
    )


def _next(result: Result, again: Sequence[str], chosen: Sequence[str]) -> list[str]:
    run, evidence = result.run, result.run.evidence()
    plan, applies = evidence.plan, evidence.header.mode == "apply"
    confirm = ["--apply", "--confirm", plan.confirmation] if plan else []
    if not applies and evidence.header.finished_at is None and result.verdict is Verdict.FAIL:
        # What mends it may be in the phase: a run that is resumed has that of its beginning.
        return [*again, *chosen]
    if evidence.header.finished_at is None:
        return [*again, "--resume", run.id, *(confirm if applies else [])]
    if not applies and plan and to_do(plan):
        return [*again, *chosen, *confirm]
    return ["runbooks", "verify", str(run.path)]


def _print_stop(result: Result) -> None:
    for outcome in result.outcomes:
        if not outcome.exit_code:
            continue
        closing = [f for f in outcome.findings if f.verdict in CLOSING]
        console(err=True).print(shown(f"stopped at {step_name(outcome.step)}:", style="bold"))
        for finding in same_fault(closing):
            say(f"  {told(finding)}", err=True)
        if outcome.stopped_by is not None and not closing:
            say_lines(f"  {outcome.stopped_by}\n", err=True)
