"""Which statements a comparison of catalogues shows in full: by their kind, without a server."""

from __future__ import annotations

import pytest

from runbooks_lib.postgres.script.effects import unjudged
from runbooks_lib.postgres.script.pieces import pieces


def told(script: str) -> list[str]:
    found = pieces(script)
    assert found is not None
    return [one.words for one in map(unjudged, found) if one is not None]


@pytest.mark.parametrize(
    "script",
    [
        "CREATE TABLE a (id int DEFAULT f(1) CHECK (g(id)), b text GENERATED ALWAYS AS (h(id)) STORED)",
        "ALTER TABLE a ADD COLUMN b int NOT NULL DEFAULT 0, DROP COLUMN c, ALTER d TYPE text",
        "CREATE INDEX CONCURRENTLY i ON a (f(b)) WHERE g(c)",
        "CREATE VIEW v AS SELECT f(1)",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ DELETE FROM a; SELECT 1 $$",
        "CREATE TYPE e AS ENUM ('A'); ALTER TYPE e ADD VALUE 'B'; DROP TYPE e",
        "CREATE TRIGGER t AFTER INSERT ON a EXECUTE FUNCTION f(); CREATE POLICY p ON a USING (f(b))",
        "CREATE RULE r AS ON INSERT TO a DO INSTEAD DELETE FROM b",
        "GRANT SELECT ON a TO b; GRANT ALL ON DATABASE d TO b; COMMENT ON TABLE a IS 'x'",
        "CREATE TABLE c AS SELECT f(1) WITH NO DATA",
        "VACUUM a; ANALYZE; REINDEX TABLE a; BEGIN; LOCK TABLE a; COMMIT; SELECT 1; SHOW search_path",
        "SET lock_timeout = '5s'; SET LOCAL statement_timeout = 0; EXPLAIN DELETE FROM a",
    ],
)
def test_these_leave_what_a_catalogue_shows_or_nothing(script: str) -> None:
    assert told(script) == []


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("INSERT INTO s.a VALUES (1)", "INSERT s.a (rows)"),
        ("UPDATE a SET b = 1", "UPDATE a (rows)"),
        ("DELETE FROM a", "DELETE a (rows)"),
        ("MERGE INTO a USING b ON true WHEN MATCHED THEN DELETE", "MERGE a (rows)"),
        ("COPY a FROM '/x'", "COPY a (rows)"),
        ("TRUNCATE a, b", "TRUNCATE a, b (rows)"),
        ("REFRESH MATERIALIZED VIEW v", "REFRESH MATERIALIZED VIEW v (rows)"),
        ("CREATE TABLE c AS SELECT 1", "CREATE TABLE AS c (rows)"),
        ("CREATE MATERIALIZED VIEW v AS SELECT 1", "CREATE TABLE AS v (rows)"),
        ("SELECT 1 INTO c", "SELECT c (rows)"),
        ("WITH x AS (DELETE FROM a RETURNING *) SELECT 1", "SELECT (rows)"),
        ("SELECT pg_catalog.setval('s', 1)", "SELECT pg_catalog.setval (what the function does)"),
        ("SELECT * FROM (SELECT 1) x WHERE EXISTS (SELECT f())", "SELECT f (what the function does)"),
        ("DO $$ BEGIN PERFORM f(); END $$", "DO block (what the block does)"),
        ("CALL p(1)", "CALL p (what the procedure does)"),
        ("EXPLAIN ANALYZE DELETE FROM a", "EXPLAIN (what the statement does)"),
        ("SET search_path = a", "SET search_path (a setting of the session)"),
        ("NOTIFY n", "NOTIFY (who hears it)"),
        ("ALTER TABLE a ALTER b TYPE int USING b::int", "ALTER TABLE a (rows that USING computes)"),
        ("ALTER SEQUENCE s RESTART WITH 5", "ALTER SEQUENCE s (where a sequence stands)"),
        ("ALTER TABLE a ALTER id RESTART WITH 5", "ALTER TABLE a (where a sequence stands)"),
        ("CREATE ROLE r PASSWORD 'secret'", "CREATE ROLE r (a role of the server)"),
        ("ALTER ROLE r SET search_path = a", "ALTER ROLE SET r (settings of a role)"),
        ("ALTER ROLE r LOGIN", "ALTER ROLE r (a role of the server)"),
        ("ALTER DATABASE d SET app.a = 1", "ALTER DATABASE SET d (a setting that may be secret)"),
        ("CREATE USER MAPPING FOR r SERVER s", "CREATE USER MAPPING (options, which may be secret)"),
        ("ALTER EXTENSION e UPDATE", "ALTER EXTENSION e (an extension's version)"),
        ("COMMENT ON ROLE r IS 'x'", "COMMENT (what belongs to no schema)"),
        ("ALTER SYSTEM SET a = 1", "ALTER SYSTEM (settings of the server)"),
        ("GRANT SET ON PARAMETER p TO r", "GRANT (what belongs to no schema)"),
        ("ALTER ROLE a RENAME TO b", "RENAME (what belongs to no schema)"),
        ("ALTER DATABASE d OWNER TO r", "ALTER OWNER (what belongs to no schema)"),
    ],
)
def test_these_are_not_judged_and_named_without_their_text(script: str, words: str) -> None:
    assert told(f"-- first\n\n{script};") == [f"line 3 {words}"]


