"""Step 4, Prisma resolve: record in Prisma's history what the database already has. Prisma itself does the writing.

Each function answers one question of `04_prisma_resolve.ipynb`. Prisma's own status is green on an empty database
whose history was resolved, and after an edited migration; so the history is read and judged here as well.
"""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any

from runbooks_lib.errors import RunbookError
from runbooks_lib.findings import CLOSING, Answer, Finding, Verdict, could_not_run, judge
from runbooks_lib.phase import Phase
from runbooks_lib.postgres.catalog import read_catalog
from runbooks_lib.postgres.checks import check_schema
from runbooks_lib.postgres.connect import Sessions
from runbooks_lib.prisma.cli import UP_TO_DATE, CliResult, Prisma, database_url, find_project
from runbooks_lib.prisma.history import (
    TABLE,
    History,
    MigrationFile,
    MigrationRow,
    checksum_matches,
    diagnose,
    read_folder,
    read_rows,
)

ALREADY_APPLIED = "P3008"
PENDING_EXIT_CODE = 1  # `migrate status` ends 1, without an error code, when migrations are pending
PLAN_ONLY = "not recorded: this run only plans"
_FOUND = re.compile(r"^(?:\d+|No) migrations? found in ", re.MULTILINE)


def command_line(phase: Phase, sessions: Sessions) -> Prisma:
    """Return the Prisma of the project that RUNBOOKS_PRISMA_PROJECT names, aimed at the migration's target.

    Nothing is started yet. The address is made in memory from the guarded session each time Prisma is started.
    Raises PreconditionFailed when the project, Prisma or Node.js is missing.
    """
    return Prisma(find_project(), lambda: database_url(sessions.read(phase.migration.target).info))


def history(phase: Phase, sessions: Sessions, *, prisma: Prisma) -> Answer:
    """Compare `_prisma_migrations` with the migrations folder: pending, edited, failed, extra, lost.

    Reads the table and the folder; writes nothing. Facts: the history and the rows.
    """
    name = phase.migration.target
    try:
        files, rows, found = _read_history(phase, sessions, prisma)
    except RunbookError as error:
        return Answer(findings=(could_not_run("history_is_clean", name, TABLE, error),))
    pending = [migration for migration in found.pending if migration != phase.migration.name]
    clean = {
        "no_migration_is_edited": (
            found.edited,
            "The file changed after it was applied: restore it from Git.",
        ),
        "no_migration_has_failed": (
            found.failed,
            "Mend what failed, then prisma migrate resolve --rolled-back NAME.",
        ),
        "no_migration_is_extra": (
            found.extra,
            "The database has a migration that the folder lacks: wrong branch?",
        ),
        "no_migration_is_lost": (found.lost, "Its migration.sql is missing: restore the folder from Git."),
        "no_other_migration_is_pending": (
            pending,
            "Deploy or resolve it first; this phase records one migration.",
        ),
    }
    findings = [
        judge(
            "has_table",
            name,
            f"public.{TABLE}",
            have="there" if found.table_exists else "absent",
            want="there",
            hint="Prisma has never managed this database: is it the right one?",
        ),
        judge(
            "migration_is_in_folder",
            name,
            phase.migration.name,
            have="there" if any(f.name == phase.migration.name for f in files) else "absent",
            want="there",
            hint="The project's prisma/migrations lacks the folder of this name: wrong project, or wrong branch?",
        ),
        *(
            judge(check, name, "migrations", have=", ".join(names) or "none", want="none", hint=hint)
            for check, (names, hint) in clean.items()
        ),
    ]
    table = tuple(
        {"migration": f.name, "recorded": _recorded(f, rows), "checksum": (f.checksum or "lost")[:16]}
        for f in files
    )
    return Answer(
        findings=tuple(findings), facts={"history": asdict(found), "relation": found.relation}, rows=table
    )


