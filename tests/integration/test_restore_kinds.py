"""Kinds of objects that healthy databases have, restored from their dumps: in the same major version, and a newer."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from runbooks_lib.facts.databases import RowsDump
from runbooks_lib.postgres.catalog.catalog import Catalog, read_catalog
from runbooks_lib.postgres.catalog.differences import describe
from runbooks_lib.postgres.dump.clients import choose, find_clients
from runbooks_lib.postgres.dump.dump_script import makes_table
from runbooks_lib.postgres.rows.contents import compare_contents, read_contents
from runbooks_lib.postgres.scratch import from_npm
from runbooks_lib.postgres.scratch import restore_data as restoring
from runbooks_lib.postgres.scratch.programs import find_servers
from runbooks_lib.postgres.scratch.restore import Restored, Restores
from runbooks_lib.postgres.scratch.restore_data import restore_data
from runbooks_lib.postgres.scratch.restored_catalog import Comparison, compare_restored
from runbooks_lib.postgres.scratch.scratch import SUPERUSER, Scratch, scratch

HEALTHY = {
    "tablespace": "CREATE TABLE t (id int PRIMARY KEY USING INDEX TABLESPACE fast, n text) TABLESPACE fast;"
    " CREATE INDEX ON t (n) TABLESPACE fast; CREATE MATERIALIZED VIEW m TABLESPACE fast AS SELECT 1 AS a",
    "typed": "CREATE TYPE person AS (name text, age int); CREATE TABLE people OF person (PRIMARY KEY (name));"
    " CREATE TABLE others OF person (name WITH OPTIONS DEFAULT 'x' NOT NULL)",
    "views": "CREATE TABLE p (id int, kind varchar(5) CHECK (kind IN ('a', 'b')), s text);"
    " CREATE VIEW v AS SELECT id, kind FROM p WHERE kind IN ('a', 'b');"
    " CREATE VIEW w WITH (security_barrier) AS SELECT p.id FROM p JOIN p x USING (id) WHERE x.s LIKE 'a%';"
    " CREATE FUNCTION n() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM public.v';"
    " CREATE MATERIALIZED VIEW m AS SELECT n() AS n",
    "bodies": "CREATE TABLE t (id int); CREATE FUNCTION g() RETURNS bigint LANGUAGE sql STABLE"
    " BEGIN ATOMIC SELECT count(*) FROM t; SELECT 1; END;"
    " CREATE RULE r AS ON UPDATE TO t WHERE new.id IN (1, 2) DO INSTEAD (SELECT 1; SELECT id FROM t)",
    "domains": "CREATE FUNCTION ok(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS"
    " $$ BEGIN RETURN $1 <> ''; END $$;"
    " CREATE DOMAIN d AS text NOT NULL DEFAULT 'x' CHECK (ok(VALUE)); CREATE DOMAIN ds AS d[] DEFAULT '{y}';"
    "  CREATE TYPE r AS RANGE (subtype = float8);"
    " CREATE TYPE e AS ENUM ('a', 'b'); CREATE TYPE c AS (a d, b e); CREATE TABLE t (a d, b d[], c c, r r)",
    "events": "CREATE FUNCTION et() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'fired'; END $$;"
    " CREATE EVENT TRIGGER evt ON ddl_command_end WHEN TAG IN ('COMMENT', 'GRANT') EXECUTE FUNCTION et();"
    " CREATE TABLE t (id int)",
    "publications": "CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION pa FOR ALL TABLES;"
    " CREATE PUBLICATION pb FOR TABLE t WHERE (id > 3); CREATE PUBLICATION pc FOR TABLES IN SCHEMA public;"
    " ALTER PUBLICATION pb OWNER TO keeper; ALTER TABLE t REPLICA IDENTITY FULL",
    "partitions": "CREATE TABLE m (d date, x int, PRIMARY KEY (d, x)) PARTITION BY RANGE (d);"
    " CREATE TABLE m1 PARTITION OF m FOR VALUES FROM ('2024-01-01') TO ('2025-01-01') PARTITION BY LIST (x);"
    " CREATE TABLE m1a PARTITION OF m1 FOR VALUES IN (1, 2); CREATE INDEX ON m (x);"
    " CREATE TABLE par (a int CHECK (a > 0)); CREATE TABLE heir (b text) INHERITS (par)",
    "references": "CREATE TABLE p (id int PRIMARY KEY, up int REFERENCES p) PARTITION BY RANGE (id);"
    " CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);"
    " CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20) PARTITION BY RANGE (id);"
    " CREATE TABLE p2a PARTITION OF p2 FOR VALUES FROM (10) TO (15); CREATE TABLE p2b PARTITION OF p2 DEFAULT;"
    " CREATE TABLE c (pid int REFERENCES p ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED);"
    " CREATE TABLE d (id int, pid int, CONSTRAINT odd FOREIGN KEY (pid) REFERENCES p) PARTITION BY LIST (id);"
    " CREATE TABLE d1 (id int, pid int, CONSTRAINT mine FOREIGN KEY (pid) REFERENCES p);"
    " ALTER TABLE d ATTACH PARTITION d1 FOR VALUES IN (2); ALTER TABLE p DETACH PARTITION p1",
    "heirs": "CREATE TABLE par (a int NOT NULL DEFAULT 1, b text, CHECK (a > 0), CHECK (a < 9) NO INHERIT);"
    " CREATE TABLE kid (c int) INHERITS (par); CREATE TABLE kid2 (a int NOT NULL DEFAULT 1, d int,"
    " CONSTRAINT par_a_check CHECK (a > 0)); ALTER TABLE kid2 ADD b text; ALTER TABLE kid2 INHERIT par;"
    " CREATE TABLE grand (z int) INHERITS (kid, kid2); ALTER TABLE par ADD e int; ALTER TABLE par DROP b",
    "policies": "CREATE TABLE t (id int, who text); ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
    " CREATE POLICY p ON t TO reader USING (who IN (SELECT current_user UNION SELECT 'x'));"
    " CREATE POLICY q ON t AS RESTRICTIVE FOR INSERT WITH CHECK (id IN (1, 2))",
    "texts": "CREATE TABLE t (id int); COMMENT ON TABLE t IS E'a\\n\\\\! id\\n''; DROP TABLE t; --';"
    ' COMMENT ON COLUMN t.id IS \'it\'\'s \\. $$\'; CREATE TABLE "odd.""na\\me;" ("x y" int);'
    " COMMENT ON SCHEMA public IS 'mine'",
    "sequences": "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY (START 5 INCREMENT 2), s serial);"
    " CREATE SEQUENCE q OWNED BY t.s; ALTER SEQUENCE q CYCLE; ALTER TABLE t OWNER TO keeper",
    "privileges": "CREATE TABLE t (id int, b int); GRANT ALL ON t TO reader;"
    " GRANT SELECT (b) ON t TO keeper WITH GRANT OPTION; ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO reader;"
    " CREATE SCHEMA s AUTHORIZATION keeper; GRANT USAGE, CREATE ON SCHEMA s TO reader;"
    " CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; REVOKE ALL ON FUNCTION f() FROM PUBLIC;"
    " GRANT EXECUTE ON FUNCTION pg_catalog.pg_stat_reset() TO reader",
    "triggers": "CREATE TABLE t (a int); CREATE FUNCTION tf() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN RETURN NEW; END $$; CREATE TRIGGER tt BEFORE INSERT ON t FOR EACH ROW WHEN (NEW.a IN (1, 2))"
    " EXECUTE FUNCTION tf(); ALTER TABLE t DISABLE TRIGGER tt; CREATE PROCEDURE pr() LANGUAGE sql AS 'SELECT 1';"
    " CREATE AGGREGATE ag(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0')",
    "collations": "CREATE COLLATION german (provider = libc, locale = 'C'); CREATE TABLE t (a text COLLATE german);"
    " CREATE STATISTICS st ON a, (upper(a)) FROM t; CREATE TEXT SEARCH CONFIGURATION tc (COPY = pg_catalog.simple);"
    " SELECT lo_create(0)",
    "extensions": "CREATE SCHEMA ex; CREATE EXTENSION pg_trgm SCHEMA ex; CREATE EXTENSION citext;"
    " CREATE TABLE t (a citext UNIQUE, b text); CREATE INDEX ON t USING gin (b ex.gin_trgm_ops);"
    " COMMENT ON EXTENSION citext IS 'mine'; GRANT USAGE ON SCHEMA ex TO reader",
    "foreign": "CREATE EXTENSION postgres_fdw; CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'h');"
    " CREATE USER MAPPING FOR reader SERVER far OPTIONS (user 'x'); CREATE FOREIGN TABLE ft (a int) SERVER far;"
    " GRANT USAGE ON FOREIGN SERVER far TO reader",
}
ROLES = ("app", "keeper", "reader")
MAJORS = sorted({programs.major for programs in find_servers([])})
WAYS = [(major, to) for major in MAJORS for to in MAJORS if to >= major]


class Sources:
    """A source server for each major version found here, with a tablespace."""

    def __init__(self, servers: dict[int, Scratch], restores: Restores) -> None:
        self.servers = servers
        self.restores = restores

    def make(self, major: int, name: str, script: str) -> Catalog:
        server = self.servers[major]
        server.create_database(name, roles=ROLES)
        with server.connect(name) as conn:
            conn.execute("SET ROLE app; SET search_path = public")
            conn.execute(script.encode())
        with server.connect(name) as conn:
            return read_catalog(conn)

    def dump(self, major: int, name: str, file: Path, option: str = "--schema-only") -> Path:
        server = self.servers[major]
        address = server.cluster.address()
        connecting = {"PGPASSWORD": server.password, "PGHOST": address["host"], "PGPORT": address["port"]}
        pg_dump = str(choose(find_clients(), major).pg_dump)
        command = [pg_dump, option, f"--file={file}", f"--username={SUPERUSER}", name]
        subprocess.run(command, env={**os.environ, **connecting}, check=True)
        return file

    def restore(self, file: Path, to: int) -> Restored:
        return self.restores.restore_schema(file, server_major=to, roles=ROLES)


@pytest.fixture(scope="module")
def sources() -> Iterator[Sources]:
    with ExitStack() as stack:
        servers = {}
        for programs in find_servers([]):
            if programs.major not in servers:
                server = servers[programs.major] = stack.enter_context(scratch(programs))
                with server.connect("template1") as conn:
                    conn.execute("CREATE ROLE app SUPERUSER")
                    conn.execute("SET allow_in_place_tablespaces = on")
                    conn.execute("CREATE TABLESPACE fast LOCATION ''")
        yield Sources(servers, stack.enter_context(Restores()))


@pytest.mark.parametrize("kind", HEALTHY)
@pytest.mark.parametrize(("major", "to"), WAYS)
def test_a_healthy_database_comes_back(
    sources: Sources, tmp_path: Path, major: int, to: int, kind: str
) -> None:
    catalog = sources.make(major, f"{kind}_{to}", HEALTHY[kind])
    restored = sources.restore(sources.dump(major, f"{kind}_{to}", tmp_path / "dump.sql"), to)
    found = compare_restored(restored, catalog, source_major=major)
    assert (found.differing, found.not_judged, restored.outcome.left_out) == ((), (), ())
    assert not restored.outcome.path_set
    respelt = kind == "policies" or (
        kind == "views" and major < 16 <= to
    )  # since 16 views name fewer columns
    assert bool(found.respelt) is respelt, found.respelt


CHANGED = (
    ("((id > 3))", "((id > 4))"),
    ("ADD CONSTRAINT t_pkey PRIMARY KEY (id)", "ADD CONSTRAINT t_pkey UNIQUE (id)"),
    ("CREATE VIEW public.v AS\n SELECT", "CREATE VIEW public.v AS\n SELECT DISTINCT"),
    ("\n   FROM public.t\n", "\n   FROM ONLY public.t\n"),
    ("USING ((who", "USING ((NOT who"),
    ("'x'::name)))", "'x'::name)) AND true)"),
    ("REPLICA IDENTITY FULL", "REPLICA IDENTITY DEFAULT"),
    ("GRANT SELECT ON TABLE public.t TO reader", "SELECT 1"),
    ("OWNER TO keeper", "OWNER TO reader"),
)


@pytest.mark.parametrize(("major", "to"), WAYS)
def test_what_the_dump_has_otherwise_is_named(sources: Sources, tmp_path: Path, major: int, to: int) -> None:
    """Also where another major version prints it otherwise, and where PostgreSQL respells it."""
    script = (
        "CREATE TABLE t (id int PRIMARY KEY, who text); CREATE VIEW v AS SELECT id, who FROM t WHERE who IN ('a', 'b');"
        " CREATE POLICY p ON t USING (who IN (SELECT current_user UNION SELECT 'x'));"
        " ALTER TABLE t REPLICA IDENTITY FULL; CREATE PUBLICATION pb FOR TABLE t WHERE (id > 3);"
        " GRANT SELECT ON t TO reader; ALTER VIEW v OWNER TO keeper"
    )
    catalog = sources.make(major, f"changed_{to}", script)
    file = sources.dump(major, f"changed_{to}", tmp_path / "dump.sql")
    text = file.read_text()
    before = compare_restored(sources.restore(file, to), catalog, source_major=major)
    assert (before.differing, before.not_judged) == ((), ())
    for dumped, instead in CHANGED:
        assert dumped in text
        file.write_text(text.replace(dumped, instead))
        assert compare_restored(sources.restore(file, to), catalog, source_major=major).differing, instead


@pytest.mark.parametrize("major", MAJORS)
def test_no_object_belongs_to_the_superuser_that_a_server_was_born_with(sources: Sources, major: int) -> None:
    """Every server has another one: what PostgreSQL makes in its name, for range types, is not compared."""
    script = (
        "CREATE TYPE r AS RANGE (subtype = float8, multirange_type_name = mr); CREATE TABLE t (a r, b mr)"
    )
    described = describe(sources.make(major, f"born_{major}", script))
    assert ("type", "public.r") in described
    kinds = {kind for (kind, _), value in described.items() if SUPERUSER in str(value)}
    assert kinds <= {"schema", "database"}


NOT_JUDGED = {
    "a function in C": (
        "CREATE FUNCTION cfun(int) RETURNS int LANGUAGE internal IMMUTABLE STRICT AS 'int4abs';"
        " COMMENT ON FUNCTION cfun(int) IS 'x'; CREATE TABLE t (id int)",
        {"function"},
    ),
    "an operator class": (
        "CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq); CREATE OPERATOR CLASS oc FOR TYPE int"
        " USING hash AS OPERATOR 1 ===(int, int), FUNCTION 1 hashint4(int); CREATE TABLE t (id int)",
        {"operator class", "operator family"},
    ),
    "a cast between built-in types": (
        "CREATE FUNCTION bd(bigint) RETURNS date LANGUAGE sql IMMUTABLE AS 'SELECT current_date';"
        " CREATE CAST (bigint AS date) WITH FUNCTION bd(bigint); CREATE TABLE t (id int)",
        {"cast"},
    ),
}


@pytest.mark.parametrize("case", NOT_JUDGED)
def test_what_needs_a_superuser_is_named_and_never_part_of_a_pass(
    sources: Sources, tmp_path: Path, case: str
) -> None:
    script, kinds = NOT_JUDGED[case]
    major = MAJORS[-1]
    name = f"super_{list(NOT_JUDGED).index(case)}"
    catalog = sources.make(major, name, script)
    restored = sources.restore(sources.dump(major, name, tmp_path / "dump.sql"), major)
    found = compare_restored(restored, catalog, source_major=major)
    assert found.differing == ()
    assert kinds <= {difference.key[0] for difference in found.not_judged}
    assert restored.outcome.left_out
    assert not any(makes_table(each.statement) for each in restored.outcome.left_out)
    lost = replace(restored, catalog=replace(restored.catalog, relations={}))
    without_tables = compare_restored(lost, catalog, source_major=major)
    assert ("relation", "public.t") in {difference.key for difference in without_tables.differing}


@pytest.mark.skipif(15 not in MAJORS or 18 not in MAJORS, reason="only the wheel's server is here")
@pytest.mark.parametrize("to", [15, 18])
def test_functions_that_find_others_by_search_path_alone_are_named(
    sources: Sources, tmp_path: Path, to: int
) -> None:
    """PostgreSQL 17 and later do not make such an index any more; older databases have them."""
    script = (
        "CREATE FUNCTION inside(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT $1 <> '' $$;"
        " CREATE FUNCTION ok(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT inside($1) $$;"
        " CREATE TABLE t (a text CHECK (ok(a)), g boolean GENERATED ALWAYS AS (ok(a)) STORED);"
        " CREATE INDEX ON t (ok(a))"
    )
    catalog = sources.make(15, f"paths_{to}", script)
    restored = sources.restore(sources.dump(15, f"paths_{to}", tmp_path / "dump.sql"), to)
    assert restored.outcome.path_set
    assert restored.outcome.left_out == ()
    assert compare_restored(restored, catalog, source_major=15) == Comparison()


@pytest.mark.skipif(15 not in MAJORS or 18 not in MAJORS, reason="only the wheel's server is here")
@pytest.mark.parametrize("to", [15, 18])
def test_rows_come_back_through_functions_that_need_a_path_and_without_what_needs_a_superuser(
    sources: Sources, tmp_path: Path, to: int
) -> None:
    script = (
        "CREATE FUNCTION inside(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT $1 <> '' $$;"
        " CREATE FUNCTION ok(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT inside($1) $$;"
        " CREATE TABLE t (a text CHECK (ok(a)), g boolean GENERATED ALWAYS AS (ok(a)) STORED);"
        " INSERT INTO t VALUES ('x'); CREATE INDEX ON t (ok(a)); CREATE TABLE hidden (id int);"
        " ALTER TABLE hidden ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; INSERT INTO hidden VALUES (1);"
        " CREATE FUNCTION cf(int) RETURNS int LANGUAGE internal IMMUTABLE STRICT AS 'int4abs';"
        " CREATE INDEX ON hidden (cf(id)); SELECT lo_from_bytea(0, 'abc')"
    )
    sources.make(15, f"rows_{to}", script)
    folder = sources.dump(15, f"rows_{to}", tmp_path / "dump", "--format=directory")
    restored = restore_data(folder, server_major=to, roles=ROLES, database_bytes=0)
    assert restored.path_set
    assert {name: rows for name, (rows, _) in restored.contents.tables.items()} == {
        "public.t": 1, "public.hidden": 1, "large objects": 1,
    }  # fmt: skip


@pytest.mark.parametrize(("major", "to"), WAYS)
@pytest.mark.parametrize("other", [False, True])
def test_rows_of_an_heir_come_back_though_its_columns_have_other_places(
    sources: Sources, tmp_path: Path, major: int, to: int, other: bool
) -> None:
    script = (
        "CREATE TABLE par (a int); CREATE TABLE heir (b int) INHERITS (par); ALTER TABLE par ADD c int;"
        " INSERT INTO heir VALUES (1, 2, 3); CREATE TABLE empty ()"
    )
    name = f"heirs_{major}_{to}_{other}".lower()
    sources.make(major, name, script)
    folder = sources.dump(major, name, tmp_path / "dump", "--format=directory")
    with sources.servers[major].connect(name) as conn:
        if other:  # the same values, in the order in which they would be restored
            conn.execute("UPDATE public.heir SET b = 3, c = 2")
        dumped = read_contents(conn)
    restored = restore_data(folder, server_major=to, roles=ROLES, database_bytes=0)
    source = RowsDump(path="", files=0, size_bytes=0, sha256="", complete=True, tables=dict(dumped.tables))
    found = list(compare_contents(restored.contents, source))
    assert found == (["public.heir: other rows of the same number"] if other else [])


@pytest.mark.skipif(15 not in MAJORS or 18 not in MAJORS, reason="only the wheel's server is here")
def test_rows_are_restored_where_the_clients_at_hand_can_restore_them(
    sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Client programs of 18 alone, and servers of 15 and 18: pg_restore sets what a server of 15 does not know."""
    newest = [client for client in find_clients() if client.major == 18]
    monkeypatch.setitem(globals(), "find_clients", lambda: newest)
    monkeypatch.setattr(restoring, "find_clients", lambda: newest)
    sources.make(15, "newer_client", "CREATE TABLE t (id int); INSERT INTO t VALUES (1)")
    folder = sources.dump(15, "newer_client", tmp_path / "dump", "--format=directory")
    restored = restore_data(folder, server_major=15, roles=ROLES, database_bytes=0)
    assert restored.server_version.startswith("18.")
    assert restored.contents.tables["public.t"][0] == 1


@pytest.mark.skipif(15 not in MAJORS or 18 not in MAJORS, reason="only the wheel's server is here")
@pytest.mark.parametrize("needed", [True, False])
def test_an_extension_that_is_not_installed_here(
    sources: Sources, tmp_path: Path, needed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wheel has no pgcrypto: what does not need it is judged, a table that needs it is lost."""
    monkeypatch.setattr(from_npm, "cached", lambda project, room: tmp_path)  # where npm has installed nothing
    default = " DEFAULT crypt('x', 'y')" if needed else ""
    script = f"CREATE EXTENSION pgcrypto; CREATE TABLE t (a text{default}); CREATE INDEX i ON t (a)"
    catalog = sources.make(15, f"lacking_{needed}".lower(), script)
    restored = sources.restore(sources.dump(15, f"lacking_{needed}".lower(), tmp_path / "dump.sql"), 18)
    found = compare_restored(restored, catalog, source_major=15)
    assert found.differing == ()
    assert ("extension", "pgcrypto") in {difference.key for difference in found.not_judged}
    lost = [each for each in restored.outcome.left_out if makes_table(each.statement)]
    assert bool(lost) is needed
    assert ("public.i" in restored.catalog.indexes) is not needed
