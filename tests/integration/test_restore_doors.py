"""A dump made by somebody hostile restores without executing anything with our rights; canaries show it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from runbooks_lib.errors import BackupError
from runbooks_lib.postgres.catalog.catalog import count_rows, read_catalog
from runbooks_lib.postgres.catalog.differences import differences
from runbooks_lib.postgres.dump.clients import choose, find_clients
from runbooks_lib.postgres.dump.data_dump import read_data_dump
from runbooks_lib.postgres.dump.dump_script import Kind, read_pieces
from runbooks_lib.postgres.rows.content import content_hash
from runbooks_lib.postgres.scratch import restore
from runbooks_lib.postgres.scratch import restore_data as restoring
from runbooks_lib.postgres.scratch.restore import RESTORER, Restores, restore_into
from runbooks_lib.postgres.scratch.restore_data import restore_data
from runbooks_lib.postgres.scratch.scratch import SUPERUSER, Scratch, scratch
from runbooks_lib.postgres.session.session import open_session

# What psql reads as a command where a line begins with it, each doing what can be seen.
META = (
    r"\! touch {canary}",
    r"\o {canary}",
    r"\o |touch {canary}",
    r"\w {canary}",
    r"\g {canary}",
    r"\g |touch {canary}",
    r"\gx |touch {canary}",
    r"\copy pg_class to {canary}",
    r"\copy pg_class to program 'touch {canary}'",
    r"\s {canary}",
    r"\lo_export 1 {canary}",
    r"\i {canary}.sql",
    r"\ir {canary}.sql",
    r"\include {canary}.sql",
    r"\setenv PAGER 'touch {canary}'",
    r"\set x `touch {canary}`",
    r"\echo `touch {canary}`",
    r"\prompt x",
    r"\e {canary}",
    r"\ef",
    r"\cd /",
    r"\connect postgres",
    r"\password",
    r"\if true",
    r"\gexec",
    r"\gset",
    r"\watch 1",
    r"\unrestrict x",
    r"\restrict x",
    r"\q",
    r"\.",
)
EVIL = """
CREATE FUNCTION public.evil() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    BEGIN COPY (SELECT 1) TO PROGRAM 'touch canary'; EXCEPTION WHEN OTHERS THEN NULL; END;
    BEGIN EXECUTE format('COPY (SELECT 1) TO %L', current_setting('data_directory') || '/canary');
        EXCEPTION WHEN OTHERS THEN NULL; END;
    BEGIN PERFORM lo_export(lo_from_bytea(0, 'x'), 'canary'); EXCEPTION WHEN OTHERS THEN NULL; END;
    BEGIN PERFORM set_config('evil.read', pg_read_file('PG_VERSION'), false);
        PERFORM lo_export(lo_from_bytea(0, 'x'), 'canary'); EXCEPTION WHEN OTHERS THEN NULL; END;
    BEGIN SET SESSION AUTHORIZATION DEFAULT; EXECUTE 'CREATE ROLE evil_was_here SUPERUSER';
        EXCEPTION WHEN OTHERS THEN NULL; END;
    RETURN true;
