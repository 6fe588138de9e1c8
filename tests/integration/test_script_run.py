"""Scripts out of a repository, run in a real scratch server: as Prisma runs them, and with nobody's rights."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest

from runbooks_lib.errors import MigrationError
from runbooks_lib.postgres.catalog.catalog import read_catalog
from runbooks_lib.postgres.catalog.differences import describe
from runbooks_lib.postgres.scratch import script_run as replaying
from runbooks_lib.postgres.scratch.replayed import Ran
from runbooks_lib.postgres.scratch.scratch import Scratch, scratch
from runbooks_lib.postgres.scratch.script_run import Replay
from runbooks_lib.postgres.scratch.surroundings import Surroundings
from runbooks_lib.postgres.script.effects import unjudged
from runbooks_lib.postgres.script.pieces import pieces

DATABASE, OWNER = "shop", "shop_owner"
LIKE = Surroundings(database=DATABASE, roles=(OWNER, "postgres", "app", "boss"))
NOT_RUN = "it needs a superuser's rights, and was not run"


@pytest.fixture(scope="module")
def server() -> Iterator[Scratch]:
    with scratch() as copy:
        yield copy


@pytest.fixture
def database(server: Scratch) -> Iterator[Scratch]:
    server.create_database(DATABASE, owner=OWNER, like=LIKE)
    yield server
    with server.connect("template1") as conn:
        conn.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")


@pytest.fixture
def run(database: Scratch) -> Iterator[Callable[..., Ran]]:
    with closing(Replay(database, DATABASE, owner=OWNER, schema="public")) as session:
        yield session.run


@pytest.fixture
def canary(server: Scratch) -> Iterator[Path]:
    """A folder in which the server's account may write, wherever the server is shut in, with a file to read."""
    with tempfile.TemporaryDirectory(prefix="canary-", dir=server.cluster.home) as name:
        folder = Path(name)
        folder.chmod(0o777)
        (folder / "secret").write_text("tweet")
        (folder / "secret").chmod(0o644)
        yield folder


def relations(server: Scratch) -> set[str]:
    with server.connect(DATABASE) as conn:
        return {*read_catalog(conn).relations, *read_catalog(conn).indexes}


# --- as Prisma runs them, or as people do who then record it -------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "made", "why"),
    [
        ("CREATE TABLE a (x int); CREATE TABLE b ();", {"public.a", "public.b"}, ""),
        ("CREATE TABLE a (x int); CREATE INDEX CONCURRENTLY i ON a (x); CREATE INDEX CONCURRENTLY j ON a (x)",
         {"public.a", "public.i", "public.j"}, "line 1 CREATE INDEX on a runs in no transaction"),
        ("CREATE TABLE a (x int); VACUUM a; CREATE TABLE b ()", {"public.a", "public.b"},
         "line 1 VACUUM runs in no transaction"),
        ("CREATE TABLE a (x int);\nSET LOCAL search_path = other;\nCREATE SCHEMA other;\nCREATE TABLE b ();\nVACUUM a",
         {"public.a"}, None),
        ("BEGIN; CREATE TABLE a (); COMMIT; BEGIN; CREATE TABLE b (); ROLLBACK; CREATE TABLE c (); BEGIN; "
         "CREATE TABLE d ();", {"public.a"}, ""),  # the last BEGIN takes c into its transaction
        ("\ufeff-- with a byte order mark\nCREATE TABLE a ()", {"public.a"}, ""),
        ("REINDEX TABLE CONCURRENTLY pg_class_oid_index", None, None),
    ],
)  # fmt: skip
def test_a_script_makes_what_it_makes_for_prisma(
    database: Scratch, run: Callable[..., Ran], script: str, made: set[str] | None, why: str | None
) -> None:
    if made is None or why is None:
        with pytest.raises(psycopg.Error):
            run(script)
        return
    ran = run(script)
    assert relations(database) == made
    assert ran.one_by_one == why


