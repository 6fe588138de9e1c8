"""A phase that is drafted from a project and a database: short, the same each time, and what it says is so."""

from __future__ import annotations

import configparser
import os
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner

from runbooks_lib.cli import commands
from runbooks_lib.drafting.apart import Apart
from runbooks_lib.drafting.phase_draft import Drafted, draft_phase
from runbooks_lib.drafting.seed_rows import read_wish
from runbooks_lib.errors import ConnectionFailed, PreconditionFailed
from runbooks_lib.facts.writing import Plan
from runbooks_lib.findings import CLOSING
from runbooks_lib.names import qualified
from runbooks_lib.phase import Phase, load_phase
from runbooks_lib.postgres.script.script import parse_script
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.steps import backup, baseline_migration

from .conftest import Place

NAME = "20260201000000_orders"
MIGRATION = """
-- CreateTable
CREATE TABLE "Order" (id text PRIMARY KEY, total integer);
-- CreateIndex
CREATE INDEX "Order_total_idx" ON "Order"(total);
ALTER TABLE "Order" ADD COLUMN note text;
UPDATE "Order" SET note = 'none' WHERE note IS NULL;
"""


@pytest.fixture
def shop(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A place whose database has a service of its own, `shop`, and `shop_standby` that leads to its standby."""
    services = configparser.ConfigParser(interpolation=None)
    services.read(os.environ["PGSERVICEFILE"])
    services["shop"] = {**services["keybuzz_leader"], "dbname": place.database}
    services["shop_standby"] = dict(services["keybuzz_replica"])
    file = tmp_path / "services.conf"
    with file.open("w") as written:
        services.write(written, space_around_delimiters=False)
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    return place


def drafted(folder: Path, *seeds: str) -> tuple[Drafted, str]:
    found = draft_phase("shop", folder, [read_wish(each) for each in seeds])
    return found, (folder / "phase.toml").read_text()


def uncommented(text: str, *begins: str) -> str:
    """The file with these commented lines put in force."""
    lines = text.splitlines()
    return "\n".join(
        line.replace("# {", "{", 1).replace("…", "it is known") if line.strip().startswith(begins) else line
        for line in lines
    )


def test_what_stands_as_the_migrations_make_it_needs_no_baseline(shop: Place, tmp_path: Path) -> None:
    found, text = drafted(tmp_path / "SHOP")
    assert 15 <= found.lines <= 60
    assert sorted(each.name for each in (tmp_path / "SHOP").iterdir()) == ["phase.toml"]
    assert (found.phase.id, found.phase.targets["leader"].database) == ("SHOP", shop.database)
    assert found.phase.prisma is not None
    assert found.phase.prisma.settle is None
    assert found.phase.owner == "kb_backend"
    assert found.phase.baseline is None
    assert "standbys that stream from it: 1" in text
    drafted(tmp_path / "again" / "SHOP")
    assert (tmp_path / "again" / "SHOP" / "phase.toml").read_text() == text


def test_what_is_missing_of_a_migration_that_stands_in_part_is_in_the_baseline(
    shop: Place, tmp_path: Path
) -> None:
    shop.migrate(NAME, MIGRATION, run=False, record=False)
    shop.execute("SET ROLE kb_backend", 'CREATE TABLE "Order" (id text PRIMARY KEY, total integer)')
    found, text = drafted(tmp_path / "SHOP")
    script = (tmp_path / "SHOP" / "baseline.sql").read_text()
    statements = parse_script(script)
    assert [(s.kind, s.object, s.refused) for s in statements] == [
        ("index", "public.Order_total_idx", ""),
        ("table", "public.Order", ""),
    ]
    assert "-- CreateIndex\nCREATE INDEX IF NOT EXISTS" in script
    assert found.phase.baseline is not None
    assert found.phase.baseline.target == "leader"
    assert f"it makes what is missing of {NAME}" in text
    shop.execute("SET ROLE kb_backend", *(s.text for s in statements))
    again, _ = drafted(tmp_path / "AGAIN")
    assert again.phase.baseline is None


def planned(phase: Phase) -> tuple[Plan, list[tuple[str, str, str]]]:
    """The plan of a drafted phase, and what closes its gate: object, what is there, hint."""
    with Sessions(phase.targets, application_name="runbooks tests") as sessions:
        dumped = backup.dump(phase, sessions, folder=phase.folder).facts
        answer = baseline_migration.plan(phase, sessions, dumps=dumped.dumps, code="c", folder=phase.folder)
    red = [(f.object, f.have, f.hint) for f in answer.findings if f.verdict in CLOSING]
    assert isinstance(answer.facts, Plan)
    return answer.facts, red


def apply_plan(phase: Phase, plan: Plan) -> None:
    """Rehearse and apply a plan, and run it a second time; nothing closes a gate."""
    with Sessions(phase.targets, application_name="runbooks tests") as sessions:
        for answer in (
            baseline_migration.parse(phase, sessions),
            baseline_migration.rehearse(phase, sessions, plan=plan),
            baseline_migration.apply(
                phase, sessions, plan=plan, planned=None, confirm=plan.confirmation, apply=True
            ),
            baseline_migration.second_run(phase, sessions, apply=True),
        ):
            assert answer.findings
            assert [f for f in answer.findings if f.verdict in CLOSING] == []


LOST = ('DROP INDEX "Order_total_idx"', 'ALTER TABLE "Order" DROP COLUMN note, DROP COLUMN total')


def test_what_is_lost_of_an_applied_migration_is_red_until_a_reason_lets_it_be_made_anew(
    shop: Place, tmp_path: Path
) -> None:
    shop.migrate(NAME, MIGRATION)
    shop.execute(*LOST)
    found, text = drafted(tmp_path / "SHOP")
    script = parse_script((tmp_path / "SHOP" / "baseline.sql").read_text())
    assert [(each.kind, each.object) for each in script] == [
        ("table", "public.Order"), ("table", "public.Order"), ("index", "public.Order_total_idx"),
        ("table", "public.Order")]  # fmt: skip
    assert 'ALTER TABLE "Order" ADD COLUMN IF NOT EXISTS total integer' in script[1].text
    assert found.phase.baseline is not None
    assert found.phase.baseline.repairs == ()
    assert "nothing here mends that" not in text
    plan, red = planned(found.phase)
    assert plan.confirmation == ""
    assert {each for each, _, _ in red} == {"index public.Order_total_idx", "columns public.Order"}
    assert all(f"{NAME}/migration.sql:" in hint and "[baseline] repairs" in hint for _, _, hint in red), red

    draft_phase("shop", tmp_path / "again" / "SHOP", [], repair="it is known")
    phase = load_phase(str(tmp_path / "again" / "SHOP"))
    (tmp_path / "SHOP" / "phase.toml").write_text(uncommented(text, "# { migration"))
    assert load_phase(str(tmp_path / "SHOP")).baseline == phase.baseline
    plan, red = planned(phase)
    assert (red, bool(plan.confirmation)) == ([], True)
    apply_plan(phase, plan)
    done, _ = drafted(tmp_path / "DONE")
    assert done.phase.baseline is None


def test_a_reason_for_one_migration_lets_nothing_of_another_be_made_anew(shop: Place, tmp_path: Path) -> None:
    other = "20260202000000_lines"
    shop.migrate(NAME, MIGRATION)
    shop.migrate(other, 'CREATE TABLE "Line" (id int); CREATE INDEX "Line_id_idx" ON "Line"(id);')
    shop.execute(LOST[0], 'DROP INDEX "Line_id_idx"')
    _, text = drafted(tmp_path / "SHOP")
    (tmp_path / "SHOP" / "phase.toml").write_text(uncommented(text, f'# {{ migration = "{NAME}"'))
    plan, red = planned(load_phase(str(tmp_path / "SHOP")))
    assert ([each for each, _, _ in red], plan.confirmation) == (["index public.Line_id_idx"], "")


def test_an_index_that_its_migration_builds_concurrently_is_drafted_into_a_script_of_its_own(
    shop: Place, tmp_path: Path
) -> None:
    shop.migrate(NAME, MIGRATION, run=False, record=False)
    one = "20260202000000_index"
    shop.migrate(one, 'CREATE UNIQUE INDEX CONCURRENTLY "Order_note_key" ON "Order"(note);', run=False)
    shop.execute("SET ROLE kb_backend", *MIGRATION.split(";")[:2])
    shop.execute("SET ROLE kb_backend", 'ALTER TABLE "Order" ADD COLUMN note text')
    shop.record(NAME)
    draft_phase("shop", tmp_path / "SHOP", [], repair="it was broken off")
    phase = load_phase(str(tmp_path / "SHOP"))
    assert (tmp_path / "SHOP" / "indexes.sql").read_text() == (
        f'-- {one}\n\nCREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS "Order_note_key"\n  ON "Order" (note);\n'
    )
    assert phase.baseline is not None
    assert phase.baseline.concurrently == "indexes.sql"
    plan, red = planned(phase)
    assert (red, {each.object: each.would for each in plan.statements}) == (
        [], {"public.Order_note_key": "would create"})  # fmt: skip
    draft_phase("shop", tmp_path / "NONE", [], concurrently=Apart.NONE)
    assert load_phase(str(tmp_path / "NONE")).baseline.concurrently is None  # type: ignore[union-attr]


def test_an_index_that_was_broken_off_is_drafted_and_built_anew(shop: Place, tmp_path: Path) -> None:
    shop.migrate(NAME, MIGRATION)
    one, index = "20260202000000_index", 'CREATE UNIQUE INDEX CONCURRENTLY "Order_note_key" ON "Order"(note);'
    shop.migrate(one, index, run=False, record=False)
    shop.record(one, finished=False)
    shop.execute("INSERT INTO \"Order\" (id, note) VALUES ('1', 'same'), ('2', 'same')")
    with shop.admin() as conn:
        conn.autocommit = True
        conn.execute("SET ROLE kb_backend")
        with pytest.raises(psycopg.errors.UniqueViolation):
            conn.execute(index.encode())
        conn.execute("DELETE FROM \"Order\" WHERE id = '2'")
    draft_phase("shop", tmp_path / "SHOP", [])
    phase = load_phase(str(tmp_path / "SHOP"))
    plan, red = planned(phase)
    assert (red, {each.object: each.would for each in plan.statements}) == (
        [], {"public.Order_note_key": "would change"})  # fmt: skip
    apply_plan(phase, plan)
    with shop.admin() as conn:
        valid = conn.execute(
            "SELECT indisvalid FROM pg_index WHERE indexrelid = '\"Order_note_key\"'::regclass"
        )
        assert valid.fetchall() == [(True,)]


def test_what_only_the_database_has_is_there_to_decide_on(shop: Place, tmp_path: Path) -> None:
    shop.execute('CREATE TABLE "pg*hero\nx = 1" (id int)', "CREATE TABLE spare (id int PRIMARY KEY)")
    shop.record("20250101000000_elsewhere")
    found, text = drafted(tmp_path / "SHOP")
    assert found.phase.schema.ignore == ()
    assert found.phase.prisma is not None
    assert found.phase.prisma.accept == ()
    (tmp_path / "SHOP" / "phase.toml").write_text(uncommented(text, "# { object", "# { migration"))
    phase = load_phase(str(tmp_path / "SHOP"))
    assert {each.object for each in phase.schema.ignore} == {
        "relation public.pg[*]hero\nx = 1",
        "relation public.spare",
    }
    assert phase.ignored("relation", "public.pg*hero\nx = 1")
    assert phase.prisma is not None
    assert [each.migration for each in phase.prisma.accept] == ["20250101000000_elsewhere"]


def test_seed_rows_are_written_as_a_file_that_the_phase_reads(shop: Place, tmp_path: Path) -> None:
    shop.migrate(NAME, MIGRATION)
    shop.execute("INSERT INTO \"Order\" VALUES ('b', 1, 'x'), ('a', NULL, ''), ('c', 2, 'é\"')")
    found, text = drafted(tmp_path / "SHOP", "Order")
    (whole,) = found.phase.seeds
    assert (whole.table, whole.key, whole.tenant, whole.exact) == ("public.Order", ("id",), None, False)
    assert "REVIEW: 3 rows" in text
    (of_one,) = drafted(tmp_path / "ONE", "public.Order:note=x")[0].phase.seeds
    assert (of_one.tenant, of_one.exact) == ("note", True)
    assert (tmp_path / "ONE" / "public.Order.csv").read_text() == "id,total,note\nb,1,x\n"
    assert (tmp_path / "SHOP" / "public.Order.csv").read_text() == 'id,total,note\na,,""\nb,1,x\nc,2,"é"""\n'


def test_tables_of_any_name_have_their_seed_files_each(shop: Place, tmp_path: Path) -> None:
    names = ("a b", "a_b", "A_B", 'q"q s', "a.b", "Größe")
    quoted = ['"' + name.replace('"', '""') + '"' for name in names]
    tables = "".join(f"CREATE TABLE {name} (id int PRIMARY KEY);\n" for name in quoted)
    shop.migrate(NAME, tables)
    shop.execute(*(f"INSERT INTO {name} VALUES ({number})" for number, name in enumerate(quoted)))
    found, _ = drafted(tmp_path / "SHOP", *(f"public.{name}" for name in quoted))
    assert [each.table for each in found.phase.seeds] == [qualified("public", name) for name in names]
    files = [tmp_path / "SHOP" / str(each.file) for each in found.phase.seeds]
    assert [file.read_text() for file in files] == [f"id\n{number}\n" for number in range(len(names))]
    assert len({file.name.casefold() for file in files}) == len(names)


@pytest.mark.parametrize(
    ("service", "seed", "error", "words"),
    [
        ("none_such", "", ConnectionFailed, "none_such"),
        ("host=x password=y", "", PreconditionFailed, "No phase can name"),
        ("shop_standby", "", ConnectionFailed, "primary"),
        ("shop", "nowhere", PreconditionFailed, "no table public.nowhere"),
        ("shop", "MarketplaceConnection:none=1", PreconditionFailed, "no column none"),
        ("shop", "MarketplaceConnection:id=none", PreconditionFailed, "no such row"),
    ],
)
def test_what_cannot_be_drafted_leaves_nothing_behind(
    shop: Place, tmp_path: Path, service: str, seed: str, error: type[Exception], words: str
) -> None:
    out = tmp_path / "out" / "SHOP"
    with pytest.raises(error, match=words):
        draft_phase(service, out, [read_wish(seed)] if seed else [])
    assert not out.exists()
    assert list(out.parent.glob("*")) == []


def test_nothing_is_written_over(shop: Place, tmp_path: Path) -> None:
    (tmp_path / "SHOP").mkdir()
    with pytest.raises(PreconditionFailed, match="there already"):
        draft_phase("shop", tmp_path / "SHOP", [])
    with pytest.raises(PreconditionFailed, match="id of a phase"):
        draft_phase("shop", tmp_path / "SHOP 1", [])
    with pytest.raises(PreconditionFailed, match="named twice"):
        draft_phase("shop", tmp_path / "TWICE", [read_wish("Order"), read_wish("public.Order:id=1")])


def test_the_command_says_how_the_migrations_stand_and_what_is_next(shop: Place, tmp_path: Path) -> None:
    out = str(tmp_path / "SHOP")
    command = ["phase", "draft", "--service", "shop", "--prisma-project", str(shop.project), "--out", out]
    done = CliRunner().invoke(commands, command)
    assert done.exit_code == 0, done.output
    assert done.stdout.endswith(
        f"next: runbooks phase check {out} --service --prisma-project {shop.project}\n"
    )
    assert "recorded, and all of it stands" in done.stdout
    assert CliRunner().invoke(commands, ["phase", "check", out]).exit_code == 0


def check(folder: Path) -> tuple[int, str]:
    done = CliRunner().invoke(commands, ["phase", "check", str(folder), "--service"])
    return done.exit_code, done.output


def test_a_phase_is_compared_with_a_draft_of_today_and_its_services_are_asked(
    shop: Place, tmp_path: Path
) -> None:
    drafted(tmp_path / "SHOP")
    file = tmp_path / "SHOP" / "phase.toml"
    same = CliRunner().invoke(commands, ["phase", "diff", str(tmp_path / "SHOP")])
    assert (same.exit_code, same.output) == (0, "Both assert the same.\n")
    assert check(tmp_path / "SHOP")[0] == 0
    text = file.read_text()
    file.write_text(text.replace('default = "kb_backend"', 'default = "somebody"')
                    + '\n[[tables]]\nname = "public.Nowhere"\n')  # fmt: skip
    other = CliRunner().invoke(commands, ["phase", "diff", str(tmp_path / "SHOP")])
    assert (other.exit_code, other.output) == (1, "owner: somebody -> kb_backend\n")
    code, output = check(tmp_path / "SHOP")
    assert (code, "FAIL has_table leader public.Nowhere: " in output, "role_may" in output) == (
        1,
        True,
        True,
    ), output
    file.write_text(text.replace('service = "shop"', 'service = "nobody"'))
    code, output = check(tmp_path / "SHOP")
    assert (code, "ERROR target_answers leader nobody" in output, "1 ERROR" in output) == (1, True, True)
