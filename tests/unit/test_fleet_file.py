"""fleet.toml: which databases it names, and every mistake by its key path."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runbooks_lib.errors import SpecError
from runbooks_lib.execution.fleet.file import read_fleet_file
from runbooks_lib.execution.fleet.record import Place
from runbooks_lib.execution.fleet.targets import LAST, folder_of, places
from runbooks_lib.phase import Phase, load_phase

from ..fleets import BASELINE, PHASE

SHIPPED = load_phase("PH15-AMAZON-DB-FOUNDATION-01")
SERVICES = ("tenant_a", "tenant_b", "tenant_b_replica", "other")


@pytest.fixture
def phase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Phase:
    folder = tmp_path / "TENANTS"
    folder.mkdir()
    (folder / "phase.toml").write_text(PHASE)
    (folder / "baseline.sql").write_text(BASELINE)
    file = tmp_path / "pg_service.conf"
    file.write_text("".join(f"[{name}]\nhost=h\nport=5001\ndbname=db_{name}\n" for name in SERVICES))
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    return load_phase(str(folder))


def resolved(phase: Phase, text: str) -> tuple[Place, ...]:
    path = phase.folder.parent / "fleet.toml"
    path.write_text(text)
    return places(read_fleet_file(path, phase), phase)


def mistakes(phase: Phase, text: str) -> str:
    with pytest.raises(SpecError) as caught:
        resolved(phase, text)
    return str(caught.value)


def test_a_list_and_a_pattern_name_databases_once(phase: Phase) -> None:
    found = resolved(
        phase,
        'spec_version = 1\n[[targets]]\nservice = "tenant_b"\nlabels = { ring = "early" }\n'
        '[[targets]]\nservice = "other"\ndatabase = "tenant_7"\n'
        '[[patterns]]\nservices = "tenant_[ab]"\nlabels = { ring = "late", region = "eu" }\n'
        '[waves]\nby = "ring"\norder = ["early"]\n',
    )
    assert [(each.name, each.wave) for each in found] == [
        ("tenant_b", 1), ("other/tenant_7", LAST), ("tenant_a", LAST)
    ]  # fmt: skip
    assert found[0].labels == {"ring": "early", "region": "eu"}
    assert found[0].databases == {"leader": "db_tenant_b"}
    assert found[1].databases == {"leader": "tenant_7"}
    assert {each.server for each in found} == {"h:5001"}


def test_other_targets_of_the_phase_have_their_places(phase: Phase) -> None:
    toml = phase.folder / "phase.toml"
    standby = 'replica = { service = "r", role = "standby", database = "tenant", primary = "leader" }'
    toml.write_text(toml.read_text().replace("[owners]", f"{standby}\n[owners]"))
    two = load_phase(str(phase.folder))
    text = 'spec_version = 1\n[[targets]]\nservice = "tenant_b"\n'
    assert "services.replica: is missing" in mistakes(two, text)
    (found,) = resolved(two, f'{text}[services]\nreplica = "{{service}}_replica"\n')
    assert found.services == {"leader": "tenant_b", "replica": "tenant_b_replica"}
    assert 'is no service of the service file: "tenant_b_r"; did you mean' in mistakes(
        two, f'{text}[services]\nreplica = "{{service}}_r"\n'
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "targets: are missing"),
        ('[[target]]\nservice = "a"', "target: is an array"),
        ('[[targets]]\nservise = "a"', "targets[0].servise: is an unknown key; did you mean"),
        (
            '[[targets]]\nservice = "tenant_c"',
            'targets[0].service: is no service of the service file: "tenant_c"; did you mean',
        ),
        ('[[patterns]]\nservices = "shop_*"', 'patterns[0].services: matches no service: "shop_*"'),
        ('[[targets]]\nservice = "other"\n[limits]\nper_server = 0', "limits.per_server: is 0"),
        ('[[targets]]\nservice = "other"\n[limits]\nconnections = 3', "limits.connections: is 3"),
        ('[[targets]]\nservice = "sh op"', "targets[0].service: is"),
        ('[[targets]]\nservice = "../../etc"', "targets[0].service: is"),
        ('[[patterns]]\nservices = ""', "patterns[0].services: is"),
        ('[[targets]]\nservice = "other"\ndatabase = 7', "targets[0].database: is"),
        ('[[targets]]\nservice = "other"\nlabels = { ring = 1 }', "targets[0].labels.ring: is"),
        ('[[targets]]\nservice = "other"\n[waves]\nby = "ring"\norder = []', "waves.order: is"),
        ('[[targets]]\nservice = "other"\n[services]\nreplica = "x"', "services.replica: is no other target"),
        (
            'target = "leadr"\n[[targets]]\nservice = "other"',
            'target: names no primary of the phase: "leadr"; did you mean',
        ),
        (
            '[[targets]]\nservice = "tenant_a"\n[[targets]]\nservice = "other"\ndatabase = "db_tenant_a"',
            'other/db_tenant_a: is the database of "tenant_a", too',
        ),
    ],
)
def test_each_mistake_is_named_by_its_place(phase: Phase, text: str, says: str) -> None:
    assert says in mistakes(phase, f"spec_version = 1\n{text}\n")


def test_another_version_is_refused(phase: Phase) -> None:
    assert "spec_version: is missing" in mistakes(phase, "")
    assert "spec_version: is 2; accepted is 1" in mistakes(phase, "spec_version = 2\n")


def test_how_to_connect_is_refused_and_not_repeated(phase: Phase) -> None:
    said = mistakes(phase, 'spec_version = 1\n[[targets]]\nservice = "postgresql://u:hunter2@h/db"\n')
    assert "targets[0].service: says how to connect" in said
    assert "hunter2" not in said


def test_a_phase_of_several_primaries_needs_the_target_s_name(tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    path.write_text('spec_version = 1\n[[targets]]\nservice = "a"\n')
    with pytest.raises(
        SpecError, match="target: is missing, and the phase has 2 primaries; accepted: leader, legacy"
    ):
        read_fleet_file(path, SHIPPED)


def test_a_database_named_twice_is_one_and_odd_names_stay_as_they_are(phase: Phase) -> None:
    names = ['ten\'ant "7"', "été/ünï", "a/../b", "t" * 63]
    listed = "".join(f'[[targets]]\nservice = "other"\ndatabase = {json.dumps(n)}\n' for n in names)
    found = resolved(phase, f"spec_version = 1\n{listed}{listed}")
    assert [each.databases["leader"] for each in found] == names
    assert len({folder_of(each.name) for each in found}) == len(names)


@pytest.mark.parametrize("name", ["a/../../b", "..", ".hidden", "shop/ünï 1", "a/b%2Fc"])
def test_a_name_never_leads_out_of_its_folder(name: str) -> None:
    folder = folder_of(name)
    assert "/" not in folder
    assert not folder.startswith(".")
    assert folder not in {folder_of(other) for other in ("a/b/c", "a", "b")}