def test_a_label_that_is_used_where_it_is_added(database: Scratch, run: Callable[..., Ran]) -> None:
    run("CREATE TYPE e AS ENUM ('A'); CREATE TABLE a (x e)")
    ran = run(
        "ALTER TYPE e ADD VALUE 'B';\nSET LOCAL work_mem = '1MB';\nINSERT INTO a VALUES ('B');\nLOCK TABLE a;"
    )
    assert ran.one_by_one == "it uses a label that it adds to an enum"
    assert [u.words for u in ran.unjudged] == ["line 3 INSERT a (rows)"]
    with database.connect(DATABASE) as conn:
        assert conn.execute("SELECT x::text FROM public.a").fetchall() == [{"x": "B"}]


def test_a_script_begins_afresh(database: Scratch, run: Callable[..., Ran]) -> None:
    """A dump as the first migration leaves search_path empty; later ones are run by another Prisma."""
    run(
        "SELECT pg_catalog.set_config('search_path', '', false); CREATE TABLE public.a (x int); CREATE TEMP TABLE t ()"
    )
    run("SET ROLE app; BEGIN;")
    run("CREATE INDEX i ON a (x)")
    run("CREATE TEMP TABLE t ()")
    assert relations(database) >= {"public.a", "public.i"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("SET search_path = pg_catalog", "CREATE TABLE a ()"),
        ("INSERT INTO t SELECT set_config('search_path', 'pg_catalog', false)", "CREATE TABLE a ()"),
        ("CREATE TEMPORARY TABLE a ()", "CREATE TABLE a (); CREATE TABLE public.b (); DROP TABLE public.a"),
        ("CREATE TABLE pg_temp.a ()", "CREATE TABLE a (); DROP TABLE public.a"),
        ("BEGIN; CREATE TABLE b ()", "CREATE TABLE b ()"),
        ("CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$SELECT set_config('search_path', 'pg_catalog', false)$$; "
         "CREATE TABLE u (x text DEFAULT f())", "INSERT INTO u DEFAULT VALUES"),
    ],
)  # fmt: skip
def test_what_a_script_does_to_its_session_ends_with_it(database: Scratch, before: str, after: str) -> None:
    """Also where scripts that do nothing to it leave the session as it is."""
    with closing(Replay(database, DATABASE, owner=OWNER, schema="public", code=False)) as session:
        session.run("CREATE TABLE t (x text)")
        session.run(before)
        session.run(after)
        session.run("ALTER TABLE t ADD y int; CREATE TABLE last ()")
        assert "public.last" in relations(database)


def test_a_failure_is_postgres_own_and_the_next_script_runs(
    database: Scratch, run: Callable[..., Ran]
) -> None:
    with pytest.raises(psycopg.errors.UndefinedTable, match="nowhere"):
        run("CREATE TABLE a (); ALTER TABLE nowhere ADD x int")
    with pytest.raises(psycopg.errors.UndefinedTable):
        run("CREATE TABLE b (); VACUUM b; DROP TABLE nowhere")
    with pytest.raises(psycopg.Error):
        run("CREATE TABLE c (x int); COPY c FROM STDIN")
    run("CREATE TABLE d ()")
    assert relations(database) == {"public.b", "public.d"}


def test_what_the_parser_here_does_not_know_is_not_judged(run: Callable[..., Ran]) -> None:
    with pytest.raises(psycopg.errors.SyntaxError):
        run("CREATE TABLE a (); CREAT TABLE b ()")


def test_a_script_that_does_not_end_is_ended(
    run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "TIMEOUT_S", 0.5)
    sleep = "BEGIN PERFORM pg_sleep(9); EXCEPTION WHEN query_canceled THEN NULL; END"
    stubborn = f"DO $$ BEGIN LOOP {sleep}; END LOOP; END $$"
    with pytest.raises(MigrationError, match=r"did not end within 0\.5 s"):
        run(stubborn)
    run("CREATE TABLE a ()")


# --- with nobody's rights ---------------------------------------------------------------------------------------------