def status(phase: Phase, sessions: Sessions, *, prisma: Prisma) -> Answer:
    """Ask Prisma itself, before anything is recorded: `prisma migrate status`.

    Facts: Prisma's version, its engine and its words. An error code is ERROR; pending migrations are expected here.
    """
    name = phase.migration.target
    try:
        said = prisma.status()
    except RunbookError as error:
        return Answer(findings=(could_not_run("prisma_answers", name, "prisma migrate status", error),))
    # a crash ends 1 without a code too: only a status says how many migrations it found
    answered = (
        said.code is None and said.exit_code in (0, PENDING_EXIT_CODE) and bool(_FOUND.search(said.output))
    )
    finding = Finding(
        check="prisma_answers",
        target=name,
        object=said.command,
        have=f"exit code {said.exit_code}" + (f", {said.code}" if said.code else ""),
        want="a status without an error code",
        verdict=Verdict.PASS if answered else Verdict.ERROR,
        hint="" if answered else _last_words(said),
    )
    facts = {"version": prisma.version(), "engine": prisma.engine, "said": asdict(said)}
    return Answer(findings=(finding,), facts=facts, rows=_lines(said))


def resolve(phase: Phase, sessions: Sessions, *, prisma: Prisma, apply: bool) -> Answer:
    """Record the migration as applied, by `prisma migrate resolve --applied NAME`, if the database has its objects.

    Refused unless the target holds every declared object as declared, recorded already or not: Prisma is content
    with a history whose objects are gone. Already recorded with the same checksum is success. Writes one row,
    through Prisma, only with apply=True. Facts: `command`, `recorded`, `already`, Prisma's words.
    """
    name, migration = phase.migration.target, phase.migration.name
    command = f"prisma migrate resolve --applied {migration}"
    try:
        _, rows, found = _read_history(phase, sessions, prisma)
        evidence = _objects_stand(phase, sessions)
        if migration in found.applied:
            return Answer(
                findings=(*evidence, _checksum(phase, prisma, rows)),
                facts={"command": command, "recorded": False, "already": True},
            )
        if any(f.verdict in CLOSING for f in evidence):
            return Answer(findings=evidence, facts={"command": command, "recorded": False, "already": False})
        if not apply:
            skipped = Finding(
                check="migration_is_recorded",
                target=name,
                object=migration,
                have=PLAN_ONLY,
                want="recorded",
                verdict=Verdict.SKIP,
                hint=f"With --apply this runs: {command}",
            )
            return Answer(
                findings=(*evidence, skipped), facts={"command": command, "recorded": False, "already": False}
            )
        said = prisma.resolve_applied(migration)
    except RunbookError as error:
        return Answer(findings=(could_not_run("migration_is_recorded", name, migration, error),))
    recorded = said.exit_code == 0 or said.code == ALREADY_APPLIED
    finding = judge(
        "migration_is_recorded",
        name,
        migration,
        have="recorded" if recorded else f"exit code {said.exit_code}: {_last_words(said)}",
        want="recorded",
        hint="Read what Prisma says above; nothing was recorded.",
    )
    facts = {"command": said.command, "recorded": said.exit_code == 0, "already": False, "said": asdict(said)}
    return Answer(findings=(*evidence, finding), facts=facts, rows=_lines(said))


