"""What scripts make, found out in a real scratch database; each call starts one (some 0.2 s)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import psycopg
import pytest

from runbooks_lib.errors import MigrationError, PreconditionFailed
from runbooks_lib.names import parts
from runbooks_lib.postgres.catalog.catalog import Value, read_catalog
from runbooks_lib.postgres.catalog.differences import Described, describe, field
from runbooks_lib.postgres.dump.clients import choose, find_clients
from runbooks_lib.postgres.scratch import from_npm
from runbooks_lib.postgres.scratch.programs import find_server, find_servers
from runbooks_lib.postgres.scratch.scratch import SUPERUSER, scratch
from runbooks_lib.postgres.scratch.surroundings import Surroundings

from .expected import Expected, expect

MAJOR = find_server().major
OWNER = "Shop Owner"
FIRST = """
CREATE TYPE "Status" AS ENUM ('NEW', 'OLD');
CREATE TABLE orders (id int PRIMARY KEY, status "Status" NOT NULL DEFAULT 'NEW', amount numeric CHECK (amount > 0));
CREATE TABLE lines (id serial PRIMARY KEY, "order" int REFERENCES orders ON DELETE CASCADE);
CREATE VIEW recent AS SELECT id FROM orders;
"""
SECOND = """
ALTER TABLE orders ADD COLUMN note text;
CREATE UNIQUE INDEX lines_order_key ON lines ("order");
DROP VIEW recent;
"""
THIRD = "DROP TABLE lines; -- and with it what SECOND made\n"


def made_by(*scripts: str, of: str | None = None, roles: tuple[str, ...] = ()) -> Expected:
    named = [(str(number), script) for number, script in enumerate(scripts, start=1)]
    return expect(
        named, owner=OWNER, server_major=MAJOR, of=of, like=Surroundings(database="shop", roles=roles)
    )


def columns(described: Described) -> list[tuple[Value, Value]]:
    """Return name and type of each column of public.orders."""
    value = described["columns", "public.orders"]
    assert isinstance(value, tuple)
    return [(field(column, "name"), field(column, "type")) for column in value]


def test_a_script_makes_every_kind_of_object_as_its_owner() -> None:
    found = made_by(FIRST)
    assert set(found.made) == {
        *(("relation", f"public.{name}") for name in ("orders", "lines", "lines_id_seq", "recent")),
        *(("columns", f"public.{name}") for name in ("orders", "lines", "recent")),
        ("constraint", "public.orders.orders_pkey"),
        ("constraint", "public.orders.orders_amount_check"),
        ("constraint", "public.lines.lines_pkey"),
        ("constraint", "public.lines.lines_order_fkey"),
        ("index", "public.orders_pkey"),
        ("index", "public.lines_pkey"),
        ("enum", "public.Status"),
        ("sequence", "public.lines_id_seq"),
        ("view", "public.recent"),
    }
    assert found.made["enum", "public.Status"] == (("owner", OWNER), ("labels", ("NEW", "OLD")))
    assert field(found.made["relation", "public.orders"], "owner") == OWNER
    assert "ON DELETE CASCADE" in str(
        field(found.made["constraint", "public.lines.lines_order_fkey"], "definition")
    )
    assert (found.before, found.removed, found.gone) == ({}, frozenset(), frozenset())
    assert found.stands == found.made
    assert found.server_version.startswith(str(MAJOR))


def test_only_what_the_last_one_changes_is_its_own() -> None:
    found = made_by(FIRST, SECOND)
    assert set(found.made) == {("columns", "public.orders"), ("index", "public.lines_order_key")}
    assert ("note", "text") in columns(found.made)
    assert set(found.before) == {
        ("columns", "public.orders"),
        *((kind, "public.recent") for kind in ("relation", "columns", "view")),
    }
    assert ("note", "text") not in columns(found.before)
    assert ("view", "public.recent") in found.removed
    assert found.removed == found.gone
    assert ("relation", "public.lines") in found.stands
    assert ("view", "public.recent") not in found.stands


def test_one_in_the_middle_and_what_became_of_it() -> None:
    found = made_by(FIRST, SECOND, THIRD, of="2")
    assert set(found.made) == {("columns", "public.orders"), ("index", "public.lines_order_key")}
    assert ("index", "public.lines_order_key") not in found.stands
    assert {
        ("index", "public.lines_order_key"),
        ("relation", "public.lines"),
        ("view", "public.recent"),
    } < found.gone
    assert ("note", "text") in columns(found.stands)


def test_what_one_makes_and_a_later_one_renames_is_gone_under_its_old_name() -> None:
    found = made_by("CREATE TABLE a (x int)", "ALTER TABLE a RENAME TO b", "CREATE TABLE c ()")
    assert found.gone == {("relation", "public.a"), ("columns", "public.a")}
    assert {name for _, name in found.stands} == {"public.b", "public.c"}


@pytest.mark.parametrize("scripts", [(), ("",), ("-- This is an empty migration.\n",), ("SELECT '100%'",)])
def test_scripts_that_make_nothing(scripts: tuple[str, ...]) -> None:
    found = made_by(*scripts)
    assert (found.made, found.stands, found.removed) == ({}, {}, frozenset())


def test_data_blocks_and_their_own_transactions_run_as_in_prisma() -> None:
    found = made_by(
        "CREATE TABLE a (x int); INSERT INTO a VALUES (1);",
        "DO $$ BEGIN IF EXISTS (SELECT FROM a) THEN CREATE TABLE b (); END IF; END $$;",
        "BEGIN; CREATE TABLE c (); COMMIT; BEGIN; CREATE TABLE d (); ROLLBACK;",
        "CREATE INDEX CONCURRENTLY a_idx ON a (x)",
        "CREATE SCHEMA IF NOT EXISTS public; SET search_path = pg_catalog",
        "CREATE TABLE e ()",
    )
    names = {name for kind, name in found.stands if kind in ("relation", "index")}
    assert names == {"public.a", "public.a_idx", "public.b", "public.c", "public.e"}


def test_grants_to_roles_that_the_target_has() -> None:
    script = "CREATE TABLE a (); GRANT SELECT ON a TO reports"
    found = made_by(script, roles=("reports", "postgres", OWNER))
    assert found.made["privileges", "public.a"] == (("privileges", (("reports", "SELECT", False),)),)
    with pytest.raises(
        MigrationError, match=r'1 does not run in an empty PostgreSQL .*role "reports"'
    ) as caught:
        made_by(script)
    assert caught.value.sqlstate == "42704"


def test_a_script_that_does_not_run_is_named_with_postgres_words() -> None:
    with pytest.raises(
        MigrationError, match=r'^2 does not run .*relation "nowhere" does not exist'
    ) as caught:
        made_by(FIRST, "ALTER TABLE nowhere ADD COLUMN x int", SECOND)
    assert isinstance(caught.value.__cause__, psycopg.Error)


def test_no_server_programs_that_are_new_enough() -> None:
    with pytest.raises(PreconditionFailed, match="No PostgreSQL server programs of version 99 or newer"):
        expect([("1", FIRST)], owner=OWNER, server_major=99, like=Surroundings(database="shop"))


# --- what scripts need and do not make: from a copy of the target --------------------------------------------------

THEIRS = """
CREATE SCHEMA auth;
CREATE TYPE auth.level AS ENUM ('LOW', 'HIGH');
CREATE TABLE auth.users (id uuid PRIMARY KEY, level auth.level);
CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql AS 'SELECT NULL::uuid';
CREATE TABLE auth.audit (id int);
"""
GIVEN = "ALTER SCHEMA auth OWNER TO supabase_admin; ALTER TABLE auth.users OWNER TO supabase_admin;"
OURS = (
    'CREATE TYPE "Kind" AS ENUM (\'A\'); CREATE TABLE profiles (id uuid PRIMARY KEY REFERENCES auth.users, '
    'kind "Kind");'
    "CREATE SEQUENCE ticket; CREATE VIEW mine AS SELECT id FROM profiles WHERE id = auth.uid();",
    "ALTER TABLE auth.users ADD COLUMN nick text; CREATE INDEX users_nick ON auth.users (nick);"
    "CREATE FUNCTION greet() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;"
    "CREATE TRIGGER greets AFTER INSERT ON auth.users FOR EACH ROW EXECUTE FUNCTION greet();",
    "ALTER TABLE profiles RENAME TO people; CREATE POLICY own ON auth.users USING (id = auth.uid());"
    "INSERT INTO people VALUES ('00000000-0000-0000-0000-000000000001', 'A');"
    "ALTER TABLE auth.users ADD CONSTRAINT nicked CHECK (nick <> '');",
)  # fmt: skip


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dump of a database that has the schema of somebody else and all that the scripts make."""
    file = tmp_path_factory.mktemp("dump") / "shop.sql"
    with scratch() as server:
        server.create_database("shop", owner=OWNER, roles=("supabase_admin",))
        server.run("shop", f"{THEIRS} {GIVEN}".encode(), owner=OWNER)
        with server.connect("shop") as conn:
            conn.execute(
                "ALTER DATABASE shop SET session_replication_role = replica"
            )  # nobody is in auth.users
        for script in OURS:
            server.run("shop", script.encode(), owner=OWNER)
        client = choose(find_clients(), MAJOR)
        address = server.cluster.address()
        command = [str(client.pg_dump), "--schema-only", f"--file={file}", f"--username={SUPERUSER}", "shop"]
        environment = {"PGPASSWORD": server.password, "PGHOST": address["host"], "PGPORT": address["port"]}
        subprocess.run(command, env={**os.environ, **environment}, check=True)
    return file


