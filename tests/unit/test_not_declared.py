"""What a phase leaves out is SKIP, whichever key it is; what it declares and nobody looked at stays an ERROR."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runbooks_lib.evidence import Evidence
from runbooks_lib.findings import Answer, Verdict
from runbooks_lib.phase import Phase, load_phase
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.steps import api_routes, preflight, report, seed_verification
from runbooks_lib.steps.declared import left_loose, or_not_declared

PHASE = load_phase("PH15-AMAZON-DB-FOUNDATION-01")
STORED = Path(__file__).parent / "evidence" / "planned"
NOTHING: dict[str, Any] = {}
NO_DATA = {name: replace(target, data=False) for name, target in PHASE.targets.items()}
LEADER = {"leader": PHASE.targets["leader"]}
WITHOUT_SOURCE = {name: replace(service, source_env=None) for name, service in PHASE.services.items()}


def recorded(records: dict[str, Any]) -> Evidence:
    header = json.loads((STORED / "run.json").read_text("utf-8"))
    return Evidence.from_json(header, records, STORED)


def ask(question: Any, phase: Phase, **options: Any) -> Answer:
    """Ask a question that must not need any session."""
    with Sessions(NOTHING, application_name="runbooks test") as sessions:
        answer: Answer = question(phase, sessions, **options)
    return answer


@pytest.mark.parametrize(
    ("question", "left_out", "options", "words"),
    [
        (seed_verification.rows, {"seeds": ()}, {}, "seed rows"),
        (seed_verification.unexpected, {"seeds": ()}, {}, "seeds"),
        (seed_verification.rows, {"targets": NO_DATA}, {}, "targets with data"),
        (seed_verification.unexpected, {"targets": NO_DATA}, {}, "targets with data"),
        (seed_verification.row_counts, {"targets": NO_DATA}, {}, "row counts"),
        (preflight.replication, {"targets": LEADER}, {}, "standbys"),
        (api_routes.services, {"services": {}, "routes": ()}, {}, "services"),
        (api_routes.routes, {"routes": (), "services": {}}, {"apply": True}, "routes"),
        (api_routes.routes, {"routes": ()}, {"apply": False}, "routes"),
        (api_routes.source, {"services": {}, "routes": ()}, {}, "source tree"),
        (api_routes.source, {"services": WITHOUT_SOURCE}, {}, "source tree"),
        (api_routes.source, {"routes": ()}, {}, "source tree"),
        (report.checklist, {"checklist": ()}, {"evidence": recorded({})}, "boxes"),
        (report.sign_off, {"checklist": ()}, {"signed": {}}, "boxes"),
    ],
)
def test_a_question_about_nothing_declared_is_skipped(
    question: Any, left_out: dict[str, Any], options: dict[str, Any], words: str
) -> None:
    answer = ask(question, replace(PHASE, **left_out), **options)
    assert answer.verdict is Verdict.SKIP
    assert all(f.have.startswith("the phase declares no ") for f in answer.findings)
    assert words in " ".join(f.have for f in answer.findings)


@pytest.mark.parametrize(
    "check", ["seed_row_is", "row_count_is", "route_is_served", "has_index", "no_such_check"]
)
def test_what_is_declared_and_was_not_looked_at_is_no_skip(check: str) -> None:
    assert or_not_declared(PHASE, (), check) == ()


@pytest.mark.parametrize(
    ("left_out", "boxes"),
    [
        ({"seeds": ()}, {"The data of kbz_test are present", "The data of tenant_test_dev are present"}),
        ({"routes": ()}, {"The Amazon API routes are reachable"}),
        (
            {"indexes": (), "enums": ()},
            {"The tables exist in `keybuzz_backend`", "The PostgreSQL enums are created"},
        ),
    ],
)
def test_a_box_that_looks_at_what_is_not_declared_stays_open_and_stops_nothing(
    left_out: dict[str, Any], boxes: set[str]
) -> None:
    record = json.loads((STORED / "07_report.json").read_text("utf-8"))
    record["answers"]["last_look"]["findings"] = [
        {"check": check, "target": target, "object": "public.a", "have": "x", "want": "x", "verdict": "PASS"}
        for target in ("leader", "replica")
        for check in ("has_table", "table_owner_is", "columns_are", "col_is_pk")
    ]  # fmt: skip
    items = ask(
        report.checklist, replace(PHASE, **left_out), evidence=recorded({"report": record})
    ).facts.items
    skipped = {item.text["en"] for item in items if item.verdict == "SKIP"}
    assert skipped == boxes
    assert not any(item.ticked for item in items if item.text["en"] in boxes)


def test_what_is_let_be_at_whole_targets_is_said() -> None:
    assert list(left_loose(PHASE)) == [
        "rows are not judged at legacy: data = false",
        "any lag is let pass at replica: no max_lag_bytes",
    ]
    everywhere = replace(PHASE, targets=NO_DATA)
    assert next(left_loose(everywhere)) == "rows are not judged at leader, replica, legacy: data = false"
    strict = {
        name: replace(target, data=True, max_lag_bytes=0 if target.primary else None)
        for name, target in PHASE.targets.items()
    }
    assert list(left_loose(replace(PHASE, targets=strict))) == []
