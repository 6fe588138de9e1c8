"""A baseline that alters, indexes or refers to what it does not create: compared in a copy of the target's schema."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from runbooks_lib.drafting.baseline import write_baseline
from runbooks_lib.findings import CLOSING, Answer, Finding, Verdict
from runbooks_lib.lab.lab import Lab
from runbooks_lib.phase import Phase, load_phase
from runbooks_lib.postgres.catalog.differences import from_plain
from runbooks_lib.postgres.scratch.baseline_effects import IN_COPY, IN_EMPTY
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.steps import backup
from runbooks_lib.steps import baseline_migration as step

SHIPPED = load_phase(str(Path(__file__).parents[1] / "phases" / "PH15-AMAZON-DB-FOUNDATION-01"))
DATABASE = "beside_test"
BEFORE = """
CREATE TYPE grade AS ENUM ('low', 'high');
CREATE TABLE shops (id int PRIMARY KEY, name text NOT NULL, grade grade, city text);
CREATE TABLE items (id int PRIMARY KEY, shop int REFERENCES shops);
CREATE VIEW open_shops AS SELECT id, name FROM shops;
INSERT INTO shops VALUES (1, 'one', 'low', 'Paris');
"""
SCRIPT = """
DO $$ BEGIN CREATE TYPE public.grade AS ENUM ('low', 'high'); EXCEPTION WHEN duplicate_object THEN NULL; END $$;
ALTER TYPE public.grade ADD VALUE IF NOT EXISTS 'top';
ALTER TABLE public.shops ADD COLUMN IF NOT EXISTS phone text NOT NULL DEFAULT '', ADD COLUMN IF NOT EXISTS zip text;
CREATE INDEX IF NOT EXISTS shops_name_idx ON public.shops (name);
CREATE TABLE IF NOT EXISTS public.visits (id int PRIMARY KEY, shop int NOT NULL REFERENCES public.shops);
INSERT INTO public.visits VALUES (1, 1) ON CONFLICT DO NOTHING;
"""


@pytest.fixture
def db(lab: Lab) -> Iterator[psycopg.Connection[Any]]:
    """A database with tables of its own, of the owner of the phase; a superuser's session in it."""
    name = sql.Identifier(DATABASE)
    with lab.admin("postgres") as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE keybuzz").format(name))
        try:
            with lab.admin(DATABASE) as conn:
                conn.execute("SET ROLE kb_backend")
                conn.execute(BEFORE)
                yield conn
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


class Operator:
    """Who plans, rehearses and applies one script."""

    def __init__(self, folder: Path, script: str) -> None:
        (folder / "baseline.sql").write_text(script)
        target = replace(SHIPPED.targets["legacy"], database=DATABASE)
        self.folder = folder
        self.phase: Phase = replace(
            SHIPPED,
            folder=folder,
            targets={"legacy": target},
            backup=replace(SHIPPED.backup, targets=("legacy",)),
            prisma=None,
            tables=(),
            enums=(),
            indexes=(),
        )
        self.dumps = self.ask(backup.dump, folder=folder).facts.dumps

    def ask(self, question: Any, **options: Any) -> Answer:
        with Sessions(self.phase.targets, application_name="runbooks tests") as sessions:
            answer: Answer = question(self.phase, sessions, **options)
        return answer

    def plan(self, **changes: Any) -> Answer:
        return self.ask(step.plan, **{"dumps": self.dumps, "code": "c", "folder": self.folder, **changes})

    def rehearse(self, plan: Answer) -> Answer:
        return self.ask(step.rehearse, plan=plan.facts)


@pytest.fixture
def operator(db: psycopg.Connection[Any], tmp_path: Path) -> Operator:
    return Operator(tmp_path, SCRIPT)


def states(plan: Answer) -> list[str]:
    return [row.would for row in plan.facts.statements]


def verdicts(answer: Answer) -> set[Verdict]:
    """Those of a rehearsal, but for the way back."""
    return {f.verdict for f in answer.findings if f.check != "undo_restores"}


def closing(answer: Answer) -> dict[str, Finding]:
    return {f.object: f for f in answer.findings if f.verdict in CLOSING}


