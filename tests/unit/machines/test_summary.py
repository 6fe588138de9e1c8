"""A run in short: as JSON, and on the page of a GitHub job."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runbooks_lib.errors import EvidenceError
from runbooks_lib.report.summary import append_summary, result, summary

PLANNED = {
    "baseline_migration": {"plan": [("object_is_absent_or_equal", "x", "absent", "PASS")]},
    "report": {"checklist": [("checklist_item_holds", "The routes answer", "0 of 4", "OPEN")]},
}
PLAN = {"plan": {"hash": "1a2b3c4d" + "0" * 56, "confirmation": "keybuzz:1a2b3c4d", "statements": []}}
STOPPED = {
    "preflight": {
        "schema": [("has_table", "public.A", "absent", "FAIL"), ("has_table", "B", "there", "PASS")]
    }
}


def test_the_result_of_a_plan(make_run: Any) -> None:
    run = make_run(PLANNED, facts=PLAN)
    told = result(run)
    assert told == run.header_json() | {
        "folder": str(run.path),
        "plan": {"hash": PLAN["plan"]["hash"], "confirmation": "keybuzz:1a2b3c4d"},
        "findings": {"SKIP": 0, "PASS": 1, "OPEN": 1, "FAIL": 0, "ERROR": 0},
        "open": [{"object": "The routes answer", "have": "0 of 4"}],
        "closing": [],
    }
    assert json.loads(json.dumps(told)) == told


def test_the_result_of_a_stopped_run(make_run: Any) -> None:
    told = result(make_run(STOPPED))
    assert told["plan"] is None
    assert [(c["step"], c["question"], c["check"], c["verdict"]) for c in told["closing"]] == [
        ("preflight", "schema", "has_table", "FAIL")
    ]


def test_a_plan_that_closed_its_gate_is_none(make_run: Any) -> None:
    different = {"baseline_migration": {"plan": [("object_is_absent_or_equal", "x", "different", "FAIL")]}}
    assert result(make_run(different, facts=PLAN))["plan"] is None


def test_the_summary_of_a_plan(make_run: Any) -> None:
    text = summary(make_run(PLANNED, facts=PLAN))
    assert text.startswith("## 🟡 PH15-AMAZON-DB-FOUNDATION-01: OPEN\n")
    assert "| 03_baseline_migration | ✅ PASS | 2.5 |\n| 07_report | 🟡 OPEN | 2.5 |" in text
    assert "**Open**\n\n- [ ] The routes answer\n" in text
    assert "`--apply --confirm keybuzz:1a2b3c4d`" in text


def test_an_applied_run_is_not_to_be_confirmed_again(make_run: Any) -> None:
    assert "--confirm" not in summary(make_run(PLANNED, facts=PLAN, header={"mode": "apply"}))


def test_the_summary_of_a_stopped_run_says_what_to_do(make_run: Any) -> None:
    text = summary(make_run(STOPPED, header={"finished_at": None}))
    assert "stopped" in text
    assert "| FAIL | `has_table` | leader | public.A | absent | as declared | see to public.A |" in text


def test_what_is_found_is_text_and_no_markup(make_run: Any) -> None:
    have = "a|b <script>alert(1)</script>\n| x | `y` [z](http://w) " + "long " * 200
    text = summary(make_run({"preflight": {"schema": [("has_table", "x", have, "FAIL")]}}))
    (row,) = [line for line in text.splitlines() if line.startswith("| FAIL")]
    assert "&lt;script&gt;" in row
    assert "<script>" not in text
    assert "\\[z\\](http" in row
    assert row.replace("\\|", "").count("|") == 8
    assert len(row) < 600


def test_many_findings_are_counted_not_listed(make_run: Any) -> None:
    rows = [("has_table", f"t{n}", "absent", "FAIL") for n in range(1000)]
    text = summary(make_run({"preflight": {"schema": rows}}))
    assert text.count("| FAIL |") == 50
    assert "… and 950 more" in text
    assert len(text.encode()) < 1024 * 1024


def test_a_step_that_died_is_named(make_run: Any) -> None:
    run = make_run(
        {}, header={"steps": [{"step": "backup", "verdict": "ERROR", "duration_s": 1}], "verdict": "ERROR"}
    )
    (stop,) = result(run)["closing"]
    assert (stop["check"], stop["step"], stop["have"]) == (
        "step_is_carried_out",
        "backup",
        "it ended without a verdict of its own",
    )
    assert r"| ERROR | `step_is_carried_out` | - | backup |" in summary(run)


def test_it_is_appended_where_github_wants_it(
    make_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(PLANNED)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    assert append_summary(run) is None
    file = tmp_path / "summary.md"
    file.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(file))
    assert append_summary(run) == append_summary(run) == file
    assert file.read_text() == "before\n" + summary(run) * 2


def test_a_secret_is_masked_in_it(make_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run({"preflight": {"schema": [("has_table", "x", "s3cr3t-word", "FAIL")]}})
    monkeypatch.setenv("PGPASSWORD", "s3cr3t-word")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    append_summary(run)
    assert "s3cr3t" not in (tmp_path / "summary.md").read_text()


def test_a_summary_that_cannot_be_written(
    make_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))
    with pytest.raises(EvidenceError, match="could not be written: Is a directory"):
        append_summary(make_run(PLANNED))
