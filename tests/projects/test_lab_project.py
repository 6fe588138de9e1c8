"""A lab for somebody's own Prisma project: a copy of it, its migrations deployed, and the states to practise on."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from runbooks_lib.cli import commands
from runbooks_lib.drafting.diagnose import diagnose
from runbooks_lib.drafting.diagnosis import Condition
from runbooks_lib.errors import LabError, PreconditionFailed, PrismaError
from runbooks_lib.lab.disorder import DISORDERS
from runbooks_lib.lab.lab import find, up
from runbooks_lib.lab.own_project import LARGEST, copy_project
from runbooks_lib.lab.services import OWN_SERVICE
from runbooks_lib.prisma.project import read_project

from ..terminals import CTRL_C, CTRL_D, ENTER, Terminal

MIGRATIONS = {
    "20260101000000_shop": 'CREATE SCHEMA "sales";\nCREATE TABLE "Shop" ("id" INTEGER PRIMARY KEY, "name" TEXT);\n',
    "20260102000000_orders": 'CREATE TABLE "sales"."Order" ("id" INTEGER PRIMARY KEY, "shopId" INTEGER);\n'
    'CREATE INDEX "Order_shopId_idx" ON "sales"."Order" ("shopId");\n',
    "20260103000000_search": 'CREATE EXTENSION IF NOT EXISTS "plpgsql";\nALTER TABLE "Shop" ADD COLUMN "city" TEXT;\n',
    "20260104000000_city": 'CREATE INDEX "Shop_city_idx" ON "Shop" ("city");\n',
}
SECRET = "postgresql://prod:s3cret-of-production@db.example.com/prod"
SCHEMA = """datasource db {
  provider = "postgresql"
  schemas  = ["public", "sales"]
}
"""
CONFIG = """import "dotenv/config";
import { defineConfig, env } from "prisma/config";
export default defineConfig({
  schema: "db/schema.prisma",
  migrations: { path: "db/steps" },
  datasource: { url: env("SHOP_DATABASE_URL") },
});
"""


def project(folder: Path, major: int) -> Path:
    """Write a project with two schemas; return what its people name: of Prisma 7 its folder, of 6 the schema."""
    migrations = folder / "db" / ("steps" if major == 7 else "migrations")
    for name, script in MIGRATIONS.items():
        (migrations / name).mkdir(parents=True)
        (migrations / name / "migration.sql").write_text(script)
    (migrations / "migration_lock.toml").write_text('provider = "postgresql"\n')
    (folder / "package.json").write_text(f'{{ "name": "shop", "dependencies": {{ "prisma": "^{major}" }} }}')
    (folder / ".env").write_text(f'SHOP_DATABASE_URL="{SECRET}"\n')
    (folder / "up").symlink_to("..")
    schema = folder / "db" / "schema.prisma"
    if major == 7:
        (folder / "prisma.config.ts").write_text(CONFIG)
        schema.write_text(SCHEMA)
        return folder
    schema.write_text(SCHEMA.replace("  schemas", '  url = env("SHOP_DATABASE_URL")\n  schemas'))
    return schema


def digests(folder: Path) -> dict[str, Any]:
    """What lies in a folder: times of change too, so that a file that was written as it was is seen."""
    found = [path for path in folder.rglob("*") if not path.is_symlink()]
    return {
        str(path): (
            path.lstat().st_mtime_ns,
            path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in found
    }


thorough = pytest.mark.skipif(
    not os.environ.get("RUNBOOKS_TEST_PROJECTS"),
    reason="takes minutes: RUNBOOKS_TEST_PROJECTS=1, or make projects",
)


@pytest.fixture(scope="module", params=[7, pytest.param(6, marks=thorough, id="6, by its schema")])
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Path]]:
    """A lab for a project, with its variables in the environment."""
    folder = tmp_path_factory.mktemp("own")
    named = project(folder / "shop", request.param)
    before = digests(folder / "shop")
    lab = up(folder / "lab", owner_pid=os.getpid(), project=named)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in lab.env().items():
            patch.setenv(name, value)
        yield {"named": named, "lab": folder / "lab", "copy": Path(lab.env()["RUNBOOKS_PRISMA_PROJECT"])}
    lab.down()
    assert not (folder / "lab").exists()
    assert digests(folder / "shop") == before


def test_the_lab_has_the_migrations_on_both_servers(place: dict[str, Path]) -> None:
    for service in (OWN_SERVICE, "lab_replica"):
        with psycopg.connect(service=service) as conn:
            names = conn.execute("SELECT migration_name FROM _prisma_migrations ORDER BY 1").fetchall()
            assert [name for (name,) in names] == list(MIGRATIONS)
            assert conn.execute("SELECT rolsuper FROM pg_roles WHERE rolname = 'app'").fetchone() == (False,)
            assert conn.execute("SELECT count(*) FROM pg_database WHERE datname ~ 'keybuzz'").fetchone() == (
                0,
            )
    found = diagnose(OWN_SERVICE, place["copy"])
    assert (found.condition, len(found.standbys)) == (Condition.FINE, 1), found.says


def test_nothing_secret_is_copied_and_the_copy_leads_to_the_lab(place: dict[str, Path]) -> None:
    whole = place["lab"] / "project"
    for path in whole.rglob("*"):
        assert not path.is_file() or "s3cret-of-production" not in path.read_text(errors="replace"), path
    address = (whole / ".env").read_text()
    assert "SHOP_DATABASE_URL=" in address
    assert "127.0.0.1" in address
    assert (whole / ".env").stat().st_mode & 0o077 == 0
    assert not (whole / "up").exists()


def test_the_commands_know_it(place: dict[str, Path]) -> None:
    where = ["--dir", str(place["lab"])]
    status = CliRunner().invoke(commands, ["lab", "status", *where])
    assert (status.exit_code, "keybuzz" in status.output) == (0, False), status.output
    assert f"copy of {place['named']}" in status.output
    again = CliRunner().invoke(commands, ["lab", "up", *where, "--project", str(place["named"])])
    assert f"runbooks adopt --service {OWN_SERVICE}" in again.output, again.output
    with pytest.raises(LabError, match="runs for"):
        up(place["lab"], project=place["lab"])
    with pytest.raises(PreconditionFailed, match="lock-held"):
        up(place["lab"], project=place["named"], disorder="nowhere")
    alone = CliRunner().invoke(commands, ["lab", "up", "--break", "drift"], standalone_mode=False)
    assert "--break needs --project" in str(alone.exception)


FOUND = {
    "no-history": Condition.NO_HISTORY,
    "empty-history": Condition.UNRECORDED,
    "rows-missing": Condition.UNRECORDED,
    "pending": Condition.PENDING,
    "failed-whole": Condition.FAILED,
    "failed-nothing": Condition.FAILED,
    "failed-half-way": Condition.FAILED,
    "half-applied": Condition.IN_PART,
    "index-dropped": Condition.NOT_AS_RECORDED,
    "column-dropped": Condition.NOT_AS_RECORDED,
    "edited": Condition.EDITED,
    "drift": Condition.BEYOND,
    "another-branch": Condition.UNKNOWN_MIGRATIONS,
    "script-lost": Condition.SCRIPT_LOST,
    "other-provider": Condition.OTHER_PROVIDER,
    "lock-held": Condition.LOCKED,
}
IN_CI = ("failed-half-way",)


@pytest.mark.parametrize(
    "state", [pytest.param(each, marks=() if each in IN_CI else thorough) for each in DISORDERS]
)
def test_each_state_is_the_one_that_it_is_said_to_be(place: dict[str, Path], state: str) -> None:
    up(place["lab"], project=place["named"], disorder=state)
    found = diagnose(OWN_SERVICE, place["copy"])
    assert found.condition is FOUND[state], found.says


@thorough
def test_what_does_not_deploy_leaves_no_lab(tmp_path: Path) -> None:
    named = project(tmp_path / "shop", 7)
    (named / "db" / "steps" / "20260104000000_city" / "migration.sql").write_text("SELECT * FROM nowhere;\n")
    with pytest.raises(
        PrismaError, match=r"do not go through in an empty database: .*20260104000000_city.*42P01"
    ):
        up(tmp_path / "lab", owner_pid=os.getpid(), project=named)
    assert find(tmp_path / "lab") is None
    assert not (tmp_path / "lab").exists()


def test_an_extension_that_no_server_here_has_is_named_before_anything_is_made(tmp_path: Path) -> None:
    named = project(tmp_path / "shop", 7)
    (named / "db" / "steps" / "20260104000000_city" / "migration.sql").write_text(
        "CREATE EXTENSION nowhere;\n"
    )
    with pytest.raises(PreconditionFailed, match="nowhere: the migrations make them"):
        up(tmp_path / "lab", owner_pid=os.getpid(), project=named)


def test_a_project_for_another_kind_of_database_is_told_apart(tmp_path: Path) -> None:
    named = project(tmp_path / "shop", 7)
    (named / "db" / "steps" / "migration_lock.toml").write_text('provider = "sqlite"\n')
    with pytest.raises(PreconditionFailed, match="are for sqlite, and the lab is PostgreSQL"):
        copy_project(named, tmp_path / "copy")


@thorough
def test_the_schema_of_the_address_is_that_of_the_lab(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = project(tmp_path / "shop", 6)
    (named.parent / "migrations" / "20260101000000_shop" / "migration.sql").write_text(
        'CREATE TABLE "sales"."Shop" ("id" INTEGER PRIMARY KEY, "name" TEXT);\nSET search_path = sales;\n'
    )
    monkeypatch.setenv("SHOP_DATABASE_URL", "postgresql://x@y/z?schema=sales")
    lab = up(tmp_path / "lab", owner_pid=os.getpid(), project=named)
    try:
        for name, value in lab.env().items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("SHOP_DATABASE_URL")
        with psycopg.connect(service=OWN_SERVICE) as conn:
            assert conn.execute('SELECT count(*) FROM "sales"._prisma_migrations').fetchone() == (4,)
        assert diagnose(OWN_SERVICE, Path(lab.env()["RUNBOOKS_PRISMA_PROJECT"])).condition is Condition.FINE
    finally:
        lab.down()


@pytest.mark.parametrize(
    ("files", "configured"),
    [
        ({"prisma/schema/shop.prisma": SCHEMA, "package.json": "{}"}, True),
        ({"prisma/schema/shop.prisma": SCHEMA}, True),
        (
            {"prisma/schema/shop.prisma": SCHEMA, "package.json": '{"prisma": {"schema": "prisma/schema"}}'},
            False,
        ),
        ({"prisma/schema.prisma": SCHEMA, "package.json": "{}"}, False),
    ],
)
def test_a_schema_in_parts_that_older_prisma_found_by_itself_is_found(
    tmp_path: Path, files: dict[str, str], configured: bool
) -> None:
    named = tmp_path / "shop"
    migrations = (
        "prisma/migrations" if configured or "prisma/schema.prisma" in files else "prisma/schema/migrations"
    )
    for name, text in {**files, f"{migrations}/1_init/migration.sql": "SELECT 1;"}.items():
        (named / name).parent.mkdir(parents=True, exist_ok=True)
        address = '  url = env("SHOP_DATABASE_URL")\n'
        (named / name).write_text(text.replace("  schemas", f"{address}  schemas"))
    copy = copy_project(named, tmp_path / "copy")
    assert (copy / "prisma.config.ts").exists() is configured
    project = read_project(copy)
    assert (project.version[0], project.migrations) == (6, copy / migrations)


def test_a_package_json_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for part in ("schema", "migrations"):
        (tmp_path / "shop" / "prisma" / part).mkdir(parents=True)
    (tmp_path / "shop" / "package.json").write_text("{")
    with pytest.raises(PreconditionFailed, match=r"package\.json is no JSON"):
        copy_project(tmp_path / "shop", tmp_path / "copy")


def test_links_are_followed_once_and_what_nobody_reads_is_left_out(tmp_path: Path) -> None:
    named = project(tmp_path / "shop", 7)
    elsewhere = tmp_path / "elsewhere"
    (named / "db" / "steps").rename(elsewhere)
    (named / "db" / "steps").symlink_to(elsewhere)
    (named / "node_modules" / "x").mkdir(parents=True)
    (named / "film").write_bytes(b"0" * (LARGEST + 1))
    os.mkfifo(named / "pipe")
    (named / "broken").symlink_to("nowhere")
    copy = copy_project(named, tmp_path / "copy")
    assert copy == tmp_path / "copy"
    assert sorted(each.name for each in copy.iterdir()) == [
        "db",
        "node_modules",
        "package.json",
        "prisma.config.ts",
    ]
    assert (copy / "node_modules").is_symlink()
    (copy / "db" / "steps" / "migration_lock.toml").write_text("")
    assert (elsewhere / "migration_lock.toml").read_text() != ""


def asked(place: dict[str, Path], folder: Path, question: str, keys: str) -> tuple[int, str]:
    """Give `runbooks adopt` at a terminal, and answer a question; return the exit code and what was on the screen."""
    with Terminal(["adopt", "--service", OWN_SERVICE], cwd=folder, env=os.environ) as person:
        person.answer(question, keys)
        code = person.end()
    assert "Traceback" not in person.seen
    return code, person.seen


OF_WHAT_IS_MISSING = "Why may what is missing"
OF_OBJECTS, OF_MIGRATIONS, AS_IT_STANDS = (
    "Why may the objects stay",
    "Why may the migrations stay",
    "as it stands?",
)


def test_a_person_gives_the_reason_and_leaves_by_ctrl_c(place: dict[str, Path], tmp_path: Path) -> None:
    up(place["lab"], project=place["named"], disorder="drift")
    code, screen = asked(place, tmp_path, OF_OBJECTS, "the team's reports\n")
    assert (code, "next: runbooks " in screen) == (0, True), screen
    drafted = (tmp_path / f"phase-{OWN_SERVICE}" / "phase.toml").read_text()
    assert '{ object = "relation public.made_by_hand", why = "the team\'s reports" }' in drafted
    code, screen = asked(place, tmp_path, AS_IT_STANDS, CTRL_C)
    assert (code, screen.splitlines()[-1]) == (130, "interrupted"), screen
    assert OF_OBJECTS not in screen


@thorough
def test_every_question_can_be_answered_left_or_refused(place: dict[str, Path], tmp_path: Path) -> None:
    up(place["lab"], project=place["named"], disorder="drift")
    phase = tmp_path / f"phase-{OWN_SERVICE}" / "phase.toml"
    for keys in (CTRL_C, CTRL_D, f"half a word{CTRL_C}"):
        code, screen = asked(place, tmp_path, OF_OBJECTS, keys)
        assert (code, screen.splitlines()[-1], phase.exists()) == (130, "interrupted", False), screen
    code, screen = asked(place, tmp_path, OF_OBJECTS, ENTER)
    assert (code, "open item: " in screen) == (0, True), screen
    assert '# { object = "relation public.made_by_hand"' in phase.read_text()
    for keys in ("n\n", ENTER):
        code, screen = asked(place, tmp_path, AS_IT_STANDS, keys)
        assert (code, "Name another folder with --out" in screen) == (3, True), screen
    code, screen = asked(place, tmp_path, AS_IT_STANDS, "perhaps\ny\n")
    assert (code, "Error: invalid input" in screen) == (0, True), screen


@thorough
def test_of_another_branchs_migrations_a_person_is_asked(place: dict[str, Path], tmp_path: Path) -> None:
    up(place["lab"], project=place["named"], disorder="another-branch")
    code, screen = asked(place, tmp_path, OF_MIGRATIONS, ENTER)
    assert (code, "--accept WHY passes over them." in screen) == (1, True), screen
    code, screen = asked(place, tmp_path, OF_MIGRATIONS, 'of branch "x", deployed by hand\n')
    assert code == 0, screen
    code, screen = asked(place, tmp_path, AS_IT_STANDS, "y\n")
    assert (code, OF_MIGRATIONS in screen) == (0, False), screen


@thorough
def test_of_what_is_missing_a_person_is_asked(place: dict[str, Path], tmp_path: Path) -> None:
    up(place["lab"], project=place["named"], disorder="index-dropped")
    refused, made = tmp_path / "refused", tmp_path / "made"
    refused.mkdir()
    made.mkdir()
    code, screen = asked(place, refused, OF_WHAT_IS_MISSING, ENTER)
    assert (code, "Shop_city_idx" in screen) == (1, True), screen
    code, screen = asked(place, made, OF_WHAT_IS_MISSING, "a slip of the hand\n")
    assert (code, "--apply --confirm" in screen) == (0, True), screen