def test_planned_and_rehearsed(operator: Operator) -> None:
    plan = operator.plan()
    assert {f.verdict for f in plan.findings} == {Verdict.PASS}, plan.findings
    assert {f.want for f in plan.findings} == {f"absent, or equal to what the script makes {IN_COPY}"}
    assert plan.facts.where == IN_COPY
    assert states(plan) == [
        "would change", "would change", "would change", "would create", "would create", "would run",
    ]  # fmt: skip
    made = from_plain(plan.facts.makes)
    assert set(made) == {
        ("columns", "public.shops"),
        ("columns", "public.visits"),
        ("relation", "public.visits"),
        ("constraint", "public.visits.visits_pkey"),
        ("constraint", "public.visits.visits_shop_fkey"),
        ("index", "public.visits_pkey"),
        ("index", "public.shops_name_idx"),
        ("enum", "public.grade"),
    }
    assert made["enum", "public.grade"] == (("owner", "kb_backend"), ("labels", ("low", "high", "top")))
    assert {tuple(key) for key in plan.facts.pending} == set(made)
    rehearsal = operator.rehearse(plan)
    assert verdicts(rehearsal) == {Verdict.PASS}, rehearsal.findings
    (undo,) = (f for f in rehearsal.findings if f.check == "undo_restores")
    assert (undo.verdict, "enum public.grade" in undo.have) == (Verdict.OPEN, True), undo
    assert any(f.have == f"8 of 8 as {IN_COPY}" for f in rehearsal.findings)


def test_what_stands_is_the_same_wherever_its_columns_are(
    operator: Operator, db: psycopg.Connection[Any]
) -> None:
    """A column that was added long ago is not the last one."""
    db.execute(SCRIPT)
    db.execute("ALTER TABLE shops ADD COLUMN later text; CREATE INDEX by_hand ON shops (phone, city)")
    db.execute("RESET ROLE; GRANT INSERT ON visits, shops TO keybuzz_operator")
    forget(operator.folder)
    again = Operator(operator.folder, SCRIPT)
    plan = again.plan()
    assert states(plan) == ["exists, same"] * 5 + ["would run"], plan.findings
    assert plan.facts.pending == []
    rehearsal = again.rehearse(plan)
    assert verdicts(rehearsal) == {Verdict.PASS}, rehearsal.findings


def forget(folder: Path) -> None:
    for file in folder.glob("schema_backup_*"):
        file.unlink()


@pytest.mark.parametrize(
    ("hidden", "object", "words"),
    [
        ("ALTER TABLE shops ADD zip text, ADD phone integer", "public.shops", "phone integer"),
        ("ALTER TABLE shops ADD zip text, ADD phone text", "public.shops", "default"),
        ("CREATE INDEX shops_name_idx ON shops (city)", "public.shops_name_idx", "(city)"),
        ("ALTER TABLE shops ADD CONSTRAINT shops_name_idx UNIQUE (name)", "public.shops_name_idx", "UNIQUE"),
        ("CREATE INDEX shops_name_idx ON items (shop)", "public.shops_name_idx", "items"),
        (
            "CREATE TABLE visits (id int PRIMARY KEY, shop int NOT NULL)",
            "public.visits",
            "visits_shop_fkey: missing",
        ),
        ("CREATE VIEW visits AS SELECT 1 AS id", "public.visits", "kind v"),
        ("ALTER TYPE grade ADD VALUE 'top' BEFORE 'low'", "public.grade", "top, low, high"),
        ("ALTER TYPE grade ADD VALUE 'middle'", "public.grade", "middle"),
    ],
)
def test_another_shape_behind_if_not_exists_is_found(
    db: psycopg.Connection[Any], tmp_path: Path, hidden: str, object: str, words: str
) -> None:
    db.execute(hidden)
    operator = Operator(tmp_path, SCRIPT)
    plan = operator.plan()
    assert plan.facts.where == IN_COPY
    found = closing(plan)
    if object not in found:  # a label is still to come, so that the plan can only say "would change"
        found = closing(operator.rehearse(plan))
        object = "objects of the script"
    assert found[object].verdict is Verdict.FAIL
    assert words in found[object].have


