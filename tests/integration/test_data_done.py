"""Statements that change rows, on a real server: done, undone, half done, not to be told; and nobody's code is run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psycopg
import pytest

from runbooks_lib.lab.lab import Lab
from runbooks_lib.phase import Role, Target
from runbooks_lib.postgres.rows.done import Done, Judged, judge_data
from runbooks_lib.postgres.script.data_statements import data_statements
from runbooks_lib.postgres.session.connect import Sessions

DATABASE = "scratch_of_data_done"
ALL, NONE, PART, NOTHING, NOT_JUDGED = Done
USERS = """
CREATE TYPE "Role" AS ENUM ('ADMIN', 'USER');
CREATE TABLE "User" (id text PRIMARY KEY, email text NOT NULL UNIQUE, role "Role", score int, name varchar(20),
  "at" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, data jsonb, plain json);
"""
THREE = """
INSERT INTO "User" (id, email, role, score) VALUES ('a', 'a@x', 'ADMIN', 1), ('b', 'b@x', 'USER', 2),
  ('c', 'c@x', NULL, 3);
"""
# Whatever calls one of these ends in an error, which no verdict hides: each would be told as a refusal.
CANARY = r"""
CREATE TABLE sung (n int);
CREATE FUNCTION sing(anyelement) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
  'BEGIN RAISE EXCEPTION $$sung$$; END';
CREATE FUNCTION lower("Role") RETURNS text LANGUAGE plpgsql IMMUTABLE AS
  'BEGIN RAISE EXCEPTION $$sung$$; END';
CREATE FUNCTION sings(int, int) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $$sung$$; END';
CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = sings);
CREATE DOMAIN checked AS int CHECK (VALUE IS NULL OR sing(VALUE));
CREATE TYPE pair AS (a int, b int);
CREATE VIEW view AS SELECT sing(1) AS x;
"""

Judge = Callable[..., list[tuple[Done, int | None]]]


@pytest.fixture(scope="module")
def database(lab: Lab) -> Iterator[Lab]:
    with lab.admin("postgres") as admin:
        admin.execute(f"CREATE DATABASE {DATABASE} OWNER kb_backend")
        try:
            yield lab
        finally:
            admin.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")


@pytest.fixture
def owner(database: Lab) -> Iterator[psycopg.Connection[Any]]:
    """A session of the tables' owner in an empty schema public."""
    with database.admin(DATABASE) as conn:
        conn.execute("DROP SCHEMA IF EXISTS public CASCADE; DROP SCHEMA IF EXISTS app CASCADE")
        conn.execute("CREATE SCHEMA public; GRANT ALL ON SCHEMA public TO kb_backend")
        conn.execute("CREATE SCHEMA app; GRANT ALL ON SCHEMA app TO kb_backend")
        conn.execute("GRANT USAGE ON SCHEMA public, app TO keybuzz_operator")
        conn.execute("SET ROLE kb_backend; SET search_path = public")
        conn.execute(
            "ALTER DEFAULT PRIVILEGES FOR ROLE kb_backend GRANT SELECT ON TABLES TO keybuzz_operator"
        )
        conn.execute(
            "ALTER DEFAULT PRIVILEGES FOR ROLE kb_backend GRANT SELECT ON SEQUENCES TO keybuzz_operator"
        )
        yield conn


@pytest.fixture
def there(owner: psycopg.Connection[Any]) -> Callable[..., None]:
    def run(*scripts: str) -> None:
        for script in scripts:
            owner.execute(script.encode())

    return run


def judged(script: str, *later: str, schema: str = "public", before: Sequence[str] = ()) -> list[Judged]:
    target = Target(name="there", service="keybuzz_leader", role=Role.PRIMARY, database=DATABASE)
    with Sessions({"there": target}) as sessions, sessions.snapshot("there") as conn:
        scripts = [(f"later{number}", text) for number, text in enumerate(later)]
        earlier = [(f"earlier{number}", text) for number, text in enumerate(before)]
        found = judge_data(
            conn, data_statements(script, schema), schema=schema, later=scripts, before=earlier
        )
        assert conn.execute("SELECT 1 AS one").fetchone() == {"one": 1}  # the caller's snapshot goes on
        settings = conn.execute("SELECT current_setting('search_path') AS path").fetchone()
        assert settings == {"path": "pg_catalog"}
    return list(found)


def judge(
    script: str, *later: str, schema: str = "public", before: Sequence[str] = ()
) -> list[tuple[Done, int | None]]:
    return [(each.done, each.rows) for each in judged(script, *later, schema=schema, before=before)]


def why(script: str, *later: str) -> str:
    (found,) = judged(script, *later)
    assert found.done is NOT_JUDGED, found
    return found.why


