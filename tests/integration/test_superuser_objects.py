"""What only a superuser makes, allowed by its name: made in the sandbox and compared; nothing else gets such rights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.facts.databases import RestoredDump
from runbooks_lib.findings import Verdict
from runbooks_lib.phase import load_phase
from runbooks_lib.postgres.catalog.catalog import Catalog, read_catalog
from runbooks_lib.postgres.scratch import scratch as scratching
from runbooks_lib.postgres.scratch.enclosure import Enclosure
from runbooks_lib.postgres.scratch.programs import ServerPrograms, find_servers
from runbooks_lib.postgres.scratch.restore import Restored, Restores
from runbooks_lib.postgres.scratch.restore_data import restore_data
from runbooks_lib.postgres.scratch.restored_catalog import Comparison, compare_restored
from runbooks_lib.postgres.scratch.scratch import Scratch, scratch
from runbooks_lib.postgres.scratch.superuser_objects import object_of
from runbooks_lib.postgres.scratch.surroundings import Surroundings
from runbooks_lib.steps.backup_proof import allowed_names, judge_allowed

from .expected import expect
from .test_restore_doors import EVIL, dump_of, executed, make

NEEDING = {
    "public.cfun": "CREATE FUNCTION cfun(int) RETURNS int LANGUAGE internal IMMUTABLE STRICT AS 'int4abs'",
    "public.leak": "CREATE FUNCTION leak(int) RETURNS int LANGUAGE sql IMMUTABLE LEAKPROOF AS 'SELECT $1'",
    "public.oc": "CREATE OPERATOR CLASS oc FOR TYPE int USING hash AS OPERATOR 1 =(int, int), FUNCTION 1 hashint4(int)",
    "bigint AS date": "CREATE FUNCTION bd(bigint) RETURNS date LANGUAGE sql IMMUTABLE AS 'SELECT current_date';"
    " CREATE CAST (bigint AS date) WITH FUNCTION bd(bigint)",
}
TYPE = (
    "CREATE TYPE word; CREATE FUNCTION word_in(cstring) RETURNS word LANGUAGE internal IMMUTABLE STRICT AS 'textin';"
    " CREATE FUNCTION word_out(word) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';"
    " CREATE TYPE word (INPUT = word_in, OUTPUT = word_out); CREATE TABLE t (id int, w word);"
    " INSERT INTO t VALUES (1, 'x')"
)
ALL = {programs.major: programs for programs in find_servers([])}
MAJORS = sorted(ALL)
ROLES = ("owner", "reader")


@pytest.fixture(scope="module", params=MAJORS, ids=lambda major: f"PostgreSQL {major}")
def source(request: pytest.FixtureRequest) -> Iterator[Scratch]:
    """A server whose superuser made what an ordinary role can't."""
    with scratch(ALL[request.param]) as server:
        yield server


def restored(
    source: Scratch, file: Path, script: str, *allowed: str, change: tuple[str, str] = ("", "")
) -> tuple[Restored, Catalog, Comparison]:
    name = f"db_{len(list(file.iterdir()))}_{abs(hash((script, allowed, change)))}"
    make(source, name, script)
    with source.connect(name) as conn:
        catalog = read_catalog(conn)
    dump = dump_of(source, name, file / f"{name}.sql", "--schema-only")
    dump.write_text(dump.read_text().replace(*change) if change[0] else dump.read_text())
    with Restores(allowed=allowed) as restores:
        copy = restores.restore_schema(dump, server_major=source.major, roles=ROLES)
    return copy, catalog, compare_restored(copy, catalog, source_major=source.major)


@pytest.mark.parametrize("name", NEEDING)
def test_what_is_allowed_is_made_and_compared(source: Scratch, tmp_path: Path, name: str) -> None:
    copy, _, found = restored(source, tmp_path, NEEDING[name], name)
    assert found == Comparison()
    assert copy.outcome.left_out == ()
    assert set(copy.outcome.by_superuser) == {name}


