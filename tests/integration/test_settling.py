"""Every row of the table of what becomes of a migration: planned by step 3 and carried out by step 4, on a real lab."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from runbooks_lib.facts.databases import Dumps
from runbooks_lib.facts.writing import KeptPlan, Plan
from runbooks_lib.findings import CLOSING, Answer, Finding, Verdict
from runbooks_lib.phase import AcceptedMigration, Backup, Baseline, Column, Phase, Prisma, Schema, Table
from runbooks_lib.postgres.rows.done import Judged
from runbooks_lib.postgres.script.data_statements import DataStatement
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.steps import (
    backup,
    baseline_migration,
    deploy_rehearsal,
    preflight,
    prisma_look,
    prisma_resolve,
)

from .conftest import PHASE, Place

A, B, C = "1_base", "2_more", "3_late"
MAKE = "CREATE TABLE orders (id int PRIMARY KEY, total int);"
INDEX = "CREATE INDEX orders_total ON orders (total);"
COLUMN = "ALTER TABLE orders ADD COLUMN note text;"
FILL = "UPDATE orders SET note = 'none' WHERE note IS NULL;"
FILL_ALL = "UPDATE orders SET total = total + 1"
ITEMS = "CREATE TABLE items (id int PRIMARY KEY);"
MORE = "\n".join((INDEX, COLUMN, FILL, ITEMS))
ROWS = "INSERT INTO orders (id, total) VALUES (1, 5), (2, 7);"


@dataclass(slots=True, kw_only=True)
class Shop:
    """A project of two migrations, and a database that the test brings into a state."""

    place: Place
    folder: Path
    settle: tuple[str, ...] | None = None
    accept: tuple[AcceptedMigration, ...] = ()
    baseline: str = ""
    rows: bool = False

    @property
    def phase(self) -> Phase:
        leader = replace(PHASE.targets["leader"], database=self.place.database)
        baseline = None
        if self.baseline:
            (self.folder / "baseline.sql").write_text(self.baseline)
            baseline = Baseline(file="baseline.sql", target="leader")
        return replace(
            PHASE,
            folder=self.folder,
            targets={"leader": leader},
            tables=(),
            enums=(),
            indexes=(),
            seeds=(),
            schema=Schema(),
            backup=Backup(targets=("leader",), data=("leader",) if self.rows else ()),
            baseline=baseline,
            prisma=Prisma(target="leader", settle=self.settle, accept=self.accept),
        )

    def has(self, *statements: str) -> None:
        self.place.execute("SET ROLE kb_backend", *statements)

    def plan(self) -> Answer:
        """Plan as the notebook does, after a backup."""
        phase = self.phase
        with Sessions(phase.targets, application_name="runbooks test", run="r") as sessions:
            folder = self.folder / str(len(list(self.folder.glob("*"))))
            folder.mkdir()
            dumped = backup.dump(phase, sessions, folder=folder)
            assert isinstance(dumped.facts, Dumps)
            return baseline_migration.plan(phase, sessions, dumps=dumped.facts.dumps, code="", folder=folder)

    def apply(self, plan: Plan, *, confirm: str | None = None) -> Answer:
        """Apply the plan, and let step 4 settle and confirm; return what closes, or the last answer."""
        phase = self.phase
        kept = KeptPlan(**{**{f: getattr(plan, f) for f in plan.__struct_fields__}, "run": "r"})
        with Sessions(phase.targets, application_name="runbooks test", run="r") as sessions:
            applied = baseline_migration.apply(
                phase,
                sessions,
                plan=plan,
                planned=kept,
                confirm=plan.confirmation if confirm is None else confirm,
                apply=True,
            )
            if applied.verdict in CLOSING:
                return applied
            prisma = prisma_resolve.command_line(phase, sessions)
            resolved = prisma_resolve.resolve(phase, sessions, prisma=prisma, plan=plan, apply=True)
            if resolved.verdict in CLOSING:
                return resolved
            return prisma_resolve.confirm(phase, sessions, prisma=prisma, apply=True)

    def recorded(self) -> list[str]:
        with self.place.admin() as conn:
            found = conn.execute(
                "SELECT migration_name FROM _prisma_migrations"
                " WHERE finished_at IS NOT NULL AND rolled_back_at IS NULL ORDER BY migration_name"
            )
            return [name for (name,) in found]


@pytest.fixture
def shop(place: Place, tmp_path: Path) -> Shop:
    for folder in place.migrations.glob("*/migration.sql"):
        folder.unlink()
        folder.parent.rmdir()
    place.execute(
        'DROP TABLE "OAuthState", inbound_addresses, inbound_connections, "MarketplaceSyncState",'
        ' "MarketplaceConnection" CASCADE',
        'DROP TYPE "MarketplaceType", "MarketplaceConnectionStatus", "InboundConnectionStatus",'
        ' "InboundValidationStatus" CASCADE',
        "DELETE FROM _prisma_migrations",
    )
    folder = tmp_path / "run"
    folder.mkdir()
    place.migrate(A, MAKE, run=False, record=False)
    place.migrate(B, MORE, run=False, record=False)
    return Shop(place=place, folder=folder)


def closing(answer: Answer) -> dict[tuple[str, str], Finding]:
    return {(f.check, f.object): f for f in answer.findings if f.verdict in CLOSING}


def would(plan: Plan) -> dict[str, str]:
    return {each.migration: each.action for each in plan.settlement}


def test_a_database_without_a_history_is_asked_what_it_has_of_every_migration(shop: Shop) -> None:
    shop.has(MAKE, ROWS, MORE)
    shop.place.execute("DROP TABLE _prisma_migrations")
    plan = shop.plan()
    assert closing(plan) == {}
    assert would(plan.facts) == dict.fromkeys((A, B), "prisma migrate resolve --applied")
    assert [row["object"] for row in plan.rows] == [A, B]
    answer = shop.apply(plan.facts)
    assert (closing(answer), answer.verdict) == ({}, Verdict.PASS)
    assert shop.recorded() == [A, B]
    with shop.place.admin() as conn:
        owner = conn.execute("SELECT tableowner FROM pg_tables WHERE tablename = '_prisma_migrations'")
        assert owner.fetchone() == ("kb_backend",)


def test_a_wrong_database_is_not_taken_for_one_without_a_history(shop: Shop) -> None:
    shop.place.execute("DROP TABLE _prisma_migrations")
    shop.has("CREATE TABLE of_another_program (id int)")
    plan = shop.plan()
    assert set(closing(plan)) == {("has_table", "public._prisma_migrations")}
    assert plan.facts.confirmation == ""


def test_what_was_never_run_is_rehearsed_in_a_copy_and_deployed(shop: Shop) -> None:
    shop.has(MAKE, ROWS)
    shop.place.record(A)
    shop.rows = True
    plan = shop.plan()
    assert closing(plan) == {}
    assert would(plan.facts) == {B: "prisma migrate deploy"}
    (rehearsed,) = plan.facts.deploys
    assert (rehearsed.migration, rehearsed.error) == (B, None)
    assert ("public.orders", "AccessExclusiveLock") in rehearsed.locks
    told = {f.object: f for f in plan.findings if f.check == "deploy_is_rehearsed"}
    assert (told[B].verdict, told["what they make"].verdict) == (Verdict.PASS, Verdict.PASS)
    assert {f.verdict for f in plan.findings if f.check == "data_statement_is_done"} == {Verdict.SKIP}
    answer = shop.apply(plan.facts)
    assert closing(answer) == {}
    assert shop.recorded() == [A, B]
    with shop.place.admin() as conn:
        assert conn.execute("SELECT DISTINCT note FROM orders").fetchall() == [("none",)]
        assert conn.execute("SELECT tableowner FROM pg_tables WHERE tablename = 'items'").fetchone() == (
            "kb_backend",
        )


def test_a_rehearsal_without_the_rows_of_what_it_changes_is_open(shop: Shop) -> None:
    shop.has(MAKE, ROWS)
    shop.place.record(A)
    plan = shop.plan()
    told = {f.object: f for f in plan.findings if f.check == "deploy_is_rehearsed"}
    assert (told[B].verdict, told["what they make"].verdict) == (Verdict.OPEN, Verdict.PASS)
    assert "rows were not in the copy" in told[B].hint
    (shop.place.migrations / B / "migration.sql").write_text(ITEMS)  # it touches nothing that is there
    told = {f.object: f for f in shop.plan().findings if f.check == "deploy_is_rehearsed"}
    assert told[B].verdict is Verdict.PASS
    (shop.place.migrations / B / "migration.sql").write_text("DELETE FROM orders WHERE total = 5;")
    told = {f.object: f for f in shop.plan().findings if f.check == "deploy_is_rehearsed"}
    assert set(told) == {B}, "of nothing that is made nothing is said to be as replayed"
    assert told[B].verdict is Verdict.OPEN


def test_a_plan_asks_for_no_rows_of_migrations_that_are_recorded(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def asking(conn: object, statements: Sequence[DataStatement], **more: Any) -> tuple[Judged, ...]:
        asked.append([statement.words for statement in statements])
        return ()

    monkeypatch.setattr(prisma_look, "judge_data", asking)
    shop.has(MAKE, MORE)
    shop.place.record(A)
    shop.place.record(B)
    assert (closing(shop.plan()), asked) == ({}, [])
    phase = shop.phase
    with Sessions(phase.targets, application_name="runbooks test") as sessions:
        prisma_resolve.live_schema(phase, sessions, prisma=prisma_resolve.command_line(phase, sessions))
    assert asked == [["UPDATE orders"]]


def test_preflight_expects_what_a_pending_migration_makes_and_nothing_less(shop: Shop) -> None:
    shop.has(MAKE, ROWS)
    shop.place.record(A)
    tables = tuple(
        Table(name=f"public.{name}", owner="kb_backend", columns=None, primary_key=None)
        for name in ("orders", "items", "others")
    )
    phase = replace(shop.phase, tables=tables, enums=(), indexes=())
    with Sessions(phase.targets, application_name="runbooks test", run="r") as sessions:
        found, held = preflight.find_objects(phase, sessions), preflight.schema(phase, sessions)
        assert set(closing(found)) == {("object_is_found", "public.others")}
        assert set(closing(held)) == {("has_table", "public.others")}
        skipped = {f.object for f in held.findings if f.check == "has_table" and f.verdict is Verdict.SKIP}
        assert skipped == {"public.items"}
        shop.place.record(B)  # it says that it was run: then nothing may be missing
        found, held = preflight.find_objects(phase, sessions), preflight.schema(phase, sessions)
        assert ("object_is_found", "public.items") in closing(found)
        assert ("has_table", "public.items") in closing(held)


def test_what_a_baseline_and_a_pending_migration_add_to_a_table_may_both_be_missing(shop: Shop) -> None:
    shop.has(MAKE, ROWS)
    shop.place.record(A)
    (shop.place.migrations / B / "migration.sql").write_text(COLUMN)
    shop.baseline = "ALTER TABLE orders ADD COLUMN IF NOT EXISTS extra int;"
    declared = {"id": "integer", "total": "integer", "note": "text", "extra": "integer"}
    columns = tuple(Column(name=name, type=kind, not_null=name == "id") for name, kind in declared.items())
    phase = replace(shop.phase, tables=(Table(name="public.orders", columns=columns),))

    def of_columns() -> Finding:
        with Sessions(phase.targets, application_name="runbooks test", run="r") as sessions:
            held = preflight.schema(phase, sessions)
        return next(f for f in held.findings if f.check == "columns_are")

    assert (of_columns().verdict, "without note, extra" in of_columns().have) == (Verdict.SKIP, True)
    shop.place.record(B)  # it says that it was run: then its column is missing
    assert of_columns().verdict is Verdict.FAIL


def test_a_deploy_that_would_fail_is_red_before_anything_is_written(shop: Shop) -> None:
    shop.has(MAKE, ROWS)
    shop.place.record(A)
    (shop.place.migrations / B / "migration.sql").write_text("ALTER TABLE orders ADD CHECK (total > 5);")
    shop.rows = True
    plan = shop.plan()
    finding = closing(plan)["deploy_is_rehearsed", B]
    assert "line 1 ALTER TABLE orders" in finding.have
    assert plan.facts.confirmation == ""


@pytest.mark.parametrize(
    ("live", "failed", "stands", "said"),
    [
        (
            [INDEX],
            True,
            "part",
            "statement 1 of 4 stand; not: line 2 ALTER TABLE orders, line 4 CREATE TABLE items",
        ),
        *(
            (
                [INDEX, COLUMN, ITEMS],
                failed,
                "all",
                "all that it makes stands; rows not changed: UPDATE orders: not done, 2 rows",
            )
            for failed in (False, True)
        ),
        (
            ["CREATE INDEX orders_total ON orders (id)"],
            False,
            "other",
            "line 1 CREATE INDEX on orders (something else stands",
        ),
    ],
)
def test_what_stands_in_part_is_refused_in_the_plan_and_has_no_confirmation(
    shop: Shop, live: list[str], failed: bool, stands: str, said: str
) -> None:
    shop.has(MAKE, ROWS, *live)
    shop.place.record(A)
    if failed:
        shop.place.record(B, finished=False)
    plan = shop.plan()
    finding = closing(plan)["migration_is_settled", B]
    assert said in finding.have
    assert [(each.migration, each.stands) for each in plan.facts.settlement] == [(B, stands)]
    assert would(plan.facts) == {B: "refused"}
    taken = f"{shop.place.database}:{plan.facts.hash[:8]}"
    assert (plan.facts.confirmation, len(plan.facts.hash)) == ("", 64)
    answer = shop.apply(plan.facts, confirm=taken)  # a hash out of plan.json
    assert answer.facts.applied is False
    assert shop.recorded() == [A]


@pytest.mark.parametrize("privilege", ["INSERT", "UPDATE"])
def test_a_history_that_the_role_may_not_write_is_refused_in_the_plan(shop: Shop, privilege: str) -> None:
    shop.has(MAKE, ROWS)
    with shop.place.admin() as admin:
        admin.execute(f"REVOKE {privilege} ON _prisma_migrations FROM keybuzz_operator".encode())
    finding = closing(shop.plan())["role_may", "write public._prisma_migrations"]
    assert finding.hint.endswith('GRANT INSERT, UPDATE ON "public"."_prisma_migrations" TO keybuzz_operator;')
    with shop.place.admin() as admin:
        admin.execute(f"GRANT {privilege} ON _prisma_migrations TO keybuzz_operator".encode())
    assert not closing(shop.plan())


def test_the_baseline_completes_what_stands_in_part(shop: Shop) -> None:
    shop.has(MAKE, INDEX)
    shop.place.record(A)
    shop.place.record(B, finished=False)
    shop.baseline = (
        "ALTER TABLE public.orders ADD COLUMN IF NOT EXISTS note text;\n"
        "CREATE TABLE IF NOT EXISTS public.items (id int NOT NULL, CONSTRAINT items_pkey PRIMARY KEY (id));\n"
    )
    plan = shop.plan()
    assert closing(plan) == {}
    (b,) = plan.facts.settlement
    assert (b.stands, b.whole, b.completed, b.action) == (
        "part",
        "all",
        True,
        "prisma migrate resolve --applied",
    )
    answer = shop.apply(plan.facts)
    assert (closing(answer), answer.verdict) == ({}, Verdict.PASS)
    assert shop.recorded() == [A, B]


UNFILLED = (INDEX, COLUMN, ITEMS)
FILLS = "UPDATE public.orders SET note = 'none' WHERE note IS NULL;"


def test_the_baseline_fills_the_rows_that_a_mixed_migration_left_undone(shop: Shop) -> None:
    shop.has(MAKE, ROWS, *UNFILLED)
    shop.place.record(A)
    refused = shop.plan()
    assert would(refused.facts) == {B: "refused"}
    assert set(closing(refused)) == {
        ("migration_is_settled", B),
        ("data_statement_is_done", f"{B}/migration.sql:3"),
    }
    shop.baseline = FILLS
    plan = shop.plan()
    assert closing(plan) == {}
    (b,) = plan.facts.settlement
    assert (b.stands, b.whole, b.completed, b.action) == (
        "all",
        "all",
        True,
        "prisma migrate resolve --applied",
    )
    (filled,) = (f for f in plan.findings if f.check == "data_statement_is_done")
    assert (filled.verdict, "2 rows" in filled.have) == (Verdict.SKIP, True)
    with shop.place.admin() as conn:
        assert conn.execute("SELECT count(note) FROM orders").fetchone() == (0,), "a plan fills nothing"
    answer = shop.apply(plan.facts)
    assert (closing(answer), answer.verdict) == ({}, Verdict.PASS)
    assert shop.recorded() == [A, B]
    with shop.place.admin() as conn:
        assert conn.execute("SELECT DISTINCT note FROM orders").fetchall() == [("none",)]


@pytest.mark.parametrize(
    "baseline",
    [
        "UPDATE public.orders SET note = 'none' WHERE note IS NULL AND id = 1;",  # of one row alone
        "UPDATE public.orders SET note = 'other' WHERE note IS DISTINCT FROM 'other' AND false;",
        "INSERT INTO public.orders (id, note) VALUES (3, 'none') ON CONFLICT DO NOTHING;",
    ],
)
def test_a_baseline_that_fills_other_rows_completes_nothing(shop: Shop, baseline: str) -> None:
    shop.has(MAKE, ROWS, *UNFILLED)
    shop.place.record(A)
    shop.baseline = baseline
    plan = shop.plan()
    assert would(plan.facts) == {B: "refused"}
    assert (plan.facts.confirmation, "migration_is_settled" in {check for check, _ in closing(plan)}) == (
        "",
        True,
    )


def test_the_baseline_makes_the_column_and_fills_it(shop: Shop) -> None:
    shop.has(MAKE, ROWS, INDEX, ITEMS)
    shop.place.record(A)
    shop.place.record(B, finished=False)
    shop.baseline = f"ALTER TABLE public.orders ADD COLUMN IF NOT EXISTS note text;\n{FILLS}"
    plan = shop.plan()
    assert closing(plan) == {}
    assert would(plan.facts) == {B: "prisma migrate resolve --applied"}
    answer = shop.apply(plan.facts)
    assert (closing(answer), answer.verdict) == ({}, Verdict.PASS)
    assert shop.recorded() == [A, B]


def test_the_baseline_inserts_the_rows_that_a_migration_left_undone(shop: Shop) -> None:
    shop.has(MAKE, ITEMS)
    shop.place.record(A)
    (shop.place.migrations / B / "migration.sql").write_text(
        f"{ITEMS}\nINSERT INTO items (id) VALUES (1), (2);"
    )
    assert would(shop.plan().facts) == {B: "refused"}
    shop.baseline = (
        "INSERT INTO public.items SELECT 1 WHERE NOT EXISTS (SELECT FROM public.items WHERE id = 1);\n"
    )
    assert would(shop.plan().facts) == {B: "refused"}
    shop.baseline += "INSERT INTO public.items (id) VALUES (2) ON CONFLICT DO NOTHING;"
    plan = shop.plan()
    assert closing(plan) == {}
    answer = shop.apply(plan.facts)
    assert (closing(answer), answer.verdict) == ({}, Verdict.PASS)
    assert shop.recorded() == [A, B]


def test_a_deploy_is_rehearsed_after_the_baseline_that_it_rests_on(shop: Shop) -> None:
    shop.has(MAKE, INDEX, COLUMN)
    shop.place.record(A)
    shop.baseline = (
        "CREATE TABLE IF NOT EXISTS public.items (id int NOT NULL, CONSTRAINT items_pkey PRIMARY KEY (id));"
    )
    shop.place.migrate(C, "ALTER TABLE items ADD COLUMN name text;", run=False, record=False)
    plan = shop.plan()
    assert closing(plan) == {}
    assert would(plan.facts) == {B: "prisma migrate resolve --applied", C: "prisma migrate deploy"}
    answer = shop.apply(plan.facts)
    assert (closing(answer), answer.verdict) == ({}, Verdict.PASS)
    assert shop.recorded() == [A, B, C]


def test_a_deploy_is_not_rehearsed_where_its_baseline_fails_in_the_copy(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a baseline is refused by itself, too: here only what the rehearsal is given differs."""
    shop.has(MAKE)
    shop.place.record(A)
    shop.baseline = "CREATE TABLE IF NOT EXISTS public.articles (id int NOT NULL, PRIMARY KEY (id));"
    monkeypatch.setattr(deploy_rehearsal, "read_sql", lambda phase: "SELECT 1 / 0")
    finding = closing(shop.plan())["migration_is_settled", "migrations"]
    assert finding.verdict is Verdict.ERROR
    assert "baseline.sql does not run in the copy" in finding.have


