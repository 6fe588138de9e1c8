"""A project of 87 tables and 820 migrations: planned and applied by a phase of a few lines, in pages one can read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from runbooks_lib.lab.disorder import Disorder, Place
from runbooks_lib.lab.lab import Lab, up

from . import large
from .conftest import Project

pytestmark = pytest.mark.skipif(
    not os.environ.get("RUNBOOKS_TEST_PROJECTS"),
    reason="takes minutes: RUNBOOKS_TEST_PROJECTS=1, or make projects",
)
PHASE = """\
spec_version = 3
id = "LARGE"
title = "A large project"
[targets]
leader = { service = "lab_leader", role = "primary", database = "app" }
[prisma]
target = "leader"
settle = "all"
"""
MAX_PAGE_BYTES, MAX_FOLDER_BYTES = 300_000, 5_000_000
RECORDED = "SELECT count(*) FROM _prisma_migrations WHERE finished_at IS NOT NULL AND rolled_back_at IS NULL"


@pytest.fixture(scope="module")
def large_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = tmp_path_factory.mktemp("source") / "large"
    large.write_project(project)
    (project / "prisma" / "schema.prisma").write_text(
        'datasource db {\n  provider = "postgresql"\n}\n', "utf-8"
    )
    return project


@pytest.fixture(scope="module")
def large_lab(large_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = up(tmp_path_factory.mktemp("large_lab"), owner_pid=os.getpid(), project=large_source)
    yield lab
    lab.down()


@pytest.fixture
def project(large_lab: Lab, large_source: Path, tmp_path: Path) -> Project:
    (tmp_path / "LARGE").mkdir()
    (tmp_path / "LARGE" / "phase.toml").write_text(PHASE, "utf-8")
    return Project(lab=large_lab, source=large_source, folder=tmp_path)


def is_small(project: Project) -> None:
    """The pages and the folder of the run that a command made last."""
    (run,) = sorted((project.folder / "runs" / "LARGE").glob("2*"))[-1:]
    sizes = {str(file.relative_to(run)): file.stat().st_size for file in run.rglob("*") if file.is_file()}
    pages = {name: size for name, size in sizes.items() if name.endswith(".html")}
    assert max(pages.values()) < MAX_PAGE_BYTES, pages
    assert sum(sizes.values()) < MAX_FOLDER_BYTES, sizes


@pytest.mark.parametrize("state", ["no-history", "rows-missing", "pending"])
def test_it_is_planned_and_applied(project: Project, state: str) -> None:
    project.breaks(state)
    planned = project.run("run", "LARGE")
    assert planned.code == 0, planned
    is_small(project)
    (hashed,) = set(re.findall(r"--confirm (\S+)", planned.out))
    applied = project.run("run", "LARGE", "--apply", "--confirm", hashed)
    assert applied.code == 0, applied
    is_small(project)
    assert project.ask(RECORDED) == [(large.MIGRATIONS,)]


def test_half_of_its_tables_missing_is_told_in_pages_of_that_size(project: Project) -> None:
    def drop(place: Place) -> None:
        for number in range(0, large.TABLES, 2):
            place.conn.execute(f'DROP TABLE "{large.table(number)}" CASCADE'.encode())

    project.breaks(Disorder(says="", make=drop))
    planned = project.run("run", "LARGE")
    assert planned.code == 1, planned
    is_small(project)
    made_by = r"Made so by \d+_create_\w+/migration\.sql:\d+ \(CREATE TABLE"
    assert re.search(made_by, planned.out + planned.err)
