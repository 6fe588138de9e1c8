"""A catalogue that is read again after each statement, against reading all of it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import suppress

import psycopg
import pytest

from runbooks_lib.postgres.catalog.catalog import read_catalog
from runbooks_lib.postgres.catalog.differences import describe
from runbooks_lib.postgres.catalog.watched import Watched
from runbooks_lib.postgres.scratch.programs import ServerPrograms, find_servers
from runbooks_lib.postgres.scratch.scratch import Scratch, scratch
from runbooks_lib.postgres.scratch.surroundings import Surroundings
from runbooks_lib.postgres.script.pieces import pieces

from .test_script_run import GROUND, SHOWN

PROGRAMS = {programs.major: programs for programs in reversed([*find_servers([])])}
MORE = """
CREATE SCHEMA far; CREATE TYPE far.mood AS ENUM ('SAD', 'GLAD');
CREATE DOMAIN far.short AS text CHECK (length(VALUE) < 9);
CREATE SEQUENCE far.counter;
CREATE FUNCTION far.twice(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT n * 2';
CREATE TABLE far.a (id int PRIMARY KEY DEFAULT nextval('far.counter'), m far.mood DEFAULT 'SAD', s far.short, n int,
                    CHECK (m <> 'GLAD' OR far.twice(n) > 2));
CREATE TABLE b (id int, a int REFERENCES far.a); CREATE INDEX i ON far.a (far.twice(n)) WHERE m = 'GLAD';
CREATE VIEW far.v AS SELECT * FROM far.a JOIN b USING (id);
ALTER TYPE far.mood RENAME VALUE 'SAD' TO 'BLUE'; ALTER FUNCTION far.twice RENAME TO double;
ALTER SEQUENCE far.counter RENAME TO numbers; ALTER TABLE far.a RENAME COLUMN n TO number;
ALTER SCHEMA far RENAME TO near;
ALTER TABLE near.a RENAME TO c; ALTER TYPE near.mood RENAME TO feeling; ALTER DOMAIN near.short RENAME TO brief;
ALTER TYPE near.feeling ADD VALUE 'ODD'; ALTER INDEX near.i RENAME TO j; ALTER TABLE b ADD COLUMN x int;
ALTER TABLE near.c SET (toast.autovacuum_enabled = false, fillfactor = 50);
ALTER SEQUENCE near.numbers OWNED BY near.c.id;
ALTER SEQUENCE near.numbers OWNED BY NONE; ALTER DOMAIN near.brief DROP CONSTRAINT short_check;
DROP INDEX near.j; CREATE INDEX j ON near.c (number); DROP VIEW near.v; ALTER TABLE near.c ALTER id TYPE bigint;
ALTER TABLE b DROP COLUMN x; ALTER TABLE b DROP CONSTRAINT b_a_fkey; DROP TABLE near.c CASCADE;
CREATE TABLE near.c (z int);
CREATE TABLE p (k int, w int) PARTITION BY LIST (k); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
CREATE INDEX ON p (w); ALTER TABLE p ADD COLUMN u text DEFAULT 'x'; ALTER TABLE p DETACH PARTITION p1;
ALTER TABLE p ATTACH PARTITION p1 FOR VALUES IN (2); ALTER TABLE p RENAME COLUMN w TO ww;
ALTER TABLE b SET SCHEMA near;
CREATE TABLE heir () INHERITS (near.b); CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TABLE q (x int); CREATE TRIGGER t BEFORE INSERT ON q FOR EACH ROW EXECUTE FUNCTION f();
ALTER TABLE q DISABLE TRIGGER t; ALTER TABLE q ENABLE ROW LEVEL SECURITY; CREATE POLICY y ON q USING (x > 1);
ALTER POLICY y ON q USING (x > 2); COMMENT ON COLUMN q.x IS 'x'; COMMENT ON COLUMN q.x IS NULL;
GRANT SELECT (x) ON q TO app;
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO app; CREATE TABLE r (x int PRIMARY KEY);
ALTER TABLE r OWNER TO app;
DO $$ BEGIN EXECUTE 'ALTER TABLE q RENAME TO s'; EXECUTE 'CREATE INDEX ON s (x)'; END $$;
BEGIN; SAVEPOINT one; CREATE TABLE u (x int); ROLLBACK TO one; CREATE TABLE u (y int); COMMIT; REINDEX TABLE s;
ANALYZE;
CREATE INDEX CONCURRENTLY k ON s (x); DROP OWNED BY app; DROP SCHEMA near CASCADE; VACUUM FULL s; CLUSTER s USING k;
ALTER TABLE s REPLICA IDENTITY FULL; ALTER TABLE s ALTER x SET STATISTICS 5;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
COMMENT ON SCHEMA public IS 'ours'; ALTER TABLE s ADD CONSTRAINT g CHECK (x > 0) NOT VALID;
ALTER TABLE s VALIDATE CONSTRAINT g;
CREATE STATISTICS st ON x, (x + 1) FROM s; CREATE PUBLICATION pub FOR TABLE s;
CREATE RULE l AS ON DELETE TO s DO NOTHING;
CREATE FUNCTION body() RETURNS bigint BEGIN ATOMIC SELECT count(x) FROM s; END; ALTER TABLE s RENAME COLUMN x TO xx;
CREATE EXTENSION citext; CREATE TABLE w (x citext); ALTER TABLE w RENAME TO ww; DROP EXTENSION citext CASCADE;
CREATE TABLE last (x int GENERATED ALWAYS AS IDENTITY);
"""  # fmt: skip


@pytest.fixture(params=sorted({15, 18} & PROGRAMS.keys()))
def server(request: pytest.FixtureRequest) -> Iterator[Scratch]:
    programs: ServerPrograms = PROGRAMS[request.param]
    with scratch(programs) as made:
        like = Surroundings(database="shop", roles=("postgres", "app", "boss"))
        made.create_database("shop", owner="shop_owner", like=like)
        yield made


def test_whatever_a_statement_does_is_seen(server: Scratch, monkeypatch: pytest.MonkeyPatch) -> None:
    statements = [piece.text for piece in pieces(MORE) or ()]
    whole: list[str] = []
    read_all = Watched._read_all
    monkeypatch.setattr(Watched, "_read_all", lambda self: (whole.append(""), read_all(self))[1])
    wrong, ran = [], 0
    with server.connect("shop") as conn, server.session("shop", owner="shop_owner") as session:
        watched = Watched(conn)
        for statement in statements:
            with suppress(psycopg.Error):
                session.execute(statement.encode())
                ran += 1
            if watched.read() != describe(read_catalog(conn)):
                wrong.append(statement)
    assert wrong == []
    assert (ran > len(statements) - 9, len(whole) < len(statements) / 2) == (
        True,
        True,
    )  # else it proves little


@pytest.mark.parametrize("server", [max(PROGRAMS)], indirect=True)
def test_of_every_kind_of_statement(server: Scratch) -> None:
    with server.session("shop", owner="shop_owner") as session:
        session.execute(GROUND)
    wrong, quick = [], 0
    with server.connect("shop") as conn:
        before = Watched(conn)
        before.read()
        before.read()
        for statement in filter(None, SHOWN.splitlines()):
            watched = copy.copy(before)
            watched._names, watched._parts = {**before._names}, {**before._parts}
            with conn.transaction(force_rollback=True):
                conn.execute("SET LOCAL search_path = public; SET LOCAL ROLE shop_owner")
                conn.execute(statement.encode())
                conn.execute("SET LOCAL search_path = pg_catalog; SET LOCAL ROLE NONE")
                if watched.read() != describe(read_catalog(conn)):
                    wrong.append(statement)
            quick += sum(
                watched._parts[name] is part for name, part in before._parts.items() if name in watched._parts
            )
    assert wrong == []
    assert quick > 100
