"""A plan: what the baseline would do, what becomes of each migration, and the hash over all that this depends on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from runbooks_lib.checks import Check
from runbooks_lib.errors import MigrationError, RunbookError
from runbooks_lib.evidence import Evidence
from runbooks_lib.facts.databases import Dump, Dumps, Proof
from runbooks_lib.facts.writing import (
    OF_MIGRATIONS,
    NotUndone,
    Plan,
    PlannedStatement,
    SettledMigration,
    Undo,
)
from runbooks_lib.findings import CLOSING, Answer, Finding, could_not_run, judge, not_declared
from runbooks_lib.package import library_digest
from runbooks_lib.phase import Phase, services_of
from runbooks_lib.postgres.catalog.catalog import read_catalog
from runbooks_lib.postgres.catalog.differences import describe, to_plain
from runbooks_lib.postgres.scratch.baseline_effects import IN_EMPTY, Made, Source, made_by
from runbooks_lib.postgres.scratch.lent import target_servers
from runbooks_lib.postgres.scratch.surroundings import read_surroundings
from runbooks_lib.postgres.script.concurrent import in_transaction
from runbooks_lib.postgres.script.script import Statement
from runbooks_lib.postgres.script.undo import undo_of
from runbooks_lib.postgres.session.connect import Identity, Sessions
from runbooks_lib.prisma.history import folder_digest, read_folder
from runbooks_lib.prisma.named import find_project
from runbooks_lib.prisma.settlement import Action
from runbooks_lib.steps.as_filed import KEY, judge_as_filed
from runbooks_lib.steps.baseline_file import (
    indexes_to_build,
    name_of_sql,
    read_sql,
    read_statements,
    sql_sha256,
)
from runbooks_lib.steps.baseline_plan import Planned, State, judge_plan, plan_statements
from runbooks_lib.steps.confirming import changed_parts, plan_hash
from runbooks_lib.steps.declared import not_asked
from runbooks_lib.steps.folded_rows import folded
from runbooks_lib.steps.pending import pending_at
from runbooks_lib.steps.prisma_findings import judge_lock
from runbooks_lib.steps.settling import Settling, settle_all
from runbooks_lib.typed import plain

_DEPLOYED = "Prisma deploys it: what it makes is not taken back"


def make_plan(
    phase: Phase,
    sessions: Sessions,
    *,
    dumps: Mapping[str, Dump],
    code: str,
    folder: Path | None,
    superuser_objects: Sequence[str],
) -> Answer:
    """Plan the baseline, if there is one, and settle the migrations; see `baseline_migration.plan`."""
    name = phase.written
    if name is None:
        return not_asked(phase, Check.OBJECT_IS_ABSENT_OR_EQUAL)
    try:
        _require_dumps(phase, dumps)
        with sessions.snapshot(name) as conn:
            catalog, like = read_catalog(conn), read_surroundings(conn)
        who = sessions.identity(name)
        source = Source(
            dump=_dump_of(name, dumps, folder),
            fingerprint=catalog.fingerprint(),
            dumped=dumps[name].fingerprint if name in dumps else "",
            like=like,
            servers=target_servers(sessions),
            allowed=tuple(superuser_objects),
        )
        statements, made = _made(phase, who, source)
        parts = {
            **_depends_on(phase, who, dumps, superuser_objects),
            "notebooks": code,
            "catalogue": catalog.fingerprint(),
        }
    except RunbookError as error:
        return Answer(findings=(could_not_run(Check.OBJECT_IS_ABSENT_OR_EQUAL, name, "plan", error),))
    live, planned = describe(catalog), plan_statements(statements, made.objects, catalog)
    due = [each.statement for each in planned if each.state is not State.SAME]
    makes = any(each.state not in (State.SAME, State.RUN) for each in planned)
    facts = Plan(
        parts=parts,
        statements=tuple(map(_row, planned)),
        makes=to_plain(made.objects),
        pending=[key for key, value in sorted(made.objects.items()) if live.get(key) != value],
        where=made.where,
        scratch_version=made.server_version,
        undo=undo_of(due, catalog, database=who.database, owner=phase.owner) if makes else None,
        sql=read_sql(phase) if phase.baseline and name_of_sql(phase) == OF_MIGRATIONS else "",
    )
    baseline = (not_declared(Check.OBJECT_IS_ABSENT_OR_EQUAL, name, "baseline"),)
    found = judge_plan(name, planned, made.where) if phase.baseline else baseline
    settling = _settle(phase, sessions, facts, dumps, folder, superuser_objects, rehearse=True)
    filed = _judge_file(phase, sessions, facts, settling, superuser_objects)
    return _hashed(facts, who, (*found, *filed), settling)


def _judge_file(
    phase: Phase, sessions: Sessions, plan: Plan, settling: Settling, superuser_objects: Sequence[str]
) -> tuple[Finding, ...]:
    """Ask whether what the schema's file makes will stand when all of this is done, in its target."""
    target = phase.schema.target
    if target is None:
        return ()
    try:
        pending = pending_at(phase, sessions, target, replace(plan, to_come=list(settling.to_come)))
    except RunbookError as error:
        return (could_not_run(Check.MIGRATION_OBJECTS_STAND, target, KEY, error),)
    return tuple(
        judge_as_filed(phase, sessions, target, superuser_objects=superuser_objects, pending=pending)
    )


