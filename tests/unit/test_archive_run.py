"""The run folder: made private, found again, and refused when it is none."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runbooks_lib.archive import run as module
from runbooks_lib.archive.files import write_json
from runbooks_lib.archive.reader import read_json
from runbooks_lib.archive.run import Run, all_runs, runs_folder, step_name, unfinished
from runbooks_lib.archive.seal.verify import verify
from runbooks_lib.errors import EvidenceError, PreconditionFailed
from runbooks_lib.phase import Phase, load_phase
from runbooks_lib.report.html.pages import write_pages

from ..faults.campaign import fault

PASSWORD = "p@ss/w:rd'\"$é\\"


@pytest.fixture
def phase() -> Phase:
    return load_phase("PH15-AMAZON-DB-FOUNDATION-01")


def test_a_new_run_has_its_header_and_the_phase(
    tmp_path: Path, phase: Phase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "somebody")
    run = Run.create(tmp_path / "runs", phase)
    assert run.path.parent == tmp_path / "runs" / phase.id
    files = {p.relative_to(run.path).as_posix() for p in run.path.rglob("*") if p.is_file()}
    assert files == {"run.json", "plan/phase.toml", "plan/baseline.sql"}
    for name in ("phase.toml", "baseline.sql"):
        assert (run.path / "plan" / name).read_bytes() == (phase.folder / name).read_bytes()
    header = run.header()
    assert header.id == run.id == run.path.name
    assert header.phase.digest == phase.digest
    assert (header.mode, header.finished_at, header.verdict) == ("plan", None, None)
    assert header.operator.user == "somebody"
    assert header.started_at.endswith("Z")
    assert [t.name for t in header.targets] == ["leader", "replica", "legacy"]
    assert set(header.versions) == {"python", "runbooks", *module.RECORDED_PACKAGES}


def test_it_is_readable_by_its_owner_only(tmp_path: Path, phase: Phase) -> None:
    before = os.umask(0)
    try:
        run = Run.create(tmp_path, phase)
    finally:
        os.umask(before)
    for path in (run.path, *run.path.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_no_secret_is_in_it(tmp_path: Path, phase: Phase, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "services").write_text(f"[keybuzz_leader]\nhost=h\nuser=u\npassword={PASSWORD}\n")
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    monkeypatch.setenv("PGPASSWORD", "another-secret")
    run = Run.create(tmp_path / "runs", phase)
    run.update(note=f"{PASSWORD} another-secret")
    text = "".join(p.read_text() for p in run.path.rglob("*") if p.is_file())
    assert "another-secret" not in text
    assert "p@ss" not in text
    assert run.header_json()["note"] == "*** ***"


@fault(
    kind="storage",
    fault="two runs begin in one second",
    injected="two runs made at once",
    seen="digits of chance in their names",
    told="nothing: they are two",
    goes_on="nothing has to be done",
    fast=True,
)
def test_two_of_the_same_second_are_two(tmp_path: Path, phase: Phase) -> None:
    runs = [Run.create(tmp_path, phase) for _ in range(5)]
    assert [run.path for run in all_runs(tmp_path, phase.id)] == [run.path for run in runs], "in their order"


@fault(
    kind="storage",
    fault="the clock is set back by a day, or forth and back, between two runs",
    injected="a run whose name is of tomorrow, as it was made before the clock was set back; then new ones",
    seen="a new run comes after the newest one",
    told="nothing: latest is the one that was made last",
    goes_on="nothing has to be done",
    fast=True,
)
def test_a_run_comes_after_those_before_it_whatever_the_clock_says(tmp_path: Path, phase: Phase) -> None:
    tomorrow = f"{datetime.now(UTC) + timedelta(days=1):%Y%m%dT%H%M%SZ}-ffffff"
    runs = [Run.create(tmp_path, phase, run_id=tomorrow), *(Run.create(tmp_path, phase) for _ in range(3))]
    assert [run.path for run in all_runs(tmp_path, phase.id)] == [run.path for run in runs]
    (tmp_path / phase.id / "of another name").mkdir()
    shutil.copy(runs[0].path / "run.json", tmp_path / phase.id / "of another name")
    assert re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{6}", Run.create(tmp_path, phase).id)


def test_a_folder_that_cannot_be_made_is_an_evidence_error(tmp_path: Path, phase: Phase) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(
        EvidenceError, match=r"The run folder .* could not be made: Not a directory"
    ) as caught:
        Run.create(tmp_path / "runs", phase)
    assert "--runs DIR" in caught.value.what_to_do


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_folder_is_an_evidence_error(tmp_path: Path, phase: Phase) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(EvidenceError, match="Permission denied"):
        Run.create(tmp_path / "runs", phase)


@pytest.mark.parametrize("error", [KeyError("getpwuid(): uid not found"), OSError("No username set")])
def test_an_account_without_a_name_is_a_number(
    tmp_path: Path, phase: Phase, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def nobody() -> str:
        raise error

    monkeypatch.setattr(module.getpass, "getuser", nobody)
    assert Run.create(tmp_path, phase).header().operator.user == str(os.getuid())


def test_a_run_is_opened_by_its_folder(tmp_path: Path, phase: Phase) -> None:
    run = Run.create(tmp_path, phase)
    assert Run.open(run.path) == run
    with pytest.raises(EvidenceError, match=r"run\.json cannot be read"):
        Run.open(tmp_path / "none")
    write_json(run.path / "run.json", {})
    with pytest.raises(EvidenceError, match="no header of a run"):
        Run.open(run.path)


def test_update_keeps_the_rest(tmp_path: Path, phase: Phase) -> None:
    run = Run.create(tmp_path, phase)
    before = run.header_json()
    run.update(verdict="PASS")
    assert run.header_json() == before | {"verdict": "PASS"}


def test_records_come_in_the_order_of_the_steps(tmp_path: Path, phase: Phase) -> None:
    run = Run.create(tmp_path, phase)
    assert run.record_json("backup") is None
    assert run.evidence().records == {}
    for step in ("report", "backup"):
        write_json(run.path / f"{step_name(step)}.json", record(step))
    assert list(run.evidence().records) == ["backup", "report"]
    assert run.record_json("backup") == record("backup")
    assert run.notebook("backup") == run.path / "02_backup.ipynb"
    (run.path / "02_backup.json").write_text('{"cut sho')
    with pytest.raises(EvidenceError, match=r"02_backup\.json cannot be read"):
        run.evidence()


def record(step: str) -> dict[str, Any]:
    return {
        "schema_version": 1, "step": step, "run": "r", "phase": "p", "mode": "plan", "code": "c",
        "started_at": "2026-01-07T17:47:59Z", "finished_at": None, "duration_s": None, "verdict": None, "answers": {},
    }  # fmt: skip


def test_a_step_that_no_phase_has(tmp_path: Path, phase: Phase) -> None:
    with pytest.raises(EvidenceError, match=r"There is no step 'nonsense'"):
        Run.create(tmp_path, phase).record("nonsense")


def test_the_newest_run_is_taken_up_unless_it_is_finished(tmp_path: Path, phase: Phase) -> None:
    assert unfinished(tmp_path, phase.id) is None
    for name in ("20260107T174759Z-ffffff", "20260108T000000Z-000000"):
        (tmp_path / phase.id / name).mkdir(parents=True)
        header = Run.create(tmp_path / "other", phase).header_json() | {"id": name, "digests": {}}
        write_json(tmp_path / phase.id / name / "run.json", header)
    found = unfinished(tmp_path, phase.id)
    assert found is not None
    assert found.id == "20260108T000000Z-000000"
    found.update(finished_at="2026-01-08T00:00:01Z")
    assert unfinished(tmp_path, phase.id) is None
    assert unfinished(tmp_path, "another-phase") is None
    assert [run.id[:8] for run in all_runs(tmp_path)] == ["20260107", "20260108"]


def test_a_folder_without_a_header_is_no_run(tmp_path: Path, phase: Phase) -> None:
    (tmp_path / phase.id / "20260107T174759Z-ffffff").mkdir(parents=True)
    assert list(all_runs(tmp_path)) == []


def test_where_runs_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RUNBOOKS_RUNS", "from-the-environment")
    assert runs_folder("~/mine") == tmp_path / "home" / "mine"
    assert runs_folder() == tmp_path / "from-the-environment"
    monkeypatch.delenv("RUNBOOKS_RUNS")
    assert runs_folder().name == "runs"
    assert runs_folder().is_absolute()
    monkeypatch.setenv("RUNBOOKS_RUNS", "s3://bucket/runs")
    with pytest.raises(PreconditionFailed, match="is a URL"):
        runs_folder()
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("named", ["file", "file/runs"])
def test_a_file_in_the_place_of_the_archive_is_refused(tmp_path: Path, named: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EvidenceError, match=r"/file is a file.*--runs DIR"):
        runs_folder(tmp_path / named)


def test_the_header_is_whole_json(tmp_path: Path, phase: Phase) -> None:
    assert read_json(Run.create(tmp_path, phase).path / "run.json")["schema_version"] == module.SCHEMA_VERSION


def test_a_file_of_seeds_is_kept_by_its_digest(tmp_path: Path, phase: Phase) -> None:
    home = tmp_path / "phases" / phase.id
    shutil.copytree(phase.folder, home)
    text = (
        (home / "phase.toml").read_text(encoding="utf-8").replace("spec_version = 1", "spec_version = 2", 1)
    )
    seeds = '[[seeds]]\ntable = "public.OAuthState"\nkey = ["id"]\nfile = "states.csv"\n'
    (home / "phase.toml").write_text(f"{text}\n{seeds}", encoding="utf-8")
    (home / "states.csv").write_text("id\n1\n", encoding="utf-8")
    loaded = load_phase(str(home))
    assert [seeds.file for seeds in loaded.seeds if seeds.file] == ["states.csv"]
    run = Run.create(tmp_path / "runs", loaded)
    assert not (run.path / "plan" / "states.csv").exists()
    assert (run.path / "plan" / "states.csv.sha256").read_text(encoding="utf-8").split() == [
        hashlib.sha256(b"id\n1\n").hexdigest(),
        "states.csv",
    ]
    assert run.path / "report.html" in write_pages(run)


def test_what_takes_up_a_run_that_is_not_sealed_names_its_phase_and_its_folder(
    tmp_path: Path, phase: Phase
) -> None:
    """By what the command line finds them: a phase that is not shipped has no id there, nor has another archive."""
    own = tmp_path / "my phases" / phase.id
    shutil.copytree(phase.folder, own)
    run = Run.create(tmp_path / "runs", load_phase(str(own)))
    (problem,) = verify(run.path).problems
    assert f"runbooks run '{own}' --resume {run.path} takes it up" in problem.what
    (run.path / "run.json").write_text("{")
    (problem,) = verify(run.path).problems
    assert f"runbooks run {phase.id} --resume {run.path} takes it up" in problem.what
