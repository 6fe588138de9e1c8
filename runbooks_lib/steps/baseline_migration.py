"""Step 3, baseline migration: make the declared objects exist where they are missing, and change nothing else.

Each function answers one question of `03_baseline_migration.ipynb`. Only `apply` and `second_run` write, and only
with apply=True and the plan's confirmation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from msgspec.structs import replace

from runbooks_lib.checks import Check
from runbooks_lib.errors import MigrationError, RunbookError
from runbooks_lib.evidence import Evidence
from runbooks_lib.facts.databases import Dump
from runbooks_lib.facts.writing import (
    OF_MIGRATIONS,
    Applied,
    Confirmation,
    Confirmed,
    Fingerprint,
    KeptPlan,
    Outcome,
    Parsed,
    Plan,
    Rehearsal,
    SecondRun,
    Written,
)
from runbooks_lib.findings import CLOSING, Answer, Finding, Verdict, could_not_run, not_declared
from runbooks_lib.phase import Phase
from runbooks_lib.postgres.catalog.catalog import Catalog
from runbooks_lib.postgres.catalog.differences import describe, from_plain
from runbooks_lib.postgres.script.consequences import Fate
from runbooks_lib.postgres.script.lint import lint
from runbooks_lib.postgres.script.script import Statement
from runbooks_lib.postgres.session.connect import Sessions, lost
from runbooks_lib.steps import baseline_runs
from runbooks_lib.steps.baseline_file import (
    Judged,
    baseline_of,
    indexes_to_build,
    judge_statements,
    name_of_sql,
    read_concurrent,
    read_sql,
    read_statements,
    sql_sha256,
)
from runbooks_lib.steps.baseline_findings import (
    WHAT_RUNS_CHANGE,
    counted_rows,
    judge_again,
    judge_applied,
    judge_built,
    judge_built_again,
    judge_rehearsal,
    judge_statement,
    not_in_a_transaction,
)
from runbooks_lib.steps.baseline_plan import judge_lint, judge_made
from runbooks_lib.steps.confirming import (
    judge_alone,
    judge_confirmation,
    not_confirmed,
    plan_only,
)
from runbooks_lib.steps.declared import not_asked
from runbooks_lib.steps.inspection import besides_as_declared, by_object
from runbooks_lib.steps.planning import make_plan, still_settled
from runbooks_lib.steps.schema_checks import check_schema
from runbooks_lib.steps.way_back import way_back
from runbooks_lib.typed import plain

_REHEARSED = (Check.REHEARSAL_IS_INERT, Check.UNDO_RESTORES)
_NAMED = re.compile(r'"[^"]*" ')
_NO_PLAN = MigrationError("There is no plan.", "Mend what the plan's findings name; plan again.")


def parse(phase: Phase, sessions: Sessions) -> Answer:
    """Read the baseline with PostgreSQL's own parser, refuse what is not idempotent, and have squawk lint it.

    Reads the SQL file beside phase.toml and asks the target for its version. Facts: the file's name, SHA-256 and
    statements.
    """
    if phase.baseline is None:
        return not_asked(phase, Check.STATEMENT_IS_IDEMPOTENT, Check.SCRIPT_IS_LINT_FREE)
    name, file = phase.baseline.target, phase.baseline.file
    try:
        file = name_of_sql(phase)
        statements = (*read_statements(phase), *read_concurrent(phase))
    except RunbookError as error:
        return Answer(findings=(could_not_run(Check.STATEMENT_IS_IDEMPOTENT, "-", file, error),))
    try:
        with sessions.snapshot(name) as conn:
            judged = judge_statements(conn, statements)
        findings = [judge_statement(name, each) for each in judged]
    except RunbookError as error:  # what its form alone tells is told
        judged = tuple(Judged(statement, ()) for statement in statements if statement.refused)
        findings = [judge_statement(name, each) for each in judged]
        findings.append(could_not_run(Check.STATEMENT_IS_IDEMPOTENT, name, file, error))
    try:
        findings.extend(_linted(phase, sessions, name, file))
    except RunbookError as error:
        findings.append(could_not_run(Check.SCRIPT_IS_LINT_FREE, name, file, error))
    facts = Parsed(file=file, sha256=sql_sha256(phase), statements=len(statements))
    said = (
        {"kind": each.statement.kind, "twice": each.refused or "same", "sets off": each.told(*Fate)}
        for each in judged
    )
    rows = counted_rows([each.statement.line for each in judged], said)
    return Answer(findings=tuple(findings), facts=facts, rows=rows)


def _linted(phase: Phase, sessions: Sessions, name: str, file: str) -> list[Finding]:
    """Have squawk lint what is run; what the migrations say is not this phase's to write otherwise."""
    if file == OF_MIGRATIONS:
        return [not_declared(Check.SCRIPT_IS_LINT_FREE, name, "statements of its own")]
    warnings = lint(read_sql(phase), name=file, server_major=sessions.identity(name).major)
    return judge_lint(name, file, warnings, baseline_of(phase).lint)