# --- INSERT --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("insert", "done", "rows"),
    [
        ("""INSERT INTO "User" (id, email, role) VALUES ('a', 'a@x', 'ADMIN'), ('b', 'b@x', 'USER')""", ALL, 0),
        ("""INSERT INTO "User" (id, email, role) VALUES ('a', 'a@x', 'ADMIN'), ('z', 'z@x', 'USER')""", PART, 1),
        ("""INSERT INTO "User" (id, email) VALUES ('y', 'y@x'), ('z', 'z@x')""", NONE, 2),
        ("""INSERT INTO "User" VALUES ('c', 'c@x', NULL, 3)""", ALL, 0),
        # an id that is made anew each time, the moment, a default: left out
        ("""INSERT INTO "User" (id, email, at) VALUES (gen_random_uuid(), 'a@x', now())""", ALL, 0),
        ("""INSERT INTO "User" (id, email, at) VALUES (gen_random_uuid(), 'q@x', DEFAULT)""", NONE, 1),
        # as the column's type reads and stores it
        ("""INSERT INTO "User" (id, email, score) VALUES ('a', 'a@x', '1'), ('b', lower('B@X'), 1 + 1)""", ALL, 0),
        ("""INSERT INTO "User" (id, email, role) VALUES ('a', 'a@x', 'ADMIN'::"Role")""", ALL, 0),
        ("""INSERT INTO "User" (id, email, role) VALUES ('a', 'a@x', 'ADMIN'::public."Role")""", ALL, 0),
        # other values under the same key: nobody can tell whose
        ("""INSERT INTO "User" (id, email, role) VALUES ('a', 'a@x', 'USER')""", NOT_JUDGED, 1),
        ("""INSERT INTO "User" (id, email, role) VALUES ('a', 'a@x', 'USER'), ('z', 'z@x', 'USER')""", PART, 2),
        # ON CONFLICT says what counts
        ("""INSERT INTO "User" (id, email, role) VALUES ('a', 'a@x', 'USER') ON CONFLICT (id) DO NOTHING""", ALL, 0),
        ("""INSERT INTO "User" (id, email, role) VALUES ('a', 'a@x', 'USER') ON CONFLICT DO NOTHING""", ALL, 0),
        ("""INSERT INTO "User" (id, email) VALUES ('a', 'a'), ('z', 'z') ON CONFLICT (id) DO NOTHING""", PART, 1),
        ("""INSERT INTO "User" (id, email) VALUES ('a', 'a') ON CONFLICT ON CONSTRAINT "User_pkey" DO NOTHING""",
         ALL, 0),
        ("""INSERT INTO "User" (id, email, role) VALUES ('a', 'a@x', 'ADMIN')
            ON CONFLICT (id) DO UPDATE SET role = EXCLUDED.role, at = now()""", ALL, 0),
        ("""INSERT INTO "User" (id, email, role) VALUES ('a', 'a@x', 'USER')
            ON CONFLICT (id) DO UPDATE SET role = EXCLUDED.role""", NONE, 1),
        ("""INSERT INTO "User" (id, email) VALUES (gen_random_uuid(), 'a@x') ON CONFLICT (id) DO NOTHING""",
         NOT_JUDGED, None),
        ("""INSERT INTO "User" DEFAULT VALUES""", NOT_JUDGED, None),
        ("""INSERT INTO "User" (id) VALUES (gen_random_uuid())""", NOT_JUDGED, None),
    ],
)  # fmt: skip
def test_inserted_rows(there: Callable[..., None], insert: str, done: Done, rows: int | None) -> None:
    there(USERS, THREE)
    found = judged(insert)
    assert [(each.done, each.rows) for each in found] == [(done, rows)], found


