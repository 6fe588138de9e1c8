"""What is planned is judged later; what a plan does not explain stays red."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from runbooks_lib.findings import Finding, Verdict
from runbooks_lib.phase import load_phase
from runbooks_lib.steps.pending import JUDGED_LATER, Pending, filled_and_added

MADE = (("kind", "r"), ("owner", "o"))
PENDING = Pending(
    objects={("relation", "public.a"): MADE, ("columns", "public.b"): ((("name", "id"), ("type", "text")),)},
    filled=frozenset({"public.c"}),
    empty=frozenset({"public.a", "public.d"}),
)


def finding(check: str, name: str, verdict: Verdict = Verdict.FAIL, want: str = "there") -> Finding:
    return Finding(check=check, target="t", object=name, have="absent", want=want, verdict=verdict, hint="h")


@pytest.mark.parametrize(
    ("check", "name", "want"),
    [
        ("has_table", "public.a", "there"),
        ("columns_are", "public.b", "n integer"),
        ("row_count_is", "public.a", "0"),
        ("row_count_is", "public.c", "3"),
    ],
)
def test_what_the_plan_explains_is_skipped_and_says_so(check: str, name: str, want: str) -> None:
    (later,) = PENDING.later([finding(check, name, want=want)])
    assert (later.verdict, later.have) == (Verdict.SKIP, f"absent; {JUDGED_LATER}")


@pytest.mark.parametrize(
    ("check", "name", "verdict"),
    [
        ("has_table", "public.b", Verdict.FAIL),  # only its columns are to change
        ("has_table", "public.other", Verdict.FAIL),
        ("table_owner_is", "public.a", Verdict.FAIL),
        ("row_count_is", "public.d", Verdict.FAIL),  # declared empty, but there already
        ("row_count_is", "public.b", Verdict.FAIL),  # to be changed, but nobody fills it
        ("has_table", "public.a", Verdict.ERROR),  # could not be looked at
        ("has_table", "public.a", Verdict.PASS),
    ],
)
def test_what_it_does_not_explain_stays_as_it_is(check: str, name: str, verdict: Verdict) -> None:
    found = finding(check, name, verdict)
    assert PENDING.later([found]) == (found,)


def test_what_is_to_be_deployed_is_skipped_too() -> None:
    pending = Pending(empty=frozenset({"public.new"})).with_deployed([("relation", "public.new")])
    found = [finding("has_table", "public.new"), finding("row_count_is", "public.new", want="0")]
    assert {each.verdict for each in pending.later(found)} == {Verdict.SKIP}
    assert pending.later([finding("has_table", "public.b")])[0].verdict is Verdict.FAIL


def test_what_a_baseline_fills(tmp_path: Path) -> None:
    phase = load_phase("PH15-AMAZON-DB-FOUNDATION-01")
    assert filled_and_added(phase) == (frozenset(), {})
    phase = replace(phase, folder=tmp_path)
    assert filled_and_added(phase) == (frozenset(), {}), "no file: step 3 says so"
    file = tmp_path / phase.baseline.file
    file.write_text(
        "INSERT INTO a VALUES (1) ON CONFLICT DO NOTHING; CREATE TABLE IF NOT EXISTS b ();"
        "ALTER TABLE b ADD IF NOT EXISTS c int, ADD IF NOT EXISTS d int; ALTER TABLE b ADD IF NOT EXISTS e int"
    )
    assert filled_and_added(phase) == ({"public.a"}, {"public.b": {"c", "d", "e"}})
    file.write_text("no SQL")
    assert filled_and_added(phase) == (frozenset(), {})