DEED = "COPY (SELECT 1) TO PROGRAM 'touch {canary}/done'"
ATTACKS = {
    "program": "COPY (SELECT 1) TO PROGRAM 'touch {canary}/done'",
    "program read": "CREATE TABLE t (x text); COPY t FROM PROGRAM 'touch {canary}/done; echo x'",
    "file written": "COPY (SELECT 1) TO '{canary}/done'",
    "file read": "CREATE TABLE t (x text); COPY t FROM '{canary}/secret'",
    "large object": "SELECT lo_export(lo_from_bytea(0, 'x'), '{canary}/done')",
    "large object read": "SELECT lo_import('{canary}/secret')",
    "function that reads": "CREATE TABLE t AS SELECT pg_read_file('{canary}/secret') AS x",
    "C": "CREATE FUNCTION s(cstring) RETURNS int LANGUAGE c AS 'libc.so.6', 'system'; SELECT s('touch {canary}/done')",
    "superuser": "ALTER ROLE shop_owner SUPERUSER; {deed}",
    "a role of PostgreSQL": "GRANT pg_execute_server_program TO shop_owner; {deed}",
    "another role": "RESET ROLE; SET SESSION AUTHORIZATION runbooks_scratch; {deed}",
    "a role of its own": "CREATE ROLE boss SUPERUSER LOGIN; SET ROLE boss; {deed}",
    "settings of the server": "ALTER SYSTEM SET archive_command = 'touch {canary}/done'; SELECT pg_reload_conf()",
    "event trigger": "CREATE FUNCTION e() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN "
    "{deed}; END $$; "
    "CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION e()",
    "library": "LOAD '{canary}/secret'",
    "foreign file": "CREATE EXTENSION file_fdw; CREATE SERVER f FOREIGN DATA WRAPPER file_fdw; CREATE FOREIGN TABLE t "
    "(x text) SERVER f OPTIONS (program 'touch {canary}/done'); SELECT * FROM t",
}  # fmt: skip


def test_the_canary_sings_when_a_superuser_does_it(server: Scratch, canary: Path) -> None:
    with server.connect("template1") as conn:
        conn.execute(DEED.format(canary=canary))
    assert (canary / "done").exists()


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_is_executed_or_read(
    database: Scratch, run: Callable[..., Ran], canary: Path, attack: str
) -> None:
    attacked = ATTACKS[attack].format(canary=canary, deed=DEED.format(canary=canary))
    ran = run(f"CREATE TABLE before (); {attacked}; CREATE TABLE after ()")
    assert os.listdir(canary) == ["secret"]
    assert ran.unjudged
    with database.connect(DATABASE) as conn:
        tables = set(read_catalog(conn).relations)
        assert {"public.before", "public.after"} <= tables
        if "public.t" in tables:
            assert conn.execute("SELECT count(*) AS n FROM public.t").fetchone() == {"n": 0}
        query = "SELECT rolname FROM pg_roles WHERE rolsuper OR pg_has_role(oid, 'pg_execute_server_program', 'MEMBER')"
        assert {row["rolname"] for row in conn.execute(query)} == {
            "runbooks_scratch",
            "pg_execute_server_program",
        }
        assert conn.execute("SELECT count(*) AS n FROM pg_event_trigger").fetchone() == {"n": 0}


def test_what_was_not_run_is_named_and_so_is_what_hangs_on_it(run: Callable[..., Ran]) -> None:
    function = "CREATE FUNCTION f() RETURNS int LANGUAGE c AS 'x', 'y'"
    ran = run(f"{function};\nCREATE VIEW v AS SELECT f();\nCREATE TABLE a ();")
    assert [(u.line, u.why) for u in ran.unjudged] == [(1, NOT_RUN), (2, "it needs what was not run")]
    assert len(ran.statements) == 3


TRAPS = """
CREATE FUNCTION deed() RETURNS int LANGUAGE plpgsql AS $$ BEGIN {deed}; RETURN 1;
EXCEPTION WHEN insufficient_privilege THEN RETURN 1; END $$;
CREATE FUNCTION trap() RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN public.deed(); END $$;
CREATE FUNCTION trap(anyelement) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT public.trap()::text $$;
CREATE FUNCTION trapped() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM public.trap(); RETURN NEW; END $$;
CREATE FUNCTION same(name, name) RETURNS bool LANGUAGE sql IMMUTABLE AS $$ SELECT public.trap() = 1 $$;
CREATE OPERATOR = (LEFTARG = name, RIGHTARG = name, FUNCTION = same);
CREATE FUNCTION pg_get_viewdef(oid) RETURNS text LANGUAGE sql AS $$ SELECT public.trap()::text $$;
CREATE TABLE t (x int DEFAULT trap() CHECK (x = trap()));
CREATE INDEX i ON t ((trap()));
CREATE TRIGGER r BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION trapped();
CREATE VIEW v AS SELECT trap();
CREATE POLICY p ON t USING (trap() = 1);
ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE STATISTICS s ON (trap() + x), x FROM t;
ALTER DATABASE shop SET search_path = public, pg_catalog;
ALTER DATABASE shop SET role = app;
ALTER DATABASE shop SET default_transaction_read_only = on;
"""