def test_what_is_recorded_and_missing_is_red_and_told_with_the_statement_that_made_it(shop: Shop) -> None:
    shop.has(MAKE, MORE, "DROP INDEX orders_total")
    shop.place.record(A)
    shop.place.record(B)
    plan = shop.plan()
    assert set(closing(plan)) == {("migration_objects_stand", "index public.orders_total")}
    hint = closing(plan)["migration_objects_stand", "index public.orders_total"].hint
    assert f"{B}/migration.sql:1 (CREATE INDEX on orders)" in hint
    assert INDEX in hint


def test_rows_that_a_recorded_migration_would_still_change_are_open(shop: Shop) -> None:
    shop.has(MAKE, MORE, ROWS)
    shop.place.record(A)
    shop.place.record(B)
    phase = shop.phase
    with Sessions(phase.targets) as sessions:
        prisma = prisma_resolve.command_line(phase, sessions)
        answer = prisma_resolve.live_schema(phase, sessions, prisma=prisma)
    (done,) = (f for f in answer.findings if f.check == "data_statement_is_done")
    assert (done.object, done.verdict) == (f"{B}/migration.sql:3", Verdict.OPEN)
    assert "2 rows" in done.have


def test_rows_that_nobody_can_judge_are_recorded_only_where_something_speaks_for_them(shop: Shop) -> None:
    shop.has(MAKE, MORE)
    shop.place.record(A)
    block = f"DO $$ BEGIN {FILL_ALL}; END $$;"
    shop.place.migrate(C, block, run=False, record=False)
    plan = shop.plan()
    refused = closing(plan)["migration_is_settled", C]
    assert "Nothing tells whether any of it was done" in refused.hint
    assert f"prisma migrate resolve --applied {C}" in refused.hint
    assert (would(plan.facts)[C], plan.facts.confirmation) == ("refused", "")
    script = shop.place.migrations / C / "migration.sql"
    script.write_text(
        f"CREATE FUNCTION f() RETURNS void LANGUAGE sql AS '{FILL_ALL}'; SELECT f(); DROP FUNCTION f();"
    )
    assert would(shop.plan().facts)[C] == "refused", "it would be run twice"
    script.write_text("CREATE ROLE of_the_server;")
    assert would(shop.plan().facts)[C] == "refused", "no catalogue of a database has it"
    script.write_text(block)
    shop.place.migrate(
        "4_last", "CREATE TABLE last (id int);", record=False
    )  # it was run, and so was what is before it
    plan = shop.plan()
    assert closing(plan) == {}
    assert would(plan.facts)[C] == "prisma migrate resolve --applied"
    block_is = [f.verdict for f in plan.findings if f.object == f"{C}/migration.sql:1"]
    assert block_is == [Verdict.OPEN]


