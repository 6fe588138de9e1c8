"""The record of a run is read in one place, into types that all who write and read it share."""

from __future__ import annotations

import importlib
import inspect
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from runbooks_lib.errors import EvidenceError
from runbooks_lib.evidence import Evidence
from runbooks_lib.facts import FACTS
from runbooks_lib.facts.base import Facts
from runbooks_lib.facts.databases import Dumps, Targets, Who
from runbooks_lib.facts.writing import KeptPlan, Plan
from runbooks_lib.phase import STEPS
from runbooks_lib.postgres.session.identity import Identity
from runbooks_lib.typed import plain, typed

PACKAGE = Path(__file__).resolve().parents[2] / "runbooks_lib"
MOMENT = "2026-01-07T17:47:59.250Z"
HEADER: dict[str, Any] = {
    "schema_version": 1, "id": "r", "phase": {"id": "p", "title": {}, "digest": "d"}, "mode": "plan",
    "started_at": MOMENT, "finished_at": None, "verdict": None, "operator": {"user": "u", "host": "h"},
    "versions": {}, "targets": [],
}  # fmt: skip
ANSWER: dict[str, Any] = {
    "started_at": MOMENT, "duration_s": 0.5, "verdict": "PASS", "facts": {},
    "findings": [{"check": "c", "target": "t", "object": "o", "have": "h", "want": "w", "verdict": "PASS"}],
}  # fmt: skip


def record(step: str, **answers: Any) -> dict[str, Any]:
    return {
        "schema_version": 1, "step": step, "run": "r", "phase": "p", "mode": "plan", "code": "c",
        "started_at": MOMENT, "finished_at": MOMENT, "duration_s": 1.0, "verdict": "PASS", "answers": answers,
    }  # fmt: skip


def evidence(**records: Any) -> Evidence:
    return Evidence.from_json(HEADER, records, Path("run"))


@pytest.mark.parametrize("module", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_no_module_digs_in_a_record(module: Path) -> None:
    digging = re.findall(r"""(?:\[|\.get\()["'](?:answers|facts)["'][\],)]""", module.read_text("utf-8"))
    assert digging == []


@pytest.mark.parametrize(("step", "question"), FACTS)
def test_the_facts_are_those_of_a_question_of_the_step(step: str, question: str) -> None:
    assert step in STEPS
    assert inspect.isfunction(getattr(importlib.import_module(f"runbooks_lib.steps.{step}"), question))


@pytest.mark.parametrize("kind", FACTS.values(), ids=lambda kind: kind.__name__)
def test_a_question_that_was_not_asked_has_empty_facts(kind: type[Facts]) -> None:
    assert evidence().facts(kind) == kind()
    assert typed({}, kind, Path("x")) == kind()
    assert typed(plain(kind()), kind, Path("x")) == kind()


def test_a_target_is_told_with_all_that_is_known_of_it() -> None:
    assert {field.name for field in fields(Identity)} <= set(Who.__struct_fields__)


def test_a_plan_that_is_kept_is_a_plan_of_its_run() -> None:
    kept = typed(plain(Plan(hash="h", confirmation="c")) | {"run": "r"}, KeptPlan, Path("x"))
    assert (kept.run, kept.hash, kept.QUESTION) == ("r", "h", Plan.QUESTION)


def test_a_plan_whose_gate_closed_is_none() -> None:
    facts = {"hash": "h", "confirmation": "c"}
    failed = [{**ANSWER["findings"][0], "verdict": "FAIL"}]
    assert evidence(baseline_migration=record("baseline_migration", plan={**ANSWER, "facts": facts})).plan
    closed = {**ANSWER, "facts": facts, "findings": failed, "verdict": "FAIL"}
    assert evidence(baseline_migration=record("baseline_migration", plan=closed)).plan is None


def test_an_answer_that_nobody_knows_keeps_its_facts() -> None:
    unknown = {**ANSWER, "facts": {"deep": [{"more": None}]}}
    kept = evidence(preflight=record("preflight", of_a_later_version=unknown))
    assert kept.records["preflight"].answers["of_a_later_version"].facts == unknown["facts"]


@pytest.mark.parametrize(
    ("question", "facts", "said"),
    [
        ("dump", {"dumps": {"leader": {"path": "x"}}}, "missing required field"),
        ("dump", {"dumps": []}, "Expected `object`, got `array`"),
        ("client", {"clients": {"leader": {"version": 1}}}, "Expected `str`, got `int`"),
    ],
)
def test_facts_of_another_shape_are_refused_with_their_file_and_place(
    question: str, facts: dict[str, Any], said: str
) -> None:
    with pytest.raises(EvidenceError, match=r"run/02_backup\.json cannot be read.*\$\.") as caught:
        evidence(backup=record("backup", **{question: {**ANSWER, "facts": facts}}))
    assert said in str(caught.value)


def test_what_is_known_is_given_without_what_was_asked_last() -> None:
    asked = evidence(backup=record("backup", dump=ANSWER, verify=ANSWER))
    before = asked.without("backup", "verify")
    assert (list(asked.questions("backup")), list(before.questions("backup"))) == (
        ["dump", "verify"],
        ["dump"],
    )
    assert before.without("backup", "verify") is before
    assert (before.facts(Dumps), before.facts(Targets)) == (Dumps(), Targets())
