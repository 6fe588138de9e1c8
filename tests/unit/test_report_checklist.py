"""The checklist: which findings tick a box, and what keeps it empty."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runbooks_lib.errors import GateClosed
from runbooks_lib.evidence import Evidence
from runbooks_lib.facts.contents import Box
from runbooks_lib.findings import Finding, Note, Verdict, gate
from runbooks_lib.phase import ChecklistItem, Text, load_phase
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.steps import report

PHASE = load_phase("PH15-AMAZON-DB-FOUNDATION-01")
STORED = Path(__file__).parent / "evidence" / "planned"
HEADER, RECORD = (json.loads((STORED / name).read_text("utf-8")) for name in ("run.json", "07_report.json"))
ASKED = RECORD["answers"]["last_look"] | {"facts": {}}


def finding(
    verdict: Verdict, check: str = "has_table", target: str = "leader", object: str = "public.a"
) -> Finding:
    return Finding(check=check, target=target, object=object, have="h", want="w", verdict=verdict)


def item(**fields: Any) -> ChecklistItem:
    text = Text(by_language={"fr": "Tables existent", "en": "The tables exist"})
    return ChecklistItem(**{"text": text, "steps": ("report",), "checks": ("has_table",), **fields})


def evidence(*findings: Finding, step: str = "report") -> Evidence:
    """Return what a run recorded, as it comes back from JSON: an answer for each finding."""
    answers = {f"question {n}": {**ASKED, "findings": [f.to_dict()]} for n, f in enumerate(findings)}
    return recorded({step: answers})


def recorded(answers: dict[str, dict[str, Any]]) -> Evidence:
    records = {step: {**RECORD, "step": step, "answers": each} for step, each in answers.items()}
    return Evidence.from_json(HEADER, records, STORED)


def both(one: Evidence, other: Evidence) -> Evidence:
    return replace(one, records={**one.records, **other.records})


def tick(box: ChecklistItem, found: Evidence) -> tuple[Finding, Box]:
    with Sessions({}) as sessions:
        answer = report.checklist(replace(PHASE, checklist=(box,)), sessions, evidence=found)
    (judged,), (row,) = answer.findings, answer.rows
    (said,) = answer.facts.items
    assert judged.check == "checklist_item_holds"
    assert said.ticked == (judged.verdict is Verdict.PASS) == (row["box"] == "☑")
    assert said.verdict == row["verdict"] == judged.verdict
    return judged, said


def absent_for_now() -> Finding:
    return replace(
        finding(Verdict.PASS),
        have="absent",
        want="absent or equal: baseline_migration creates it",
        note=Note.ABSENT,
    )


def test_what_may_be_absent_for_now_ticks_no_box_until_it_is_seen() -> None:
    box = item(steps=("preflight", "report"))
    before = evidence(absent_for_now(), step="preflight")
    assert tick(box, before)[0].verdict is Verdict.SKIP
    assert (
        tick(box, both(before, evidence(finding(Verdict.PASS, object="public.b"))))[0].verdict is Verdict.SKIP
    )
    assert tick(box, both(before, evidence(finding(Verdict.PASS))))[0].verdict is Verdict.PASS
    gone = replace(finding(Verdict.PASS), have="absent", want="absent")
    assert tick(item(), evidence(gone))[0].verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("verdicts", "wanted"),
    [
        ("PASS", "PASS"),
        ("PASS PASS", "PASS"),
        ("PASS OPEN", "OPEN"),
        ("PASS SKIP", "SKIP"),
        ("SKIP", "SKIP"),
        ("SKIP OPEN", "OPEN"),
        ("PASS FAIL OPEN", "FAIL"),
        ("FAIL ERROR", "ERROR"),
        ("ERROR", "ERROR"),
    ],
)
def test_one_that_did_not_pass_keeps_the_box_empty(verdicts: str, wanted: str) -> None:
    findings = [finding(Verdict(v), object=f"public.{n}") for n, v in enumerate(verdicts.split())]
    judged, said = tick(item(), evidence(*findings))
    assert judged.verdict == wanted
    passed = verdicts.split().count("PASS")
    assert judged.have.startswith(f"{passed} of {len(findings)} findings passed")
    assert (said.judged, said.passed) == (len(findings), passed)
    assert len(said.not_passed) == len(findings) - passed


def test_what_did_not_pass_is_named() -> None:
    findings = [finding(Verdict.FAIL, object=f"public.t{n}") for n in range(6)]
    judged, _ = tick(item(), evidence(*findings))
    assert "has_table public.t0, " in judged.have
    assert judged.have.endswith("has_table public.t3 …")


@pytest.mark.parametrize(
    "found",
    [
        recorded({}),
        recorded({"report": {}}),
        evidence(),
        evidence(finding(Verdict.PASS), step="preflight"),
        evidence(finding(Verdict.PASS, check="has_index")),
    ],
)
def test_no_finding_is_an_error(found: Evidence) -> None:
    judged, _ = tick(item(), found)
    assert (judged.verdict, judged.have) == (Verdict.ERROR, "no finding to judge it by")
    assert "Run step report" in judged.hint
    with pytest.raises(GateClosed):
        gate([judged])


def test_a_check_or_a_target_that_was_not_looked_at_is_an_error() -> None:
    there = finding(Verdict.PASS)
    judged, _ = tick(item(checks=("has_table", "has_index")), evidence(there))
    assert (judged.verdict, judged.have) == (Verdict.ERROR, "no finding of has_index")
    judged, _ = tick(item(targets=("leader", "replica")), evidence(there))
    assert (judged.verdict, judged.have) == (Verdict.ERROR, "no finding of replica")
    failed = finding(Verdict.FAIL)
    judged, _ = tick(item(checks=("has_table", "has_index")), evidence(there, failed))
    assert judged.verdict is Verdict.FAIL  # what is known to be wrong is said first


def test_only_what_the_item_selects_counts() -> None:
    box = item(targets=("leader",), objects=("public.*dev*", "public.*[[]kbz*"))
    there = finding(Verdict.PASS, object="public.addresses[tenant_test_dev, AMAZON]")
    for other in (
        finding(Verdict.FAIL, target="replica", object=there.object),
        finding(Verdict.FAIL, object="public.addresses[other]"),
        finding(Verdict.FAIL, check="has_index", object=there.object),
    ):
        ours = finding(Verdict.PASS, object="public.connections[kbz_test]")
        assert tick(box, evidence(there, ours, other))[0].verdict is Verdict.PASS
    second = finding(Verdict.FAIL, object="public.connections[kbz_test]")
    assert tick(box, evidence(there, second))[0].verdict is Verdict.FAIL


def test_findings_of_several_steps_count() -> None:
    box = item(steps=("preflight", "report"))
    found = both(
        evidence(finding(Verdict.PASS), step="preflight"), evidence(finding(Verdict.FAIL), step="report")
    )
    assert tick(box, found)[0].verdict is Verdict.FAIL


@pytest.mark.parametrize("reason", [None, Text(by_language={"fr": "à la main", "en": "by hand"})])
def test_a_manual_item_is_open_whatever_was_found(reason: Text | None) -> None:
    box = item(manual=True, steps=(), checks=(), reason=reason)
    judged, said = tick(box, evidence(finding(Verdict.PASS)))
    assert judged.verdict is Verdict.OPEN
    assert judged.have.startswith("not verified: ")
    assert said.reason == (None if reason is None else {"fr": "à la main", "en": "by hand"})
    assert said.text == {"fr": "Tables existent", "en": "The tables exist"}
    gate([judged])


@pytest.mark.parametrize(
    ("record", "applied"),
    [
        ({}, False),
        ({"baseline_migration": {}}, False),
        ({"baseline_migration": {"apply": ASKED}}, False),
        ({"baseline_migration": {"apply": {**ASKED, "facts": {"applied": False}}}}, False),
        ({"baseline_migration": {"apply": {**ASKED, "facts": {"applied": True}}}}, True),
    ],
)
def test_whether_the_run_applied_the_baseline(record: dict[str, Any], applied: bool) -> None:
    assert recorded(record).applied is applied


@pytest.mark.parametrize("patterns", [("public.a", "public.b*"), ("public.b*", "public.a"), ("nothing",)])
def test_a_pattern_that_matches_nothing_is_not_ticked_by_another(patterns: tuple[str, ...]) -> None:
    judged, said = tick(item(objects=patterns), evidence(finding(Verdict.PASS)))
    assert judged.verdict is Verdict.ERROR
    if "public.a" in patterns:
        assert said.unseen == ("public.b*",)
        assert judged.have == "no finding of public.b*"


def test_patterns_that_all_match_tick_a_box() -> None:
    found = evidence(finding(Verdict.PASS), finding(Verdict.PASS, object="public.bc"))
    assert tick(item(objects=("public.a", "public.b*")), found)[0].verdict is Verdict.PASS