def plan(
    phase: Phase,
    sessions: Sessions,
    *,
    dumps: Mapping[str, Dump],
    code: str,
    folder: Path | None = None,
    superuser_objects: Sequence[str] = (),
) -> Answer:
    """Say what each statement would do and what becomes of each migration, and hash all that the plan depends on.

    `dumps` are the facts of backup.dump and `folder` is where they lie, `code` is the digest of the notebooks;
    `superuser_objects` are made in the scratch database as they are allowed. Reads the baseline target's catalogue and
    Prisma's migrations, and runs the script in an empty scratch database, or, where it needs what the target has, in a
    copy made of its dump; asks all that step 4 could refuse; writes nothing to any target.
    Facts: `statements`, `makes` (what the script makes on its own), `pending` (what of that the target has not so),
    `settlement` (what becomes of which migration), `parts` (what the hash is made of), `hash` and `confirmation`
    (DATABASE:HASH8; none for a plan that is red).
    """
    return make_plan(
        phase, sessions, dumps=dumps, code=code, folder=folder, superuser_objects=superuser_objects
    )


def rehearse(phase: Phase, sessions: Sessions, *, plan: Plan) -> Answer:
    """Execute the baseline twice, and its undo, in a transaction that rolls back; judge both, and that nothing is left.

    `plan` are the facts of `plan`. Takes the locks that the real run takes, for as long as the rehearsal lasts; what
    no rollback would take back is left out, and named. Nothing is committed.
    Facts: the catalogue's fingerprint `before` and `after`, what the script wrote `first` and the `second` time, the
    statements `left` out, the `sequences` that it moved nonetheless, its `locks`, and the `undo`, rehearsed or not.
    """
    if phase.baseline is None:
        return not_asked(phase, *_REHEARSED)
    name = phase.baseline.target
    if plan.makes is None:
        return Answer(findings=tuple(could_not_run(each, name, "baseline", _NO_PLAN) for each in _REHEARSED))
    try:
        indexes = indexes_to_build(phase)
        inspect = partial(_judge_result, phase, plan, later=indexes)
        seen = baseline_runs.rehearse(phase, sessions, inspect, plan.undo)
    except (RunbookError, psycopg.Error) as error:
        wrapped = _wrapped(phase, error)
        return Answer(findings=tuple(could_not_run(each, name, "baseline", wrapped) for each in _REHEARSED))
    later = tuple(each.object for each in indexes if each.object not in seen.before.indexes)
    facts = Rehearsal(
        before=Fingerprint(fingerprint=seen.before.fingerprint()),
        after=Fingerprint(fingerprint=seen.after.fingerprint()),
        first={table: Written(*rows) for table, rows in seen.first.rows.items()},
        second={table: Written(*rows) for table, rows in seen.second.rows.items()},
        left=tuple(each.statement.line for each in seen.left),
        sequences=seen.moved,
        locks=seen.locks,
        undo=plan.undo and replace(plan.undo, rehearsed=not (seen.undone.why_not or later)),
    )
    outside = (not_in_a_transaction(name, each, plan.where) for each in indexes)
    findings = (*seen.made, *outside, *judge_rehearsal(name, seen, plan.where, plan.undo, later))
    return Answer(findings=findings, facts=facts, rows=besides_as_declared(by_object(seen.made), name))


def confirmation(
    phase: Phase,
    sessions: Sessions,
    *,
    plan: Plan,
    planned: Callable[[str], KeptPlan | None],
    confirm: str,
    apply: bool,
    by: str = "",
    at: str = "",
) -> Answer:
    """Ask whether the plan as it is now is confirmed, and who else is at work in its database.

    `planned` finds the facts of the kept plan that a confirmation names; `by` and `at` say who decided, and when.
    Facts: `confirmed`, with the confirmation and who gave it when; None when nothing is to be written.
    """
    name = phase.written
    if name is None:
        return not_asked(phase, Check.PLAN_IS_CONFIRMED)
    findings = [judge_alone(name, sessions)]
    confirmed = None
    if not plan.confirmation:
        findings.append(could_not_run(Check.PLAN_IS_CONFIRMED, name, "confirmation", _NO_PLAN))
    elif not apply:
        findings.append(not_confirmed(name, plan.confirmation))
    else:
        findings.append(judge_confirmation(name, plan, planned(confirm), confirm, run=sessions.run))
        if findings[-1].verdict is Verdict.PASS:
            confirmed = Confirmed(confirmation=confirm, by=by, at=at)
    return Answer(findings=tuple(findings), facts=Confirmation(confirmed=confirmed))


