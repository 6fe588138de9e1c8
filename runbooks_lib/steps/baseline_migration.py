"""Step 3, baseline migration: make the declared objects exist where they are missing, and change nothing else.

Each function answers one question of `03_baseline_migration.ipynb`. Only `apply` and `second_run` write, and only
with apply=True and the plan's confirmation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psycopg

from runbooks_lib.checks import Check
from runbooks_lib.errors import MigrationError, RunbookError
from runbooks_lib.evidence import Evidence
from runbooks_lib.facts.databases import Dump
from runbooks_lib.facts.writing import (
    Applied,
    Confirmation,
    Confirmed,
    Fingerprint,
    KeptPlan,
    Outcome,
    Parsed,
    Plan,
    PlannedStatement,
    Rehearsal,
    SecondRun,
    Written,
)
from runbooks_lib.findings import CLOSING, Answer, Finding, Verdict, could_not_run
from runbooks_lib.package import library_digest
from runbooks_lib.phase import Phase, services_of
from runbooks_lib.postgres.catalog.catalog import Catalog, read_catalog
from runbooks_lib.postgres.catalog.differences import describe, from_plain, to_plain
from runbooks_lib.postgres.scratch.baseline_effects import Source, made_by
from runbooks_lib.postgres.scratch.lent import target_servers
from runbooks_lib.postgres.scratch.surroundings import read_surroundings
from runbooks_lib.postgres.script.consequences import Fate
from runbooks_lib.postgres.script.lint import lint
from runbooks_lib.postgres.session.connect import Identity, Sessions, lost
from runbooks_lib.prisma.history import folder_digest, read_folder
from runbooks_lib.prisma.project import find_project
from runbooks_lib.steps import baseline_runs
from runbooks_lib.steps.baseline_file import (
    Judged,
    baseline_of,
    judge_statements,
    read_sql,
    read_statements,
    sql_sha256,
)
from runbooks_lib.steps.baseline_findings import (
    WHAT_RUNS_CHANGE,
    judge_again,
    judge_applied,
    judge_rehearsal,
    judge_statement,
)
from runbooks_lib.steps.baseline_plan import Planned, judge_lint, judge_made, judge_plan, plan_statements
from runbooks_lib.steps.confirming import (
    judge_alone,
    judge_confirmation,
    not_confirmed,
    plan_hash,
    plan_only,
)
from runbooks_lib.steps.declared import not_asked
from runbooks_lib.steps.inspection import by_object
from runbooks_lib.steps.schema_checks import check_schema
from runbooks_lib.steps.way_back import way_back
from runbooks_lib.typed import plain

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
        statements = read_statements(phase)
    except MigrationError as error:
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
        warnings = lint(read_sql(phase), name=file, server_major=sessions.identity(name).major)
        findings.extend(judge_lint(name, file, warnings, phase.baseline.lint))
    except RunbookError as error:
        findings.append(could_not_run(Check.SCRIPT_IS_LINT_FREE, name, file, error))
    facts = Parsed(file=file, sha256=sql_sha256(phase), statements=len(statements))
    rows = tuple(
        {
            "line": each.statement.line,
            "kind": each.statement.kind,
            "object": each.statement.object,
            "twice": each.refused or "same",
            "sets off": each.told(*Fate),
        }
        for each in judged
    )
    return Answer(findings=tuple(findings), facts=facts, rows=rows)


def plan(
    phase: Phase,
    sessions: Sessions,
    *,
    dumps: Mapping[str, Dump],
    code: str,
    folder: Path | None = None,
    superuser_objects: Sequence[str] = (),
) -> Answer:
    """Say what each statement would do, and hash everything that the plan depends on.

    `dumps` are the facts of backup.dump and `folder` is where they lie, `code` is the digest of the notebooks;
    `superuser_objects` are made in the scratch database as they are allowed. Reads the baseline target's catalogue and
    Prisma's migrations, and runs the script in an empty scratch database, or, where it needs what the target has, in a
    copy made of its dump; writes nothing to any target.
    Facts: `statements`, `makes` (what the script makes on its own), `pending` (what of that the target has not so),
    `parts` (what the hash is made of), `hash` and `confirmation` (DATABASE:HASH8).
    """
    name = baseline_of(phase).target
    try:
        statements = read_statements(phase)
        _require_dumps(phase, dumps)
        with sessions.snapshot(name) as conn:
            catalog, like = read_catalog(conn), read_surroundings(conn)
        who = sessions.identity(name)
        source = Source(
            dump=folder / dumps[name].path if folder and name in dumps else None,
            fingerprint=catalog.fingerprint(),
            dumped=dumps[name].fingerprint if name in dumps else "",
            like=like,
            servers=target_servers(sessions),
            allowed=tuple(superuser_objects),
        )
        script = (baseline_of(phase).file, read_sql(phase), statements)
        made = made_by(script, owner=phase.owner or who.role_name, server_major=who.major, source=source)
        parts = {
            **_depends_on(phase, who, dumps, superuser_objects),
            "notebooks": code,
            "catalogue": catalog.fingerprint(),
            "prisma": folder_digest(read_folder(find_project())),
        }
    except RunbookError as error:
        return Answer(findings=(could_not_run(Check.OBJECT_IS_ABSENT_OR_EQUAL, name, "plan", error),))
    live, digest = describe(catalog), plan_hash(parts)
    planned = plan_statements(statements, made.objects, catalog)
    rows = tuple(map(_row, planned))
    return Answer(
        findings=judge_plan(name, planned, made.where),
        facts=Plan(
            parts=parts,
            hash=digest,
            confirmation=f"{who.database}:{digest[:8]}",
            statements=rows,
            makes=to_plain(made.objects),
            pending=[key for key, value in sorted(made.objects.items()) if live.get(key) != value],
            where=made.where,
            scratch_version=made.server_version,
        ),
        rows=tuple(map(plain, rows)),
    )


def _depends_on(
    phase: Phase, who: Identity, dumps: Mapping[str, Dump], superuser_objects: Sequence[str]
) -> dict[str, Any]:
    """Return what a plan is made of that is known before it is worked out: changed, it is another plan."""
    return {
        "phase": phase.digest,
        "library": library_digest(),
        **who.parts(),
        "services": services_of(phase),
        "sql": sql_sha256(phase),
        "superuser_objects": sorted(superuser_objects),
        "backup": {target: noted.content_sha256 for target, noted in sorted(dumps.items())},
    }


def _row(planned: Planned) -> PlannedStatement:
    statement = planned.statement
    return PlannedStatement(
        line=statement.line, kind=statement.kind, object=statement.object, would=planned.state.value
    )


def rehearse(phase: Phase, sessions: Sessions, *, plan: Plan) -> Answer:
    """Execute the baseline twice in a transaction that rolls back; judge what it made, and that nothing is left of it.

    `plan` are the facts of `plan`. Takes the locks that the real run takes, for as long as the rehearsal lasts; what
    no rollback would take back is left out, and named. Nothing is committed.
    Facts: the catalogue's fingerprint `before` and `after`, what the script wrote `first` and the `second` time, the
    statements `left` out, and the `sequences` that it moved nonetheless.
    """
    if phase.baseline is None:
        return not_asked(phase, Check.REHEARSAL_IS_INERT)
    name = phase.baseline.target
    if plan.makes is None:
        return Answer(findings=(could_not_run(Check.REHEARSAL_IS_INERT, name, "baseline", _NO_PLAN),))
    try:
        seen = baseline_runs.rehearse(phase, sessions, partial(_judge_result, phase, plan))
    except (RunbookError, psycopg.Error) as error:
        return Answer(
            findings=(could_not_run(Check.REHEARSAL_IS_INERT, name, "baseline", _wrapped(phase, error)),)
        )
    facts = Rehearsal(
        before=Fingerprint(fingerprint=seen.before.fingerprint()),
        after=Fingerprint(fingerprint=seen.after.fingerprint()),
        first={table: Written(*rows) for table, rows in seen.first.rows.items()},
        second={table: Written(*rows) for table, rows in seen.second.rows.items()},
        left=tuple(each.statement.line for each in seen.left),
        sequences=seen.moved,
    )
    findings = (*seen.made, *judge_rehearsal(name, seen, plan.where))
    return Answer(findings=findings, facts=facts, rows=by_object(seen.made))


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
    name = baseline_of(phase).target
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

    `plan` are the facts of `plan`, `confirm` is DATABASE:HASH8 as the plan prints it, `planned` the facts of the
    kept plan that this names. The dumps that `evidence` tells of are read again in `folder` first.
    Writes to the baseline target, only with apply=True.
    Facts: `applied`, and per statement what the server said.
    """
    name = baseline_of(phase).target
    if not plan.confirmation:
        failed = could_not_run(Check.BASELINE_IS_APPLIED, name, baseline_of(phase).file, _NO_PLAN)
        return Answer(findings=(failed,), facts=Applied(applied=False))
    if not apply:
        skipped = plan_only(Check.BASELINE_IS_APPLIED, name, baseline_of(phase).file, want="applied")
        return Answer(findings=(skipped,), facts=Applied(applied=False))
    confirmed = judge_confirmation(name, plan, planned, confirm, run=sessions.run)
    dumped = way_back(phase, folder, evidence)
    if any(f.verdict in CLOSING for f in (confirmed, *dumped)):
        return Answer(findings=(confirmed, *dumped), facts=Applied(applied=False))
    try:
        seen = baseline_runs.apply(phase, sessions, plan, partial(_judge_result, phase, plan))
    except (RunbookError, psycopg.Error) as error:
        failed = could_not_run(
            Check.BASELINE_IS_APPLIED, name, baseline_of(phase).file, _wrapped(phase, error)
        )
        return Answer(findings=(confirmed, *dumped, failed), facts=Applied(applied=False))
    return Answer(
        findings=(confirmed, *dumped, *seen.made, judge_applied(name, baseline_of(phase).file, seen)),
        facts=Applied(applied=seen.stands, outcomes=seen.outcomes, transaction=plain(seen.done)),
        rows=_said(seen.outcomes),
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
    try:
        seen = baseline_runs.apply_again(phase, sessions)
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
    return Answer(findings=(judge_again(name, seen),), facts=facts, rows=_said(seen.outcomes))


def _said(outcomes: Iterable[Outcome]) -> tuple[dict[str, Any], ...]:
    return tuple(
        {"line": o.line, "object": o.object, "tag": o.tag, "notice": "; ".join(o.notices)} for o in outcomes
    )


def _judge_result(phase: Phase, plan: Plan, catalog: Catalog) -> tuple[Finding, ...]:
    """Judge what stands after the script, still in its transaction: as declared, and as the script makes it."""
    name = baseline_of(phase).target
    made = judge_made(name, from_plain(plan.makes or ()), describe(catalog), plan.where)
    return (*check_schema(phase, name, catalog), made)


def _require_dumps(phase: Phase, dumps: Mapping[str, Dump]) -> None:
    missing = [t for t in phase.backup.targets if t not in dumps or not dumps[t].complete]
    if missing:
        raise MigrationError(
            f"There is no whole backup of target {', '.join(missing)}, and without one nothing is planned.",
            "Run the step backup first, in this run.",
        )


def _wrapped(phase: Phase, error: RunbookError | psycopg.Error) -> RunbookError:
    return error if isinstance(error, RunbookError) else lost(phase.targets[baseline_of(phase).target], error)