@pytest.mark.parametrize(
    ("insert", "done", "rows"),
    [
        ("INSERT INTO copy (id, email) SELECT id, email FROM \"User\" u WHERE {}", PART, 2),
        ("INSERT INTO copy (id, email) SELECT id, email FROM \"User\" u WHERE id = 'a' AND {}", ALL, 0),
        ("INSERT INTO copy (id, email) SELECT id, email FROM \"User\" u WHERE id = 'c' AND {}", NONE, 1),
        ("INSERT INTO copy (id, email) SELECT id, email FROM \"User\" u WHERE id = 'q' AND {}", NOTHING, 0),
        ("INSERT INTO copy (id, email, n) SELECT gen_random_uuid(), 'e', random() WHERE {}".replace(
            "{}", "NOT EXISTS (SELECT FROM copy WHERE email = 'e')"), NONE, 1),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "guard",
    ["NOT EXISTS (SELECT 1 FROM copy c WHERE c.id = u.id)", "u.id NOT IN (SELECT id FROM public.copy)"],
)
def test_rows_of_a_query_that_keeps_out_what_is_there(
    there: Callable[..., None], insert: str, done: Done, rows: int, guard: str
) -> None:
    there(USERS, THREE, "CREATE TABLE copy (id text PRIMARY KEY, email text, n float)")
    there("INSERT INTO copy VALUES ('a', 'a@x')")
    assert judge(insert.format(guard)) == [(done, rows)]


@pytest.mark.parametrize(
    ("insert", "done", "rows"),
    [
        ('INSERT INTO copy (id, email) SELECT id, email FROM "User" ON CONFLICT (id) DO NOTHING', PART, 2),
        ('INSERT INTO copy (id, email) SELECT id, email FROM "User"', PART, 2),
        ("INSERT INTO copy (id, email) SELECT id, email FROM \"User\" WHERE id = 'a'", ALL, 0),
        ('INSERT INTO copy (id, email, at) SELECT id, email, now() FROM "User" WHERE id = \'b\'', NONE, 1),
        ('WITH u AS (SELECT * FROM "User" WHERE id = \'a\') INSERT INTO copy (id, email) SELECT id, email FROM u',
         ALL, 0),
        ("INSERT INTO copy (id, email) SELECT u.id, u.email FROM \"User\" u LEFT JOIN copy c ON c.id = u.id "
         "WHERE c.id IS NULL", NONE, 2),
        ("INSERT INTO copy (id, email) SELECT 'a', 'a@x'", ALL, 0),
        ('INSERT INTO copy SELECT * FROM "User"', NOT_JUDGED, None),
    ],
)  # fmt: skip
def test_rows_of_a_query(there: Callable[..., None], insert: str, done: Done, rows: int | None) -> None:
    there(USERS, THREE, "CREATE TABLE copy (id text PRIMARY KEY, email text, at timestamptz)")
    there("INSERT INTO copy VALUES ('a', 'a@x')")
    found = judged(insert)
    assert [(each.done, each.rows) for each in found] == [(done, rows)], found


def test_equal_rows_without_a_key_are_counted(there: Callable[..., None]) -> None:
    there(
        "CREATE TABLE log (word text, n numeric(4, 1), at timestamp(3), doc json)",
        "INSERT INTO log VALUES ('x')",
    )
    assert judge("INSERT INTO log (word) VALUES ('x')") == [(ALL, 0)]
    assert judge("INSERT INTO log (word) VALUES ('x'), ('x')") == [(PART, 1)]
    there("INSERT INTO log VALUES ('y', 1.26, '2024-01-01 00:00:00.12345', '{\"a\":1}')")
    same = "INSERT INTO log VALUES ('y', 1.26, '2024-01-01 00:00:00.12345', '{\"a\":1}')"
    assert judge(same) == [(ALL, 0)]
    assert judge(same.replace("1.26", "1.36")) == [(NONE, 1)]


def test_a_value_that_is_spelled_otherwise_may_be_the_same(there: Callable[..., None]) -> None:
    there(
        "CREATE TYPE mood AS ENUM ('sad', 'glad')",
        "CREATE TABLE log (day date, price numeric, yes boolean, padded char(3), mood mood, words varchar[])",
        "INSERT INTO log VALUES ('2026-01-02', 1, true, 'a', 'sad', '{a}')",
    )
    for column, ours, theirs in (
        ("day", "'2026-01-02'", "'2 Jan 2026'"),
        ("price", "'1'", "'1.0'"),
        ("yes", "'t'", "'yes'"),
        ("padded", "'a'", "'a '"),
        ("words", "'{a}'", "'{ a}'"),
    ):
        first, second = (f"INSERT INTO log ({column}) VALUES ({value})" for value in (ours, theirs))
        assert judge(first, before=[second]) == [(NOT_JUDGED, 0)], column
    moods = [f"INSERT INTO log (mood) VALUES ('{mood}')" for mood in ("sad", "glad")]
    assert judge(moods[0], before=moods[1:]) == [(ALL, 0)]


def test_an_equal_row_of_another_statement_is_not_taken_for_its_own(there: Callable[..., None]) -> None:
    there(
        "CREATE TABLE log (id serial PRIMARY KEY, word text, n int, code text UNIQUE)",
        "INSERT INTO log (word, n, code) VALUES ('x', 1, 'c')",
    )
    x, y = ("INSERT INTO log (word) VALUES ('x')", "INSERT INTO log (word, n) VALUES ('y', 1), ('z', 2)")
    untold = [(NOT_JUDGED, 0)]
    assert judge(x, before=[x]) == judge(x, x) == untold
    assert judge(f"{x}; {x}") == 2 * untold
    assert judge(x, "INSERT INTO log (word) SELECT 'x'") == untold
    assert judge(x, "DO $$ BEGIN INSERT INTO log (word) VALUES ('x'); END $$") == untold
    assert judge(x, "INSERT INTO log (n) VALUES (1)") == untold
    assert judge(x, y, "INSERT INTO other (word) VALUES ('x')", before=[y]) == [(ALL, 0)]
    for column, ours, theirs in (("n", "1", "'01'"), ("n", "1", "1.0"), ("word", "'x'", "'x'::varchar")):
        assert judge(f"INSERT INTO log ({column}) VALUES ({ours})", before=[
            f"INSERT INTO log ({column}) VALUES ({theirs})"
        ]) == untold  # fmt: skip
    keyed = "INSERT INTO log (word, code) VALUES ('x', 'c')"
    assert judge(keyed, before=[keyed]) == [(ALL, 0)]
    assert judge(f"{x} ON CONFLICT DO NOTHING", before=[x]) == [(ALL, 0)]


# --- UPDATE --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("update", "done", "rows"),
    [
        ("UPDATE \"User\" SET role = 'ADMIN' WHERE id = 'a'", ALL, 0),
        ("UPDATE \"User\" SET role = 'USER' WHERE score < 3", PART, 1),
        ("UPDATE \"User\" SET name = 'n'", NONE, 3),
        ("UPDATE \"User\" SET name = 'n' WHERE name IS NULL", NONE, 3),
        ("UPDATE \"User\" SET role = 'USER' WHERE role IS NULL", NONE, 1),
        ("UPDATE \"User\" SET score = 0 WHERE score IS NULL", NOTHING, 0),
        ("UPDATE \"User\" u SET score = s.n FROM (VALUES ('a', 1), ('b', 2)) AS s (id, n) WHERE s.id = u.id", ALL, 0),
        ("UPDATE \"User\" u SET score = s.n FROM (VALUES ('a', 1), ('b', 9)) AS s (id, n) WHERE s.id = u.id", PART, 1),
        # one of two rows that match gives the value
        ("UPDATE \"User\" u SET score = s.n FROM (VALUES ('a', 1), ('a', 9)) AS s (id, n) WHERE s.id = u.id", ALL, 0),
        ("UPDATE \"User\" u SET email = o.email FROM \"User\" o WHERE o.id = u.id", ALL, 0),
        ("UPDATE \"User\" SET score = (SELECT count(*) FROM \"User\" x)", PART, 2),
        ("WITH x AS (SELECT 'a' AS id) UPDATE \"User\" u SET score = 1 FROM x WHERE x.id = u.id", ALL, 0),
        ("UPDATE \"User\" SET (score, role) = (1, 'ADMIN') WHERE id = 'a'", ALL, 0),
        ("UPDATE \"User\" SET score = 1, at = now() WHERE id = 'a'", ALL, 0),
        ("UPDATE \"User\" SET name = gen_random_uuid()", NONE, 3),
        ("UPDATE \"User\" SET at = now()", NOT_JUDGED, None),
        ("UPDATE \"User\" SET data = '{\"a\": 1}', plain = '{}' WHERE id = 'a'", NONE, 1),
        ("UPDATE \"User\" SET email = lower(email)", ALL, 0),
        ("UPDATE \"User\" SET score = score + 1", NOT_JUDGED, 3),
        ("UPDATE \"User\" SET name = email, email = name", NOT_JUDGED, 3),
        ("UPDATE \"User\" SET score = 9 WHERE at > now()", NOT_JUDGED, None),
        ("UPDATE \"User\" SET score = 9 WHERE random() > 2", NOT_JUDGED, None),
        ("UPDATE \"User\" SET score = DEFAULT", NOT_JUDGED, None),
        ("UPDATE \"User\" SET (score, name) = (SELECT 1, 'x')", NOT_JUDGED, None),
        ("UPDATE \"User\" SET data['a'] = '1'", NOT_JUDGED, None),
        ("UPDATE \"User\" SET score = 1 / (score - score)", NOT_JUDGED, None),
    ],
)  # fmt: skip
def test_updated_rows(there: Callable[..., None], update: str, done: Done, rows: int | None) -> None:
    there(USERS, THREE)
    found = judged(update)
    assert [(each.done, each.rows) for each in found] == [(done, rows)], found


