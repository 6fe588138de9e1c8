"""The three times that a baseline runs on its target: rehearsed, applied, applied again. What was seen, as values.

What others do meanwhile is told apart from what the script did: by the transaction's own counters and locks, by what
became of the transaction, and where both could be, by another try.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import psycopg
from psycopg import sql

from runbooks_lib.errors import MigrationError, RunbookError
from runbooks_lib.facts.writing import Outcome, Plan, Undo
from runbooks_lib.findings import CLOSING, Finding
from runbooks_lib.phase import Phase, services_of
from runbooks_lib.postgres.catalog.catalog import Catalog, identifier, read_catalog
from runbooks_lib.postgres.catalog.differences import Difference, differences
from runbooks_lib.postgres.script.apply import run_script, take_lock
from runbooks_lib.postgres.script.concurrent import build
from runbooks_lib.postgres.script.script import Statement
from runbooks_lib.postgres.session.commit import CommitLost, Ending, Settled, commit, settle
from runbooks_lib.postgres.session.connect import Connection, Sessions, connect, identify
from runbooks_lib.postgres.session.locks import own_locks
from runbooks_lib.postgres.session.transaction_work import Work, read_work
from runbooks_lib.steps.baseline_file import Judged, baseline_of, logs_of, rehearsable, runnable, sql_sha256

TRIES = 3  # of a look that somebody else's work got into
UNDO_LOCK_TIMEOUT_MS = (
    300  # below deadlock_timeout: who waits for what the script has locked is never ended for it
)
UNDO_CHECKS_S = 0.5
_LOST = "the session was lost at COMMIT: run the step again"
_IN_PART = "the script itself was rehearsed in part"

Inspect = Callable[[Catalog], tuple[Finding, ...]]


class _Undo(Exception):
    """Leave a transaction block without committing it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Undone:
    """Why an undo script was not rehearsed, or did not go through; and what was not as before after it."""

    why_not: str = ""
    differs: tuple[Difference, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """A rehearsal: the catalogue before, and after its end; what it did the first time and the second.

    `left` is what was not rehearsed on the target, `made` what was judged inside, `rolled_back` whether the server
    says so of the transaction. `changed` is what the second time changed in the catalogue, `meanwhile` what differs
    since before. `locks` are those on relations that were there before, as (name, mode), and `undone` is what became of
    the undo script.
    """

    before: Catalog
    after: Catalog
    first: Work
    second: Work
    changed: tuple[Difference, ...]
    left: tuple[Judged, ...]
    made: tuple[Finding, ...]
    rolled_back: bool
    locks: tuple[tuple[str, str], ...]
    undone: Undone

    @property
    def meanwhile(self) -> tuple[Difference, ...]:
        """Return what differs in the catalogue since before."""
        return differences(self.after, self.before)

    @property
    def moved(self) -> tuple[str, ...]:
        """Return the sequences that were there before and gave or were set to a value: no rollback restores them."""
        there = {name for name, relation in self.before.relations.items() if relation.kind == "S"}
        return tuple(sorted((self.first.sequences | self.second.sequences) & there))


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What the server said of each index that is built concurrently, the catalogue after it, and what has changed.

    `why_not` says why they were not, or not all.
    """

    outcomes: tuple[Outcome, ...] = ()
    after: Catalog | None = None
    changed: tuple[Difference, ...] = ()
    why_not: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What the server said of each statement, how the result was judged, and what became of the transaction.

    `done` is None when it was rolled back, since the result was not judged well. `built` is what came after it.
    """

    outcomes: tuple[Outcome, ...]
    made: tuple[Finding, ...]
    done: Settled | None = None
    built: Built = Built()

    @property
    def stands(self) -> bool | None:
        """Return whether the baseline is applied; None when nobody can tell."""
        if self.done is None:
            return False
        return {Ending.COMMITTED: True, Ending.ABORTED: False}.get(self.done.outcome)


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """A second run: the catalogue's fingerprints, what the transaction itself wrote, what it changed."""

    before: str
    after: str
    work: Work
    changed: tuple[Difference, ...]
    outcomes: tuple[Outcome, ...]

    @property
    def kept(self) -> bool:
        """Return whether nothing was changed, so that it was committed."""
        return not self.work.rows and not self.changed


def rehearse(phase: Phase, sessions: Sessions, inspect: Inspect, undo: Undo | None = None) -> Rehearsal:
    """Run the baseline twice in a transaction that rolls back, then its undo; look at the catalogue before and after.

    Others may change the catalogue meanwhile: then it is tried again, TRIES times in all.
    """
    for _ in range(TRIES):
        rehearsal = _rehearse(phase, sessions, inspect, undo or Undo())
        if not rehearsal.meanwhile and not rehearsal.changed:
            break
    return rehearsal


def _rehearse(phase: Phase, sessions: Sessions, inspect: Inspect, undo: Undo) -> Rehearsal:
    seen: dict[str, Any] = {}
    with writing(phase, sessions) as conn:
        with suppress(_Undo), conn.transaction():
            take_lock(conn, wait_ms=baseline_of(phase).lock_timeout_ms)
            judged = runnable(phase, conn)
            here, left = rehearsable(judged)
            seen["before"] = read_catalog(conn)  # under the lock: what another run did until then is not ours
            begun = read_work(conn)
            _run(phase, conn, here)
            seen["locks"] = tuple(lock for lock in own_locks(conn) if lock[0] in seen["before"].relations)
            once, inside = read_work(conn), read_catalog(conn)
            _run(phase, conn, here)
            twice = read_work(conn).since(once).beside(logs_of(judged))
            seen |= {"left": left, "first": once.since(begun), "second": twice}
            seen["changed"] = differences(read_catalog(conn), inside) if twice.catalogue else ()
            whole = all(each.statement.writes_rows for each in left)
            seen["made"] = inspect(inside) if whole else ()
            seen["undone"] = _undo(conn, undo, seen["before"], judged) if whole else Undone(why_not=_IN_PART)
            transaction = _own_id(conn)
            raise _Undo
        seen["rolled_back"] = _is_rolled_back(conn, transaction)
    with sessions.snapshot(baseline_of(phase).target) as reading:
        return Rehearsal(after=read_catalog(reading), **seen)


def _undo(conn: Connection, undo: Undo, before: Catalog, judged: Sequence[Judged]) -> Undone:
    """Run an undo script on top of the rehearsal, without the rows that the script wrote into tables of its own.

    It may need a stronger lock than the script: it doesn't wait for it so long that somebody would notice.
    """
    written = {each.statement.object for each in judged if each.statement.writes_rows}
    emptied = [identifier(name) for name in sorted(written - before.relations.keys())]
    try:
        with conn.transaction():
            _execute(conn, (*undo.settings, f"SET LOCAL lock_timeout = {UNDO_LOCK_TIMEOUT_MS}"))
            if emptied:
                conn.execute(sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(emptied)))
            _check(conn, undo.checks)
            _execute(conn, (*undo.statements, "RESET ROLE", "SET LOCAL search_path = pg_catalog"))
        return Undone(differs=differences(read_catalog(conn), before))
    except psycopg.Error as error:
        if conn.broken:
            raise
        return Undone(why_not=" ".join(str(error).split()))


