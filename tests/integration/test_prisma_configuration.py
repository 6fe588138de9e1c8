"""What a project's configuration says, read by the real Prisma, 6 and 7, in the ways that teams write such files."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from runbooks_lib.errors import PreconditionFailed, PrismaError
from runbooks_lib.npm.install import install_packages
from runbooks_lib.prisma import configuration
from runbooks_lib.prisma.configuration import Address
from runbooks_lib.prisma.history import read_folder
from runbooks_lib.prisma.project import PACKAGES, PrismaProject, read_project

MODEL = "model Trail {\n  id Int @id\n}\n"
SECRET = "a-secret-of-the-operator"

Make = Callable[..., Path]


def schema(major: int, *, more: str = "", url: str = 'env("DATABASE_URL")') -> str:
    address = f"  url = {url}\n" if major == 6 else ""
    return f'datasource db {{\n  provider = "postgresql"\n{address}{more}}}\n'


def config(major: int, *, url: str | None, before: str = "", **parts: str) -> str:
    """A prisma.config: `parts` are its expressions, `url` the one of its datasource."""
    parts = {"schema": '"prisma/schema.prisma"'} | parts
    if url is not None:
        parts["datasource"] = f"{{ url: {url} }}"
        if major == 6:
            parts["engine"] = '"classic"'
    inner = ", ".join(f"{name}: {value}" for name, value in parts.items())
    return f"{before}\nexport default {{ {inner} }}\n"


@pytest.fixture(params=[6, 7])
def major(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def make(tmp_path: Path, major: int, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Make a project of some files; prisma/schema.prisma and one migration are there unless said otherwise."""
    packages = install_packages(PACKAGES[major])
    monkeypatch.setenv("RUNBOOKS_CACHE", str(tmp_path / "cache"))
    for name in [name for name, value in os.environ.items() if "://" in value]:
        monkeypatch.delenv(name)

    def made(files: dict[str, str | None], *, folder: str = "project", modules: str = "project") -> Path:
        project = tmp_path / folder
        every = {"prisma/schema.prisma": schema(major), "prisma/migrations/1_init/migration.sql": "SELECT 1;"}
        if major == 7:
            every["prisma.config.ts"] = config(7, url='process.env["DATABASE_URL"]')
        for name, text in {**every, **files}.items():
            if text is not None:
                path = Path(os.path.normpath(project / name))
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        (tmp_path / modules / "node_modules").symlink_to(packages / "node_modules")
        return project

    return made


def read(project: Path) -> PrismaProject:
    return read_project(project)


# --- where the parts are ------------------------------------------------------------------------------------------


@pytest.mark.family(4)
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("prisma.config.ts", 'import { join } from "node:path"\nconst where: string = join("db", "moved")'),
        ("prisma.config.mjs", 'import { where } from "./where.mjs"'),
        ("prisma.config.cjs", 'const where = require("./where.cjs")'),
        (".config/prisma.ts", 'import { resolve } from "path"\nconst where = resolve("db/moved")'),
    ],
)
def test_the_folder_that_prisma_reads_and_not_the_one_left_behind(
    make: Make, major: int, name: str, text: str
) -> None:
    up = "../" if name.startswith(".config") else ""
    written = config(
        major,
        before=text,
        schema=f'"{up}prisma/schema.prisma"',
        migrations="{ path: where }",
        url="process.env.DATABASE_URL" if major == 7 else None,
    )
    if name.endswith(".cjs"):
        written = written.replace("export default", "module.exports =")
    project = make(
        {
            "prisma.config.ts": None,
            name: written,
            "where.mjs": 'export const where = "db/moved"\n',
            "where.cjs": 'module.exports = "db/moved"\n',
            "db/moved/2_more/migration.sql": "SELECT 2;",
        }
    )
    assert read(project).migrations == project / "db" / "moved"
    assert [file.name for file in read_folder(project)] == ["2_more"]


def test_a_schema_of_many_files_named_in_package_json(make: Make, major: int) -> None:
    """Prisma 7 has no such key and takes it from its configuration."""
    project = make(
        {
            "package.json": json.dumps({"prisma": {"schema": "./data"}}),
            "prisma.config.ts": config(7, url="process.env.DATABASE_URL", schema='"data"')
            if major == 7
            else None,
            "prisma/schema.prisma": None,
            "data/base.prisma": schema(major),
            "data/models/trail.prisma": MODEL,
            "data/migrations/2_more/migration.sql": "SELECT 2;",
            "migrations/2_more/migration.sql": "SELECT 2;",
        }
    )
    found = read(project).configuration
    assert found.schema == project / "data"
    assert {path.name for path in found.schema_files} == {"base.prisma", "trail.prisma"}
    assert found.migrations == project / "data" / "migrations"