def test_an_empty_table_speaks_for_neither(there: Callable[..., None]) -> None:
    there(USERS)
    assert judge('UPDATE "User" SET score = 1 WHERE at > now(); DELETE FROM "User" WHERE f(1); TRUNCATE "User"') == [
        (NOTHING, 0), (NOTHING, 0), (NOTHING, 0)
    ]  # fmt: skip
    assert judge("INSERT INTO \"User\" (id, email) VALUES ('a', 'a')") == [(NONE, 1)]


# --- what else changes rows ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "done", "rows"),
    [
        ("DELETE FROM \"User\" WHERE role = 'ADMIN'", NONE, 1),
        ("DELETE FROM \"User\" WHERE score > 3", NOTHING, 0),
        ("DELETE FROM \"User\" u USING \"User\" o WHERE o.score > u.score", NONE, 2),
        ("DELETE FROM \"User\"", NOT_JUDGED, None),
        ("TRUNCATE \"User\"", NOT_JUDGED, None),
        ("TRUNCATE nothing", NOTHING, 0),
        ("MERGE INTO \"User\" USING nothing ON true WHEN MATCHED THEN DELETE", NOT_JUDGED, None),
        ("COPY \"User\" FROM STDIN", NOT_JUDGED, None),
        ("DO $$ BEGIN UPDATE \"User\" SET score = 1; END $$", NOT_JUDGED, None),
        ("CALL p()", NOT_JUDGED, None),
        ("EXECUTE p", NOT_JUDGED, None),
        ("WITH x AS (DELETE FROM \"User\" RETURNING *) SELECT 1", NOT_JUDGED, None),
        ("WITH x AS (DELETE FROM nothing RETURNING *) INSERT INTO nothing SELECT * FROM x", NOT_JUDGED, None),
        ("WITH x AS (DELETE FROM nothing RETURNING n) UPDATE \"User\" SET score = n FROM x", NOT_JUDGED, None),
        ("SELECT f()", NOT_JUDGED, None),
        ("SELECT pg_notify('a', 'b')", NOT_JUDGED, None),
        ("SELECT pg_catalog.set_config('search_path', '', false)", NOTHING, None),
        ("SELECT public.set_config('search_path', '', false)", NOT_JUDGED, None),
        ("SELECT public.setval('numbers', 4)", NOT_JUDGED, None),
        ("INSERT INTO pg_temp.staged VALUES (1)", NOTHING, None),
        ("UPDATE \"User\" SET score = 1 WHERE id IN (SELECT id FROM pg_temp.staged)", NOT_JUDGED, None),
        ("CREATE TABLE pg_temp.staged AS SELECT 1", NOTHING, None),
        ("SELECT upper('a')", NOTHING, None),
        ("SELECT setval('numbers', 5)", NONE, None),
        ("SELECT setval('numbers', 4)", ALL, None),
        ("SELECT setval('numbers', 5, false)", ALL, None),
        ("SELECT pg_catalog.setval('public.numbers'::regclass, (SELECT max(score) FROM \"User\"))", ALL, None),
        ("SELECT setval(pg_get_serial_sequence('\"Counted\"', 'id'), coalesce(max(id), 1)) FROM \"Counted\"",
         NONE, None),
        ("SELECT setval('numbers', NULL)", NOTHING, None),
        ("SELECT setval('nowhere', 3)", NOT_JUDGED, None),
        ("ALTER SEQUENCE numbers RESTART WITH 5", NOT_JUDGED, None),
        ("ALTER TABLE \"User\" ALTER score TYPE bigint USING score * 2", NOT_JUDGED, None),
        ("CREATE TABLE made AS SELECT id FROM \"User\" WHERE score > 1", ALL, 0),
        ("CREATE TABLE made AS SELECT id FROM \"User\"", PART, 1),
        ("SELECT id INTO made FROM \"User\" WHERE score > 1", ALL, 0),
        ("CREATE TABLE elsewhere AS SELECT 1", NONE, None),
        ("CREATE MATERIALIZED VIEW seen AS SELECT 1", ALL, 0),
        ("REFRESH MATERIALIZED VIEW seen", NOT_JUDGED, None),
        ("CREATE MATERIALIZED VIEW unseen AS SELECT 1", NONE, None),
        ("EXPLAIN ANALYZE DELETE FROM \"User\"", NOT_JUDGED, None),
    ],
)  # fmt: skip
def test_other_kinds(there: Callable[..., None], statement: str, done: Done, rows: int | None) -> None:
    there(USERS, THREE, "CREATE TABLE nothing (n int); CREATE SEQUENCE numbers; SELECT setval('numbers', 4)")
    there('CREATE TABLE "Counted" (id serial PRIMARY KEY); INSERT INTO "Counted" VALUES (7)')
    there(
        "CREATE TABLE made AS SELECT id FROM \"User\" WHERE id <> 'a'; CREATE MATERIALIZED VIEW seen AS SELECT 1"
    )
    there("CREATE MATERIALIZED VIEW unseen AS SELECT 1 WITH NO DATA")
    found = judged(statement)
    assert [(each.done, each.rows) for each in found] == [(done, rows)], found


