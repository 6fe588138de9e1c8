"""Nothing of a project's own code is run where Prisma writes, and nothing is written elsewhere: with real databases."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import psycopg
import pytest
from msgspec.structs import replace

from runbooks_lib.findings import Verdict
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.prisma.command import CliResult, Prisma
from runbooks_lib.prisma.lock import MIGRATION_LOCK
from runbooks_lib.prisma.oddities import HistoryTable, read_tables
from runbooks_lib.prisma.state import look
from runbooks_lib.prisma.url import DatabaseUrl, aim
from runbooks_lib.steps.prisma_agreement import judge_agreement, judge_answer
from runbooks_lib.steps.prisma_findings import judge_lock

from .conftest import PHASE, Place, name_the_engine

NAME = PHASE.prisma.settle[0]
CONFIG = """
import fs from "node:fs"
const own = "{canary}"
fs.appendFileSync(own, process.argv.slice(2).join(" ") + "\\n")
const url = process.argv.includes("resolve") ? "{elsewhere}" : process.env.DATABASE_URL
export default {{ schema: "prisma/schema.prisma", {classic}datasource: {{ url }} }}
"""
WITH_ENV_FILE = """
import "dotenv/config"
import { defineConfig, env } from "prisma/config"
export default defineConfig({ schema: "prisma/schema.prisma", datasource: { url: env("DATABASE_URL") } })
"""


def leads_elsewhere(project: Path, canary: Path, elsewhere: str) -> None:
    is_6 = "url" in (project / "prisma" / "schema.prisma").read_text()
    classic = 'engine: "classic", ' if is_6 else ""
    (project / "prisma.config.ts").write_text(
        CONFIG.format(canary=canary, elsewhere=elsewhere, classic=classic)
    )


def names_it_in_env(project: Path, canary: Path, elsewhere: str) -> None:
    (project / ".env").write_text(f'DATABASE_URL="{elsewhere}"\nNODE_OPTIONS="--require {canary}.cjs"\n')
    if (project / "prisma.config.ts").exists():  # Prisma 7 leaves .env to the configuration
        (project / "prisma.config.ts").write_text(WITH_ENV_FILE)


def names_it_in_its_configuration(project: Path, canary: Path, elsewhere: str) -> None:
    del canary
    (project / "prisma.config.ts").write_text(f'export default {{ datasource: {{ url: "{elsewhere}" }} }}')


def names_it_in_package_json(project: Path, canary: Path, elsewhere: str) -> None:
    package = json.loads((project / "package.json").read_text())
    package["prisma"] = {"schema": "other/schema.prisma", "seed": f"touch {canary}"}
    (project / "package.json").write_text(json.dumps(package))
    (project / "other").mkdir()
    text = (project / "prisma" / "schema.prisma").read_text()
    (project / "other" / "schema.prisma").write_text(text.replace('env("DATABASE_URL")', f'"{elsewhere}"'))
    (project / "other" / "migrations").symlink_to(project / "prisma" / "migrations")


def has_programs_of_its_own(project: Path, canary: Path, elsewhere: str) -> None:
    packages = (project / "node_modules").readlink()
    (project / "node_modules").unlink()
    (project / "node_modules").mkdir()
    for package in packages.iterdir():
        if package.name != ".bin":
            (project / "node_modules" / package.name).symlink_to(package)
    (project / "node_modules" / ".bin").mkdir()
    for name in ("node", "prisma", "openssl", "ldconfig", "uname"):
        program = project / "node_modules" / ".bin" / name
        program.write_text(f"#!/bin/sh\ntouch {canary}\n")
        program.chmod(0o755)
    (project / ".npmrc").write_text(f"node-options=--require {canary}.cjs\nscript-shell={canary}.cjs\n")


@pytest.mark.family(3)
@pytest.mark.parametrize(
    ("major", "does", "fixed"),
    [
        (6, leads_elsewhere, False),
        (7, leads_elsewhere, False),
        (6, names_it_in_env, False),
        (7, names_it_in_env, False),
        (6, names_it_in_package_json, True),
        (7, names_it_in_its_configuration, True),
        (7, has_programs_of_its_own, False),
    ],
)
def test_a_project_that_leads_elsewhere_has_nothing_written_there(
    place: Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    does: Callable[[Path, Path, str], None],
    fixed: bool,
) -> None:
    """The other database has the same objects and the same history, and its superuser's address leads there."""
    with place.lab.admin("postgres") as conn:
        admin = conn.info
        elsewhere = DatabaseUrl(
            host=admin.host,
            port=admin.port,
            user=admin.user,
            dbname=f"{place.database}_other",
            password=admin.password,
        )
        conn.execute(f"CREATE DATABASE {place.database}_other TEMPLATE {place.database}".encode())
    canary = tmp_path / "canary"
    (tmp_path / "canary.cjs").write_text(f"require('fs').writeFileSync({str(canary)!r}, 'preloaded')")
    does(place.project, canary, elsewhere.reveal())
    monkeypatch.setenv("NODE_OPTIONS", f"--require {tmp_path / 'canary.cjs'}")
    monkeypatch.setenv("PATH", f"./node_modules/.bin:{place.project}/node_modules/.bin:{os.environ['PATH']}")
    monkeypatch.delenv("DATABASE_URL", raising=False)
    try:
        question, answer = place.notebook(place.prisma(), apply=True)
        # an address that no environment can change is refused
        assert (question, answer.verdict) == (("status", "ERROR") if fixed else ("confirm", "PASS")), answer
        assert place.rows(NAME) == ([] if fixed else [(True, False)])
        with place.lab.admin(f"{place.database}_other") as conn:
            assert not conn.execute(
                "SELECT FROM _prisma_migrations WHERE migration_name = %s", (NAME,)
            ).fetchall()
        ran = canary.read_text().splitlines() if canary.exists() else []
        assert set(ran) <= {"migrate status", ""}  # when the configuration was read, with no address
    finally:
        with place.lab.admin("postgres") as conn:
            conn.execute(f"DROP DATABASE {place.database}_other WITH (FORCE)".encode())