def test_what_needs_nothing_is_still_compared_with_an_empty_database(
    db: psycopg.Connection[Any], tmp_path: Path
) -> None:
    plan = Operator(tmp_path, "CREATE TABLE IF NOT EXISTS shops (id int PRIMARY KEY)").plan()
    assert plan.facts.where == IN_EMPTY
    assert "name text" in closing(plan)["public.shops"].have


def dump_is_gone(operator: Operator, db: psycopg.Connection[Any]) -> str:
    forget(operator.folder)
    return "cannot be read"


def dump_is_cut(operator: Operator, db: psycopg.Connection[Any]) -> str:
    (file,) = operator.folder.glob("schema_backup_*")
    file.write_text(file.read_text().replace("REFERENCES", "REFERS TO"))
    return "does not restore"


def schema_has_changed(operator: Operator, db: psycopg.Connection[Any]) -> str:
    db.execute("ALTER TABLE items ADD note text")
    return "not the target's schema as it is now"


def script_needs_what_nobody_has(operator: Operator, db: psycopg.Connection[Any]) -> str:
    (operator.folder / "baseline.sql").write_text("CREATE INDEX IF NOT EXISTS i ON public.nowhere (id)")
    return "neither in an empty database nor in a copy"


@pytest.mark.parametrize(
    "harm", [dump_is_gone, dump_is_cut, schema_has_changed, script_needs_what_nobody_has]
)
def test_what_cannot_be_run_is_an_error(operator: Operator, db: psycopg.Connection[Any], harm: Any) -> None:
    words = harm(operator, db)
    plan = operator.plan()
    assert plan.verdict is Verdict.ERROR
    assert words in plan.findings[0].have
    assert not plan.facts


def test_without_a_folder_of_dumps_there_is_no_copy(operator: Operator) -> None:
    plan = operator.plan(folder=None)
    assert plan.verdict is Verdict.ERROR
    assert "does not run in an empty PostgreSQL" in plan.findings[0].have


def test_a_function_a_schema_and_an_extension_are_known_by_their_names(
    db: psycopg.Connection[Any], tmp_path: Path
) -> None:
    db.execute('RESET ROLE; CREATE SCHEMA "S" AUTHORIZATION kb_backend')
    db.execute('CREATE FUNCTION "S"."One"(n int) RETURNS int LANGUAGE sql AS \'SELECT 1\'')
    db.execute('ALTER FUNCTION "S"."One" OWNER TO kb_backend')
    script = 'CREATE SCHEMA IF NOT EXISTS "S";'
    script += 'CREATE OR REPLACE FUNCTION "S"."One"(n int) RETURNS int LANGUAGE sql AS $$SELECT {}$$;'
    script += 'CREATE OR REPLACE FUNCTION "S"."Two"() RETURNS bigint LANGUAGE sql AS $${}$$;'
    for body, first, state in (("1", "SELECT count(*) FROM shops", "same"), ("2", "SELECT 2", "DIFFERENT")):
        forget(tmp_path)
        plan = Operator(tmp_path, script.format(body, first)).plan()
        assert plan.facts.where == (IN_COPY if "shops" in first else IN_EMPTY)
        assert states(plan) == ["exists, same", f"exists, {state}", "would create"], plan.findings


def test_a_script_that_makes_nothing_is_judged_by_its_rehearsal(
    db: psycopg.Connection[Any], tmp_path: Path
) -> None:
    operator = Operator(tmp_path, "INSERT INTO public.shops VALUES (2, 'two') ON CONFLICT DO NOTHING")
    plan = operator.plan()
    assert [(f.verdict, f.have) for f in plan.findings] == [(Verdict.SKIP, "makes nothing that has a name")]
    rehearsal = operator.rehearse(plan)
    assert rehearsal.verdict is Verdict.PASS
    assert any(f.check == "rehearsal_is_inert" for f in rehearsal.findings)