LOWER, HIGHER = "SELECT setval('numbers', 2)", "SELECT setval('numbers', 9)"
SETS = [
    "SELECT pg_catalog.setval('public.numbers'::regclass, 3)",
    "SELECT setval('\"numbers\"', 3)",
    "SELECT setval(pg_get_serial_sequence('numbers', 'id'), 3)",
    "SELECT setval(to_regclass('numbers'), 3)",
    "ALTER SEQUENCE numbers RESTART",
    "ALTER TABLE numbers ALTER id RESTART",
    "TRUNCATE numbers RESTART IDENTITY",
    "DROP SEQUENCE numbers; CREATE SEQUENCE numbers",
    "DROP TABLE numbers; CREATE TABLE numbers (id serial)",
    "DROP SCHEMA app CASCADE",
    "DO $$ BEGIN PERFORM setval('numbers', 3); END $$",
]


@pytest.mark.parametrize("other", SETS)
def test_a_sequence_that_is_set_twice_does_not_tell_by_which(there: Callable[..., None], other: str) -> None:
    serial = "pg_get" in other or "TABLE" in other or "TRUNCATE" in other
    name = "numbers_id_seq" if serial else "numbers"
    there(f"CREATE SEQUENCE {name}; SELECT setval('{name}', 4)")
    lower, higher = (text.replace("'numbers'", f"'{name}'") for text in (LOWER, HIGHER))
    exact = lower.replace("2", "4")
    assert judge(lower) == judge(exact, other, before=[other]) == judge(lower, other) == [(ALL, None)]
    assert judge(lower, before=[other]) == judge(higher, other) == [(NOT_JUDGED, None)]
    assert judge(higher) == judge(higher, before=[other]) == [(NONE, None)]


