"""Objects that need a superuser, allowed by name: written in the run, handed to the notebook, part of the plan."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from runbooks_lib.archive.run import Run
from runbooks_lib.cli import commands
from runbooks_lib.cli.asked import chosen_for
from runbooks_lib.execution.runner import Result, run_notebooks
from runbooks_lib.facts.databases import Proof
from runbooks_lib.facts.writing import Plan
from runbooks_lib.findings import Verdict
from runbooks_lib.lab.lab import Lab
from runbooks_lib.phase import load_phase

PHASE = "PH15-AMAZON-DB-FOUNDATION-01"
NAMES = ("public.cfun", "public.leak")


@pytest.fixture
def needing(fresh_lab: Lab) -> None:
    """Objects in the legacy database that only a superuser makes."""
    with fresh_lab.admin("keybuzz") as admin:
        admin.execute("CREATE FUNCTION public.cfun(int) RETURNS int LANGUAGE internal IMMUTABLE AS 'int4abs'")
        admin.execute(
            "CREATE FUNCTION public.leak(int) RETURNS int LANGUAGE sql IMMUTABLE LEAKPROOF AS 'SELECT $1'"
        )


def planned(runs: Path, steps: tuple[str, ...], *names: str) -> tuple[Result, Run]:
    run = Run.create(runs, load_phase(PHASE), superuser_objects=names)
    return run_notebooks(run, phase=PHASE, apply=False, confirm=lambda: "", steps=steps), run


def test_what_is_allowed_is_in_the_run_its_backup_and_its_plan(needing: None, tmp_path: Path) -> None:
    steps = ("backup", "baseline_migration")
    result, run = planned(tmp_path, steps, *NAMES)
    assert [o.verdict for o in result.outcomes] == [Verdict.PASS, Verdict.PASS], result.outcomes
    assert run.header().superuser_objects == NAMES
    backup, baseline = run.record("backup"), run.record("baseline_migration")
    assert backup is not None
    assert baseline is not None
    proof = backup.facts(Proof)
    assert proof.superuser_objects == NAMES
    assert sorted(proof.restored["legacy"].by_superuser) == list(NAMES)
    assert baseline.facts(Plan).parts["superuser_objects"] == list(NAMES)
    words = [word for name in NAMES for word in ("--allow-superuser-objects", name)]
    assert chosen_for(run, load_phase(PHASE)) == words  # of the command that applies the plan


def test_what_is_not_allowed_stays_out_and_a_name_that_nothing_has_closes_the_gate(
    needing: None, tmp_path: Path
) -> None:
    result, _ = planned(tmp_path, ("backup",), NAMES[0], "public.typo")
    (unknown,) = [f for f in result.outcomes[0].findings if f.verdict is Verdict.ERROR]
    assert result.exit_code == 1
    assert "names public.typo" in unknown.have
    (left,) = [f for f in result.outcomes[0].findings if f.verdict is Verdict.OPEN]
    assert "CREATE FUNCTION public.leak" in left.have
    assert "--allow-superuser-objects has these made in the sandbox, and compared: public.leak." in left.hint


def test_a_run_that_is_taken_up_goes_on_with_its_own() -> None:
    said = CliRunner().invoke(
        commands, ["run", PHASE, "--resume", "runs/x", "--allow-superuser-objects", "a.b"]
    )
    assert said.exit_code == 2
    assert "leave --allow-superuser-objects out" in said.output
