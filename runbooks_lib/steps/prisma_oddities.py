"""The findings about a history that is odd: each oddity has a check of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from runbooks_lib.checks import Check
from runbooks_lib.findings import Finding, Verdict
from runbooks_lib.prisma.history import TABLE
from runbooks_lib.prisma.oddities import KINDS, HistoryTable, find_oddities
from runbooks_lib.prisma.state import State

_HINTS = {
    Check.NO_MIGRATION_IS_RECORDED_TWICE: "Prisma records a migration as applied once: find out who inserted the other "
    "row, and delete the wrong one.",
    Check.NO_APPLIED_MIGRATION_HAS_AN_ERROR: "Prisma writes an error only to a migration that failed: somebody set "
    "finished_at by hand. See what of it stands (below), then clear its logs.",
    Check.NO_MIGRATION_ENDS_BEFORE_IT_BEGINS: "Somebody wrote this row by hand, or a clock was wrong: find out which, "
    "before you rely on it.",
    Check.NO_MIGRATION_IS_BOTH_APPLIED_AND_ROLLED_BACK: "Prisma rolls back what failed, never what ended: find out who "
    "wrote the row, and whether its objects stand.",
    Check.NO_MIGRATION_IS_EMPTY: "Its script has no statement, so recording it says nothing about the database. Was it "
    "meant to be filled in?",
    Check.LINE_ENDS_ARE_AS_RECORDED: "Only the line ends differ (LF, CRLF), which Git may have changed: Prisma takes "
    "it as the same. `*.sql text eol=lf` in .gitattributes keeps them.",
    Check.NO_NAMES_DIFFER_IN_CASE_ONLY: "On a system that does not tell upper from lower case they are one folder: "
    "rename what is not the recorded spelling.",
    Check.HISTORY_IS_A_TABLE: "Prisma makes an ordinary table and writes rows to it: find out who replaced it.",
    Check.HISTORY_IS_THE_ONLY_ONE: "Prisma of this project reads and writes the one named first. Is another project's "
    "history in this database, or was a schema left behind?",
}


def judge_oddities(target: str, state: State) -> tuple[Finding, ...]:
    """Judge whether the history is of the kind that Prisma itself leaves behind."""
    found = find_oddities(state.files, state.rows or ())
    early = (*found.early, *found.nearly_early)
    return (
        *_judge_tables(target, state),
        _odd_names(target, Check.NO_MIGRATION_IS_RECORDED_TWICE, found.twice),
        _odd_names(target, Check.NO_APPLIED_MIGRATION_HAS_AN_ERROR, found.erroneous),
        _odd_names(target, Check.NO_MIGRATION_ENDS_BEFORE_IT_BEGINS, early, blocking=bool(found.early)),
        _odd_names(target, Check.NO_MIGRATION_IS_BOTH_APPLIED_AND_ROLLED_BACK, found.both, blocking=False),
        _odd_names(target, Check.NO_MIGRATION_IS_EMPTY, found.empty, blocking=False),
        _odd_names(target, Check.LINE_ENDS_ARE_AS_RECORDED, found.line_ends, blocking=False),
        _odd_names(
            target,
            Check.NO_NAMES_DIFFER_IN_CASE_ONLY,
            tuple(" and ".join(spellings) for spellings in found.spelled),
        ),
    )


def _judge_tables(target: str, state: State) -> Iterator[Finding]:
    ours = next((table for table in state.tables if table.schema == state.schema), None)
    others = [table for table in state.tables if table is not ours]
    if ours is not None:
        yield _odd(
            target,
            Check.HISTORY_IS_A_TABLE,
            f"{ours.schema}.{TABLE}",
            have=_kind(ours),
            want=KINDS["r"],
            verdict=Verdict.PASS if ours.ordinary else Verdict.FAIL,
        )
    yield _odd(
        target,
        Check.HISTORY_IS_THE_ONLY_ONE,
        f"{state.schema}.{TABLE}",
        have=", ".join(f"{table.schema}.{TABLE} ({_kind(table)})" for table in others) or "no other",
        want="no other",
        verdict=Verdict.PASS if not others else Verdict.FAIL if ours is None else Verdict.OPEN,
    )


def _kind(table: HistoryTable) -> str:
    return f"{table.kind}, in an inheritance or partition tree" if table.inherits else table.kind


def _odd_names(target: str, check: Check, names: Sequence[str], *, blocking: bool = True) -> Finding:
    return _odd(
        target,
        check,
        "migrations",
        have=", ".join(names) or "none",
        want="none",
        verdict=Verdict.PASS if not names else Verdict.FAIL if blocking else Verdict.OPEN,
    )


def _odd(target: str, check: Check, object: str, *, have: str, want: str, verdict: Verdict) -> Finding:
    hint = "" if verdict is Verdict.PASS else _HINTS[check]
    return Finding(
        check=check, target=target, object=object, have=have, want=want, verdict=verdict, hint=hint
    )