def test_two_phases_are_no_deadlock_and_a_deploy_of_one_is_refused(shop: Shop) -> None:
    shop.has(MAKE, MORE)
    shop.place.record(A)
    shop.place.migrate(C, "CREATE INDEX late ON items (id);", run=True, record=False)
    for named, other in ((B, C), (C, B)):
        shop.settle = (named,)
        plan = shop.plan()
        assert closing(plan) == {}
        assert would(plan.facts) == {named: "prisma migrate resolve --applied", other: "left as it is"}
        assert {f.have for f in plan.findings if f.check == "no_other_migration_is_pending"} == {other}
    answer = shop.apply(plan.facts)
    assert closing(answer) == {}
    assert (answer.verdict, shop.recorded()) == (Verdict.OPEN, [A, C])
    shop.has("DROP TABLE items")
    shop.place.execute(f"DELETE FROM _prisma_migrations WHERE migration_name = '{C}'")
    shop.settle = (C,)
    plan = shop.plan()
    assert f"{B} too, which this phase does not name" in closing(plan)["migration_is_settled", C].hint


def test_a_migration_of_the_database_alone_is_red_unless_it_is_accepted(shop: Shop) -> None:
    shop.has(MAKE, MORE)
    for name in (A, B, "0_elsewhere"):
        shop.place.record(name)
    assert closing(shop.plan()) != {}
    shop.accept = (AcceptedMigration(migration="0_elsewhere", why="of the old project"),)
    plan = shop.plan()
    assert closing(plan) == {}
    assert [f.hint for f in plan.findings if f.object == "0_elsewhere"] == ["accepted: of the old project"]


def test_what_changes_between_plan_and_apply_is_refused_before_it_is_written(shop: Shop) -> None:
    shop.has(MAKE)
    shop.place.record(A)
    plan = shop.plan()
    shop.place.record(B, finished=False)
    answer = shop.apply(plan.facts)
    assert set(closing(answer)) == {("plan_is_confirmed", "settlement of the migrations")}
    assert shop.recorded() == [A]
