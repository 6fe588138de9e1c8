"""What the committed notebooks show is true: run again, they show the same; and a falsified output is found."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from runbooks_lib.archive.notebooks import notebooks_folder
from runbooks_lib.lab.lab import Lab
from runbooks_lib.postgres.scratch.programs import find_server

from .record import plan_a_fleet

SANITIZE = Path(__file__).with_name("nbval.cfg")


@pytest.fixture
def runs() -> Iterator[Path]:
    """An archive with a path as short as the recorded one: how a table breaks its lines depends on it."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder, "runs")


def nbval(folder: Path, runs: Path) -> subprocess.CompletedProcess[str]:
    """Run `pytest --nbval` on the notebooks of a folder, in their order."""
    words = [
        sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "--nbval-sanitize-with", str(SANITIZE),
        "-q", "-p", "no:cacheprovider", "-o", "addopts=", "-o", "filterwarnings=default", str(folder),
    ]  # fmt: skip
    env = os.environ | {"RUNBOOKS_RUNS": str(runs), "RUNBOOKS_PG_BIN": str(find_server().bindir)}
    return subprocess.run(words, env=env, capture_output=True, text=True, timeout=300, check=False)


def test_the_committed_outputs_are_those_of_a_run(
    fresh_lab: Lab, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNBOOKS_RUNS", str(runs))
    plan_a_fleet(runs.parent)
    done = nbval(notebooks_folder(), runs)
    assert done.returncode == 0, done.stdout[-6000:]
    assert " passed" in done.stdout
    assert "failed" not in done.stdout


def test_a_falsified_output_is_found(fresh_lab: Lab, runs: Path, tmp_path: Path) -> None:
    source = notebooks_folder() / "01_preflight.ipynb"
    true = source.read_text("utf-8")
    false = re.sub(r"(\d+) PASS", lambda found: f"{int(found[1]) + 1} PASS", true, count=1)
    assert false != true
    folder = tmp_path / "notebooks"
    folder.mkdir()
    shutil.copy(source, folder)
    (folder / source.name).write_text(false, "utf-8")
    done = nbval(folder, runs)
    assert done.returncode == 1
    assert "1 failed" in done.stdout
    assert "mismatch 'text/markdown'" in done.stdout
