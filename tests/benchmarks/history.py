"""The plan of a long history whose last rows are missing: against its replay and its own queries to the target."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psycopg
from measure import Figure, clocked
from migrations import History

from runbooks_lib.cache import ENV_CACHE
from runbooks_lib.facts.databases import Dump, Dumps
from runbooks_lib.findings import CLOSING
from runbooks_lib.lab.lab import Lab, running
from runbooks_lib.phase import Phase, load_phase
from runbooks_lib.postgres.scratch import replay as replaying
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.prisma.command import Prisma
from runbooks_lib.prisma.history import read_folder
from runbooks_lib.prisma.settlement import Action
from runbooks_lib.steps import backup, baseline_migration

DATABASE, OWNER, MISSING = "long_history", "kb_backend", 3
PHASE = f"""\
spec_version = 3
id = "LONG"
title = "A long history"
[targets]
leader = {{ service = "keybuzz_leader", role = "primary", database = "{DATABASE}" }}
[prisma]
target = "leader"
"""
TABLE = """
CREATE TABLE _prisma_migrations (
    id varchar(36) PRIMARY KEY, checksum varchar(64) NOT NULL, finished_at timestamptz,
    migration_name varchar(255) NOT NULL, logs text, rolled_back_at timestamptz,
    started_at timestamptz NOT NULL DEFAULT now(), applied_steps_count integer NOT NULL DEFAULT 0
)
"""
ROW = """
INSERT INTO _prisma_migrations (id, checksum, migration_name, finished_at, applied_steps_count)
VALUES (gen_random_uuid(), %s, %s, now(), 1)
"""


def measure(pairs: int, migrations: int) -> list[Figure]:
    """Return the comparison: no replay is in the cache. What Prisma takes to answer is on neither side.

    The yardstick is measured inside: the seconds that the replay itself takes, and the queries to the target.
    """
    figure = Figure(name="plan of a long history", yardstick="its replay and its queries")
    with running() as lab, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        project = _project(lab, folder, migrations)
        with patch.dict(
            os.environ, {**lab.env(), "RUNBOOKS_PRISMA_PROJECT": str(project), ENV_CACHE: f"{name}/cache"}
        ):
            _fill(lab, project)
            phase = load_phase(str(folder / "LONG"))
            with Sessions(phase.targets, application_name="benchmark", run="benchmark") as sessions:
                dumped = backup.dump(phase, sessions, folder=folder).facts
                assert isinstance(dumped, Dumps)
                for number in range(pairs + 1):
                    shutil.rmtree(folder / "cache" / "replays", ignore_errors=True)
                    replaying._replay.cache_clear()
                    with _noting(lab.leader.port) as spent:
                        took = clocked(lambda: _plan(phase, sessions, dumped.dumps, folder))()
                    if number:  # the first one reads the project's configuration, too
                        figure.ours_s.append(took - spent["Prisma"])
                        figure.yardstick_s.append(spent["replay"] + spent["queries"])
    figure.more = {**figure.times(), "migrations": migrations}
    return [figure]


def _project(lab: Lab, folder: Path, migrations: int) -> Path:
    """Make a phase, and a project with a long history beside the lab's Prisma; return the project."""
    (folder / "LONG").mkdir()
    (folder / "LONG" / "phase.toml").write_text(PHASE, encoding="utf-8")
    ours, project = Path(lab.env()["RUNBOOKS_PRISMA_PROJECT"]), folder / "project"
    shutil.copytree(ours, project, ignore=shutil.ignore_patterns("node_modules", "migrations"))
    (project / "node_modules").symlink_to((ours / "node_modules").resolve())
    for name, script in History(migrations).scripts():
        (project / "prisma" / "migrations" / name).mkdir(parents=True)
        (project / "prisma" / "migrations" / name / "migration.sql").write_text(script, encoding="utf-8")
    return project


def _fill(lab: Lab, project: Path) -> None:
    """Make the database: all migrations ran in it, and all but the last ones are recorded."""
    with lab.admin("postgres") as conn:
        conn.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER}".encode())
    with lab.admin(DATABASE) as conn:
        conn.execute(f"SET ROLE {OWNER}; SET search_path = public; {TABLE}".encode())
        files = read_folder(project)
        for file in files:
            assert file.script is not None
            conn.execute(file.script.encode())
        conn.cursor().executemany(ROW, [(file.checksum, file.name) for file in files[:-MISSING]])
        conn.execute("RESET ROLE; GRANT ALL ON ALL TABLES IN SCHEMA public TO keybuzz_operator")


def _plan(phase: Phase, sessions: Sessions, dumps: Mapping[str, Dump], folder: Path) -> None:
    answer = baseline_migration.plan(phase, sessions, dumps=dumps, code="", folder=folder)
    assert answer.verdict not in CLOSING, answer.findings
    assert [each.action for each in answer.facts.settlement] == [Action.RESOLVE_APPLIED] * MISSING


@contextmanager
def _noting(port: int) -> Iterator[dict[str, float]]:
    """Note how many seconds the replay, the queries at this port and Prisma take."""
    spent = {"replay": 0.0, "queries": 0.0, "Prisma": 0.0}

    def timed(
        what: str, work: Callable[..., Any], counts: Callable[..., bool] = lambda *_: True
    ) -> Callable[..., Any]:
        def timing(*arguments: Any, **options: Any) -> Any:
            began = time.perf_counter()
            try:
                return work(*arguments, **options)
            finally:
                spent[what] += time.perf_counter() - began if counts(*arguments) else 0

        return timing

    def at_target(cursor: Any, *_: Any) -> bool:
        return bool(cursor.connection.info.port == port)

    with (
        patch.object(replaying, "_in_one_go", timed("replay", replaying._in_one_go)),
        patch.object(psycopg.Cursor, "execute", timed("queries", psycopg.Cursor.execute, at_target)),
        patch.object(Prisma, "status", timed("Prisma", Prisma.status)),
    ):
        yield spent