def test_what_takes_a_value_of_a_sequence_is_applied_and_never_rehearsed_on_the_target(
    db: psycopg.Connection[Any], tmp_path: Path
) -> None:
    db.execute("CREATE TABLE numbered (id serial PRIMARY KEY, name text UNIQUE)")
    db.execute("INSERT INTO numbered (name) VALUES ('before'); RESET ROLE")
    script = "INSERT INTO public.numbered (name) VALUES ('before'), ('new') ON CONFLICT DO NOTHING;\n"
    script += "CREATE TABLE IF NOT EXISTS public.visits (id int PRIMARY KEY);"

    def stands_at() -> int:
        (number,) = db.execute("SELECT last_value FROM numbered_id_seq").fetchone() or (0,)
        return int(number)

    operator = Operator(tmp_path, script)
    parsed = operator.ask(step.parse)
    assert "default id of public.numbered takes a value" in parsed.findings[0].have
    plan = operator.plan()
    rehearsal = operator.rehearse(plan)
    (left,) = (f for f in rehearsal.findings if f.object.startswith("line 1"))
    assert parsed.findings[0].verdict is left.verdict is rehearsal.verdict is Verdict.OPEN
    assert f"rehearsed {plan.facts.where} alone" in left.have
    assert rehearsal.facts.left == (1,)
    assert stands_at() == 1
    confirm = plan.facts.confirmation
    applied = operator.ask(step.apply, plan=plan.facts, planned=None, confirm=confirm, apply=True)
    assert applied.verdict is Verdict.PASS, applied.findings
    assert db.execute("SELECT name FROM numbered ORDER BY name").fetchall() == [("before",), ("new",)]
    moved = stands_at()
    assert moved > 1
    second = operator.ask(step.second_run, apply=True)
    assert [f.verdict for f in second.findings] == [Verdict.OPEN]
    assert second.facts.rows == {}
    assert second.facts.sequences == ("public.numbered_id_seq",)
    assert stands_at() > moved


GUARDED = write_baseline(
    [
        ("before", BEFORE),
        (
            "it",
            "DROP VIEW open_shops; ALTER TABLE items RENAME COLUMN shop TO shop_id;"
            "ALTER TABLE shops DROP COLUMN city, ALTER COLUMN grade SET DEFAULT 'low', ALTER COLUMN id TYPE bigint;"
            "ALTER TABLE shops DROP COLUMN name, ADD COLUMN name int;"
            "ALTER TABLE items ADD CONSTRAINT items_positive CHECK (id > 0);"
            "CREATE POLICY mine ON items USING (true);",
        ),
    ],
    only={"it"},
).sql


def would(answer: Answer) -> dict[str, list[str]]:
    states: dict[str, list[str]] = {}
    for row in answer.rows:
        states.setdefault(row["object"], []).append(row["would"])
    return states


def test_what_stands_behind_a_guard_is_planned_as_what_it_is(
    db: psycopg.Connection[Any], tmp_path: Path
) -> None:
    operator = Operator(tmp_path, GUARDED)
    plan = operator.plan()
    assert would(plan) == {
        "public.items": ["would change", "would change"],
        "public.shops": ["would drop", "would change", "would change", "would drop", "would change"],
        "public.items.mine": ["would create"],
        "public.open_shops": ["would drop"],
    }
    assert {(f.object, f.verdict) for f in plan.findings if f.verdict is not Verdict.PASS} == {
        ("public.shops", Verdict.OPEN),
        ("public.open_shops", Verdict.OPEN),
    }
    assert plan.facts.where == IN_COPY
    rehearsal = operator.rehearse(plan)
    assert verdicts(rehearsal) == {Verdict.PASS}


def test_what_stands_behind_a_guard_and_is_done_is_the_same(
    db: psycopg.Connection[Any], tmp_path: Path
) -> None:
    db.execute("SET search_path = public")
    db.execute(GUARDED.encode())
    operator = Operator(tmp_path, GUARDED)
    plan = operator.plan()
    assert {state for states in would(plan).values() for state in states} == {"exists, same"}
    assert {f.verdict for f in plan.findings} == {Verdict.PASS}
    assert verdicts(operator.rehearse(plan)) == {Verdict.PASS}


def test_a_guard_hides_no_constraint_of_another_shape(db: psycopg.Connection[Any], tmp_path: Path) -> None:
    db.execute("ALTER TABLE items ADD CONSTRAINT items_positive CHECK (id > 7)")
    operator = Operator(tmp_path, GUARDED)
    plan = operator.plan()
    rehearsal = operator.rehearse(plan)
    closing = [f for f in (*plan.findings, *rehearsal.findings) if f.verdict in CLOSING]
    assert any("items_positive" in f.have for f in closing)
    assert {f.verdict for f in closing} == {Verdict.FAIL}
