"""Values of every kind, declared in the phase file and in a file beside it: both say what the type says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from runbooks_lib.findings import Answer, Verdict
from runbooks_lib.lab.lab import Lab
from runbooks_lib.phase import Phase, Role, Seeds, Target, load_phase
from runbooks_lib.phase.seed_file import SeedFile
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.steps import seed_verification

PHASE = load_phase(str(Path(__file__).parents[1] / "phases" / "PH15-AMAZON-DB-FOUNDATION-01"))
DATABASE = "scratch_of_seed_equality"
# What an ordinary role, the owner of the tables, may make: whatever calls one of these functions ends in an error.
OTHERS_CODE = r"""
CREATE FUNCTION noted(anyelement) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $$called$$; END';
CREATE TYPE mood AS ENUM ('GOOD', 'BAD');
CREATE FUNCTION mood_text(mood) RETURNS text LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $$called$$; END';
CREATE CAST (mood AS text) WITH FUNCTION mood_text(mood) AS IMPLICIT;
CREATE FUNCTION text_mood(text) RETURNS mood LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $$called$$; END';
CREATE CAST (text AS mood) WITH FUNCTION text_mood(text) AS IMPLICIT;
CREATE FUNCTION mood_is(mood, mood) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $$called$$; END';
CREATE OPERATOR = (LEFTARG = mood, RIGHTARG = mood, FUNCTION = mood_is);
CREATE DOMAIN guarded AS text NOT NULL CHECK (noted(VALUE));
CREATE DOMAIN filled AS text NOT NULL CHECK (VALUE <> '');
CREATE DOMAIN many AS int[];
CREATE TYPE pair AS (a int, b guarded);
CREATE FUNCTION pair_text(pair) RETURNS text LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $$called$$; END';
CREATE CAST (pair AS text) WITH FUNCTION pair_text(pair) AS IMPLICIT;
"""

Ask = Callable[..., list[tuple[Verdict, str]]]


@pytest.fixture(scope="module")
def database(lab: Lab) -> Iterator[psycopg.Connection[Any]]:
    """A database with extensions in a schema of their own, and with objects of an ordinary role."""
    with lab.admin("postgres") as admin:
        admin.execute(f"CREATE DATABASE {DATABASE} OWNER kb_backend")
        try:
            with lab.admin(DATABASE) as conn:
                conn.execute("CREATE SCHEMA ext; GRANT USAGE ON SCHEMA ext TO PUBLIC")
                conn.execute("CREATE EXTENSION citext SCHEMA ext; CREATE EXTENSION ltree SCHEMA ext")
                conn.execute(
                    "CREATE EXTENSION hstore SCHEMA ext; GRANT CREATE ON SCHEMA public TO kb_backend"
                )
                conn.execute("SET ROLE kb_backend")
                conn.execute("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO keybuzz_operator")
                conn.execute(OTHERS_CODE.encode())
                yield conn
        finally:
            admin.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")


@pytest.fixture
def things(database: psycopg.Connection[Any]) -> Iterator[Callable[..., None]]:
    def make(columns: str, *rows: str) -> None:
        database.execute(f"CREATE TABLE things ({columns})".encode())
        for row in rows:
            database.execute(f"INSERT INTO things VALUES ({row})".encode())

    yield make
    database.execute("DROP TABLE things CASCADE")


def phase_of(seeds: Seeds, folder: Path, service: str = "keybuzz_leader", role: Role = Role.PRIMARY) -> Phase:
    target = Target(name="there", service=service, role=role, database=DATABASE)
    return replace(PHASE, folder=folder, targets={"there": target}, seeds=(seeds,))


def answers(phase: Phase) -> tuple[Answer, Answer]:
    with Sessions(phase.targets) as sessions:
        return seed_verification.rows(phase, sessions), seed_verification.unexpected(phase, sessions)


@pytest.fixture(params=["rows", "file"])
def ask(request: pytest.FixtureRequest, tmp_path: Path) -> Ask:
    """Declare rows in one of the two ways; return the worst verdict and the words of both questions."""

    def _ask(*rows: dict[str, object], key: tuple[str, ...] = ("k",), tenant: str | None = None) -> Any:
        if request.param == "rows":
            seeds = Seeds(table="public.things", key=key, rows=rows, tenant=tenant, exact=True)
        else:
            file = SeedFile(tmp_path / "rows.csv")
            fields = [list(rows[0]), *(list(row.values()) for row in rows)]
            file.path.write_bytes(b"".join(file.record(line) for line in fields))  # type: ignore[arg-type]
            seeds = Seeds(table="public.things", key=key, file=file.path.name, tenant=tenant, exact=True)
        return [
            (answer.verdict, "; ".join(f.have for f in answer.findings if f.verdict is answer.verdict))
            for answer in answers(phase_of(seeds, tmp_path))
        ]

    return _ask


@pytest.mark.parametrize(
    ("column", "stored", "equal", "different"),
    [
        ("ext.citext", "'Ada'", "aDA", "Adam"),
        ("ext.ltree", "'a.b'", "a.b", "a.c"),
        ("ext.hstore", "'b=>2, a=>1'", '"a"=>"1","b"=>"2"', "a=>1"),
        ("ext.citext[]", "'{Ada,Bob}'", "{ada,BOB}", "{bob,ada}"),
        ("varchar(5)", "'abcde'", "abcde", "abcdef"),
        ("varchar(5)", "'x '", "x ", "x"),
        ("char(5)", "'ab'", "ab", "abc"),
        ("bit(3)", "'101'", "101", "1011"),
        ("numeric(10,2)", "1.23", "1.230", "1.234"),
        ("numeric", "'NaN'", "NaN", "1"),
        ("double precision", "'-Infinity'", "-infinity", "Infinity"),
        ("double precision", "'-0'", "0", "1e-300"),
        ("real", "0.1", "0.1", "0.10001"),
        ("json", "'{\"a\":1}'", '{"a":1}', '{"a": 1}'),
        ("jsonb", "'{\"a\":1}'", '{"a": 1.0}', '{"a": null}'),
        ("jsonb", "'null'", "null", None),
        ("jsonb", "NULL", None, "null"),
        ("text", "NULL", None, ""),
        ("text", "''", "", None),
        ("text", "'NULL'", "NULL", None),
        ("point", "'(1,2)'", "1,2", "(1,3)"),
        ("lseg", "'[(0,0),(1,1)]'", "0,0,1,1", "1,1,0,0"),
        ("box", "'(1,1),(0,0)'", "(0,0),(1,1)", "(2,1),(1,0)"),  # of the same size
        ("int4range", "'[1,5)'", "[1,4]", "[1,5]"),
        ("int4multirange", "'{[1,5)}'", "{[1,2],[3,4]}", "{}"),
        ("interval", "'1 day'", "24:00", "25:00"),
        (
            "timestamptz",
            "'2026-03-29 01:30+00'",
            "2026-03-29T03:30:00+02:00",
            "2026-03-29 01:30:00.000001+00",
        ),
        ("bytea", r"'\xdead'", r"\336\255", r"\xdeae"),
        ("mood", "'GOOD'", "GOOD", "BAD"),
        ("mood[]", "'{GOOD,BAD}'", "{GOOD,BAD}", "{BAD,GOOD}"),
        ("filled", "'x'", "x", "y"),
        ("many", "'{1,2}'", "{1, 2}", "{2,1}"),
        ("guarded[]", "'{}'", "{}", "{x}"),
        ("pair", "NULL", None, "(1,x)"),
        ("tsvector", "'a b'", "'b' 'a'", "a"),
        ("inet", "'10.0.0.1'", "10.0.0.1/32", "10.0.0.1/24"),
        ("cidr", "'10.0.0.0/24'", "10.0.0/24", "10.0.0.0/25"),
        ("name", "'x'", "x", "y"),
        ("oid", "7", "7", "8"),
        ('"char"', "'a'", "a", "b"),
        ("regtype", "'integer'", "int4", "int8"),
    ],
)
def test_equal_is_what_the_type_says(
    things: Callable[..., None], ask: Ask, column: str, stored: str, equal: str | None, different: str | None
) -> None:
    things(f"k int, v {column}", f"1, {stored}")
    assert ask({"k": "1", "v": equal})[0][0] is Verdict.PASS
    verdict, words = ask({"k": "1", "v": different})[0]
    assert verdict is Verdict.FAIL, words
    assert "v " in words


def test_two_columns_that_nobody_declares_are_not_touched(
    things: Callable[..., None], database: psycopg.Connection[Any], ask: Ask
) -> None:
    """One is of a domain that is NOT NULL; and the role may read the declared ones alone."""
    things("k int, v text, f filled, secret text", "1, 'x', 'y', 'z'")
    database.execute(
        "REVOKE SELECT ON things FROM keybuzz_operator; GRANT SELECT (k, v) ON things TO keybuzz_operator"
    )
    assert [verdict for verdict, _ in ask({"k": "1", "v": "x"})] == [Verdict.PASS, Verdict.PASS]
    assert ask({"k": "1", "v": "z"})[0][0] is Verdict.FAIL


@pytest.mark.parametrize("column", ["mood", "guarded", "pair", "guarded[]", "mood[]"])
def test_keys_of_types_with_others_code_do_not_call_it(
    things: Callable[..., None], ask: Ask, column: str
) -> None:
    stored = {"mood": "GOOD", "mood[]": "{GOOD}", "pair": "(1,)", "guarded": "x", "guarded[]": "{}"}[column]
    made = "int" if column in ("guarded", "pair") else column
    things(f"k {made}, v text", f"{'1' if made == 'int' else repr(stored)}, 'x'")
    key = "1" if made == "int" else stored
    assert [verdict for verdict, _ in ask({"k": key, "v": "x"})] == [Verdict.PASS, Verdict.PASS]


@pytest.mark.parametrize(
    ("columns", "stands", "declared", "said"),
    [
        ("k int", ("1", "1"), ("1",), "twice|2 times"),
        ("k ext.citext", ("'a'",), ("a", "A"), "declared twice"),
        ("k ext.citext", ("'a'", "'A'"), ("a",), "twice|2 times"),
        ("k numeric", ("1.0",), ("1", "1.00"), "declared twice"),
        ("k ext.citext", ("'a'", "'b'"), ("A", "B"), ""),
        ("k timestamptz", ("'2026-01-01 00:00+00'",), ("2026-01-01 01:00+01",), ""),
        ("k char(4)", ("'a'",), ("a",), ""),
        ("k text", ("''", "NULL"), ("",), ""),
    ],
)
def test_a_key_is_found_however_it_is_written_and_once(
    things: Callable[..., None],
    ask: Ask,
    columns: str,
    stands: tuple[str, ...],
    declared: tuple[str, ...],
    said: str,
) -> None:
    things(columns, *stands)
    (verdict, words), (others, _) = ask(*({"k": key} for key in declared))
    if not said:
        assert verdict is Verdict.PASS, words
        assert (others is Verdict.FAIL) is ("NULL" in stands)
    else:
        assert Verdict.FAIL in (verdict, others)
        assert any(word in words for word in said.split("|")) or others is Verdict.FAIL


@pytest.mark.parametrize(
    "name", ["we{0}ird", "100%s", 'quo"te', "n", "c0", "key", "have", "want", "place", "日本"]
)
def test_columns_may_have_any_name(things: Callable[..., None], ask: Ask, name: str) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    things(f"{quoted} int PRIMARY KEY, v text", "1, 'x{0}%s'", "2, 'y'")
    rows = ({name: "1", "v": "x{0}%s"}, {name: "2", "v": "y"})
    assert [verdict for verdict, _ in ask(*rows, key=(name,))] == [Verdict.PASS, Verdict.PASS]
    assert [verdict for verdict, _ in ask(rows[0], key=(name,), tenant="v")] == [Verdict.PASS, Verdict.PASS]
    verdict, words = ask(rows[0], key=(name,))[1]
    assert (verdict, "[2]" in words) == (Verdict.FAIL, True)


@pytest.mark.parametrize(
    ("type_", "stored", "equal", "other"),
    [("mood_domain", "'GOOD'", "GOOD", "BAD"), ("point_pair", "ROW(1,'a b')", '(1,"a b")', "(1,ab)")],
)
def test_types_upon_types(
    things: Callable[..., None],
    database: psycopg.Connection[Any],
    ask: Ask,
    type_: str,
    stored: str,
    equal: str,
    other: str,
) -> None:
    database.execute("CREATE DOMAIN mood_domain AS mood; CREATE TYPE point_pair AS (a int, b text)")
    try:
        things(f"k int, v {type_}", f"1, {stored}")
        assert ask({"k": "1", "v": equal})[0][0] is Verdict.PASS
        assert ask({"k": "1", "v": other})[0][0] is Verdict.FAIL
        assert ask({"v": equal}, key=("v",))[0][0] is Verdict.PASS
    finally:
        database.execute("DROP DOMAIN mood_domain CASCADE; DROP TYPE point_pair CASCADE")


def test_rows_of_an_inheriting_table_are_seen(
    things: Callable[..., None], database: psycopg.Connection[Any], ask: Ask
) -> None:
    things("k int PRIMARY KEY, v text", "1, 'x'")
    database.execute("CREATE TABLE child () INHERITS (things); INSERT INTO child VALUES (2, 'y')")
    (verdict, words), _ = ask({"k": "1", "v": "x"}, {"k": "2", "v": "y"})
    assert verdict is Verdict.FAIL
    assert "public.child" in words
    assert [v for v, _ in ask({"k": "1", "v": "x"})] == [Verdict.PASS, Verdict.FAIL]
    database.execute("UPDATE child SET k = 1, v = 'x'")
    (verdict, words), _ = ask({"k": "1", "v": "x"})
    assert verdict is Verdict.FAIL
    assert "twice" in words or "2 times" in words


def test_partitions_are_the_tables_own_rows(database: psycopg.Connection[Any], ask: Ask) -> None:
    database.execute("CREATE TABLE things (k int PRIMARY KEY, v text) PARTITION BY RANGE (k)")
    database.execute("CREATE TABLE low PARTITION OF things FOR VALUES FROM (0) TO (10)")
    database.execute("INSERT INTO things VALUES (1, 'x')")
    try:
        assert [verdict for verdict, _ in ask({"k": "1", "v": "x"})] == [Verdict.PASS, Verdict.PASS]
    finally:
        database.execute("DROP TABLE things")


@pytest.mark.parametrize(
    ("tenant", "spelt"), [("ext.citext", "ACME"), ("uuid", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11")]
)
def test_a_tenant_in_another_spelling_is_that_tenant(
    things: Callable[..., None], ask: Ask, tenant: str, spelt: str
) -> None:
    things(f"k int, t {tenant}", f"1, '{spelt.lower()}'", f"2, '{spelt.lower()}'")
    (verdict, _), (others, words) = ask({"k": "1", "t": spelt}, tenant="t")
    assert (verdict, others) == (Verdict.PASS, Verdict.FAIL)
    assert "[2]" in words


def test_a_standby_is_asked_in_the_same_way(
    lab: Lab, things: Callable[..., None], database: psycopg.Connection[Any], tmp_path: Path
) -> None:
    things("k ext.citext, v ext.ltree", "'A', 'a.b'")
    with lab.admin("postgres") as admin:
        admin.execute("SELECT pg_switch_wal()")
    for seeds in (
        Seeds(table="public.things", key=("k",), rows=({"k": "a", "v": "a.b"},), exact=True),
        Seeds(table="public.things", key=("k",), file="rows.csv", exact=True),
    ):
        (tmp_path / "rows.csv").write_text("k,v\na,a.b\n")
        phase = phase_of(seeds, tmp_path, "keybuzz_replica", Role.STANDBY)
        for _ in range(50):
            both = answers(phase)
            if Verdict.ERROR not in (both[0].verdict, both[1].verdict):
                break
        assert [answer.verdict for answer in both] == [Verdict.PASS, Verdict.PASS], both