def test_the_catalogue_is_read_without_calling_anything_of_theirs(
    database: Scratch, run: Callable[..., Ran], canary: Path
) -> None:
    run(TRAPS.format(deed=DEED.format(canary=canary)))
    with database.connect(DATABASE) as conn:
        assert "public.t" in read_catalog(conn).relations
        assert conn.execute("SELECT current_user AS u, current_setting('search_path') AS p").fetchone() == {
            "u": "runbooks_scratch",
            "p": "pg_catalog",
        }
        assert os.listdir(canary) == ["secret"]
        conn.execute("SELECT public.trap()")  # whoever calls it from a superuser's session is caught
        assert len(os.listdir(canary)) == 2


# --- in the target's surroundings ----------------------------------------------------------------------------------


@contextmanager
def made(server: Scratch, like: Surroundings) -> Iterator[tuple[str, ...]]:
    yield server.create_database(like.database, owner=OWNER, like=like)
    with server.connect("template1") as conn:
        conn.execute(f'DROP DATABASE "{like.database}" WITH (FORCE)')


def test_a_database_has_the_targets_name_encoding_and_settings(server: Scratch) -> None:
    like = Surroundings(
        database="postgres",
        encoding="LATIN1",
        roles=("postgres",),
        settings=(
            ("", "intervalstyle", "iso_8601"),
            ("", "app.tenant", "it's one"),
            ("", "work_mem", "64kB"),
            ("", "search_path", "nowhere"),
            (OWNER, "datestyle", "German, DMY"),
            ("somebody", "bytea_output", "escape"),
            ("", "timezone", "Nowhere/Nowhere"),
        ),
    )
    with made(server, like) as lacking, server.session("postgres", owner=OWNER) as conn:
        assert [words.partition(" (")[0] for words in lacking] == ["the setting timezone"]
        shown = [
            next(iter((conn.execute(f"SHOW {name}").fetchone() or {}).values()))
            for name in (
                "server_encoding",
                "intervalstyle",
                "app.tenant",
                "datestyle",
                "bytea_output",
                "search_path",
            )
        ]
        assert shown == ["LATIN1", "iso_8601", "it's one", "German, DMY", "hex", '"public"']
        conn.execute("GRANT CONNECT ON DATABASE postgres TO PUBLIC")


def test_a_locale_that_is_not_here_is_said(server: Scratch) -> None:
    like = Surroundings(database="elsewhere", collate="xx_XX.UTF-8", ctype="xx_XX.UTF-8")
    with made(server, like) as lacking:
        assert lacking == ("the locale UTF8, libc xx_XX.UTF-8",)


def test_an_owner_may_give_away_what_the_new_one_could_not_make(
    database: Scratch, run: Callable[..., Ran]
) -> None:
    ran = run(
        "CREATE SCHEMA s; CREATE TABLE s.a (); CREATE FUNCTION s.f() RETURNS int LANGUAGE sql AS 'SELECT 1';"
        "ALTER TABLE s.a OWNER TO app; ALTER FUNCTION s.f() OWNER TO app;"
        "CREATE FUNCTION boss() RETURNS int SECURITY DEFINER LANGUAGE sql AS 'SELECT 1';"
        "ALTER FUNCTION boss() OWNER TO runbooks_scratch; ALTER FUNCTION boss() OWNER TO pg_write_server_files"
    )
    assert [u.what for u in ran.unjudged] == ["ALTER OWNER", "ALTER OWNER"]
    with database.connect(DATABASE) as conn:
        assert read_catalog(conn).relations["s.a"].owner == "app"
        query = (
            "SELECT proname AS f, proowner::regrole::text AS o FROM pg_proc WHERE proname IN ('f', 'boss')"
        )
        owners = conn.execute(query)
        assert {row["f"]: row["o"] for row in owners} == {"f": "app", "boss": OWNER}


