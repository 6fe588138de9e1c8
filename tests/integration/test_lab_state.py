"""What the lab holds: the state of the report, and the rights of its roles."""

from __future__ import annotations

import hashlib
import os
import stat
import time
import urllib.request
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql

from runbooks_lib.lab.initial_state import MIGRATIONS, RECORDED_MIGRATION
from runbooks_lib.lab.lab import Lab

COUNTS = {
    "MarketplaceConnection": 2,
    "OAuthState": 5,
    "inbound_connections": 2,
    "inbound_addresses": 5,
    "MarketplaceSyncState": 0,
}
ENUMS = {
    "MarketplaceType": ["AMAZON", "FNAC", "CDISCOUNT", "OTHER"],
    "MarketplaceConnectionStatus": ["PENDING", "CONNECTED", "ERROR", "DISABLED"],
    "InboundConnectionStatus": ["DRAFT", "WAITING_EMAIL", "WAITING_AMAZON", "READY", "DEGRADED", "ERROR"],
    "InboundValidationStatus": ["PENDING", "VALIDATED", "FAILED"],
}
UNIQUE_INDEXES = {
    "inbound_connections_tenantId_marketplace_key",
    "inbound_addresses_tenantId_marketplace_country_key",
    "oauth_states_state_key",
}
INDEXES = UNIQUE_INDEXES | {
    "marketplace_connections_tenantId_type_idx",
    "inbound_connections_status_idx",
    "inbound_addresses_validationStatus_lastInboundAt_idx",
    "inbound_addresses_pipelineStatus_marketplaceStatus_idx",
    "oauth_states_state_idx",
    "oauth_states_tenantId_idx",
    "oauth_states_connectionId_idx",
    "oauth_states_expiresAt_idx",
}
ADDRESSES = [
    ("kbz_test", "DE", "amazon.kbz_test.de.k9m2de@inbound.keybuzz.io", "VALIDATED"),
    ("kbz_test", "FR", "amazon.kbz_test.fr.x7p4fr@inbound.keybuzz.io", "VALIDATED"),
    ("tenant_test_dev", "DE", "amazon.tenant_test_dev.de.97lo14@inbound.keybuzz.io", "VALIDATED"),
    ("tenant_test_dev", "FR", "amazon.tenant_test_dev.fr.6v8gqm@inbound.keybuzz.io", "VALIDATED"),
    ("tenant_test_dev", "UK", "amazon.tenant_test_dev.uk.2hpmad@inbound.keybuzz.io", "VALIDATED"),
]


def ask(service: str, query: str) -> list[tuple[Any, ...]]:
    """Return what a query gives at one of the lab's services."""
    with psycopg.connect(service=service, autocommit=True) as connection:
        return connection.execute(query).fetchall()


@pytest.mark.parametrize("service", ["keybuzz_leader", "keybuzz_replica"])
@pytest.mark.parametrize(("table", "count"), COUNTS.items())
def test_row_counts(lab: Lab, service: str, table: str, count: int) -> None:
    with psycopg.connect(service=service) as connection:
        query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
        assert connection.execute(query).fetchone() == (count,)


def test_owners(lab: Lab) -> None:
    relations = ask(
        "keybuzz_leader",
        "SELECT relname, pg_get_userbyid(relowner) FROM pg_class "
        "WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'",
    )
    assert dict(relations) == dict.fromkeys([*COUNTS, "_prisma_migrations"], "kb_backend")
    types = ask(
        "keybuzz_leader",
        "SELECT typname, pg_get_userbyid(typowner) FROM pg_type "
        "WHERE typnamespace = 'public'::regnamespace AND typtype = 'e'",
    )
    assert dict(types) == dict.fromkeys(ENUMS, "kb_backend")


