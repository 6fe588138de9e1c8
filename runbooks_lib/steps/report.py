"""Step 7, report: a last look at every target, the checklist, and the report from evidence.

Each function answers one question of `07_report.ipynb`. Nothing in the report is a constant: what it says is a
finding or a fact that a step of this run recorded, or a text of the phase file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from runbooks_lib.errors import RunbookError
from runbooks_lib.findings import Answer, Finding, Verdict, could_not_run, judge, worst
from runbooks_lib.phase import ChecklistItem, Phase, Role, Target
from runbooks_lib.postgres.connect import Sessions
from runbooks_lib.postgres.inspection import by_object, inspect
from runbooks_lib.postgres.replication import measure_lag
from runbooks_lib.prisma.history import read_rows

Evidence = Mapping[str, Mapping[str, Any]]

PLAN_ONLY = "not applied: this run only plans"


def last_look(phase: Phase, sessions: Sessions, *, evidence: Evidence) -> Answer:
    """Look at every target once more: does it hold what the phase declares, replica included?

    Waits until each standby has replayed, then reads catalogues, row counts and Prisma's table; writes nothing.
    In a run that only plans, objects that were not created are SKIP, never PASS.
    Facts: per target what inspection.describe returns.
    """
    applied = was_applied(evidence)
    findings: list[Finding] = []
    facts: dict[str, Any] = {}
    for name, target in phase.targets.items():
        try:
            findings.extend(_look_at(phase, sessions, name, target, applied=applied, facts=facts))
        except RunbookError as error:
            findings.append(could_not_run("has_table", name, "every object", error))
    return Answer(findings=tuple(findings), facts={"targets": facts}, rows=by_object(findings))


def _look_at(
    phase: Phase, sessions: Sessions, name: str, target: Target, *, applied: bool, facts: dict[str, Any]
) -> Iterator[Finding]:
    if target.role is Role.STANDBY:
        lag = measure_lag(sessions, name, target)
        yield judge(
            "standby_has_replayed",
            name,
            target.service,
            have="replayed" if lag.replayed else f"{lag.lag_bytes} bytes behind",
            want="replayed",
            hint="What follows would judge an old state: find out what holds the standby back.",
        )
    pending = "baseline_migration" if name == phase.baseline.target and not applied else None
    found, facts[name] = inspect(phase, sessions, name, target, created_by=pending)
    yield from (_not_created(f) if f.have == "absent" and f.verdict is Verdict.PASS else f for f in found)
    if target.database == phase.targets[phase.migration.target].database:
        yield _recorded(phase, sessions, name, applied=applied)


def _not_created(finding: Finding) -> Finding:
    return replace(finding, have=PLAN_ONLY, verdict=Verdict.SKIP)


def _recorded(phase: Phase, sessions: Sessions, name: str, *, applied: bool) -> Finding:
    with sessions.snapshot(name) as conn:
        rows = read_rows(conn)
    there = any(row.name == phase.migration.name and row.applied for row in rows or ())
    finding = judge(
        "migration_is_recorded",
        name,
        phase.migration.name,
        have="recorded" if there else "not recorded",
        want="recorded",
        hint="Step prisma_resolve recorded it and it is gone, or the standby has not replayed it.",
    )
    return finding if there or applied else replace(finding, have=PLAN_ONLY, verdict=Verdict.SKIP)


def was_applied(evidence: Evidence) -> bool:
    """Tell whether this run applied the baseline; without that step's record it did not."""
    answers = evidence.get("baseline_migration", {}).get("answers", {})
    return bool(answers.get("apply", {}).get("facts", {}).get("applied", False))


def checklist(phase: Phase, sessions: Sessions, *, evidence: Evidence) -> Answer:
    """Tick the phase's checklist from the findings of this run; `sessions` is not used.

    A box is ticked when each finding that it selects is PASS, and there is at least one. Manual items are OPEN.
    Facts: `items`, each with its text in both languages, verdict and reason.
    """
    findings = [_tick(item, evidence) for item in phase.checklist]
    items = [
        {
            "text": {"fr": item.text.fr, "en": item.text.en},
            "reason": None if item.reason is None else {"fr": item.reason.fr, "en": item.reason.en},
            "ticked": finding.verdict is Verdict.PASS,
            "verdict": finding.verdict.value,
            "have": finding.have,
        }
        for item, finding in zip(phase.checklist, findings, strict=True)
    ]
    rows = tuple(
        {
            "box": "☑" if f.verdict is Verdict.PASS else "☐",
            "item": f.object,
            "because": f.have,
            "verdict": f.verdict.value,
        }
        for f in findings
    )
    return Answer(findings=tuple(findings), facts={"items": items}, rows=rows)


def _tick(item: ChecklistItem, evidence: Evidence) -> Finding:
    if item.manual:
        reason = item.reason.en if item.reason else "to be verified by hand"
        return _item(
            item, Verdict.OPEN, have=f"not verified: {reason}", hint="Verify it by hand and sign it off."
        )
    selected = [f for step in item.steps for f in _findings(evidence, step) if _selects(item, f)]
    if not selected:
        steps = ", ".join(item.steps)
        return _item(
            item, Verdict.ERROR, have="no finding to judge it by", hint=f"Run step {steps} in this run first."
        )
    others = [f for f in selected if f.verdict is not Verdict.PASS]
    verdict = worst(others) if others else Verdict.PASS
    have = f"{len(selected) - len(others)} of {len(selected)} findings passed"
    if others:
        have += (
            "; not: "
            + ", ".join(f"{f.check} {f.object}" for f in others[:4])
            + (" …" if len(others) > 4 else "")
        )
    return _item(item, verdict, have=have, hint="" if verdict is Verdict.PASS else "See the findings named.")


def _item(item: ChecklistItem, verdict: Verdict, *, have: str, hint: str) -> Finding:
    return Finding(
        check="checklist_item_holds",
        target="-",
        object=item.text.en,
        have=have,
        want="every finding passed",
        verdict=verdict,
        hint=hint,
    )


def _selects(item: ChecklistItem, finding: Finding) -> bool:
    return (
        finding.check in item.checks
        and (not item.targets or finding.target in item.targets)
        and (not item.objects or any(fnmatchcase(finding.object, pattern) for pattern in item.objects))
    )


def _findings(evidence: Evidence, step: str) -> Iterator[Finding]:
    for answer in evidence.get(step, {}).get("answers", {}).values():
        yield from (Finding.from_dict(row) for row in answer["findings"])
