"""What the report tells of rows that are many: dumped with their schema, and declared in a file beside the phase."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from runbooks_lib.evidence import Evidence
from runbooks_lib.phase import STEPS, Seeds, load_phase
from runbooks_lib.report import document, markdown

EVIDENCE = Path(__file__).parent / "evidence" / "applied"
PHASE = load_phase("PH15-AMAZON-DB-FOUNDATION-01")
TABLE = "public.OAuthState"
FILED = replace(
    PHASE, seeds=(*PHASE.seeds, Seeds(table=TABLE, key=("id",), file="states.csv", tenant="tenantId"))
)
ONLY_FILED = replace(PHASE, seeds=FILED.seeds[-1:])
SHA = "ab12" * 16
Json = dict[str, Any]


@cache
def stored() -> Json:
    files = {"run": "run", **{step: f"{n:02d}_{step}" for n, step in enumerate(STEPS, start=1)}}
    return {key: json.loads((EVIDENCE / f"{name}.json").read_text("utf-8")) for key, name in files.items()}


@pytest.fixture
def evidence() -> Json:
    records = copy.deepcopy(stored())
    del records["run"]
    return records


def rendered(phase: Any, evidence: Json, lang: str) -> document.Document:
    return document.render(phase, Evidence.from_json(stored()["run"], evidence, EVIDENCE), lang)


def composed(evidence: Json, lang: str = "en", phase: Any = PHASE) -> str:
    return rendered(phase, evidence, lang).text


def finding(check: str, target: str, object: str, have: str, verdict: str = "PASS") -> Json:
    row = {"check": check, "target": target, "object": object, "have": have, "want": "w"}
    return row | {"verdict": verdict, "hint": ""}


# Dumps


def proved(evidence: Json, *findings: Json) -> Json:
    answers = evidence["backup"]["answers"]
    answers["prove"] = {**answers["dump"], "findings": list(findings), "facts": {"restored": {}}}
    return evidence


def with_rows(evidence: Json) -> Json:
    data = {"path": "data_backup_x", "files": 4, "size_bytes": 4711, "sha256": SHA, "complete": True}
    evidence["backup"]["answers"]["dump"]["facts"]["dumps"]["leader"]["data"] = data
    return evidence


def test_what_the_restore_of_a_dump_showed_is_told(evidence: Json) -> None:
    same = "catalogue 1234567812345678 in PostgreSQL 18.6"
    text = composed(proved(evidence, finding("dump_restores", "leader", "schema", same)))
    assert f"  - ✅ Restored in a scratch cluster: `{same}` *(backup · dump_restores)*" in text
    assert text.count("  - Not restored.") == 1  # the other dump
    failed = finding("dump_restores", "leader", "schema", "catalogue 0 in PostgreSQL 18.6: table a", "FAIL")
    assert "  - ❌ Restored in a scratch cluster: `catalogue 0 in" in composed(proved(evidence, failed))


def test_rows_that_were_dumped_are_told_with_their_restore(evidence: Json) -> None:
    assert "With its rows" not in composed(evidence)
    text = composed(with_rows(evidence))
    assert f"  - With its rows: `backup/data_backup_x`, 4 files, 4.6 KiB, SHA-256 `{SHA}`" in text
    assert "  - Its rows were not restored." in text
    restored = finding("data_restores", "leader", "data_backup_x", "restored in PostgreSQL 18.6")
    text = composed(proved(evidence, restored))
    assert "  - ✅ Its rows restored in a scratch cluster: `restored in PostgreSQL 18.6`" in text
    assert "Its rows were not restored." not in text


# Rows of a file


def declared(evidence: Json, *, keep_rows: bool = True) -> Json:
    """Add what seed verification records of a file: a million rows of two tenants, one of which is not whole."""
    answer = evidence["seed_verification"]["answers"]["rows"]
    if not keep_rows:
        answer |= {"findings": [], "facts": {"rows": []}}
    sets = [
        ("kbz_test", 999_990, {}),
        ("tenant_test_dev", 10, {"missing": 3, "different": 1, "unexpected": 7}),
    ]
    answer["facts"]["sets"] = [
        {"target": target, "table": TABLE, "tenant": tenant, "declared": number, **wrong}
        for target in ("leader", "replica")
        for tenant, number, wrong in sets
    ]
    answer["findings"] += [
        finding("seed_rows_are", target, f"{TABLE}[{tenant}]", "3 missing: a" if wrong else f"{number} rows",
                "FAIL" if wrong else "PASS")
        for target in ("leader", "replica")
        for tenant, number, wrong in sets
    ]  # fmt: skip
    return evidence


def test_rows_of_a_file_are_told_in_numbers_by_tenant(evidence: Json) -> None:
    text = composed(declared(evidence), phase=FILED)
    assert "### `OAuthState` — rows of `states.csv`" in text
    assert "| kbz_test | 999990 | ✅ leader, ✅ replica |" in text
    assert "| tenant_test_dev | 10 | ❌ leader (3 missing: a), ❌ replica (3 missing: a) |" in text
    assert "rows as declared: 2000010 of 2000018" in text  # 18 of the phase file, both on two targets
    assert "- Declared rows: ❌ 2000010 of 2000018" in text
    assert "(seed_verification · seed_row_is, seed_rows_are)" in text


def test_a_phase_whose_rows_are_all_in_files_has_no_empty_table(evidence: Json) -> None:
    text = composed(declared(evidence, keep_rows=False), phase=ONLY_FILED)
    assert "| As declared at |\n|---|\n" not in text
    assert "- Declared rows: ❌ 1999992 of 2000000 *(seed_verification · seed_rows_are)*" in text


def test_rows_that_could_not_be_compared_are_not_numbered(evidence: Json) -> None:
    answer = evidence["seed_verification"]["answers"]["rows"]
    answer["findings"].append(finding("seed_rows_are", "leader", TABLE, "the server went away", "ERROR"))
    assert "| all | — | ❌ leader (the server went away) |" in composed(evidence, phase=FILED)


def test_both_languages_say_the_same_figures(evidence: Json) -> None:
    for given in (evidence, declared(with_rows(evidence))):
        en, fr = (rendered(FILED, given, lang) for lang in ("en", "fr"))
        assert markdown.figures(en.text, en.worded) == markdown.figures(fr.text, fr.worded)


# Rows of the phase file


def test_rows_with_different_columns_and_values_that_look_alike_are_told(evidence: Json) -> None:
    rows = ({"id": "a", "x": "1"}, {"id": "b", "y": ""}, {"id": "c", "x": "NULL", "y": "z"})
    phase = replace(PHASE, seeds=(Seeds(table="public.T", key=("id",), rows=rows),))
    answer = evidence["seed_verification"]["answers"]["rows"]
    answer["findings"] = [
        finding("seed_row_is", "leader", f"public.T[{row['id']}]", "as declared") for row in rows
    ]
    answer["facts"] = {
        "rows": [
            {"target": "leader", "table": "public.T", "tenant": None, "row": found}
            for found in ({"id": "a", "x": None}, {"id": "b", "y": ""}, {"id": "c", "x": "NULL", "y": "z"})
        ],
        "sets": [],
    }
    for lang in ("en", "fr"):
        text = composed(evidence, lang, phase)
        assert "| `a` | `NULL` | — | ✅ leader |" in text
        assert "| `b` | — | `''` | ✅ leader |" in text
        assert "| `c` | `'NULL'` | `z` | ✅ leader |" in text


def test_a_phase_without_seeds_and_routes_claims_nothing_of_them(evidence: Json) -> None:
    phase = replace(PHASE, seeds=(), routes=(), services={}, checklist=())
    skipped = {
        "check": "seed_row_is",
        "target": "-",
        "object": "phase",
        "have": "the phase declares no seeds",
    }
    evidence["seed_verification"]["answers"]["rows"] |= {
        "findings": [{**skipped, "want": "asked where declared", "verdict": "SKIP", "hint": ""}],
        "facts": {"rows": [], "sets": []},
    }
    evidence["api_routes"]["answers"]["routes"]["findings"] = []
    text = composed(evidence, "en", phase)
    assert "Declared rows" not in text
    assert "Every declared route is served" not in text