def test_two_sets_of_one_script_and_another_sequence(there: Callable[..., None]) -> None:
    there("CREATE SEQUENCE numbers; CREATE SEQUENCE others; SELECT setval('numbers', 4), setval('others', 9)")
    assert judge(f"{HIGHER}; {LOWER}") == [(NOT_JUDGED, None), (NOT_JUDGED, None)]
    assert judge(LOWER, before=["SELECT setval('others', 9)"]) == [(ALL, None)]
    there("CREATE TABLE t (n int); INSERT INTO t VALUES (1)")
    assert judge("SELECT setval('numbers', (SELECT max(n) FROM t))", before=[LOWER]) == [(ALL, None)]


def test_a_sequence_that_starts_beyond_or_counts_down_does_not_tell(there: Callable[..., None]) -> None:
    there("CREATE SEQUENCE numbers START 1000; CREATE SEQUENCE down INCREMENT -1")
    assert judge("SELECT setval('numbers', 5)") == [(NOT_JUDGED, None)]
    assert judge("SELECT setval('numbers', 2000)") == [(NONE, None)]
    assert judge("SELECT setval('down', -50)") == [(NOT_JUDGED, None)]


# --- what came after, and what is not there ------------------------------------------------------------------------


def test_what_a_later_statement_wrote_again_is_not_told_from_undone(there: Callable[..., None]) -> None:
    there(USERS, THREE)
    undone = "UPDATE \"User\" SET role = 'USER' WHERE id = 'a'"
    assert judge(undone) == [(NONE, 1)]
    later = "-- and\nUPDATE \"User\" SET role = 'ADMIN' WHERE id = 'a'"
    assert "later0 line 2 UPDATE User may have written them" in why(undone, later)
    assert judge(undone, 'UPDATE "User" SET score = 4') == [(NONE, 1)]  # another column
    assert judge(undone, "UPDATE app.\"User\" SET role = 'ADMIN'") == [(NONE, 1)]  # another table
    assert judge(f"{undone}; {later}") == [(NOT_JUDGED, 1), (ALL, 0)]
    assert judge(f"{undone}; DO $$ BEGIN {later}; END $$")[0] == (NOT_JUDGED, 1)
    missing = "INSERT INTO \"User\" (id, email) VALUES ('z', 'z')"
    assert judge(missing, "INSERT INTO \"User\" (id, email) VALUES ('y', 'y')") == [(NONE, 1)]
    assert judge(missing, "DELETE FROM \"User\" WHERE id = 'z'") == [(NOT_JUDGED, 1)]
    # what a WHERE finds no more, since a later statement changed what it looks at
    found = "UPDATE \"User\" SET score = 9 WHERE email = 'old'"
    assert judge(found) == [(NOTHING, 0)]
    assert judge(found, "UPDATE \"User\" SET email = 'new' WHERE email = 'old'") == [(NOT_JUDGED, 0)]
    assert judge("DELETE FROM \"User\" WHERE id = 'a'", missing) == [(NOT_JUDGED, 1)]


def test_that_a_later_statement_took_away_what_it_read_is_not_told_from_undone(
    there: Callable[..., None],
) -> None:
    there(USERS, THREE, "CREATE TABLE copy (id text, name text); CREATE TABLE staged (id text, n int)")
    emptied = "INSERT INTO copy SELECT id, n::text FROM staged"
    assert judge(emptied) == [(NOTHING, 0)]
    assert judge(emptied, "DELETE FROM staged") == [(NOT_JUDGED, 0)]
    assert judge(f"{emptied}; TRUNCATE staged")[0] == (NOT_JUDGED, 0)
    guarded = f"{emptied} WHERE NOT EXISTS (SELECT FROM copy c WHERE c.id = staged.id)"
    assert [judge(guarded), judge(guarded, "DELETE FROM staged")] == [[(NOTHING, 0)], [(NOT_JUDGED, 0)]]
    for change in (
        'UPDATE "User" u SET score = n FROM staged s WHERE s.id = u.id',
        'UPDATE "User" SET score = 0 WHERE id IN (SELECT id FROM staged)',
        'DELETE FROM "User" u USING staged s WHERE s.id = u.id',
        'DELETE FROM "User" WHERE EXISTS (SELECT * FROM staged)',
    ):
        assert judge(change) == [(NOTHING, 0)]
        assert judge(change, "DELETE FROM staged") == [(NOT_JUDGED, 0)]
        assert judge(change, "DELETE FROM elsewhere") == [(NOTHING, 0)]


