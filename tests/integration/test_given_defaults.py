"""A column that a migration adds with a default, and somebody made without it: equal catalogues, and other rows."""

from __future__ import annotations

import pytest

from runbooks_lib.findings import Answer, Finding, Verdict

from .conftest import Place

BASE, ADDS, LATER = "20270101000000_base", "20270102000000_adds", "20270103000000_later"
TABLE = "CREATE TABLE kept (id serial PRIMARY KEY, a text);\n"
ROWS = "SET ROLE kb_backend; INSERT INTO kept (a) VALUES ('a'), ('b')"
ADD = "ALTER TABLE kept ADD COLUMN b text DEFAULT 'x';"
CAST = "ALTER TABLE kept ADD COLUMN b text DEFAULT NULL::text;"
BY_HAND = (
    "SET ROLE kb_backend; ALTER TABLE kept ADD COLUMN b text; ALTER TABLE kept ALTER COLUMN b SET DEFAULT 'x'"
)
MOVES = 'CREATE SCHEMA "Other"; GRANT USAGE ON SCHEMA "Other" TO keybuzz_operator; ALTER TABLE kept SET SCHEMA "Other";'
SAYS = "never given its default"


def of_rows(answer: Answer) -> list[Finding]:
    return [f for f in answer.findings if f.check == "data_statement_is_done"]


@pytest.mark.parametrize(
    ("adds", "later", "object"),
    [
        (ADD, "SELECT 1;", "public.kept"),
        (f"DO $$ BEGIN {ADD} END $$;", "SELECT 1;", "public.kept"),
        (ADD, "ALTER TABLE kept RENAME COLUMN b TO c;", "public.kept"),
        (ADD, "ALTER TABLE kept RENAME TO held;", "public.held"),
        (ADD, MOVES, "Other.kept"),
        (f"{ADD}\nALTER TABLE kept ALTER COLUMN b DROP DEFAULT;", "SELECT 1;", "public.kept"),
    ],
    ids=["added", "within a block", "renamed", "its table renamed", "moved", "its default dropped"],
)
def test_rows_that_never_got_it_are_open(place: Place, adds: str, later: str, object: str) -> None:
    place.migrate(BASE, TABLE)
    place.execute(ROWS)
    place.migrate(ADDS, adds, run=False)
    by_hand = BY_HAND.replace(" SET DEFAULT 'x'", " DROP DEFAULT") if "DROP DEFAULT" in adds else BY_HAND
    place.execute(by_hand)
    place.migrate(LATER, later)
    answer = place.ask("live_schema", place.prisma())
    found = [f for f in of_rows(answer) if SAYS in f.have]
    assert [(f.verdict, f.object) for f in found] == [(Verdict.OPEN, f"{ADDS}/migration.sql:1")]
    assert f"2 rows of {object} have NULL in" in found[0].have
    assert {f.verdict for f in answer.findings} <= {Verdict.PASS, Verdict.OPEN}, "the catalogue is the same"


@pytest.mark.parametrize(
    "then",
    [
        "SELECT 1",
        "UPDATE kept SET b = NULL WHERE a = 'a'",  # by the application, and the catalogue says it was given
        "DELETE FROM kept",
    ],
)
def test_a_migration_that_ran_is_believed_whatever_was_written_since(place: Place, then: str) -> None:
    place.migrate(BASE, TABLE)
    place.execute(ROWS)
    place.migrate(ADDS, ADD)
    place.execute(f"SET ROLE kb_backend; {then}")
    assert of_rows(place.ask("live_schema", place.prisma())) == []


@pytest.mark.parametrize(
    ("adds", "by_hand"),
    [
        (ADD, f"{BY_HAND}; UPDATE kept SET b = 'x'"),
        (ADD.replace("'x'", "NULL"), "SET ROLE kb_backend; ALTER TABLE kept ADD COLUMN b text"),
        (CAST, f"SET ROLE kb_backend; {CAST}"),
        (f"{ADD}\nALTER TABLE kept DROP COLUMN b;", "SELECT 1"),
        (ADD.replace("kept", "other").replace("ALTER", "CREATE TABLE other (id int);\nALTER"), "SELECT 1"),
    ],
    ids=["filled by hand", "of NULL", "of NULL that is cast", "dropped again", "of a table that is not there"],
)  # fmt: skip
def test_nothing_is_said_where_no_row_lacks_it(place: Place, adds: str, by_hand: str) -> None:
    place.migrate(BASE, TABLE)
    place.execute(ROWS)
    place.migrate(ADDS, adds, run=False)
    place.execute(by_hand)
    assert [f for f in of_rows(place.ask("live_schema", place.prisma())) if SAYS in f.have] == []


def test_rows_that_may_not_be_read_are_not_taken_for_given(place: Place) -> None:
    place.migrate(BASE, TABLE)
    place.execute(ROWS)
    place.migrate(ADDS, ADD, run=False)
    place.execute(f"{BY_HAND}; RESET ROLE; REVOKE ALL ON kept FROM PUBLIC, keybuzz_operator")
    found = of_rows(place.ask("live_schema", place.prisma()))
    assert [f.verdict for f in found] == [Verdict.OPEN]
    assert "may not SELECT" in found[0].have
