"""Step 4, Prisma resolve: record in Prisma's history what the database already has. Prisma itself does the writing.

Each function answers one question of `04_prisma_resolve.ipynb`. Prisma's own status is green on an empty database
whose history was resolved, and after an edited migration; so the history is read and judged here as well, and the
migrations are replayed in a scratch database and compared with what the target holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
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
from runbooks_lib.findings import CLOSING, Answer, Finding, Verdict, could_not_run, judge
from runbooks_lib.phase import Phase
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.prisma.command import UP_TO_DATE, Prisma, aim, find_project
from runbooks_lib.prisma.history import CLEAN, TABLE
from runbooks_lib.prisma.proof import ObjectState
from runbooks_lib.prisma.state import State
from runbooks_lib.steps.prisma_agreement import judge_agreement, judge_answer
from runbooks_lib.steps.prisma_findings import (
    PLAN_ONLY,
    by_check,
    cannot_tell,
    judge_objects,
    judge_row,
    judge_statements,
    judge_table,
    judge_writing,
    judged_next,
    not_judged,
    nothing_made,
    prismas_lines,
    still_pending,
    would_record,
)
from runbooks_lib.steps.prisma_look import look_at, look_at_all, prove_target
from runbooks_lib.steps.prisma_oddities import judge_oddities
from runbooks_lib.steps.schema_checks import check_schema
from runbooks_lib.steps.way_back import way_back

ALREADY_APPLIED = "P3008"


def command_line(phase: Phase, sessions: Sessions) -> Prisma:
    """Return the Prisma of the project that RUNBOOKS_PRISMA_PROJECT names, aimed at the migration's target.

    Nothing is started yet. The address is made in memory from the guarded session each time Prisma is started.
    Raises PreconditionFailed when the project, Prisma or Node.js is missing.
    """
    return Prisma(find_project(), lambda: aim(sessions.read(phase.migration.target)))


def history(phase: Phase, sessions: Sessions, *, prisma: Prisma) -> Answer:
    """Compare `_prisma_migrations` with the migrations folder: pending, edited, failed, extra, lost.

    Reads the table and the folder; writes nothing. Facts: the history and the rows.
    """
    name, migration = phase.migration.target, phase.migration.name
    try:
        state = look_at(phase, sessions, prisma)
    except RunbookError as error:
        return Answer(findings=(could_not_run(Check.HISTORY_IS_CLEAN, name, TABLE, error),))
    findings = (
        judge_table(name, state),
        judge(
            Check.MIGRATION_IS_IN_FOLDER,
            name,
            migration,
            have="there" if any(f.name == migration for f in state.files) else "absent",
            want="there",
            hint="The project's prisma/migrations lacks the folder of this name: wrong project, or wrong branch?",
        ),
        *_judge_names(name, migration, state),
        *judge_oddities(name, state),
    )
    table = tuple(
        {"migration": f.name, "recorded": state.recorded(f.name), "checksum": (f.checksum or "lost")[:16]}
        for f in state.files
    )
    facts = RecordedHistory(history=state.history, relation=state.history.relation, schema=state.schema)
    return Answer(findings=findings, facts=facts, rows=table)


def _judge_names(target: str, migration: str, state: State) -> Iterator[Finding]:
    """Judge, of every kind of difference between the history and the folder, that no migration has it."""
    found = state.history
    ours_failed = found.failed == (migration,) and state.failed(migration)
    others = tuple(pending for pending in found.pending if pending != migration)
    mend = "Mend what failed, then prisma migrate resolve --rolled-back NAME."
    settled = "This step settles it below: its objects all stand, or none does, or you have to mend them."
    edited = "The file changed after it was applied: restore it from Git."
    extra = "The database has a migration that the folder lacks: wrong branch?"
    lost = "Its migration.sql is missing: restore the folder from Git."
    pending = "Deploy or resolve it first; this phase records one migration."
    for check, names, hint in (
        (Check.NO_MIGRATION_IS_EDITED, found.edited, edited),
        (Check.NO_MIGRATION_HAS_FAILED, found.failed, settled if ours_failed else mend),
        (Check.NO_MIGRATION_IS_EXTRA, found.extra, extra),
        (Check.NO_MIGRATION_IS_LOST, found.lost, lost),
        (Check.NO_OTHER_MIGRATION_IS_PENDING, others, pending),
    ):
        yield judge(
            check,
            target,
            "migrations",
            have=", ".join(names) or "none",
            want="none",
            hint=hint,
            blocking=not (ours_failed and check is Check.NO_MIGRATION_HAS_FAILED),
        )


def status(phase: Phase, sessions: Sessions, *, prisma: Prisma) -> Answer:
    """Ask Prisma itself, before anything is recorded: `prisma migrate status`.

    Prisma is not started where it would create a schema. Facts: Prisma's version, its engine and its words. An
    error code is ERROR; pending migrations are expected here.
    """
    name = phase.migration.target
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
    prisma: Prisma,
    planned: Plan | None = None,
    dump: Path | None = None,
    superuser_objects: Sequence[str] = (),
) -> Answer:
    """Compare every object that the recorded migrations make with what the database holds.

    The applied migrations and the phase's own are replayed in a scratch database; the target is only read. Where the
    phase's own is recorded as failed, its objects are judged by `resolve`. `planned` is a plan that was
    only rehearsed: what it is to make for a migration that is not recorded yet is SKIP. `dump` is this run's dump of
    the target's schema, for what the migrations need and do not make; `superuser_objects` are made there as they are
    allowed. Statements whose effect no catalogue shows are OPEN, listed by migration.
    Facts: what was replayed and compared, which objects are `different`, which of them are `planned`, and which
    statements are `not_judged`.
    """
    name, migration = phase.migration.target, phase.migration.name
    try:
        state, live, like = look_at_all(phase, sessions, prisma)
        proof = prove_target(phase, sessions, state, live, like, dump, superuser_objects)
        pending = still_pending(phase, sessions, state, planned)
    except RunbookError as error:
        return Answer(findings=(could_not_run(Check.MIGRATION_OBJECTS_STAND, name, migration, error),))
    failed = state.failed(migration)
    own = () if failed else proof.own
    judged = (*own, *proof.others)
    told = [each for each in proof.migrations if not (failed and each == migration)]
    findings = [
        *judge_objects(name, own, pending),
        *judge_objects(name, proof.others),
        *judge_statements(name, proof, told),
    ]
    if failed:
        findings.append(judged_next(name, migration, len(proof.own)))
    counts = Counter(state.kind for state in judged)
    standing = Counter(state.kind for state in judged if state.stands)
    return Answer(
        findings=tuple(findings) or (nothing_made(name, migration),),
        facts=LiveSchema(
            migrations=proof.migrations,
            scratch_version=proof.server_version,
            objects=len(judged),
            different=tuple(state.label for state in judged if not state.stands),
            planned=tuple(state.label for state in own if pending.still_makes(state)),
            statements=sum(len(ran.statements) for ran in proof.ran.values()),
            not_judged=not_judged(proof),
            borrowed=proof.borrowed,
            lacking=proof.lacking,
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
    prisma: Prisma,
    plan: Plan | None,
    planned: Plan | None = None,
    dump: Path | None = None,
    superuser_objects: Sequence[str] = (),
    apply: bool,
    recorded: Evidence | None = None,
    folder: Path | None = None,
) -> Answer:
    """Record the migration as applied, by `prisma migrate resolve --applied NAME`, if the database has its objects.

    Refused, without starting Prisma, unless every declared object stands as declared and every object that the
    migration makes, changes or removes is as after it. Already recorded with the same checksum is success. A migration
    that failed is recorded as applied when all its objects stand, and as rolled back when none does; half-way
    nothing is run. Writes through Prisma, only with apply=True, under the `plan` that this run has applied (None
    without one), and while the dumps that the run has `recorded` lie in `folder` as they were. What a plan that
    was only rehearsed (`planned`) is to make is SKIP. Facts: `command`, `recorded`, `already`, its words.
    """
    name, migration = phase.migration.target, phase.migration.name
    command = f"prisma migrate resolve --applied {migration}"
    facts = Resolved(command=command, recorded=False, already=False)
    dumped = way_back(phase, folder, recorded) if apply else ()
    if any(f.verdict in CLOSING for f in dumped):
        return by_check(dumped, facts)
    try:
        state, live, like = look_at_all(phase, sessions, prisma)
        pending = still_pending(phase, sessions, state, None if apply else planned)
        evidence = (judge_table(name, state), *pending.later(check_schema(phase, name, live)))
        if migration in state.history.applied:
            return by_check((*evidence, judge_row(phase, state)), replace(facts, already=True))
        try:
            proof = prove_target(phase, sessions, state, live, like, dump, superuser_objects)
        except RunbookError as error:
            unproved = could_not_run(Check.MIGRATION_OBJECTS_STAND, name, migration, error)
            return by_check((*evidence, unproved), facts)
        own, failed = proof.own, state.failed(migration)
        made = (*judge_objects(name, own, pending), *judge_statements(name, proof, [migration]))
        evidence += made or (nothing_made(name, migration),)
        if failed and not own:
            return by_check((*evidence, cannot_tell(name, migration)), facts)
        if failed and not all(made.stands or pending.still_makes(made) for made in own):
            return _settle(phase, sessions, prisma, state, own, evidence, plan=plan, apply=apply)
        if any(f.verdict in CLOSING for f in evidence):
            return by_check(evidence, facts)
        if not apply:
            would = would_record(name, migration, command, failed=failed)
            return by_check((*evidence, would), facts)
        allowed = judge_writing(phase, sessions, state, plan)
        if any(f.verdict in CLOSING for f in allowed):
            return by_check((*evidence, *allowed), facts)
        return _record(phase, sessions, prisma, (*evidence, *allowed), facts, failed=failed)
    except RunbookError as error:
        return Answer(
            findings=(could_not_run(Check.MIGRATION_IS_RECORDED, name, migration, error),), facts=facts
        )


def confirm(phase: Phase, sessions: Sessions, *, prisma: Prisma, apply: bool) -> Answer:
    """Check what was recorded: the row read back, the whole history clean, and Prisma's own words.

    Reads the table and runs `prisma migrate status`; writes nothing. Facts: Prisma's words and the row.
    """
    name, migration = phase.migration.target, phase.migration.name
    try:
        state = look_at(phase, sessions, prisma)
        if not apply and migration not in state.history.applied:
            skipped = Finding(
                check=Check.PRISMA_IS_UP_TO_DATE,
                target=name,
                object=migration,
                have=PLAN_ONLY,
                want=UP_TO_DATE,
                verdict=Verdict.SKIP,
            )
            return Answer(findings=(skipped,))
        said = prisma.status(state=state.digest)
    except RunbookError as error:
        return Answer(findings=(could_not_run(Check.PRISMA_IS_UP_TO_DATE, name, migration, error),))
    findings = (
        judge_row(phase, state),
        judge(
            Check.HISTORY_IS_CLEAN,
            name,
            TABLE,
            have=state.history.summary,
            want=CLEAN,
            hint="See the first question of this step: which migration, and what to do.",
        ),
        judge(
            Check.PRISMA_IS_UP_TO_DATE,
            name,
            said.command,
            have=UP_TO_DATE if said.up_to_date else said.last_words,
            want=UP_TO_DATE,
            hint="Prisma sees it otherwise: read its words above.",
        ),
        *judge_agreement(name, prisma, state, said),
    )
    row = state.row(migration)
    found = RecordedRow(checksum=row.checksum, finished_at=str(row.finished_at)) if row else None
    facts = PrismaConfirmed(said=said, row=found)
    return Answer(findings=findings, facts=facts, rows=prismas_lines(said))


def _record(
    phase: Phase,
    sessions: Sessions,
    prisma: Prisma,
    evidence: tuple[Finding, ...],
    facts: Resolved,
    *,
    failed: bool,
) -> Answer:
    """Let Prisma record the migration as applied, and read the row back: P3008 is success only for this very file."""
    name, migration = phase.migration.target, phase.migration.name
    said = prisma.resolve_applied(migration)
    facts = replace(facts, recorded=said.exit_code == 0, said=said)
    try:
        state = look_at(phase, sessions, prisma)
    except RunbookError as error:
        return Answer(
            findings=(could_not_run(Check.MIGRATION_IS_RECORDED, name, migration, error),), facts=facts
        )
    recorded = said.exit_code == 0 or said.code == ALREADY_APPLIED
    wanted = "recorded; its failed attempt is marked as rolled back" if failed else "recorded"
    finding = judge(
        Check.MIGRATION_IS_RECORDED,
        name,
        migration,
        have=wanted if recorded else f"exit code {said.exit_code}: {said.last_words}",
        want=wanted,
        hint="Read what Prisma says above; nothing was recorded.",
    )
    read_back = (judge_row(phase, state),) if recorded else ()
    return Answer(findings=(*evidence, finding, *read_back), facts=facts, rows=prismas_lines(said))


def _settle(
    phase: Phase,
    sessions: Sessions,
    prisma: Prisma,
    state: State,
    own: tuple[ObjectState, ...],
    evidence: tuple[Finding, ...],
    *,
    plan: Plan | None,
    apply: bool,
) -> Answer:
    """Settle a failed migration whose objects do not all stand: take it back when none does, else run nothing.

    The answer is FAIL in any case: what the phase wants is not there.
    """
    name, migration = phase.migration.target, phase.migration.name
    command = f"prisma migrate resolve --rolled-back {migration}"
    facts = Resolved(command=command, recorded=False, already=False, rolled_back=False)

    def failed(have: str, hint: str) -> Finding:
        return judge(Check.MIGRATION_IS_RECORDED, name, migration, have=have, want="recorded", hint=hint)

    if not all(made.untouched for made in own):
        stand = ", ".join(made.label for made in own if made.stands) or "none"
        others = ", ".join(made.label for made in own if not made.stands)
        words = f"failed half-way; as after it: {stand}; not so: {others}"
        hint = "Nothing was run. Finish what is missing or undo what is there, by hand; then run this step again."
        return by_check((*evidence, failed(words, hint)), facts)
    deploy = "then deploy it (prisma migrate deploy) and run this step again"
    if not apply:
        words = "failed, and the database has nothing of it"
        return by_check((*evidence, failed(words, f"With --apply this runs: {command}; {deploy}.")), facts)
    allowed = judge_writing(phase, sessions, state, plan)
    if any(f.verdict in CLOSING for f in allowed):
        return by_check((*evidence, *allowed), facts)
    said = prisma.resolve_rolled_back(migration)
    taken_back = look_at(phase, sessions, prisma).recorded(migration) == "rolled back"
    words = (
        "failed, and now marked as rolled back by Prisma; the database has nothing of it"
        if taken_back
        else f"failed; exit code {said.exit_code}: {said.last_words}"
    )
    finding = failed(words, f"Mend what made it fail, {deploy}.")
    facts = replace(facts, rolled_back=taken_back, said=said)
    return Answer(findings=(*evidence, *allowed, finding), facts=facts, rows=prismas_lines(said))