def test_what_scripts_need_is_taken_from_a_copy_without_what_they_make(dump: Path) -> None:
    like = Surroundings(database="shop", roles=(OWNER, "supabase_admin"))
    named = [(str(number), script) for number, script in enumerate(OURS, start=1)]
    with pytest.raises(
        MigrationError, match=r'1 does not run in an empty .*schema "auth" does not exist'
    ) as caught:
        expect(named, owner=OWNER, server_major=MAJOR, like=like)
    assert "backup.targets" in caught.value.what_to_do
    found = expect(named, owner=OWNER, server_major=MAJOR, like=like, dump=dump, of="2")
    assert found.borrowed == (("function", "auth.uid()"), ("relation", "auth.users"))
    assert {
        ("columns", "auth.users"),
        ("index", "auth.users_nick"),
        ("function", "public.greet()"),
        ("trigger", "auth.users.greets"),
    } <= set(found.made)
    stands = {name for _, name in found.stands}
    mine = {"public.people", "public.Kind", "public.ticket", "public.mine"}
    assert {*mine, "auth.users.own", "auth.users.nicked"} <= stands
    assert "public.profiles" in {name for _, name in found.gone}
    assert not {name for kind, name in found.stands if kind == "relation" and name.startswith("auth")}
    assert found.ran["3"].unjudged[0].words == "line 1 INSERT people (rows)"