END $$;
"""


@pytest.fixture(scope="module")
def source() -> Iterator[Scratch]:
    """A server whose superuser is the hostile one."""
    with scratch() as server:
        yield server


@pytest.fixture
def sandbox() -> Iterator[Scratch]:
    """The scratch server that dumps are restored into; what a program in it may write is its own data folder."""
    with scratch() as copy:
        yield copy


def dump_of(server: Scratch, database: str, file: Path, *options: str) -> Path:
    client = choose(find_clients(), server.cluster.programs.major)
    address = server.cluster.address()
    connecting = {"PGPASSWORD": server.password, "PGHOST": address["host"], "PGPORT": address["port"]}
    command = [str(client.pg_dump), *options, f"--file={file}", f"--username={SUPERUSER}", database]
    subprocess.run(command, env={**os.environ, **connecting}, check=True)
    return file


def make(server: Scratch, database: str, *scripts: str) -> None:
    server.create_database(database, roles=("owner", "reader"))
    with server.connect(database) as conn:
        conn.execute("ALTER ROLE owner SUPERUSER; SET ROLE owner")
        conn.execute("SET search_path = public")
        for script in scripts:
            conn.execute(script.encode())


def executed(copy: Scratch) -> bool:
    """Tell whether something got further than an ordinary role can."""
    with copy.connect("template1") as conn:
        roles = conn.execute("SELECT FROM pg_roles WHERE rolname = 'evil_was_here'").fetchall()
    return bool(roles) or (copy.cluster.data / "canary").exists()


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


# -- psql's meta commands ----------------------------------------------------------


@pytest.mark.parametrize("with_key", [True, False])
def test_no_meta_command_in_any_text_is_read(
    source: Scratch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_key: bool
) -> None:
    """In names, comments, bodies, defaults, policies, labels; also where pg_dump is too old to write a key."""
    monkeypatch.chdir(tmp_path)
    canary = tmp_path / "canary"
    (tmp_path / "canary.sql").write_text(f"\\! touch {canary}\n")
    before = set(tmp_path.iterdir())
    database = f"meta_{with_key}".lower()
    everything = "".join(f"\n{command.format(canary=canary)}\n" for command in META)
    text = quoted(everything)
    name = '"a\n\\! touch canary\n"'
    make(
        source,
        database,
        f"CREATE TABLE {name} (id int, {name} text DEFAULT {text} CHECK ({name} <> {text}))",
        f"COMMENT ON TABLE {name} IS {text}; COMMENT ON SCHEMA public IS {text}",
        f"CREATE FUNCTION {name}() RETURNS text LANGUAGE sql AS {quoted('SELECT ' + text)}",
        f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY; CREATE POLICY {name} ON {name} USING ({name} <> {text})",
        f"CREATE TYPE {name[:-1]}e\" AS ENUM ('\n\\! touch canary\n')",
        f'CREATE VIEW {name[:-1]}v" AS SELECT {text}::text AS a',
        f'CREATE INDEX {name[:-1]}i" ON {name} (id) WHERE {name} <> {text}',
    )
    file = dump_of(source, database, tmp_path / "dump.sql", "--schema-only")
    before |= {file}
    if not with_key:
        file.write_text(restore.read_script(file))
    with source.connect(database) as conn:
        catalog = read_catalog(conn)
    with Restores() as restores:
        restored = restores.restore_schema(
            file, server_major=source.cluster.programs.major, roles=("owner", "reader")
        )
    assert differences(restored.catalog.dumped(), catalog.dumped()) == ()
    assert restored.outcome == restore.Outcome()
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("command", META[::3])
def test_a_meta_command_as_a_statement_is_refused(
    sandbox_of_all: Scratch, tmp_path: Path, command: str
) -> None:
    """As an old pg_dump writes it, from a name that ends a comment of the dump's own."""
    canary = tmp_path / "canary"
    file = tmp_path / "dump.sql"
    file.write_text(f"CREATE TABLE public.a (id int);\n{command.format(canary=canary)}\nSELECT 1;\n")
    with pytest.raises(BackupError):
        restore_into(sandbox_of_all, file, f"m{META.index(command)}", roles=())
    assert list(tmp_path.iterdir()) == [file]


@pytest.fixture(scope="module")
def sandbox_of_all() -> Iterator[Scratch]:
    with scratch() as copy:
        yield copy


# -- code of the source's owner ----------------------------------------------------


def test_what_the_canary_sees(sandbox: Scratch) -> None:
    """The same function does it all, when a superuser calls it: or else the tests below would show nothing."""
    sandbox.create_database("seen")
    with sandbox.connect("seen") as conn:
        conn.execute(EVIL.encode())
        assert not executed(sandbox)
        conn.execute("SELECT public.evil()")
        assert executed(sandbox)


OPENINGS = {
    "index": "CREATE TABLE t (a int); CREATE FUNCTION f(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS"
    " $$ BEGIN PERFORM public.evil(); RETURN 1; END $$; CREATE INDEX i ON t (f(1)) WHERE f(2) = 1",
    "definer": "CREATE FUNCTION d() RETURNS boolean LANGUAGE sql SECURITY DEFINER AS 'SELECT public.evil()';"
    " CREATE TABLE t (a int); CREATE FUNCTION f(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS"
    " $$ BEGIN PERFORM public.d(); RETURN 1; END $$; CREATE INDEX i ON t (f(1))",
    "event": "CREATE FUNCTION e() RETURNS event_trigger LANGUAGE plpgsql AS"
    " $$ BEGIN PERFORM public.evil(); END $$; CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION e();"
    " CREATE TABLE t (a int); COMMENT ON TABLE t IS 'x'",
    "view": "CREATE MATERIALIZED VIEW m AS SELECT public.evil() AS e WITH NO DATA; CREATE TABLE t (a int)",
    "granted": "GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_file(text) TO PUBLIC; CREATE TABLE t (a int)",
}