@pytest.mark.parametrize("name", NEEDING)
def test_another_name_leaves_it_out(source: Scratch, tmp_path: Path, name: str) -> None:
    copy, _, found = restored(source, tmp_path, NEEDING[name], "public.other", name.upper())
    assert found.differing == ()
    assert found.not_judged
    assert name in {each.name for each in copy.outcome.left_out}
    assert copy.outcome.by_superuser == ()


@pytest.mark.parametrize(("was", "instead"), [("int4abs", "int4um"), ("IMMUTABLE", "STABLE")])
def test_what_is_made_otherwise_is_red(source: Scratch, tmp_path: Path, was: str, instead: str) -> None:
    _, _, found = restored(source, tmp_path, NEEDING["public.cfun"], "public.cfun", change=(was, instead))
    assert [each.key[0] for each in found.differing] == ["function"]


def test_a_base_type_and_its_table_come_back_with_their_rows(source: Scratch, tmp_path: Path) -> None:
    allowed = ("public.word", "public.word_in", "public.word_out")
    _, _, found = restored(source, tmp_path, TYPE, *allowed)
    assert found == Comparison()
    name = f"typed_{source.major}"
    make(source, name, TYPE)
    folder = dump_of(source, name, tmp_path / "rows", "--format=directory")
    rows = restore_data(folder, server_major=source.major, roles=ROLES, database_bytes=0, allowed=allowed)
    assert rows.contents.tables["public.t"][0] == 1


REACHES = (
    "CREATE FUNCTION leak(int) RETURNS int LANGUAGE plpgsql IMMUTABLE LEAKPROOF SECURITY DEFINER AS"
    " $$ BEGIN PERFORM public.evil(); COPY (SELECT 1) TO PROGRAM 'touch {canary}'; RETURN 1;"
    " EXCEPTION WHEN OTHERS THEN RETURN 1; END $$;"
    " CREATE TABLE t (a int CHECK (leak(a) = 1), g int GENERATED ALWAYS AS (leak(a)) STORED);"
    " CREATE INDEX ON t (leak(a)); INSERT INTO t VALUES (1)"
)


