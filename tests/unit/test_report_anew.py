"""`runbooks report`: the report of a run, written anew from its evidence and never into the run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from runbooks_lib.archive.run import Run
from runbooks_lib.archive.seal.seal import seal
from runbooks_lib.archive.seal.verify import verify
from runbooks_lib.cli import commands
from runbooks_lib.errors import EvidenceError, PreconditionFailed
from runbooks_lib.report.html.pages import write_pages

MakeRun = Callable[..., Run]
REPORTS = ("report.en.md", "report.fr.md", "report.html")


def stopped_at_three(files: dict[str, Any]) -> None:
    for name in [name for name in files if name[:2] in ("04", "05", "06", "07")]:
        del files[name]
    record = files["03_baseline_migration.json"]
    record["answers"] = {"parse": record["answers"]["parse"]}
    record["answers"]["parse"]["findings"][0] |= {"verdict": "FAIL", "hint": "Write IF NOT EXISTS."}
    record["answers"]["parse"]["verdict"] = record["verdict"] = "FAIL"
    files["run.json"] |= {"verdict": "FAIL", "finished_at": None}


def wrote(files: dict[str, Any]) -> None:
    answers = files["07_report.json"]["answers"]
    answers["write"] = {**answers["checklist"], "findings": [], "facts": {}}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def report(*arguments: object) -> Result:
    return CliRunner().invoke(commands, ["report", *map(str, arguments)])


@pytest.fixture
def sealed(make_run: MakeRun, tmp_path: Path) -> Run:
    run = make_run(tmp_path / "runs")
    write_pages(run)
    seal(run)
    return run


def test_it_is_printed_in_a_language(sealed: Run) -> None:
    before = contents(sealed.path)
    assert report(sealed.path).stdout.encode() == before["report.en.md"]
    assert report(sealed.path, "--lang", "fr").stdout.encode() == before["report.fr.md"]
    by_id = report(sealed.id[:8], "--runs", sealed.path.parents[1], "--lang", "fr")
    assert by_id.stdout.encode() == before["report.fr.md"]
    assert contents(sealed.path) == before


def test_it_is_written_elsewhere_with_everything_that_it_links_to(sealed: Run, tmp_path: Path) -> None:
    before = contents(sealed.path)
    (tmp_path / "empty").mkdir()
    for out in (tmp_path / "out", tmp_path / "empty"):
        done = report(sealed.path, "--out", out)
        assert {Path(line).name for line in done.stdout.splitlines()} >= set(REPORTS)
        assert contents(out) == {name: text for name, text in before.items() if name != "manifest.json"}
        assert not verify(out).trusted
    assert contents(sealed.path) == before
    assert verify(sealed.path).manifest


def test_the_copy_is_of_this_version_whatever_was_written_then(sealed: Run, tmp_path: Path) -> None:
    for name in REPORTS:
        (sealed.path / name).write_text("as an older version wrote it")
    report(sealed.path, "--out", tmp_path / "out")
    assert all(b"older version" not in (tmp_path / "out" / name).read_bytes() for name in REPORTS)
    assert all(b"older version" in (sealed.path / name).read_bytes() for name in REPORTS)


def test_nothing_is_overwritten_and_nothing_written_into_the_run(sealed: Run, tmp_path: Path) -> None:
    before = contents(sealed.path)
    (tmp_path / "mine").write_text("keep")
    for out, said in ((tmp_path, "is not empty"), (sealed.path / "out", "in the run's own folder")):
        failed = report(sealed.path, "--out", out).exception
        assert isinstance(failed, EvidenceError)
        assert said in failed.what_happened
    assert contents(sealed.path) == before


def test_where_nothing_can_be_written(sealed: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    failed = report(sealed.path, "--out", tmp_path / "file" / "out").exception
    assert isinstance(failed, EvidenceError)
    assert "could not be copied" in failed.what_happened


def test_a_language_without_a_catalogue(sealed: Run) -> None:
    assert isinstance(report(sealed.path, "--lang", "tlh").exception, PreconditionFailed)


def test_a_stopped_run_has_its_report_in_every_language(make_run: MakeRun, tmp_path: Path) -> None:
    """What failed and what to do, what was not run, and not one word of what did not happen."""
    run = make_run(tmp_path, change=stopped_at_three)
    assert {path.name for path in write_pages(run)} >= set(REPORTS)
    fr, en = (run.path.joinpath(f"report.{lang}.md").read_text("utf-8") for lang in ("fr", "en"))
    assert "🔴 CONSTATS" in fr
    assert "🔴 FINDINGS THAT DID NOT PASS" in en
    for text in (fr, en):
        assert "Write IF NOT EXISTS." in text
        assert "Database schema is up to date!" not in text
        assert "[x]" not in text
    for step in ("prisma_resolve", "seed_verification", "api_routes", "report"):
        assert f"Step `{step}` was not run in this run: nothing is known." in en
        assert f"L'étape `{step}` n'a pas été exécutée dans ce run : résultat inconnu." in fr


def test_a_report_of_an_earlier_attempt_does_not_stay(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path, change=stopped_at_three)
    (run.path / "report.fr.md").write_text("of an earlier attempt")
    write_pages(run)
    assert "of an earlier attempt" not in (run.path / "report.fr.md").read_text("utf-8")


def test_the_report_that_its_own_step_wrote_stays(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path, change=wrote)
    (run.path / "report.fr.md").write_text("as step 7 wrote and judged it")
    write_pages(run)
    assert (run.path / "report.fr.md").read_text("utf-8") == "as step 7 wrote and judged it"
