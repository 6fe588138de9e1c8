"""Does every target that shows Prisma's database, standby included, hold what the migrations make? The last look."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from runbooks_lib.checks import Check
from runbooks_lib.errors import RunbookError
from runbooks_lib.evidence import Evidence
from runbooks_lib.facts.databases import Dumps, Proof
from runbooks_lib.facts.writing import Plan
from runbooks_lib.findings import Finding, Verdict, could_not_run
from runbooks_lib.phase import Phase
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.prisma.settlement import Action
from runbooks_lib.steps.pending import pending_at, shows
from runbooks_lib.steps.prisma_look import command_line, look_at_objects, prove_target, section
from runbooks_lib.steps.settlement_findings import all_in_one, judge_objects


def judge_as_migrated(
    phase: Phase,
    sessions: Sessions,
    name: str,
    *,
    evidence: Evidence,
    folder: Path | None,
    planned: Plan | None,
) -> Iterator[Finding]:
    """Judge one target's catalogue by the replay of the migrations: each object that is not so, and all in one finding.

    Nothing where the target shows another database. `evidence` tells of this run's dumps, which lie in `folder`; what
    the plan that this run has rehearsed (`planned`) is still to make is SKIP. Reads the target; writes nothing.
    """
    if phase.prisma is None:
        return
    try:
        if not shows(phase, sessions, name, section(phase).target):
            return
        dumped = evidence.facts(Dumps).dumps.get(section(phase).target)
        looked = look_at_objects(phase, sessions, command_line(phase, sessions), name)
        settlement = prove_target(
            phase,
            sessions,
            looked,
            folder / dumped.path if folder and dumped else None,
            evidence.facts(Proof).superuser_objects,
            pending_at(phase, sessions, name, planned).objects,
        ).settlement
    except RunbookError as error:
        yield could_not_run(Check.MIGRATION_OBJECTS_STAND, name, "every object", error)
        return
    others = frozenset(settlement.with_action(Action.LEFT))
    found = tuple(judge_objects(name, settlement.objects, phase, others=others))
    if not found:
        yield Finding(
            check=Check.MIGRATION_OBJECTS_STAND,
            target=name,
            object="every object",
            have="the migrations make nothing that a catalogue shows",
            want="objects to compare",
            verdict=Verdict.SKIP,
        )
        return
    yield from (f for f in found if f.verdict is not Verdict.PASS)
    later = any(each.planned or each.to_come for each in settlement.objects)
    yield all_in_one(name, "every object", found, "as the migrations make them", later=later)
