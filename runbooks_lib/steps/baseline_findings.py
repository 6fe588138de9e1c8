"""What was seen of a baseline's statements and runs, as findings: verdicts by values, and words for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from runbooks_lib.checks import Check
from runbooks_lib.facts.writing import Undo
from runbooks_lib.findings import Finding, Verdict
from runbooks_lib.postgres.catalog.differences import Difference, in_words
from runbooks_lib.postgres.script.consequences import Fate
from runbooks_lib.postgres.script.script import Statement
from runbooks_lib.postgres.session.commit import Ending, Settled
from runbooks_lib.steps.baseline_file import Judged
from runbooks_lib.steps.baseline_runs import Again, Applied, Built, Rehearsal, Undone

WHAT_RUNS_CHANGE = "catalogue, rows and sequences"
MAX_NAMED = 5
_WAITS_FOR_A_STANDBY = "SyncRep"
_FATES = {
    Fate.RUNS: Verdict.PASS,
    Fate.NAMED: Verdict.OPEN,
    Fate.COPY: Verdict.OPEN,
    Fate.REFUSED: Verdict.FAIL,
}
_REMEDIES = {
    Fate.NAMED: "It is done for new rows only, or rolled back with a rehearsal. Know of it before you apply.",
    Fate.COPY: "No rollback takes that back, so that the statement is rehearsed in a scratch database alone.",
    Fate.REFUSED: "Give the values themselves, or leave the statement out: it would act again on a second run.",
}


def judge_statement(target: str, judged: Judged) -> Finding:
    """Judge statement_is_idempotent: by its form, and by what it sets off in the target's database."""
    statement, fate = judged.statement, judged.fate
    told = judged.told(*Fate)
    return Finding(
        check=Check.STATEMENT_IS_IDEMPOTENT,
        target=target,
        object=f"line {statement.line}: {statement.kind} {statement.object}",
        have=judged.refused or (f"idempotent; {told}" if told else "idempotent"),
        want="idempotent",
        verdict=_FATES[fate],
        hint=statement.remedy or _REMEDIES.get(fate, ""),
    )


def counted_rows(lines: Sequence[int], said: Iterable[Mapping[str, str]]) -> tuple[dict[str, str | int], ...]:
    """Return a row for each thing that is said of statements, with how many these are: the plan names each of them."""
    alike: dict[tuple[tuple[str, str], ...], list[int]] = {}
    for line, each in zip(lines, said, strict=True):
        alike.setdefault(tuple(each.items()), []).append(line)
    return tuple(
        {"statements": len(found), "lines": _several(found), **dict(each)} for each, found in alike.items()
    )


def _several(lines: Sequence[int]) -> str:
    return f"{', '.join(map(str, lines[:MAX_NAMED]))}{' …' if len(lines) > MAX_NAMED else ''}"


def judge_rehearsal(
    target: str, seen: Rehearsal, where: str, undo: Undo | None, later: Sequence[str] = ()
) -> tuple[Finding, ...]:
    """Judge what a rehearsal left out, what the second time wrote, what is left of it, and the way back.

    `later` are indexes that are built after the transaction: no way back from them was seen.
    """
    left = tuple(_left_out(target, each, where) for each in seen.left)
    return (*left, _twice(target, seen), _inert(target, seen), _restored(target, seen.undone, undo, later))


def _restored(target: str, undone: Undone, undo: Undo | None, later: Sequence[str]) -> Finding:
    """Judge undo_restores: never FAIL, since what is applied is as good without a way back."""
    left = (
        [f"line {each.line}, {each.words}" if each.line else each.words for each in undo.left_over]
        if undo
        else []
    )
    if undo is None:
        verdict, have = Verdict.SKIP, "nothing that has a name would be made"
    elif undone.why_not:
        verdict, have = Verdict.OPEN, f"not rehearsed: {undone.why_not}"
    elif left:
        more = f" and {len(left) - MAX_NAMED} more" if len(left) > MAX_NAMED else ""
        verdict, have = (
            Verdict.OPEN,
            f"not taken back: {'; '.join(left[:MAX_NAMED])}{more}{_named(undone.differs)}",
        )
    elif undone.differs:
        verdict, have = Verdict.OPEN, f"not as before{_named(undone.differs)}"
    elif later:
        verdict, have = Verdict.OPEN, f"not rehearsed: built after the transaction: {', '.join(later)}"
    else:
        verdict, have = Verdict.PASS, f"{len(undo.statements)} statements, after which all is as before"
    return Finding(
        check=Check.UNDO_RESTORES,
        target=target,
        object="undo script",
        have=have,
        want="all as before",
        verdict=verdict,
        hint=_NO_WAY_BACK if verdict is Verdict.OPEN else "",
    )


