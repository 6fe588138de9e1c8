"""What a drafted baseline does on a real server: what its migration does, once, and from half-way on too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

import psycopg
import pytest

from runbooks_lib.drafting.baseline import write_baseline
from runbooks_lib.postgres.catalog.catalog import read_catalog
from runbooks_lib.postgres.catalog.differences import Described, compare, describe, in_words
from runbooks_lib.postgres.scratch.programs import find_server
from runbooks_lib.postgres.scratch.scratch import scratch
from runbooks_lib.postgres.script.pieces import pieces
from runbooks_lib.postgres.script.script import parse_script
from runbooks_lib.postgres.script.undo import undo_of
from runbooks_lib.postgres.session.connect import Connection

# What stands before, with rows in it.
BEFORE = """
CREATE TYPE "Status" AS ENUM ('NEW', 'OLD', 'GONE');
CREATE TYPE mood AS ENUM ('sad', 'glad');
CREATE TABLE "User" (id serial PRIMARY KEY, "name" text NOT NULL, email varchar(20) DEFAULT 'none', age integer);
CREATE TABLE "Order" (id text PRIMARY KEY, "userId" integer, status "Status" NOT NULL DEFAULT 'NEW',
    price numeric(10,2), tags text[], at timestamp(3) NOT NULL DEFAULT now(), kind mood);