def keep_control_data(place: Place) -> None:
    """Let the server keep from the role which system it is, as managed services do."""
    place.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")


def test_the_stand_in_writes_where_the_server_does_not_say_who_it_is(place: Place) -> None:
    keep_control_data(place)
    with psycopg.connect(f"service=keybuzz_leader dbname={place.database}") as conn:
        url = aim(conn)
    assert json.loads(url.expected()).keys() == {"started", "database", "role"}
    prisma = Prisma(place.project, url)
    said = prisma.resolve(applied=[NAME]).said[0]
    assert said.exit_code == 0, said.output
    assert place.rows(NAME) == [(True, False)]


@pytest.mark.parametrize("what", ["system_identifier", "started", "role", "dbname"])
def test_the_stand_in_refuses_a_stranger_before_it_writes(place: Place, what: str) -> None:
    """The address leads to one server, and another was looked at: a name that was given to another one in between."""
    prisma = place.prisma(**({} if what == "dbname" else {what: "another"}))
    if what == "dbname":
        aimed = prisma._address()
        prisma._url = Expecting(**{name: getattr(aimed, name) for name in aimed.__slots__})
    prisma._aimed_well = True
    said = prisma.resolve(applied=[NAME]).said[0]
    assert (said.exit_code, "Refused, and nothing was written" in said.output) == (1, True), said.output
    assert "another was expected" in said.output
    assert place.rows(NAME) == []


class Expecting(DatabaseUrl):
    """An address of one database, made from a session in another."""

    def expected(self) -> str:
        return json.dumps({**json.loads(super().expected()), "database": "another"})