def test_an_owner_may_give_away_what_it_makes(database: Scratch, run: Callable[..., Ran]) -> None:
    ran = run(
        "CREATE SCHEMA s AUTHORIZATION app; CREATE TABLE a (); ALTER TABLE a OWNER TO postgres; "
        "ALTER DEFAULT PRIVILEGES FOR ROLE app GRANT SELECT ON TABLES TO postgres; GRANT ALL ON a TO app; "
        "GRANT CREATE ON DATABASE shop TO app; REVOKE ALL ON SCHEMA public FROM PUBLIC"
    )
    assert [u.why for u in ran.unjudged if u.why == NOT_RUN] == []
    with database.connect(DATABASE) as conn:
        assert read_catalog(conn).relations["public.a"].owner == "postgres"


@pytest.mark.parametrize(
    "statement",
    [
        "GRANT USAGE ON LANGUAGE plpgsql TO app",
        "REVOKE EXECUTE ON FUNCTION pg_catalog.now() FROM PUBLIC",
        "GRANT SELECT ON pg_catalog.pg_class TO app",
    ],
)
def test_a_privilege_that_only_a_superuser_gives_is_not_judged(
    run: Callable[..., Ran], statement: str
) -> None:
    ran = run(f"CREATE TABLE a (); GRANT SELECT ON a TO app;\n{statement};\nCREATE TABLE b ();")
    assert 2 in [one.line for one in ran.unjudged]
    assert run("GRANT SELECT ON b TO app").unjudged == ()


# --- what is said to be shown is shown -----------------------------------------------------------------------------

