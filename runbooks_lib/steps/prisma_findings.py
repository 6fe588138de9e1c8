"""The findings of step 4 about what is read, written and not judged; those of a settlement stand beside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from runbooks_lib.checks import Check
from runbooks_lib.facts.writing import Plan, Resolved, Said
from runbooks_lib.findings import CLOSING, Answer, Finding, Verdict, judge
from runbooks_lib.phase import Phase
from runbooks_lib.postgres.scratch.replayed import Ran, Replayed
from runbooks_lib.postgres.script.effects import Unjudged
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.postgres.session.locks import Holder
from runbooks_lib.prisma.history import folder_digest
from runbooks_lib.prisma.lock import MIGRATION_LOCK, holder_of_lock, lasting_holder
from runbooks_lib.prisma.state import State
from runbooks_lib.steps.prisma_look import Proved, section
from runbooks_lib.steps.settlement_findings import some, to_be_done

PLAN_ONLY = "not recorded: this run only plans"
FREE = "free"
ALL_JUDGED = "every statement judged"
_CONFIRMED = "confirmed and applied by this run, migrations folder included"


def judge_writing(phase: Phase, sessions: Sessions, proved: Proved, plan: Plan | None) -> tuple[Finding, ...]:
    """Judge what has to hold before Prisma is let to write: the plan confirmed, and Prisma's own lock free.

    `plan` is that which this run has confirmed and applied, None without one.
    """
    confirmed = judge(
        Check.PLAN_IS_CONFIRMED,
        section(phase).target,
        "confirmation",
        have=_confirmed_as(proved, plan),
        want=_CONFIRMED,
        hint="Run 03_baseline_migration.ipynb first, in this run, with apply and the plan's confirmation.",
    )
    return (confirmed,) if confirmed.verdict in CLOSING else (confirmed, judge_lock(phase, sessions))


def _confirmed_as(proved: Proved, plan: Plan | None) -> str:
    if plan is None:
        return "no plan that this run has confirmed and applied"
    if plan.parts.get("prisma") != folder_digest(proved.looked.state.files):
        return "confirmed, but the migrations folder has changed since the plan was made"
    planned = plan.parts.get("settlement", {})
    new = {
        name: action for name, action in to_be_done(proved.settlement).items() if planned.get(name) != action
    }
    if new:
        return "confirmed, but since then this has changed: " + some(
            [f"{each} ({new[each]})" for each in new]
        )
    return _CONFIRMED


def judge_lock(phase: Phase, sessions: Sessions) -> Finding:
    """Judge Prisma's own lock, before Prisma waits ten seconds for it."""

    def look() -> Holder | None:
        with sessions.snapshot(section(phase).target) as conn:
            return holder_of_lock(conn)

    holder = lasting_holder(look)
    return Finding(
        check=Check.PRISMA_LOCK_IS_FREE,
        target=section(phase).target,
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


def judge_replay(target: str, proved: Proved) -> Iterator[Finding]:
    """Judge what of the replay is not compared: OPEN, one finding a migration; and what was borrowed for it.

    None for a migration that ran as a whole and is compared as a whole. Statements that change rows are judged apart.
    """
    left = not_compared(proved)
    for ran in proved.replayed.scripts:
        if left.get(ran.name) or ran.one_by_one:
            yield _judge_ran(target, ran, left.get(ran.name, ()))
    if proved.replayed.borrowed:
        taken = some([f"{kind} {name}" for kind, name in proved.replayed.borrowed])
        yield judge(
            Check.MIGRATION_OBJECTS_STAND,
            target,
            "what the migrations need",
            have=f"from a copy of the target: {taken}",
            want=ALL_JUDGED,
            hint="No migration makes them: see for yourself that they are as the migrations need them.",
            blocking=False,
        )
    if proved.replayed.lacking:
        yield Finding(
            check=Check.MIGRATION_OBJECTS_STAND,
            target=target,
            object="scratch database",
            have=f"without {some(proved.replayed.lacking)}",
            want="as the target is",
            verdict=Verdict.SKIP,
        )


def not_compared(proved: Proved) -> Mapping[str, tuple[Unjudged, ...]]:
    """Return by migration the statements that neither the catalogue shows nor a question about rows."""
    asked = {name: {one.statement.at for one in found} for name, found in proved.looked.data.items()}
    found = {
        ran.name: tuple(
            one.unjudged
            for at, one in enumerate(ran.statements)
            if one.unjudged is not None and at not in asked.get(ran.name, ())
        )
        for ran in proved.replayed.scripts
    }
    return {name: left for name, left in found.items() if left}


def _judge_ran(target: str, ran: Ran, left: Sequence[Unjudged]) -> Finding:
    words = f"{len(ran.statements) - len(left)} of {len(ran.statements)} statements judged"
    if left:
        words += f"; not judged: {some([statement.words for statement in left])}"
    if ran.one_by_one:
        words += f"; run one by one, as by hand, not as one query as Prisma does: {ran.one_by_one}"
    hint = "A catalogue does not show what these leave: see for yourself that they were run, and sign it off."
    return Finding(
        check=Check.MIGRATION_OBJECTS_STAND,
        target=target,
        object=ran.name,
        have=words,
        want=ALL_JUDGED,
        verdict=Verdict.OPEN if left else Verdict.PASS,
        hint=hint if left else "",
    )


def not_judged(proved: Proved) -> dict[str, Any]:
    """Return the statements that are not judged by migration, for the facts."""
    return {name: [asdict(one) for one in left] for name, left in not_compared(proved).items()}


def statements_of(replayed: Replayed) -> int:
    """Return how many statements were replayed."""
    return sum(len(ran.statements) for ran in replayed.scripts)


def prismas_lines(*said: Said) -> tuple[dict[str, str], ...]:
    """Return the table of answers of Prisma's: what it said, line by line."""
    lines = (line.strip() for each in said for line in each.output.splitlines())
    return tuple({"Prisma says": line} for line in lines if line)


def by_check(findings: Sequence[Finding], facts: Resolved) -> Answer:
    """Return an answer whose table says how many objects each check looked at, and how many are as declared."""
    seen = Counter(f.check for f in findings)
    passed = Counter(f.check for f in findings if f.verdict is Verdict.PASS)
    rows = tuple({"check": check, "objects": seen[check], "as declared": passed[check]} for check in seen)
    return Answer(findings=tuple(findings), facts=facts, rows=rows)


def judge_row(target: str, state: State, name: str) -> Finding:
    """Judge the row of a migration: there, applied, and of this very file."""
    return judge(
        Check.MIGRATION_IS_APPLIED,
        target,
        name,
        have=state.applied_as(name),
        want="applied, checksum of this file",
        hint="The recorded migration is not the one in the folder: compare the branches before going on.",
    )