def test_what_was_dropped_or_renamed_since_is_not_judged(there: Callable[..., None]) -> None:
    there(USERS, THREE)
    gone = "UPDATE old SET a = 1"
    assert judge(gone) == [(NONE, None)]  # what makes the table is pending
    assert "the target has no table public.old: later0 line 1 DROP drops" in why(gone, "DROP TABLE old")
    assert judge(f'{gone}; ALTER TABLE old RENAME TO "new"') == [(NOT_JUDGED, None)]
    assert judge(gone, "DROP SCHEMA public CASCADE") == [(NOT_JUDGED, None)]
    column = 'UPDATE "User" SET nick = name'
    assert judge(column) == [(NONE, None)]
    assert judge(column, 'ALTER TABLE "User" DROP nick') == [(NOT_JUDGED, None)]
    assert judge(column, 'ALTER TABLE "User" RENAME nick TO name') == [(NOT_JUDGED, None)]
    assert judge('UPDATE "User" SET name = nick', 'ALTER TABLE "User" DROP nick') == [(NOT_JUDGED, None)]
    assert judge("INSERT INTO \"User\" (id, nick) VALUES ('a', 'b')") == [(NONE, None)]
    # another table of that name today
    for statement in (
        'UPDATE "User" SET score = 1',
        "CREATE TABLE \"User\" AS SELECT 'a' AS id",
        "SELECT 'a' AS id INTO \"User\"",
    ):
        renamed = judge(statement, 'ALTER TABLE "User" RENAME TO old; CREATE TABLE "User" ()')
        assert renamed == [(NOT_JUDGED, None)]


def test_staging_tables_leave_nothing_and_what_was_read_from_them_is_not_judged(
    there: Callable[..., None],
) -> None:
    there(USERS, THREE)
    script = """
    CREATE TEMP TABLE "User" AS SELECT 1 AS id;
    INSERT INTO "User" VALUES (2);
    UPDATE public."User" u SET score = 1 FROM "User" t WHERE t.id = u.score;
    UPDATE public."User" SET score = 1 WHERE id = 'a';
    """
    assert [done for done, _ in judge(script)] == [NOTHING, NOTHING, NOT_JUDGED, ALL]
    moved = "SET search_path = app; UPDATE \"User\" SET score = 1 WHERE id = 'a'"
    assert judge(moved) == [(NOT_JUDGED, None)]
    assert judge(moved.replace('"User"', 'public."User"')) == [(ALL, 0)]


def test_names_lead_to_the_schema_of_prisma_s_address(there: Callable[..., None]) -> None:
    there('CREATE TYPE app.mood AS ENUM (\'OK\'); CREATE TABLE app."Us.er""s" ("i d" int, m app.mood)')
    there('INSERT INTO app."Us.er""s" VALUES (1, \'OK\')', "CREATE SEQUENCE app.numbers")
    same = 'INSERT INTO "Us.er""s" ("i d", m) VALUES (1, \'OK\'::mood); SELECT setval(\'numbers\', 1, false)'
    assert [done for done, _ in judge(same, schema="app")] == [ALL, ALL]
    assert [done for done, _ in judge(same)] == [NONE, NOT_JUDGED]


@pytest.mark.parametrize("name", ['a"b', "a.b", "SELECT", "a%s", "a{0}b", "é", "Ünï; DROP TABLE x --", "a'b"])
def test_hostile_names_are_names(there: Callable[..., None], name: str) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    there(
        f"CREATE TABLE {quoted} ({quoted} text PRIMARY KEY, x int)",
        f"INSERT INTO {quoted} VALUES ('{{}} %s', 1)",
    )
    done = f"INSERT INTO {quoted} ({quoted}, x) VALUES ('{{}} %s', 1); UPDATE {quoted} SET x = 1 WHERE {quoted} <> '%'"
    assert judge(done) == [(ALL, 0), (ALL, 0)]
    assert judge(f"UPDATE {quoted} AS {quoted} SET {quoted} = '{{}} %(a)s'") == [(NONE, 1)]