DDL = "ALTER TABLE a ADD COLUMN b int"


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (f"BEGIN {DDL}; EXCEPTION WHEN duplicate_column THEN NULL; END", True),
        ("DECLARE x text := 'it''s'; BEGIN CREATE TYPE t AS ENUM ('a'); RAISE NOTICE '%', x; END", True),
        (f"BEGIN IF NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conname = 'c') THEN {DDL}; END IF; END", True),
        (f"BEGIN IF EXISTS (SELECT FROM information_schema.columns WHERE table_name = 'a') THEN {DDL}; END IF; END",
         True),
        (f"BEGIN IF to_regclass('public.a') IS NOT NULL THEN {DDL}; END IF; END", True),
        (f"BEGIN IF EXISTS (SELECT FROM pg_tables WHERE schemaname = CURRENT_SCHEMA) THEN {DDL}; END IF; END", True),
        (f"BEGIN IF CURRENT_DATE > '2030-01-01' THEN {DDL}; END IF; END", False),
        (f"BEGIN IF CURRENT_USER = 'postgres' THEN {DDL}; END IF; END", False),
        ("DECLARE c refcursor; r record; BEGIN OPEN c FOR EXECUTE 'SELECT f()'; FETCH c INTO r; END", False),
        ("BEGIN UPDATE a SET b = 1; END", False),
        (f"BEGIN IF EXISTS (SELECT FROM a) THEN {DDL}; END IF; END", False),
        (f"BEGIN IF EXISTS (SELECT FROM public.pg_class) THEN {DDL}; END IF; END", False),
        (f"BEGIN IF EXISTS (SELECT FROM pg_roles) THEN {DDL}; END IF; END", False),
        ("BEGIN EXECUTE 'DELETE FROM a'; END", False),
        ("BEGIN FOR r IN EXECUTE 'SELECT 1' LOOP NULL; END LOOP; END", False),
        ("BEGIN PERFORM f(); END", False),
        ("BEGIN IF f() THEN NULL; END IF; END", False),
        ("BEGIN CREATE ROLE r; END", False),
        ("BEGIN WITH x AS (DELETE FROM a RETURNING *) SELECT 1 INTO y FROM x; END", False),
        ("BEGIN this is no PL/pgSQL", False),
    ],
)  # fmt: skip
def test_of_a_block_of_ddl_alone_the_catalogue_shows_all(body: str, shown: bool) -> None:
    assert (told(f"DO $q$ {body} $q$") == []) is shown
    assert told(f"DO LANGUAGE plpython3u $q$ {body} $q$") != []


def test_lines_are_those_of_the_first_words() -> None:
    script = "/* a /* nested */\n; */ UPDATE é SET a = 'x;\ny';\n\n  -- and\nDELETE FROM b"
    assert told(script) == ["line 2 UPDATE é (rows)", "line 6 DELETE b (rows)"]


def test_what_is_not_sql_has_no_pieces() -> None:
    assert pieces("CREAT TABLE a ()") is None
    assert pieces("-- nothing\n") == ()
