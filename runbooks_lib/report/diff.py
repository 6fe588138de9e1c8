"""What changed between two runs: findings that differ, are new or are gone, and the facts behind them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from runbooks_lib.archive.changes import about
from runbooks_lib.archive.run import Run
from runbooks_lib.evidence import Evidence, without_time
from runbooks_lib.facts.contents import LastLook, RowCounts
from runbooks_lib.facts.databases import Schema, Targets
from runbooks_lib.findings import Finding, Verdict
from runbooks_lib.typed import Moment, Typed

Key = tuple[str, str, str, str, str, int]


class Compared(Typed):
    """A run that was compared."""

    id: str
    phase: str
    mode: str
    verdict: Verdict | None
    started_at: Moment
    folder: str


class Seen(Typed):
    """What a run's finding says."""

    verdict: Verdict
    have: str
    want: str


class About(Typed):
    """What a finding is about."""

    step: str
    question: str
    check: str
    target: str
    object: str


class Changed(About):
    """A finding that both runs have, and that says something else."""

    a: Seen
    b: Seen


class OfOne(About):
    """A finding that only one of the runs has."""

    verdict: Verdict
    have: str
    want: str


class Findings(Typed):
    """The findings that differ."""

    changed: list[Changed]
    new: list[OfOne]
    vanished: list[OfOne]


class Fact(Typed):
    """A fact that differs; None where a run does not have it."""

    fact: str
    a: Any
    b: Any


class Seconds(Typed):
    """How long a step took; None where it did not run."""

    step: str
    a: float | None
    b: float | None


class Difference(Typed):
    """What differs between two runs; that steps took other times is no difference."""

    a: Compared
    b: Compared
    same: bool
    findings: Findings
    facts: list[Fact]
    durations_s: list[Seconds]


def diff(a: Run, b: Run) -> Difference:
    """Compare run `b` with the earlier run `a`. Reads both run folders; writes nothing.

    Raises EvidenceError when a run cannot be read.
    """
    before, after = a.evidence(), b.evidence()
    findings = _findings(before, after)
    facts = _differing(_facts(before), _facts(after))
    return Difference(
        a=_short(a, before),
        b=_short(b, after),
        same=not (facts or findings.changed or findings.new or findings.vanished),
        findings=findings,
        facts=facts,
        durations_s=_durations(before.durations_s, after.durations_s),
    )


def _short(run: Run, evidence: Evidence) -> Compared:
    header = evidence.header
    return Compared(
        id=run.id,
        phase=header.phase.id,
        mode=header.mode,
        verdict=header.verdict,
        started_at=header.started_at,
        folder=str(run.path),
    )


def _findings(a: Evidence, b: Evidence) -> Findings:
    before, after = _keyed(a), _keyed(b)
    both = ((key, before[key], finding) for key, finding in after.items() if key in before)
    return Findings(
        changed=[
            Changed(**_where(key, finding), a=Seen(**_seen(had)), b=Seen(**_seen(finding)))
            for key, had, finding in both
            if _compared(had) != _compared(finding)
        ],
        new=[OfOne(**_where(key, f), **_seen(f)) for key, f in after.items() if key not in before],
        vanished=[OfOne(**_where(key, f), **_seen(f)) for key, f in before.items() if key not in after],
    )


def _keyed(evidence: Evidence) -> dict[Key, Finding]:
    """Return the findings by what they are about; of several about the same, the first is that of the other's first."""
    seen: Counter[tuple[str, ...]] = Counter()
    found: dict[Key, Finding] = {}
    for each in evidence.judged():
        key = about(each)
        found[(*key, seen[key])] = each.finding
        seen[key] += 1
    return found


def _where(key: Key, finding: Finding) -> dict[str, Any]:
    return {"step": key[0], "question": key[1], "check": key[2], "target": key[3], "object": finding.object}


def _seen(finding: Finding) -> dict[str, Any]:
    return {"verdict": finding.verdict, "have": finding.have, "want": finding.want}


def _compared(finding: Finding) -> tuple[str, ...]:
    return tuple(without_time(text) for text in _seen(finding).values())


def _facts(evidence: Evidence) -> dict[str, Any]:
    """Return the facts that matter, each by the name under which a reader finds it."""
    header, plan = evidence.header, evidence.plan
    parts = dict(plan.parts) if plan else {}
    backups = parts.pop("backup", {})
    parts.pop("services", None)  # those of the header, which every run has
    facts: dict[str, Any] = {"phase": header.phase.id, "phase's digest": header.phase.digest}
    facts |= {"mode": header.mode, "verdict": header.verdict, "plan's hash": plan.hash if plan else None}
    facts |= {f"service of {target.name}": target.service for target in header.targets}
    facts |= {f"plan: {part}": value for part, value in parts.items()}
    facts |= {f"plan: backup of {target}": value for target, value in backups.items()}
    facts |= {f"version of {name}": value for name, value in header.versions.items()}
    for target, who in evidence.facts(Targets).targets.items():
        facts |= {f"server's version of {target}": who.server_version}
        facts |= {f"system_identifier of {target}": who.system_identifier}
    return facts | dict(_rows(evidence))


def _rows(evidence: Evidence) -> Iterator[tuple[str, int]]:
    """Yield the row counts, as the last step counted them that did."""
    counted = evidence.facts(RowCounts).rows
    if not counted:
        held = evidence.facts(Schema).targets | evidence.facts(LastLook).targets
        counted = {t: {name: table.rows for name, table in each.tables.items()} for t, each in held.items()}
    for target, tables in counted.items():
        yield from ((f"rows of {target} {name}", rows) for name, rows in tables.items())


def _differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Fact]:
    names = [*a, *(name for name in b if name not in a)]
    return [Fact(fact=n, a=a.get(n), b=b.get(n)) for n in names if a.get(n) != b.get(n)]


def _durations(a: Mapping[str, float], b: Mapping[str, float]) -> list[Seconds]:
    steps = [*a, *(step for step in b if step not in a)]
    return [Seconds(step=step, a=a.get(step), b=b.get(step)) for step in steps]
