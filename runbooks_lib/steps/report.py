"""Step 7, report: a last look at every target, the checklist, and the report from evidence.

Each function answers one question of `07_report.ipynb`. Nothing in the report is a constant: what it says is a
finding or a fact that a step of this run recorded, or a text of the phase file.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from runbooks_lib.checks import Check
from runbooks_lib.errors import EvidenceError, RunbookError
from runbooks_lib.evidence import Evidence
from runbooks_lib.facts.contents import Box, Checklist, LastLook, ReportFile, Reports, Signature, SignOff
from runbooks_lib.facts.databases import Held, Lag, Proof
from runbooks_lib.facts.writing import Plan, RecordedHistory
from runbooks_lib.findings import Answer, Finding, Note, Verdict, could_not_run, judge, passed, worst
from runbooks_lib.phase import ENGLISH, ChecklistItem, Phase, Role, Target
from runbooks_lib.postgres.catalog.catalog import Key
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.postgres.session.replication import measure_lag
from runbooks_lib.prisma.history import read_rows
from runbooks_lib.report.document import Document, expected_sections, languages, render
from runbooks_lib.report.markdown import figures, headings
from runbooks_lib.steps.as_filed import judge_as_filed
from runbooks_lib.steps.as_migrated import judge_as_migrated
from runbooks_lib.steps.declared import nothing_declared, objects_asked, or_not_declared
from runbooks_lib.steps.inspection import by_object, inspect
from runbooks_lib.steps.own_objects import own_objects
from runbooks_lib.steps.pending import pending_at, shows, shows_baseline
from runbooks_lib.steps.replica_rows import judge_replayed
from runbooks_lib.steps.signatures import (
    in_words,
    judge_signatures,
    manual_items,
    signatures,
)
from runbooks_lib.steps.standby_reads import read_again
from runbooks_lib.steps.way_back import way_back

PLAN_ONLY = "not applied: this run only plans"


@read_again
def last_look(
    phase: Phase,
    sessions: Sessions,
    *,
    evidence: Evidence,
    planned: Plan | None = None,
    folder: Path | None = None,
) -> Answer:
    """Look at every target once more: does it hold what phase and migrations say, replica included?

    The dumps of this run are read again, too, in `folder`.
    Waits until each standby has replayed, then reads catalogues, row counts and Prisma's table; writes nothing.
    In a run that only plans, objects that were not created are SKIP, never PASS; so is what the plan that it has
    rehearsed (`planned`) is to change.
    Facts: per target what inspection.describe returns, and per standby its Lag.
    """
    history = evidence.facts(RecordedHistory)
    findings: list[Finding] = []
    facts: dict[str, Held] = {}
    lags: dict[str, Lag] = {}
    own = own_objects(phase)
    for name, target in phase.targets.items():
        try:
            found = _look_at(
                phase,
                sessions,
                name,
                target,
                applied=evidence.applied,
                history=history,
                facts=facts,
                lags=lags,
                own=own,
            )
            pending = pending_at(phase, sessions, name, planned)
            findings.extend(pending.later(found))
            findings.extend(
                judge_as_migrated(phase, sessions, name, evidence=evidence, folder=folder, planned=planned)
            )
            allowed = evidence.facts(Proof).superuser_objects
            findings.extend(judge_as_filed(phase, sessions, name, superuser_objects=allowed, pending=pending))
        except RunbookError as error:
            findings.append(could_not_run(Check.HAS_TABLE, name, "every object", error))
    findings += nothing_declared(phase, objects_asked(phase))
    return Answer(
        findings=(*findings, *way_back(phase, folder, evidence)),
        facts=LastLook(targets=facts, lag=lags),
        rows=by_object(findings, facts),
    )


def _look_at(
    phase: Phase,
    sessions: Sessions,
    name: str,
    target: Target,
    *,
    applied: bool,
    history: RecordedHistory,
    facts: dict[str, Held],
    lags: dict[str, Lag],
    own: Collection[Key],
) -> Iterator[Finding]:
    if target.role is Role.STANDBY:
        lags[name] = measure_lag(sessions, name, target)
        yield judge_replayed(name, target, lags[name])
    pending = "baseline_migration" if not applied and shows_baseline(phase, sessions, name) else None
    found, facts[name] = inspect(phase, sessions, name, target, created_by=pending, own=own)
    yield from (_not_created(f) if f.note is Note.ABSENT else f for f in found)
    if phase.prisma and shows(phase, sessions, name, phase.prisma.target):
        yield from _recorded(phase, sessions, name, history=history, applied=applied)


def _not_created(finding: Finding) -> Finding:
    return replace(finding, have=PLAN_ONLY, verdict=Verdict.SKIP, note=Note.NOTHING)


def _recorded(
    phase: Phase, sessions: Sessions, name: str, *, history: RecordedHistory, applied: bool
) -> Iterator[Finding]:
    """Judge of each migration that the phase settles whether it is recorded; all that are, in one finding."""
    try:
        with sessions.snapshot(name) as conn:
            rows = read_rows(conn, schema=history.schema)
    except RunbookError as error:
        yield could_not_run(Check.MIGRATION_IS_RECORDED, name, "migrations", error)
        return
    found = history.history
    there = {row.name for row in rows or () if row.applied}
    every = (*found.applied, *(each for each in found.pending if each not in found.applied)) if found else ()
    for migration in (phase.prisma.settle if phase.prisma else None) or every:
        finding = judge(
            Check.MIGRATION_IS_RECORDED,
            name,
            migration,
            have="recorded" if migration in there else "not recorded",
            want="recorded",
            hint="Step prisma_resolve recorded it and it is gone, or the standby has not replayed it.",
        )
        skips = migration not in there and not applied
        yield replace(finding, have=PLAN_ONLY, verdict=Verdict.SKIP) if skips else finding


def sign_off(
    phase: Phase, sessions: Sessions, *, signed: Mapping[int, str] | None, by: str = "", at: str = ""
) -> Answer:
    """Ask which of the items that no program can see were verified, by whom, and what was seen; reads nothing.

    `signed` has a note per number of a manual item of the checklist, counted from 0; None: not decided yet.
    Facts: `signed`, per item its number and text, who signed it, when, and the note.
    """
    items = manual_items(phase)
    return Answer(
        findings=judge_signatures(items, signed, by=by, at=at),
        facts=SignOff(signed=signatures(items, signed, by=by, at=at)),
    )


def checklist(phase: Phase, sessions: Sessions, *, evidence: Evidence) -> Answer:
    """Tick the phase's checklist from the findings of this run.

    A box is ticked when each finding that it selects is PASS, and there is at least one of each check, of each
    target and of each pattern of objects that it names. Manual items are OPEN unless this run has them signed off.
    Facts: `items`, each with its text in both languages, verdict and reason, how many findings it was `judged` by
    and how many of them `passed`, those that did not, and the checks and targets that no finding is of (`unseen`).
    """
    selected = [
        (*_selected(item, evidence), *nothing_declared(phase, map(Check, item.checks)))
        for item in phase.checklist
    ]
    signed = evidence.facts(SignOff).by_item
    findings = [
        _tick(item, chosen, signed.get(number))
        for number, (item, chosen) in enumerate(zip(phase.checklist, selected, strict=True))
    ]
    items = tuple(
        Box(
            text=dict(item.text.by_language),
            reason=None if item.reason is None else dict(item.reason.by_language),
            ticked=finding.verdict is Verdict.PASS,
            verdict=finding.verdict,
            have=finding.have,
            judged=len(chosen),
            passed=passed(chosen),
            not_passed=tuple(f for f in chosen if f.verdict is not Verdict.PASS),
            unseen=_unseen(item, chosen),
        )
        for item, finding, chosen in zip(phase.checklist, findings, selected, strict=True)
    )
    rows = tuple(
        {
            "box": "☑" if f.verdict is Verdict.PASS else "☐",
            "item": f.object,
            "because": f.have,
            "verdict": f.verdict.value,
        }
        for f in findings
    )
    judged = or_not_declared(phase, findings, Check.CHECKLIST_ITEM_HOLDS)
    return Answer(findings=judged, facts=Checklist(items=items), rows=rows)


def _selected(item: ChecklistItem, evidence: Evidence) -> tuple[Finding, ...]:
    """Return the findings that judge an item: what may be absent for now, and was not seen since, is SKIP to it."""
    found = [f for step in item.steps for f in evidence.findings(step) if _selects(item, f)]
    seen = {_looked_at(f) for f in found if f.verdict is Verdict.PASS and not _may_be_absent(f)}
    return tuple(
        replace(f, verdict=Verdict.SKIP) if _may_be_absent(f) and _looked_at(f) not in seen else f
        for f in found
    )


def _looked_at(finding: Finding) -> tuple[str, str, str]:
    return finding.check, finding.target, finding.object


def _may_be_absent(finding: Finding) -> bool:
    return finding.verdict is Verdict.PASS and finding.note is Note.ABSENT


def _tick(item: ChecklistItem, selected: tuple[Finding, ...], signature: Signature | None) -> Finding:
    if item.manual and signature is not None:
        return _item(item, Verdict.PASS, have=in_words(signature), hint="")
    if item.manual:
        reason = item.reason.in_(ENGLISH) if item.reason else "to be verified by hand"
        return _item(
            item, Verdict.OPEN, have=f"not verified: {reason}", hint="Verify it by hand and sign it off."
        )
    if not selected:
        steps = ", ".join(item.steps)
        return _item(
            item, Verdict.ERROR, have="no finding to judge it by", hint=f"Run step {steps} in this run first."
        )
    others = [f for f in selected if f.verdict is not Verdict.PASS]
    if not others and (missing := _unseen(item, selected)):
        return _item(
            item,
            Verdict.ERROR,
            have=f"no finding of {', '.join(missing)}",
            hint="Run the steps that it looks at to their end in this run; or does the phase file name too much?",
        )
    verdict = worst(others) if others else Verdict.PASS
    have = f"{len(selected) - len(others)} of {len(selected)} findings passed"
    if others:
        have += (
            "; not: "
            + ", ".join(f"{f.check} {f.object}" for f in others[:4])
            + (" …" if len(others) > 4 else "")
        )
    return _item(item, verdict, have=have, hint="" if verdict is Verdict.PASS else "See the findings named.")


def _unseen(item: ChecklistItem, selected: tuple[Finding, ...]) -> tuple[str, ...]:
    """Return the checks, targets and patterns that the item names and no finding is of: they were not looked at."""
    seen = {f.check for f in selected} | {f.target for f in selected}
    names = (name for name in (*item.checks, *item.targets) if name not in seen)
    objects = {f.object for f in selected}
    idle = (each for each in item.objects if not any(fnmatchcase(name, each) for name in objects))
    return (*names, *idle)


def _item(item: ChecklistItem, verdict: Verdict, *, have: str, hint: str) -> Finding:
    return Finding(
        check=Check.CHECKLIST_ITEM_HOLDS,
        target="-",
        object=item.text.in_(ENGLISH),
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


def write(
    phase: Phase,
    sessions: Sessions,
    *,
    evidence: Evidence,
    save: Callable[[str, str], Path],
) -> Answer:
    """Write the report in every language, read it back from disk, and compare the languages with each other.

    `save` writes a text under a name and returns its path; `sessions` is not used.
    Facts: `files`, per language the file's name and SHA-256.
    """
    findings: list[Finding] = []
    files: dict[str, ReportFile] = {}
    found: dict[str, Counter[str]] = {}
    for lang in languages():
        name = f"report.{lang}.md"
        try:
            document = render(phase, evidence.unjudged(), lang)  # how the run ends is not known yet
            path = save(name, document.text)
            content = _read_back(path)
        except RunbookError as error:
            findings.append(could_not_run(Check.REPORT_IS_WRITTEN, "-", name, error))
            continue
        text = content.decode("utf-8", errors="replace")
        findings.append(_whole(name, document, text, expected_sections(phase, evidence)))
        files[lang] = ReportFile(file=path.name, sha256=hashlib.sha256(content).hexdigest())
        found[lang] = figures(text, document.worded)
    findings.extend(_agreement(found))
    rows = tuple({"language": lang, "file": f.file, "SHA-256": f.sha256} for lang, f in files.items())
    return Answer(findings=tuple(findings), facts=Reports(files=files), rows=rows)


def _read_back(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise EvidenceError(
            f"{path} cannot be read back: {error.strerror or error}.", "Look at the run folder's file system."
        ) from error


def _whole(name: str, document: Document, text: str, expected: tuple[str, ...]) -> Finding:
    there = headings(text)
    lacking = [key for key in expected if document.sections.get(key) not in there]
    return judge(
        Check.REPORT_IS_WRITTEN,
        "-",
        name,
        have=f"{len(there)} sections" + (f"; not {', '.join(lacking)}" if lacking else ""),
        want=f"{len(expected)} sections",
        hint="The file is not what was written: look at the run folder's file system, then run this step again.",
    )


def _agreement(found: Mapping[str, Counter[str]]) -> Iterator[Finding]:
    """Judge whether every language says the same figures as the first one."""
    if len(found) < 2:
        missing = EvidenceError(
            f"There are {len(found)} reports to compare.", "See why the others were not written."
        )
        yield could_not_run(Check.REPORTS_AGREE, "-", "report.*.md", missing)
        return
    first, *others = found
    for lang in others:
        differing = sorted((found[first] - found[lang]) | (found[lang] - found[first]))
        named = ", ".join(differing[:4]) + (" …" if len(differing) > 4 else "")
        yield judge(
            Check.REPORTS_AGREE,
            "-",
            f"report.{lang}.md",
            have=f"{len(differing)} figures differ: {named}" if differing else "the same figures",
            want="the same figures",
            hint=f"Compare it with report.{first}.md: a translation in runbooks_lib/texts lost or changed a figure.",
        )