@pytest.mark.parametrize("opening", OPENINGS)
def test_a_schema_executes_nothing_with_our_rights(
    source: Scratch, sandbox: Scratch, tmp_path: Path, opening: str
) -> None:
    make(source, f"opening_{opening}", EVIL.replace("BEGIN\n", "BEGIN\nRETURN true;\n", 1))
    with source.connect(f"opening_{opening}") as conn:
        conn.execute("SET ROLE owner; SET search_path = public")
        conn.execute(OPENINGS[opening].encode())
        if opening == "event":
            conn.execute("ALTER EVENT TRIGGER e DISABLE")
        conn.execute(EVIL.replace("CREATE", "CREATE OR REPLACE", 1).encode())
    file = dump_of(source, f"opening_{opening}", tmp_path / "dump.sql", "--schema-only")
    file.write_text(file.read_text().replace("ALTER EVENT TRIGGER e DISABLE;", ""))
    roles = ("owner", "reader")
    pieces = restore.pieces_of(restore.read_script(file), file.name)
    sandbox.create_database("whole", roles=roles, owner=RESTORER)
    restore.restore_pieces(sandbox, "whole", pieces, what=file.name)
    restore_into(
        sandbox, file, "copy", roles=roles
    )  # to work in: no event trigger, no function of the server
    with sandbox.connect("copy") as conn:
        assert conn.execute("SELECT FROM pg_event_trigger").fetchall() == []
        conn.execute("CREATE TABLE public.later (a int)")
        assert conn.execute("SELECT FROM pg_class WHERE relname = 't'").fetchall()
    with sandbox.session("copy", owner=RESTORER) as conn:
        allowed = conn.execute(
            "SELECT has_function_privilege('pg_read_file(text)', 'EXECUTE') AS a"
        ).fetchone()
        assert allowed == {"a": False}
    assert not executed(sandbox)


def test_a_superuser_would_have_executed_it(source: Scratch, sandbox: Scratch, tmp_path: Path) -> None:
    make(source, "control", EVIL.replace("BEGIN\n", "BEGIN\nRETURN true;\n", 1), OPENINGS["index"])
    with source.connect("control") as conn:
        conn.execute(EVIL.replace("CREATE", "CREATE OR REPLACE", 1).encode())
    file = dump_of(source, "control", tmp_path / "dump.sql", "--schema-only")
    with sandbox.connect("template1") as conn:
        conn.execute(f'CREATE ROLE "{RESTORER}" SUPERUSER'.encode())
    restore_into(sandbox, file, "whole", roles=("owner", "reader"))
    assert executed(sandbox)


ROWS = {
    "check": "CREATE FUNCTION f(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS"
    " $$ BEGIN RETURN public.evil(); END $$; CREATE TABLE t (a int CHECK (f(a))); INSERT INTO t VALUES (1)",
    "generated": "CREATE FUNCTION f(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS"
    " $$ BEGIN RETURN public.evil(); END $$;"
    " CREATE TABLE t (a int, b boolean GENERATED ALWAYS AS (f(a)) STORED); INSERT INTO t VALUES (1)",
    "domain": "CREATE FUNCTION f(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS"
    " $$ BEGIN RETURN public.evil(); END $$;"
    " CREATE DOMAIN d AS int CHECK (f(VALUE)); CREATE TABLE t (a d); INSERT INTO t VALUES (1)",
    "index": "CREATE FUNCTION f(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS"
    " $$ BEGIN RETURN public.evil(); END $$;"
    " CREATE TABLE t (a int); INSERT INTO t VALUES (1); CREATE INDEX i ON t (f(a)) WHERE f(7)",
    "view": "CREATE TABLE t (a int); INSERT INTO t VALUES (1);"
    " CREATE MATERIALIZED VIEW m AS SELECT public.evil() AS e FROM t",
    "cast": "CREATE TABLE t (a int); INSERT INTO t VALUES (1); CREATE FUNCTION f(t) RETURNS text LANGUAGE plpgsql AS"
    " $$ BEGIN PERFORM public.evil(); RETURN 'x'; END $$; CREATE CAST (t AS text) WITH FUNCTION f(t)",
}


