"""Step 4, Prisma resolve: bring Prisma's history in line with what the database has. Prisma itself does the writing.

Each function answers one question of `04_prisma_resolve.ipynb`. Prisma's own status is green on an empty database
whose history was resolved, and after an edited migration; so the history is read and judged here as well, and the
migrations are replayed in a scratch database and compared, statement by statement, with what the target holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from runbooks_lib.checks import Check
from runbooks_lib.errors import RunbookError
from runbooks_lib.evidence import Evidence
from runbooks_lib.facts.writing import (
    LiveSchema,
    Plan,
    PrismaConfirmed,
    PrismaStatus,
    RecordedHistory,
    RecordedRow,
    Resolved,
)
from runbooks_lib.findings import CLOSING, Answer, Finding, Verdict, could_not_run, judge, not_declared
from runbooks_lib.phase import Phase
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.prisma.command import UP_TO_DATE, Prisma
from runbooks_lib.prisma.history import CLEAN, TABLE
from runbooks_lib.prisma.settlement import DEPLOYED, Action
from runbooks_lib.prisma.state import State
from runbooks_lib.steps import prisma_look
from runbooks_lib.steps.declared import not_asked
from runbooks_lib.steps.folded_rows import folded
from runbooks_lib.steps.pending import NOTHING_PENDING, Pending, pending_at
from runbooks_lib.steps.prisma_agreement import judge_agreement, judge_answer
from runbooks_lib.steps.prisma_findings import (
    PLAN_ONLY,
    by_check,
    judge_replay,
    judge_row,
    judge_writing,
    not_judged,
    prismas_lines,
    statements_of,
)
from runbooks_lib.steps.prisma_history import judge_history, judge_table
from runbooks_lib.steps.prisma_look import (
    Proved,
    look_at,
    look_at_all,
    named,
    prove_target,
    section,
)
from runbooks_lib.steps.prisma_writing import ACTED, carry_out, commands, judge_recorded, would_be_recorded
from runbooks_lib.steps.rows_to_be import rows_to_be
from runbooks_lib.steps.schema_checks import check_schema
from runbooks_lib.steps.settlement_findings import data_facts, judge_data, judge_extras, judge_objects
from runbooks_lib.steps.settling import judge_settlement, to_come
from runbooks_lib.steps.way_back import way_back


def command_line(phase: Phase, sessions: Sessions) -> Prisma | None:
    """Return the Prisma that this step asks, see `prisma_look`; None where the phase has no Prisma section."""
    return prisma_look.command_line(phase, sessions) if phase.prisma else None


def target(phase: Phase) -> str:
    """Return the target whose history is brought in line; empty where the phase has no Prisma section."""
    return phase.prisma.target if phase.prisma else ""


def history(phase: Phase, sessions: Sessions, *, prisma: Prisma | None) -> Answer:
    """Compare `_prisma_migrations` with the migrations folder: pending, edited, failed, extra, lost.

    Reads the table and the folder; writes nothing. Facts: the history and the rows.
    """
    if phase.prisma is None or prisma is None:
        return not_asked(phase, Check.HISTORY_IS_CLEAN)
    try:
        state = look_at(phase, sessions, prisma)
        findings = judge_history(phase, state, prisma.project.migrations)
    except RunbookError as error:
        return Answer(findings=(could_not_run(Check.HISTORY_IS_CLEAN, section(phase).target, TABLE, error),))
    table = tuple(
        {"migration": f.name, "recorded": state.recorded(f.name), "checksum": (f.checksum or "lost")[:16]}
        for f in state.files
    )
    facts = RecordedHistory(history=state.history, relation=state.history.relation, schema=state.schema)
    rows = folded(table, column="migration", by="recorded")
    return Answer(findings=findings, facts=facts, rows=rows)


def status(phase: Phase, sessions: Sessions, *, prisma: Prisma | None) -> Answer:
    """Ask Prisma itself, before anything is recorded: `prisma migrate status`.

    Prisma is not started where it would create a schema. Facts: Prisma's version, its engine and its words. An
    error code is ERROR; pending migrations are expected here.
    """
    if phase.prisma is None or prisma is None:
        return not_asked(phase, Check.PRISMA_ANSWERS)
    name = section(phase).target
    try:
        state = look_at(phase, sessions, prisma)
        said = prisma.status(state=state.digest)
    except RunbookError as error:
        return Answer(findings=(could_not_run(Check.PRISMA_ANSWERS, name, "prisma migrate status", error),))
    findings = (judge_answer(name, said), *judge_agreement(name, prisma, state, said))
    facts = PrismaStatus(version=prisma.version(), engine=prisma.engine, said=said)
    return Answer(findings=findings, facts=facts, rows=prismas_lines(said))


def live_schema(
    phase: Phase,
    sessions: Sessions,
    *,
    prisma: Prisma | None,
    planned: Plan | None = None,
    dump: Path | None = None,
    superuser_objects: Sequence[str] = (),
) -> Answer:
    """Compare every object that the migrations make with what the database holds, in one proof over all of them.

    All migrations of the folder are replayed in a scratch database; the target is only read. What those that are not
    recorded and were not run would make is SKIP. `planned` is a plan that was only rehearsed: what it is to make for a
    migration that is not recorded yet is SKIP. `dump` is this run's dump of the target's schema, for what the
    migrations need and do not make; `superuser_objects` are made there as they are allowed. Statements whose effect
    no catalogue shows are asked for rows, else OPEN; so is what no migration makes.
    Facts: what was replayed and compared, which objects are `different`, which of them are `planned`, and which
    statements are `not_judged`.
    """
    if phase.prisma is None or prisma is None:
        return Answer(findings=(not_declared(Check.MIGRATION_OBJECTS_STAND, "-", "prisma section"),))
    name = section(phase).target
    try:
        proved = _prove(phase, sessions, prisma, planned, dump, superuser_objects, rows_of_applied=True)
    except RunbookError as error:
        return Answer(findings=(could_not_run(Check.MIGRATION_OBJECTS_STAND, name, "migrations", error),))
    settlement = proved.settlement
    others = frozenset(settlement.with_action(Action.LEFT))
    findings = (
        *judge_objects(name, settlement.objects, phase, others=others),
        *judge_replay(name, proved),
        *judge_data(name, settlement.migrations),
        *judge_extras(name, settlement.extras, phase),
    )
    counts = Counter(each.kind for each in settlement.objects)
    standing = Counter(each.kind for each in settlement.objects if each.stands and not each.to_come)
    return Answer(
        findings=findings,
        facts=LiveSchema(
            migrations=tuple(ran.name for ran in proved.replayed.scripts),
            scratch_version=proved.replayed.server_version,
            objects=len(settlement.objects),
            different=tuple(each.label for each in settlement.objects if not each.stands),
            planned=tuple(each.label for each in settlement.objects if each.planned or each.to_come),
            extras=tuple(f"{kind} {named}" for kind, named in settlement.extras),
            statements=statements_of(proved.replayed),
            not_judged=not_judged(proved),
            data={each.migration: data_facts(each.rows) for each in settlement.migrations if each.rows},
            borrowed=proved.replayed.borrowed,
            lacking=proved.replayed.lacking,
        ),
        rows=tuple(
            {"objects": kind, "made by the migrations": counts[kind], "stand": standing[kind]}
            for kind in sorted(counts)
        ),
    )


def resolve(
    phase: Phase,
    sessions: Sessions,
    *,
    prisma: Prisma | None,
    plan: Plan | None,
    planned: Plan | None = None,
    dump: Path | None = None,
    superuser_objects: Sequence[str] = (),
    apply: bool,
    recorded: Evidence | None = None,
    folder: Path | None = None,
) -> Answer:
    """Settle each migration, by Prisma itself: recorded where all of it stands, deployed where nothing of it does.

    Refused, without starting Prisma, where one stands in part, or an object is not as the migrations that were run
    make it. A migration that failed is recorded as applied when all of it stands, and taken back and deployed when
    nothing does. Already recorded with the same checksum is success. Writes through Prisma, only with apply=True, under
    the `plan` that this run has applied (None without one), and while the dumps that the run has `recorded` lie in
    `folder` as they were. What a plan that was only rehearsed (`planned`) is to make is SKIP. Afterwards everything is
    read back, and compared again. Facts: `commands`, `recorded`, `already`, what was settled, and Prisma's words.
    """
    if phase.prisma is None or prisma is None:
        return not_asked(phase, Check.MIGRATION_IS_RECORDED)
    name, facts = section(phase).target, Resolved(recorded=False, already=False)
    dumped = way_back(phase, folder, recorded) if apply else ()
    if any(f.verdict in CLOSING for f in dumped):
        return by_check(dumped, facts)
    try:
        proved = _prove(phase, sessions, prisma, None if apply else planned, dump, superuser_objects)
        pending = _pending(phase, sessions, None if apply else planned).with_deployed(to_come(proved))
        ours = named(phase, proved.looked.state)
        told = commands(proved.settlement)
        facts = replace(facts, commands=told, command=told[0] if told else None)
        evidence = (
            judge_table(name, proved.looked.state),
            *pending.later(check_schema(phase, name, proved.looked.catalog)),
            *judge_settlement(phase, proved),
        )
        if any(f.verdict in CLOSING for f in evidence):
            return by_check(evidence, facts)
        if not told:
            rows = tuple(judge_row(name, proved.looked.state, each) for each in ours)
            return by_check((*evidence, *rows), replace(facts, already=True))
        if not apply:
            return by_check((*evidence, *would_be_recorded(phase, proved.settlement)), facts)
        allowed = judge_writing(phase, sessions, proved, plan)
        if any(f.verdict in CLOSING for f in allowed):
            return by_check((*evidence, *allowed), facts)
        return _write(phase, sessions, prisma, proved, (*evidence, *allowed), dump, superuser_objects)
    except RunbookError as error:
        return Answer(
            findings=(could_not_run(Check.MIGRATION_IS_RECORDED, name, "migrations", error),), facts=facts
        )


def _write(
    phase: Phase,
    sessions: Sessions,
    prisma: Prisma,
    proved: Proved,
    evidence: tuple[Finding, ...],
    dump: Path | None,
    superuser_objects: Sequence[str],
) -> Answer:
    """Carry the settlement out, read back what was recorded, and compare the database once more."""
    name, before = section(phase).target, proved.looked.state
    facts, written = carry_out(phase, prisma, proved.settlement, creates=before.rows is None)
    try:
        after = _prove(phase, sessions, prisma, None, dump, superuser_objects)
    except RunbookError as error:
        failed = could_not_run(Check.MIGRATION_IS_RECORDED, name, "migrations", error)
        return Answer(findings=(*evidence, failed), facts=facts)
    state, settlement = after.looked.state, proved.settlement
    done = {each for each in settlement.with_action(*ACTED) if state.recorded(each) == "applied"}
    # `confirm` has all rows; what is not as it should be is told here, too
    rows = (judge_row(name, state, each) for each in settlement.with_action(*ACTED) if each in done)
    findings = (
        *evidence,
        *judge_recorded(phase, settlement, state, written.said),
        *(f for f in (*rows, *judge_settlement(phase, after)) if f.verdict in CLOSING),
    )
    facts = replace(
        facts,
        settled=tuple(each for each in settlement.with_action(Action.RESOLVE_APPLIED) if each in done),
        taken_back=tuple(
            each for each in settlement.with_action(Action.ROLL_BACK_AND_DEPLOY) if each in written.done
        ),
        deployed=tuple(each for each in settlement.with_action(*DEPLOYED) if each in done),
    )
    return Answer(findings=findings, facts=facts, rows=prismas_lines(*written.said))


def _prove(
    phase: Phase,
    sessions: Sessions,
    prisma: Prisma,
    planned: Plan | None,
    dump: Path | None,
    superuser_objects: Sequence[str],
    *,
    rows_of_applied: bool = False,
) -> Proved:
    looked = look_at_all(phase, sessions, prisma, rows_of_applied=rows_of_applied)
    pending = _pending(phase, sessions, planned)
    to_be = rows_to_be(phase, sessions, looked) if planned else None
    return prove_target(phase, sessions, looked, dump, superuser_objects, pending.objects, to_be)


def _pending(phase: Phase, sessions: Sessions, planned: Plan | None) -> Pending:
    return pending_at(phase, sessions, section(phase).target, planned) if planned else NOTHING_PENDING


def confirm(phase: Phase, sessions: Sessions, *, prisma: Prisma | None, apply: bool) -> Answer:
    """Check what was recorded: the rows read back, the whole history clean, and Prisma's own words.

    Reads the table and runs `prisma migrate status`; writes nothing. Migrations that the phase does not name may be
    pending still: OPEN. Facts: Prisma's words and the rows.
    """
    if phase.prisma is None or prisma is None:
        return not_asked(phase, Check.PRISMA_IS_UP_TO_DATE)
    name = section(phase).target
    try:
        state = look_at(phase, sessions, prisma)
        ours = named(phase, state)
        if not apply and not set(ours) <= set(state.history.applied):
            skipped = Finding(
                check=Check.PRISMA_IS_UP_TO_DATE,
                target=name,
                object=ours[0] if len(ours) == 1 else "migrations",
                have=PLAN_ONLY,
                want=UP_TO_DATE,
                verdict=Verdict.SKIP,
            )
            return Answer(findings=(skipped,))
        said = prisma.status(state=state.digest)
    except RunbookError as error:
        return Answer(findings=(could_not_run(Check.PRISMA_IS_UP_TO_DATE, name, "migrations", error),))
    others_only = _is_clean_but_for_others(phase, state, ours)
    findings = (
        *(judge_row(name, state, each) for each in ours),
        judge(
            Check.HISTORY_IS_CLEAN,
            name,
            TABLE,
            have=state.history.summary,
            want=CLEAN,
            hint="See the first question of this step: which migration, and what to do.",
            blocking=not others_only,
        ),
        judge(
            Check.PRISMA_IS_UP_TO_DATE,
            name,
            said.command,
            have=UP_TO_DATE if said.up_to_date else said.last_words,
            want=UP_TO_DATE,
            hint="Prisma sees it otherwise: read its words above.",
            blocking=not others_only,
        ),
        *judge_agreement(name, prisma, state, said),
    )
    rows = tuple(
        RecordedRow(checksum=row.checksum, finished_at=str(row.finished_at), migration=each)
        for each in ours
        if (row := state.row(each))
    )
    facts = PrismaConfirmed(said=said, row=rows[-1] if rows else None, rows=rows)
    return Answer(findings=findings, facts=facts, rows=prismas_lines(said))


def _is_clean_but_for_others(phase: Phase, state: State, ours: Sequence[str]) -> bool:
    """Return whether nothing is wrong with a history but that others are pending, or are accepted."""
    found = state.history
    accepted = {each.migration for each in section(phase).accept}
    pending = set(found.pending) | set(found.rolled_back)
    blemished = found.edited or found.failed or found.lost or set(found.extra) - accepted
    return found.table_exists and not blemished and not pending & set(ours)
