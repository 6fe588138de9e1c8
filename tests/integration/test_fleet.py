"""A phase at several databases by local processes: planned, confirmed, applied, verified; what changed is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
from jsonschema import Draft202012Validator

from runbooks_lib.execution.fleet.folder import FleetFolder
from runbooks_lib.execution.fleet.verify import verify_fleet
from runbooks_lib.lab.lab import Lab

from ..fleets import Tenants, folder_of, tenants

SCHEMA = Path(__file__).parents[2] / "runbooks_lib" / "schemas" / "fleet.json"


@pytest.fixture(scope="module")
def three(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Tenants:
    return tenants(lab, tmp_path_factory.mktemp("fleet"), 3)


def test_a_fleet_is_planned_applied_and_verified_and_what_changed_is_named(
    three: Tenants, tmp_path: Path
) -> None:
    three.fleet_file(
        '[[queries]]\nservice = "control"\ndatabase = "control"\n'
        "sql = \"SELECT service, database, labels FROM public.tenants WHERE database <> 'tenant_0'\"\n"
        '[waves]\nby = "ring"\norder = ["early"]\n'
    )
    plan = three.plan("--workers", "2")
    assert [each["place"]["name"] for each in plan["members"]] == ["control/tenant_1", "control/tenant_2"]
    assert plan["confirmation"] == f"TENANTS:{plan['hash'][:8]}"
    assert not any(map(three.has_table, three.names))
    assert verify_fleet(folder_of(plan)).problems == ()

    three.ask("tenant_2", "SET ROLE fleet; CREATE TABLE public.meanwhile (x int)")
    done = three.apply(plan, "--workers", "1", "--max-failures", "2", code=1)
    ended = {each["place"]["name"]: each["ended"] for each in done["members"]}
    assert ended["control/tenant_1"]["state"] == "done"
    assert ended["control/tenant_2"]["state"] == "stopped"
    assert "; catalogue (was " in ended["control/tenant_2"]["reason"]
    assert [three.has_table(name) for name in three.names] == [False, True, False]
    holds_as_sealed(three, folder_of(done), tmp_path)

    drifted = three.fleet("diff", three.phase, "--targets", three.folder / "fleet.toml", code=1)
    assert [each["databases"] for each in drifted["groups"]] == [["control/tenant_1"], ["control/tenant_2"]]
    assert any("public.meanwhile" in each for each in drifted["groups"][1]["differences"])
    assert drifted["unread"] == {}

    three.fleet_file('[[targets]]\nservice = "tenant_1"\n')
    assert len(three.fleet("diff", three.phase, "--targets", three.folder / "fleet.toml")["groups"]) == 1
    said = three.apply(plan, code=3)["said"]
    assert "tenant_1 was not there" in said
    assert "control/tenant_2 is there no more" in said


def holds_as_sealed(three: Tenants, folder: FleetFolder, tmp_path: Path) -> None:
    """The folder is as its schema says, tells of each database, verifies, and no longer after any change."""
    assert verify_fleet(folder).problems == ()
    content = json.loads((folder.path / "fleet.json").read_text())
    assert list(Draft202012Validator(json.loads(SCHEMA.read_text())).iter_errors(content)) == []
    suites = ElementTree.parse(folder.path / "junit.xml").getroot()
    assert [(each.get("name"), each.get("failures")) for each in suites] == [
        ("control/tenant_1", "0"), ("control/tenant_2", "1")
    ]  # fmt: skip
    assert (
        'runbooks_fleet_databases{phase="TENANTS",mode="apply",state="stopped"} 1'
        in (folder.path / "metrics.prom").read_text()
    )
    assert "| control/tenant_2 | FAIL |" in (folder.path / "report.fr.md").read_text()
    assert 'href="../../../targets/control%252Ftenant_1/' in (folder.path / "report.html").read_text()

    shutil.copytree(three.runs, tmp_path / "runs")
    copy = FleetFolder(tmp_path / "runs" / folder.path.relative_to(three.runs))
    assert verify_fleet(copy).problems == ()
    (run,) = [copy.run(each, "TENANTS") for each in copy.read().members if "tenant_1" in each.name]
    record = run / "03_baseline_migration.json"
    record.write_text(record.read_text().replace("PASS", "OPEN", 1))
    (problem,) = verify_fleet(copy).problems
    assert (problem.kind, problem.where) == ("changed", f"control/tenant_1/{run.name}/{record.name}")
    shutil.rmtree(run)
    assert [each.kind for each in verify_fleet(copy).problems] == ["removed"]
    (copy.path / "fleet.json").write_text(json.dumps(content | {"stopped_by": "nobody"}))
    assert [each.where for each in verify_fleet(copy).problems] == ["fleet.json"]
