"""Migrations that take rows away from what stands again as it was: the catalogue is the same, run or not."""

from __future__ import annotations

import pytest

from runbooks_lib.findings import Answer, Finding, Verdict
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.prisma.settlement import Action
from runbooks_lib.steps.prisma_look import command_line, look_at_all, prove_target

from .conftest import Place

BASE, AGAIN, LATER = "20270101000000_base", "20270102000000_again", "20270103000000_later"
TABLE = "CREATE TABLE kept (id serial PRIMARY KEY, a text, b text, at timestamp);\n"
AS_IT_WAS = "stands again as it was"
ROWS = "SET ROLE kb_backend; INSERT INTO kept (a, b, at) VALUES ('a', 'b', '2020-01-01 12:00')"
DROP, MAKE = "ALTER TABLE kept DROP COLUMN b;", "ALTER TABLE kept ADD COLUMN b text;"
FORMS = {
    "a column in two statements": f"{DROP}\n{MAKE}",
    "a column in one statement": "ALTER TABLE kept DROP COLUMN b, ADD COLUMN b text;",
    "a column within a block": f"DO $$ BEGIN {DROP} {MAKE} END $$;",
    "a table": f"DROP TABLE kept;\n{TABLE}",
    "a table, if there": f"DROP TABLE IF EXISTS kept CASCADE;\n{TABLE}",
    "columns that change names": "ALTER TABLE kept RENAME a TO x;\nALTER TABLE kept RENAME b TO a;\n"
    "ALTER TABLE kept RENAME x TO b;",
    "another type and back": "ALTER TABLE kept ALTER at TYPE date;\nALTER TABLE kept ALTER at TYPE timestamp;",
    "a table copied into another of its shape": TABLE.replace("kept", "new")
    + "INSERT INTO new SELECT * FROM kept WHERE id > 1;\nDROP TABLE kept;\nALTER TABLE new RENAME TO kept;\n"
    "ALTER SEQUENCE new_id_seq RENAME TO kept_id_seq;\nALTER TABLE kept RENAME CONSTRAINT new_pkey TO kept_pkey;\n"
    "ALTER TABLE kept RENAME CONSTRAINT new_id_not_null TO kept_id_not_null;",
}


def of_rows(answer: Answer, name: str) -> list[Finding]:
    return [f for f in answer.findings if f.check == "data_statement_is_done" and f.object.startswith(name)]


@pytest.mark.parametrize("form", FORMS)
def test_a_recorded_migration_that_may_not_have_run_is_not_silently_green(place: Place, form: str) -> None:
    place.migrate(BASE, TABLE)
    place.migrate(AGAIN, FORMS[form], run=False)
    prisma = place.prisma()
    empty, _ = of_rows(place.ask("live_schema", prisma), AGAIN), place.execute(ROWS)
    assert not [f for f in empty if AS_IT_WAS in f.have], "without rows nothing can have been lost"
    found = of_rows(place.ask("live_schema", prisma), AGAIN)
    assert {f.verdict for f in found if AS_IT_WAS in f.have} == {Verdict.OPEN}, found


@pytest.mark.parametrize(
    ("again", "later"),
    [
        ("ALTER TABLE kept DROP COLUMN b, ADD COLUMN b int;", ""),  # the catalogue tells
        ("DROP TABLE kept;", "CREATE TABLE kept (id uuid, a text);"),
        ("ALTER TABLE kept DROP COLUMN IF EXISTS c;", "ALTER TABLE kept ADD COLUMN c text;"),
        ("ALTER TABLE kept ALTER at TYPE date;", "ALTER TABLE kept ALTER a TYPE varchar;"),
        (
            "CREATE VIEW seen AS SELECT a FROM kept;",
            "DROP VIEW seen; CREATE VIEW seen AS SELECT a FROM kept;",
        ),
    ],
)
def test_what_a_catalogue_tells_of_itself_is_not_doubted(place: Place, again: str, later: str) -> None:
    place.migrate(BASE, TABLE)
    place.execute(ROWS)
    place.migrate(AGAIN, again)
    place.migrate(LATER, later or "SELECT 1;")
    place.execute(
        "SET ROLE kb_backend; INSERT INTO kept (a) VALUES ('new')" if "uuid" not in later else "SELECT 1"
    )
    answer = place.ask("live_schema", place.prisma())
    assert of_rows(answer, AGAIN) + of_rows(answer, LATER) == []
    assert {f.verdict for f in answer.findings} <= {Verdict.PASS, Verdict.OPEN}


@pytest.mark.parametrize("filled", [False, True], ids=["empty", "with rows"])
@pytest.mark.parametrize(
    "scripts", [(f"DROP TABLE kept;\n{TABLE}", "SELECT 1;"), ("DROP TABLE kept;", TABLE)]
)
def test_a_lost_history_that_ends_with_the_same_table_is_recorded_and_never_run_again(
    place: Place, scripts: tuple[str, str], filled: bool
) -> None:
    for name, script in ((BASE, TABLE), (AGAIN, scripts[0]), (LATER, scripts[1])):
        place.migrate(name, script, record=False)
    if filled:
        place.execute(ROWS)
    with Sessions(place.phase.targets) as sessions:
        looked = look_at_all(place.phase, sessions, command_line(place.phase, sessions))
        settled = {
            m.migration: m
            for m in prove_target(place.phase, sessions, looked, None, ()).settlement.migrations
        }
    assert settled[BASE].recorded == "no"
    whole = [settled[name].untold for name in (AGAIN, LATER)]
    assert whole == [filled, False]
    assert settled[AGAIN].stands == settled[AGAIN].whole == "nothing"
    assert Action.DEPLOY not in {settled[name].action for name in (BASE, AGAIN, LATER)}