GROUND = """
CREATE TABLE t (id int PRIMARY KEY GENERATED BY DEFAULT AS IDENTITY, a text, b int); CREATE INDEX i ON t (a);
CREATE TABLE u (id int PRIMARY KEY); CREATE VIEW v AS SELECT a FROM t; CREATE SEQUENCE s; CREATE SCHEMA other;
CREATE TYPE e AS ENUM ('A'); CREATE DOMAIN d AS int; CREATE TYPE c AS (x int); CREATE STATISTICS st ON a, b FROM t;
CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE PUBLICATION p FOR TABLE t;
CREATE FUNCTION g() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION g(); CREATE POLICY po ON t USING (a = 'x');
CREATE RULE r AS ON INSERT TO v DO INSTEAD NOTHING; CREATE TEXT SEARCH DICTIONARY di (TEMPLATE = simple);
CREATE TEXT SEARCH CONFIGURATION co (COPY = pg_catalog.simple);
CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq); CREATE COLLATION cl (LOCALE = 'C');
CREATE MATERIALIZED VIEW m AS SELECT a FROM t WITH NO DATA; CREATE AGGREGATE ag (int) (SFUNC = int4pl, STYPE = int);
"""
SHOWN = """
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO app
ALTER DOMAIN d SET NOT NULL
ALTER TYPE e ADD VALUE 'B'
ALTER FUNCTION f(int) STRICT
ALTER FUNCTION f(int) DEPENDS ON EXTENSION plpgsql
ALTER TABLE t SET SCHEMA other
ALTER TYPE e SET SCHEMA other
ALTER OPERATOR === (int, int) OWNER TO app
ALTER OPERATOR === (int, int) SET (RESTRICT = eqsel)
ALTER TABLE t OWNER TO app
ALTER FUNCTION f(int) OWNER TO app
ALTER SCHEMA other OWNER TO app
ALTER TYPE c OWNER TO app
ALTER POLICY po ON t TO app
ALTER PUBLICATION p SET (publish = 'insert')
ALTER PUBLICATION p DROP TABLE t
ALTER STATISTICS st SET STATISTICS 50
ALTER TEXT SEARCH CONFIGURATION co DROP MAPPING FOR word
ALTER TEXT SEARCH DICTIONARY di (ACCEPT = false)
ALTER TYPE c ADD ATTRIBUTE y int
ALTER TABLE t ADD COLUMN z int
ALTER TABLE t ALTER b SET DEFAULT 1
ALTER TABLE t ALTER b SET STATISTICS 7
ALTER TABLE t ALTER a SET STORAGE EXTERNAL
ALTER TABLE t ENABLE ROW LEVEL SECURITY
ALTER TABLE t FORCE ROW LEVEL SECURITY
ALTER TABLE t REPLICA IDENTITY FULL
ALTER TABLE t DISABLE TRIGGER tr
ALTER TABLE t CLUSTER ON i
ALTER TABLE t INHERIT u
ALTER TABLE t ADD CONSTRAINT k CHECK (b > 0) NOT VALID
ALTER TABLE u SET UNLOGGED
ALTER TABLE v ALTER a SET DEFAULT 'x'
ALTER VIEW v SET (security_barrier)
ALTER INDEX i SET (fillfactor = 50)
ALTER SEQUENCE s INCREMENT 5
ALTER SEQUENCE s OWNED BY t.b
ALTER DATABASE shop SET datestyle = 'German'
CREATE CAST (c AS text) WITH INOUT
CREATE CONVERSION cv FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8
CREATE TYPE ra AS RANGE (SUBTYPE = int)
CREATE TRIGGER tr2 AFTER DELETE ON t EXECUTE FUNCTION g()
CREATE RULE r2 AS ON DELETE TO t DO INSTEAD NOTHING
CREATE PUBLICATION p2
CREATE STATISTICS st2 ON a, id FROM t
CREATE TEXT SEARCH DICTIONARY di2 (TEMPLATE = simple)
CREATE AGGREGATE ag2 (int) (SFUNC = int4pl, STYPE = int)
CREATE OR REPLACE AGGREGATE ag (int) (SFUNC = int4pl, STYPE = int, INITCOND = '5')
CREATE OPERATOR <<< (LEFTARG = int, RIGHTARG = int, FUNCTION = int4lt)
CREATE COLLATION cl2 (LOCALE = 'POSIX')
CREATE SEQUENCE s2
CREATE EXTENSION citext
DROP STATISTICS st
DROP RULE r ON v
DROP PUBLICATION p
DROP OPERATOR === (int, int)
DROP AGGREGATE ag (int)
DROP OWNED BY app
ALTER TABLE t RENAME a TO aa
ALTER TRIGGER tr ON t RENAME TO tr3
ALTER TYPE e RENAME VALUE 'A' TO 'AA'
REASSIGN OWNED BY shop_owner TO app
GRANT SELECT (a) ON t TO app
GRANT USAGE ON SCHEMA other TO app
GRANT EXECUTE ON FUNCTION f(int) TO app
REVOKE EXECUTE ON FUNCTION f(int) FROM PUBLIC
GRANT USAGE ON TYPE e TO app
GRANT CREATE ON DATABASE shop TO app
COMMENT ON FUNCTION f(int) IS 'x'
COMMENT ON CONSTRAINT t_pkey ON t IS 'x'
COMMENT ON TRIGGER tr ON t IS 'x'
COMMENT ON TYPE e IS 'x'
COMMENT ON SCHEMA other IS 'x'
COMMENT ON INDEX i IS 'x'
COMMENT ON DATABASE shop IS 'x'
COMMENT ON POLICY po ON t IS 'x'
CREATE UNIQUE INDEX i2 ON t (b)
CREATE TABLE t2 (LIKE t INCLUDING ALL)
"""


def test_every_statement_that_counts_as_judged_changes_what_is_compared(
    database: Scratch, run: Callable[..., Ran]
) -> None:
    ran = run(f"{GROUND}; GRANT SELECT ON u TO app")
    assert [one.words for one in ran.unjudged] == []
    blind = []
    with database.session(DATABASE, owner=OWNER) as conn:
        conn.execute("SET search_path = pg_catalog")
        before = describe(read_catalog(conn))
        for statement in filter(None, SHOWN.splitlines()):
            with conn.transaction(force_rollback=True):
                conn.execute("SET LOCAL search_path = public")
                conn.execute(statement.encode())
                conn.execute("SET LOCAL search_path = pg_catalog")
                changed = describe(read_catalog(conn)) != before
            (piece,) = pieces(statement) or ()
            if unjudged(piece) is not None or not changed:
                blind.append(statement)
    assert blind == []