def test_what_an_allowed_function_calls_has_no_more_rights_for_it(
    source: Scratch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner is the ordinary role: as a superuser's, it would execute programs for whoever calls it."""
    tmp_path.chmod(0o777)
    canary = tmp_path / "canary"
    name = f"reaches_{source.major}"
    make(source, name, EVIL, REACHES.format(canary="/nowhere/canary"))
    with source.connect(name) as conn:
        body = conn.execute("SELECT pg_get_functiondef('public.leak'::regproc) AS text").fetchone()
        assert body is not None
        conn.execute(str(body["text"]).replace("/nowhere/canary", str(canary)).encode())
    folder = dump_of(source, name, tmp_path / "rows", "--format=directory")
    with scratch(ALL[source.major], allowed=["public.leak"]) as sandbox:
        monkeypatch.setattr(
            "runbooks_lib.postgres.scratch.restore_data.scratch", lambda *_, **__: nullcontext(sandbox)
        )
        rows = restore_data(
            folder, server_major=source.major, roles=ROLES, database_bytes=0, allowed=["public.leak"]
        )
        assert rows.contents.tables["public.t"][0] == 1
        with sandbox.connect("restored") as conn:
            owner = conn.execute(
                "SELECT pg_get_userbyid(proowner)::text AS r, proleakproof AS l FROM pg_proc WHERE proname = 'leak'"
            ).fetchone()
        assert owner == {"r": "runbooks restorer", "l": True}
        assert not executed(sandbox)
    assert not canary.exists()


def test_a_superusers_program_cannot_reach_the_operators_files(tmp_path: Path) -> None:
    """The second line: even where such a function ran as the superuser, the server's own folder is all it may write."""
    with scratch(allowed=["public.x"]) as sandbox, sandbox.connect("template1") as conn:
        conn.execute(
            f"DO $$ BEGIN COPY (SELECT 1) TO PROGRAM 'touch {tmp_path}/canary';"
            " EXCEPTION WHEN OTHERS THEN NULL; END $$".encode()
        )
    assert not (tmp_path / "canary").exists()


def test_a_migrations_object_is_made_where_it_is_allowed() -> None:
    script = "CREATE TABLE a (x int); CREATE FUNCTION cfun(int) RETURNS int LANGUAGE internal AS 'int4abs';"
    like = Surroundings(database="shop", roles=("shop_owner",))

    def ask(*allowed: str, text: str = script) -> tuple[bool, int]:
        found = expect([("1", text)], owner="shop_owner", server_major=18, like=like, allowed=allowed)
        return ("function", "public.cfun(integer)") in found.stands, len(found.ran["1"].unjudged)

    assert ask() == (False, 1)
    assert ask("public.cfun") == (True, 0)
    assert ask("public.cfun", text=f"{script} COPY a TO PROGRAM 'cat'") == (True, 1)


def test_names_that_nothing_has_are_refused() -> None:
    phase = load_phase("PH15-AMAZON-DB-FOUNDATION-01")
    facts = [
        RestoredDump(
            server_version="18.6",
            fingerprint="",
            by_superuser=("public.cfun",),
            needs_superuser=("public.oc",),
        )
    ]
    assert judge_allowed(phase, ("public.cfun",), facts) == []
    (finding,) = judge_allowed(phase, ("public.cfun", "public.typo"), facts)
    assert finding.verdict is Verdict.ERROR
    assert "--allow-superuser-objects names public.typo" in finding.have
    assert finding.hint.endswith("those that are: public.cfun, public.oc.")
    assert allowed_names(" public.cfun,bigint AS date, public.cfun,") == ("public.cfun", "bigint AS date")
    assert allowed_names("") == ()


def test_without_a_sandbox_nothing_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratching, "enclosure", lambda account: Enclosure(words="no walls", tools=()))
    monkeypatch.setattr(
        "runbooks_lib.postgres.scratch.account.Account.switched", property(lambda self: False), raising=False
    )
    programs: ServerPrograms = ALL[MAJORS[-1]]
    with pytest.raises(PreconditionFailed, match="no walls"), scratch(programs, allowed=["public.x"]):
        pytest.fail("the block must not be entered")


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("CREATE FUNCTION public.f(a int) RETURNS int LANGUAGE c AS 'lib', 'f'", "public.f"),
        ("CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE c AS 'lib', 'f'", "here.f"),
        ('CREATE FUNCTION "a.b"."C"() RETURNS int LANGUAGE c AS \'lib\'', '"a.b".C'),
        ("CREATE TYPE public.word", "public.word"),
        ("CREATE AGGREGATE public.a(int) (SFUNC = f, STYPE = internal)", "public.a"),
        ("CREATE OPERATOR FAMILY public.of USING btree", "public.of"),
        (
            "ALTER OPERATOR FAMILY public.of USING btree ADD FUNCTION 1 (int, int) btint4cmp(int, int)",
            "public.of",
        ),
        ("CREATE CAST (double  precision AS public.t) WITHOUT FUNCTION", "double precision AS public.t"),
        ("CREATE LANGUAGE plx HANDLER public.h", "plx"),
        ("CREATE FOREIGN DATA WRAPPER w HANDLER public.h", "w"),
        # what would execute or read something while it is made has no name
        ("CREATE AGGREGATE public.a(int) (SFUNC = f, STYPE = public.evil, INITCOND = 'x')", ""),
        ("CREATE FUNCTION public.f(a public.evil DEFAULT 'x') RETURNS int LANGUAGE c AS 'lib'", ""),
        ("CREATE FUNCTION public.f() RETURNS public.evil LANGUAGE sql RETURN 'x'", ""),
        ("CREATE TABLE public.f AS SELECT public.evil()", ""),
        ("CREATE FUNCTION public.f() RETURNS int LANGUAGE c AS 'lib'; SELECT public.evil()", ""),
        ("CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION public.evil()", ""),
        ("COPY public.f TO PROGRAM 'x'", ""),
        ("DO 'x'", ""),
        ("nonsense", ""),
    ],
)
def test_what_has_a_name_to_be_allowed_by(statement: str, name: str) -> None:
    assert object_of(statement, "here") == name
