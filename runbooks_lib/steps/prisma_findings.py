"""The findings of step 4 that more than one of its questions makes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from runbooks_lib.checks import Check
from runbooks_lib.facts.writing import Plan, Resolved, Said
from runbooks_lib.findings import CLOSING, Answer, Finding, Verdict, judge
from runbooks_lib.phase import Phase
from runbooks_lib.postgres.scratch.replayed import Ran
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.postgres.session.locks import Holder
from runbooks_lib.prisma.history import TABLE, folder_digest
from runbooks_lib.prisma.lock import MIGRATION_LOCK, holder_of_lock
from runbooks_lib.prisma.proof import ObjectState, Proof
from runbooks_lib.prisma.state import State
from runbooks_lib.steps.pending import NOTHING_PENDING, Pending, judged_later, pending_at

PLAN_ONLY = "not recorded: this run only plans"
FREE = "free"
LOOKS, LOOK_AGAIN_S = 10, 0.05
ALL_JUDGED = "every statement judged"
LISTED = 12


def judge_writing(phase: Phase, sessions: Sessions, state: State, plan: Plan | None) -> tuple[Finding, ...]:
    """Judge what has to hold before Prisma is let to write: the plan confirmed, and Prisma's own lock free.

    `plan` is that which this run has confirmed and applied, None without one.
    """
    confirmed = judge(
        Check.PLAN_IS_CONFIRMED,
        phase.migration.target,
        "confirmation",
        have=_confirmed_as(state, plan),
        want="confirmed and applied by this run, migrations folder included",
        hint="Run 03_baseline_migration.ipynb first, in this run, with apply and the plan's confirmation.",
    )
    return (confirmed,) if confirmed.verdict in CLOSING else (confirmed, judge_lock(phase, sessions))


def _confirmed_as(state: State, plan: Plan | None) -> str:
    if plan is None:
        return "no plan that this run has confirmed and applied"
    if plan.parts["prisma"] != folder_digest(state.files):
        return "confirmed, but the migrations folder has changed since the plan was made"
    return "confirmed and applied by this run, migrations folder included"


def judge_lock(phase: Phase, sessions: Sessions) -> Finding:
    """Judge Prisma's own lock, before Prisma waits ten seconds for it.

    A Prisma that has just ended leaves a session that holds it for a moment more.
    """
    holder = None
    for _ in range(LOOKS):
        with sessions.snapshot(phase.migration.target) as conn:
            holder = holder_of_lock(conn)
        if holder is None:
            break
        time.sleep(LOOK_AGAIN_S)
    return Finding(
        check=Check.PRISMA_LOCK_IS_FREE,
        target=phase.migration.target,
        object=f"advisory lock {MIGRATION_LOCK}",
        have=FREE if holder is None else f"held by {holder}",
        want=FREE,
        verdict=Verdict.PASS if holder is None else Verdict.FAIL,
        hint="" if holder is None else _how_to_free(holder),
    )


def _how_to_free(holder: Holder) -> str:
    """Say what to do; a session that does nothing and holds the lock is what a pooler keeps of a Prisma that ended."""
    if holder.idle_since is None:
        return (
            "Another migration runs: wait for it, or talk to whoever runs it. Prisma was not started. "
            f"If nobody does, as its owner or a superuser: SELECT pg_terminate_backend({holder.pid});"
        )
    return (
        "Its session does nothing: a Prisma that ran through a pooler (PgBouncer) and ended leaves it so, and nobody "
        "will give the lock back. Prisma was not started. When you are sure that no migration runs, as its owner or a "
        f"superuser: SELECT pg_terminate_backend({holder.pid}); and let Prisma use the server's own port."
    )


def judge_table(target: str, state: State) -> Finding:
    """Judge whether Prisma has a history in the target at all."""
    return judge(
        Check.HAS_TABLE,
        target,
        f"{state.schema}.{TABLE}",
        have="absent" if state.rows is None else "there",
        want="there",
        hint="Prisma has never managed this database: is it the right one?",
    )


def still_pending(phase: Phase, sessions: Sessions, state: State, planned: Plan | None) -> Pending:
    """Return what the planned baseline is still to make. Of a migration that is recorded everything must stand."""
    if phase.migration.name in state.history.applied:
        return NOTHING_PENDING
    return pending_at(phase, sessions, phase.migration.target, planned)


def judge_objects(
    target: str, objects: Sequence[ObjectState], pending: Pending = NOTHING_PENDING
) -> tuple[Finding, ...]:
    """Judge each object: the target has it as the migrations make it, or the planned baseline makes it just so."""
    findings = []
    for made in objects:
        have, want = made.words()
        finding = Finding(
            check=Check.MIGRATION_OBJECTS_STAND,
            target=target,
            object=made.label,
            have=have,
            want=want,
            verdict=Verdict.PASS if made.stands else Verdict.FAIL,
            hint=""
            if made.stands
            else "The migrations make it so. Find out who changed it, and mend it or them.",
        )
        findings.append(judged_later(finding) if pending.still_makes(made) else finding)
    return tuple(findings)


def judge_statements(target: str, proof: Proof, migrations: Iterable[str]) -> tuple[Finding, ...]:
    """Judge the statements of migrations: OPEN where the effect of some is not compared, and for what was borrowed.

    One finding a migration, and none for one that ran as a whole and is compared as a whole.
    """
    findings = [
        _judge_ran(target, name, proof.ran[name])
        for name in migrations
        if proof.ran[name].unjudged or proof.ran[name].one_by_one
    ]
    if proof.borrowed:
        taken = _some([f"{kind} {name}" for kind, name in proof.borrowed])
        hint = "No migration makes them: see for yourself that they are as the migrations need them."
        findings.append(
            _not_judged(target, "what the migrations need", f"from a copy of the target: {taken}", hint)
        )
    if proof.lacking:
        findings.append(
            Finding(
                check=Check.MIGRATION_OBJECTS_STAND,
                target=target,
                object="scratch database",
                have=f"without {_some(proof.lacking)}",
                want="as the target is",
                verdict=Verdict.SKIP,
            )
        )
    return tuple(findings)


def _judge_ran(target: str, name: str, ran: Ran) -> Finding:
    words = f"{len(ran.statements) - len(ran.unjudged)} of {len(ran.statements)} statements judged"
    if ran.unjudged:
        words += f"; not judged: {_some([statement.words for statement in ran.unjudged])}"
    if ran.one_by_one:
        words += f"; run one by one, as by hand, not as one query as Prisma does: {ran.one_by_one}"
    hint = "A catalogue does not show what these leave: see for yourself that they were run, and sign it off."
    return Finding(
        check=Check.MIGRATION_OBJECTS_STAND,
        target=target,
        object=name,
        have=words,
        want=ALL_JUDGED,
        verdict=Verdict.OPEN if ran.unjudged else Verdict.PASS,
        hint=hint if ran.unjudged else "",
    )


def _not_judged(target: str, object: str, have: str, hint: str) -> Finding:
    return judge(
        Check.MIGRATION_OBJECTS_STAND, target, object, have=have, want=ALL_JUDGED, hint=hint, blocking=False
    )


def _some(items: Sequence[str]) -> str:
    """Return a list in words that a person still reads; the facts have all of it."""
    more = len(items) - LISTED
    return ", ".join(items[:LISTED]) + (f" and {more} more" if more > 0 else "")


def not_judged(proof: Proof) -> dict[str, Any]:
    """Return the statements that are not judged by migration, for the facts."""
    return {name: [asdict(one) for one in ran.unjudged] for name, ran in proof.ran.items() if ran.unjudged}


def judged_next(target: str, migration: str, objects: int) -> Finding:
    """Return the SKIP of a migration that is recorded as failed: `resolve` judges its objects."""
    return Finding(
        check=Check.MIGRATION_OBJECTS_STAND,
        target=target,
        object=migration,
        have=f"recorded as failed: its {objects} objects may stand or not",
        want="judged by the next question",
        verdict=Verdict.SKIP,
    )


def nothing_made(target: str, migration: str) -> Finding:
    """Return the ERROR of a migration that leaves nothing to compare."""
    return Finding(
        check=Check.MIGRATION_OBJECTS_STAND,
        target=target,
        object=migration,
        have="nothing that a catalogue shows",
        want="objects that can be compared",
        verdict=Verdict.ERROR,
        hint="No statement of it leaves anything: look at it yourself, and record it by hand.",
    )


def cannot_tell(target: str, migration: str) -> Finding:
    """Return the FAIL of a failed migration that leaves no object: nothing tells whether any of it was done."""
    return judge(
        Check.MIGRATION_IS_RECORDED,
        target,
        migration,
        have="failed, and no object tells whether any of it was done",
        want="recorded",
        hint="Nothing was run. See what it changed, then settle it by hand: prisma migrate resolve --applied or "
        "--rolled-back.",
    )


def would_record(target: str, migration: str, command: str, *, failed: bool) -> Finding:
    """Return what a plan says instead of recording."""
    why = "It is recorded as failed, but all that it makes stands, or is planned. " if failed else ""
    return Finding(
        check=Check.MIGRATION_IS_RECORDED,
        target=target,
        object=migration,
        have=PLAN_ONLY,
        want="recorded",
        verdict=Verdict.SKIP,
        hint=f"{why}With --apply this runs: {command}",
    )


def prismas_lines(said: Said) -> tuple[dict[str, str], ...]:
    """Return the table of an answer of Prisma's: what it said, line by line."""
    return tuple({"Prisma says": line.strip()} for line in said.output.splitlines() if line.strip())


def by_check(findings: Sequence[Finding], facts: Resolved) -> Answer:
    """Return an answer whose table says how many objects each check looked at, and how many are as declared."""
    seen = Counter(f.check for f in findings)
    passed = Counter(f.check for f in findings if f.verdict is Verdict.PASS)
    rows = tuple({"check": check, "objects": seen[check], "as declared": passed[check]} for check in seen)
    return Answer(findings=tuple(findings), facts=facts, rows=rows)


def judge_row(phase: Phase, state: State) -> Finding:
    """Judge the row of the phase's migration: there, applied, and of this very file."""
    return judge(
        Check.MIGRATION_IS_APPLIED,
        phase.migration.target,
        phase.migration.name,
        have=state.applied_as(phase.migration.name),
        want="applied, checksum of this file",
        hint="The recorded migration is not the one in the folder: compare the branches before going on.",
    )
