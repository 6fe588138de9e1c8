"""Migrations as one idempotent script: what is written, in which form, and what is left over, by line and reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from runbooks_lib.cli import commands
from runbooks_lib.drafting.apart import Apart
from runbooks_lib.drafting.baseline import Baseline, write_baseline
from runbooks_lib.drafting.phase_file import PhaseDraft, phase_file, waits_for_reason
from runbooks_lib.errors import MigrationError, PreconditionFailed
from runbooks_lib.postgres.script.concurrent import parse_concurrent
from runbooks_lib.postgres.script.script import parse_script

EXCHANGE = """
-- AlterEnum
BEGIN;
CREATE TYPE "E_new" AS ENUM ('a', 'b');
ALTER TABLE t ALTER COLUMN c TYPE "E_new" USING (c::text::"E_new");
ALTER TYPE "E" RENAME TO "E_old";
ALTER TYPE "E_new" RENAME TO "E";
DROP TYPE "E_old";
COMMIT;
"""


def history(*scripts: str) -> list[tuple[str, str]]:
    return [(f"{number:02}", script) for number, script in enumerate(scripts, start=1)]


def last(*scripts: str) -> Baseline:
    """The last migration of a history as a baseline; what is written is idempotent to our own parser."""
    return whole(write_baseline(history(*scripts), only={f"{len(scripts):02}"}))


def whole(baseline: Baseline) -> Baseline:
    if (baseline.sql and not baseline.sql.lstrip().startswith("-- ")) or ";" in baseline.sql:
        assert [s.refused for s in parse_script(baseline.sql) if s.refused] == []
    return baseline


def one(baseline: Baseline) -> str:
    """The one statement of a baseline, on one line."""
    assert baseline.left == ()
    (statement,) = parse_script(baseline.sql)
    return " ".join(statement.text.split())


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("CREATE TABLE t (a int)", "CREATE TABLE IF NOT EXISTS t ( a integer )"),
        ("CREATE UNIQUE INDEX i ON t (a)", "CREATE UNIQUE INDEX IF NOT EXISTS i ON t (a)"),
        ("CREATE INDEX CONCURRENTLY i ON t (a)", "CREATE INDEX IF NOT EXISTS i ON t (a)"),
        ("CREATE SCHEMA s", "CREATE SCHEMA IF NOT EXISTS s"),
        ("CREATE SEQUENCE q", "CREATE SEQUENCE IF NOT EXISTS q"),
        ("CREATE EXTENSION pgcrypto", "CREATE EXTENSION IF NOT EXISTS pgcrypto"),
        ("CREATE VIEW v AS SELECT 1 AS a", "CREATE OR REPLACE VIEW v AS SELECT 1 AS a"),
        (
            "CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()",
            "CREATE OR REPLACE TRIGGER g BEFORE INSERT ON t FOR EACH ROW EXECUTE PROCEDURE f()",
        ),
        ("ALTER TABLE t ADD COLUMN c int, ADD COLUMN d int", None),
        ("ALTER TYPE e ADD VALUE 'x' BEFORE 'y'", "ALTER TYPE e ADD VALUE IF NOT EXISTS 'x' BEFORE 'y'"),
        ("DROP TABLE t", "DROP TABLE IF EXISTS t"),
        ("DROP INDEX CONCURRENTLY i", "DROP INDEX IF EXISTS i"),
        ("ALTER TABLE t DROP CONSTRAINT k", "ALTER TABLE IF EXISTS t DROP CONSTRAINT IF EXISTS k"),
        ("ALTER TABLE t ALTER c SET NOT NULL", "ALTER TABLE t ALTER COLUMN c SET NOT NULL"),
        ("ALTER TABLE t ENABLE ROW LEVEL SECURITY", "ALTER TABLE t ENABLE ROW LEVEL SECURITY"),
        ("ALTER SEQUENCE q OWNED BY t.c", "ALTER SEQUENCE q OWNED BY t.c"),
        ("COMMENT ON TABLE t IS 'x'", "COMMENT ON TABLE t IS 'x'"),
        ("GRANT SELECT ON t TO r", "GRANT SELECT ON TABLE t TO r"),
        (
            "CREATE TYPE e AS ENUM ('a')",
            "DO $$ BEGIN CREATE TYPE e AS ENUM ('a'); EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        ),
        (
            "DO $$ BEGIN IF NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conname = 'k') THEN "
            "ALTER TABLE t ADD CONSTRAINT k UNIQUE (a); END IF; END $$",
            "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass('t') AND conname = 'k') "
            "THEN ALTER TABLE t ADD CONSTRAINT k UNIQUE (a); END IF; END $$",
        ),
    ],
)
def test_each_kind_has_one_form(text: str, form: str | None) -> None:
    baseline = last(text)
    if form is None:
        assert [s.adds for s in parse_script(baseline.sql)] == [("c",), ("d",)]
    else:
        assert one(baseline) == form


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("INSERT INTO t VALUES (1)", "rows"),
        ("UPDATE t SET a = 1", "rows"),
        ("DELETE FROM t", "rows"),
        ("SELECT f()", "rows"),
        ("CREATE TABLE u AS SELECT * FROM t", "rows"),
        ("DO $$ BEGIN UPDATE t SET a = 1; END $$", "rows"),
        ("DO $$ BEGIN IF EXISTS (SELECT 1 FROM t WHERE a = 1) THEN DROP TABLE u; END IF; END $$", "rows"),
        ("DO $$ BEGIN IF NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conname = 'l') THEN "
         "ALTER TABLE t ADD CONSTRAINT k UNIQUE (a); END IF; END $$", "rows"),
        ("CREATE TEMPORARY TABLE u (a int)", "temporary"),
        ("CREATE INDEX ON t (a)", "no name"),
        ("DROP TYPE e CASCADE", "CASCADE"),
        ("CREATE VIEW v AS SELECT a FROM t; DROP TABLE t CASCADE", "CASCADE"),
        ("ALTER TABLE t DROP COLUMN a CASCADE", "second run"),
        ("ALTER TABLE t ADD UNIQUE (a)", "second run"),
        ("ALTER TABLE t OWNER TO o", "second run"),
        ("ALTER TABLE t ALTER c TYPE bit(3)", "second run"),
        ("SET search_path = other; CREATE TABLE t (a int)", "search_path"),
        ("BEGIN; CREATE TABLE t (a int); ROLLBACK", "rolls back"),
    ],
)  # fmt: skip
def test_what_has_no_form_is_left_over_with_line_and_reason(text: str, why: str) -> None:
    baseline = last(f"-- first\n{text}")
    assert baseline.left
    assert why in baseline.left[-1].why
    assert baseline.left[-1].by_hand
    assert {(left.migration, left.line) for left in baseline.left} == {("01", 2)}
    assert not any(line and not line.startswith("--") for line in baseline.sql.splitlines())


def test_what_is_left_over_stands_in_the_script_where_it_was() -> None:
    baseline = last("CREATE TABLE t (a int);\nUPDATE t SET a = 1;\nCREATE INDEX i ON t (a);")
    assert "LEFT OVER, line 2, UPDATE t: it changes rows." in baseline.sql
    assert [s.kind for s in parse_script(baseline.sql)] == ["table", "index"]
    assert (baseline.statements, len(baseline.left)) == (3, 1)
    assert baseline.left[0].changes_rows


def test_what_is_said_of_the_transaction_and_of_waiting_is_passed_over() -> None:
    script = "BEGIN; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; SET LOCAL lock_timeout = '5s'; DROP TABLE t; COMMIT;"
    assert one(last(script)) == "DROP TABLE IF EXISTS t"


def test_comments_are_kept() -> None:
    baseline = last(
        "-- CreateTable: é\nCREATE TABLE t (a int);\n\n/* two\n   lines */\nCREATE INDEX i ON t (a);"
    )
    assert "-- CreateTable: é\nCREATE TABLE" in baseline.sql
    assert "/* two\n   lines */\nCREATE INDEX" in baseline.sql


def test_an_enum_is_exchanged_while_a_label_that_goes_is_there() -> None:
    baseline = last(
        "CREATE TYPE \"E\" AS ENUM ('a', 'c'); ALTER TYPE \"E\" ADD VALUE 'd'; CREATE TABLE t (c \"E\")",
        EXCHANGE,
    )
    exchange, rest = parse_script(baseline.sql)
    assert "enumlabel IN ('c', 'd')" in exchange.text
    assert rest.text == 'DROP TYPE IF EXISTS "E_old"'
    assert "-- AlterEnum\nDO" in baseline.sql
    assert baseline.left == ()


def test_an_enum_whose_labels_are_not_known_is_left_over() -> None:
    assert [left.line for left in last(EXCHANGE).left] == [4]


@pytest.mark.parametrize(
    ("scripts", "expected"),
    [
        (("CREATE TABLE t (c date)", "ALTER TABLE t DROP c, ADD c int"),
         "format_type(atttypid, atttypmod) <> 'integer'"),
        (("ALTER TABLE t DROP CONSTRAINT k; ALTER TABLE t ADD CONSTRAINT k UNIQUE (b)",),
         "pg_get_constraintdef(oid) <> 'UNIQUE (b)'"),
        (("DROP INDEX i; CREATE INDEX i ON t (b)",), "pg_get_indexdef(indexrelid) <> 'CREATE INDEX i ON public.t"),
        (("ALTER TABLE t ADD c text", "ALTER TABLE t DROP c, ADD c int"), "<> 'integer'"),
    ],
)  # fmt: skip
def test_what_comes_back_in_another_shape_goes_while_it_has_not_that_shape(
    scripts: tuple[str, ...], expected: str
) -> None:
    baseline = last(*scripts)
    assert baseline.left == ()
    assert expected in baseline.sql
    assert len(parse_script(baseline.sql)) == 2


@pytest.mark.parametrize(
    ("scripts", "why"),
    [
        (("DROP TABLE t; CREATE TABLE t (a int)",), "made again later, by 01, line 1 (CREATE TABLE t)"),
        (("ALTER TABLE t ADD c int", "ALTER TABLE t DROP c, ADD c int"), "made again later"),
        (("CREATE TABLE t (c int DEFAULT 7)", "ALTER TABLE t DROP c, ADD c int"), "made again later"),
        (
            ("CREATE TABLE t (c text)", "ALTER TABLE t ALTER c TYPE int", "ALTER TABLE t DROP c, ADD c int"),
            "made again",
        ),
        (
            ("CREATE TABLE t (b int)", "ALTER TABLE t RENAME b TO c", "ALTER TABLE t DROP c, ADD c int"),
            "made again",
        ),
        (("CREATE TABLE t (c e)", "ALTER TYPE e RENAME TO f", "ALTER TABLE t DROP c, ADD c f"), "made again"),
        (("CREATE TABLE t (LIKE u)", "ALTER TABLE t DROP c, ADD c int"), "made again later"),
        (("CREATE TABLE IF NOT EXISTS t (c text)", "ALTER TABLE t DROP c, ADD c int"), "made again later"),
        (("CREATE TABLE t (a serial); ALTER TABLE t RENAME TO u",), "renamed later"),
        (
            ("CREATE UNIQUE INDEX i ON t (a); ALTER TABLE t ADD CONSTRAINT k PRIMARY KEY USING INDEX i",),
            "renamed later",
        ),
    ],
)
def test_what_comes_back_the_same_or_gets_another_name_is_left_over(
    scripts: tuple[str, ...], why: str
) -> None:
    assert why in last(*scripts).left[0].why


RENAMED = [
    ('CREATE TABLE t (c int);\nALTER TABLE t DROP c, ADD c "E"', 'ALTER TYPE "E" RENAME TO "F"'),
    (
        "ALTER TABLE t DROP CONSTRAINT k;\nALTER TABLE t ADD CONSTRAINT k UNIQUE (b)",
        "ALTER TABLE t RENAME b TO c",
    ),
    ("DROP INDEX i;\nCREATE INDEX i ON t (b)", "ALTER TABLE t RENAME TO u"),
]


@pytest.mark.parametrize(("first", "second"), RENAMED)
def test_a_rename_goes_first_and_all_before_it_has_the_new_name(first: str, second: str) -> None:
    baseline = whole(write_baseline(history(first, second)))
    assert baseline.left == ()
    assert "RENAME" in parse_script(baseline.sql)[0].text


@pytest.mark.parametrize(
    "script",
    [
        "CREATE TABLE a (n serial); ALTER TABLE a RENAME TO b",  # its sequence is named after it
        "CREATE TABLE a (n int UNIQUE); CREATE INDEX i ON a (n); ALTER TABLE a RENAME TO b",
        "CREATE TABLE b (n int); DROP TABLE b; CREATE TABLE a (n int); ALTER TABLE a RENAME TO b",
        "CREATE TABLE a (n int); ALTER TABLE a RENAME TO b; CREATE TABLE a (n int)",
    ],
)
def test_a_rename_stays_where_a_name_is_another_things_too(script: str) -> None:
    left = write_baseline([("01", script)]).left
    assert [each for each in left if "later, by 01" in each.why] != []


@pytest.mark.parametrize(
    "goes",
    [
        "ALTER TABLE a DROP c",
        "ALTER TABLE a RENAME c TO d",
        "ALTER TABLE a DROP CONSTRAINT k",
        "ALTER TABLE a RENAME CONSTRAINT k TO l",
        "ALTER TYPE e RENAME VALUE 'x' TO 'y'",
    ],
)
@pytest.mark.parametrize(
    "anew",
    [
        "DROP TABLE a; DROP TYPE e; {whole}",
        "ALTER TABLE a RENAME TO old; ALTER TYPE e RENAME TO f; {whole}",
        "DROP TABLE a; DROP TYPE e; CREATE TABLE b (c int, CONSTRAINT k CHECK (c > 0)); CREATE TYPE f AS ENUM ('x');"
        "ALTER TABLE b RENAME TO a; ALTER TYPE f RENAME TO e",
        "DROP TABLE a; DROP TYPE e; {whole}; CREATE TABLE p (LIKE a); DROP TABLE a; CREATE TABLE a () INHERITS (p)",
    ],
)
def test_what_goes_from_a_whole_that_is_made_anew_stays_where_all_is_done(goes: str, anew: str) -> None:
    whole = "CREATE TYPE e AS ENUM ('x'); CREATE TABLE a (id int, c int, CONSTRAINT k CHECK (c > 0))"
    baseline = write_baseline([("01", f"{whole};\n{goes};\n{anew.format(whole=whole)};")])
    assert [each.why for each in baseline.left if each.line == 2]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("CREATE TABLE t (c date);\nALTER TABLE t DROP c, ADD c int", "ALTER TABLE t ALTER c TYPE bigint"),
        (
            "CREATE TABLE t (c date);\nALTER TABLE t DROP c, ADD c int",
            "DO $$ BEGIN IF true THEN ALTER TABLE t ALTER c TYPE bigint; END IF; END $$",
        ),
        *RENAMED,
    ],
)
def test_what_comes_back_and_is_printed_otherwise_in_the_end_is_left_over(first: str, second: str) -> None:
    """Where all of it stands, it would be taken for the old one: the column would be gone with its values."""
    for only in ({"01"},) if (first, second) in RENAMED else (None, {"01"}):
        baseline = write_baseline(history(first, second), only=only)
        assert "later, by 01, line " in baseline.left[0].why
        lines = baseline.sql.splitlines()
        assert [line for line in lines if "DROP" in line and not line.startswith("--")] == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("CREATE TABLE t (a int)", "ALTER TABLE t SET SCHEMA s"),
        ("CREATE SCHEMA s", "ALTER SCHEMA s RENAME TO r"),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS ''", "ALTER FUNCTION f() RENAME TO g"),
        (
            "CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()",
            "ALTER TRIGGER g ON t RENAME TO h",
        ),
        ("CREATE POLICY p ON t", "ALTER POLICY p ON t RENAME TO q"),
    ],
)
def test_what_gets_another_name_by_what_is_left_over_is_left_over_too(first: str, second: str) -> None:
    """Where both stand, it would be made a second time under its first name."""
    baseline = write_baseline(history(first, second))
    assert baseline.left[0].why.startswith("undone later, ")
    assert baseline.sql == ""


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("ALTER TABLE t ADD c int", "ALTER TABLE t DROP c"),
        ("ALTER TABLE t ALTER c SET DEFAULT 1", "ALTER TABLE t ALTER c SET DEFAULT 2"),
        ("ALTER TABLE t ALTER c TYPE bigint", "ALTER TABLE t ALTER c TYPE text"),
        ("CREATE INDEX i ON t (a)", "DROP INDEX i"),
        ("CREATE TABLE t (a int)", "DROP TABLE t"),
        ("CREATE VIEW v AS SELECT 1 AS a", "CREATE OR REPLACE VIEW v AS SELECT 2 AS a"),
        ("DROP TRIGGER g ON t", "CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()"),
    ],
)
def test_what_is_undone_later_is_needless_together_and_left_over_alone(first: str, second: str) -> None:
    """Alone it would be run again on a database that has the later migration already."""
    together = whole(write_baseline(history(first, second)))
    assert (together.left, len(parse_script(together.sql))) == ((), 1)
    alone = write_baseline(history(first, second), only={"01"})
    assert alone.left[0].why.startswith("undone later, by 02, line 1")
    assert alone.sql == ""


@pytest.mark.parametrize(
    "block",
    [
        "BEGIN ALTER TABLE t RENAME TO u; IF true THEN ALTER TABLE u ADD d int; END IF; END",
        "BEGIN IF true THEN DROP TABLE t; UPDATE u SET a = 1; END IF; END",
        "BEGIN EXECUTE 'ALTER TABLE t RENAME TO u'; END",
    ],
)
def test_what_a_block_may_undo_that_is_left_over_is_left_over_too(block: str) -> None:
    """On a database that has all of it, it would be made a second time."""
    baseline = write_baseline(history("CREATE TABLE t (a int);", f"DO $$ {block} $$;"))
    assert [(left.migration, left.why.partition(",")[0]) for left in baseline.left] == [
        ("01", "undone later"),
        ("02", "it changes rows"),
    ]


def test_what_is_undone_by_what_is_left_over_is_left_over_too() -> None:
    baseline = write_baseline(history("CREATE TYPE e AS ENUM ('a');", "DROP TYPE e CASCADE;"))
    assert [left.why.partition(",")[0] for left in baseline.left] == [
        "undone later",
        "CASCADE drops what is not named",
    ]


def test_a_table_keeps_its_place_when_a_column_of_it_goes_later() -> None:
    baseline = whole(write_baseline(history("CREATE TABLE t (a int, b int)", "ALTER TABLE t DROP b")))
    assert (baseline.left, len(parse_script(baseline.sql))) == ((), 2)


def test_the_parts_of_an_alter_table_come_in_the_order_in_which_postgresql_takes_them() -> None:
    baseline = last(
        "ALTER TABLE t ADD CONSTRAINT k UNIQUE (d), ADD d int, ALTER c TYPE text, "
        "ALTER c DROP DEFAULT, DROP e"
    )
    texts = [" ".join(s.text.split()) for s in parse_script(baseline.sql)]
    assert [next(word for word in ("DROP COLUMN", "TYPE text", "ADD COLUMN", "ADD CONSTRAINT") if word in text)
            for text in texts] == ["DROP COLUMN", "TYPE text", "ADD COLUMN", "ADD CONSTRAINT"]  # fmt: skip
    assert "ALTER COLUMN c DROP DEFAULT" in texts[1]


@pytest.mark.parametrize("key", ["repairs", "only_there"])
def test_the_line_at_which_a_phase_waits_for_a_reason_is_found(key: str) -> None:
    draft = PhaseDraft(
        id="P", service="s", database="d", owners={}, extras=[("relation", "public.x")], completes=["1_a"]
    )
    draft = replace(draft, **{key: ["1_a"]})
    line = waits_for_reason(phase_file(draft))
    assert line is not None
    assert phase_file(draft).splitlines()[line - 1] == '  # { migration = "1_a", why = "…" },'
    assert waits_for_reason(phase_file(replace(draft, repair="lost", accept="known"))) is None
    said = '  { migration = "1_a", why = "lost in May" },\n'
    answered = phase_file(draft).replace('  # { migration = "1_a"', f'{said}  # {{ migration = "1_a"')
    assert waits_for_reason(answered) is None, "its drafted line may stay"


def test_a_migration_that_is_not_there_or_is_no_sql_is_an_error() -> None:
    with pytest.raises(MigrationError, match="no migration 02"):
        write_baseline(history("SELECT 1"), only={"02"})
    with pytest.raises(MigrationError, match=r"01 .*: line 2, syntax error at or near \"TABEL\"\."):
        write_baseline(history("SELECT 1;\nCREATE TABEL t"))


def test_what_changes_rows_is_left_over_for_that_whatever_comes_later() -> None:
    scripts = history(
        "UPDATE t SET a = 1", "ALTER TABLE t DROP COLUMN a", "ALTER TABLE t RENAME TO u", "UPDATE t SET b = 1"
    )
    found = write_baseline(scripts, only={"01", "04"}).left
    assert [(each.migration, each.changes_rows) for each in found] == [("01", True), ("04", True)]


def project(tmp_path: Path, *scripts: str) -> str:
    (tmp_path / "migration_lock.toml").write_text('provider = "postgresql"\n')
    for name, script in history(*scripts):
        (tmp_path / name).mkdir()
        (tmp_path / name / "migration.sql").write_text(script)
    return str(tmp_path)


def test_the_command_prints_the_script_and_says_what_is_left_over(tmp_path: Path) -> None:
    folder = project(tmp_path, "CREATE TABLE t (a int);", "UPDATE t SET a = 1;\nDROP TABLE IF EXISTS u;")
    done = CliRunner().invoke(commands, ["phase", "baseline", "--prisma-project", folder, "--only", "02"])
    assert done.exit_code == 0, done.output
    assert done.stdout == (
        "-- 02\n\n-- LEFT OVER, line 1, UPDATE t: it changes rows.\n\nDROP TABLE IF EXISTS u;\n"
    )
    assert "1 of 2 statements written." in done.stderr
    assert "left over: 02, line 1, UPDATE t: it changes rows." in done.stderr


def test_the_command_prints_the_same_each_time(tmp_path: Path) -> None:
    folder = project(
        tmp_path, "CREATE TYPE e AS ENUM ('b', 'a'); CREATE TABLE t (a e);", "ALTER TYPE e ADD VALUE 'c';"
    )
    command = ["phase", "baseline", "--prisma-project", folder]
    assert CliRunner().invoke(commands, command).stdout == CliRunner().invoke(commands, command).stdout


def test_the_command_needs_a_project(tmp_path: Path) -> None:
    done = CliRunner().invoke(commands, ["phase", "baseline", "--prisma-project", str(tmp_path / "none")])
    assert isinstance(done.exception, PreconditionFailed)


def test_the_phases_that_are_shipped_and_those_in_a_folder_are_listed(tmp_path: Path) -> None:
    (tmp_path / "BROKEN").mkdir()
    (tmp_path / "BROKEN" / "phase.toml").write_text("spec_version = 3")
    done = CliRunner().invoke(commands, ["phase", "list", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "PH15-AMAZON-DB-FOUNDATION-01: Amazon database foundation" in done.stdout
    assert f"{tmp_path}/BROKEN: The phase file" in done.stdout


def indexes(script: str, which: Apart) -> tuple[str, str]:
    written = write_baseline([("01", script)], concurrently=which)
    found = parse_concurrent(written.indexes) if written.indexes else ()
    assert [each.refused for each in found if each.refused] == []
    return written.sql, written.indexes


def test_indexes_go_into_a_script_of_their_own_where_that_is_said() -> None:
    script = "CREATE TABLE t (a int); CREATE INDEX i ON t(a); CREATE INDEX CONCURRENTLY j ON t(a);"
    assert ("INDEX" in indexes(script, Apart.ALL)[0], indexes(script, Apart.ALL)[1].count("INDEX")) == (
        False,
        2,
    )
    inside, apart = indexes(script, Apart.KEPT)
    assert ("CREATE INDEX IF NOT EXISTS i" in inside, "CONCURRENTLY IF NOT EXISTS j" in apart) == (True, True)
    assert ("INDEX CONCURRENTLY" in apart, " i" in apart) == (True, False)
    assert write_baseline([("01", script)]).indexes == ""


@pytest.mark.parametrize(
    "hangs",
    [
        "ALTER TABLE o ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES t(a);",
        "ALTER TABLE t ADD CONSTRAINT i UNIQUE USING INDEX i;",
        "ALTER TABLE t REPLICA IDENTITY USING INDEX i;",
        "COMMENT ON INDEX i IS 'mine';",
    ],
)
def test_an_index_on_which_something_hangs_is_built_with_it(hangs: str) -> None:
    unique = "CREATE UNIQUE INDEX i ON t(a);"
    assert "INDEX" in indexes(unique, Apart.ALL)[1]
    written = write_baseline([("01", unique + hangs)], concurrently=Apart.ALL)
    assert ("INDEX IF NOT EXISTS i" in written.sql, written.indexes) == (True, "")


def test_an_index_of_a_partitioned_table_is_not_built_concurrently() -> None:
    script = "CREATE TABLE t (a int) PARTITION BY RANGE (a); CREATE INDEX i ON t(a);"
    assert indexes(script, Apart.ALL)[1] == ""


@pytest.mark.parametrize(
    ("script", "table", "name", "expected"),
    [
        ("CREATE TABLE t (id serial, c text NOT NULL DEFAULT 'x')", "t", "c",
         "ALTER TABLE t ADD COLUMN IF NOT EXISTS c text NOT NULL DEFAULT 'x'"),
        ("CREATE TABLE app.t (id int, CONSTRAINT t_pkey PRIMARY KEY (id))", "app.t", "t_pkey",
         "ALTER TABLE app.t ADD CONSTRAINT t_pkey PRIMARY KEY (id)"),
        ("CREATE TABLE t (b int); ALTER TABLE t RENAME b TO c", "t", "c",
         "ALTER TABLE t ADD COLUMN IF NOT EXISTS c int"),
    ],
)  # fmt: skip
def test_what_a_table_has_lost_is_written_alone(script: str, table: str, name: str, expected: str) -> None:
    schema, _, relation = table.rpartition(".")
    lost = {(schema or "public", relation): {name}}
    baseline = whole(write_baseline(history(script), lost=lost))
    assert baseline.left == ()
    assert expected in " ".join(baseline.sql.split())
    assert expected not in " ".join(
        write_baseline(history(script), lost={("public", "u"): {name}}).sql.split()
    )


def test_a_lost_column_that_goes_later_is_not_made_anew() -> None:
    baseline = whole(
        write_baseline(
            history("CREATE TABLE t (a int, c int); ALTER TABLE t DROP c"), lost={("public", "t"): {"c"}}
        )
    )
    assert "ADD COLUMN" not in baseline.sql