def _hashed(plan: Plan, who: Identity, found: tuple[Finding, ...], settling: Settling) -> Answer:
    """Return the plan with its hash; what is red is part of it, and has no confirmation."""
    findings = (*found, *settling.findings)
    red = sorted({f"{f.check} {f.object}" for f in findings if f.verdict in CLOSING})
    parts = {**plan.parts, **({"settlement": settling.to_be_done} if settling.findings else {})}
    digest = plan_hash({**parts, "red": red} if red else parts)
    facts = replace(
        plan,
        parts=parts,
        hash=digest,
        confirmation="" if red else f"{who.database}:{digest[:8]}",
        settlement=settling.settlement,
        to_come=list(settling.to_come),
        deploys=settling.deploys,
        undo=_with_deploys(plan.undo, settling),
    )
    settled = [_settled_row(each) for each in settling.settlement]
    rows = (*map(plain, plan.statements), *folded(settled, column="object", by="would"))
    return Answer(findings=findings, facts=facts, rows=rows)


def _with_deploys(undo: Undo | None, settling: Settling) -> Undo | None:
    """Return an undo that names, too, what Prisma would make beside the baseline."""
    deployed = [each.migration for each in settling.settlement if each.action == Action.DEPLOY]
    left = tuple(NotUndone(line=0, words=f"migration {each}", why=_DEPLOYED) for each in deployed)
    return undo and replace(undo, left_over=(*undo.left_over, *left))


def still_settled(
    phase: Phase, sessions: Sessions, plan: Plan, evidence: Evidence | None, folder: Path | None
) -> tuple[Finding, ...]:
    """Ask once more, right before anything is written, all that step 4 could refuse: as planned, and nobody at work.

    `evidence` tells of this run's dumps, which lie in `folder`. Only what closes the gate is told, and the lock.
    """
    if phase.prisma is None:
        return ()
    dumps = evidence.facts(Dumps).dumps if evidence else {}
    allowed = evidence.facts(Proof).superuser_objects if evidence else ()
    try:
        settling = _settle(phase, sessions, plan, dumps, folder, list(allowed), rehearse=False)
        lock = judge_lock(phase, sessions)
    except RunbookError as error:
        return (could_not_run(Check.MIGRATION_IS_SETTLED, phase.prisma.target, "migrations", error),)
    was, now = plan.parts.get("settlement") or {}, settling.to_be_done or {}
    changed = changed_parts(was, now)
    same = judge(
        Check.PLAN_IS_CONFIRMED,
        phase.prisma.target,
        "settlement of the migrations",
        have=f"since the plan there changed: {'; '.join(map(str, changed))}" if changed else "as planned",
        want="as planned",
        hint="Plan again, read it, and confirm the new hash.",
    )
    return (same, lock, *(f for f in settling.findings if f.verdict in CLOSING))


def _settle(
    phase: Phase,
    sessions: Sessions,
    plan: Plan,
    dumps: Mapping[str, Dump],
    folder: Path | None,
    superuser_objects: Sequence[str],
    *,
    rehearse: bool,
) -> Settling:
    target = phase.prisma.target if phase.prisma else ""
    rows = dumps[target].data if target in dumps else None
    return settle_all(
        phase,
        sessions,
        plan=plan,
        dump=_dump_of(target, dumps, folder),
        data=folder / rows.path if folder and rows else None,
        superuser_objects=superuser_objects,
        rehearse=rehearse,
    )


def _settled_row(each: SettledMigration) -> dict[str, Any]:
    return {"line": "", "kind": "migration", "object": each.migration, "would": each.action}


def _row(planned: Planned) -> PlannedStatement:
    statement = planned.statement
    return PlannedStatement(
        line=statement.line, kind=statement.kind, object=statement.object, would=planned.state.value
    )


def _dump_of(target: str, dumps: Mapping[str, Dump], folder: Path | None) -> Path | None:
    return folder / dumps[target].path if folder and target in dumps else None


def _made(phase: Phase, who: Identity, source: Source) -> tuple[tuple[Statement, ...], Made]:
    """Run the baseline where nothing can hide behind IF NOT EXISTS; nothing is made without one."""
    if phase.baseline is None:
        return (), Made(objects={}, where=IN_EMPTY, server_version="")
    statements, indexes = read_statements(phase), indexes_to_build(phase)
    alone = tuple(map(in_transaction, indexes))
    text = "".join((read_sql(phase), *(f"\n;{each.text}" for each in alone)))
    script = (phase.baseline.file, text, (*statements, *alone))
    owner = phase.owner or who.role_name
    return (*statements, *indexes), made_by(script, owner=owner, server_major=who.major, source=source)


def _depends_on(
    phase: Phase, who: Identity, dumps: Mapping[str, Dump], superuser_objects: Sequence[str]
) -> dict[str, Any]:
    """Return what a plan is made of that is known before it is worked out: changed, it is another plan."""
    parts = {
        "phase": phase.digest,
        "library": library_digest(),
        **who.parts(),
        "services": services_of(phase),
        "superuser_objects": sorted(superuser_objects),
        "backup": {target: noted.content_sha256 for target, noted in sorted(dumps.items())},
    }
    if phase.baseline:
        parts["sql"] = sql_sha256(phase)
    if phase.prisma:
        parts["prisma"] = folder_digest(read_folder(find_project()))
    return parts


def _require_dumps(phase: Phase, dumps: Mapping[str, Dump]) -> None:
    missing = [t for t in phase.backup.targets if t not in dumps or not dumps[t].complete]
    if missing:
        raise MigrationError(
            f"There is no whole backup of target {', '.join(missing)}, and without one nothing is planned.",
            "Run the step backup first, in this run.",
        )
