"""`runbooks adopt` as its page says it: a service, a project, and nothing in the environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runbooks_lib.drafting.phase_new import new_phase
from runbooks_lib.lab.lab import Lab
from runbooks_lib.prisma.named import PROJECT_VARIABLE, naming

RUNBOOKS = Path(sys.executable).with_name("runbooks")


def runbooks(folder: Path, env: dict[str, str], *words: str) -> str:
    """Run a command to its good end; return what it printed, but for its progress."""
    done = subprocess.run(
        [RUNBOOKS, *words], cwd=folder, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done.stdout


@pytest.mark.parametrize("elsewhere", [None, "/nowhere/at/all"])
def test_the_project_that_is_named_is_the_one_whatever_the_variable_says(
    lab: Lab, tmp_path: Path, elsewhere: str | None
) -> None:
    env = os.environ | lab.env()
    project = env.pop(PROJECT_VARIABLE)
    env |= {PROJECT_VARIABLE: elsewhere} if elsewhere else {}
    named = ["--prisma-project", project]
    said = runbooks(tmp_path, env, "adopt", "--service", "keybuzz_leader", *named, "--yes")
    assert said.startswith("keybuzz_leader: database keybuzz_backend")
    assert f"migrations in {project}\n" in said
    assert "drafted phase-keybuzz_leader/phase.toml" in said
    assert f"--prisma-project {project}" in said.splitlines()[-1]


def test_a_run_that_is_taken_up_again_has_its_project_and_says_so(lab: Lab, tmp_path: Path) -> None:
    env = os.environ | lab.env()
    project = env.pop(PROJECT_VARIABLE)
    phase = new_phase(tmp_path / "mine", service="keybuzz_leader", database="keybuzz_backend").parent
    runbooks(tmp_path, env, "run", str(phase), "--only", "1", "--prisma-project", project)
    said = runbooks(tmp_path, env, "run", str(phase), "--resume", "latest")
    assert f"--prisma-project {project} --apply" in said.splitlines()[-1]


@pytest.mark.parametrize("before", [None, "/before"])
def test_a_project_is_named_inside_the_block_alone(
    before: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(PROJECT_VARIABLE, raising=False)
    if before:
        monkeypatch.setenv(PROJECT_VARIABLE, before)
    with naming(Path("/inside")):
        assert os.environ[PROJECT_VARIABLE] == "/inside"
    assert os.environ.get(PROJECT_VARIABLE) == before
    with naming(None):
        assert os.environ.get(PROJECT_VARIABLE) == before