def test_enums_in_order(lab: Lab) -> None:
    query = (
        "SELECT typname, array_agg(enumlabel::text ORDER BY enumsortorder) "
        "FROM pg_enum JOIN pg_type t ON t.oid = enumtypid GROUP BY 1"
    )
    assert dict(ask("keybuzz_leader", query)) == ENUMS


def test_eleven_indexes(lab: Lab) -> None:
    found = ask(
        "keybuzz_leader",
        "SELECT c.relname, indisunique FROM pg_index JOIN pg_class c ON c.oid = indexrelid "
        "WHERE c.relnamespace = 'public'::regnamespace AND NOT indisprimary AND indisvalid",
    )
    assert {name for name, _ in found} == INDEXES
    assert {name for name, unique in found if unique} == UNIQUE_INDEXES
    assert len(INDEXES) == 11


@pytest.mark.parametrize("service", ["keybuzz_leader", "keybuzz_replica"])
def test_seed_rows(lab: Lab, service: str) -> None:
    connections = 'SELECT id, "tenantId", type::text, status::text FROM "MarketplaceConnection" ORDER BY 2'
    assert ask(service, connections) == [
        ("cmjecdiqj0000p0fvgljq171d", "kbz_test", "AMAZON", "CONNECTED"),
        ("mpc_amazon_tenant_test_dev", "tenant_test_dev", "AMAZON", "CONNECTED"),
    ]
    addresses = (
        'SELECT "tenantId", country, "emailAddress", "validationStatus"::text '
        "FROM inbound_addresses WHERE marketplace = 'AMAZON' ORDER BY 1, 2"
    )
    assert ask(service, addresses) == ADDRESSES


def test_prisma_knows_the_first_migration_only(lab: Lab) -> None:
    rows = ask(
        "keybuzz_leader",
        "SELECT migration_name, checksum, logs, applied_steps_count, rolled_back_at, "
        'finished_at IS NOT NULL FROM "_prisma_migrations"',
    )
    content = (MIGRATIONS / RECORDED_MIGRATION / "migration.sql").read_bytes()
    assert rows == [(RECORDED_MIGRATION, hashlib.sha256(content).hexdigest(), None, 1, None, True)]


def test_the_legacy_database_has_none_of_it(lab: Lab) -> None:
    query = "SELECT tablename, tableowner FROM pg_tables WHERE schemaname = 'public'"
    assert ask("keybuzz_legacy", query) == [("tenants", "kb_legacy")]
    assert ask("keybuzz_legacy", "SELECT count(*) FROM pg_type WHERE typtype = 'e'") == [(0,)]
    assert ask("keybuzz_legacy", "SELECT id FROM tenants ORDER BY 1") == [("kbz_test",), ("tenant_test_dev",)]


def test_the_standby_streams_through_its_slot(lab: Lab) -> None:
    with lab.admin("postgres") as connection:
        row = connection.execute(
            "SELECT r.usename, r.application_name, r.state, s.slot_name, s.active "
            "FROM pg_stat_replication r JOIN pg_replication_slots s ON s.active_pid = r.pid"
        ).fetchall()
    assert row == [("replicator", "replica", "streaming", "replica", True)]
    assert ask("keybuzz_replica", "SELECT pg_is_in_recovery()") == [(True,)]
    system = "SELECT system_identifier FROM pg_control_system()"
    assert ask("keybuzz_replica", system) == ask("keybuzz_leader", system)
    with pytest.raises(errors.ReadOnlySqlTransaction):
        ask("keybuzz_replica", "SET ROLE kb_backend; CREATE TABLE t (i int)")


