"""Every section of a phase but its targets may be left out, alone and together: planned and applied on a real lab.

The notebooks' cells are run in this process: a kernel for each would take ten times as long.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runbooks_lib.archive.notebooks import notebooks_folder
from runbooks_lib.archive.run import SEALED_BY_RUNNER, Run
from runbooks_lib.findings import CLOSING, Verdict
from runbooks_lib.lab.lab import Lab, running
from runbooks_lib.phase import STEPS, Phase, load_phase
from runbooks_lib.steps.declared import nothing_to_do

SECTIONS = {
    "owners": '[owners]\ndefault = "kb_backend"\n',
    "baseline": '[baseline]\nfile = "baseline.sql"\ntarget = "legacy"\n'
    'lint = [{ rule = "require-table-schema", verdict = "SKIP", why = "a test" }]\n',
    "prisma": '[prisma]\ntarget = "leader"\nsettle = ["20251220235148_add_oauth_state_table"]\n',
    "tables": '[[tables]]\nname = "public.OAuthState"\nrows = 5\n[[tables]]\nname = "public.inbound_addresses"\n',
    "enums": '[[enums]]\nname = "public.MarketplaceType"\n',
    "indexes": '[[indexes]]\nname = "public.oauth_states_state_key"\n',
    "seeds": '[[seeds]]\ntable = "public.MarketplaceConnection"\nkey = ["id"]\n'
    'rows = [{ id = "mpc_amazon_tenant_test_dev", status = "CONNECTED" }]\n',
    "services": '[services.keybuzz-api]\nurl_env = "KEYBUZZ_API_URL"\n',
    "routes": '[[routes]]\nmethod = "GET"\npath = "/api/v1/marketplaces/amazon/status"\nservices = ["keybuzz-api"]\n'
    'why = "the Admin UI asks it"\n',
    "schema": '[schema]\nfile = "schema.sql"\n',
    "checklist": '[[checklist]]\ntext = "Seen"\nmanual = true\nreason = "by hand"\n',
}
TARGETS = """\
spec_version = 3
id = "LEFT-OUT"
title = "A part of it"
[targets]
leader = { service = "keybuzz_leader", role = "primary", database = "keybuzz_backend" }
replica = { service = "keybuzz_replica", role = "standby", database = "keybuzz_backend" }
"""
LEGACY = 'legacy = { service = "keybuzz_legacy", role = "primary", database = "keybuzz", data = false }\n'


OBJECTS = ("tables", "enums", "indexes", "seeds", "services", "routes", "schema", "checklist")
WRITING = ("owners", "baseline", "prisma")
# What is written: nothing, by Prisma alone, by the baseline alone; what is looked at: nothing, and each kind alone.
LEFT_OUT = (
    OBJECTS,
    ("owners", "baseline", *OBJECTS),
    ("prisma", *OBJECTS),
    (*WRITING, *OBJECTS),
    (*WRITING, "schema"),
    *(
        (*WRITING, *(name for name in OBJECTS if name not in kept))
        for kept in (("tables",), ("seeds",), ("services", "routes"), ("schema",))
    ),
)
# Each alone, all others being there: minutes. A route is asked at a service; without an owner, in whose name a baseline
# is run, the lab's role may not make anything, and preflight names the GRANT.
WITH = {"services": ("routes",), "owners": ("baseline",)}
ALONE = tuple((name, *WITH.get(name, ())) for name in SECTIONS)
thorough = pytest.mark.skipif(
    not os.environ.get("RUNBOOKS_TEST_PROJECTS"),
    reason="takes minutes: RUNBOOKS_TEST_PROJECTS=1, or make projects",
)


@pytest.fixture(scope="module")
def own_lab(lab: Lab) -> Iterator[Lab]:
    """A lab in which phases are applied; the session's, in which nothing is, comes first (see `fresh_lab`)."""
    with running() as started:
        yield started


@pytest.fixture
def phase(
    request: pytest.FixtureRequest, own_lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Phase:
    """A phase without some sections; the legacy database is a target of one that has a baseline, which fills it."""
    for name, value in own_lab.env().items():
        monkeypatch.setenv(name, value)
    left_out = request.param
    targets = TARGETS + ("" if "baseline" in left_out else LEGACY)
    folder = tmp_path / "LEFT-OUT"
    folder.mkdir()
    shipped = load_phase("PH15-AMAZON-DB-FOUNDATION-01").folder
    (folder / "baseline.sql").write_bytes((shipped / "baseline.sql").read_bytes())
    migrations = sorted(
        Path(own_lab.env()["RUNBOOKS_PRISMA_PROJECT"]).glob("prisma/migrations/*/migration.sql")
    )
    (folder / "schema.sql").write_text("\n".join(each.read_text() for each in migrations))
    sections = "".join(text for name, text in SECTIONS.items() if name not in left_out)
    (folder / "phase.toml").write_text(targets + sections)
    return load_phase(str(folder))


def run_step(run: Run, step: str, phase: Phase, **parameters: Any) -> None:
    """Run the code cells of a step's notebook."""
    (notebook,) = notebooks_folder().glob(f"*_{step}.ipynb")
    cells = [cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"]
    names: dict[str, Any] = {}
    exec("".join(cells[0]["source"]), names)
    names |= {"phase": str(phase.folder), "run": str(run.path), **parameters}
    for cell in cells[1:]:
        exec("".join(cell["source"]), names)


def carry_out(phase: Phase, runs: Path, *, confirm: str = "") -> Run:
    """Plan a phase, or apply it under a confirmation; return the run."""
    run = Run.create(runs, phase)
    for step in STEPS:
        more = {"confirm": confirm} if step == "baseline_migration" else {}
        run_step(run, step, phase, apply=bool(confirm), **more)
    return run


@pytest.mark.parametrize(
    "phase",
    [*LEFT_OUT, *(pytest.param(each, marks=thorough) for each in ALONE)],
    ids=lambda left_out: "without " + " ".join(left_out),
    indirect=True,
)
def test_a_phase_may_leave_out_any_of_its_sections(
    phase: Phase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SEALED_BY_RUNNER, "nobody")
    planned = carry_out(phase, tmp_path / "runs")
    evidence = planned.evidence()
    assert not evidence.missing_steps
    assert not [f for _, f in evidence.all_findings() if f.verdict in CLOSING]
    for step in nothing_to_do(phase):
        assert evidence.verdicts[step] is Verdict.SKIP, step
    if phase.written:
        assert evidence.plan is not None
        carry_out(phase, tmp_path / "runs", confirm=evidence.plan.confirmation)
