"""What PostgreSQL's parser makes of a script: which statements may run twice, and which are refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runbooks_lib.errors import MigrationError
from runbooks_lib.phase import load_phase
from runbooks_lib.postgres.script.calls import in_body
from runbooks_lib.postgres.script.script import Statement, parse_script

GUARDED = "EXCEPTION WHEN duplicate_object THEN NULL; END $$;"
CREATE_ENUM = "CREATE TYPE public.e AS ENUM ('a', 'b');"


def only(text: str) -> Statement:
    (statement,) = parse_script(text)
    return statement


@pytest.mark.parametrize(
    ("text", "adds"),
    [
        ('ALTER TABLE t ADD COLUMN IF NOT EXISTS c int, ADD IF NOT EXISTS "D" int', ("c", "D")),
        ("ALTER TYPE e ADD VALUE IF NOT EXISTS 'c' AFTER 'b'", ("c",)),
        ("-- first\nALTER TABLE t OWNER TO o", ()),
    ],
)
def test_what_alters_is_told_from_what_creates(text: str, adds: tuple[str, ...]) -> None:
    altering = only(text)
    assert (altering.alters, altering.adds) == (True, adds)
    creating = only("CREATE TABLE IF NOT EXISTS t (c int)")
    assert (creating.alters, creating.adds) == (False, ())


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("CREATE TABLE IF NOT EXISTS t (id int)", "table", "public.t"),
        ('CREATE TABLE IF NOT EXISTS other."T" (id int)', "table", "other.T"),
        ("CREATE UNLOGGED TABLE IF NOT EXISTS t (id int)", "table", "public.t"),
        ("CREATE INDEX IF NOT EXISTS i ON t (id)", "index", "public.i"),
        ('CREATE UNIQUE INDEX IF NOT EXISTS "I" ON s.t (id) WHERE id > 0', "index", "s.I"),
        ("CREATE SCHEMA IF NOT EXISTS s", "schema", "s"),
        ("CREATE EXTENSION IF NOT EXISTS pgcrypto", "extension", "pgcrypto"),
        ("CREATE SEQUENCE IF NOT EXISTS q", "sequence", "public.q"),
        ("CREATE OR REPLACE VIEW v AS SELECT 1", "view", "public.v"),
        ("CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "function", "public.f"),
        ("ALTER TABLE t ADD COLUMN IF NOT EXISTS c int", "table", "public.t"),
        ("ALTER TABLE t ADD COLUMN IF NOT EXISTS c int, ADD IF NOT EXISTS d int", "table", "public.t"),
        ("ALTER TYPE e ADD VALUE IF NOT EXISTS 'c' AFTER 'b'", "enum", "public.e"),
        ("INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING", "row", "public.t"),
        ("INSERT INTO t VALUES (1) ON CONFLICT (id) DO NOTHING", "row", "public.t"),
        ("INSERT INTO t SELECT 1 WHERE NOT EXISTS (SELECT FROM t WHERE id = 1)", "row", "public.t"),
        ("INSERT INTO t (id) SELECT id FROM u WHERE id > 0 AND NOT EXISTS (SELECT FROM public.t x WHERE x.id = u.id)",
         "row", "public.t"),
        ("UPDATE t SET c = 1 WHERE c IS NULL", "values", "public.t"),
        ("UPDATE t AS x SET c = lower(x.b), d = now() WHERE x.id > 0 AND (x.c IS NULL AND x.id < 9)",
         "values", "public.t"),
        ("UPDATE t SET c = 'a' || b WHERE c IS DISTINCT FROM 'a' || b", "values", "public.t"),
        ("UPDATE t SET c = u.c FROM u WHERE u.id = t.id AND t.c <> u.c", "values", "public.t"),
        ("UPDATE s.t SET c = 2 WHERE 2 IS DISTINCT FROM c", "values", "s.t"),
        ("WITH x AS (SELECT 1) UPDATE t SET c = 1 WHERE c IS NULL RETURNING c", "values", "public.t"),
        ("COMMENT ON TABLE t IS 'x'", "statement", "Comment"),
        ("GRANT SELECT ON t TO r", "statement", "Grant"),
        ("REVOKE SELECT ON t FROM r", "statement", "Grant"),
        ("ALTER DEFAULT PRIVILEGES IN SCHEMA s GRANT SELECT ON TABLES TO r", "statement", "AlterDefaultPrivileges"),
        ("ALTER TYPE e OWNER TO o", "statement", "AlterOwner"),
        ('INSERT INTO "s.t"."u" VALUES (1) ON CONFLICT DO NOTHING', "row", '"s.t".u'),
        ("WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x ON CONFLICT DO NOTHING RETURNING *", "row", "public.t"),
        (f"DO $$ BEGIN {CREATE_ENUM} {GUARDED}", "enum", "public.e"),
        (f"DO LANGUAGE plpgsql $$ BEGIN {CREATE_ENUM} {GUARDED}", "enum", "public.e"),
        (
            "DO $$ BEGIN CREATE TYPE \"E\" AS ENUM ('a'); EXCEPTION WHEN duplicate_object THEN END $$",
            "enum",
            "public.E",
        ),
        (
            f"DO $$ BEGIN {CREATE_ENUM} EXCEPTION WHEN duplicate_object OR duplicate_table THEN NULL; END $$",
            "enum",
            "public.e",
        ),
        (f"DO $body$ BEGIN {CREATE_ENUM} /* $$ $bodyx$ */ {GUARDED.replace('$$', '$body$')}", "enum", "public.e"),
        ("DO $x$ BEGIN CREATE TYPE e AS ENUM ($$a$$); EXCEPTION WHEN duplicate_object THEN END $x$", "enum",
         "public.e"),
    ],
)  # fmt: skip
def test_accepted(text: str, kind: str, name: str) -> None:
    statement = only(text)
    assert statement.refused == ""
    assert (statement.kind, statement.object) == (kind, name)


@pytest.mark.parametrize(
    "text",
    [
        "CREATE TABLE t (id int)",
        "CREATE TABLE IF NOT EXISTS t AS SELECT 1 AS id",
        "CREATE TABLE t AS SELECT 1 AS id",
        "SELECT 1 INTO t",
        "CREATE INDEX i ON t (id)",
        "CREATE INDEX ON t (id)",
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON t (id)",
        CREATE_ENUM,
        "CREATE SCHEMA s",
        "CREATE EXTENSION pgcrypto",
        "CREATE SEQUENCE q",
        "CREATE VIEW v AS SELECT 1",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE MATERIALIZED VIEW IF NOT EXISTS m AS SELECT 1",
        "CREATE DOMAIN d AS int",
        "ALTER TABLE t ADD COLUMN c int",
        "ALTER TABLE t ADD COLUMN IF NOT EXISTS c int, DROP COLUMN d",
        "ALTER TABLE t ADD CONSTRAINT k UNIQUE (id)",
        "ALTER TABLE t ALTER COLUMN c TYPE text",
        "ALTER TABLE t OWNER TO o",
        "ALTER TABLE t RENAME TO u",
        "ALTER TYPE e ADD VALUE 'c'",
        "ALTER TYPE e RENAME VALUE 'a' TO 'b'",
        "INSERT INTO t VALUES (1)",
        "INSERT INTO t VALUES (1) ON CONFLICT (id) DO UPDATE SET n = t.n + 1",
        "INSERT INTO t SELECT 1",
        "INSERT INTO t SELECT 1 WHERE NOT EXISTS (SELECT FROM u WHERE id = 1)",
        "INSERT INTO t SELECT 1 WHERE NOT EXISTS (SELECT FROM t)",
        "INSERT INTO t SELECT 1 WHERE true OR NOT EXISTS (SELECT FROM t WHERE id = 1)",
        "INSERT INTO t SELECT 1 WHERE EXISTS (SELECT FROM t WHERE id = 1)",
        "INSERT INTO t SELECT 1 WHERE NOT EXISTS (SELECT FROM t WHERE id = 1) UNION SELECT 2",
        "UPDATE t SET n = n + 1",
        "UPDATE t SET n = 1",
        "UPDATE t SET n = n + 1 WHERE n IS NOT NULL",
        "UPDATE t SET n = n + 1 WHERE n IS DISTINCT FROM n + 1",
        "UPDATE t AS x SET n = x.n + 1 WHERE n IS NULL",
        "UPDATE t SET n = NULL WHERE n IS NULL",
        "UPDATE t SET n = NULL::int WHERE n IS NULL",
        "UPDATE t SET n = DEFAULT WHERE n IS NULL",
        "UPDATE t SET n = 1 WHERE m IS NULL",
        "UPDATE t SET n = 1 WHERE u.n IS NULL",
        "UPDATE t SET n = 1 WHERE n IS NULL OR m > 1",
        "UPDATE t SET n = 1 WHERE n <> 2",
        "UPDATE t SET n = now() WHERE n IS DISTINCT FROM now()",
        "UPDATE t SET (n, m) = (SELECT 1, 2) WHERE n IS NULL",
        "UPDATE t SET n[1] = 1 WHERE n IS NULL",
        "WITH d AS (DELETE FROM u) UPDATE t SET n = 1 WHERE n IS NULL",
        "UPDATE pg_catalog.pg_enum SET enumlabel = 'a' WHERE enumlabel IS NULL",
        "UPDATE pg_enum SET enumlabel = 'a' WHERE enumlabel IS NULL",
        "INSERT INTO pg_enum SELECT 1 WHERE NOT EXISTS (SELECT FROM pg_enum WHERE oid = 1)",
        "WITH t AS (SELECT 1 AS id WHERE false) INSERT INTO t SELECT 1 WHERE NOT EXISTS (SELECT FROM t WHERE id = 1)",
        "UPDATE t SET n = x.n + 1 FROM t x WHERE x.id = t.id AND t.n IS DISTINCT FROM x.n + 1",
        "UPDATE t SET n = x.n FROM (SELECT id, n + 1 AS n FROM t) x WHERE x.id = t.id AND t.n IS DISTINCT FROM x.n",
        "UPDATE t SET n = (SELECT x.n FROM public.t x WHERE x.id = t.parent) WHERE n IS NULL",
        "UPDATE t SET n = 1 WHERE n IS NULL AND id = (SELECT min(id) FROM t WHERE n IS NULL)",
        "UPDATE t SET n = f(t) WHERE n IS DISTINCT FROM f(t)",
        "UPDATE t SET n = f(t.*) WHERE n IS DISTINCT FROM f(t.*)",
        "UPDATE t AS x SET n = (x).n + 1 WHERE n IS DISTINCT FROM (x).n + 1",
        "DELETE FROM t",
        "TRUNCATE t",
        "MERGE INTO t USING s ON t.id = s.id WHEN MATCHED THEN DELETE",
        "DROP TABLE t",
        "DROP TABLE IF EXISTS t CASCADE",
        "DROP INDEX CONCURRENTLY IF EXISTS i",
        "DROP TYPE IF EXISTS e CASCADE",
        "DROP MATERIALIZED VIEW IF EXISTS v",
        "DROP RULE IF EXISTS r ON t",
        "DROP SCHEMA IF EXISTS s",
        "DROP EXTENSION IF EXISTS x",
        "DROP PUBLICATION IF EXISTS p",
        "DROP CAST IF EXISTS (text AS int)",
        "DROP TRANSFORM IF EXISTS FOR int LANGUAGE sql",
        "DROP AGGREGATE IF EXISTS a(int)",
        "DROP OWNED BY kb_backend",
        "ALTER TABLE t ADD COLUMN IF NOT EXISTS c int, DROP COLUMN IF EXISTS c",
        "ALTER TABLE t DROP COLUMN IF EXISTS c CASCADE",
        "ALTER TABLE t DROP CONSTRAINT IF EXISTS k CASCADE",
        "ALTER TABLE t DROP CONSTRAINT k",
        "ALTER TABLE t ALTER c ADD GENERATED ALWAYS AS IDENTITY",
        "ALTER TABLE t VALIDATE CONSTRAINT k",
        "ALTER TABLE t ENABLE TRIGGER g",
        "ALTER VIEW v ALTER c SET DEFAULT 1",
        "ALTER SEQUENCE q RESTART",
        "ALTER SEQUENCE q OWNED BY t.c RESTART",
        "ALTER SEQUENCE q MAXVALUE 9 OWNED BY t.c",
        "ALTER FUNCTION f() RENAME TO g",
        "ALTER SCHEMA s RENAME TO r",
        "ALTER TRIGGER g ON t RENAME TO h",
        "ALTER TABLE t SET SCHEMA s",
        "ALTER FUNCTION f() SET SCHEMA s",
        "ALTER EXTENSION x SET SCHEMA s",
        "SELECT pg_terminate_backend(1)",
        "SELECT set_config('role', 'postgres', false)",
        "WITH gone AS (DELETE FROM t RETURNING *) SELECT * FROM gone",
        "CALL p()",
        "COPY t FROM PROGRAM 'id'",
        "SET ROLE postgres",
        "RESET ROLE",
        "SET search_path = evil",
        "SET lock_timeout = 0",
        "SET SESSION AUTHORIZATION postgres",
        "LOCK TABLE t",
        "VACUUM",
        "REFRESH MATERIALIZED VIEW m",
        "CREATE ROLE r",
        "GRANT postgres TO r",
        "ALTER SYSTEM SET fsync = off",
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT s",
        "COMMIT AND CHAIN",
        "PREPARE TRANSACTION 'x'",
        "PREPARE p AS DELETE FROM t",
        "EXECUTE p",
        "NOTIFY c",
        "CREATE RULE r AS ON INSERT TO t DO INSTEAD DELETE FROM u",
        "CREATE TRIGGER g BEFORE INSERT ON t EXECUTE FUNCTION f()",
        "IMPORT FOREIGN SCHEMA s FROM SERVER x INTO y",
        "EXPLAIN ANALYZE DELETE FROM t",
        "EXPLAIN SELECT 1",
        "LISTEN c",
        "LOAD 'x'",
        "DECLARE c CURSOR FOR SELECT nextval('q')",
        "SECURITY LABEL ON TABLE t IS 'x'",
        "SET LOCAL row_security = off",
        "DISCARD ALL",
        "REASSIGN OWNED BY a TO b",
        "COPY t TO PROGRAM 'id'",
        "CREATE TABLE IF NOT EXISTS t AS SELECT nextval('q')",
        "INSERT INTO pg_catalog.pg_enum VALUES (1) ON CONFLICT DO NOTHING",
    ],
)  # fmt: skip
def test_refused(text: str) -> None:
    statement = only(text)
    assert statement.refused
    assert statement.remedy


@pytest.mark.parametrize(
    "text",
    [
        "WITH d AS (DELETE FROM s.prices RETURNING *) INSERT INTO t SELECT 1 FROM d ON CONFLICT DO NOTHING",
        "WITH d AS (UPDATE s.prices SET p = p * 2 RETURNING *) INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING",
        "INSERT INTO t WITH d AS (DELETE FROM s.prices) SELECT 1 ON CONFLICT DO NOTHING",
        "WITH d AS (INSERT INTO s.prices VALUES (1)) INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING",
        "WITH a AS (SELECT 1), d AS (MERGE INTO s.prices USING a ON true WHEN MATCHED THEN DELETE RETURNING 1) "
        "INSERT INTO t SELECT * FROM a ON CONFLICT DO NOTHING",
        "WITH RECURSIVE a AS (WITH d AS (DELETE FROM s.prices RETURNING 1) SELECT * FROM d) "
        "INSERT INTO t SELECT * FROM a ON CONFLICT DO NOTHING",
    ],
)
def test_what_changes_other_rows_beside_an_insert_is_refused_by_name(text: str) -> None:
    statement = only(text)
    assert (statement.kind, statement.object) == ("row", "public.t")
    assert "s.prices" in statement.refused
    assert statement.runs.writes


@pytest.mark.parametrize(
    ("text", "given", "same"),
    [
        ("(a, b) VALUES (1, DEFAULT), (2, 3)", {"a"}, {"a"}),
        ("(b) VALUES (now())", {"b"}, set()),
        ("VALUES (1, 2)", {"a", "b"}, {"a", "b"}),
        ("VALUES (1)", {"a"}, {"a"}),
        ("VALUES (1, current_timestamp), (1, 'x')", {"a", "b"}, {"a"}),
        ("SELECT 1, 2 UNION SELECT 3, 4", {"a", "b"}, {"a", "b"}),
        ("SELECT * FROM u", set(), set()),
        ("(a) SELECT x.* FROM x", {"a"}, {"a"}),
        ("DEFAULT VALUES", set(), set()),
    ],
)
def test_which_columns_an_insert_gives(text: str, given: set[str], same: set[str]) -> None:
    fill = only(f"INSERT INTO t {text} ON CONFLICT DO NOTHING").fills
    assert fill is not None
    columns = list(enumerate(("a", "b", "c")))
    assert {name for place, name in columns if fill.gives(place, name)} == given
    assert {name for place, name in columns if fill.repeats(place, name)} == same


@pytest.mark.parametrize(
    ("body", "calls", "changes"),
    [
        ("BEGIN NEW.a := s.f(1); RETURN NEW; END", {"f"}, set()),
        ('BEGIN INSERT INTO s."T" SELECT g(1); END', {"g"}, {("s", "T")}),
        ("BEGIN UPDATE ONLY t SET a = 1; DELETE FROM u; END", set(), {("public", "t"), ("public", "u")}),
        ("SELECT * FROM t FOR NO KEY UPDATE", set(), set()),
        ("BEGIN IF TG_OP = 'DELETE' THEN x := NEW.update; END IF; END -- INSERT INTO t", set(), set()),
    ],
)
def test_what_a_function_body_calls_and_changes(
    body: str, calls: set[str], changes: set[tuple[str, str]]
) -> None:
    code = in_body(body)
    assert {call.name for call in code.calls} >= calls
    assert (code.changes, code.writes, code.dynamic) == (changes, bool(changes), False)


@pytest.mark.parametrize("body", ["BEGIN EXECUTE 'DROP TABLE t'; END", "BEGIN DO $$x$$; END", "no 'end"])
def test_what_executes_a_text_or_cannot_be_read_is_not_known(body: str) -> None:
    assert in_body(body).dynamic


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(f"DO $$ BEGIN {CREATE_ENUM} END $$", id="no handler"),
        pytest.param(f"DO $$ BEGIN DROP TABLE t; {GUARDED}", id="drop"),
        pytest.param(f"DO $$ BEGIN {CREATE_ENUM} DROP TABLE t; {GUARDED}", id="create, then drop"),
        pytest.param(f"DO $$ BEGIN DROP TABLE t; {CREATE_ENUM} {GUARDED}", id="drop, then create"),
        pytest.param(
            f"DO $$ BEGIN {CREATE_ENUM} EXCEPTION WHEN duplicate_object THEN DROP TABLE t; END $$",
            id="drop in the handler",
        ),
        pytest.param(f"DO $$ BEGIN NULL; EXCEPTION WHEN duplicate_object THEN {CREATE_ENUM} END $$",
                     id="create in the handler"),
        pytest.param(f"DO $$ BEGIN {CREATE_ENUM} EXCEPTION WHEN others THEN NULL; END $$", id="others"),
        pytest.param(
            f"DO $$ BEGIN {CREATE_ENUM} EXCEPTION WHEN duplicate_object OR others THEN NULL; END $$",
            id="duplicate_object or others",
        ),
        pytest.param(
            f"DO $$ BEGIN {CREATE_ENUM} EXCEPTION WHEN duplicate_object THEN NULL; WHEN others THEN NULL; END $$",
            id="a second handler",
        ),
        pytest.param(f"DO $$ BEGIN {CREATE_ENUM} EXCEPTION WHEN SQLSTATE '42501' THEN NULL; END $$", id="sqlstate"),
        pytest.param(f"DO $$ DECLARE x int := f(); BEGIN {CREATE_ENUM} {GUARDED}", id="a default calls a function"),
        pytest.param(f"DO $$ DECLARE found record; BEGIN {CREATE_ENUM} {GUARDED}", id="a variable"),
        pytest.param(f"DO $$ BEGIN PERFORM f(); {CREATE_ENUM} {GUARDED}", id="perform"),
        pytest.param(f"DO $$ BEGIN EXECUTE 'DROP TABLE t'; {GUARDED}", id="dynamic SQL"),
        pytest.param(f"DO $$ BEGIN IF f() THEN {CREATE_ENUM} END IF; {GUARDED}", id="if"),
        pytest.param(f"DO $$ BEGIN COMMIT; {CREATE_ENUM} {GUARDED}", id="commit"),
        pytest.param(f"DO $$ BEGIN BEGIN NULL; {GUARDED[:-4]}; {CREATE_ENUM} END $$", id="create outside the guard"),
        pytest.param(f"DO $$ BEGIN BEGIN {CREATE_ENUM} {GUARDED[:-4]}; DROP TABLE t; END $$", id="drop after it"),
        pytest.param(f"DO $$ BEGIN CREATE TABLE t (id int); {GUARDED}", id="a table"),
        pytest.param("DO $$ BEGIN NULL; END $$", id="nothing"),
        pytest.param(f"DO LANGUAGE plpython3u $$ BEGIN {CREATE_ENUM} {GUARDED}", id="another language"),
        pytest.param(f"DO $o$ BEGIN EXECUTE $i$DROP TABLE t$i$; {GUARDED.replace('$$', '$o$')}", id="nested quotes"),
    ],
)  # fmt: skip
def test_a_do_block_of_any_other_shape_is_refused(block: str) -> None:
    statement = only(block)
    assert (statement.kind, statement.object) == ("statement", "DO block")
    assert statement.refused
    assert "duplicate_object" in statement.remedy


def test_lines_texts_and_comments() -> None:
    text = (
        "-- é 漢字 -- ; DROP TABLE x;\n"
        "CREATE SCHEMA IF NOT EXISTS é;\n"
        "\n"
        "/* ü /* nested; */ COMMIT; */\n"
        "COMMENT ON SCHEMA é IS 'a;''b ✓'; GRANT USAGE ON SCHEMA é TO r;;\n"
        "CREATE TABLE IF NOT EXISTS é.t (\n"
        "    id int -- the end of a comment; no statement\n"
        ") -- last"
    )
    schema, comment, grant, table = parse_script(text)
    assert (schema.line, schema.text) == (2, "CREATE SCHEMA IF NOT EXISTS é")
    assert (comment.line, comment.text) == (5, "COMMENT ON SCHEMA é IS 'a;''b ✓'")
    assert (grant.line, grant.text) == (5, "GRANT USAGE ON SCHEMA é TO r")
    assert (table.line, table.object) == (6, "é.t")
    assert table.text.startswith("CREATE TABLE IF NOT EXISTS é.t (")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("SELEC 1", 1),
        ("-- 漢字漢字漢字漢字\n-- éééé\nCREATE TABLE IF NOT EXISTS t (id int);\nSELEC 1;", 4),
        ("SELECT '漢';\n\n\nDO $$ BEGIN", 4),
        ("CREATE INDEX IF NOT EXISTS ON t (id)", 1),
        ("\n\\connect other", 2),
        ("COPY t FROM stdin;\n1\n\\.\n", 2),
        ("\ufeffCREATE SCHEMA IF NOT EXISTS s", 1),
    ],
)
def test_what_is_not_sql_is_named_by_its_line(text: str, line: int) -> None:
    with pytest.raises(MigrationError, match=f"Line {line} of the SQL is not PostgreSQL") as refused:
        parse_script(text)
    assert "nothing was executed" in refused.value.what_to_do


@pytest.mark.parametrize("text", ["", "  \n", "-- nothing\n", "/* nothing */", ";;"])
def test_a_script_without_a_statement_is_refused(text: str) -> None:
    with pytest.raises(MigrationError, match="no statement"):
        parse_script(text)


@settings(deadline=None, database=None)
@given(st.lists(st.text(alphabet="é漢😀a-/* \n", max_size=12), min_size=1, max_size=5))
def test_each_statement_is_cut_out_whole(comments: list[str]) -> None:
    """Comments of any characters between statements move neither the texts nor the line numbers."""
    text, lines = "", []
    for comment in comments:
        text += "".join(f"--{line}\n" for line in comment.split("\n"))
        lines.append(text.count("\n") + 1)
        text += "COMMENT ON TABLE é IS 'ü';"
    statements = parse_script(text)
    assert [s.line for s in statements] == lines
    assert {s.text for s in statements} == {"COMMENT ON TABLE é IS 'ü'"}


def test_the_shipped_baseline_is_idempotent_and_makes_what_the_phase_declares() -> None:
    phase = load_phase("PH15-AMAZON-DB-FOUNDATION-01")
    statements = parse_script((phase.folder / phase.baseline.file).read_text(encoding="utf-8"))
    assert not [s for s in statements if s.refused]
    declared = [o.name for o in (*phase.enums, *phase.tables, *phase.indexes)]
    assert sorted(s.object for s in statements) == sorted(declared)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            "BEGIN\n  CREATE TYPE a AS ENUM ('CREATE TYP');\n  CREATE TYP x;\nEND",
            'syntax error at or near "TYP" at line 4',
        ),
        ("BEGIN\n  PERFORM 1;\n  FOO BAR;\n  FOO BAR;\nEND", 'syntax error at or near "FOO" at line 4'),
        ("BEGIN\n  IF 1 1 THEN\n    NULL;\n  END IF;\nEND", 'syntax error at or near "1" at line 3'),
        ("BEGIN\n  IF true THEN\n    NULL;\n", "syntax error at end of input at line 4"),
        ("BEGIN\n  x := 1;\nEND", '"x" is not a known variable at line 3'),
        ("BEGIN\n  INSERT INTO t VALUES (1);\nEND", "what a DO block does twice cannot be told"),
    ],
)
def test_a_mistake_in_a_do_block_is_told_with_its_line(body: str, said: str) -> None:
    (statement,) = parse_script(f"-- a comment\nDO $$ {body} $$;")
    assert statement.refused == said
