"""Everything about Prisma that can be refused, asked before anything is written: in the plan, and right before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runbooks_lib.checks import Check
from runbooks_lib.errors import PreconditionFailed, RunbookError
from runbooks_lib.facts.writing import DeployRehearsed, Plan, SettledMigration
from runbooks_lib.findings import Finding, Verdict, could_not_run
from runbooks_lib.names import qualified, quoted
from runbooks_lib.phase import Phase
from runbooks_lib.postgres.catalog.catalog import Key
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.prisma.command import Prisma
from runbooks_lib.prisma.history import TABLE
from runbooks_lib.prisma.settlement import DEPLOYED, Action
from runbooks_lib.prisma.timeline import Stands
from runbooks_lib.steps.deploy_rehearsal import rehearse_deploys
from runbooks_lib.steps.pending import pending_at
from runbooks_lib.steps.prisma_agreement import judge_agreement, judge_answer
from runbooks_lib.steps.prisma_history import NEVER_MANAGED, judge_history
from runbooks_lib.steps.prisma_look import Looked, Proved, command_line, look_at_all, prove_target, section
from runbooks_lib.steps.rows_to_be import rows_to_be
from runbooks_lib.steps.schema_checks import check_schema
from runbooks_lib.steps.settlement_findings import (
    judge_data,
    judge_migrations,
    judge_objects,
    settled_facts,
    to_be_done,
)

_MAY_WRITE = """
    SELECT quote_ident(current_user) AS role, bool_and(has_table_privilege(to_regclass(%s), need)) AS may
    FROM unnest(ARRAY['INSERT', 'UPDATE']) AS need
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settling:
    """What was found of the migrations: findings, facts, and what is to become of which (what a hash depends on)."""

    findings: tuple[Finding, ...] = ()
    settlement: tuple[SettledMigration, ...] = ()
    to_come: tuple[Key, ...] = ()
    deploys: tuple[DeployRehearsed, ...] = ()
    to_be_done: dict[str, str] | None = None


def settle_all(
    phase: Phase,
    sessions: Sessions,
    *,
    plan: Plan,
    dump: Path | None,
    data: Path | None = None,
    superuser_objects: Sequence[str],
    rehearse: bool = True,
) -> Settling:
    """Ask how each migration stands, and everything that Prisma or we could refuse when they are settled.

    `plan` says what the baseline is still to make. `dump` and `data` are this run's backup of the target, in a copy
    of which what is to be deployed is rehearsed. Reads history, catalogue and rows of the target, replays the
    migrations in a scratch database and starts `prisma migrate status`; writes nothing. Nothing without [prisma].
    """
    if phase.prisma is None:
        return Settling()
    target = section(phase).target
    try:
        prisma = command_line(phase, sessions)
        looked = look_at_all(phase, sessions, prisma, rows_of_applied=False)
        pending = pending_at(phase, sessions, target, plan)
        to_be = rows_to_be(phase, sessions, looked)
        proved = prove_target(phase, sessions, looked, dump, superuser_objects, pending.objects, to_be)
        rehearsed: tuple[Finding, ...] = ()
        deploys: tuple[DeployRehearsed, ...] = ()
        if rehearse:
            rehearsed, deploys = rehearse_deploys(
                phase, sessions, proved, to_come(proved), dump=dump, data=data, allowed=superuser_objects
            )
        said = prisma.status(state=looked.state.digest)
        findings = (
            *judge_history(phase, looked.state, prisma.project.migrations),
            *judge_version(target, prisma, to_be_done(proved.settlement)),
            *judge_writable(phase, sessions, looked),
            judge_answer(target, said),
            *judge_agreement(target, prisma, looked.state, said),
            *judge_settlement(phase, proved),
            *pending.with_deployed(to_come(proved)).later(check_schema(phase, target, looked.catalog)),
        )
    except RunbookError as error:
        return Settling(findings=(could_not_run(Check.MIGRATION_IS_SETTLED, target, "migrations", error),))
    return Settling(
        findings=(
            _in_short(target, proved),
            *rehearsed,
            *(f for f in findings if f.verdict is not Verdict.PASS),
        ),
        settlement=settled_facts(proved.settlement),
        to_come=to_come(proved),
        deploys=deploys,
        to_be_done=to_be_done(proved.settlement),
    )


