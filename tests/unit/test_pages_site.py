"""The archive's index: every run, what changed, and quick over a thousand runs."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fsspec.implementations.memory import MemoryFileSystem

from runbooks_lib.archive import changes
from runbooks_lib.archive.files import write_json
from runbooks_lib.archive.run import Run, all_runs
from runbooks_lib.cli import commands
from runbooks_lib.errors import EvidenceError
from runbooks_lib.report.html.index import write_site, write_site_at
from runbooks_lib.report.html.pages import write_pages
from runbooks_lib.typed import plain

MakeRun = Callable[..., Run]
Json = dict[str, Any]
HOSTILE = "<script>alert(1)</script>"


def rows(path: Path) -> list[str]:
    return re.findall(r"<tr data-phase=.*?</tr>", path.read_text("utf-8"), re.DOTALL)


def begun(moment: str, change: Callable[[Json], None] = lambda files: None) -> Callable[[Json], None]:
    def apply(files: Json) -> None:
        ended = moment.replace(":00Z", ":30Z").replace(":00.000Z", ":30.000Z")
        files["run.json"] |= {"verdict": "OPEN", "started_at": moment, "finished_at": ended}
        change(files)

    return apply


def worse(files: Json) -> None:
    files["run.json"]["verdict"] = "FAIL"
    finding = next(
        f for f in files["05_seed_verification.json"]["answers"]["rows"]["findings"] if f["verdict"] == "PASS"
    )
    finding["verdict"] = "FAIL"
    finding["object"] = f"public.{HOSTILE}"


@pytest.fixture
def archive(make_run: MakeRun, tmp_path: Path) -> Path:
    for day, change in ((24, lambda files: None), (25, lambda files: None), (26, worse)):
        make_run(
            tmp_path,
            name=f"202611{day}T080000Z-000001",
            notebooks="none",
            change=begun(f"2026-11-{day}T08:00:00.000Z", change),
        )
    return tmp_path


def test_the_newest_run_comes_first_with_what_it_is(archive: Path) -> None:
    path, number = write_site(archive)
    assert (path, number) == (archive / "index.html", 3)
    newest, middle, oldest = rows(path)
    assert 'data-verdict="FAIL"' in newest
    assert 'data-date="2026-11-26"' in newest
    assert 'data-phase="PH15-AMAZON-DB-FOUNDATION-01"' in newest
    assert "2026-11-24 08:00:00" in oldest
    assert "apply" in middle


def test_what_changed_since_the_run_before_is_told(archive: Path) -> None:
    newest, middle, oldest = rows(write_site(archive)[0])
    assert "the first one" in oldest
    assert "no difference" in middle
    assert 'data-changed="no"' in middle
    assert "1 new" in newest
    assert "1 gone" in newest
    assert "20261125T080000Z-000001" in newest
    assert "seed_row_is" in newest


def test_a_run_is_compared_with_the_last_complete_one(make_run: MakeRun, archive: Path) -> None:
    def stopped(files: Json) -> None:
        worse(files)
        files["run.json"]["finished_at"] = None

    for day, change in ((27, stopped), (28, lambda files: None)):
        moment = f"2026-11-{day}T08:00:00Z"
        make_run(archive, name=f"202611{day}T080000Z-000001", notebooks="none", change=begun(moment, change))
    newest, unfinished, complete, *_ = rows(write_site(archive)[0])
    assert "runs diff 20261126T080000Z-000001 20261128T080000Z-000001" in newest
    assert "no difference" in unfinished  # to that of the 26th, which is worse in the same way
    assert "1 new" in complete


def test_the_trend_shows_verdict_and_duration_of_each_run(archive: Path) -> None:
    text = write_site(archive)[0].read_text("utf-8")
    (trend,) = re.findall(r'<figure class="trend".*?</figure>', text, re.DOTALL)
    assert re.findall(r'class="bar b-(\w+)"', trend) == ["open", "open", "fail"]
    assert "2026-11-26 08:00:00: FAIL" in trend


def test_report_site_and_records_say_the_same_numbers(make_run: MakeRun, tmp_path: Path) -> None:
    """The report is written before it is judged: it says so, and counts all findings but those on itself."""

    def written(files: Json) -> None:
        answers = files["07_report.json"]["answers"]
        judged = [
            {"check": "report_is_written", "target": "-", "object": f"report.{lang}.md", "have": "11 sections",
             "want": "11 sections", "verdict": "PASS", "hint": ""}
            for lang in ("en", "fr")
        ]  # fmt: skip
        answers["write"] = {**answers["last_look"], "findings": judged, "facts": {"files": {}}}

    run = make_run(tmp_path, notebooks="none", change=written)
    write_pages(run)
    evidence = run.evidence()
    recorded = Counter(finding.verdict for _, finding in evidence.all_findings())
    on_itself = Counter(f.verdict for f in evidence.findings("report", "write"))
    assert on_itself
    (row,) = rows(write_site(tmp_path)[0])
    shown = {verdict: int(number) for number, verdict in re.findall(r"(\d+) ([A-Z]+)</span>", row)}
    assert shown == recorded
    said = (run.path / "report.en.md").read_text("utf-8")
    (line,) = re.findall(r"^\| \*\*Run\*\* .* · (.*) \(without those on this report\)", said, re.MULTILINE)
    assert {v: int(n) for n, v in re.findall(r"(\d+) ([A-Z]+)", line)} == recorded - on_itself
    assert f"{line} (without those" in re.sub(r"<[^>]+>", "", (run.path / "report.html").read_text("utf-8"))


def test_a_verdict_that_changed_is_told(make_run: MakeRun, archive: Path) -> None:
    def back(files: Json) -> None:
        worse(files)
        files["06_api_routes.json"]["answers"]["services"]["findings"][0]["verdict"] = "ERROR"

    make_run(
        archive, name="20261127T080000Z-000001", notebooks="none", change=begun("2026-11-27T08:00:00Z", back)
    )
    newest = rows(write_site(archive)[0])[0]
    assert "1 changed" in newest
    assert "service_is_deployed" in newest
    assert "0 new" in newest


def test_links_are_relative_and_lead_to_what_there_is(archive: Path, tmp_path: Path) -> None:
    run = next(archive.glob("*/20261126*"))
    (run / "report.html").write_text("", "utf-8")
    out = tmp_path / "public site"
    path, _ = write_site(archive, out)
    newest, middle, _ = rows(path)
    assert f'href="../PH15-AMAZON-DB-FOUNDATION-01/{run.name}/report.html"' in newest
    assert 'href="../PH15-AMAZON-DB-FOUNDATION-01/20261125T080000Z-000001/run.json"' in middle
    assert (out / "index.html").exists()


def test_hostile_values_are_text(archive: Path) -> None:
    text = write_site(archive)[0].read_text("utf-8")
    assert HOSTILE not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_a_run_that_cannot_be_read_is_told_and_hides_no_other(archive: Path) -> None:
    (next(archive.glob("*/20261125*")) / "run.json").write_text("{", "utf-8")
    (next(archive.glob("*/20261124*")) / "02_backup.json").write_text("[]", "utf-8")
    path, number = write_site(archive)
    assert number == 3
    assert sum("cannot be read" in row for row in rows(path)) == 2


def test_an_empty_archive_has_an_index(tmp_path: Path) -> None:
    path, number = write_site(tmp_path / "runs")
    assert number == 0
    assert "There is no run in this folder yet." in path.read_text("utf-8")


def test_a_folder_that_cannot_be_made_is_an_evidence_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(EvidenceError, match="cannot be made"):
        write_site(tmp_path, tmp_path / "file" / "out")


def test_the_command_prints_the_path(archive: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        commands, ["runs", "site", "--runs", str(archive), "--out", str(tmp_path / "out")]
    )
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{tmp_path / 'out' / 'index.html'}\n"
    assert done.stderr == "3 runs\n"


def test_a_thousand_runs_take_a_few_times_what_reading_them_takes(make_run: MakeRun, tmp_path: Path) -> None:
    first = make_run(tmp_path, notebooks="none")
    header = first.header_json()
    summary = plain(changes.summary(first.evidence()))
    objects = {f"public.table_{n}": "PASS" for n in range(800)}  # as many findings as a real run has
    summary["verdicts"]["preflight"]["schema"]["has_table"]["leader"] |= objects
    (tmp_path / "verdicts.json").write_text(json.dumps(summary), "utf-8")
    for n in range(1000):
        folder = first.path.parent / f"20261125T{n:06d}Z-000001"
        folder.mkdir()
        header |= {"id": folder.name, "started_at": f"2026-11-25T00:{n // 60 % 60:02d}:{n % 60:02d}Z"}
        (folder / "run.json").write_text(json.dumps(header), "utf-8")
        (folder / changes.FILE).hardlink_to(tmp_path / "verdicts.json")
    began = time.process_time()  # not of the clock: other tests may run beside this one
    for _ in range(1001):
        json.loads((tmp_path / "verdicts.json").read_bytes())
    read = time.process_time()
    path, number = write_site(tmp_path)
    assert time.process_time() - read < 15 * (read - began)
    assert number == 1001
    assert len(rows(path)) == 1001
    assert path.stat().st_size < 2_000_000


# An archive at a URL


@pytest.mark.parametrize("summed_up", [True, False])
def test_the_index_of_an_archive_at_a_url_is_the_same(
    archive: Path, tmp_path: Path, summed_up: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for run in all_runs(archive):
        (run.path / "report.html").write_text("<!DOCTYPE html>")
        if summed_up:
            write_json(run.path / changes.FILE, plain(changes.summary(run.evidence())))
    expected = write_site(archive)[0].read_bytes()
    name = uuid.uuid4().hex
    store = MemoryFileSystem()
    try:
        store.put(f"{archive}/", f"/{name}/runs", recursive=True)
        store.rm(f"/{name}/runs/index.html")
        for number in (1, 2):  # twice is once
            assert write_site_at(f"memory://{name}/runs/") == (f"memory://{name}/runs/index.html", 3), number
        assert store.cat(f"/{name}/runs/index.html") == expected
        assert b"/report.html" in expected
    finally:
        store.rm(f"/{name}", recursive=True)
    assert not list(tmp_path.glob("runbooks-archive-*"))


def test_the_index_of_an_archive_that_cannot_be_written_is_an_evidence_error(tmp_path: Path) -> None:
    (tmp_path / "runs" / "index.html").mkdir(parents=True)
    with pytest.raises(EvidenceError, match=r"could not be written: .*Is a directory"):
        write_site_at(f"file://{tmp_path}/runs")


def test_the_index_of_an_archive_that_is_below_a_file_is_an_evidence_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EvidenceError, match=r"cannot be read: .*Not a directory"):
        write_site_at(f"file://{tmp_path}/file/runs")
