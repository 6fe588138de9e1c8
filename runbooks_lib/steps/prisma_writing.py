"""A settlement carried out: Prisma is told what stands, and deploys what does not. Nobody else writes its history."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from runbooks_lib.checks import Check
from runbooks_lib.facts.writing import Resolved
from runbooks_lib.findings import Finding, Verdict, judge
from runbooks_lib.phase import Phase
from runbooks_lib.prisma.command import CliResult, Prisma, Written
from runbooks_lib.prisma.settlement import DEPLOYED, Action, Settlement
from runbooks_lib.prisma.state import State
from runbooks_lib.steps.prisma_findings import PLAN_ONLY
from runbooks_lib.steps.prisma_look import section
from runbooks_lib.steps.settlement_findings import command_of

ACTED = (Action.RESOLVE_APPLIED, Action.DEPLOY, Action.ROLL_BACK_AND_DEPLOY)
LOCK_TIMEOUT_MS = 5_000
RECORDED = "recorded"
_AGAIN = "recorded; its failed attempt is marked as rolled back"


def commands(settlement: Settlement) -> tuple[str, ...]:
    """Return the command lines that carry out a settlement, in their order."""
    return (
        *(f"prisma migrate resolve --rolled-back {name}" for name in _taken_back(settlement)),
        *(f"prisma migrate resolve --applied {name}" for name in _applied(settlement)),
        *(("prisma migrate deploy",) if settlement.with_action(*DEPLOYED) else ()),
    )


def _applied(settlement: Settlement) -> tuple[str, ...]:
    return settlement.with_action(Action.RESOLVE_APPLIED)


def _taken_back(settlement: Settlement) -> tuple[str, ...]:
    return settlement.with_action(Action.ROLL_BACK_AND_DEPLOY)


def carry_out(
    phase: Phase, prisma: Prisma, settlement: Settlement, *, creates: bool
) -> tuple[Resolved, Written]:
    """Let Prisma take back what failed, record what stands, and deploy the rest, in the folder's order.

    `creates`: Prisma makes its table, which is then the owner's. Nothing is deployed where something was not recorded.
    Raises PrismaError when Prisma turns out to talk to another database.
    """
    role = phase.owner if creates else None
    applied, back, deploys = _applied(settlement), _taken_back(settlement), settlement.with_action(*DEPLOYED)
    written = Written(done=(), said=(), failed=None)
    if applied or back:
        written = prisma.resolve(applied, back, role=role)
    said: list[CliResult] = list(written.said)
    if deploys and written.failed is None:
        said.append(_deploy(phase, prisma))
    deployed = bool(deploys) and bool(said) and said[-1].exit_code == 0
    facts = Resolved(commands=commands(settlement), recorded=bool(written.done) or deployed, already=False)
    return replace(facts, command=facts.commands[0], said=said[-1] if said else None), Written(
        done=written.done, said=tuple(said), failed=written.failed
    )


def _deploy(phase: Phase, prisma: Prisma) -> CliResult:
    wait = phase.baseline.lock_timeout_ms if phase.baseline else LOCK_TIMEOUT_MS
    return prisma.deploy(role=phase.owner, lock_timeout_ms=wait)


def judge_recorded(
    phase: Phase, settlement: Settlement, after: State, said: Sequence[CliResult]
) -> Iterator[Finding]:
    """Judge, of each migration that was to be recorded or deployed, whether its row is there now.

    Prisma's words stand where it is not. P3008 means that somebody else recorded it: whose file, is judged too.
    """
    target = section(phase).target
    words = f"exit code {said[-1].exit_code}: {said[-1].last_words}" if said else "Prisma was not started"
    for each in settlement.migrations:
        if each.action not in ACTED:
            continue
        wanted = _AGAIN if each.recorded == "failed" else RECORDED
        there = after.recorded(each.migration) == "applied"
        yield judge(
            Check.MIGRATION_IS_RECORDED,
            target,
            each.migration,
            have=wanted if there else f"{after.recorded(each.migration)}; {words}",
            want=wanted,
            hint="Read what Prisma says above.",
        )


def would_be_recorded(phase: Phase, settlement: Settlement) -> Iterator[Finding]:
    """Return what a plan says instead of recording: SKIP, and what is run with --apply."""
    for each in settlement.migrations:
        if each.action not in ACTED:
            continue
        why = "It is recorded as failed, but all that it makes stands, or is planned. "
        failed = each.recorded == "failed" and each.action is Action.RESOLVE_APPLIED
        yield Finding(
            check=Check.MIGRATION_IS_RECORDED,
            target=section(phase).target,
            object=each.migration,
            have=PLAN_ONLY,
            want=RECORDED,
            verdict=Verdict.SKIP,
            hint=f"{why if failed else ''}With --apply this runs: {command_of(each)}",
        )