def test_what_the_copy_does_not_have_either_is_named(dump: Path) -> None:
    like = Surroundings(database="shop", roles=(OWNER, "supabase_admin"))
    for lacking, hint in (("storage.t", ""), ("public.geometry", "The extension postgis has it")):
        script = f"CREATE TABLE b (id int);\nCREATE TABLE a (x {lacking})"
        refused = (
            r"1 does not run in a copy of the target's schema, .*does not exist.*\(line 2: CREATE TABLE a\)"
        )
        with pytest.raises(MigrationError, match=refused) as caught:
            expect([("1", script)], owner=OWNER, server_major=MAJOR, like=like, dump=dump)
        assert hint in caught.value.what_to_do


# --- extensions and roles ------------------------------------------------------------------------------------------


def test_extensions_are_made_whoever_may_make_them() -> None:
    found = made_by(
        "CREATE EXTENSION citext; CREATE TABLE a (x citext);",
        "CREATE EXTENSION pg_stat_statements; CREATE EXTENSION IF NOT EXISTS pageinspect WITH SCHEMA public;",
        "CREATE SCHEMA x; CREATE EXTENSION cube SCHEMA x; CREATE EXTENSION earthdistance; -- which requires cube\n",
    )
    schemas = {
        parts(name)[-1]: field(value, "schema")
        for (kind, name), value in found.stands.items()
        if kind == "extension"
    }
    public = dict.fromkeys(("citext", "pg_stat_statements", "pageinspect", "earthdistance"), "public")
    assert schemas == {**public, "cube": "x"}
    assert [one for ran in found.ran.values() for one in ran.unjudged] == []


