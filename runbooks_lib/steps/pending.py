"""What the baseline of this run is still to make: judged when it is there, and until then never passed.

A run that only plans rehearses the baseline and leaves nothing of it. What the rehearsal has proved that it makes may
be absent in the steps that follow, where its database is looked at; everything else must already be so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from runbooks_lib.checks import Check
from runbooks_lib.errors import RunbookError
from runbooks_lib.facts.writing import Plan
from runbooks_lib.findings import Finding, Verdict
from runbooks_lib.phase import Phase, Role
from runbooks_lib.postgres.catalog.catalog import Key, Value
from runbooks_lib.postgres.catalog.differences import from_plain
from runbooks_lib.postgres.script.idempotence import ROW
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.steps.baseline_file import read_statements
from runbooks_lib.steps.schema_checks import Added

JUDGED_LATER = "judged after apply; planned by step 3"
# Of what kind, in a description of a catalogue, is that which a check looks at?
_LOOKS_AT: Mapping[str, str] = {
    Check.HAS_TABLE: "relation",
    Check.COLUMNS_ARE: "columns",
    Check.HAS_ENUM: "enum",
    Check.ENUM_HAS_LABELS: "enum",
    Check.HAS_INDEX: "index",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """What is planned and not yet so: objects as they will be, the tables that get rows, and those declared empty.

    `deployed` are objects that migrations make or change which are still to be deployed.
    """

    objects: Mapping[Key, Value] = field(default_factory=dict)
    filled: frozenset[str] = frozenset()
    empty: frozenset[str] = frozenset()
    deployed: frozenset[Key] = frozenset()

    def makes_table(self, table: str) -> bool:
        """Return whether the table is still to be made."""
        return ("relation", table) in self.objects or ("relation", table) in self.deployed

    def with_deployed(self, keys: Iterable[Key]) -> Pending:
        """Return this, and objects that are still to be deployed."""
        return replace(self, deployed=self.deployed | frozenset(keys))

    def later(self, findings: Iterable[Finding]) -> tuple[Finding, ...]:
        """Return the findings, with SKIP for those that fail only because what is planned has not been done."""
        return tuple(judged_later(f) if self._explains(f) else f for f in findings)

    def _explains(self, finding: Finding) -> bool:
        if finding.verdict is not Verdict.FAIL:
            return False
        if finding.check == Check.ROW_COUNT_IS:
            empty = self.makes_table(finding.object) and finding.object in self.empty
            return finding.object in self.filled or empty
        key = (_LOOKS_AT.get(finding.check, ""), finding.object)
        return key in self.objects or key in self.deployed


NOTHING_PENDING = Pending()


@dataclass(frozen=True, slots=True, kw_only=True)
class ToCome:
    """What scripts are still to make: objects, columns and labels that are added to others, tables that get rows."""

    made: frozenset[Key] = frozenset()
    adds: frozenset[Added] = frozenset()
    filled: frozenset[str] = frozenset()

    def __or__(self, other: ToCome) -> ToCome:
        """Return what both are to make."""
        return ToCome(
            made=self.made | other.made, adds=self.adds | other.adds, filled=self.filled | other.filled
        )


NOTHING_TO_COME = ToCome()


def pending_at(phase: Phase, sessions: Sessions, name: str, plan: Plan | None) -> Pending:
    """Return what a target still lacks of a plan: nothing without a plan, or where another database is looked at.

    `plan` is one that this run has rehearsed and not applied.
    Raises ConnectionFailed when it cannot be told whose database it is.
    """
    if plan is None:
        return NOTHING_PENDING
    empty = frozenset(table.name for table in phase.tables if table.rows == 0)
    pending = Pending(empty=empty)
    if shows_baseline(phase, sessions, name):
        makes = from_plain(plan.makes or ())
        pending = Pending(
            objects={(kind, made): makes[kind, made] for kind, made in plan.pending},
            filled=frozenset(each.object for each in plan.statements if each.kind == ROW),
            empty=empty,
        )
    if plan.to_come and phase.prisma and shows(phase, sessions, name, phase.prisma.target):
        pending = pending.with_deployed((kind, made) for kind, made in plan.to_come)
    return pending


def shows_baseline(phase: Phase, sessions: Sessions, name: str) -> bool:
    """Return whether a target shows what the baseline makes: its own database, by any service, or a standby's copy.

    Raises ConnectionFailed when one of the two does not answer.
    """
    return phase.baseline is not None and shows(phase, sessions, name, phase.baseline.target)


def shows(phase: Phase, sessions: Sessions, name: str, written: str) -> bool:
    """Return whether a target shows the database of another one: by any service, or as a standby's copy.

    Raises ConnectionFailed when one of the two does not answer.
    """
    target, baseline = phase.targets[name], phase.targets.get(written)
    if baseline is None or target.database != baseline.database:
        return False
    if name == baseline.name:
        return True
    who, whose = sessions.identity(name), sessions.identity(baseline.name)
    if target.role is Role.STANDBY:  # whose it is, is asked wherever it is read
        return not who.is_other_system(whose)
    return who.is_server_of(whose)


def filled_and_added(phase: Phase) -> ToCome:
    """Return the tables into which the baseline inserts rows, and the columns and labels that it adds.

    Nothing without one, nor when it cannot be read, which step 3 says.
    """
    if phase.baseline is None:
        return NOTHING_TO_COME
    try:
        statements = read_statements(phase)
    except RunbookError:
        return NOTHING_TO_COME
    return ToCome(
        adds=frozenset((statement.object, name) for statement in statements for name in statement.adds),
        filled=frozenset(statement.object for statement in statements if statement.kind == ROW),
    )


def judged_later(finding: Finding) -> Finding:
    """Return the finding as SKIP: what it looks at is planned, and judged when it has been applied."""
    return replace(finding, have=f"{finding.have}; {JUDGED_LATER}", verdict=Verdict.SKIP, hint="")
