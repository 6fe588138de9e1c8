"""`--json`: one object on stdout, as docs/for-machines.md describes it, whatever the end."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runbooks_lib.archive.run import Run
from runbooks_lib.lab.lab import Lab
from runbooks_lib.report.summary import result

ROOT = Path(__file__).resolve().parents[2]
RUNBOOKS = Path(sys.executable).with_name("runbooks")
STEP = {"step", "verdict", "duration_s"}


def documented() -> set[str]:
    """The keys in the page's table."""
    page = (ROOT / "docs" / "for-machines.md").read_text(encoding="utf-8").partition("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]+) \|", page, re.MULTILINE)
    return {key for row in rows for key in re.findall(r"`(\w+)`", row)}


def run(runs: Path, *options: str, **env: str) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [str(RUNBOOKS), "run", "PH15-AMAZON-DB-FOUNDATION-01", "--runs", str(runs), "--json", *options],
        capture_output=True, text=True, timeout=120, check=False, env=os.environ | env,
    )  # fmt: skip
    assert "\nPH15-AMAZON-DB-FOUNDATION-01 plan " in f"\n{done.stderr}", done.stderr
    return done.returncode, json.loads(done.stdout)


def test_the_page_describes_each_key() -> None:
    assert documented() >= {"id", "verdict", "steps", "folder", "plan", "findings", "open", "closing"}


@pytest.mark.parametrize(
    ("options", "env", "exit_code", "verdict"),
    [
        (("--only", "preflight"), {}, 0, "PASS"),
        (("--only", "seed_verification"), {"PGPASSFILE": "/dev/null"}, 1, "ERROR"),
    ],
)
def test_one_object_whatever_the_end(
    lab: Lab, tmp_path: Path, options: tuple[str, ...], env: dict[str, str], exit_code: int, verdict: str
) -> None:
    code, told = run(tmp_path / "runs", *options, **env)
    assert (code, told["exit_code"], told["verdict"]) == (exit_code, exit_code, verdict)
    assert (told["mode"], told["finished_at"]) == ("plan", None)
    assert told["started_at"] < told["stopped_at"]
    (step,) = told["steps"]
    assert step["step"] == options[1]
    assert step.keys() >= STEP
    assert told.keys() - {"schema_version", "resumed"} <= documented()
    folder = Path(told["folder"])
    assert folder.is_relative_to(tmp_path / "runs")
    whole = result(Run.open(folder))
    assert {"folder", "steps", "exit_code", "targets", "versions", "operator"} <= told.keys()
    assert told == {key: value for key, value in whole.items() if key in told}
    assert bool(whole["closing"]) is (exit_code != 0)
