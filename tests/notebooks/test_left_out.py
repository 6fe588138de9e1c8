"""A phase that declares next to nothing comes to a green end; and whatever ends a run, it is sealed and says why."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from click.testing import CliRunner

from runbooks_lib.archive.run import Run
from runbooks_lib.archive.seal.verify import verify
from runbooks_lib.cli import commands
from runbooks_lib.execution import finish, runner
from runbooks_lib.lab.lab import Lab
from runbooks_lib.phase import load_phase

PHASE = "PH15-AMAZON-DB-FOUNDATION-01"
RUNBOOKS = Path(sys.executable).with_name("runbooks")
LEFT_OUT = ("[[enums]]", "[[indexes]]", "[[seeds]]", "[services", "[[routes]]", "[[checklist]]", "[[files]]")
KEYS = r"^(?:rows = \d+|background = .*|(?:route_options|next_steps) = \[$(?:.|\n)*?^\])\n"


@pytest.fixture(params=["with a standby", "alone"])
def bare(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of the shipped phase without anything that may be left out; then without a second target, too."""
    folder = tmp_path / PHASE
    shutil.copytree(load_phase(PHASE).folder, folder)
    file = folder / "phase.toml"
    text = re.sub(KEYS, "", file.read_text("utf-8"), flags=re.MULTILINE)
    for header in LEFT_OUT:
        text = re.sub(rf"^{re.escape(header)}(?:.|\n)*?(?=^\[|\Z)", "", text, flags=re.MULTILINE)
    if request.param == "alone":
        text = re.sub(r"^(?:replica|legacy) = .*\n", "", text, flags=re.MULTILINE)
        text = text.replace('["leader", "legacy"]', '["leader"]').replace(
            'target = "legacy"', 'target = "leader"'
        )
    file.write_text(text, "utf-8")
    return folder


def told(*arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [str(RUNBOOKS), *arguments, "--json"], capture_output=True, text=True, timeout=180, check=False
    )
    assert "Traceback" not in done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode == 0) is (not found["closing"]), done.stderr
    return found | {"exit": done.returncode}


def test_a_phase_that_leaves_everything_out_is_planned(lab: Lab, bare: Path, tmp_path: Path) -> None:
    phase = load_phase(str(bare))
    optional = (phase.enums, phase.indexes, phase.seeds, phase.services, phase.routes)
    texts = (phase.files, phase.next_steps, phase.route_options, phase.background)
    assert not any((*optional, *texts, *(table.rows for table in phase.tables)))
    run = told("run", str(bare), "--runs", str(tmp_path / "runs"))
    assert (run["exit"], run["verdict"]) == (0, "PASS")
    verdicts = {step["step"]: step["verdict"] for step in run["steps"]}
    assert verdicts["seed_verification"] == verdicts["api_routes"] == "SKIP"
    assert run["findings"]["PASS"]
    report = (Path(run["folder"]) / "report.en.md").read_text("utf-8")
    assert "Every declared route is served" not in report


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Put other code into the cell of preflight that asks its first question."""

    def replaced(source: str) -> None:
        folder = tmp_path / "notebooks"
        original = nbformat.read(runner.notebooks_folder() / "01_preflight.ipynb", as_version=4)
        [found for found in original.cells if found.cell_type == "code"][2].source = source
        folder.mkdir()
        nbformat.write(original, folder / "01_preflight.ipynb")
        monkeypatch.setattr(runner, "notebooks_folder", lambda: folder)

    return replaced


def inside(runs: Path, *options: str) -> tuple[int, dict[str, Any]]:
    done = CliRunner().invoke(
        commands, ["run", PHASE, "--only", "preflight", "--runs", str(runs), "--json", *options]
    )
    (run,) = (runs / PHASE).iterdir()
    assert Run(run).sealed
    found: dict[str, Any] = json.loads(done.stdout)
    return done.exit_code, found


QUESTION = "def targets(phase, sessions):\n    {}\n\nwho = step.ask(targets)"


@pytest.mark.parametrize(
    ("source", "check", "said"),
    [
        (QUESTION.format("return None + 1"), "step_is_carried_out", "TypeError: unsupported operand"),
        (QUESTION.format("return {}['x']"), "step_is_carried_out", "KeyError: 'x'"),
        (
            QUESTION.format("from psycopg import errors; raise errors.UndefinedColumn('no column')"),
            "step_is_carried_out",
            "UndefinedColumn: no column",
        ),
        ("raise ValueError('between two questions')", "step_is_carried_out", "ValueError: between two"),
        ("import os; os._exit(3)", "step_is_carried_out", "its kernel died"),
    ],
)
def test_whatever_ends_a_step_the_run_is_sealed_and_says_why(
    lab: Lab, cell: Callable[[str], None], tmp_path: Path, source: str, check: str, said: str
) -> None:
    cell(source)
    code, run = inside(tmp_path / "runs")
    assert code == 4
    assert run["verdict"] == "ERROR"
    (stop,) = run["closing"]
    assert (stop["check"], stop["verdict"], stop["step"]) == (check, "ERROR", "preflight")
    assert said in stop["have"]


def test_pages_that_cannot_be_drawn_do_not_cost_the_seal(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def undrawable(run: Run) -> None:
        raise TypeError("no such row")

    monkeypatch.setattr(finish, "write_pages", undrawable)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(
        commands, ["run", PHASE, "--only", "preflight", "--runs", str(tmp_path / "runs"), "--json"]
    )
    (path,) = (tmp_path / "runs" / PHASE).iterdir()
    run = json.loads(done.stdout)
    assert run["verdict"] == "ERROR"
    assert "TypeError: no such row" in run["closing"][0]["have"]
    assert Run(path).sealed
    assert verify(path).problems == ()


def test_what_comes_before_a_run_is_told_as_json_too(tmp_path: Path) -> None:
    run = told("run", "no-such-phase", "--runs", str(tmp_path / "runs"))
    assert (run["exit"], run["verdict"]) == (3, "ERROR")
    assert "There is no phase" in run["closing"][0]["have"]
