"""The confirmation of a plan: the hash over everything that it depends on, and whether it is still so."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import psycopg

from runbooks_lib.amounts import in_words
from runbooks_lib.checks import Check
from runbooks_lib.errors import RunbookError
from runbooks_lib.facts.writing import KeptPlan, Plan
from runbooks_lib.findings import Finding, Verdict, could_not_run, judge
from runbooks_lib.postgres.session.connect import Sessions, lost
from runbooks_lib.postgres.session.locks import other_runs
from runbooks_lib.steps.baseline_plan import State

PLAN_ONLY = "not applied: this run only plans"
_HASH = re.compile(r"\b[0-9a-f]{64}\b")


class Changed(NamedTuple):
    """A part of a plan that is not what it was."""

    part: str
    was: Any
    now: Any

    def __str__(self) -> str:
        """Say it, hashes shortened."""
        return f"{self.part} (was {_short(self.was)}, is {_short(self.now)})"


def judge_confirmation(
    target: str, plan: Plan, planned: KeptPlan | None, confirm: str, *, run: str
) -> Finding:
    """Judge plan_is_confirmed: what was typed names the plan as it is now.

    `plan` is the present plan, `planned` the kept one that `confirm` names. Catalogue and migrations may differ from it
    in one case: this very `run` applied that plan, and was interrupted before it could say so; then every object of the
    plan stands, and nothing is left to be changed but migrations that are still to be settled as planned.
    """
    changed = changed_parts(planned.parts, plan.parts) if planned else ()
    ours = planned is not None and planned.run == run != ""
    taken_up = ours and _is_taken_up(plan, {each.part: each for each in changed})
    if planned is None:
        why = f"No plan of this archive is named {confirm}." if confirm else "Nothing is confirmed yet."
    else:
        why = f"Since the plan {confirm} of run {planned.run} there changed: {'; '.join(map(str, changed))}."
    hint = (
        f"{why} Read the plan above; if it is what you want, confirm it with {plan.confirmation}: "
        "type it in the form and press Confirm, or pass it as the parameter confirm."
    )
    passed = taken_up or confirm == plan.confirmation
    return Finding(
        check=Check.PLAN_IS_CONFIRMED,
        target=target,
        object="confirmation",
        have=f"{confirm}, applied by this run before it was interrupted" if taken_up else confirm or "none",
        want=plan.confirmation,
        verdict=Verdict.PASS if passed else Verdict.FAIL,
        hint="" if passed else hint,
    )


def _is_taken_up(plan: Plan, changed: Mapping[str, Changed]) -> bool:
    stands = all(each.would in (State.SAME, State.RUN) for each in plan.statements)
    settled = changed.get("settlement")
    fewer = settled is not None and (settled.now or {}).items() < (settled.was or {}).items()
    begun = "catalogue" in changed and bool(plan.statements)
    return stands and set(changed) <= {"catalogue", "settlement"} and (fewer or (begun and settled is None))


def not_confirmed(target: str, wanted: str) -> Finding:
    """Return the finding plan_is_confirmed of a run that only plans: SKIP, with what would confirm the plan."""
    return plan_only(
        Check.PLAN_IS_CONFIRMED,
        target,
        "confirmation",
        want=wanted,
        hint=f"To apply: --apply --confirm {wanted}",
    )


def plan_only(check: Check, target: str, object: str, *, want: str, hint: str = "") -> Finding:
    """Return the finding of what a run that only plans does not do."""
    return Finding(
        check=check, target=target, object=object, have=PLAN_ONLY, want=want, verdict=Verdict.SKIP, hint=hint
    )


def judge_alone(target: str, sessions: Sessions) -> Finding:
    """Judge nobody_else_is_at_work: no other run has a session in the target's database. Never closes the gate.

    The advisory lock keeps two writers apart; this says with whom to talk before.
    """
    try:
        others = other_runs(sessions.read(target), sessions.run)
    except (RunbookError, psycopg.Error) as error:
        wrapped = error if isinstance(error, RunbookError) else lost(sessions.targets[target], error)
        return could_not_run(Check.NOBODY_ELSE_IS_AT_WORK, target, "sessions of other runs", wrapped)
    return judge(
        Check.NOBODY_ELSE_IS_AT_WORK,
        target,
        "sessions of other runs",
        have="; ".join(map(str, others)) or "none",
        want="none",
        hint="Talk to them before you write: what they change makes your plan stale.",
        blocking=False,
    )


def plan_hash(parts: Mapping[str, Any]) -> str:
    """Return the SHA-256 (hex) over the parts of a plan."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def changed_parts(planned: Mapping[str, Any], present: Mapping[str, Any]) -> tuple[Changed, ...]:
    """Return what differs between the parts of two plans."""
    names = dict.fromkeys([*planned, *present])
    return tuple(
        Changed(name, planned.get(name), present.get(name))
        for name in names
        if planned.get(name) != present.get(name)
    )


def _short(value: Any) -> str:
    return _HASH.sub(lambda found: found[0][:16], in_words(value))