def test_a_workspace_whose_packages_lie_above_and_whose_schema_lies_beside(make: Make, major: int) -> None:
    project = make(
        {
            "prisma.config.ts": config(
                major,
                schema='"../db/schema.prisma"',
                migrations='{ path: "../db/history" }',
                url="process.env.DB" if major == 7 else None,
            ),
            "prisma/schema.prisma": None,
            "../db/schema.prisma": schema(major, url='env("DB")'),
            "../db/history/2_more/migration.sql": "SELECT 2;",
        },
        folder="mono/packages/api",
        modules="mono",
    )
    found = read(project)
    assert found.migrations == project.parent / "db" / "history"
    assert found.configuration.schema == project.parent / "db" / "schema.prisma"
    assert found.command.is_relative_to(project.parent.parent)


# --- the address ----------------------------------------------------------------------------------------------------

ENVIRONMENTS = {
    "env": ('import { env } from "prisma/config"', 'env("TEAM_PG")'),
    "two": ('import { env } from "prisma/config"', '(env("TEAM_MODE"), env("TEAM_PG"))'),
    "process": ("", 'process.env["TEAM_PG"]!'),
    "destructured": ("const { TEAM_PG } = process.env", "TEAM_PG"),
    "parts": ("const e = process.env", "`postgresql://${e.TEAM_USER}:${e.TEAM_PASS}@${e.TEAM_HOST}/d`"),
    "refusing": ('if (!process.env.TEAM_PG) throw new Error("TEAM_PG is not set")', "process.env.TEAM_PG"),
    "dotenv": ('import "dotenv/config"', "process.env.TEAM_DOTENV"),
}


@pytest.mark.family(5)
@pytest.mark.parametrize("kind", ENVIRONMENTS)
def test_the_address_is_whatever_variable_the_team_has(make: Make, major: int, kind: str) -> None:
    before, url = ENVIRONMENTS[kind]
    project = make(
        {
            "prisma.config.ts": config(major, before=before, url=url),
            ".env": f"TEAM_DOTENV=postgresql://me:{SECRET}@prod/d?schema=hr\n",
        }
    )
    found = read(project).configuration
    assert found.fixed is None
    assert found.history_schema == ("hr" if kind == "dotenv" else "public")


@pytest.mark.parametrize("major", [7])
@pytest.mark.parametrize("configured", [True, False])
def test_a_configuration_without_an_address_is_read_like_any_other(make: Make, configured: bool) -> None:
    """As of who only generates a client. With Prisma 6 this is how most are: the address is in the schema."""
    moved = config(7, url=None, before='import "dotenv/config"', migrations='{ path: "db/moved" }')
    project = make(
        {
            "prisma.config.ts": moved if configured else None,
            "db/moved/2_more/migration.sql": "SELECT 2;",
            ".env": "OTHER=postgresql://me@elsewhere/d?schema=hr\n",
        }
    )
    found = read(project)
    assert found.migrations == project / ("db/moved" if configured else "prisma/migrations")
    assert (found.configuration.history_schema, found.configuration.fixed) == ("public", None)


@pytest.mark.parametrize("major", [7])
@pytest.mark.parametrize(
    "part",
    [
        "...(e.A && e.B ? { datasource: { url: e.A } } : {})",
        'datasource: { url: e.MODE === "production" ? e.A : undefined }',
    ],
)
def test_an_address_that_is_there_under_a_condition_is_not_taken_for_none(make: Make, part: str) -> None:
    text = f'const e = process.env\nexport default {{ schema: "prisma/schema.prisma", {part} }}\n'
    project = make({"prisma.config.ts": text})
    with pytest.raises(PreconditionFailed, match=r"datasource\.url property is required"):
        read(project)


def test_an_address_in_the_configuration_itself_is_known_as_such(make: Make, major: int) -> None:
    literal = f"postgresql://me:{SECRET}@db.prod/shop?schema=app"
    project = make(
        {"prisma.config.ts": config(7, url=f'"{literal}"')}
        if major == 7
        else {"prisma/schema.prisma": schema(6, url=f'"{literal}"')}
    )
    found = read(project).configuration
    assert found.fixed == Address(host="db.prod", port=5432, database="shop")
    assert found.history_schema == "app"
    assert SECRET not in repr(found)


@pytest.mark.parametrize("place", [".env", "environment"])
def test_the_schema_of_the_address_is_that_of_the_projects_own(
    make: Make, major: int, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"postgresql://me:{SECRET}@db/d?connect_timeout=3&schema=team%20a"
    files = {"prisma.config.ts": config(7, before='import "dotenv/config"', url="process.env.DATABASE_URL")}
    if place == ".env":
        project = make({**(files if major == 7 else {}), ".env": f'DATABASE_URL="{address}"\n'})
    else:
        monkeypatch.setenv("DATABASE_URL", address)
        project = make({})
    found = read(project).configuration
    assert (found.history_schema, found.schemas, found.fixed) == ("team a", "team a", None)


def test_a_datasource_of_several_schemas(make: Make, major: int) -> None:
    model = 'model Trail {\n  id Int @id\n\n  @@schema("audit")\n}\n'
    more = '  schemas = ["audit", "public"]\n'
    project = make({"prisma/schema.prisma": schema(major, more=more) + model})
    found = read(project).configuration
    assert (found.history_schema, found.schemas) == ("public", "audit, public")


# --- what cannot be read --------------------------------------------------------------------------------------------


@pytest.mark.family(5)
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('throw new Error("The vault is closed")', "The vault is closed"),
        ("export default {", "Unexpected token"),
        ("export default { schema: 7 }", "Failed to parse"),
        ('import "./gone"\nexport default {}', "Cannot find module"),
        ("process.exit(0)", "said nothing"),
    ],
)
def test_what_prisma_cannot_read_is_said_in_its_own_words(make: Make, text: str, words: str) -> None:
    project = make({"prisma.config.ts": text})
    with pytest.raises(PreconditionFailed, match=words):
        read(project)


