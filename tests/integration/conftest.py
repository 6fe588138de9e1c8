"""A Prisma project and a database of each test's own, in one lab: a database costs a tenth of a lab."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from runbooks_lib.errors import RunbookError
from runbooks_lib.facts.writing import Plan
from runbooks_lib.findings import CLOSING, Answer
from runbooks_lib.lab.lab import Lab, make_project, running
from runbooks_lib.npm.install import install_packages
from runbooks_lib.phase import Ignored, Phase, Schema, load_phase
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.prisma.command import CliResult, Prisma
from runbooks_lib.prisma.engine import ENGINE_VARIABLE, STAND_IN
from runbooks_lib.prisma.history import folder_digest, read_folder
from runbooks_lib.prisma.project import NEWEST, PACKAGES
from runbooks_lib.prisma.url import DatabaseUrl, aim
from runbooks_lib.steps import prisma_resolve
from runbooks_lib.steps.prisma_look import look_at_all, prove_target
from runbooks_lib.steps.settlement_findings import to_be_done

PHASE = load_phase(str(Path(__file__).parents[1] / "phases" / "PH15-AMAZON-DB-FOUNDATION-01"))
BOTH = pytest.mark.parametrize("major", [6, 7], ids=["Prisma 6", "Prisma 7"])
QUESTIONS = ("history", "status", "live_schema", "resolve", "confirm")


class CountedPrisma(Prisma):
    """Prisma that notes which commands it ran."""

    ran: list[str]

    def _run(self, *arguments: str, **options: Any) -> CliResult:
        self.ran.append(" ".join(arguments))
        return super()._run(*arguments, **options)


@dataclass(slots=True, kw_only=True)
class Place:
    """A copy of keybuzz_backend as the lab has it, and a copy of the lab's project."""

    lab: Lab
    database: str
    project: Path
    service: str = "keybuzz_leader"
    migration: str = PHASE.prisma.settle[0]
    ignored: tuple[Ignored, ...] = ()
    declared: bool = True  # False: the phase declares no object, so that only the migrations are judged
    wrong: dict[str, Any] = field(default_factory=dict)  # what of the address is wrong

    @property
    def phase(self) -> Phase:
        leader = replace(PHASE.targets["leader"], service=self.service, database=self.database)
        nothing: dict[str, Any] = {} if self.declared else {"tables": (), "enums": (), "indexes": ()}
        return replace(
            PHASE,
            **nothing,
            targets={**PHASE.targets, "leader": leader},
            schema=Schema(ignore=self.ignored),
            prisma=replace(PHASE.prisma, settle=(self.migration,)),
        )

    @property
    def migrations(self) -> Path:
        return self.project / "prisma" / "migrations"

    def admin(self) -> psycopg.Connection[tuple[Any, ...]]:
        return self.lab.admin(self.database)

    def migrate(self, name: str, script: str, *, run: bool = True, record: bool = True) -> None:
        """Add a migration to the project; run it as its owner, record it, or claim to have."""
        (self.migrations / name).mkdir()
        (self.migrations / name / "migration.sql").write_text(script)
        if run:
            self.execute("SET ROLE kb_backend", script)
        if record:
            self.record(name)

    def execute(self, *statements: str) -> None:
        with self.admin() as conn:
            for statement in statements:
                conn.execute(statement.encode())

    def record(self, name: str, *, finished: bool = True, checksum: str | None = None) -> None:
        """Insert a row as a deployment that ended, or did not, leaves it."""
        script = next((f.checksum for f in read_folder(self.project) if f.name == name), None)
        with self.admin() as conn:
            conn.execute(
                "INSERT INTO _prisma_migrations (id, checksum, migration_name, finished_at, applied_steps_count)"
                " VALUES (gen_random_uuid(), %s, %s, CASE WHEN %s THEN now() END, 1)",
                (checksum or script or "a" * 64, name, finished),
            )

    def rows(self, name: str) -> list[tuple[bool, bool]]:
        """Return of each row of a migration, oldest first, whether it is finished and whether it is rolled back."""
        with self.admin() as conn:
            return conn.execute(
                "SELECT finished_at IS NOT NULL, rolled_back_at IS NOT NULL FROM _prisma_migrations"
                " WHERE migration_name = %s ORDER BY started_at",
                (name,),
            ).fetchall()

    def url(self, **changes: Any) -> DatabaseUrl:
        with psycopg.connect("service=keybuzz_leader") as conn:
            return replace(aim(conn), **{"dbname": self.database, **self.wrong, **changes})

    def prisma(self, **changes: Any) -> CountedPrisma:
        prisma = CountedPrisma(self.project, self.url(**changes))
        prisma.ran = []
        return prisma

    def ask(self, question: str, prisma: Prisma, *, apply: bool = False) -> Answer:
        options: dict[str, Any] = {"apply": apply} if question in ("resolve", "confirm") else {}
        with Sessions(self.phase.targets, application_name="runbooks test") as sessions:
            if question == "resolve":
                options["plan"] = confirmed(self.phase, sessions, prisma)
            answer: Answer = getattr(prisma_resolve, question)(self.phase, sessions, prisma=prisma, **options)
        return answer

    def notebook(
        self, prisma: Prisma, *, apply: bool = False, questions: Sequence[str] = QUESTIONS
    ) -> tuple[str, Answer]:
        """Ask one question after the other, as the notebook does, until a gate closes; return the last."""
        for question in questions:
            answer = self.ask(question, prisma, apply=apply)
            if answer.verdict in CLOSING:
                break
        return question, answer