def test_what_the_leader_writes_arrives(fresh_lab: Lab) -> None:
    with fresh_lab.admin("keybuzz_backend") as connection:
        connection.execute('DELETE FROM "OAuthState" WHERE "tenantId" = %s', ("kbz_test",))
    deadline = time.monotonic() + 20
    while ask("keybuzz_replica", 'SELECT count(*) FROM "OAuthState"') != [(3,)]:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_scram_and_checksums(lab: Lab) -> None:
    with lab.admin("postgres") as connection:
        assert connection.execute("SHOW data_checksums").fetchone() == ("on",)
        roles = connection.execute(
            "SELECT rolpassword LIKE 'SCRAM-SHA-256$%' FROM pg_authid WHERE rolcanlogin"
        )
        found = roles.fetchall()
        assert len(found) >= 6  # other tests of this session may have left one of theirs
        assert set(found) == {(True,)}
        methods = connection.execute("SELECT DISTINCT auth_method FROM pg_hba_file_rules").fetchall()
        assert methods == [("scram-sha-256",)]


@pytest.mark.parametrize("service", ["keybuzz_leader", "keybuzz_admin", "keybuzz_readonly"])
def test_a_wrong_password_is_refused(lab: Lab, service: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(service=service, password="wrong")


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        ("keybuzz_leader", ("keybuzz_backend", "keybuzz_operator", False)),
        ("keybuzz_replica", ("keybuzz_backend", "keybuzz_operator", True)),
        ("keybuzz_legacy", ("keybuzz", "keybuzz_operator", False)),
        ("keybuzz_readonly", ("keybuzz_backend", "keybuzz_readonly", False)),
        ("keybuzz_admin", ("keybuzz_backend", "postgres", False)),
    ],
)
def test_services(lab: Lab, service: str, expected: tuple[str, str, bool]) -> None:
    assert ask(service, "SELECT current_database(), current_user, pg_is_in_recovery()") == [expected]


