"""The plans that an archive holds: kept when they are made, found again by what the operator confirmed."""

from __future__ import annotations

from pathlib import Path

from runbooks_lib.archive.files import write_json, write_text
from runbooks_lib.archive.run import Run
from runbooks_lib.facts.writing import OF_MIGRATIONS, KeptPlan, Plan, Undo
from runbooks_lib.postgres.script.undo_forms import script
from runbooks_lib.typed import plain

FOLDER = "plan"


def keep_plan(run: Run, plan: Plan) -> dict[str, str]:
    """Write a plan to plan/plan.json, and by its hash beside it: a later plan must not replace it.

    Its undo script goes into a file of its own, which stays where a later plan makes nothing, as one after an apply.
    Returns the SHA-256 of each, by their path in the run.
    Raises EvidenceError when the folder cannot be written.
    """
    content = {**plain(plan), "run": run.id}
    names = (f"{FOLDER}/plan_{plan.hash[:8]}.json", f"{FOLDER}/plan.json")
    made = {name: write_json(run.path / name, content) for name in names}
    if plan.sql:
        name = f"{FOLDER}/{OF_MIGRATIONS}"
        made[name] = write_text(run.path / name, plan.sql)
    if plan.undo is not None:
        made[plan.undo.path] = write_text(run.path / plan.undo.path, _undo(run, plan, plan.undo))
    return made


def _undo(run: Run, plan: Plan, undo: Undo) -> str:
    said = (
        f"Takes back what the plan {plan.hash[:8]} of run {run.id} makes, and nothing else.",
        "For after it was applied; all of it, or nothing: psql --set ON_ERROR_STOP=1 --file undo.sql",
        "It refuses where rows or values have come since. Prisma's history stays as it is.",
    )
    return script(undo, said)


def find_plan(run: Run, confirm: str) -> KeptPlan | None:
    """Return the plan that DATABASE:HASH8 confirms: of this run, else of the phase's newest other run.

    Its `run` says which. None when the archive has no such plan.
    Raises EvidenceError when it is not as that run recorded or sealed it.
    """
    _, _, digest = confirm.rpartition(":")
    if len(digest) != 8 or not digest.isalnum():
        return None
    name = f"{FOLDER}/plan_{digest}.json"
    others = sorted(run.path.parent.glob(f"*/{name}"), key=lambda path: path.parent.parent.name, reverse=True)
    for each in (run, *(Run(path.parent.parent) for path in others)):
        found = each.read(name, KeptPlan)
        if found is not None and found.confirmation == confirm:
            return found
    return None


def kept_plans(archive: Path, confirm: str) -> dict[str, KeptPlan]:
    """Return the plans of an archive that DATABASE:HASH8 confirms, the newest of each phase, by the phase's id.

    Raises EvidenceError when one is not as its run recorded or sealed it.
    """
    name = f"{FOLDER}/plan_{confirm.rpartition(':')[2]}.json"
    found: dict[str, KeptPlan] = {}
    for path in sorted(archive.glob(f"*/*/{name}")):
        run = Run(path.parent.parent)
        plan = run.read(name, KeptPlan)
        if plan is not None and plan.confirmation == confirm:
            found[run.path.parent.name] = plan
    return found
