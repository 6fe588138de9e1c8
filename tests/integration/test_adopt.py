"""`runbooks adopt` as its page says it: a service, a project, and nothing in the environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runbooks_lib.drafting.phase_new import new_phase
from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.lab.lab import Lab
from runbooks_lib.prisma.named import PROJECT_VARIABLE, find_project, naming

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


def test_the_folder_in_which_a_command_is_called_is_the_project_where_none_is_named(
    lab: Lab, tmp_path: Path
) -> None:
    env = os.environ | lab.env()
    project = Path(env.pop(PROJECT_VARIABLE))
    phase = new_phase(tmp_path / "mine", service="keybuzz_leader", database="keybuzz_backend").parent
    words = ["run", str(phase), "--only", "1", "--runs", str(tmp_path / "runs")]
    assert f"--prisma-project {project} " in runbooks(project, env, *words)
    assert " PASS\nnext: runbooks run" in runbooks(project, env, "phase", "check", "--service", str(phase))
    (tmp_path / "fleet.toml").write_text('spec_version = 1\n[[targets]]\nservice = "keybuzz_leader"\n')
    fleet = ["--targets", str(tmp_path / "fleet.toml"), "--runs", str(tmp_path / "fleet")]
    assert "1 done" in runbooks(project, env, "fleet", "run", str(phase), *fleet)
    seen = subprocess.run(
        [RUNBOOKS, "diagnose", "--service", "keybuzz_leader"],
        cwd=project, env=env, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert f"migrations in {project}\n" in seen.stdout


def test_where_nothing_is_named_this_folder_is_a_project_if_it_looks_like_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(PROJECT_VARIABLE, raising=False)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    with pytest.raises(PreconditionFailed, match="No Prisma project is named"):
        find_project()
    (here / "schema.prisma").touch()
    assert find_project() == here
    assert find_project("/named") == Path("/named")
    monkeypatch.setenv(PROJECT_VARIABLE, "/by/variable")
    assert find_project() == Path("/by/variable")
    monkeypatch.delenv(PROJECT_VARIABLE)
    shutil.rmtree(here)
    with pytest.raises(PreconditionFailed, match="No Prisma project is named"):
        find_project()


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