@pytest.mark.parametrize("opening", ROWS)
def test_rows_execute_nothing_with_our_rights(
    source: Scratch, sandbox: Scratch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opening: str
) -> None:
    make(source, f"rows_{opening}", EVIL.replace("BEGIN\n", "BEGIN\nRETURN true;\n", 1), ROWS[opening])
    with source.connect(f"rows_{opening}") as conn:
        conn.execute(EVIL.replace("CREATE", "CREATE OR REPLACE", 1).encode())
        conn.execute("ALTER FUNCTION public.evil() OWNER TO owner")

    @contextmanager
    def ours(*_: Any, **__: Any) -> Iterator[Scratch]:
        yield sandbox

    monkeypatch.setattr(restoring, "scratch", ours)
    folder = dump_of(source, f"rows_{opening}", tmp_path / "dump", "--format=directory")
    assert read_data_dump(folder).complete
    restored = restore_data(
        folder, server_major=source.cluster.programs.major, roles=("owner",), database_bytes=0
    )
    assert restored.contents.tables["public.t"][0] == 1
    assert not executed(sandbox)


def test_the_restorer_is_an_ordinary_role(sandbox: Scratch, tmp_path: Path) -> None:
    file = tmp_path / "dump.sql"
    file.write_text("CREATE TABLE public.t (id int);")
    restore_into(sandbox, file, "plain", roles=("owner",))
    with sandbox.connect("plain") as conn:
        row = conn.execute(
            "SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication AS more,"
            " (SELECT count(*) FROM pg_roles p WHERE p.rolname ~ '^pg_' AND p.rolname <> 'pg_database_owner'"
            "    AND pg_has_role(r.oid, p.oid, 'MEMBER')) AS member_of"
            " FROM pg_roles r WHERE rolname = %s",
            (RESTORER,),
        ).fetchone()
    assert row == {"more": False, "member_of": 0}