def test_files_are_private_to_the_caller(lab: Lab) -> None:
    for name in ("PGPASSFILE", "PGSERVICEFILE"):
        found = Path(lab.env()[name]).stat()
        assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o600, os.geteuid())
    assert stat.S_IMODE(lab.directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(lab.leader.home.stat().st_mode) == 0o700
    passwords = [line.rsplit(":", 1)[1] for line in Path(lab.env()["PGPASSFILE"]).read_text().split()]
    shown = f"{lab!r} {lab.env()} {lab.status()} {lab.leader!r} {(lab.directory / 'lab.json').read_text()}"
    assert len(set(passwords)) == 6
    assert not [p for p in passwords if p in shown]


# -- the operator: what the phase needs, and no more -----------------------------


@pytest.mark.parametrize(
    ("service", "statement"),
    [
        ("keybuzz_leader", 'SELECT * FROM "OAuthState"'),
        (
            "keybuzz_leader",
            "INSERT INTO \"_prisma_migrations\" (id, checksum, migration_name) VALUES ('a','b','c')",
        ),
        ("keybuzz_leader", 'UPDATE "_prisma_migrations" SET logs = NULL'),
        ("keybuzz_leader", "SET LOCAL ROLE kb_backend; CREATE TABLE t (i int)"),
        ("keybuzz_leader", "SET LOCAL ROLE kb_backend; CREATE TABLE t (i int); RESET ROLE; SELECT * FROM t"),
        ("keybuzz_legacy", "SELECT * FROM tenants"),
        ("keybuzz_legacy", "SET LOCAL ROLE kb_backend; CREATE TABLE t (i int); RESET ROLE; SELECT * FROM t"),
        ("keybuzz_legacy", "SET LOCAL ROLE kb_backend; CREATE TYPE e AS ENUM ('A')"),
    ],
)
def test_the_operator_may(lab: Lab, service: str, statement: str) -> None:
    with psycopg.connect(service=service) as connection:
        connection.execute(statement)
        connection.rollback()


FORBIDDEN = [
    ("keybuzz_leader", "INSERT INTO \"MarketplaceSyncState\" VALUES ('a', NULL, NULL, 0, now())"),
    ("keybuzz_leader", "UPDATE inbound_addresses SET country = 'XX'"),
    ("keybuzz_leader", 'DELETE FROM "OAuthState"'),
    ("keybuzz_leader", 'TRUNCATE "OAuthState"'),
    ("keybuzz_leader", 'DELETE FROM "_prisma_migrations"'),
    ("keybuzz_leader", 'DROP TABLE "_prisma_migrations"'),
    ("keybuzz_leader", 'ALTER TABLE "OAuthState" ADD COLUMN x int'),
    ("keybuzz_leader", "DROP INDEX oauth_states_state_key"),
    ("keybuzz_leader", "CREATE TABLE t (i int)"),
    ("keybuzz_leader", "CREATE SCHEMA s"),
    ("keybuzz_leader", "CREATE DATABASE d"),
    ("keybuzz_leader", "CREATE ROLE r"),
    ("keybuzz_leader", "SET ROLE postgres"),
    ("keybuzz_leader", "SET ROLE kb_legacy"),
    ("keybuzz_leader", "SELECT * FROM pg_authid"),
    ("keybuzz_leader", "SELECT pg_read_file('PG_VERSION')"),
    ("keybuzz_leader", "COPY (SELECT 1) TO PROGRAM 'true'"),
    ("keybuzz_leader", "SELECT pg_switch_wal()"),
    ("keybuzz_legacy", "CREATE TABLE t (i int)"),
    ("keybuzz_legacy", "INSERT INTO tenants VALUES ('a', 'b')"),
    ("keybuzz_legacy", "SET ROLE kb_backend; SELECT * FROM tenants"),
    ("keybuzz_readonly", 'DELETE FROM "OAuthState"'),
    ("keybuzz_readonly", 'UPDATE "_prisma_migrations" SET logs = NULL'),
    ("keybuzz_readonly", "CREATE TABLE t (i int)"),
    ("keybuzz_readonly", "SET ROLE kb_backend"),
]


@pytest.mark.parametrize(("service", "statement"), FORBIDDEN)
def test_the_roles_may_not(lab: Lab, service: str, statement: str) -> None:
    with psycopg.connect(service=service, autocommit=True) as connection:
        connection.execute("BEGIN")
        if statement.startswith("CREATE DATABASE"):
            connection.execute("ROLLBACK")
        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute(statement)


def test_the_operator_sees_what_others_run(lab: Lab) -> None:
    with lab.admin("keybuzz_backend"):
        rows = ask("keybuzz_leader", "SELECT query FROM pg_stat_activity WHERE usename = 'postgres'")
    assert rows
    assert not [query for (query,) in rows if query == "<insufficient privilege>"]


def test_roles_have_no_attributes_but_login(lab: Lab) -> None:
    query = (
        "SELECT rolname, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls "
        "FROM pg_roles WHERE rolname IN ('kb_backend', 'kb_legacy', 'keybuzz_operator', 'keybuzz_readonly')"
    )
    assert {row[1:] for row in ask("keybuzz_leader", query)} == {(False,) * 5}


# -- around the servers ------------------------------------------------------------


def test_the_stand_in_api_answers_and_the_backend_does_not(lab: Lab) -> None:
    with urllib.request.urlopen(f"{lab.env()['KEYBUZZ_API_URL']}/health", timeout=10) as answer:
        assert answer.status == 200
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(lab.env()["KEYBUZZ_BACKEND_URL"], timeout=10)


def test_the_prisma_project_is_there(lab: Lab) -> None:
    project = Path(lab.env()["RUNBOOKS_PRISMA_PROJECT"])
    assert project.parent == lab.directory
    assert (project / "prisma" / "schema.prisma").is_file()
    assert (project / "node_modules" / "prisma").is_dir()


def test_status(lab: Lab) -> None:
    assert {row.what: row.state for row in lab.status()} == {
        "leader": "ready",
        "replica": "streaming",
        "keybuzz-api": "ready",
        "keybuzz-backend": "not deployed",
        "Prisma project": "installed",
        "folder": f"PostgreSQL {lab.leader.programs.version}",
    }
