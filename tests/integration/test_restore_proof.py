"""The restore proof: equal where PostgreSQL only respells, different where anything really differs."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.findings import Answer, Verdict
from runbooks_lib.phase import load_phase
from runbooks_lib.postgres.catalog.catalog import Catalog, read_catalog
from runbooks_lib.postgres.catalog.differences import differences
from runbooks_lib.postgres.dump.clients import choose, find_clients
from runbooks_lib.postgres.scratch.restore import Restored, Restores, restore_into
from runbooks_lib.postgres.scratch.scratch import SUPERUSER, Scratch, scratch
from runbooks_lib.postgres.session.connect import Connection, Sessions
from runbooks_lib.steps import backup

PHASE = load_phase("PH15-AMAZON-DB-FOUNDATION-01")

# What PostgreSQL respells on its way through a dump, and one of each kind of object.
RICH = """
CREATE TYPE status AS ENUM ('NEW', 'PAID', 'VOID');
CREATE DOMAIN email AS text CHECK (VALUE ~ '@');
CREATE TYPE pair AS (a int, b text);
CREATE SEQUENCE counter START 7 INCREMENT 3;
CREATE TABLE "Parent" (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind varchar(10) NOT NULL DEFAULT 'a' CHECK (kind IN ('a', 'b', 'c''d')),
    state status NOT NULL DEFAULT 'NEW',
    mail email,
    amount numeric(12,2) DEFAULT 0 CHECK (amount NOT IN (1, 2)),
    doubled numeric GENERATED ALWAYS AS (amount * 2) STORED,
    tags text[] DEFAULT ARRAY['x', 'y']::varchar[],
    name text COLLATE "C"
);
CREATE TABLE child (
    id int PRIMARY KEY,
    parent bigint REFERENCES "Parent" (id) ON DELETE CASCADE,
    at timestamptz(3) DEFAULT now(),
    UNIQUE (parent, at)
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX "Parent_name" ON "Parent" (lower(name)) WHERE kind IN ('a', 'b');
CREATE INDEX child_at ON child USING brin (at);
CREATE VIEW seen AS SELECT id, kind FROM "Parent" WHERE kind NOT IN ('a', 'z') AND state IN ('NEW', 'PAID');
CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n FROM child;
CREATE TABLE parted (d date, x int) PARTITION BY RANGE (d);
CREATE TABLE parted_2024 PARTITION OF parted FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.at := now(); RETURN NEW; END $$;
CREATE TRIGGER stamp BEFORE UPDATE ON child FOR EACH ROW EXECUTE FUNCTION stamp();
ALTER TABLE child ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON child USING (parent IN (1, 2));
COMMENT ON TABLE child IS 'of a parent';
COMMENT ON COLUMN child.at IS 'when';
GRANT SELECT ON child TO reader;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO reader;
"""

# One real difference each; none of them changes a name that another needs.
# ruff: noqa: E501
MUTATIONS = (
    "ALTER TABLE \"Parent\" ALTER kind SET DEFAULT 'b'",
    'ALTER TABLE "Parent" ALTER kind DROP NOT NULL',
    'ALTER TABLE "Parent" ALTER mail TYPE text',
    'ALTER TABLE "Parent" ADD extra int',
    'ALTER TABLE "Parent" DROP name CASCADE',
    'ALTER TABLE "Parent" DROP CONSTRAINT "Parent_kind_check", ADD CONSTRAINT "Parent_kind_check" CHECK (kind IN (\'a\', \'b\'))',
    "ALTER TABLE \"Parent\" ALTER tags SET DEFAULT ARRAY['x', 'z']::varchar[]",
    'ALTER TABLE "Parent" OWNER TO reader',
    "ALTER TYPE status ADD VALUE 'LOST'",
    "ALTER TYPE status RENAME VALUE 'NEW' TO 'FRESH'",
    "ALTER DOMAIN email SET NOT NULL",
    "ALTER TYPE pair ADD ATTRIBUTE c int",
    "ALTER SEQUENCE counter INCREMENT 4",
    "DROP INDEX child_at",
    "DROP INDEX child_at; CREATE INDEX child_at ON child (at)",
    'DROP INDEX "Parent_name"; CREATE UNIQUE INDEX "Parent_name" ON "Parent" (lower(name)) WHERE kind IN (\'a\', \'c\')',
    'ALTER TABLE child DROP CONSTRAINT child_parent_fkey, ADD CONSTRAINT child_parent_fkey FOREIGN KEY (parent) REFERENCES "Parent" (id)',
    "ALTER TABLE child DROP CONSTRAINT child_parent_at_key",
    "ALTER TABLE child SET (fillfactor = 80)",
    "ALTER TABLE child SET UNLOGGED",
    "ALTER TABLE child DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE child DISABLE TRIGGER stamp",
    "CREATE OR REPLACE VIEW seen AS SELECT id, kind FROM \"Parent\" WHERE kind NOT IN ('b', 'z') AND state IN ('NEW', 'PAID')",
    "DROP MATERIALIZED VIEW counted",
    "CREATE OR REPLACE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
    "DROP POLICY mine ON child; CREATE POLICY mine ON child USING (parent IN (1, 3))",
    "ALTER TABLE parted DETACH PARTITION parted_2024; ALTER TABLE parted ATTACH PARTITION parted_2024 FOR VALUES FROM ('2024-01-01') TO ('2025-01-02')",
    "COMMENT ON COLUMN child.at IS 'then'",
    "REVOKE SELECT ON child FROM reader",
    "GRANT UPDATE ON child TO reader",
    "ALTER DEFAULT PRIVILEGES FOR ROLE keeper IN SCHEMA public REVOKE SELECT ON TABLES FROM reader",
    "CREATE SCHEMA other AUTHORIZATION keeper",
)


@pytest.fixture(scope="module")
def server() -> Iterator[Scratch]:
    """A source server of our own, with the rich schema in database `rich`."""
    with scratch() as copy:
        copy.create_database("rich", roles=("reader",), owner="keeper")
        copy.run("rich", RICH.encode(), owner="keeper")
        yield copy


def catalog_of(server: Scratch, database: str) -> Catalog:
    with server.connect(database) as conn:
        return read_catalog(conn).dumped()


def dump_of(server: Scratch, database: str, file: Path) -> Path:
    client = choose(find_clients(), server.cluster.programs.major)
    environment = {
        "PGPASSWORD": server.password,
        "PGHOST": server.cluster.address()["host"],
        "PGPORT": server.cluster.address()["port"],
    }
    subprocess.run(
        [str(client.pg_dump), "--schema-only", f"--file={file}", f"--username={SUPERUSER}", database],
        env={**os.environ, **environment},
        check=True,
    )
    return file


def restore_schema(file: Path, *, server_major: int, roles: tuple[str, ...]) -> Restored:
    with Restores() as restores:
        return restores.restore_schema(file, server_major=server_major, roles=roles)


def test_a_rich_schema_restores_to_its_source(server: Scratch, tmp_path: Path) -> None:
    source = catalog_of(server, "rich")
    restored = restore_schema(
        dump_of(server, "rich", tmp_path / "rich.sql"),
        server_major=server.cluster.programs.major,
        roles=("keeper", "reader"),
    )
    assert differences(restored.catalog.dumped(), source) == ()
    assert restored.catalog.dumped().fingerprint() == source.fingerprint()


def test_twice_through_a_dump_is_once(server: Scratch, tmp_path: Path) -> None:
    """The respelling is real: the texts differ, the fingerprints do not."""
    with server.connect("rich") as conn:
        text = "SELECT pg_get_constraintdef(oid) AS d FROM pg_constraint WHERE conname = 'Parent_kind_check'"
        here = conn.execute(text).fetchone()
    restore_into(server, dump_of(server, "rich", tmp_path / "rich.sql"), "again", roles=("keeper", "reader"))
    with server.connect("again") as conn:
        there = conn.execute(text).fetchone()
    assert here != there
    assert catalog_of(server, "again").fingerprint() == catalog_of(server, "rich").fingerprint()


@settings(deadline=None, max_examples=6, suppress_health_check=list(HealthCheck), derandomize=True)
@given(chosen=st.permutations(MUTATIONS), number=st.integers(5, len(MUTATIONS)))
def test_a_changed_schema_restores_to_its_source(
    server: Scratch, tmp_path: Path, chosen: list[str], number: int
) -> None:
    """Whatever was done to a schema, in whatever order, comes back from its dump with the same fingerprint."""
    database = f"changed_{secrets.token_hex(4)}"
    with server.connect("postgres") as conn:
        conn.execute(f"CREATE DATABASE {database} TEMPLATE rich".encode())
    try:
        with server.connect(database) as conn:
            conn.execute("SET search_path = public")
            done = [mutation for mutation in chosen[:number] if applies(conn, mutation)]
        source = catalog_of(server, database)
        assert done
        assert source.fingerprint() != catalog_of(server, "rich").fingerprint()
        restored = restore_schema(
            dump_of(server, database, tmp_path / f"{database}.sql"),
            server_major=server.cluster.programs.major,
            roles=("keeper", "reader"),
        )
        assert differences(restored.catalog.dumped(), source) == (), done
        assert restored.catalog.dumped().fingerprint() == source.fingerprint()
    finally:
        with server.connect("postgres") as conn:
            conn.execute(f"DROP DATABASE {database}".encode())


def applies(conn: Connection, mutation: str) -> bool:
    """Apply a mutation; False when one before it has taken away what it needs."""
    try:
        with conn.transaction():
            conn.execute(mutation.encode())
    except psycopg.Error:
        return False
    return True


@settings(deadline=None, max_examples=len(MUTATIONS) + 8, suppress_health_check=list(HealthCheck))
@given(chosen=st.lists(st.sampled_from(MUTATIONS), min_size=1, max_size=2, unique=True))
def test_any_real_difference_is_one(server: Scratch, chosen: list[str]) -> None:
    assert_differs(server, chosen)


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_each_mutation_is_a_difference(server: Scratch, mutation: str) -> None:
    assert_differs(server, [mutation])


def assert_differs(server: Scratch, mutations: list[str]) -> None:
    source = catalog_of(server, "rich")
    changed = mutated(server, mutations)
    assert changed.fingerprint() != source.fingerprint()
    assert differences(changed, source)
    assert catalog_of(server, "rich").fingerprint() == source.fingerprint()


def mutated(server: Scratch, mutations: list[str]) -> Catalog:
    """Return the catalogue with the mutations, which are rolled back; those that contradict earlier ones are left out."""
    applied = 0
    with server.connect("rich") as conn, conn.transaction(force_rollback=True):
        conn.execute("SET LOCAL search_path = public")
        for mutation in mutations:
            with suppress(psycopg.Error), conn.transaction():
                conn.execute(mutation.encode())
                applied += 1
        assert applied
        conn.execute("SET LOCAL search_path = pg_catalog")
        return read_catalog(conn).dumped()


# -- the step ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def dumped(lab: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("backup")
    with Sessions(PHASE.targets) as sessions:
        return folder, dict(backup.dump(PHASE, sessions, folder=folder).facts.dumps)


def prove(folder: Path, dumps: dict[str, Any]) -> Answer:
    with Sessions(PHASE.targets) as sessions:
        return backup.prove(PHASE, sessions, folder=folder, dumps=dumps)


@pytest.fixture
def copied(dumped: tuple[Path, dict[str, Any]], tmp_path: Path) -> tuple[Path, dict[str, Any], Path]:
    folder = tmp_path / "backup"
    shutil.copytree(dumped[0], folder)
    return folder, dumped[1], folder / dumped[1]["leader"].path


def test_the_labs_dumps_restore(dumped: tuple[Path, dict[str, Any]]) -> None:
    answer = prove(*dumped)
    assert [f.verdict for f in answer.findings] == [Verdict.PASS, Verdict.PASS]
    assert all(f.check == "dump_restores" and "in PostgreSQL" in f.have for f in answer.findings)


def test_a_dump_of_less_is_seen_and_what_is_missing_is_named(
    copied: tuple[Path, dict[str, Any], Path],
) -> None:
    folder, dumps, file = copied
    text = file.read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if "oauth_states_expiresAt_idx" not in line]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    finding = prove(folder, dumps).findings[0]
    assert finding.verdict is Verdict.FAIL
    assert "index public.oauth_states_expiresAt_idx: missing" in finding.have


@pytest.mark.parametrize("harm", ["truncated", "empty", "unreadable", "half"])
def test_a_harmed_dump_never_passes(copied: tuple[Path, dict[str, Any], Path], harm: str) -> None:
    folder, dumps, file = copied
    content = file.read_bytes()
    if harm == "truncated":
        file.write_bytes(content[: content.index(b"CREATE TABLE") + 40])
    elif harm == "empty":
        file.write_bytes(b"")
    elif harm == "half":
        file.write_bytes(content[: len(content) // 2])
    else:
        file.unlink()
    leader, legacy = prove(folder, dumps).findings
    assert leader.verdict in (Verdict.FAIL, Verdict.ERROR)
    assert legacy.verdict is Verdict.PASS


def test_a_dump_that_was_not_made_is_error(dumped: tuple[Path, dict[str, Any]]) -> None:
    answer = prove(dumped[0], {"legacy": dumped[1]["legacy"]})
    assert [f.verdict for f in answer.findings] == [Verdict.ERROR, Verdict.PASS]


def test_a_target_that_does_not_answer_is_error(dumped: tuple[Path, dict[str, Any]]) -> None:
    gone = replace(PHASE.targets["legacy"], database="none_of_this_name")
    phase = replace(PHASE, targets={**PHASE.targets, "legacy": gone})
    with Sessions(phase.targets) as sessions:
        answer = backup.prove(phase, sessions, folder=dumped[0], dumps=dumped[1])
    assert [f.verdict for f in answer.findings] == [Verdict.PASS, Verdict.ERROR]


def test_an_extension_that_the_scratch_lacks_is_named(tmp_path: Path) -> None:
    file = tmp_path / "dump.sql"
    file.write_text(
        "CREATE EXTENSION no_such_extension;\nCREATE TABLE public.t (id int);\n", encoding="utf-8"
    )
    restored = restore_schema(file, server_major=15, roles=())
    (left_out,) = restored.outcome.left_out
    assert "no_such_extension" in left_out.statement
    assert "not available" in left_out.why
    assert "public.t" in restored.catalog.relations


def test_nothing_is_restored_into_an_older_server(tmp_path: Path) -> None:
    (tmp_path / "dump.sql").write_text("CREATE TABLE public.t (id int);\n", encoding="utf-8")
    with pytest.raises(PreconditionFailed, match="version 99 or newer"):
        restore_schema(tmp_path / "dump.sql", server_major=99, roles=())
