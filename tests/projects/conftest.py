"""A real project in a lab: the 220 Prisma migrations of litellm-proxy-extras, and databases in which they ran."""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from runbooks_lib.lab.lab import Lab
from runbooks_lib.prisma.history import MigrationFile, read_folder

ROLE = "litellm"
TIMES: list[str] = []  # of each test, how long its runs took
PHASE = """\
spec_version = 3
id = "LITELLM"
title = "LiteLLM: history brought in line"

[targets]
leader = {{ service = "litellm", role = "primary", database = "{database}" }}

[schema]
from = "migrations"

[prisma]
target = "leader"
settle = "all"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What one `runbooks run` said: its exit code, its result, and how long it took."""

    code: int
    result: dict[str, Any]
    said: str
    wall_s: float

    @property
    def closing(self) -> str:
        """Return all that closed a gate, as one text."""
        return json.dumps(self.result, ensure_ascii=False) + self.said


@dataclass(slots=True, kw_only=True)
class Project:
    """The project in a folder of its own, and a database of it that the test may break."""

    lab: Lab
    folder: Path
    database: str
    env: dict[str, str]
    spent: list[str] = field(default_factory=list)

    @property
    def migrations(self) -> tuple[MigrationFile, ...]:
        """Return the project's migrations in order."""
        return read_folder(self.folder)

    @property
    def phase(self) -> Path:
        """Return the phase's file."""
        return self.folder.parent / "LITELLM" / "phase.toml"

    def execute(self, *statements: str) -> None:
        """Execute statements as the role that owns everything."""
        with self.lab.admin(self.database) as conn:
            conn.execute(f"SET ROLE {ROLE}".encode())
            for statement in statements:
                conn.execute(statement.encode())

    def ask(self, question: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with self.lab.admin(self.database) as conn:
            return conn.execute(question.encode()).fetchall()

    def script(self, name: str) -> Path:
        """Return the file of a migration."""
        return self.folder / "prisma" / "migrations" / name / "migration.sql"

    def plan(self) -> Told:
        """Plan."""
        return self._run("plan")

    def apply(self, plan: Told) -> Told:
        """Carry out what was planned."""
        return self._run("apply", "--apply", "--confirm", str(plan.result["plan"]["confirmation"]))

    def _run(self, what: str, *options: str) -> Told:
        command = [
            str(Path(sys.executable).with_name("runbooks")),
            "run",
            str(self.phase),
            "--json",
            *options,
        ]
        begun = time.perf_counter()
        done = subprocess.run(
            command, env=self.env, cwd=self.folder.parent, capture_output=True, text=True, timeout=500
        )
        wall_s = time.perf_counter() - begun
        self.spent.append(f"{what} {wall_s:.1f} s")
        assert done.stdout, done.stderr
        return Told(
            code=done.returncode,
            result=json.loads(done.stdout),
            said=done.stderr,
            wall_s=wall_s,
        )


Make = Callable[..., Project]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Tell how long plan and apply took."""
    for line in TIMES:
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def service(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which the service `litellm` leads to the lab's leader, as the role that owns everything."""
    folder = tmp_path_factory.mktemp("litellm")
    password = secrets.token_urlsafe(18)
    with lab.admin("postgres") as conn:
        conn.execute(
            f"CREATE ROLE {ROLE} LOGIN PASSWORD '{password}'; GRANT pg_read_all_stats TO {ROLE}".encode()
        )
    port = lab.leader.port
    (folder / "pg_service.conf").write_text(f"[litellm]\nhost=127.0.0.1\nport={port}\nuser={ROLE}\n")
    passfile = folder / "pgpass"
    passfile.write_text(f"127.0.0.1:{port}:*:{ROLE}:{password}\n")
    passfile.chmod(0o600)
    return {
        **os.environ,
        "PGSERVICEFILE": str(folder / "pg_service.conf"),
        "PGPASSFILE": str(passfile),
        "RUNBOOKS_RUNS": str(folder / "runs"),
    }


@pytest.fixture(scope="session")
def source(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as Prisma wants it: the package's migrations and schema, beside the lab's Prisma."""
    found = importlib.util.find_spec("litellm_proxy_extras")
    assert found is not None
    assert found.origin is not None
    package, ours = Path(found.origin).parent, Path(lab.env()["RUNBOOKS_PRISMA_PROJECT"])
    folder = tmp_path_factory.mktemp("source") / "project"
    (folder / "prisma").mkdir(parents=True)
    shutil.copytree(package / "migrations", folder / "prisma" / "migrations")
    for file in ours.iterdir():
        if file.is_file():
            shutil.copy(file, folder / file.name)
    (folder / "node_modules").symlink_to((ours / "node_modules").resolve())
    schema = (package / "schema.prisma").read_text("utf-8")
    if (folder / "prisma.config.ts").exists():  # since Prisma 7 the address stands there
        schema = schema.replace('url      = env("DATABASE_URL")', "")
    (folder / "prisma" / "schema.prisma").write_text(schema, "utf-8")
    return folder


@pytest.fixture(scope="session")
def templates(lab: Lab, source: Path) -> Callable[[int], str]:
    """A function that returns a database in which so many migrations ran and were recorded; each is made once."""
    made: dict[int, str] = {}

    def template(number: int) -> str:
        if number not in made:
            name = f"litellm_{number}"
            begin = max((each for each in made if each < number), default=0)
            with lab.admin("postgres") as conn:
                like = f" TEMPLATE {made[begin]}" if begin else ""
                conn.execute(f"CREATE DATABASE {name} OWNER {ROLE}{like}".encode())
            _migrate(lab, name, read_folder(source)[begin:number], first=not begin)
            made[number] = name
        return made[number]

    return template


def _migrate(lab: Lab, database: str, migrations: Sequence[MigrationFile], *, first: bool) -> None:
    with lab.admin(database) as conn:
        conn.execute(f"SET ROLE {ROLE}; SET search_path = public".encode())
        if first:
            conn.execute(
                "CREATE TABLE _prisma_migrations (id varchar(36) PRIMARY KEY, checksum varchar(64) NOT NULL,"
                " finished_at timestamptz, migration_name varchar(255) NOT NULL, logs text, rolled_back_at timestamptz,"
                " started_at timestamptz NOT NULL DEFAULT now(), applied_steps_count integer NOT NULL DEFAULT 0)"
            )
        for migration in migrations:
            assert migration.script is not None
            conn.execute(migration.script.encode())
            conn.execute(
                "INSERT INTO _prisma_migrations (id, checksum, migration_name, finished_at, started_at,"
                " applied_steps_count) VALUES (gen_random_uuid(), %s, %s, now(), now() - interval '1 s', 1)",
                (migration.checksum, migration.name),
            )


@pytest.fixture
def project(
    lab: Lab,
    source: Path,
    templates: Callable[[int], str],
    service: dict[str, str],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Iterator[Make]:
    """A function that makes a project whose database has all migrations but the last `pending`."""
    made: list[Project] = []

    def make(*, pending: int = 0) -> Project:
        folder = tmp_path / str(len(made)) / "project"
        shutil.copytree(source, folder, symlinks=True)
        database = f"litellm_{secrets.token_hex(4)}"
        template = templates(len(read_folder(source)) - pending)
        with lab.admin("postgres") as conn:
            conn.execute(f"CREATE DATABASE {database} OWNER {ROLE} TEMPLATE {template}".encode())
        env = {**service, "RUNBOOKS_PRISMA_PROJECT": str(folder)}
        found = Project(lab=lab, folder=folder, database=database, env=env)
        found.phase.parent.mkdir()
        found.phase.write_text(PHASE.format(database=database))
        made.append(found)
        return found

    yield make
    with lab.admin("postgres") as conn:
        for each in made:
            conn.execute(f"DROP DATABASE {each.database} WITH (FORCE)".encode())
    TIMES.append(f"{request.node.name}: {', '.join(spent for each in made for spent in each.spent)}")