# --- nobody's code -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE t SET n = 1 WHERE sing(n)",
        "UPDATE t SET n = CASE WHEN public.sing(n) THEN 1 END",
        "UPDATE t SET n = 1 WHERE n === 1",
        "UPDATE t SET n = 1 WHERE n OPERATOR(public.===) 1",
        "UPDATE t SET n = 1 WHERE n === ANY (SELECT 1)",
        "UPDATE t SET n = 1 WHERE lower(r) = 'x'",
        "UPDATE t SET n = 5::checked",
        "UPDATE t SET p = ROW(1, 2)",
        "UPDATE t SET n = (p).a",
        "UPDATE t SET n = 1 WHERE EXISTS (SELECT FROM view)",
        "UPDATE t SET n = nextval('numbers')",
        "UPDATE t SET n = 1 WHERE pg_sleep(60) IS NULL",
        "UPDATE t SET n = 1 WHERE query_to_xml('SELECT sing(1)', true, true, '') IS NULL",
        "UPDATE t SET n = 1 WHERE table_to_xml('view', true, true, '') IS NULL",
        "UPDATE t SET n = 1 WHERE pg_input_is_valid('1', 'checked')",
        "UPDATE t SET n = 1 FROM pg_stat_activity",
        "UPDATE t SET n = 1 WHERE 'view'::regclass IS NULL",
        "UPDATE view SET x = true",
        "INSERT INTO t (n) VALUES (nextval('numbers'))",
        "INSERT INTO t (n) SELECT 1 WHERE sing(1)",
        "INSERT INTO t (n) SELECT x::int FROM view",
        "INSERT INTO t (p) VALUES ('(1,2)')",
        "DELETE FROM t WHERE sing(n)",
        "SELECT sing(1)",
        "SELECT setval('numbers', 1 + sing(1)::int)",
        "CREATE TABLE t AS SELECT sing(1)",
    ],
)
def test_nobody_s_code_is_run(there: Callable[..., None], statement: str) -> None:
    there("CREATE TYPE \"Role\" AS ENUM ('A')", CANARY, "CREATE SEQUENCE numbers")
    there('CREATE TABLE t (n int, r "Role", p pair, c checked)', "INSERT INTO t (n, r) VALUES (2, 'A')")
    reason = why(statement)
    assert "not answered" not in reason, reason
    assert "refuses" not in reason, reason


def test_values_of_a_domain_are_read_and_its_checks_are_not_run(there: Callable[..., None]) -> None:
    there("CREATE TYPE \"Role\" AS ENUM ('A')", CANARY, "CREATE TABLE t (c checked)")
    there("ALTER DOMAIN checked DROP CONSTRAINT checked_check", "INSERT INTO t VALUES (2)")
    there("ALTER DOMAIN checked ADD CHECK (sing(VALUE)) NOT VALID")
    assert judge("UPDATE t SET c = 2; INSERT INTO t (c) VALUES (3)") == [(ALL, 0), (NONE, 1)]


def test_a_cast_of_somebody_s_own_keeps_every_question_back(there: Callable[..., None]) -> None:
    there(USERS, THREE)
    asked = "UPDATE \"User\" SET score = 1 WHERE role = 'ADMIN'"
    assert judge(asked) == [(ALL, 0)]
    there(
        "CREATE FUNCTION sung(\"Role\") RETURNS text LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $$sung$$; END'"
    )
    there('CREATE CAST ("Role" AS text) WITH FUNCTION sung("Role") AS IMPLICIT')
    assert "a cast of its own" in why(asked)


# --- what may not be read ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hide", "reason"),
    [
        ('REVOKE SELECT ON "User" FROM keybuzz_operator', "may not SELECT from public.User"),
        ("REVOKE USAGE ON SCHEMA public FROM keybuzz_operator", "may not SELECT from public.User"),
        ('REVOKE SELECT ON "User" FROM keybuzz_operator; GRANT SELECT (id) ON "User" TO keybuzz_operator',
         "the server refuses the question (SQLSTATE 42501)"),
        ('ALTER TABLE "User" ENABLE ROW LEVEL SECURITY', "row-level security hides rows of public.User"),
    ],
)  # fmt: skip
def test_what_the_role_may_not_read_is_not_judged(
    there: Callable[..., None], owner: psycopg.Connection[Any], hide: str, reason: str
) -> None:
    there(USERS, THREE)
    owner.execute("RESET ROLE")
    owner.execute(hide.encode())
    for statement in (
        "UPDATE \"User\" SET score = 1 WHERE id = 'a'",
        "INSERT INTO \"User\" (id, email) VALUES ('a', 'a@x')",
        "DELETE FROM \"User\" WHERE email = 'q'",
    ):
        assert reason in why(statement)


def test_what_takes_too_long_is_not_judged(
    there: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runbooks_lib.postgres.rows.asked.TIMEOUT_MS", 200)
    there(USERS, THREE)
    slow = 'UPDATE "User" SET score = (SELECT count(*) FROM generate_series(1, 100000000) a)'
    assert "not answered within" in why(slow)


def test_a_script_that_cannot_be_parsed_is_not_judged(there: Callable[..., None]) -> None:
    assert judge("CREAT TABLE") == [(NOT_JUDGED, None)]