_NO_WAY_BACK = (
    "Read plan/undo.sql, which names what it leaves: that is undone by hand, with the dump of step 2."
)


def _left_out(target: str, judged: Judged, where: str) -> Finding:
    statement = judged.statement
    why = judged.told(Fate.COPY) or "an earlier statement was left out"
    return Finding(
        check=Check.REHEARSAL_IS_INERT,
        target=target,
        object=f"line {statement.line}: {statement.kind} {statement.object}",
        have=f"rehearsed {where} alone: {why}",
        want="rehearsed on the target",
        verdict=Verdict.OPEN,
        hint="No rollback would take that back. When it is applied, the second run shows what it does.",
    )


def not_in_a_transaction(target: str, index: Statement, where: str) -> Finding:
    """Return the finding rehearsal_is_inert of an index that is built concurrently: no transaction can hold it."""
    return Finding(
        check=Check.REHEARSAL_IS_INERT,
        target=target,
        object=f"index {index.object}",
        have=f"rehearsed {where} alone: CONCURRENTLY can't run in a transaction",
        want="rehearsed on the target",
        verdict=Verdict.OPEN,
        hint="It is built after the transaction, and keeps nobody from writing. What breaks it off is mended by the "
        "next run.",
    )


def judge_built(target: str, file: str, seen: Applied) -> Finding:
    """Judge baseline_is_applied for the indexes that are built concurrently, after the transaction."""
    why_not = seen.built.why_not or ("" if seen.stands else "the transaction before them is not applied")
    return Finding(
        check=Check.BASELINE_IS_APPLIED,
        target=target,
        object=file,
        have=f"not built: {why_not}" if why_not else "applied",
        want="applied",
        verdict=Verdict.FAIL if why_not else Verdict.PASS,
        hint="What is built stays. Plan again and confirm: the run goes on from there." if why_not else "",
    )


def judge_built_again(target: str, file: str, seen: Built) -> Finding:
    """Judge second_run_changes_nothing for the indexes that are built concurrently."""
    kept = not seen.why_not and not seen.changed
    return Finding(
        check=Check.SECOND_RUN_CHANGES_NOTHING,
        target=target,
        object=file,
        have=seen.why_not or f"catalogue as before{_named(seen.changed)}",
        want="catalogue as before",
        verdict=Verdict.PASS if kept else Verdict.FAIL,
        hint="" if kept else "Plan again: an index that is not valid is built anew.",
    )


def _twice(target: str, seen: Rehearsal) -> Finding:
    again = not seen.second.rows and not seen.changed
    first = f"the first time: {seen.first}; " if seen.first.rows else ""
    return Finding(
        check=Check.STATEMENT_IS_IDEMPOTENT,
        target=target,
        object="every statement, run twice",
        have=f"{first}the second time: {seen.second}{_named(seen.changed)}",
        want="the second time: no row written",
        verdict=Verdict.PASS if again else Verdict.FAIL,
        hint="" if again else "A second run would do this again: see what writes, and give its rows a key.",
    )


