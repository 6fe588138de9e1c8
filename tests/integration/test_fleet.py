"""A phase at several databases by local processes: planned, confirmed, applied, verified; what changed is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
from jsonschema import Draft202012Validator

from runbooks_lib.archive.seal.keys import generate
from runbooks_lib.errors import SpecError
from runbooks_lib.execution.fleet.file import SESSIONS_OF_A_RUN, read_fleet_file
from runbooks_lib.execution.fleet.folder import FleetFolder
from runbooks_lib.execution.fleet.record import Place
from runbooks_lib.execution.fleet.targets import places
from runbooks_lib.execution.fleet.verify import verify_fleet
from runbooks_lib.lab.lab import Lab, running
from runbooks_lib.phase import load_phase

from ..fleets import MIGRATIONS, Tenants, counting, folder_of, tenants, watching, with_prisma

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
    private, public = generate(tmp_path / "key")
    signed = ("--workers", "1", "--max-failures", "2", "--key", private)
    done = three.apply(plan, *signed, code=1)
    ended = {each["place"]["name"]: each["ended"] for each in done["members"]}
    assert ended["control/tenant_1"]["state"] == "done"
    assert ended["control/tenant_2"]["state"] == "stopped"
    assert "; catalogue (was " in ended["control/tenant_2"]["reason"]
    assert [three.has_table(name) for name in three.names] == [False, True, False]
    assert verify_fleet(folder_of(done), key=public).problems == ()
    unsigned = verify_fleet(folder_of(plan), key=public).problems
    assert {each.where.rpartition("/")[2] for each in unsigned} == {"attestation.dsse.json"}
    assert len(unsigned) == 3, "the fleet's own seal, and that of each run"
    holds_as_sealed(three, folder_of(done), tmp_path)

    checked = three.fleet("check", three.phase, "--targets", three.folder / "fleet.toml", code=1)
    ended = {each["place"]["name"]: each["ended"] for each in checked["members"]}
    assert ended["control/tenant_1"]["state"] == "done"
    assert ended["control/tenant_2"]["verdict"] == "FAIL"
    assert "planned: 1 table, 1 index" in ended["control/tenant_2"]["reason"]
    assert verify_fleet(folder_of(checked)).problems == ()

    drifted = three.fleet("diff", three.phase, "--targets", three.folder / "fleet.toml", code=1)
    assert [each["databases"] for each in drifted["groups"]] == [["control/tenant_1"], ["control/tenant_2"]]
    assert any("public.meanwhile" in each for each in drifted["groups"][1]["differences"])
    assert drifted["unread"] == {}

    three.fleet_file('[[targets]]\nservice = "tenant_1"\n')
    assert len(three.fleet("diff", three.phase, "--targets", three.folder / "fleet.toml")["groups"]) == 1
    said = three.apply(plan, code=3)["said"]
    assert "tenant_1 was not there" in said
    assert "control/tenant_2 is there no more" in said


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("SELECT service FROM public.tenants WHERE false", "returns no row"),
        ("SELECT NULL::text AS service, database FROM public.tenants", "sql row 1: is no database"),
        ("SELECT service, database, 'early' AS labels FROM public.tenants", "sql row 1: is no database"),
        ("SELECT service, database, 1 AS more FROM public.tenants", "sql row 1: is no database"),
        ("SELECT 'nowhere' AS service", 'is no service of the service file: "nowhere"'),
        ("SELECT service FROM public.nowhere", "is refused: relation"),
        ("UPDATE public.tenants SET labels = NULL", "is refused: cannot execute UPDATE in a read-only"),
        ("SET search_path = public", "is refused"),
        ("SELECT 1 / 0 AS service", "is refused: division by zero"),
    ],
)
def test_a_query_that_names_no_databases_is_a_mistake_with_its_place(
    three: Tenants, sql: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SpecError) as caught:
        asked(three, sql, monkeypatch)
    assert says in str(caught.value)
    assert "queries[0].sql" in str(caught.value)


def test_what_a_query_gives_is_taken_as_it_is(three: Tenants, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = 'ten\'ant/"é" 100 %'
    sql = (
        "SELECT DISTINCT service, NULL AS database, labels - 'ring' AS labels FROM public.tenants UNION ALL "
        f'SELECT service, $q${odd}$q$, \'{{"eu": true, "size": 3, "none": null}}\' FROM public.tenants LIMIT 3'
    )
    first, second = asked(three, sql, monkeypatch)
    assert (first.databases, first.labels) == ({"leader": "control"}, {})
    assert (second.databases, second.labels) == ({"leader": odd}, {"eu": "true", "size": "3"})


def asked(three: Tenants, sql: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Place, ...]:
    for name in ("PGSERVICEFILE", "PGPASSFILE"):
        monkeypatch.setenv(name, three.env[name])
    file = three.fleet_file(
        f'[[queries]]\nservice = "control"\ndatabase = "control"\nsql = {json.dumps(sql)}\n'
    )
    phase = load_phase(str(three.phase))
    return places(read_fleet_file(file, phase), phase)


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


def test_what_databases_share_is_worked_out_once_and_prisma_is_told_at_each(tmp_path: Path) -> None:
    """Of a server that has two names, only so many databases are at work as it is to bear."""
    with running() as lab:
        made = tenants(lab, tmp_path, 2)
        with_prisma(made)
        services = tmp_path / "pg_service.conf"
        said = services.read_text()
        services.write_text(
            said.replace("host=127.0.0.1", "host=localhost", 1) + said.replace("tenant_0]", "again]", 1)
        )
        made.fleet_file('[[targets]]\nservice = "tenant_0"\n[[targets]]\nservice = "again"\n')
        assert "again is the database of tenant_0, too" in made.plan(code=3)["said"]
        made.fleet_file('[[patterns]]\nservices = "tenant_*"\n[limits]\nper_server = 1\n')
        with counting(tmp_path / "cache" / "replays") as replays, watching(lab) as most:
            plan = made.plan("--workers", "2")
        assert len({each["place"]["server"] for each in plan["members"]}) == 2
        databases, sessions = most
        assert databases == 1
        assert 1 < sessions <= SESSIONS_OF_A_RUN
        assert len(replays) == 2, "the replay and the look into its statements, each once for all databases"
        done = made.apply(plan, "--workers", "2")
        assert {each["ended"]["state"] for each in done["members"]} == {"done"}
        recorded = "SELECT migration_name FROM _prisma_migrations WHERE finished_at IS NOT NULL ORDER BY 1"
        for name in made.names:
            assert made.ask(name, recorded) == [(each,) for each in MIGRATIONS]
        assert verify_fleet(folder_of(done)).problems == ()