def judge_settlement(phase: Phase, proved: Proved) -> Iterator[Finding]:
    """Judge what is to be settled: migrations, their rows, and objects that are not as they should be.

    Also whether it is the right database at all.
    """
    target, settlement = section(phase).target, proved.settlement
    yield from judge_migrations(target, settlement)
    others = frozenset(settlement.with_action(Action.LEFT))
    objects = judge_objects(target, settlement.objects, phase, others=others)
    yield from (f for f in objects if f.verdict is not Verdict.PASS)
    yield from judge_data(target, [each for each in settlement.migrations if each.recorded != "applied"])
    stands = {each.stands for each in settlement.migrations} - {Stands.NONE, Stands.NOTHING}
    if proved.looked.state.rows is None and settlement.extras and settlement.migrations and not stands:
        yield Finding(
            check=Check.HAS_TABLE,
            target=target,
            object=f"{proved.looked.state.schema}.{TABLE}",
            have="absent, and nothing of any migration stands among other objects",
            want="there, or a database that has something of the migrations",
            verdict=Verdict.FAIL,
            hint=NEVER_MANAGED,
        )


def to_come(proved: Proved) -> tuple[Key, ...]:
    """Return the objects that migrations make or change which are to be deployed."""
    deployed = set(proved.settlement.with_action(*DEPLOYED))
    return tuple((each.kind, each.name) for each in proved.settlement.objects if deployed & set(each.to_come))


def _in_short(target: str, proved: Proved) -> Finding:
    """Return how many migrations there are, and what becomes of how many: PASS says that this was found out."""
    actions = [each.action for each in proved.settlement.migrations]
    said = {
        "recorded": actions.count(Action.NOTHING),
        "to be recorded": actions.count(Action.RESOLVE_APPLIED),
        "to be deployed": actions.count(Action.DEPLOY) + actions.count(Action.ROLL_BACK_AND_DEPLOY),
        "refused": actions.count(Action.REFUSE),
        "left as they are": actions.count(Action.LEFT),
    }
    words = ", ".join(f"{number} {what}" for what, number in said.items() if number)
    return Finding(
        check=Check.MIGRATION_IS_SETTLED,
        target=target,
        object="migrations",
        have=f"{len(actions)}: {words}" if actions else "none",
        want="settled, each of them",
        verdict=Verdict.PASS if actions else Verdict.SKIP,
    )


def judge_version(target: str, prisma: Prisma, to_be_written: Mapping[str, str]) -> Iterator[Finding]:
    """Judge whether this project's Prisma can do what is to be done; nothing where nothing is."""
    if to_be_written and not prisma.can_write:
        refused = PreconditionFailed(
            prisma.writing_refused, "Use a branch of the project that has Prisma 6 or 7."
        )
        yield could_not_run(Check.MIGRATION_IS_SETTLED, target, "prisma", refused)


def judge_writable(phase: Phase, sessions: Sessions, looked: Looked) -> Iterator[Finding]:
    """Judge whether the target's role may write Prisma's table."""
    target, state = section(phase).target, looked.state
    if state.rows is None:
        return
    history = quoted(qualified(state.schema, TABLE))
    with sessions.snapshot(target) as conn:
        row = conn.execute(_MAY_WRITE, (history,)).fetchone() or {}
    allowed = bool(row.get("may"))
    yield Finding(
        check=Check.ROLE_MAY,
        target=target,
        object=f"write {state.schema}.{TABLE}",
        have="yes" if allowed else "no",
        want="yes",
        verdict=Verdict.PASS if allowed else Verdict.FAIL,
        hint=""
        if allowed
        else f"Have its owner or a superuser run: GRANT INSERT, UPDATE ON {history} TO {row.get('role')};",
    )