def test_code_that_does_not_end_is_ended(
    source: Scratch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No time-out stops a function that catches it; ending the server does. The next dump gets another."""
    monkeypatch.setattr(restore, "RESTORE_TIMEOUT_S", 1.0)
    file, sound = tmp_path / "dump.sql", tmp_path / "sound.sql"
    file.write_text(
        "CREATE FUNCTION public.f(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN LOOP BEGIN"
        " PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$;\n"
        "CREATE TABLE public.t (a int);\nCREATE INDEX i ON public.t (public.f(1));\n"
    )
    sound.write_text("CREATE TABLE public.t (a int);\n")
    major = source.cluster.programs.major
    with Restores() as restores:
        with pytest.raises(BackupError, match="does not restore"):
            restores.restore_schema(file, server_major=major, roles=())
        monkeypatch.undo()
        restored = restores.restore_schema(sound, server_major=major, roles=())
        assert "public.t" in restored.catalog.columns


@pytest.mark.parametrize(
    "statement",
    [
        f'ALTER FUNCTION public.f() OWNER TO "{SUPERUSER}"',
        f'GRANT ALL ON TABLE public.t TO "{SUPERUSER}" WITH GRANT OPTION',
    ],
)
def test_nothing_is_given_to_the_scratch_servers_superuser(
    sandbox: Scratch, tmp_path: Path, statement: str
) -> None:
    file = tmp_path / "dump.sql"
    file.write_text(
        "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';\n"
        f"CREATE TABLE public.t (a int);\n{statement};\n"
    )
    with pytest.raises(BackupError, match="names"):
        restore_into(sandbox, file, "given", roles=())


# -- who executes what -------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("ALTER TABLE public.t OWNER TO a", Kind.LABEL),
        ('ALTER TABLE "p""x"."t; --" OWNER TO "a b"', Kind.LABEL),
        ("ALTER FUNCTION public.f(integer) OWNER TO a", Kind.LABEL),
        ("GRANT SELECT ON TABLE public.t TO a", Kind.LABEL),
        ("REVOKE ALL ON FUNCTION public.f() FROM PUBLIC", Kind.LABEL),
        ("ALTER DEFAULT PRIVILEGES FOR ROLE a GRANT SELECT ON TABLES TO b", Kind.LABEL),
        ("COMMENT ON TABLE public.t IS 'x; DROP TABLE y'", Kind.LABEL),
        ("CREATE PUBLICATION p FOR ALL TABLES", Kind.LABEL),
        ("CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION public.e()", Kind.EVENT),
        ("ALTER EVENT TRIGGER e OWNER TO a", Kind.EVENT),
        ("COMMENT ON EVENT TRIGGER e IS 'x'", Kind.EVENT),
        ("GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_file(text) TO a", Kind.SERVER),
        ("GRANT EXECUTE ON FUNCTION pg_read_file(text) TO a", Kind.LEFT_OUT),
        ("GRANT SET ON PARAMETER work_mem TO a", Kind.LEFT_OUT),
        ("SET statement_timeout = 0", Kind.LEFT_OUT),
        ("SET default_tablespace = fast", Kind.LEFT_OUT),
        ("REFRESH MATERIALIZED VIEW public.m", Kind.LEFT_OUT),
        ("GRANT pg_execute_server_program TO a", Kind.DEFINITION),
        ("ALTER ROLE a SUPERUSER", Kind.DEFINITION),
        ("ALTER SYSTEM SET a = 1", Kind.DEFINITION),
        ("ALTER TABLE public.t ADD CONSTRAINT c CHECK (public.f(a))", Kind.DEFINITION),
        ("ALTER TABLE public.t OWNER TO a, ALTER COLUMN a TYPE text USING public.f(a)", Kind.DEFINITION),
        ("CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p WITH (connect = false)", Kind.DEFINITION),
        ("COMMENT ON TABLE", Kind.DEFINITION),
        ("DO $$ BEGIN END $$", Kind.DEFINITION),
    ],
)
def test_a_superuser_executes_what_executes_nothing(statement: str, kind: Kind) -> None:
    (piece,) = read_pieces(f"-- Name: x; Type: y\n\n{statement};\n")
    assert (piece.text, piece.kind) == (statement, kind)


# -- digests of rows ---------------------------------------------------------------


@pytest.mark.parametrize(
    "cast",
    [
        "CREATE FUNCTION public.c(public.t) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'called'; END $$;"
        " CREATE CAST (public.t AS text) WITH FUNCTION public.c(public.t) AS IMPLICIT",
        "CREATE FUNCTION public.c(public.e) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'called'; END $$;"
        " CREATE CAST (public.e AS text) WITH FUNCTION public.c(public.e) AS IMPLICIT",
        "CREATE FUNCTION public.c(public.p) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'called'; END $$;"
        " CREATE CAST (public.p AS text) WITH FUNCTION public.c(public.p) AS IMPLICIT",
        "CREATE FUNCTION public.c(anyelement, text) RETURNS text LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE 'called'; END $$; CREATE OPERATOR public.|| (LEFTARG = text, RIGHTARG = text,"
        " FUNCTION = textcat); CREATE FUNCTION public.format(text, record) RETURNS text LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE 'called'; END $$",
    ],
)
def test_a_digest_calls_nothing_of_the_owners(sandbox: Scratch, cast: str) -> None:
    sandbox.create_database("digests")
    with sandbox.connect("digests") as conn:
        conn.execute(
            "CREATE TYPE public.e AS ENUM ('a'); CREATE TYPE public.p AS (x int, y public.e);"
            " CREATE TABLE public.t (a int, e public.e, p public.p, l public.e[], content text);"
            " INSERT INTO public.t VALUES (1, 'a', (1, 'a'), '{a}', NULL), (2, 'a', NULL, NULL, '')"
        )
        before = content_hash(conn, "public.t")
        conn.execute(cast.encode())
        assert content_hash(conn, "public.t") == before
        conn.execute("UPDATE public.t SET content = '' WHERE a = 1")
        assert content_hash(conn, "public.t") != before


def test_a_reading_session_reads_no_view_of_somebody_elses(sandbox: Scratch) -> None:
    """A table may become a view between two looks at it: then it is an error, and no function of the view is called."""
    sandbox.create_database("views")
    with sandbox.connect("views") as conn:
        conn.execute(
            "CREATE FUNCTION public.f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE 'called'; END $$;"
            " CREATE VIEW public.t AS SELECT public.f() AS a; CREATE TABLE public.u (a int)"
        )
    parameters = {**sandbox.cluster.address(), "dbname": "views", "user": SUPERUSER, "sslmode": "disable"}
    parameters["password"] = sandbox.password
    with open_session(parameters, {"default_transaction_read_only": "on"}) as reading:
        assert count_rows(reading, ("public.u",)) == {"public.u": 0}
        for read in (lambda: count_rows(reading, ("public.t",)), lambda: content_hash(reading, "public.t")):
            with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="non-system view"):
                read()
    with (
        open_session(parameters, {}) as writing,
        pytest.raises(psycopg.errors.RaiseException, match="called"),
    ):
        writing.execute("SELECT * FROM public.t")