def test_before_prismas_own_engine_writes_a_status_is_asked_for(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_the_engine(monkeypatch, tmp_path)
    prisma = place.prisma()
    assert prisma.status().code is None
    assert prisma.resolve(applied=[NAME]).failed is None
    assert prisma.ran == ["migrate status", "migrate status", f"migrate resolve --applied {NAME}"]


# --- schemas --------------------------------------------------------------------------------------------------------


def test_a_history_in_the_schema_of_the_address(place: Place) -> None:
    """The project's whole world is moved to another schema; what stands in public is somebody else's."""
    place.execute(
        "ALTER SCHEMA public RENAME TO app",
        "CREATE SCHEMA public",
        "GRANT USAGE ON SCHEMA public, app TO PUBLIC",
        "CREATE TABLE public._prisma_migrations (LIKE app._prisma_migrations INCLUDING ALL)",
        "GRANT SELECT ON public._prisma_migrations TO PUBLIC",
    )
    (place.project / ".env").write_text("DATABASE_URL=postgresql://somebody@db/d?schema=app\n")
    (place.project / "prisma.config.ts").write_text(WITH_ENV_FILE)
    place.declared = False
    prisma = place.prisma()
    question, answer = place.notebook(prisma, apply=True)
    assert (question, answer.verdict) == ("confirm", Verdict.PASS), answer
    assert prisma._address().schema == "app"
    with place.admin() as conn:
        found = conn.execute("SELECT migration_name FROM app._prisma_migrations").fetchall()
        assert (NAME,) in found
        assert conn.execute("SELECT FROM public._prisma_migrations").fetchall() == []
    other = next(f for f in place.ask("history", prisma).findings if f.check == "history_is_the_only_one")
    assert other.verdict is Verdict.OPEN


@pytest.mark.parametrize(
    ("statements", "kind", "inherits"),
    [
        (
            [
                "ALTER TABLE _prisma_migrations RENAME TO rows",
                "CREATE VIEW _prisma_migrations AS TABLE rows",
            ],
            "view",
            False,
        ),
        (
            [
                "ALTER TABLE _prisma_migrations RENAME TO rows",
                "CREATE TABLE _prisma_migrations (LIKE rows) PARTITION BY HASH (id)",
                "CREATE TABLE part PARTITION OF _prisma_migrations FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
            ],
            "partitioned table",
            True,
        ),
        (
            [
                "ALTER TABLE _prisma_migrations RENAME TO rows",
                "CREATE FOREIGN DATA WRAPPER nowhere",
                "CREATE SERVER far FOREIGN DATA WRAPPER nowhere",
                "CREATE FOREIGN TABLE _prisma_migrations (id text) SERVER far",
            ],
            "foreign table",
            False,
        ),
        (["CREATE TABLE archived () INHERITS (_prisma_migrations)"], "table", True),
        ([], "table", False),
    ],
)
def test_what_stands_under_the_name_of_the_history(
    place: Place, statements: list[str], kind: str, inherits: bool
) -> None:
    place.execute(*statements, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO PUBLIC")
    with Sessions(place.phase.targets) as sessions, sessions.snapshot(PHASE.prisma.target) as conn:
        assert read_tables(conn) == (HistoryTable(schema="public", kind=kind, inherits=inherits),)
    findings = place.ask("history", place.prisma()).findings
    if kind in ("view", "foreign table"):  # not read at all: its rows come from elsewhere
        assert [(f.verdict, kind in f.have) for f in findings] == [(Verdict.ERROR, True)]
        return
    finding = next(f for f in findings if f.check == "history_is_a_table")
    assert finding.verdict is (Verdict.PASS if (kind, inherits) == ("table", False) else Verdict.FAIL)


# --- Prisma and we --------------------------------------------------------------------------------------------------

ANSWER = "\n2 migrations found in prisma/migrations\n{}\n\nTo apply migrations in production run prisma migrate deploy."
PENDING = "Following migration have not yet been applied:\n{}"


@pytest.mark.parametrize(
    ("output", "differ"),
    [
        (ANSWER.format(PENDING.format(NAME)), []),
        (ANSWER.replace("2", "3").format(PENDING.format(NAME)), ["number of migrations"]),
        (ANSWER.format(PENDING.format("20270101000000_unknown")), ["pending migrations"]),
        (ANSWER.format(""), ["pending migrations"]),
        ("No migration found in prisma/migrations\n", ["number of migrations", "pending migrations"]),
    ],
)
def test_what_prisma_counts_and_names_is_what_we_read(place: Place, output: str, differ: list[str]) -> None:
    with Sessions(place.phase.targets) as sessions, sessions.snapshot(PHASE.prisma.target) as conn:
        state = look(conn, place.prisma().project)
    said = CliResult(command="prisma migrate status", exit_code=1, output=output, code=None, duration_s=1)
    found = judge_agreement("leader", place.prisma(), state, said)
    assert [f.object for f in found if f.verdict is Verdict.FAIL] == differ
    assert len(found) == 2
    silent = replace(said, output="Error: P1001", code="P1001")
    assert judge_agreement("leader", place.prisma(), state, silent) == ()
    assert judge_answer("leader", silent).verdict is Verdict.ERROR


# --- the lock -------------------------------------------------------------------------------------------------------


def test_a_lock_that_a_pooler_kept_is_named_with_the_line_that_ends_it(
    place: Place,
    pooler: Callable[..., AbstractContextManager[dict[str, str]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A client takes the lock through PgBouncer in transaction mode and is gone: the server's session keeps it."""
    with (
        pooler(place.lab, "transaction") as env,
        psycopg.connect(f"service=keybuzz_admin dbname={place.database}", autocommit=True) as direct,
    ):
        with monkeypatch.context() as there:
            for name, value in env.items():
                there.setenv(name, value)
            address = f"service=keybuzz_leader dbname={place.database} application_name=prisma"
            with psycopg.connect(address, autocommit=True) as gone:
                gone.execute("SELECT pg_advisory_lock(%s)", (MIGRATION_LOCK,), prepare=False)
        with Sessions(place.phase.targets) as sessions:
            finding = judge_lock(place.phase, sessions)
            assert finding.verdict is Verdict.FAIL
            pid = direct.execute("SELECT pid FROM pg_locks WHERE locktype = 'advisory'").fetchone()
            assert pid is not None
            assert f"SELECT pg_terminate_backend({pid[0]});" in finding.hint
            assert "pooler" in finding.hint
            for part in (f"pid {pid[0]}", "prisma", "127.0.0.1", "idle since"):
                assert part in finding.have
            direct.execute("SELECT pg_terminate_backend(%s, 5000)", pid)
            assert judge_lock(place.phase, sessions).verdict is Verdict.PASS
