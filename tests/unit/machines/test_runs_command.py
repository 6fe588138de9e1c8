"""`runbooks runs list|show|diff|upload`: in a folder and at a URL, at scale, and for programs."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from runbooks_lib.archive.seal.seal import seal
from runbooks_lib.archive.seal.verify import verify
from runbooks_lib.cli import commands
from runbooks_lib.errors import PreconditionFailed
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
    assert cells[0] == ["run", "phase", "mode", "verdict", "begun", "took", "state", "sealed"]
    assert cells[1] == [FIRST, PHASE, "plan", "PASS", "7 Jan 2026, 17:47 UTC", "10.0 s", "complete", "yes"]
    assert cells[2] == [SECOND, PHASE, "apply", "FAIL", "7 Jan 2026, 17:47 UTC", "2.0 s", "stopped", "yes"]
    assert cells[3] == [THIRD, "PH16-NEXT", "plan", "-", "7 Jan 2026, 17:47 UTC", "-", "unfinished", "no"]
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
    assert "no run matches (3 in the archive)" in call("list", "--runs", archive, "--verdict", "OPEN").stderr


def test_list_for_programs(archive: Path) -> None:
    first = json.loads(call("list", "--runs", archive, "--json").stdout)[0]
    header = json.loads((archive / PHASE / FIRST / "run.json").read_text())
    assert first == header | {
        "folder": str(archive / PHASE / FIRST), "state": "complete", "sealed": True, "duration_s": 10.0
    }  # fmt: skip


def test_an_empty_archive(tmp_path: Path) -> None:
    done = call("list", "--runs", tmp_path)
    assert (done.stdout, done.stderr) == ("", f"no runs in {tmp_path}; begin one: runbooks run PHASE\n")
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
    assert lines[0] == f"{SECOND} {PHASE} apply, verdict FAIL, unfinished, sealed"
    assert (
        lines[-1] == "    FAIL has_table leader public.A: found absent, expected as declared. see to public.A"
    )


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
     ],
)  # fmt: skip
def test_a_run_that_is_not_one(archive: Path, reference: str, message: str) -> None:
    with pytest.raises(PreconditionFailed, match=message):
        call("show", reference, "--runs", archive)


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(PreconditionFailed, match=r"is no run's folder"):
        call("show", tmp_path)


def test_diff(archive: Path) -> None:
    lines = call("diff", "20260107", "20260108", "--runs", archive).stdout.splitlines()
    assert lines[:3] == [
        "PASS -> FAIL: 1 finding changed, 0 new, 0 vanished, 2 other facts",
        f"a: {FIRST} {PHASE} plan, begun 7 Jan 2026, 17:47 UTC",
        f"b: {SECOND} {PHASE} apply, begun 7 Jan 2026, 17:47 UTC",
    ]
    assert lines[3:6] == [
        "PASS -> FAIL  preflight.schema has_table leader public.A",
        "    a: found there, expected as declared",
        "    b: found absent, expected as declared",
    ]
    assert "mode: plan -> apply" in lines
    assert "durations: preflight 2.5 s -> 2.5 s" in lines
    told = json.loads(call("diff", "20260107", "20260108", "--runs", archive, "--json").stdout)
    assert set(told) == {"a", "b", "same", "findings", "facts", "durations_s"}
    assert "no difference" in call("diff", FIRST, FIRST, "--runs", archive).stdout


def test_diff_names_the_worst_first_and_hides_what_passes(make_run: Any, tmp_path: Path) -> None:
    def answers(*verdicts: str) -> Any:
        return {"preflight": {"schema": [("has_table", f"public.{n}", v, v) for n, v in enumerate(verdicts)]}}

    make_run(answers("PASS", "FAIL", "PASS", "PASS"), id=FIRST)
    make_run(answers("OPEN", "PASS", "ERROR", "PASS", "PASS"), id=SECOND)
    words = ("diff", FIRST, SECOND, "--runs", tmp_path / "runs")
    told = [line.split("  ")[0] for line in call(*words).stdout.splitlines()]
    assert told[3:12:3] == ["PASS -> ERROR", "FAIL -> PASS", "PASS -> OPEN"]
    assert any(line.startswith("1 difference with PASS") for line in told)
    assert "new PASS" in call(*words, "--all").stdout


@pytest.mark.parametrize("word", ["show", "open"])
def test_the_newest_run_is_latest(word: str, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(click, "launch", opened.append)
    (archive / "PH16-NEXT" / THIRD / "report.html").write_text("x")
    assert THIRD in call(word, "latest", "--runs", archive).stdout
    assert opened == ([str(archive / "PH16-NEXT" / THIRD / "report.html")] if word == "open" else [])


def test_a_run_without_a_report_cannot_be_opened(archive: Path) -> None:
    with pytest.raises(PreconditionFailed, match="has no report"):
        call("open", FIRST, "--runs", archive)


def test_prune_keeps_the_newest_and_what_applied(make_run: Any, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    ids_ = [f"2026010{n}T174759Z-aaaaaa" for n in range(1, 8)]
    for number, id_ in enumerate(ids_):
        seal(make_run(PASS, id=id_, header={"mode": "apply" if number in (0, 3) else "plan"}))
    make_run(PASS, id=ids_[0], phase="PH16-NEXT", sealed=True)
    refused = CliRunner().invoke(commands, ["runs", "prune", "--keep", "2", "--runs", str(runs)], input="n\n")
    assert refused.exit_code == 1
    assert len(ids("--runs", runs)) == 8
    call("prune", "--keep", "2", "--runs", runs, "--yes")
    assert ids("--runs", runs, "--phase", PHASE) == ids_[3:]  # the newest that applied, and no gap after it
    assert ids("--runs", runs, "--phase", "PH16*") == ids_[:1]
    found = verify(runs / PHASE / ids_[-1], chain=True)
    assert [p.what for p in found.problems if p.kind == "chain"] == [
        f"run {ids_[2]}, which it follows, is missing"
    ]
    since = verify(runs / PHASE / ids_[-1], since=ids_[3])
    assert [p for p in since.problems if p.kind == "chain"] == []
    gone = verify(runs / PHASE / ids_[-1], since=ids_[0])
    assert any(f"run {ids_[0]} is missing" in problem.what for problem in gone.problems)
    call("prune", "--keep", "4", "--runs", runs)
    assert len(ids("--runs", runs)) == 5


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
