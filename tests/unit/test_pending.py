"""What is planned is judged later; what a plan does not explain stays red."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from runbooks_lib.findings import Finding, Verdict
from runbooks_lib.phase import load_phase
from runbooks_lib.steps.pending import JUDGED_LATER, NOTHING_TO_COME, Pending, ToCome, filled_and_added
from runbooks_lib.steps.pending_migrations import made_by

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
    assert filled_and_added(phase) == NOTHING_TO_COME
    assert phase.baseline is not None
    phase = replace(phase, folder=tmp_path, baseline=replace(phase.baseline, source=None))
    assert filled_and_added(phase) == NOTHING_TO_COME, "no file: step 3 says so"
    file = tmp_path / phase.baseline.file
    file.write_text(
        "INSERT INTO a VALUES (1) ON CONFLICT DO NOTHING; CREATE TABLE IF NOT EXISTS b ();"
        "ALTER TABLE b ADD IF NOT EXISTS c int, ADD IF NOT EXISTS d int; ALTER TABLE b ADD IF NOT EXISTS e int"
    )
    assert filled_and_added(phase) == ToCome(
        filled=frozenset({"public.a"}),
        adds=frozenset({("public.b", "c"), ("public.b", "d"), ("public.b", "e")}),
    )
    file.write_text("no SQL")
    assert filled_and_added(phase) == NOTHING_TO_COME


def test_what_a_migration_makes_is_of_the_projects_schema() -> None:
    script = (
        'CREATE TABLE "Order" (id int); CREATE TYPE state AS ENUM (); CREATE INDEX i ON "Order" (id);'
        "INSERT INTO lists VALUES (1); ALTER TABLE public.old ADD note text, DROP id;"
        "ALTER TYPE state ADD VALUE 'new'; ALTER TYPE state RENAME VALUE 'a' TO 'b'; UPDATE lists SET id = 2"
    )
    assert made_by(script, "app") == ToCome(
        made=frozenset({("relation", "app.Order"), ("enum", "app.state"), ("index", "app.i")}),
        adds=frozenset({("public.old", "note"), ("app.state", "new")}),
        filled=frozenset({"app.lists"}),
    )
    assert made_by("no SQL", "app") == NOTHING_TO_COME
