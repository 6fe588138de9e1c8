"""A run in short: for a program (`--json`), and for the page of a GitHub job."""

from __future__ import annotations

import html
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runbooks_lib.archive.masking.mask import redact
from runbooks_lib.archive.run import Run
from runbooks_lib.checks import Check
from runbooks_lib.errors import EvidenceError, RunbookError
from runbooks_lib.evidence import step_name
from runbooks_lib.findings import CLOSING, Finding, Verdict, could_not_run
from runbooks_lib.typed import Typed, plain

SHOWN = 50  # closing findings in a job's summary, of which GitHub shows 1 MiB
MARKS = {Verdict.PASS: "✅", Verdict.OPEN: "🟡", Verdict.SKIP: "⚪", Verdict.FAIL: "❌", Verdict.ERROR: "🛑"}


class PlanTold(Typed):
    """The plan of a run, and what confirms it."""

    hash: str
    confirmation: str


class OpenItem(Typed):
    """An open item of the checklist."""

    object: str
    have: str


class Closing(Typed, omit_defaults=True):
    """A finding that closed a gate, with its step and question; both are "-" where the run itself was stopped."""

    step: str
    question: str
    check: str
    target: str
    object: str
    have: str
    want: str
    verdict: Verdict
    hint: str
    note: str = ""


class Told(Typed):
    """What `--json` prints of a run beside its header: `findings` counts them by verdict."""

    folder: str
    plan: PlanTold | None
    findings: dict[str, int]
    open: list[OpenItem]
    closing: list[Closing]


def result(run: Run) -> dict[str, Any]:
    """Return what `--json` prints of a run: its header as it stands there, and what `Told` adds."""
    evidence = run.evidence()
    all_of_them = list(evidence.judged())
    counted = Counter(each.finding.verdict for each in all_of_them)
    plan = evidence.plan
    closing = [
        (each.step, each.question, each.finding) for each in all_of_them if each.finding.verdict in CLOSING
    ]
    told = Told(
        folder=str(run.path),
        plan=PlanTold(hash=plan.hash, confirmation=plan.confirmation) if plan else None,
        findings={verdict.value: counted[verdict] for verdict in Verdict},
        open=[
            OpenItem(object=each.finding.object, have=each.finding.have)
            for each in all_of_them
            if each.finding.check == Check.CHECKLIST_ITEM_HOLDS and each.finding.verdict is Verdict.OPEN
        ],
        closing=[
            *(_closing_of(*each) for each in closing),
            *(_closing_of(step, "-", stop) for step, stop in evidence.stops()),
        ],
    )
    return {**run.header_json(), **plain(told)}


def _closing_of(step: str, question: str, finding: Finding) -> Closing:
    return Closing(
        step=step,
        question=question,
        check=finding.check,
        target=finding.target,
        object=finding.object,
        have=finding.have,
        want=finding.want,
        verdict=finding.verdict,
        hint=finding.hint,
        note=finding.note,
    )


def stopped(run: Run | None, error: RunbookError) -> dict[str, Any]:
    """Return what `--json` prints when an error ended a run, or came before there was one; secrets are masked.

    As `result`; before there is a run, `verdict`, `exit_code`, `findings`, `open` and `closing` alone.
    """
    told: dict[str, Any] = {"findings": {}, "open": [], "closing": []} if run is None else result(run)
    if not told["closing"]:
        masked = RunbookError(redact(error.what_happened), redact(error.what_to_do))
        stop = could_not_run(Check.STEP_IS_CARRIED_OUT, "-", "run", masked)
        told["closing"] = [{"step": "-", "question": "-", **stop.to_dict()}]
    told |= {"verdict": Verdict.ERROR, "exit_code": error.exit_code}
    return told


def append_summary(run: Run) -> Path | None:
    """Append the run's summary to the file that GITHUB_STEP_SUMMARY names; return it, None when it names none.

    Raises EvidenceError when the file cannot be written.
    Source: https://docs.github.com/actions/reference/workflow-commands-for-github-actions#adding-a-job-summary
    """
    name = os.environ.get("GITHUB_STEP_SUMMARY")
    if not name:
        return None
    try:
        with Path(name).open("a", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(redact(summary(run)))
    except OSError as error:
        raise EvidenceError(
            f"The job summary {name} could not be written: {error.strerror or error}.",
            "The run folder is whole; unset GITHUB_STEP_SUMMARY where this is no GitHub job.",
        ) from error
    return Path(name)


def summary(run: Run) -> str:
    """Return the run's summary as GitHub's Markdown: steps, what closed the gate, open items, confirmation."""
    told = result(run)
    evidence = run.evidence()
    header, verdict, seconds = evidence.header, evidence.verdict, evidence.durations_s
    rows = [
        f"| {step_name(step)} | {MARKS[had]} {had} | {f'{seconds[step]:.1f}' if step in seconds else ''} |"
        for step, had in evidence.verdicts.items()
    ]
    ended = "complete" if header.finished_at else "stopped"
    lines = [
        f"## {MARKS[verdict]} {_cell(header.phase.id)}: {verdict}",
        f"{header.mode} run `{header.id}`, {ended}, {sum(told['findings'].values())} findings",
        "| step | verdict | seconds |\n|---|---|--:|\n" + "\n".join(rows),
    ]
    lines += _closing(told["closing"])
    if told["open"]:
        lines.append("\n".join(["**Open**\n", *(f"- [ ] {_cell(o['object'])}" for o in told["open"])]))
    if told["plan"] and header.mode == "plan" and not told["closing"]:
        lines.append(
            "Plan only: no database was written to. "
            f"To apply it: `--apply --confirm {told['plan']['confirmation']}`"
        )
    return "\n\n".join(lines) + "\n\n"


def _closing(findings: list[Mapping[str, Any]]) -> list[str]:
    if not findings:
        return []
    rows = [
        f"| {f['verdict']} | `{f['check']}` | {_cell(f['target'])} | {_cell(f['object'])} | {_cell(f['have'])} "
        f"| {_cell(f['want'])} | {_cell(f['hint'])} |"
        for f in findings[:SHOWN]
    ]
    table = (
        "| verdict | check | target | object | have | want | what to do |\n|---|---|---|---|---|---|---|\n"
    )
    more = len(findings) - SHOWN
    return [table + "\n".join(rows), *([f"… and {more} more"] if more > 0 else [])]


def _cell(text: str, longest: int = 300) -> str:
    """Return a text so that it is one cell of a table and nothing but text."""
    line = " ".join(text.split())
    line = line if len(line) <= longest else line[: longest - 1] + "…"
    line = html.escape(line, quote=False)
    for special in "\\`*_[]|~#":
        line = line.replace(special, f"\\{special}")
    return line