@pytest.mark.parametrize("major", [15, MAJOR])
def test_what_an_extension_made_belongs_to_whichever_superuser_its_server_has(major: int) -> None:
    """Views, tables and composite types of extensions; what the script makes itself belongs to its owner."""
    if not any(programs.major == major for programs in find_servers([])):
        pytest.skip(f"no PostgreSQL {major} here")
    script = "CREATE EXTENSION pg_stat_statements; CREATE EXTENSION tablefunc; CREATE TABLE a (x int)"
    programs = next(each for each in find_servers([]) if each.major == major)
    with scratch(programs) as target:
        target.create_database("shop", roles=("dba", OWNER))
        with target.connect("shop") as conn:
            conn.execute("ALTER ROLE dba SUPERUSER; SET ROLE dba; SET search_path = public")
            conn.execute(script.encode())
        with target.connect("shop") as conn:
            theirs = describe(read_catalog(conn))
    like = Surroundings(database="shop", roles=("dba",))
    made = expect([("1", script)], owner=OWNER, server_major=major, like=like).stands
    assert ("relation", "public.pg_stat_statements") in made
    assert {key for key, value in made.items() if theirs.get(key) != value} == {("relation", "public.a")}


def test_what_the_target_has_installed_is_there() -> None:
    like = Surroundings(database="shop", extensions=(("hstore", "extensions"), ("nowhere", "public")))
    found = expect(
        [("1", "CREATE TABLE a (x extensions.hstore)")], owner=OWNER, server_major=MAJOR, like=like
    )
    assert ("relation", "public.a") in found.stands
    assert [key for key in found.stands if key[0] in ("extension", "schema")] == []


@pytest.mark.parametrize(("name", "comes_from"), [("uuid-ossp", "contrib"), ("pgmq", "own packages")])
def test_an_extension_that_is_not_here_is_named_with_what_provides_it(
    name: str, comes_from: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(from_npm, "cached", lambda project, room: tmp_path)  # where npm has installed nothing
    with pytest.raises(MigrationError, match=rf"2 does not run here: it makes {name}") as caught:
        made_by(FIRST, f'CREATE EXTENSION IF NOT EXISTS "{name}"')
    assert comes_from in caught.value.what_to_do
    assert "RUNBOOKS_SCRATCH_SERVICE" in caught.value.what_to_do


@pytest.mark.parametrize("major", [15, MAJOR])
def test_roles_that_scripts_make_are_there_and_not_judged(major: int) -> None:
    if not any(programs.major == major for programs in find_servers([])):
        pytest.skip(f"no PostgreSQL {major} here")
    script = (
        "CREATE ROLE reporting NOLOGIN PASSWORD 'secret';\n"
        "CREATE TABLE a (); ALTER TABLE a OWNER TO app; GRANT SELECT ON a TO reporting;\n"
        "GRANT reporting TO app; ALTER ROLE reporting SET work_mem = '1GB';\n"
        "GRANT CONNECT ON DATABASE shop TO reporting;\n"
        "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') THEN CREATE ROLE app; END IF; END $$;"
    )
    like = Surroundings(database="shop", roles=(OWNER, "app", "reporting"))
    found = expect([("1", script)], owner=OWNER, server_major=major, like=like)
    assert found.server_version.startswith(str(major))
    assert [one.line for one in found.ran["1"].unjudged] == [1, 3, 3, 5]
    assert "secret" not in str(found.ran)
    assert field(found.made["relation", "public.a"], "owner") == "app"


@pytest.mark.parametrize("schema", ["app", "My Shop", 'odd"\\one'])
def test_names_without_a_schema_lead_where_prismas_address_says(schema: str) -> None:
    scripts = [("1", "CREATE TABLE a (x int)"), ("2", "SET search_path = public; CREATE TABLE b ()")]
    scripts.append(("3", "CREATE INDEX i ON a (x)"))
    like = Surroundings(database="shop")
    found = expect(scripts, owner=OWNER, server_major=MAJOR, like=like, schema=schema)
    names = {parts(name) for kind, name in found.stands if kind in ("relation", "index")}
    assert names == {(schema, "a"), ("public", "b"), (schema, "i")}
    assert [kind for kind, _ in found.stands if kind == "schema"] == []
