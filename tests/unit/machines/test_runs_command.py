"""`runbooks runs list|show|diff|upload`: in a folder and at a URL, at scale, and for programs."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from runbooks_lib.cli import commands
from runbooks_lib.errors import EvidenceError, PreconditionFailed
from runbooks_lib.phase import STEPS

PHASE = "PH15-AMAZON-DB-FOUNDATION-01"
PASS = {"preflight": {"schema": [("has_table", "public.A", "there", "PASS")]}}
FAIL = {"preflight": {"schema": [("has_table", "public.A", "absent", "FAIL")]}}
FIRST, SECOND, THIRD = "20260107T174759Z-aaaaaa", "20260108T174759Z-bbbbbb", "20260109T174759Z-cccccc"

STOPPED = {"mode": "apply", "finished_at": None, "stopped_at": "2026-01-07T17:48:01.250Z"}


def call(*words: str | Path) -> Result:
    done = CliRunner().invoke(commands, ["runs", *map(str, words)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done


def ids(*words: str | Path) -> list[str]:
    return [run["id"] for run in json.loads(call("list", *words, "--json").stdout)]


@pytest.fixture
def archive(make_run: Any, tmp_path: Path) -> Path:
    make_run(PASS, id=FIRST, sealed=True)
    make_run(FAIL, id=SECOND, header=STOPPED, sealed=True)
    make_run(PASS, id=THIRD, phase="PH16-NEXT", header={"finished_at": None, "verdict": None})
    return tmp_path / "runs"


def test_list_in_columns(archive: Path) -> None:
    lines = call("list", "--runs", archive).stdout.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["run", FIRST, SECOND, THIRD]
    cells = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines]
    assert cells[0] == ["run", "phase", "mode", "verdict", "begun (UTC)", "seconds", "state", "sealed"]
    assert cells[1] == [FIRST, PHASE, "plan", "PASS", "2026-01-07 17:47:59", "10.0", "complete", "yes"]
    assert cells[2] == [SECOND, PHASE, "apply", "FAIL", "2026-01-07 17:47:59", "2.0", "stopped", "yes"]
    assert cells[3] == [THIRD, "PH16-NEXT", "plan", "-", "2026-01-07 17:47:59", "-", "open", "no"]
    assert (
        len({line.index(word) for line, word in zip(lines[1:], ("PH15", "PH15", "PH16"), strict=True)}) == 1
    )


def test_list_filters(archive: Path) -> None:
    assert ids("--runs", archive) == [FIRST, SECOND, THIRD]
    assert ids("--runs", archive, "--phase", "PH16-NEXT") == [THIRD]
    assert ids("--runs", archive, "--phase", "PH15*") == [FIRST, SECOND]
    assert ids("--runs", archive, "--mode", "apply") == [SECOND]
    assert ids("--runs", archive, "--verdict", "fail", "--verdict", "PASS") == [FIRST, SECOND]
    assert ids("--runs", archive, "--verdict", "OPEN") == []
    assert "none of 3 runs" in call("list", "--runs", archive, "--verdict", "OPEN").stderr


def test_list_for_programs(archive: Path) -> None:
    first = json.loads(call("list", "--runs", archive, "--json").stdout)[0]
    header = json.loads((archive / PHASE / FIRST / "run.json").read_text())
    assert first == header | {
        "folder": str(archive / PHASE / FIRST), "state": "complete", "sealed": True, "duration_s": 10.0
    }  # fmt: skip


def test_an_empty_archive(tmp_path: Path) -> None:
    done = call("list", "--runs", tmp_path)
    assert (done.stdout, done.stderr) == ("", f"no runs in {tmp_path}\n")
    assert ids("--runs", tmp_path) == []


def test_a_run_that_cannot_be_read_hides_no_other(archive: Path) -> None:
    (archive / PHASE / FIRST / "run.json").write_text("{cut sho")
    (archive / PHASE / FIRST / "manifest.json").unlink()
    done = call("list", "--runs", archive)
    assert "unreadable" in done.stdout
    assert SECOND in done.stdout
    assert "run.json cannot be read" in done.stderr


@pytest.mark.parametrize("reference", [SECOND, "20260108", SECOND[:-1]])
def test_show_by_id_or_its_beginning(archive: Path, reference: str) -> None:
    lines = call("show", reference, "--runs", archive).stdout.splitlines()
    assert lines[0] == f"{SECOND} {PHASE} apply, verdict FAIL, incomplete, sealed"
    assert lines[-1] == "    FAIL has_table leader public.A: have absent, want as declared"


def test_show_by_folder(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert FIRST in call("show", archive / PHASE / FIRST).stdout
    monkeypatch.chdir(archive)
    assert FIRST in call("show", f"{PHASE}/{FIRST}").stdout
    told = json.loads(call("show", f"{PHASE}/{FIRST}", "--json").stdout)
    assert set(told) == {"run", "sealed", "steps"}
    assert told["steps"]["preflight"]["verdict"] == "PASS"


@pytest.mark.parametrize(
    ("reference", "message"),
    [("2026", r"3 runs in .* begin with '2026'"), ("1999", "There is no run '1999'"), ("a/b", "There is no folder"),
     ("", "There is no run ''")],
)  # fmt: skip
def test_a_run_that_is_not_one(archive: Path, reference: str, message: str) -> None:
    with pytest.raises(PreconditionFailed, match=message):
        call("show", reference, "--runs", archive)


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match=r"run\.json cannot be read"):
        call("show", tmp_path)


def test_diff(archive: Path) -> None:
    text = call("diff", "20260107", "20260108", "--runs", archive).stdout
    assert f"a: {FIRST} {PHASE} plan, verdict PASS" in text
    assert "mode: plan -> apply" in text
    assert "changed: preflight.schema has_table leader public.A\n" in text
    assert "    a: PASS, have there, want as declared\n    b: FAIL, have absent, want as declared\n" in text
    assert "seconds: preflight 2.5 -> 2.5" in text
    told = json.loads(call("diff", "20260107", "20260108", "--runs", archive, "--json").stdout)
    assert set(told) == {"a", "b", "same", "findings", "facts", "durations_s"}
    assert "no difference" in call("diff", FIRST, FIRST, "--runs", archive).stdout


def test_at_a_url(make_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "runs"
    make_run(dict.fromkeys(STEPS, PASS["preflight"]), id=FIRST, header={"steps": []}, sealed=True)
    make_run(FAIL, id=SECOND, header={**STOPPED, "steps": []}, sealed=True)
    url = f"file://{tmp_path}/bucket"
    for id_ in (FIRST, SECOND):
        done = call("upload", archive / PHASE / id_, "--runs", url)
        assert done.stdout == f"{url}/{PHASE}/{id_}\n"
    assert ids("--runs", url) == [FIRST, SECOND]
    assert ids("--runs", url, "--verdict", "FAIL") == [SECOND]
    for words in (("20260108", "--runs", url), (f"{url}/{PHASE}/{SECOND}",)):
        assert call("show", *words).stdout.startswith(f"{SECOND} {PHASE} apply")
    monkeypatch.setenv("RUNBOOKS_RUNS", url)
    assert "mode: plan -> apply" in call("diff", "20260107", "20260108").stdout
    assert "mode: plan -> apply" in call("diff", archive / PHASE / FIRST, "20260108").stdout
    assert ids() == [FIRST, SECOND]


def test_the_site_of_an_archive_at_a_url_is_written_there_and_not_elsewhere(archive: Path) -> None:
    done = CliRunner().invoke(
        commands, ["runs", "site", "--runs", f"file://{archive}", "--out", str(archive)]
    )
    assert done.exit_code == 2
    done = call("site", "--runs", f"file://{archive}")
    assert done.stdout == f"file://{archive}/index.html\n"
    assert done.stderr == "3 runs\n"
    assert FIRST in (archive / "index.html").read_text("utf-8")


def test_upload_wants_a_url(archive: Path) -> None:
    done = CliRunner().invoke(commands, ["runs", "upload", str(archive / PHASE / FIRST), "--runs", "here"])
    assert done.exit_code == 2


def test_a_thousand_runs_are_listed_within_a_second(make_run: Any, tmp_path: Path, seal_anew: Any) -> None:
    header = make_run(PASS).header_json()
    for n in range(1_000):
        folder = tmp_path / "many" / PHASE / f"20260107T{n:06d}Z-{n:06x}"
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps(header | {"id": folder.name}))
        seal_anew(folder)
    for words in (("list",), ("show", folder.name), ("diff", "20260107T000001Z", "20260107T000999Z")):
        began = time.process_time()
        call(*words, "--runs", tmp_path / "many")
        assert time.process_time() - began < (2 if words[0] == "diff" else 1), words
