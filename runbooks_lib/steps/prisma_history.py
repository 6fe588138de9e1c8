"""The findings about Prisma's history against the migrations folder: what is edited, failed, extra, lost, pending."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from runbooks_lib.checks import Check
from runbooks_lib.findings import Finding, Verdict, judge
from runbooks_lib.phase import Phase
from runbooks_lib.prisma.history import TABLE
from runbooks_lib.prisma.recorded_text import recorded_text, what_changed
from runbooks_lib.prisma.state import State
from runbooks_lib.steps.prisma_look import named, section
from runbooks_lib.steps.prisma_oddities import judge_oddities
from runbooks_lib.steps.settlement_findings import SHOWN_LINES, some

NEVER_MANAGED = "Prisma has never managed this database: is it the right one?"


def judge_history(phase: Phase, state: State, migrations: Path) -> tuple[Finding, ...]:
    """Judge the history as a whole: its table, the names that the phase settles, and what is odd."""
    target = section(phase).target
    return (
        judge_table(target, state),
        *_judge_names(phase, target, state),
        *_judge_kinds(phase, target, state, migrations),
        *judge_oddities(target, state),
    )


def judge_table(target: str, state: State) -> Finding:
    """Judge whether Prisma has a history in the target: without one, Prisma makes it when it records the first row."""
    there = state.rows is not None
    empty = not there and bool(state.files)
    return Finding(
        check=Check.HAS_TABLE,
        target=target,
        object=f"{state.schema}.{TABLE}",
        have="there" if there else "absent",
        want="there" if there or not empty else "there, or made by Prisma when it records what stands",
        verdict=Verdict.PASS if there else Verdict.SKIP if empty else Verdict.FAIL,
        hint="" if there else NEVER_MANAGED,
    )


def _judge_names(phase: Phase, target: str, state: State) -> Iterator[Finding]:
    """Judge whether the migrations that the phase names are in the folder; where it names none, whether any is."""
    there = {file.name for file in state.files}
    if section(phase).settle is None:
        yield Finding(
            check=Check.MIGRATION_IS_IN_FOLDER,
            target=target,
            object="migrations",
            have=f"{len(there)}",
            want="every one of the folder",
            verdict=Verdict.PASS if there else Verdict.FAIL,
            hint="" if there else "The migrations folder is empty: wrong project, or wrong branch?",
        )
    for name in section(phase).settle or ():
        yield judge(
            Check.MIGRATION_IS_IN_FOLDER,
            target,
            name,
            have="there" if name in there else "absent",
            want="there",
            hint="The project's prisma/migrations lacks the folder of this name: wrong project, or wrong branch?",
        )


def _judge_kinds(phase: Phase, target: str, state: State, migrations: Path) -> Iterator[Finding]:
    """Judge, of every kind of difference between the history and the folder, that no migration has it.

    What the phase settles is settled below; another one that is pending, or has failed, is left open.
    """
    found, ours = state.history, set(named(phase, state))
    why = {each.migration: each.why for each in section(phase).accept}
    others = tuple(name for name in found.pending if name not in ours)
    failed = tuple(name for name in found.failed if name not in found.applied)
    settled = "This step settles it below: its objects all stand, or none does, or you have to mend them."
    mend = "This phase does not name it. Settle it first: name it in prisma.settle."
    extra = tuple(name for name in found.extra if name not in why)
    yield _none(Check.NO_MIGRATION_IS_EDITED, target, found.edited, _edits(state, migrations))
    own = set(failed) <= ours
    yield _none(Check.NO_MIGRATION_HAS_FAILED, target, failed, settled if own else mend, open=own)
    yield _none(
        Check.NO_MIGRATION_IS_EXTRA,
        target,
        extra,
        "The database has a migration that the folder lacks: wrong branch? If it is meant to be so, accept it in the "
        "phase file: [prisma] accept = [{ migration = …, why = … }].",
    )
    for name in found.extra:
        if name in why:
            yield Finding(
                check=Check.NO_MIGRATION_IS_EXTRA,
                target=target,
                object=name,
                have="in the database only",
                want="none",
                verdict=Verdict.SKIP,
                hint=f"accepted: {why[name]}",
            )
    yield _none(
        Check.NO_MIGRATION_IS_LOST,
        target,
        found.lost,
        "Its migration.sql is missing: restore the folder from Git.",
    )
    yield _none(
        Check.NO_OTHER_MIGRATION_IS_PENDING,
        target,
        others,
        "This phase does not name it, and leaves it as it is. A deploy would run it.",
        open=True,
    )


def _none(check: Check, target: str, names: tuple[str, ...], hint: str, *, open: bool = False) -> Finding:
    have = some(names) or "none"
    return judge(check, target, "migrations", have=have, want="none", hint=hint, blocking=not open)


def _edits(state: State, migrations: Path) -> str:
    """Say what was changed in each edited file, as far as Git knows the version that was recorded."""
    said = ["The file changed after it was applied: restore it from Git."]
    rows = {row.name: row.checksum for row in state.rows or () if not row.rolled_back_at}
    scripts = {file.name: file.script for file in state.files}
    for name in state.history.edited:
        was = recorded_text(migrations / name / "migration.sql", rows[name])
        if was is None:
            said.append(f"{name}: Git has no version of it whose checksum was recorded, or is not here.")
        else:
            lines = what_changed(was, scripts[name] or "")[2:]
            more = " …" if len(lines) > SHOWN_LINES else ""
            said.append(f"{name}:\n" + "\n".join(lines[:SHOWN_LINES]) + more)
    return "\n".join(said)
