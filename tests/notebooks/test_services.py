"""A run by chosen services: everything in it uses them, nothing the phase file's, and its plan is of no other."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runbooks_lib.archive.run import Run
from runbooks_lib.lab.lab import Lab

RUNBOOKS = Path(sys.executable).with_name("runbooks")
PHASE = "PH15-AMAZON-DB-FOUNDATION-01"
STAGING = {"leader": "staging_leader", "replica": "staging_replica", "legacy": "staging_legacy"}
NAMES = ("keybuzz_leader", "keybuzz_replica", "keybuzz_legacy")
CHOSEN = [word for target, service in STAGING.items() for word in ("--service", f"{target}={service}")]


@pytest.fixture
def services(lab: Lab, tmp_path: Path) -> tuple[Path, Path]:
    """Two service files for the lab: one with the names of the phase and of staging, one with staging's alone."""
    ours = Path(lab.env()["PGSERVICEFILE"]).read_text("utf-8")
    staging = ours.replace("[keybuzz_", "[staging_")
    both, alone = tmp_path / "both.conf", tmp_path / "alone.conf"
    both.write_text(f"{ours}\n{staging}", "utf-8")
    alone.write_text(staging, "utf-8")
    return both, alone


def command(services: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(RUNBOOKS), "run", PHASE, *arguments],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        env=dict(os.environ) | {"PGSERVICEFILE": str(services)},
    )


def the_run(runs: Path) -> Run:
    (path,) = runs.glob("*/*/run.json")
    return Run.open(path.parent)


@pytest.fixture
def trap() -> Iterator[socket.socket]:
    """A port where somebody listens and nobody should come."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening


def test_a_run_uses_the_chosen_services_alone_also_when_it_is_taken_up(
    services: tuple[Path, Path], trap: socket.socket, tmp_path: Path
) -> None:
    _, trapped = services
    with trapped.open("a", encoding="utf-8") as file:
        for name in NAMES:
            file.write(f"\n[{name}]\nhost=127.0.0.1\nport={trap.getsockname()[1]}\n")
    runs = str(tmp_path / "runs")
    begun = command(trapped, "--runs", runs, "--only", "preflight", *CHOSEN)
    assert begun.returncode == 0, begun.stderr
    run = the_run(tmp_path / "runs")
    assert run.services() == STAGING
    done = command(trapped, "--resume", str(run.path))
    assert done.returncode == 0, done.stderr
    with pytest.raises(BlockingIOError):
        trap.accept()
    header = run.header_json()
    assert header["finished_at"] is not None
    assert {target["name"]: target["service"] for target in header["targets"]} == STAGING
    plan = run.evidence().plan
    assert plan is not None
    assert plan.parts["services"] == STAGING
    written = {path.name: path.read_text("utf-8") for path in run.path.glob("*") if path.is_file()}
    assert {name for name, text in written.items() if any(each in text for each in NAMES)} == set()


def test_a_plan_is_not_applied_by_other_services(services: tuple[Path, Path], tmp_path: Path) -> None:
    both, _ = services
    planned = command(both, "--runs", str(tmp_path / "runs"))
    assert planned.returncode == 0, planned.stderr
    (confirm,) = re.findall(r"--confirm (\S+)", planned.stdout)[:1]
    done = command(both, "--runs", str(tmp_path / "runs"), "--apply", "--confirm", confirm, *CHOSEN[-2:])
    assert done.returncode == 3, done.stderr
    said = " ".join(done.stderr.split())
    assert "there changed: services (was leader keybuzz_leader, " in said
    assert len([*(tmp_path / "runs" / PHASE).iterdir()]) == 1  # that of the plan
    assert "legacy staging_legacy)" in said


def test_a_chosen_service_must_be_defined(services: tuple[Path, Path], tmp_path: Path) -> None:
    both, alone = services
    for file, chosen, missing in (
        (both, "leader=nowhere", '"nowhere"'),
        (alone, "leader=staging_leader", "keybuzz_"),
    ):
        done = command(file, "--runs", str(tmp_path / "runs"), "--service", chosen)
        assert done.returncode == 3
        assert missing in done.stderr
        assert '"staging_leader"' not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_an_unknown_target_is_refused(services: tuple[Path, Path], tmp_path: Path) -> None:
    done = command(services[0], "--runs", str(tmp_path / "runs"), "--service", "leadr=staging_leader")
    assert done.returncode == 3
    assert done.stderr.startswith(f'error: Phase {PHASE} has no target "leadr". Did you mean leader?')
    assert not (tmp_path / "runs").exists()


def test_a_resumed_run_keeps_its_services(services: tuple[Path, Path], tmp_path: Path) -> None:
    _, alone = services
    runs = tmp_path / "runs"
    assert command(alone, "--runs", str(runs), "--only", "preflight", *CHOSEN).returncode == 0
    run = the_run(runs)
    header = json.loads((run.path / "run.json").read_text("utf-8"))
    other = command(alone, "--resume", str(run.path), "--service", "leader=staging_admin")
    assert other.returncode == 2
    assert json.loads((run.path / "run.json").read_text("utf-8")) == header