def test_an_entry_of_package_json_that_prisma_7_does_not_read_is_named(make: Make, major: int) -> None:
    """A schema that was moved, as Prisma 6 takes it; Prisma 7 looks where its own configuration says."""
    moved = {"prisma/schema.prisma": None, "prisma/schema/schema.prisma": schema(major)}
    entry = {"package.json": json.dumps({"prisma": {"schema": "./prisma/schema"}})}
    with pytest.raises(PreconditionFailed) as caught:
        read(make({**moved, **entry}))
    if major == 6:  # it reads the entry, and looks for the migrations beside the schema
        assert "has no migrations folder" in caught.value.what_happened
    else:
        assert "Prisma 7 does not read the entry `prisma`" in caught.value.what_to_do


def test_a_configuration_that_never_ends_is_stopped(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configuration, "TIMEOUT_S", 3.0)
    with pytest.raises(PrismaError, match="did not end within 3 seconds"):
        read(make({"prisma.config.ts": "setInterval(() => {}, 1000)\nawait new Promise(() => {})\n"}))


def test_a_project_whose_migrations_are_gone(make: Make) -> None:
    project = make({})
    shutil.rmtree(project / "prisma" / "migrations")
    with pytest.raises(PreconditionFailed, match=r"prisma/migrations, where Prisma looks, is missing"):
        read(project)


# --- what it sees of the operator -----------------------------------------------------------------------------------

SPY = """
import fs from "node:fs"
fs.writeFileSync("{seen}", JSON.stringify([process.env, process.argv, process.execArgv]))
"""


def test_it_runs_with_nothing_of_the_operators(
    make: Make, major: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = tmp_path / "canary"
    (tmp_path / "preload.cjs").write_text(f"require('fs').writeFileSync({str(canary)!r}, '')")
    for name, value in {
        "PGPASSWORD": SECRET,
        "PGSERVICEFILE": f"/home/{SECRET}",
        "RUNBOOKS_SIGNING_KEY": SECRET,
        "GITHUB_TOKEN": SECRET,
        "DATABASE_URL": f"postgresql://me:{SECRET}@{SECRET}/{SECRET}?schema=app",
        "NODE_OPTIONS": f"--require {tmp_path / 'preload.cjs'}",
        "npm_config_userconfig": SECRET,
    }.items():
        monkeypatch.setenv(name, value)
    seen = tmp_path / "seen"
    url = "process.env.DATABASE_URL" if major == 7 else None
    project = make({"prisma.config.ts": config(major, before=SPY.replace("{seen}", str(seen)), url=url)})
    assert read(project).configuration.history_schema == "app"
    env, argv, options = json.loads(seen.read_text())
    assert SECRET not in seen.read_text()
    assert not {name for name in env if name.startswith(("PG", "npm_", "GITHUB"))}
    assert env["HOME"] not in (os.environ["HOME"], str(Path.home()))
    assert not Path(env["HOME"]).exists()
    assert not canary.exists()
    assert (argv[2:], options) == (["migrate", "status"], [])


def test_a_change_anywhere_is_seen(make: Make, major: int) -> None:
    project = make(
        {
            "prisma.config.ts": config(
                major,
                before='import { where } from "./where"',
                migrations="{ path: where }",
                url="process.env.DATABASE_URL" if major == 7 else None,
            ),
            "where.ts": 'export const where = "prisma/migrations"\n',
            "db/moved/2_more/migration.sql": "SELECT 2;",
        }
    )
    assert read(project).migrations == project / "prisma" / "migrations"
    (project / "where.ts").write_text('export const where = "db/moved"\n')
    assert read(project).migrations == project / "db" / "moved"


@pytest.mark.parametrize("where", ["schema.prisma", "prisma/schema.prisma"])
def test_what_has_not_changed_is_not_asked_again(
    make: Make, major: int, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = os.path.dirname(where)
    project = make(
        {
            "prisma/schema.prisma": None,
            where: schema(major),
            "prisma.config.ts": config(7, url="process.env.DATABASE_URL", schema=f'"{where}"')
            if major == 7
            else None,
            os.path.join(beside, "migrations/1_init/migration.sql"): "SELECT 1;",
        }
    )
    first = read(project)
    monkeypatch.setattr(configuration, "_ask", lambda *_: pytest.fail("Prisma was asked again"))
    assert read(project) == first
    (project / beside / "more.prisma").write_text(MODEL)
    with pytest.raises(pytest.fail.Exception, match="asked again"):
        read(project)