def apply(
    phase: Phase,
    sessions: Sessions,
    *,
    plan: Plan,
    planned: KeptPlan | None,
    confirm: str,
    apply: bool,
    evidence: Evidence | None = None,
    folder: Path | None = None,
) -> Answer:
    """Apply the baseline in one transaction, if the plan is confirmed and still true; verify before the commit.

    Indexes that are built concurrently come after it, under the same lock, and all is verified once more.

    `plan` are the facts of `plan`, `confirm` is DATABASE:HASH8 as the plan prints it, `planned` the facts of the
    kept plan that this names. The dumps that `evidence` tells of are read again in `folder` first, and the migrations
    settled once more: what step 4 would refuse is refused here, before anything is written.
    Writes to the baseline target, only with apply=True; nothing without a baseline.
    Facts: `applied`, and per statement what the server said.
    """
    name, what = phase.written, phase.baseline.file if phase.baseline else "migrations"
    if name is None:
        return not_asked(phase, Check.BASELINE_IS_APPLIED)
    if not plan.confirmation:
        failed = could_not_run(Check.BASELINE_IS_APPLIED, name, what, _NO_PLAN)
        return Answer(findings=(failed,), facts=Applied(applied=False))
    if not apply:
        skipped = plan_only(Check.BASELINE_IS_APPLIED, name, what, want="applied")
        return Answer(findings=(skipped,), facts=Applied(applied=False))
    before: tuple[Finding, ...] = (
        judge_confirmation(name, plan, planned, confirm, run=sessions.run),
        *way_back(phase, folder, evidence),
    )
    if not any(f.verdict in CLOSING for f in before):
        before += still_settled(phase, sessions, plan, evidence, folder)
    if any(f.verdict in CLOSING for f in before):
        return Answer(findings=before, facts=Applied(applied=False))
    if phase.baseline is None:
        nothing = not_declared(Check.BASELINE_IS_APPLIED, name, "baseline")
        return Answer(findings=(*before, nothing), facts=Applied(applied=True))
    try:
        indexes = indexes_to_build(phase)
        inspect = partial(_judge_result, phase, plan, later=indexes)
        seen = baseline_runs.apply(phase, sessions, plan, inspect, indexes)
    except (RunbookError, psycopg.Error) as error:
        failed = could_not_run(Check.BASELINE_IS_APPLIED, name, what, _wrapped(phase, error))
        return Answer(findings=(*before, failed), facts=Applied(applied=False))
    outcomes = (*seen.outcomes, *seen.built.outcomes)
    made = seen.made if seen.built.after is None else _judge_result(phase, plan, seen.built.after)
    built = [judge_built(name, phase.baseline.concurrently, seen)] if phase.baseline.concurrently else []
    return Answer(
        findings=(*before, *made, judge_applied(name, what, seen), *built),
        facts=Applied(applied=seen.stands, outcomes=outcomes, transaction=plain(seen.done)),
        rows=_said(outcomes),
    )


def second_run(phase: Phase, sessions: Sessions, *, apply: bool) -> Answer:
    """Apply the baseline a second time and prove that it changed nothing: same catalogue, no row written.

    Only with apply=True; and what does change something, this or a baseline never applied, is rolled back.
    """
    if phase.baseline is None:
        return not_asked(phase, Check.SECOND_RUN_CHANGES_NOTHING)
    name = phase.baseline.target
    if not apply:
        skipped = plan_only(Check.SECOND_RUN_CHANGES_NOTHING, name, WHAT_RUNS_CHANGE, want="no change")
        return Answer(findings=(skipped,))
    built: list[Finding] = []
    try:
        indexes = indexes_to_build(phase)
        seen = baseline_runs.apply_again(phase, sessions)
        if phase.baseline.concurrently:
            again = baseline_runs.build_again(phase, sessions, indexes)
            built = [judge_built_again(name, phase.baseline.concurrently, again)]
    except (RunbookError, psycopg.Error) as error:
        failed = could_not_run(Check.SECOND_RUN_CHANGES_NOTHING, name, "baseline", _wrapped(phase, error))
        return Answer(findings=(failed,))
    facts = SecondRun(
        before=Fingerprint(fingerprint=seen.before),
        after=Fingerprint(fingerprint=seen.after),
        rows={table: Written(*rows) for table, rows in seen.work.rows.items()},
        sequences=tuple(sorted(seen.work.sequences)),
        outcomes=seen.outcomes,
    )
    return Answer(findings=(judge_again(name, seen), *built), facts=facts, rows=_said(seen.outcomes))


def _said(outcomes: Sequence[Outcome]) -> tuple[dict[str, Any], ...]:
    """Return what the server said, once for all statements of which it said the same; names are in the facts."""
    said = ({"tag": o.tag, "notice": _NAMED.sub("", "; ".join(o.notices))} for o in outcomes)
    return counted_rows([o.line for o in outcomes], said)


def _judge_result(
    phase: Phase, plan: Plan, catalog: Catalog, later: Sequence[Statement] = ()
) -> tuple[Finding, ...]:
    """Judge what stands after the script, still in its transaction: as declared, and as the script makes it.

    Indexes that are built `later` are judged then.
    """
    name, apart = baseline_of(phase).target, {each.object for each in later}
    makes = {key: value for key, value in from_plain(plan.makes or ()).items() if key[1] not in apart}
    made = judge_made(name, makes, describe(catalog), plan.where)
    return (*(each for each in check_schema(phase, name, catalog) if each.object not in apart), made)


def _wrapped(phase: Phase, error: RunbookError | psycopg.Error) -> RunbookError:
    return error if isinstance(error, RunbookError) else lost(phase.targets[baseline_of(phase).target], error)
