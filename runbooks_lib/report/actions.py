"""The report's view of what was done: the dumps, the baseline and what Prisma was told.

Facts and findings are told as they were recorded; here they are brought together.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from runbooks_lib.checks import Check
from runbooks_lib.evidence import Evidence
from runbooks_lib.facts.databases import Clients, Dump, Dumps, Targets
from runbooks_lib.facts.writing import (
    Applied,
    Confirmation,
    Confirmed,
    Outcome,
    Parsed,
    Plan,
    PlannedStatement,
    PrismaConfirmed,
    PrismaStatus,
    RecordedHistory,
    Resolved,
    SecondRun,
)
from runbooks_lib.findings import Finding, Verdict
from runbooks_lib.phase import Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class Dumped:
    """A dump: where it was taken (server None: the server did not say who it is), and what it was found to be.

    Each finding is None when it was not asked for: every table named, the schema restored, the rows restored.
    """

    target: str
    made: Dump
    server: str | None
    client: str | None
    named: Finding | None
    restored: Finding | None
    rows_restored: Finding | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """The baseline as this run parsed, planned and, maybe, applied it, and ran it again.

    `confirmed` is the confirmation if it was recorded who gave it, and when. `lines` are the planned statements, each
    with what the server answered (None: not executed); `tags` count the answers.
    """

    target: str
    database: str
    server: str | None
    file: str
    parsed: Parsed
    plan: Plan
    confirmed: Confirmed | None
    applied: bool | None  # None: the session was lost at COMMIT, and nobody could tell
    lines: tuple[tuple[PlannedStatement, Outcome | None], ...]
    tags: tuple[tuple[str, int], ...]
    second: SecondRun


@dataclass(frozen=True, slots=True, kw_only=True)
class PrismaView:
    """What Prisma's history said before, what Prisma was told, and its own words after (None: not asked).

    `not_judged` are the findings of what the replay of the migrations can't show.
    """

    version: str | None
    found: RecordedHistory
    resolved: Resolved
    confirmed: PrismaConfirmed
    words: str | None
    not_judged: tuple[Finding, ...]


def dumps(phase: Phase, seen: Evidence) -> tuple[Dumped, ...]:
    """Return the dumps of this run, in the order of the phase's backup targets."""
    clients = seen.facts(Clients).clients
    made = seen.facts(Dumps).dumps
    return tuple(
        Dumped(
            target=target,
            made=made[target],
            server=server_of(seen, target),
            client=clients[target].version if target in clients else None,
            named=_first(seen, "verify", Check.DUMP_NAMES_EVERY_TABLE, target),
            restored=_first(seen, "prove", Check.DUMP_RESTORES, target),
            rows_restored=_first(seen, "prove", Check.DATA_RESTORES, target),
        )
        for target in phase.backup.targets
        if target in made
    )


def _first(seen: Evidence, question: str, check: Check, target: str) -> Finding | None:
    found = seen.findings("backup", question, checks=(check,), targets=(target,))
    return found[0] if found else None


def migration(phase: Phase, seen: Evidence) -> Migration:
    """Return what this run did with the baseline."""
    target, parsed, plan = phase.written or "", seen.facts(Parsed), seen.facts(Plan)
    applied, confirmed = seen.facts(Applied), seen.facts(Confirmation).confirmed
    said = {outcome.line: outcome for outcome in applied.outcomes} if applied.applied else {}
    return Migration(
        target=target,
        database=phase.targets[target].database if target else "",
        server=server_of(seen, target),
        file=parsed.file or (phase.baseline.file if phase.baseline else ""),
        parsed=parsed,
        plan=plan,
        confirmed=confirmed if confirmed and confirmed.by and confirmed.at else None,
        applied=applied.applied,
        lines=tuple((statement, said.get(statement.line)) for statement in plan.statements),
        tags=tuple(Counter(outcome.tag for outcome in said.values()).items()),
        second=seen.facts(SecondRun),
    )


def prisma(seen: Evidence) -> PrismaView:
    """Return what this run did with Prisma's history."""
    confirmed = seen.facts(PrismaConfirmed)
    lines = confirmed.said.output.splitlines() if confirmed.said else []
    return PrismaView(
        version=seen.facts(PrismaStatus).version,
        found=seen.facts(RecordedHistory),
        resolved=seen.facts(Resolved),
        confirmed=confirmed,
        words=next((line.strip() for line in reversed(lines) if line.strip()), None),
        not_judged=tuple(
            f for f in seen.findings("prisma_resolve", "live_schema") if f.verdict is Verdict.OPEN
        ),
    )


def server_of(seen: Evidence, target: str) -> str | None:
    """Return the server that answered at a target; None when none did."""
    who = seen.facts(Targets).targets.get(target)
    return who.server if who else None
