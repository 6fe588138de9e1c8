"""A schema's file says what must stand: with and without a baseline, with and without Prisma, on a real server."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from runbooks_lib.facts.databases import Dumps
from runbooks_lib.findings import Answer, Finding, Verdict
from runbooks_lib.phase import Backup, Baseline, Ignored, Phase, Prisma, Schema
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.steps import backup, baseline_migration, report

from .conftest import PHASE, Place
from .test_report_last_look import NOTHING

TABLE = "CREATE TABLE orders (\n  id int PRIMARY KEY,\n  total int\n);"
INDEX = "CREATE INDEX orders_total ON orders (total);"
SCHEMA = f"{TABLE}\n{INDEX}\n"
BASELINE = "CREATE INDEX IF NOT EXISTS orders_total ON public.orders (total);"


@dataclass(slots=True, kw_only=True)
class Filed:
    """A database that holds what a test puts there, and a phase with a schema's file."""

    place: Place
    folder: Path
    file: str = SCHEMA
    ignore: tuple[Ignored, ...] = ()
    baseline: str = ""
    prisma: bool = False

    @property
    def phase(self) -> Phase:
        (self.folder / "schema.sql").write_text(self.file)
        (self.folder / "baseline.sql").write_text(self.baseline)
        baseline = Baseline(file="baseline.sql", target="leader") if self.baseline else None
        return replace(
            PHASE,
            folder=self.folder,
            targets={"leader": replace(PHASE.targets["leader"], database=self.place.database)},
            tables=(),
            enums=(),
            indexes=(),
            seeds=(),
            schema=Schema(file="schema.sql", target="leader", ignore=self.ignore),
            backup=Backup(targets=("leader",)),
            baseline=baseline,
            prisma=Prisma(target="leader") if self.prisma else None,
        )

    def has(self, *statements: str) -> None:
        self.place.execute("SET ROLE kb_backend", *statements)

    def last_look(self) -> dict[str, Finding]:
        with Sessions(self.phase.targets, application_name="runbooks test") as sessions:
            return of_file(report.last_look(self.phase, sessions, evidence=NOTHING))

    def plan(self) -> Answer:
        phase = self.phase
        with Sessions(phase.targets, application_name="runbooks test", run="r") as sessions:
            dumped = backup.dump(phase, sessions, folder=self.folder)
            assert isinstance(dumped.facts, Dumps)
            return baseline_migration.plan(
                phase, sessions, dumps=dumped.facts.dumps, code="", folder=self.folder
            )


def of_file(answer: Answer) -> dict[str, Finding]:
    """Return what is said of the schema, by object, where it is not said of what the migrations make."""
    checks = ("migration_objects_stand", "nothing_is_beyond_the_migrations")
    return {f.object: f for f in answer.findings if f.check in checks}


@pytest.fixture
def filed(place: Place, tmp_path: Path) -> Filed:
    place.execute(
        'DROP TABLE "OAuthState", inbound_addresses, inbound_connections, "MarketplaceSyncState",'
        ' "MarketplaceConnection" CASCADE',
        'DROP TYPE "MarketplaceType", "MarketplaceConnectionStatus", "InboundConnectionStatus",'
        ' "InboundValidationStatus" CASCADE',
        "DELETE FROM _prisma_migrations",
    )
    folder = tmp_path / "phase"
    folder.mkdir()
    return Filed(place=place, folder=folder)


def test_a_database_that_has_what_the_file_makes_is_proved(filed: Filed) -> None:
    filed.has(TABLE, INDEX)
    found = filed.last_look()
    assert {name: f.verdict for name, f in found.items()} == {
        "every object of schema.sql": Verdict.PASS,
        "other objects": Verdict.PASS,
    }


