"""What 08_fleet.ipynb shows: of a fleet run that goes on, of one that is sealed, and of none."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from runbooks_lib.archive.run import Run, now
from runbooks_lib.execution.finish import finish as seal
from runbooks_lib.execution.fleet.finish import finish
from runbooks_lib.execution.fleet.folder import FleetFolder
from runbooks_lib.execution.fleet.record import Ended, Fleet
from runbooks_lib.findings import Verdict
from runbooks_lib.notebook.landing import fleet as page
from runbooks_lib.notebook.landing import panel
from runbooks_lib.phase import load_phase

from ..benchmarks.fleet_simulation import fleet, simulate

PHASE = "PH15-AMAZON-DB-FOUNDATION-01"


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the page displays, in plain text."""
    found: list[str] = []
    monkeypatch.setattr(panel, "display", lambda bundle, **_: found.append(bundle["text/plain"]))
    return found


def looked(folder: str, shown: list[str]) -> list[str]:
    seen = page.Fleet(folder)
    for show in (seen.progress, seen.matrix, seen.slowest, seen.failures):
        show()
    return shown


def test_an_archive_without_a_fleet_run_says_how_one_is_begun(
    shown: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNBOOKS_RUNS", str(tmp_path))
    assert set(looked("", shown)) == {page.HOW}


def test_the_newest_fleet_run_is_shown_with_its_failures_first_and_their_reasons(
    shown: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, older = simulate(3, 1, tmp_path)
    older.path.rename(older.path.with_name("20200101T000000Z-ffffff"))
    _, newest = simulate(300, 2, tmp_path)
    monkeypatch.setenv("RUNBOOKS_RUNS", str(tmp_path))
    progress, matrix, slowest, failures = looked("", shown)
    assert newest.path.name in progress
    assert "298 done, 2 stopped" in progress
    assert "✘ FAIL" in matrix.splitlines()[1]
    assert "and 100 more, in the report" in matrix
    assert slowest.splitlines()[1].endswith("12.0")
    assert failures.splitlines()[0].endswith("FAIL at 01_preflight: absent")


def going_on(runs: Path) -> tuple[FleetFolder, Fleet]:
    """A fleet run of three databases: one has ended, one is at work, one has not begun."""
    phase = load_phase(PHASE)
    made = fleet(3, 1)
    made = msgspec.structs.replace(
        made,
        phase=msgspec.structs.replace(made.phase, id=phase.id),
        dashboard="http://10.0.0.5:8787/status",
        members=(
            msgspec.structs.replace(made.members[0], ended=Ended(state="done", verdict=Verdict.PASS)),
            *made.members[1:],
        ),
    )
    folder = FleetFolder.of(runs, made)
    folder.begin(made)
    Run.create(folder.archive(made.members[1]), phase, run_id=made.members[1].run)
    return folder, made


def test_a_fleet_run_that_goes_on_is_read_from_the_folders_of_its_runs(
    shown: list[str], tmp_path: Path
) -> None:
    folder, made = going_on(tmp_path)
    progress, matrix, _, failures = looked(str(folder.path), shown)
    assert "in progress" in progress
    assert "1 done, 1 at work, 1 not begun" in progress
    assert "http://10.0.0.5:8787/status" in progress
    states = {line.split()[-1] if "begun" not in line else "begun" for line in matrix.splitlines()[1:]}
    assert states == {"done", "work", "begun"}
    assert failures == "None."
    run = Run.open(folder.run(made.members[1], PHASE))
    run.update(stopped_at=now(), verdict=Verdict.FAIL, exit_code=1)
    seal(run)
    shown.clear()
    assert "1 done, 1 stopped, 1 not begun" in looked(str(folder.path), shown)[0]


def test_a_run_that_cannot_be_read_is_an_error_and_not_at_work(shown: list[str], tmp_path: Path) -> None:
    folder, made = going_on(tmp_path)
    header = folder.run(made.members[1], PHASE) / "run.json"
    header.write_text("{", "utf-8")
    progress, matrix, _, failures = looked(str(folder.path), shown)
    assert "1 done, 1 stopped, 1 not begun" in progress
    assert "‼ ERROR" in matrix.splitlines()[1]
    assert str(header) in failures
    header.unlink()
    shown.clear()
    assert "1 at work" in looked(str(folder.path), shown)[0], "its folder is being made"


@pytest.fixture
def updates(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the page shows anew at a front end, in plain text."""

    class Handle:
        def update(self, bundle: dict[str, str], **_: Any) -> None:
            found.append(bundle["text/plain"])

    found: list[str] = []
    monkeypatch.setattr(panel, "display", lambda bundle, **_: Handle())
    monkeypatch.setattr(page, "front_end", lambda: True)
    monkeypatch.setattr(page.live, "EVERY_S", 0.05)
    return found


def test_it_says_when_it_looks_no_more_at_what_goes_on(
    updates: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(page.live, "QUIET_S", 0.1)
    seen = page.Fleet(str(going_on(tmp_path)[0].path))
    seen.progress()
    assert seen._live is not None
    thread = seen._live._thread
    assert thread is not None
    thread.join(10)
    assert not thread.is_alive()
    assert re.search(r"Not looked at since \d\d:\d\d:\d\d UTC: run this cell again", updates[-1])


def test_it_looks_again_until_the_fleet_run_is_sealed(updates: list[str], tmp_path: Path) -> None:
    folder, made = going_on(tmp_path)
    seen = page.Fleet(str(folder.path))
    seen.progress()
    assert seen._live is not None
    thread = seen._live._thread
    finish(folder, made)
    assert thread is not None
    thread.join(10)
    assert not thread.is_alive()
    assert "in progress" not in updates[-1]
    assert "Not looked at" not in updates[-1]
