"""The confirmation of a plan, computed outside the notebooks: for the demo, which confirms on its user's behalf."""

from __future__ import annotations

from runbooks_lib.archive.notebooks import code_digest
from runbooks_lib.archive.run import Run
from runbooks_lib.errors import EvidenceError, GateClosed
from runbooks_lib.facts.databases import Dumps
from runbooks_lib.facts.writing import Plan
from runbooks_lib.findings import CLOSING
from runbooks_lib.phase import Phase
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.steps import baseline_migration


def confirmation_of(phase: Phase, run: Run) -> str:
    """Return DATABASE:HASH8 of the plan that a run's backups and the database's present state make.

    Reads the run's evidence and the baseline's target; writes nothing.
    Raises EvidenceError when the run has no backup yet, GateClosed when there is no plan.
    """
    record = run.record("backup")
    if record is None:
        raise EvidenceError(
            "The run has no backup, so there is no plan to confirm.", "Run the step backup first."
        )
    with Sessions(phase.targets, application_name=f"runbooks plan {run.id}") as sessions:
        plan = baseline_migration.plan(
            phase,
            sessions,
            dumps=record.facts(Dumps).dumps,
            code=code_digest(),
            folder=run.path / "backup",
        )
    if plan.verdict in CLOSING:
        raise GateClosed("There is no plan to confirm.", "; ".join(f.have for f in plan.findings))
    assert isinstance(plan.facts, Plan)
    return plan.facts.confirmation