def _check(conn: Connection, checks: Sequence[str]) -> None:
    """Run the checks of an undo as long as they take no time: nobody can have come since, and others wait."""
    until = time.monotonic() + UNDO_CHECKS_S
    for check in checks:
        left_ms = round((until - time.monotonic()) * 1000)
        if left_ms <= 0:
            return
        with suppress(psycopg.errors.QueryCanceled), conn.transaction():
            _execute(conn, (f"SET LOCAL statement_timeout = {left_ms}", check))


def _execute(conn: Connection, statements: Sequence[str]) -> None:
    for statement in statements:
        conn.execute(statement.encode())


def _own_id(conn: Connection) -> str | None:
    """Return the id of the open transaction; None when it has written nothing so far."""
    row = conn.execute("SELECT pg_current_xact_id_if_assigned()::text AS id").fetchone()
    return row["id"] if row else None


def _is_rolled_back(conn: Connection, transaction: str | None) -> bool:
    """Return whether the server says that a transaction was rolled back; without an id it has written nothing."""
    row = conn.execute("SELECT pg_xact_status(%s::xid8) AS status", (transaction,)).fetchone()
    return transaction is None or bool(row and row["status"] == "aborted")


def apply(
    phase: Phase, sessions: Sessions, plan: Plan, inspect: Inspect, indexes: Sequence[Statement] = ()
) -> Applied:
    """Run the baseline in one transaction and commit it, if its result is judged well; else roll it back.

    When nobody answers the COMMIT, new sessions ask what became of it. The `indexes` are built concurrently after it,
    under the same lock.
    Raises MigrationError when what was confirmed has changed since.
    """
    with locked(phase, sessions, indexes), writing(phase, sessions, server=plan.parts) as conn:
        server = identify(conn)
        conn.execute("BEGIN")  # and not conn.transaction(): how it ends is the question
        if not indexes:
            take_lock(conn, wait_ms=baseline_of(phase).lock_timeout_ms)
        judged = runnable(phase, conn)
        _require_planned(phase, plan.parts, read_catalog(conn))
        outcomes = _run(phase, conn, judged)
        made = inspect(read_catalog(conn))
        if any(f.verdict in CLOSING for f in made):
            conn.rollback()
            return Applied(outcomes=outcomes, made=made)
        try:
            done = Settled(transaction=commit(conn, server), outcome=Ending.COMMITTED)
            built = _build(phase, conn, indexes)
        except CommitLost as error:
            target = sessions.targets[baseline_of(phase).target]
            done = _settled(
                error, partial(connect, target, application_name=sessions.application_name), inspect
            )
            built = Built(why_not=_LOST if indexes else "")
        return Applied(outcomes=outcomes, made=made, done=done, built=built)


