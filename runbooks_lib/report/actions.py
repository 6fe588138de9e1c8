"""The report's view of what was done: the dumps, the baseline and what Prisma was told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from runbooks_lib.checks import Check
from runbooks_lib.evidence import Evidence, judged
from runbooks_lib.facts.databases import Clients, Dumps, RowsDump, Targets
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
    RecordedRow,
    Resolved,
    SecondRun,
)
from runbooks_lib.findings import Finding, Verdict
from runbooks_lib.phase import Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class DataDump:
    """A dump of the rows: its directory, and what its restore showed (None: it was not restored)."""

    path: str
    files: int
    size_bytes: int
    sha256: str
    restored: Finding | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dump:
    """A schema dump: its file, and where it was taken (server None: the server did not say who it is).

    `restored` is what its restore showed (None: it was not restored), `data` the dump of the rows beside it.
    """

    target: str
    database: str
    server: str | None
    client: str | None
    file: str
    size_bytes: int
    sha256: str
    verdict: Verdict | None
    tables: str | None
    restored: Finding | None
    data: DataDump | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementLine:
    """A statement of the baseline: what the plan says of it, and what the server answered (None: not executed)."""

    line: int
    object: str
    would: str
    tag: str | None
    notices: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """The baseline migration as this run planned, rehearsed and, maybe, applied it. Hashes are None if not planned."""

    target: str
    database: str
    server: str | None
    file: str
    sha256: str | None
    count: int | None
    idempotent: Verdict | None
    hash: str | None
    confirmation: str | None
    confirmed: Confirmed | None  # the confirmation that was given, by whom and at what moment
    decided: Verdict | None
    lines: tuple[StatementLine, ...]
    rehearsed: Verdict | None
    applied: bool | None  # None: the session was lost at COMMIT, and nobody could tell
    judged: tuple[Finding, ...]
    tags: tuple[tuple[str, int], ...]
    second: Verdict | None
    second_facts: SecondRun


@dataclass(frozen=True, slots=True, kw_only=True)
class PrismaView:
    """What Prisma's history said before, what Prisma was told, and its own words after (None: not asked).

    `not_judged` are the findings of what the replay of the migrations can't show.
    """

    version: str | None
    relation: str | None
    pending: tuple[str, ...]
    command: str | None
    recorded: bool
    already: bool
    words: str | None
    row: RecordedRow | None
    verdict: Verdict | None
    not_judged: tuple[Finding, ...]


def dumps(phase: Phase, seen: Evidence) -> tuple[Dump, ...]:
    """Return the dumps of this run, in the order of the phase's backup targets."""
    made = seen.facts(Dumps).dumps
    clients = seen.facts(Clients).clients
    return tuple(
        Dump(
            target=target,
            database=made[target].database,
            server=_server(seen, target),
            client=clients[target].version if target in clients else None,
            file=f"backup/{made[target].path}",
            size_bytes=made[target].size_bytes,
            sha256=made[target].sha256,
            verdict=judged(seen.findings("backup", "verify", targets=(target,))),
            tables=named.have
            if (named := _first(seen, "verify", Check.DUMP_NAMES_EVERY_TABLE, target))
            else None,
            restored=_first(seen, "prove", Check.DUMP_RESTORES, target),
            data=_data(seen, target, made[target].data),
        )
        for target in phase.backup.targets
        if target in made
    )


def _data(seen: Evidence, target: str, made: RowsDump | None) -> DataDump | None:
    if made is None:
        return None
    return DataDump(
        path=f"backup/{made.path}",
        files=made.files,
        size_bytes=made.size_bytes,
        sha256=made.sha256,
        restored=_first(seen, "prove", Check.DATA_RESTORES, target),
    )


def _first(seen: Evidence, question: str, check: str, target: str) -> Finding | None:
    found = seen.findings("backup", question, checks=(check,), targets=(target,))
    return found[0] if found else None


def migration(phase: Phase, seen: Evidence) -> Migration:
    """Return what this run did with the baseline."""
    step, target = "baseline_migration", phase.baseline.target
    parsed, planned, applied = seen.facts(Parsed), seen.facts(Plan), seen.facts(Applied)
    outcomes = applied.outcomes if applied.applied else ()
    said = {outcome.line: outcome for outcome in outcomes}
    return Migration(
        target=target,
        database=phase.targets[target].database,
        server=_server(seen, target),
        file=parsed.file or phase.baseline.file,
        sha256=parsed.sha256,
        count=parsed.statements,
        idempotent=judged(seen.findings(step, "parse")),
        hash=planned.hash or None,
        confirmation=planned.confirmation or None,
        confirmed=_complete(seen.facts(Confirmation).confirmed),
        decided=judged(seen.findings(step, "confirmation")),
        lines=tuple(_line(row, said) for row in planned.statements),
        rehearsed=judged(seen.findings(step, "rehearse")),
        applied=applied.applied,
        judged=seen.findings(step, "apply"),
        tags=tuple(Counter(outcome.tag for outcome in outcomes).items()),
        second=judged(seen.findings(step, "second_run")),
        second_facts=seen.facts(SecondRun),
    )


def _complete(confirmed: Confirmed | None) -> Confirmed | None:
    """Return who confirmed what and when, if all of that was recorded."""
    return confirmed if confirmed and confirmed.by and confirmed.at else None


def _line(row: PlannedStatement, said: Mapping[int, Outcome]) -> StatementLine:
    outcome = said.get(row.line)
    return StatementLine(
        line=row.line,
        object=row.object,
        would=row.would,
        tag=None if outcome is None else outcome.tag,
        notices=() if outcome is None else outcome.notices,
    )


def prisma(seen: Evidence) -> PrismaView:
    """Return what this run did with Prisma's history."""
    step = "prisma_resolve"
    found, resolved, confirmed = (
        seen.facts(RecordedHistory),
        seen.facts(Resolved),
        seen.facts(PrismaConfirmed),
    )
    return PrismaView(
        version=seen.facts(PrismaStatus).version,
        relation=found.relation,
        pending=found.history.pending if found.history else (),
        command=resolved.command,
        recorded=bool(resolved.recorded),
        already=bool(resolved.already),
        words=_last_line(confirmed.said.output if confirmed.said else ""),
        row=confirmed.row,
        verdict=judged(seen.findings(step, "confirm")),
        not_judged=tuple(f for f in seen.findings(step, "live_schema") if f.verdict is Verdict.OPEN),
    )


def _last_line(output: str) -> str | None:
    return next((line.strip() for line in reversed(output.splitlines()) if line.strip()), None)


def _server(seen: Evidence, target: str) -> str | None:
    who = seen.facts(Targets).targets.get(target)
    return who.server if who else None
