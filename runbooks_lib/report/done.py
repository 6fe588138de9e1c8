"""What a run did, in one line: made, recorded, nothing to do; for the end of the command line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from runbooks_lib.amounts import counted
from runbooks_lib.evidence import Evidence
from runbooks_lib.facts.writing import Applied, Plan, PlannedStatement, Rehearsal, Resolved
from runbooks_lib.findings import CLOSING
from runbooks_lib.prisma.settlement import DEPLOYED, Action

_WOULD = {"would create": "", "would change": " changed", "would drop": " dropped"}


def done(seen: Evidence) -> str:
    """Return what a run did, or would do: `applied: 4 enums, 5 tables; 1 row in Prisma's history`."""
    if seen.header.mode == "plan":
        plan = seen.plan
        if plan is None:
            return "nothing was written, and there is no plan to confirm"
        would = list(_told(plan.statements, *_to_settle(plan)))
        return f"planned: {'; '.join(would)}" if would else "nothing to do: already applied"
    applied, resolved = seen.facts(Applied).applied, seen.facts(Resolved)
    if applied is None:
        return "the connection was lost at COMMIT: whether the baseline is applied is not known"
    made = seen.facts(Plan).statements if applied else ()
    did = list(_told(made, len(resolved.settled), len(resolved.deployed)))
    if did:
        return f"applied: {'; '.join(did)}"
    asked = "prisma_resolve" in seen.records and seen.verdict not in CLOSING
    return "nothing to do: already applied" if asked else "nothing was written"


def to_do(plan: Plan) -> bool:
    """Tell whether a plan would write anything."""
    return any(_told(plan.statements, *_to_settle(plan)))


def lacks(seen: Evidence) -> bool:
    """Tell whether the plan of a run would change the database: an object, a row, or what Prisma has recorded.

    A statement that is run each time (`would run`) counts by what its rehearsal wrote and what it makes; one that the
    rehearsal left out counts, too, since nobody saw that it changes nothing.
    """
    plan, rehearsed = seen.plan, seen.facts(Rehearsal)
    if plan is None:
        return False
    wrote = any(each.inserted or each.updated or each.deleted for each in rehearsed.first.values())
    unseen = any(each.would == "would run" and each.line in rehearsed.left for each in plan.statements)
    creates = any(each.would in _WOULD for each in plan.statements)
    return wrote or unseen or creates or bool(plan.pending or plan.to_come) or any(_to_settle(plan))


def _to_settle(plan: Plan) -> tuple[int, int]:
    """Return how many migrations are to be recorded, and to be deployed."""
    actions = [each.action for each in plan.settlement]
    return actions.count(Action.RESOLVE_APPLIED), sum(action in DEPLOYED for action in actions)


def _told(statements: Iterable[PlannedStatement], recorded: int, deployed: int) -> Iterator[str]:
    made = Counter((each.kind, each.would) for each in statements)
    words = [f"{counted(n, kind)}{_WOULD[would]}" for (kind, would), n in made.items() if would in _WOULD]
    if others := sum(n for (_, would), n in made.items() if would == "would run"):
        words.append(counted(others, "other statement"))
    if words:
        yield ", ".join(words)
    if recorded:
        yield f"{counted(recorded, 'row')} in Prisma's history"
    if deployed:
        yield f"{counted(deployed, 'migration')} deployed"
