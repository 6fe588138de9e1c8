"""A real project in a lab: the 220 Prisma migrations of litellm-proxy-extras, and the states that it is put into."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runbooks_lib.lab import own_project
from runbooks_lib.lab.disorder import Disorder
from runbooks_lib.lab.lab import Lab, up
from runbooks_lib.lab.services import OWN_SERVICE

TIMES: list[str] = []  # of each state, how long its commands took


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """The project in a lab, and a folder in which commands are given."""

    lab: Lab
    source: Path
    folder: Path

    def breaks(self, state: str | Disorder) -> None:
        """Put project and database into a state."""
        if isinstance(state, str):
            up(self.lab.directory, project=self.source, disorder=state)
            return
        copy = Path(self.lab.env()["RUNBOOKS_PRISMA_PROJECT"])
        shutil.rmtree(copy)
        own_project.copy_project(self.source, copy)
        own_project.fill(self.lab.leader, Path(self.lab.env()["PGPASSFILE"]), copy, state)

    def ask(self, question: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with self.lab.admin("app") as conn:
            return conn.execute(question.encode()).fetchall()

    def adopt(self, *options: str) -> Said:
        """Give `runbooks adopt`, with nobody to answer."""
        return self.run("adopt", "--service", OWN_SERVICE, *options)

    def apply(self, adopted: Said) -> Said:
        """Give the command that `adopt` ended with."""
        (command,) = re.findall(r"runbooks (run .* --apply --confirm \S+)", adopted.out)
        return self.run(*shlex.split(command))

    def run(self, *words: str) -> Said:
        """Give any command."""
        begun = time.perf_counter()
        done = subprocess.run(
            [str(Path(sys.executable).with_name("runbooks")), *words],
            env={**os.environ, **self.lab.env()},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=3600,
        )
        TIMES.append(f"{self.folder.name}: {words[0]} {time.perf_counter() - begun:.1f} s")
        return Said(code=done.returncode, out=done.stdout, err=done.stderr)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Tell how long each command took."""
    for line in TIMES:
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def litellm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as its people have it: migrations and schema."""
    found = importlib.util.find_spec("litellm_proxy_extras")
    assert found is not None
    assert found.origin is not None
    folder = tmp_path_factory.mktemp("source") / "litellm"
    shutil.copytree(Path(found.origin).parent / "migrations", folder / "prisma" / "migrations")
    shutil.copy(Path(found.origin).with_name("schema.prisma"), folder / "prisma")
    return folder


@pytest.fixture(scope="session")
def own_lab(litellm: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab for it."""
    lab = up(tmp_path_factory.mktemp("own_lab"), owner_pid=os.getpid(), project=litellm)
    yield lab
    lab.down()


@pytest.fixture
def project(own_lab: Lab, litellm: Path, tmp_path: Path) -> Project:
    """The project in its lab."""
    return Project(lab=own_lab, source=litellm, folder=tmp_path)