def confirm(phase: Phase, sessions: Sessions, *, prisma: Prisma, apply: bool) -> Answer:
    """Check what was recorded: the row read back, the whole history clean, and Prisma's own words.

    Reads the table and runs `prisma migrate status`; writes nothing. Facts: Prisma's words and the row.
    """
    name, migration = phase.migration.target, phase.migration.name
    try:
        _, rows, found = _read_history(phase, sessions, prisma)
        if not apply and migration not in found.applied:
            skipped = Finding(
                check="prisma_is_up_to_date",
                target=name,
                object=migration,
                have=PLAN_ONLY,
                want=UP_TO_DATE,
                verdict=Verdict.SKIP,
            )
            return Answer(findings=(skipped,))
        said = prisma.status()
    except RunbookError as error:
        return Answer(findings=(could_not_run("prisma_is_up_to_date", name, migration, error),))
    findings = (
        _checksum(phase, prisma, rows),
        judge(
            "history_is_clean",
            name,
            TABLE,
            have=_blemishes(found),
            want="every migration applied, nothing else",
            hint="See the first question of this step: which migration, and what to do.",
        ),
        judge(
            "prisma_is_up_to_date",
            name,
            said.command,
            have=UP_TO_DATE if said.up_to_date else _last_words(said),
            want=UP_TO_DATE,
            hint="Prisma sees it otherwise: read its words above.",
        ),
    )
    row = next((r for r in rows or () if r.name == migration and r.applied), None)
    facts = {
        "said": asdict(said),
        "row": None if row is None else {"checksum": row.checksum, "finished_at": str(row.finished_at)},
    }
    return Answer(findings=findings, facts=facts, rows=_lines(said))


def _read_history(
    phase: Phase, sessions: Sessions, prisma: Prisma
) -> tuple[tuple[MigrationFile, ...], tuple[MigrationRow, ...] | None, History]:
    files = read_folder(prisma.project.folder)
    with sessions.snapshot(phase.migration.target) as conn:
        rows = read_rows(conn)
    return files, rows, diagnose(files, rows, rolled_back_is_pending=True)


def _objects_stand(phase: Phase, sessions: Sessions) -> tuple[Finding, ...]:
    with sessions.snapshot(phase.migration.target) as conn:
        return check_schema(phase, phase.migration.target, read_catalog(conn))


def _checksum(phase: Phase, prisma: Prisma, rows: tuple[MigrationRow, ...] | None) -> Finding:
    """Judge the row of the phase's migration: there, applied, and of this very file."""
    script = next(
        (f.script for f in read_folder(prisma.project.folder) if f.name == phase.migration.name), None
    )
    row = next((r for r in rows or () if r.name == phase.migration.name and r.applied), None)
    if row is None:
        have = "no applied row"
    elif script is None:
        have = "applied, but its migration.sql is lost"
    else:
        same = checksum_matches(script, row.checksum)
        have = (
            "applied, checksum of this file"
            if same
            else f"applied, checksum of another file ({row.checksum[:16]})"
        )
    return judge(
        "migration_is_applied",
        phase.migration.target,
        phase.migration.name,
        have=have,
        want="applied, checksum of this file",
        hint="The recorded migration is not the one in the folder: compare the branches before going on.",
    )


def _blemishes(found: History) -> str:
    names = {
        "pending": found.pending,
        "edited": found.edited,
        "failed": found.failed,
        "extra": found.extra,
        "rolled back": found.rolled_back,
        "lost": found.lost,
    }
    said = "; ".join(f"{what}: {', '.join(which)}" for what, which in names.items() if which)
    return "every migration applied, nothing else" if found.clean else said or f"no table {TABLE}"


def _recorded(file: MigrationFile, rows: tuple[MigrationRow, ...] | None) -> str:
    mine = [row for row in rows or () if row.name == file.name]
    if any(row.applied for row in mine):
        return "applied"
    if any(row.failed for row in mine):
        return "failed"
    return "rolled back" if mine else "no"


def _lines(said: CliResult) -> tuple[dict[str, Any], ...]:
    return tuple({"Prisma says": line} for line in said.output.splitlines() if line.strip())


def _last_words(said: CliResult) -> str:
    """Return the three lines that say what is wrong: from the first with an error on, or else the last ones."""
    lines = [line.strip() for line in said.output.splitlines() if line.strip()]
    if not lines:
        return "Prisma said nothing."
    begin = next((n for n, line in enumerate(lines) if "Error" in line), max(0, len(lines) - 3))
    return " ".join(lines[begin : begin + 3])