CREATE TABLE line (id bigint, place int, CONSTRAINT line_key UNIQUE (id));
ALTER TABLE "Order" ADD CONSTRAINT "Order_userId_fkey" FOREIGN KEY ("userId") REFERENCES "User"(id) ON DELETE CASCADE;
CREATE INDEX "Order_status_idx" ON "Order"(status);
CREATE SEQUENCE counter;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER touched BEFORE UPDATE ON "User" FOR EACH ROW EXECUTE FUNCTION touch();
CREATE VIEW names AS SELECT "name" FROM "User";
CREATE POLICY mine ON "User" USING (true);
"""
ROWS = """
INSERT INTO "User" ("name", age) VALUES ('Ann', 30), ('Bob', 40);
INSERT INTO "Order" (id, "userId", status, price) VALUES ('1', 1, 'NEW', 1.25), ('2', 2, 'OLD', 2.5);
INSERT INTO line VALUES (1, 1), (2, 2);
"""
MIGRATIONS = (
    'CREATE TABLE "Post" (id serial PRIMARY KEY, at timestamp(3) DEFAULT CURRENT_TIMESTAMP, tags text[]);'
    'CREATE UNIQUE INDEX "Post_at_key" ON "Post"(at DESC) WHERE at IS NOT NULL;',
    'CREATE TABLE a (id int PRIMARY KEY, b int); CREATE TABLE b (id int PRIMARY KEY, a int);'
    "ALTER TABLE a ADD CONSTRAINT a_b FOREIGN KEY (b) REFERENCES b(id); "
    "ALTER TABLE b ADD CONSTRAINT b_a FOREIGN KEY (a) REFERENCES a(id) ON DELETE SET NULL;",
    "CREATE UNIQUE INDEX place_key ON line(place); "
    "ALTER TABLE \"Order\" ADD COLUMN line int, ADD CONSTRAINT ol FOREIGN KEY (line) REFERENCES line(place);",
    'ALTER TABLE "User" ADD COLUMN a int, ADD COLUMN b text NOT NULL DEFAULT \'x\', ADD COLUMN c serial;',
    'ALTER TABLE "User" DROP COLUMN age, ALTER COLUMN "name" DROP NOT NULL, ALTER COLUMN email SET NOT NULL;',
    'ALTER TABLE "User" ALTER COLUMN email TYPE text, ALTER COLUMN email DROP DEFAULT, ALTER age TYPE bigint;',
    'ALTER TABLE "Order" ALTER COLUMN price TYPE integer USING (price * 100)::integer;',
    'ALTER TABLE "Order" ALTER COLUMN at TYPE timestamptz(3), ALTER COLUMN tags TYPE varchar(5)[];',
    'ALTER TABLE "Order" ALTER kind TYPE text; DROP TYPE mood;',
    'ALTER TABLE "User" RENAME COLUMN "name" TO "fullName"; ALTER TABLE "User" ADD COLUMN nick text;',
    'ALTER TABLE "User" RENAME TO person; ALTER TABLE person RENAME CONSTRAINT "User_pkey" TO person_pkey;',
    'ALTER INDEX "Order_status_idx" RENAME TO order_status; ALTER TYPE mood RENAME TO temper;',
    "ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'; ALTER TYPE mood ADD VALUE 'so so' AFTER 'glad';",
    'ALTER TABLE "Order" DROP COLUMN price, ADD COLUMN price integer;',
    'ALTER TABLE "Order" DROP CONSTRAINT "Order_userId_fkey"; ALTER TABLE "Order" ADD CONSTRAINT "Order_userId_fkey" '
    'FOREIGN KEY ("userId") REFERENCES "User"(id) ON DELETE SET NULL ON UPDATE CASCADE;',
    "ALTER TABLE line DROP CONSTRAINT line_key; ALTER TABLE line ADD CONSTRAINT line_key UNIQUE (id, place);",
    'ALTER TABLE "Order" DROP CONSTRAINT "Order_pkey", ADD CONSTRAINT "Order_pkey" PRIMARY KEY (id, status);',
    'DROP INDEX "Order_status_idx"; CREATE INDEX "Order_status_idx" ON "Order"(status, "userId");',
    "BEGIN; CREATE TYPE \"Status_new\" AS ENUM ('NEW', 'OLD', 'DONE'); "
    'ALTER TABLE "Order" ALTER COLUMN status DROP DEFAULT; '
    'ALTER TABLE "Order" ALTER COLUMN status TYPE "Status_new" USING (status::text::"Status_new"); '
    'ALTER TYPE "Status" RENAME TO "Status_old"; ALTER TYPE "Status_new" RENAME TO "Status"; DROP TYPE "Status_old"; '
    "ALTER TABLE \"Order\" ALTER COLUMN status SET DEFAULT 'OLD'; COMMIT;",
    'ALTER TABLE "Order" DROP CONSTRAINT "Order_userId_fkey"; DROP VIEW names; DROP TABLE "User";',
    'ALTER TABLE "Order" DROP CONSTRAINT "Order_userId_fkey"; DROP VIEW names; DROP TABLE "User"; DROP TABLE "Order";',
    'DROP TRIGGER touched ON "User"; DROP FUNCTION touch(); DROP SEQUENCE counter; DROP POLICY mine ON "User";',
    'CREATE OR REPLACE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN OLD; END $$; '
    'DROP TRIGGER IF EXISTS touched ON "User"; '
    'CREATE TRIGGER touched AFTER INSERT ON "User" FOR EACH ROW EXECUTE FUNCTION touch();',
    'ALTER TABLE "User" ENABLE ROW LEVEL SECURITY; CREATE POLICY theirs ON "User" FOR SELECT USING (id > 1); '
    "COMMENT ON TABLE line IS 'lines'; ALTER SEQUENCE counter OWNED BY line.id;",
    "CREATE SCHEMA app; CREATE TABLE app.t (id int); CREATE SEQUENCE app.q; "
    "CREATE DOMAIN app.d AS int CHECK (value > 0);",
    "CREATE OR REPLACE VIEW names AS SELECT \"name\", age FROM \"User\"; GRANT SELECT ON line TO PUBLIC;",
    "DO $$ BEGIN CREATE TYPE size AS ENUM ('S'); EXCEPTION WHEN duplicate_object THEN NULL; END $$; "
    "DO $$ BEGIN IF NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conname = 'positive') THEN "
    "ALTER TABLE line ADD CONSTRAINT positive CHECK (place > 0); END IF; END $$;",
    "ALTER TABLE line ALTER COLUMN id SET NOT NULL, ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY;",
    "CREATE TABLE x (id int NOT NULL, c text NOT NULL, CONSTRAINT x_pkey PRIMARY KEY (id)); CREATE INDEX x_c ON x(c); "
    "ALTER TABLE line ADD COLUMN x int, ADD CONSTRAINT line_x FOREIGN KEY (x) REFERENCES x(id); "
    "ALTER TABLE x RENAME TO y; ALTER TABLE y RENAME COLUMN c TO d; ALTER TABLE y RENAME CONSTRAINT x_pkey TO y_pkey; "
    "ALTER INDEX x_c RENAME TO y_d; ALTER TABLE line RENAME CONSTRAINT line_x TO line_y; ALTER TABLE y RENAME TO z;",
    "CREATE TYPE tone AS ENUM ('a'); ALTER TABLE line ADD COLUMN tone tone NOT NULL DEFAULT 'a'; "
    "ALTER TYPE tone ADD VALUE 'b'; ALTER TYPE tone RENAME TO pitch;",
    "CREATE TABLE z (id int PRIMARY KEY); ALTER TABLE line ADD COLUMN z int, "
    "ADD CONSTRAINT line_z FOREIGN KEY (z) REFERENCES z(id); DROP TABLE z CASCADE;",
    "CREATE TYPE pace AS ENUM ('slow'); ALTER TYPE pace ADD VALUE 'fast'; "
    "BEGIN; CREATE TYPE pace_new AS ENUM ('slow', 'quick'); ALTER TYPE pace RENAME TO pace_old; "
    "ALTER TYPE pace_new RENAME TO pace; DROP TYPE pace_old; COMMIT; ALTER TYPE pace ADD VALUE 'last';",
    "ALTER TABLE line DROP CONSTRAINT line_key; ALTER TABLE line ADD CONSTRAINT line_key UNIQUE (place); "
    "ALTER TABLE line DROP CONSTRAINT line_key; ALTER TABLE line ADD CONSTRAINT line_key UNIQUE (id, place);",
    "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON line DEFERRABLE INITIALLY DEFERRED FOR EACH ROW "
    "EXECUTE FUNCTION touch();",
)  # fmt: skip
# What a second run must not touch: what is made anew has another number, what is written anew another file.
NUMBERS = """
SELECT array_agg(number ORDER BY number) AS numbers FROM (
  SELECT concat('relation ', oid, ' ', relfilenode) FROM pg_class WHERE relnamespace <> 'pg_toast'::regnamespace
  UNION ALL SELECT concat('constraint ', oid) FROM pg_constraint UNION ALL SELECT concat('type ', oid) FROM pg_type
  UNION ALL SELECT concat('label ', oid) FROM pg_enum UNION ALL SELECT concat('policy ', oid) FROM pg_policy
  UNION ALL SELECT concat('column ', attrelid, ' ', attnum) FROM pg_attribute
) AS found (number)
"""


class Undo(Exception):
    pass


@pytest.fixture(scope="module")
def server() -> Iterator[Connection]:
    with scratch(find_server()) as copy:
        copy.create_database("shop")
        with copy.connect("shop") as conn:
            conn.execute("SET search_path = public")
            conn.execute(BEFORE.encode())
            conn.execute(ROWS.encode())
            conn.commit()
            yield conn


def run(conn: Connection, texts: Sequence[str]) -> None:
    conn.execute("SET LOCAL search_path = public")
    for text in texts:
        conn.execute(text.encode())


def seen(conn: Connection) -> Described:
    conn.execute("SET LOCAL search_path = pg_catalog")
    return describe(read_catalog(conn))


def after(conn: Connection, texts: Sequence[str]) -> Described:
    with suppress(Undo), conn.transaction():
        run(conn, texts)
        found = seen(conn)
        raise Undo
    return found


def statements(script: str) -> list[str]:
    return [piece.text for piece in pieces(script) or () if piece.tag != "TransactionStmt"]


@pytest.mark.parametrize("migration", MIGRATIONS, ids=[text[:40] for text in MIGRATIONS])
def test_it_makes_what_its_migration_makes_from_any_place_in_it_and_once(
    server: Connection, migration: str
) -> None:
    baseline = write_baseline([("1", BEFORE), ("2", migration)], only={"2"})
    assert baseline.left == ()
    written = parse_script(baseline.sql)
    assert [each.refused for each in written if each.refused] == []
    script, parts = [each.text for each in written], statements(migration)
    want = after(server, parts)
    for done in range(len(parts) + 1):
        refused = ""
        try:
            with server.transaction():
                run(server, parts[:done])
                run(server, script)
                once, numbers = seen(server), server.execute(NUMBERS).fetchone()
                run(server, script)
                assert server.execute(NUMBERS).fetchone() == numbers
                assert list(map(in_words, compare(seen(server), once))) == []
                raise Undo
        except Undo:
            assert list(map(in_words, compare(once, want))) == []
        except psycopg.Error as error:
            refused = str(error)
        assert not refused or 0 < done < len(parts), refused


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Connection]:
    with scratch(find_server()) as copy:
        copy.create_database("shop")
        with copy.connect("shop") as conn:
            conn.execute(f'CREATE SCHEMA "{OWN}"; SET search_path = "{OWN}"'.encode())
            conn.execute(BEFORE.encode())
            conn.execute(ROWS.encode())
            conn.commit()
            yield conn


OWN = "The shop"


@pytest.mark.parametrize("migration", MIGRATIONS, ids=[text[:40] for text in MIGRATIONS])
def test_where_the_address_names_a_schema_the_baseline_makes_it_there(
    elsewhere: Connection, migration: str
) -> None:
    """Prisma runs the migrations with ?schema= as the search_path; the baseline always runs with public."""
    baseline = write_baseline([("1", BEFORE), ("2", migration)], only={"2"}, schema=OWN)
    assert baseline.left == ()
    script = [each.text for each in parse_script(baseline.sql)]
    parts = [f'SET LOCAL search_path = "{OWN}"', *statements(migration)]
    want = after(elsewhere, parts)
    assert list(map(in_words, compare(after(elsewhere, script), want))) == []
    both = [*parts, "SET LOCAL search_path = public", *script]
    assert list(map(in_words, compare(after(elsewhere, both), want))) == []


# Of these everything that they make is taken back; the others rename, drop, convert or set what was there.
ADDING = ('CREATE TABLE "Post"', "CREATE TABLE a", "CREATE UNIQUE INDEX place_key", "CREATE SCHEMA app",
          "DO $$ BEGIN CREATE TYPE size", "CREATE CONSTRAINT TRIGGER")  # fmt: skip
TAKEN_BACK = (
    *(text for text in MIGRATIONS if text.startswith(ADDING)),
    'ALTER TABLE "User" ADD a int, ADD b text NOT NULL DEFAULT \'x\', ADD c text[] DEFAULT ARRAY[]::text[], '
    "ADD d json DEFAULT '{}', ADD e numeric(9,3) DEFAULT 0, ADD f int GENERATED ALWAYS AS (age * 2) STORED, "
    'ADD g "Status" DEFAULT \'OLD\'; ALTER TABLE "User" ALTER b DROP DEFAULT, ALTER a SET DEFAULT 7;',
    'ALTER TABLE "User" ALTER email SET NOT NULL, ALTER email DROP DEFAULT, ALTER age SET DEFAULT 3; '
    'ALTER TABLE "Order" ALTER status DROP NOT NULL, ALTER status SET DEFAULT \'OLD\';',
    "ALTER TABLE line ADD CONSTRAINT line_pk PRIMARY KEY (id);",
    'ALTER TABLE "User" ENABLE ROW LEVEL SECURITY; CREATE POLICY theirs ON "User" USING (id > 1);',
    'CREATE TABLE c (id int PRIMARY KEY); CREATE TYPE late AS ENUM (\'a\'); ALTER TABLE c ADD COLUMN l late, '
    "ADD COLUMN u int; CREATE TABLE d (id int PRIMARY KEY); ALTER TABLE c ADD CONSTRAINT cd FOREIGN KEY (u) "
    "REFERENCES d(id); CREATE SEQUENCE ids; ALTER TABLE c ALTER u SET DEFAULT nextval('ids'); "
    "ALTER SEQUENCE ids OWNED BY c.u; CREATE INDEX c_u ON c(u); COMMENT ON TABLE c IS 'x'; GRANT SELECT ON c TO PUBLIC;"
    "CREATE FUNCTION seen(x int) RETURNS bool LANGUAGE sql AS 'SELECT true'; CREATE INDEX c_seen ON c(id) WHERE id > 1;"
    "ALTER TABLE c ADD CONSTRAINT ok CHECK (u > 0); CREATE VIEW all_c AS SELECT id FROM c;",
)  # fmt: skip


@pytest.mark.parametrize("migration", TAKEN_BACK, ids=[text[:40] for text in TAKEN_BACK])
def test_what_it_makes_is_taken_back_from_any_place_in_it(server: Connection, migration: str) -> None:
    due = parse_script(write_baseline([("1", BEFORE), ("2", migration)], only={"2"}).sql)
    for done in {0, len(due) // 2}:
        with suppress(Undo), server.transaction():
            run(server, [each.text for each in due[:done]])
            before = seen(server)
            undo = undo_of(due, read_catalog(server), database="shop", owner=None)
            run(server, [*(each.text for each in due), *undo.settings, *undo.checks, *undo.statements])
            assert list(map(in_words, compare(seen(server), before))) == [] or undo.left_over
            assert done or undo.left_over == ()
            raise Undo


@pytest.mark.parametrize("migration", MIGRATIONS, ids=[text[:40] for text in MIGRATIONS])
def test_what_is_not_taken_back_is_named(server: Connection, migration: str) -> None:
    """Whatever differs afterwards, or is refused, is of a statement that is named; no table with rows is dropped."""
    due = parse_script(write_baseline([("1", BEFORE), ("2", migration)], only={"2"}).sql)
    before = after(server, [])
    undo = undo_of(due, read_catalog(server), database="shop", owner=None)
    same = False
    with suppress(Undo, psycopg.Error), server.transaction():
        run(server, [*(each.text for each in due), *undo.settings, *undo.checks, *undo.statements])
        same = not list(compare(seen(server), before))
        raise Undo
    assert same or undo.left_over
    assert not [each for each in undo.statements if "DROP TABLE" in each and '"User"' in each]


@pytest.mark.parametrize(
    ("migration", "since", "words"),
    [
        ("CREATE TABLE t (id int)", "INSERT INTO t VALUES (1)", "public.t holds rows"),
        (
            "CREATE TABLE t (id int)",
            "INSERT INTO t VALUES (1); ALTER TABLE t ENABLE ROW LEVEL SECURITY; ALTER TABLE t FORCE ROW LEVEL SECURITY",
            "public.t holds rows",
        ),
        ("CREATE SEQUENCE s", "SELECT nextval('s')", "public.s has given values"),
        ("ALTER TABLE line ADD c int", "UPDATE line SET c = 1 WHERE id = 1", "c of public.line has values"),
        (
            "ALTER TABLE line ADD c int NOT NULL DEFAULT 0",
            "UPDATE line SET c = 1 WHERE id = 1",
            "c of public.line has values",
        ),
        ("CREATE TABLE t (id int)", "CREATE VIEW v AS SELECT * FROM t", "other objects depend on it"),
        ("CREATE TYPE e AS ENUM ('a')", "CREATE TABLE u (e e)", "other objects depend on it"),
    ],
)
def test_it_is_not_taken_back_where_something_has_come_since(
    server: Connection, migration: str, since: str, words: str
) -> None:
    due = parse_script(write_baseline([("1", BEFORE), ("2", migration)], only={"2"}).sql)
    undo = undo_of(due, read_catalog(server), database="shop", owner=None)
    texts = [*(each.text for each in due), since, *undo.settings, *undo.checks, *undo.statements]
    with pytest.raises(psycopg.Error, match=words), server.transaction():
        run(server, texts)


def test_an_undo_script_refuses_in_another_database(server: Connection) -> None:
    due = parse_script("CREATE TABLE IF NOT EXISTS t (id int)")
    undo = undo_of(due, read_catalog(server), database="store", owner="somebody")
    assert undo.settings[-1] == "SET LOCAL ROLE somebody"
    with pytest.raises(psycopg.Error, match="not the database store"), server.transaction():
        run(server, undo.settings[:1])


def test_a_conversion_of_values_is_done_once(server: Connection) -> None:
    migration = 'ALTER TABLE "Order" ALTER COLUMN price TYPE integer USING (price * 100)::integer;'
    baseline = write_baseline([("1", BEFORE), ("2", migration)], only={"2"})
    script = [each.text for each in parse_script(baseline.sql)]
    with suppress(Undo), server.transaction():
        for _ in range(2):
            run(server, script)
            prices = server.execute('SELECT price FROM public."Order" ORDER BY id').fetchall()
            assert [row["price"] for row in prices] == [125, 250]
        raise Undo


def test_what_holds_what_the_migration_forbids_is_refused(server: Connection) -> None:
    """A label that goes and is still used: PostgreSQL refuses."""
    exchange = next(text for text in MIGRATIONS if "Status_new" in text)
    baseline = write_baseline([("1", BEFORE), ("2", exchange)], only={"2"})
    script = [each.text for each in parse_script(baseline.sql)]
    with pytest.raises(psycopg.errors.InvalidTextRepresentation):
        after(server, ["UPDATE \"Order\" SET status = 'GONE'", *script])


def test_the_whole_history_makes_the_same_in_an_empty_database_and_nothing_more_on_top_of_it() -> None:
    more = (
        'ALTER TABLE "User" ADD COLUMN nick text;',
        'ALTER TABLE "User" DROP COLUMN nick; CREATE INDEX user_age ON "User"(age);',
        "ALTER TYPE mood ADD VALUE 'calm'; ALTER TABLE line ADD COLUMN note text DEFAULT 'a';",
        "ALTER TABLE line ALTER note SET DEFAULT 'b', ALTER note SET NOT NULL; DROP INDEX user_age;",
        "CREATE TABLE gone (id int); CREATE INDEX gone_idx ON gone(id);",
        "DROP TABLE gone; DROP VIEW names;",
    )
    history = [(str(number), script) for number, script in enumerate((BEFORE, *more))]
    baseline = write_baseline(history)
    assert baseline.left == ()
    script = [each.text for each in parse_script(baseline.sql)]
    with scratch(find_server()) as copy:
        for name in ("migrated", "made"):
            copy.create_database(name)
        with copy.connect("migrated") as conn, copy.connect("made") as empty:
            for _, text in history:
                conn.execute("SET search_path = public")
                conn.execute(text.encode())
            conn.commit()
            want = after(conn, [])
            assert list(map(in_words, compare(after(conn, script), want))) == []
            assert list(map(in_words, compare(after(empty, script), want))) == []
