"""The plans that an archive holds: kept when they are made, found again by what the operator confirmed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runbooks_lib.archive.files import read_json, write_json
from runbooks_lib.archive.run import Run

FOLDER = "plan"


def keep_plan(run: Run, facts: Mapping[str, Any]) -> None:
    """Write a plan's facts to plan/plan.json, and by its hash beside it: a later plan must not replace it.

    Raises EvidenceError when the folder cannot be written.
    """
    content = {**facts, "run": run.id}
    write_json(run.path / FOLDER / f"plan_{facts['hash'][:8]}.json", content)
    write_json(run.path / FOLDER / "plan.json", content)


def find_plan(run: Run, confirm: str) -> dict[str, Any] | None:
    """Return the facts of the plan that DATABASE:HASH8 confirms: of this run, else of the phase's newest other run.

    Its `run` says which. None when the archive has no such plan.
    """
    _, _, digest = confirm.rpartition(":")
    if len(digest) != 8 or not digest.isalnum():
        return None
    name = f"{FOLDER}/plan_{digest}.json"
    others = sorted(run.path.parent.glob(f"*/{name}"), key=lambda path: path.parent.parent.name, reverse=True)
    for path in (run.path / name, *others):
        if path.is_file():
            found = read_json(path)
            if found.get("confirmation") == confirm:
                return found
    return None