@contextmanager
def locked(phase: Phase, sessions: Sessions, indexes: Sequence[Statement]) -> Iterator[None]:
    """Hold our lock in a session of its own, where it has to outlast a transaction: indexes are built after it.

    An open transaction without a snapshot, which no index that is built waits for; a pooler leaves it its session.
    """
    if not indexes:
        yield
        return
    with writing(phase, sessions) as keeper, keeper.transaction():
        take_lock(keeper, wait_ms=baseline_of(phase).lock_timeout_ms)
        # Also ends the portal of the question before it, which would keep its snapshot: an index waits for those.
        keeper.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        yield


def _build(phase: Phase, conn: Connection, indexes: Sequence[Statement], **how: int) -> Built:
    """Build the indexes, and look at what they have changed; what fails says why: what is committed before stands."""
    if not indexes:
        return Built()
    try:
        before = read_catalog(conn)
        outcomes = build(conn, indexes, owner=phase.owner, **how)
        after = read_catalog(conn)
    except (RunbookError, psycopg.Error) as error:
        return Built(why_not=" ".join(str(error).split()))
    return Built(outcomes=outcomes, after=after, changed=differences(after, before))


def build_again(phase: Phase, sessions: Sessions, indexes: Sequence[Statement]) -> Built:
    """Build the indexes a second time, which changes nothing: one that is not valid is not touched."""
    with locked(phase, sessions, indexes), writing(phase, sessions) as conn:
        there = read_catalog(conn).indexes
        missing = [
            each.object for each in indexes if each.object not in there or not there[each.object].is_valid
        ]
        if missing:
            return Built(why_not=f"not there, or not valid: {', '.join(missing)}")
        return _build(phase, conn, indexes, wait_ms=baseline_of(phase).lock_timeout_ms)


def _settled(lost: CommitLost, asking: Callable[[], Connection], inspect: Inspect) -> Settled:
    """Ask what became of the transaction, and look whether what it made stands.

    A server that crashed may have given its number to somebody else's transaction since.
    """
    done = settle(lost, asking)
    if done.outcome is not Ending.COMMITTED:
        return done
    try:
        with asking() as conn, conn.transaction():
            stands = not any(f.verdict in CLOSING for f in inspect(read_catalog(conn)))
            why = (
                ""
                if stands
                else "A transaction of this number is committed, and what ours made is not there."
            )
    except (RunbookError, psycopg.Error) as error:
        stands, why = False, f"What it made could not be looked at: {error}"
    return done if stands else replace(done, outcome=Ending.UNKNOWN, why=why)


def apply_again(phase: Phase, sessions: Sessions) -> Again:
    """Run the baseline a second time, and commit only if it changed nothing.

    A difference in the catalogue that somebody else could have made is looked at again, TRIES times in all.
    """
    last: tuple[Difference, ...] = ()
    for _ in range(TRIES):
        again = _apply_again(phase, sessions)
        if again.kept or again.work.rows or again.changed == last:
            break
        last = again.changed
    return again


def _apply_again(phase: Phase, sessions: Sessions) -> Again:
    seen: dict[str, Any] = {}
    with writing(phase, sessions) as conn, suppress(_Undo), conn.transaction():
        take_lock(conn, wait_ms=baseline_of(phase).lock_timeout_ms)
        judged = runnable(phase, conn)
        before, begun = read_catalog(conn), read_work(conn)
        outcomes = _run(phase, conn, judged)
        work, after = read_work(conn).since(begun), read_catalog(conn)
        again = Again(
            before=before.fingerprint(),
            after=after.fingerprint(),
            work=work.beside(logs_of(judged)),
            changed=differences(after, before) if work.catalogue else (),
            outcomes=outcomes,
        )
        seen["again"] = again
        if not again.kept:
            raise _Undo
    found: Again = seen["again"]
    return found


def _run(phase: Phase, conn: Connection, judged: tuple[Judged, ...]) -> tuple[Outcome, ...]:
    """Run statements as the phase's owner, or as the session's role where none is declared."""
    statements = [each.statement for each in judged]
    return run_script(conn, statements, owner=phase.owner, lock_timeout_ms=baseline_of(phase).lock_timeout_ms)


def writing(
    phase: Phase, sessions: Sessions, *, server: Mapping[str, Any] | None = None
) -> AbstractContextManager[Connection]:
    """Open a writing session at the baseline's target, with the phase's time-outs."""
    return sessions.write(
        baseline_of(phase).target,
        lock_timeout_ms=baseline_of(phase).lock_timeout_ms,
        statement_timeout_ms=baseline_of(phase).statement_timeout_ms,
        server=server,
    )


_IN_WORDS = {
    "phase": "phase file",
    "services": "services of the targets",
    "sql": "SQL file",
    "catalogue": "database's catalogue",
}


def _require_planned(phase: Phase, parts: Mapping[str, Any], catalog: Catalog) -> None:
    """Raise MigrationError, naming it, when something that was confirmed has changed since the plan was made."""
    present = {
        "phase": phase.digest,
        "services": services_of(phase),
        "sql": sql_sha256(phase),
        "catalogue": catalog.fingerprint(),
    }
    changed = [_IN_WORDS[part] for part, value in present.items() if value != parts[part]]
    if changed:
        raise MigrationError(
            f"The {' and the '.join(changed)} changed since the plan was made.",
            "Run the plan again, read it, and confirm the new hash.",
        )
