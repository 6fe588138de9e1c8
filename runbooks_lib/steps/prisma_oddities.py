"""The findings about a history that is odd: each oddity has a check of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from runbooks_lib.findings import Finding, Verdict
from runbooks_lib.prisma.history import TABLE
from runbooks_lib.prisma.oddities import KINDS, HistoryTable, find_oddities
from runbooks_lib.prisma.state import State

_HINTS = {
    "no_migration_is_recorded_twice": "Prisma records a migration as applied once: find out who inserted the other "
    "row, and delete the wrong one.",
    "no_applied_migration_has_an_error": "Prisma writes an error only to a migration that failed: somebody set "
    "finished_at by hand. See what of it stands (below), then clear its logs.",
    "no_migration_ends_before_it_begins": "Somebody wrote this row by hand, or a clock was wrong: find out which, "
    "before you rely on it.",
    "no_migration_is_both_applied_and_rolled_back": "Prisma rolls back what failed, never what ended: find out who "
    "wrote the row, and whether its objects stand.",
    "no_migration_is_empty": "Its script has no statement, so recording it says nothing about the database. Was it "
    "meant to be filled in?",
    "line_ends_are_as_recorded": "Only the line ends differ (LF, CRLF), which Git may have changed: Prisma takes it as "
    "the same. `*.sql text eol=lf` in .gitattributes keeps them.",
    "no_names_differ_in_case_only": "On a system that does not tell upper from lower case they are one folder: rename "
    "what is not the recorded spelling.",
    "history_is_a_table": "Prisma makes an ordinary table and writes rows to it: find out who replaced it.",
    "history_is_the_only_one": "Prisma of this project reads and writes the one named first. Is another project's "
    "history in this database, or was a schema left behind?",
}


def judge_oddities(target: str, state: State) -> tuple[Finding, ...]:
    """Judge whether the history is of the kind that Prisma itself leaves behind."""
    found = find_oddities(state.files, state.rows or ())
    early = (*found.early, *found.nearly_early)
    return (
        *_judge_tables(target, state),
        _odd_names(target, "no_migration_is_recorded_twice", found.twice),
        _odd_names(target, "no_applied_migration_has_an_error", found.erroneous),
        _odd_names(target, "no_migration_ends_before_it_begins", early, blocking=bool(found.early)),
        _odd_names(target, "no_migration_is_both_applied_and_rolled_back", found.both, blocking=False),
        _odd_names(target, "no_migration_is_empty", found.empty, blocking=False),
        _odd_names(target, "line_ends_are_as_recorded", found.line_ends, blocking=False),
        _odd_names(
            target,
            "no_names_differ_in_case_only",
            tuple(" and ".join(spellings) for spellings in found.spelled),
        ),
    )


def _judge_tables(target: str, state: State) -> Iterator[Finding]:
    ours = next((table for table in state.tables if table.schema == state.schema), None)
    others = [table for table in state.tables if table is not ours]
    if ours is not None:
        yield _odd(
            target,
            "history_is_a_table",
            f"{ours.schema}.{TABLE}",
            have=_kind(ours),
            want=KINDS["r"],
            verdict=Verdict.PASS if ours.ordinary else Verdict.FAIL,
        )
    yield _odd(
        target,
        "history_is_the_only_one",
        f"{state.schema}.{TABLE}",
        have=", ".join(f"{table.schema}.{TABLE} ({_kind(table)})" for table in others) or "no other",
        want="no other",
        verdict=Verdict.PASS if not others else Verdict.FAIL if ours is None else Verdict.OPEN,
    )


def _kind(table: HistoryTable) -> str:
    return f"{table.kind}, in an inheritance or partition tree" if table.inherits else table.kind


def _odd_names(target: str, check: str, names: Sequence[str], *, blocking: bool = True) -> Finding:
    return _odd(
        target,
        check,
        "migrations",
        have=", ".join(names) or "none",
        want="none",
        verdict=Verdict.PASS if not names else Verdict.FAIL if blocking else Verdict.OPEN,
    )


def _odd(target: str, check: str, object: str, *, have: str, want: str, verdict: Verdict) -> Finding:
    hint = "" if verdict is Verdict.PASS else _HINTS[check]
    return Finding(
        check=check, target=target, object=object, have=have, want=want, verdict=verdict, hint=hint
    )