def test_a_dump_of_the_database_is_such_a_file(filed: Filed) -> None:
    filed.has(TABLE, INDEX, "CREATE TYPE colour AS ENUM ('red')", "CREATE VIEW v AS SELECT id FROM orders")
    with Sessions(filed.phase.targets, application_name="runbooks test") as sessions:
        dumped = backup.dump(filed.phase, sessions, folder=filed.folder).facts
    assert isinstance(dumped, Dumps)
    filed.file = (filed.folder / dumped.dumps["leader"].path).read_text()
    found = filed.last_look()
    assert found.pop("every object of schema.sql").verdict is Verdict.PASS
    assert {f.verdict for f in found.values()} <= {Verdict.PASS, Verdict.OPEN}
    filed.has("DROP VIEW v")
    assert filed.last_look()["view public.v"].verdict is Verdict.FAIL


def test_what_is_missing_or_otherwise_is_red_and_named_with_its_line(filed: Filed) -> None:
    filed.has(TABLE.replace("total int", "total text"), "CREATE TABLE more (id int)")
    found = filed.last_look()
    index, columns = found["index public.orders_total"], found["columns public.orders"]
    assert (index.verdict, columns.verdict) == (Verdict.FAIL, Verdict.FAIL)
    assert index.hint.startswith("Made so by schema.sql:5 (CREATE INDEX on")
    assert INDEX in index.hint
    assert found["every object of schema.sql"].verdict is Verdict.FAIL
    assert found["other objects"].verdict is Verdict.OPEN
    filed.ignore = (Ignored(object="public.more", why="operations"), Ignored(object="*orders*", why="later"))
    found = filed.last_look()
    assert {f.verdict for f in found.values()} == {Verdict.PASS, Verdict.SKIP}


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("CREATE TABEL t ();", "syntax error"),
        ("CREATE TABLE t (id nowhere.colour);", "does not exist"),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE c AS 'x', 'y';", "does not run as an ordinary role"),
        ("-- nothing here", "makes nothing"),
        ("SET lock_timeout = '1s';", "makes nothing"),
    ],
)
def test_a_file_that_cannot_be_run_is_an_error_of_its_key(filed: Filed, file: str, said: str) -> None:
    filed.file = file
    (finding,) = filed.last_look().values()
    assert (finding.object, finding.verdict) == ("schema.file", Verdict.ERROR)
    assert said in finding.have


def test_rows_of_the_file_are_open(filed: Filed) -> None:
    filed.has(TABLE, INDEX)
    filed.file = SCHEMA + "INSERT INTO orders VALUES (1, 2);"
    assert filed.last_look()["schema.sql"].verdict is Verdict.OPEN


def test_what_the_baseline_makes_is_still_to_come_and_the_rest_is_red_before_anything_is_written(
    filed: Filed,
) -> None:
    filed.has(TABLE)
    filed.baseline = BASELINE
    plan = filed.plan()
    found = of_file(plan)
    assert found["index public.orders_total"].verdict is Verdict.SKIP
    assert found["every object of schema.sql"].verdict is Verdict.SKIP
    assert plan.facts.confirmation
    filed.file = SCHEMA + "CREATE TABLE items (id int);"
    plan = filed.plan()
    assert of_file(plan)["relation public.items"].verdict is Verdict.FAIL
    assert not plan.facts.confirmation


def test_what_migrations_are_still_to_make_is_to_come(filed: Filed) -> None:
    for folder in filed.place.migrations.glob("*/migration.sql"):
        folder.unlink()
        folder.parent.rmdir()
    filed.prisma = True
    filed.has(TABLE)
    filed.place.migrate("1_base", TABLE, run=False, record=False)
    filed.place.migrate("2_index", INDEX, run=False, record=False)
    plan = filed.plan()
    assert {each.migration: each.action for each in plan.facts.settlement} == {
        "1_base": "prisma migrate resolve --applied",
        "2_index": "prisma migrate deploy",
    }
    assert of_file(plan)["every object of schema.sql"].verdict is Verdict.SKIP
    assert plan.facts.confirmation
    filed.file = SCHEMA.replace("total int", "total text")
    assert not filed.plan().facts.confirmation