def confirmed(phase: Phase, sessions: Sessions, prisma: Prisma) -> Plan:
    """The part that matters to step 4 of a plan that the run has confirmed and applied."""
    try:
        looked = look_at_all(phase, sessions, prisma)
        settlement = prove_target(phase, sessions, looked, None, ()).settlement
    except RunbookError:
        return Plan(parts={"prisma": "", "settlement": {}})
    return Plan(parts={"prisma": folder_digest(looked.state.files), "settlement": to_be_done(settlement)})


def name_the_engine(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Have PRISMA_SCHEMA_ENGINE_BINARY name an engine: our stand-in, since Prisma's own can't be had everywhere."""
    engine = folder / "engine"
    packages = install_packages(PACKAGES[NEWEST])
    engine.write_text(f"#!/bin/sh\nexport RUNBOOKS_PRISMA_PACKAGES='{packages}'\nexec '{STAND_IN}' \"$@\"\n")
    engine.chmod(0o755)
    monkeypatch.setenv(ENGINE_VARIABLE, str(engine))


@pytest.fixture(scope="session")
def prisma_lab() -> Iterator[Lab]:
    """A lab for tests that make databases of their own in it; nobody connects to its keybuzz_backend."""
    with running() as lab:
        yield lab


@pytest.fixture
def major() -> int:
    """Which major version of Prisma the place's project has, where the test has none as a parameter.

    The newest, or that of RUNBOOKS_PRISMA_MAJOR: `make projects` settles migrations with 6, too.
    """
    return int(os.environ.get("RUNBOOKS_PRISMA_MAJOR", NEWEST))


@pytest.fixture
def place(
    lab: Lab, prisma_lab: Lab, major: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    """A database and a project that the test may break."""
    for name, value in prisma_lab.env().items():
        monkeypatch.setenv(name, value)
    project = tmp_path / "project"
    if major == NEWEST:
        shutil.copytree(prisma_lab.env()["RUNBOOKS_PRISMA_PROJECT"], project, symlinks=True)
    else:
        make_project(project, major)
    monkeypatch.setenv("RUNBOOKS_PRISMA_PROJECT", str(project))
    database = f"place_{secrets.token_hex(4)}"
    create = sql.SQL("CREATE DATABASE {} TEMPLATE keybuzz_backend OWNER kb_backend")
    with prisma_lab.admin("postgres") as conn:
        conn.execute(create.format(sql.Identifier(database)))
        yield Place(lab=prisma_lab, database=database, project=project)
        conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database)))