def _inert(target: str, seen: Rehearsal) -> Finding:
    """Judge rehearsal_is_inert. What others did meanwhile is theirs: the server says that our transaction is undone."""
    before, after = seen.before.fingerprint(), seen.after.fingerprint()
    moved = f"sequences moved: {', '.join(seen.moved)}" if seen.moved else "no sequence moved"
    undone = "rolled back" if seen.rolled_back else "NOT rolled back"
    ours = seen.rolled_back and not seen.moved
    others = _named(seen.meanwhile)
    return Finding(
        check=Check.REHEARSAL_IS_INERT,
        target=target,
        object=WHAT_RUNS_CHANGE,
        have=f"{undone}, catalogue {after[:16]}, {moved}{others}",
        want=f"rolled back, catalogue {before[:16]}, no sequence moved",
        verdict=Verdict.FAIL if not ours else Verdict.OPEN if before != after else Verdict.PASS,
        hint=""
        if ours and before == after
        else "Somebody else changes the catalogue while this runs: agree with them on who goes first, then plan again."
        if ours
        else "No rollback restores a sequence: find what asked it for a value, and give the value in the SQL.",
    )


def _named(changed: Iterable[Difference]) -> str:
    found = list(changed)
    more = f" and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
    return "".join(f"; {in_words(each)}" for each in found[:MAX_NAMED]) + more


def judge_applied(target: str, file: str, seen: Applied) -> Finding:
    """Judge baseline_is_applied by what became of the transaction."""
    have, hint = _ended(seen.done) if seen.done else _NOT_AS_DECLARED
    verdict = {True: Verdict.PASS, False: Verdict.FAIL, None: Verdict.ERROR}[seen.stands]
    return Finding(
        check=Check.BASELINE_IS_APPLIED,
        target=target,
        object=file,
        have=have,
        want="applied",
        verdict=verdict,
        hint="" if seen.stands else hint,
    )


_NOT_AS_DECLARED = (
    "rolled back: the result is not what the phase declares",
    "See the failed findings: CREATE … IF NOT EXISTS met an object of another shape.",
)


def _ended(done: Settled) -> tuple[str, str]:
    """Say what became of a transaction, and what to do if it is not applied."""
    if not done.lost:
        return "applied", ""
    lost = f"the session was lost at COMMIT ({done.lost}); transaction {done.transaction.id}"
    pid = done.transaction.pid
    match done.outcome:
        case Ending.COMMITTED:
            return f"applied: {lost} is committed, as a new session found", ""
        case Ending.ABORTED:
            return f"not applied: {lost} was rolled back", "Nothing has changed. Run this step again."
        case Ending.IN_PROGRESS if done.waits_for == _WAITS_FOR_A_STANDBY:
            return (
                f"not known: {lost} is written and waits for a synchronous standby (SyncRep, pid {pid})",
                "Bring the standby back, or have synchronous_standby_names changed: then it ends as committed. Don't "
                "cancel it: it would stand here, and on no standby. Then run this step again.",
            )
        case Ending.IN_PROGRESS:
            return (
                f"not known: {lost} is still in progress (pid {pid}, waits for "
                f"{done.waits_for or 'nothing'})",
                "Wait until it has ended, then run this step again: it looks at what stands.",
            )
        case Ending.UNKNOWN:
            return (
                f"not known: {lost} may be committed or rolled back. {done.why}",
                f"Ask the server when it is back: SELECT pg_xact_status('{done.transaction.id}'); then run this "
                "step again: it looks at what stands.",
            )


def judge_again(target: str, seen: Again) -> Finding:
    """Judge second_run_changes_nothing, by what the transaction itself wrote."""
    moved = f"; values taken of {', '.join(sorted(seen.work.sequences))}" if seen.work.sequences else ""
    verdict = Verdict.FAIL if not seen.kept else Verdict.OPEN if moved else Verdict.PASS
    hint = {
        Verdict.FAIL: "Rolled back. The baseline was never applied here or is not idempotent: see what was written "
        "before going on.",
        Verdict.OPEN: "Each run wastes these values, and writes no row. Give the values in the SQL if that matters.",
    }
    return Finding(
        check=Check.SECOND_RUN_CHANGES_NOTHING,
        target=target,
        object=WHAT_RUNS_CHANGE,
        have=f"{seen.work}{_named(seen.changed)}{moved}",
        want="no row written",
        verdict=verdict,
        hint=hint.get(verdict, ""),
    )
