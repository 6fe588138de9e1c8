"""Preflight against real servers: what is right passes, what is wrong is named, what cannot be asked is ERROR."""

from __future__ import annotations

import configparser
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from psycopg import sql

from runbooks_lib.errors import ConnectionFailed, GateClosed
from runbooks_lib.findings import Answer, Verdict, gate
from runbooks_lib.lab.lab import Lab
from runbooks_lib.phase import Phase, Role, Table, load_phase
from runbooks_lib.postgres.catalog.finder import ONE_OF_A_FLEET
from runbooks_lib.postgres.scratch.scratch import SUPERUSER, Scratch, scratch
from runbooks_lib.postgres.session import replication as replication_module
from runbooks_lib.postgres.session.connect import Identity, Sessions
from runbooks_lib.steps import preflight, servers
from runbooks_lib.steps import readiness as readiness_module

from ..faults.campaign import fault
from ..faults.proof import dumps, require_unchanged

PHASE = load_phase(str(Path(__file__).parents[1] / "phases" / "PH15-AMAZON-DB-FOUNDATION-01"))
Point = Callable[..., None]


def targeting(phase: Phase = PHASE, **changes: dict[str, Any] | None) -> Phase:
    """Return the phase with some targets changed; None leaves a target out."""
    targets = {
        name: replace(target, **changes.get(name) or {})
        for name, target in phase.targets.items()
        if changes.get(name, {}) is not None
    }
    return replace(phase, targets=targets)


def ask(question: Callable[..., Answer], phase: Phase = PHASE, **options: Any) -> Answer:
    """Ask one question as a notebook does, in sessions of its own."""
    with Sessions(phase.targets, application_name="runbooks tests") as sessions:
        return question(phase, sessions, **options)


def failed(answer: Answer, verdict: Verdict = Verdict.FAIL) -> set[tuple[str, str, str]]:
    return {(f.check, f.target, f.object) for f in answer.findings if f.verdict is verdict}


def passes(answer: Answer) -> bool:
    """Tell whether all that the phase declares is as declared."""
    return {f.verdict for f in answer.findings if f.object != "phase"} == {Verdict.PASS}


def assert_closed(answer: Answer, *words: str) -> None:
    """The gate closes, and says these words."""
    with pytest.raises(GateClosed) as closed:
        gate(answer.findings)
    for word in words:
        assert word in str(closed.value)


@pytest.fixture
def point(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Point:
    """Rewrite services: point(keybuzz_leader={"port": 1}) in a service file of the test's own."""
    return pointer(tmp_path, monkeypatch)


def pointer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Point:
    def write(**changes: dict[str, Any]) -> None:
        parser = configparser.RawConfigParser()
        parser.read(os.environ["PGSERVICEFILE"])
        for service, values in changes.items():
            for key, value in values.items():
                parser.set(service, key, str(value))
        own = tmp_path / "pg_service.conf"
        with own.open("w") as file:
            parser.write(file, space_around_delimiters=False)
        monkeypatch.setenv("PGSERVICEFILE", str(own))

    return write


@contextmanager
def undone(lab: Lab, database: str, do: str, undo: str) -> Iterator[None]:
    """Run one statement as superuser for the block, and its opposite after it."""
    with lab.admin(database) as admin:
        admin.execute(do)
        try:
            yield
        finally:
            admin.execute(undo)


@contextmanager
def database(lab: Lab, name: str, template: str = "template0") -> Iterator[psycopg.Connection[Any]]:
    """Make a database for the block; yield a superuser's session in it."""
    names = sql.Identifier(name), sql.Identifier(template)
    with lab.admin("postgres") as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*names))
        try:
            with lab.admin(name) as connection:
                yield connection
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(names[0]))


@pytest.fixture(scope="module")
def other_system() -> Iterator[Scratch]:
    """Another PostgreSQL system that happens to have a database keybuzz_backend."""
    with scratch() as system:
        system.create_database("keybuzz_backend")
        yield system


# -- who answers ---------------------------------------------------------------


def test_targets_pass(lab: Lab) -> None:
    answer = ask(preflight.targets)
    assert passes(answer)
    assert {f.check for f in answer.findings} == {
        "target_role_is",
        "target_database_is",
        "standby_is_of_primary",
    }
    facts = answer.facts.targets
    assert facts["leader"].role == "primary"
    assert facts["replica"].role == "standby"
    assert facts["legacy"].database == "keybuzz"
    assert facts["leader"].server == f"127.0.0.1:{lab.leader.port}"
    assert len({facts[name].system_identifier for name in facts}) == 1
    assert [row["target"] for row in answer.rows] == ["leader", "replica", "legacy"]


def test_leader_service_leads_to_the_standby(lab: Lab, point: Point) -> None:
    point(keybuzz_leader={"port": lab.replica.port})
    answer = ask(preflight.targets)
    assert failed(answer) == {("target_role_is", "leader", "keybuzz_leader")}
    assert_closed(answer, f"standby (127.0.0.1:{lab.replica.port})", "failover")
    schema = ask(preflight.schema)
    assert failed(schema, Verdict.ERROR) == {
        ("has_table", "leader", "every object"),
    }


def test_replica_service_leads_to_the_leader(lab: Lab, point: Point) -> None:
    point(keybuzz_replica={"port": lab.leader.port})
    assert failed(ask(preflight.targets)) == {("target_role_is", "replica", "keybuzz_replica")}
    assert_closed(ask(preflight.replication), "declared a standby")


TRY = "psql service=keybuzz_leader"


@pytest.mark.parametrize(
    ("service", "changes", "words", "next_"),
    [
        ("keybuzz_leader", {"port": 1}, "Connection refused", TRY),
        ("keybuzz_leader", {"user": "nobody_of_this_name"}, "no password", "nobody_of_this_name:PASSWORD"),
        ("keybuzz_leader", {"password": "S3cr3t-and-wr0ng"}, "password authentication failed", TRY),
        ("keybuzz_leader", {"host": "nowhere.invalid"}, "nowhere.invalid", TRY),
    ],
)
def test_a_target_that_does_not_answer_is_error(
    point: Point, service: str, changes: dict[str, Any], words: str, next_: str
) -> None:
    point(**{service: changes})
    answer = ask(preflight.targets)
    assert failed(answer, Verdict.ERROR) == {("target_answers", "leader", service)}
    assert_closed(answer, words, next_)
    assert "S3cr3t" not in str(answer)
    assert "leader" not in answer.facts.targets
    assert not failed(answer)


def test_a_service_that_is_not_defined_is_error(lab: Lab) -> None:
    answer = ask(preflight.targets, targeting(legacy={"service": "keybuzz_old"}))
    assert failed(answer, Verdict.ERROR) == {("target_answers", "legacy", "keybuzz_old")}
    assert_closed(answer, 'definition of service "keybuzz_old" not found')


def test_no_target_answers(lab: Lab, point: Point) -> None:
    point(**{f"keybuzz_{name}": {"port": 1} for name in PHASE.targets})
    questions: list[Callable[..., Answer]] = [
        preflight.targets, preflight.find_objects, preflight.schema, preflight.replication,
    ]  # fmt: skip
    for question in questions:
        answer = ask(question)
        assert answer.verdict is Verdict.ERROR
        assert not [f for f in answer.findings if f.verdict is Verdict.PASS]


def test_replica_of_another_system(point: Point, other_system: Scratch) -> None:
    """A database of the right name, on a primary as declared, is not enough."""
    password = other_system.password
    point(keybuzz_leader={**other_system.cluster.address(), "user": SUPERUSER, "password": password})
    answer = ask(preflight.targets)
    assert failed(answer) == {("standby_is_of_primary", "replica", "keybuzz_replica")}
    assert_closed(ask(preflight.replication), "is another PostgreSQL system")
    assert password not in str(answer)


def test_database_of_another_name() -> None:
    """A pooler can lead to a database of another name. There is none here: the identity is made by hand."""
    target = PHASE.targets["leader"]
    who = Identity(host="h", address="h", port=1, database="keybuzz", role_name="r", system_identifier="1", timeline=1,
                   in_recovery=False, server_version="18.0", server_version_num=180000, lsn="0/0", started="0",
                   cluster_name="", data_checksums="on")  # fmt: skip
    findings = list(servers.judge_server("leader", target, who))
    assert [(f.check, f.verdict) for f in findings] == [
        ("target_role_is", Verdict.PASS),
        ("target_database_is", Verdict.FAIL),
    ]


# -- the finder ----------------------------------------------------------------


def places(answer: Answer, name: str) -> dict[str, str]:
    """Return what was found of an object, by database of the leader's server (the first that was searched)."""
    found: dict[str, str] = next(row.places for row in answer.facts.matrix if row.object == name)
    return {place.split(" ", 1)[1]: what for place, what in reversed(list(found.items()))}


def test_find_objects_passes(lab: Lab) -> None:
    answer = ask(preflight.find_objects)
    assert passes(answer)
    assert {f.object for f in answer.findings} == {o.name for o in (*PHASE.tables, *PHASE.enums)}
    assert {f.target for f in answer.findings} == set(PHASE.targets)
    found = places(answer, "public.OAuthState")
    assert found["keybuzz_backend"] == "there (kb_backend)"
    assert found["keybuzz"] == found["postgres"] == "absent"


def test_the_finder_leaves_no_session_in_other_databases(lab: Lab) -> None:
    with Sessions(PHASE.targets, application_name="runbooks finder test") as sessions:
        preflight.find_objects(PHASE, sessions)
        with lab.admin("postgres") as admin:
            rows = admin.execute(
                "SELECT datname FROM pg_stat_activity WHERE application_name = 'runbooks finder test'"
            )
            assert sorted(name for (name,) in rows) == ["keybuzz", "keybuzz_backend"]


def test_objects_are_in_another_database(lab: Lab) -> None:
    with database(lab, "finder_empty"):
        phase = targeting(leader={"database": "finder_empty"})
        answer = ask(preflight.find_objects, phase)
        assert {target for _, target, _ in failed(answer)} == {"leader"}
        pending = [
            f for f in answer.findings if f.verdict is Verdict.OPEN
        ]  # a migration that is not recorded makes it
        assert [(f.target, f.object) for f in pending] == [("leader", "public.OAuthState")]
        assert "Is this target the right one?" in pending[0].hint
        hint = f"It was found in: 127.0.0.1:{lab.leader.port} keybuzz_backend"
        assert_closed(answer, "found absent, expected there", hint)
        assert passes(ask(preflight.find_objects, targeting(legacy={"database": "finder_empty"})))


def test_objects_of_other_case_schema_or_kind_are_not_the_declared_ones(lab: Lab) -> None:
    with database(lab, "finder_alike") as admin:
        admin.execute("CREATE SCHEMA audit")
        admin.execute("CREATE TABLE oauthstate (id text)")
        admin.execute('CREATE TABLE audit."MarketplaceConnection" (id text)')
        admin.execute('CREATE TABLE "MarketplaceType" (id text)')
        admin.execute("CREATE TYPE audit.inboundvalidationstatus AS ENUM ('x')")
        answer = ask(preflight.find_objects, targeting(legacy={"database": "finder_alike"}))
        assert failed(answer) == {
            ("object_is_found", "legacy", name)
            for name in ("public.OAuthState", "public.MarketplaceConnection", "public.MarketplaceType",
                         "public.InboundValidationStatus")
        }  # fmt: skip
        assert places(answer, "public.OAuthState")["finder_alike"] == "as public.oauthstate (postgres)"
        assert_closed(answer, "as audit.MarketplaceConnection", "as table public.MarketplaceType")


def test_names_that_differ_in_case_only_are_told_apart(lab: Lab) -> None:
    with database(lab, "finder_twins") as admin:
        admin.execute('CREATE SCHEMA audit; CREATE TABLE audit."OAUTHSTATE" (id text)')
        twin = replace(PHASE.tables[0], name="audit.OAUTHSTATE")
        phase = targeting(
            replace(PHASE, tables=(*PHASE.tables, twin)), legacy={"database": "finder_twins"}, leader=None,
            replica=None,
        )  # fmt: skip
        answer = ask(preflight.find_objects, phase)
        assert places(answer, "audit.OAUTHSTATE")["finder_twins"] == "there (postgres)"
        assert places(answer, "public.OAuthState")["finder_twins"] == "absent"


def test_a_run_of_a_fleet_looks_into_its_own_database_alone(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database(lab, "finder_other"):
        assert "finder_other" in places(ask(preflight.find_objects), "public.OAuthState")
        monkeypatch.setenv(ONE_OF_A_FLEET, "1")
        answer = ask(preflight.find_objects)
    assert set(places(answer, "public.OAuthState")) == {each.database for each in PHASE.targets.values()}
    assert passes(answer)


def test_a_database_without_connect(lab: Lab) -> None:
    with database(lab, "finder_closed") as admin:
        admin.execute("REVOKE CONNECT ON DATABASE finder_closed FROM PUBLIC")
        answer = ask(preflight.find_objects)
        assert passes(answer)
        assert places(answer, "public.OAuthState")["finder_closed"] == "not searched: no CONNECT privilege"
        answer = ask(preflight.find_objects, targeting(leader={"database": "finder_closed"}))
        assert ("object_is_found", "leader", "public.OAuthState") in failed(answer, Verdict.ERROR)
        assert_closed(answer, "permission denied for database")


def test_a_database_that_another_target_may_search(lab: Lab, point: Point) -> None:
    """Two services with different roles lead to one server: each database is searched by the one that may."""
    with database(lab, "finder_shared") as admin:
        admin.execute("REVOKE CONNECT ON DATABASE finder_shared FROM PUBLIC")
        admin.execute("GRANT CONNECT ON DATABASE finder_shared TO keybuzz_readonly")
        point(keybuzz_legacy={"user": "keybuzz_readonly"})
        phase = targeting(legacy={"database": "finder_shared"})
        answer = ask(preflight.find_objects, phase)
        assert passes(answer)
        assert places(answer, "public.OAuthState")["finder_shared"] == "absent"


# -- the schema ----------------------------------------------------------------


@pytest.fixture
def copy(lab: Lab) -> Iterator[psycopg.Connection[Any]]:
    """A copy of keybuzz_backend to be changed."""
    with database(lab, "schema_copy", "keybuzz_backend") as admin:
        admin.execute("GRANT CONNECT ON DATABASE schema_copy TO PUBLIC")
        yield admin


ALONE = targeting(leader={"database": "schema_copy"}, replica=None, legacy=None)
PARTLY = targeting(legacy={"database": "schema_copy"}, replica=None, leader=None)


def test_schema_passes(lab: Lab) -> None:
    answer = ask(preflight.schema)
    assert passes(answer)
    described = answer.facts.targets
    assert {name: t.rows for name, t in described["leader"].tables.items()} == {
        table.name: table.rows for table in PHASE.tables
    }
    assert described["replica"].fingerprint == described["leader"].fingerprint
    assert len(described["replica"].indexes) == 11
    assert described["legacy"].tables == {}
    assert {row["legacy"] for row in answer.rows} == {"absent"}
    assert {row["leader"] for row in answer.rows} == {"as declared"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("DROP INDEX oauth_states_state_idx", {("has_index", "public.oauth_states_state_idx")}),
        (
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'oauth_states_state_idx'::regclass",
            {("index_is_valid", "public.oauth_states_state_idx")},
        ),
        (
            'DROP INDEX oauth_states_state_key; CREATE INDEX oauth_states_state_key ON "OAuthState" (state)',
            {("index_is", "public.oauth_states_state_key")},
        ),
        (
            "DROP INDEX oauth_states_state_idx; CREATE SEQUENCE oauth_states_state_idx",
            {("has_index", "public.oauth_states_state_idx")},
        ),
        (
            "ALTER TYPE \"InboundValidationStatus\" RENAME VALUE 'VALIDATED' TO 'x'; "
            "ALTER TYPE \"InboundValidationStatus\" RENAME VALUE 'FAILED' TO 'VALIDATED'; "
            "ALTER TYPE \"InboundValidationStatus\" RENAME VALUE 'x' TO 'FAILED'",
            {("enum_has_labels", "public.InboundValidationStatus")},
        ),
        (
            "DELETE FROM pg_enum WHERE enumlabel = 'FNAC'",
            {("enum_has_labels", "public.MarketplaceType")},
        ),
        (
            "ALTER TYPE \"MarketplaceType\" ADD VALUE 'EBAY' BEFORE 'OTHER'",
            {("enum_has_labels", "public.MarketplaceType")},
        ),
        ('ALTER TYPE "MarketplaceType" OWNER TO kb_legacy', {("enum_owner_is", "public.MarketplaceType")}),
        (
            'ALTER TABLE "MarketplaceSyncState" OWNER TO kb_legacy',
            {("table_owner_is", "public.MarketplaceSyncState")},
        ),
        (
            "ALTER TABLE inbound_connections OWNER TO kb_legacy",
            {
                ("table_owner_is", "public.inbound_connections"),
                ("index_owner_is", "public.inbound_connections_status_idx"),
                ("index_owner_is", "public.inbound_connections_tenantId_marketplace_key"),
            },
        ),
        ('ALTER TABLE "OAuthState" ADD note text', {("columns_are", "public.OAuthState")}),
        ('ALTER TABLE "OAuthState" DROP "usedAt"', {("columns_are", "public.OAuthState")}),
        ('ALTER TABLE "OAuthState" ALTER "usedAt" TYPE timestamptz', {("columns_are", "public.OAuthState")}),
        ('ALTER TABLE "OAuthState" ALTER "usedAt" SET DEFAULT now()', {("columns_are", "public.OAuthState")}),
        ('ALTER TABLE "OAuthState" ALTER "tenantId" DROP NOT NULL', {("columns_are", "public.OAuthState")}),
        (
            'ALTER TABLE "OAuthState" ALTER "usedAt" TYPE timestamp(0)',
            {("columns_are", "public.OAuthState")},
        ),
        (
            'ALTER TABLE "OAuthState" ALTER "connectionId" TYPE text COLLATE "C"',
            {("columns_are", "public.OAuthState")},
        ),
        (
            'ALTER TABLE "MarketplaceSyncState" ALTER "errorCount" DROP DEFAULT, '
            'ALTER "errorCount" ADD GENERATED BY DEFAULT AS IDENTITY',
            {("columns_are", "public.MarketplaceSyncState")},
        ),
        ('ALTER TABLE "OAuthState" DROP CONSTRAINT "OAuthState_pkey"', {("col_is_pk", "public.OAuthState")}),
        ('ALTER TABLE "MarketplaceSyncState" SET UNLOGGED', {("has_table", "public.MarketplaceSyncState")}),
        (
            'DROP TABLE "MarketplaceSyncState"',
            {("has_table", "public.MarketplaceSyncState"), ("row_count_is", "public.MarketplaceSyncState")},
        ),
        ("DELETE FROM \"OAuthState\" WHERE id = 'oas_01'", {("row_count_is", "public.OAuthState")}),
        (
            "INSERT INTO \"MarketplaceSyncState\" VALUES ('mpc_amazon_tenant_test_dev', NULL, NULL, 0, now())",
            {("row_count_is", "public.MarketplaceSyncState")},
        ),
    ],
)
def test_a_difference_is_named(
    copy: psycopg.Connection[Any], change: str, expected: set[tuple[str, str]]
) -> None:
    for statement in change.split("; "):
        copy.execute(statement)
    answer = ask(preflight.schema, ALONE)
    assert failed(answer) == {(check, "leader", name) for check, name in expected}
    assert_closed(answer, *(f"FAIL {check} leader {name}" for check, name in expected))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ('REVOKE SELECT ON "OAuthState" FROM keybuzz_operator', "permission denied for table OAuthState"),
        ('ALTER TABLE "OAuthState" ENABLE ROW LEVEL SECURITY', "row-level security policy"),
    ],
)
def test_what_cannot_be_counted_is_error(copy: psycopg.Connection[Any], change: str, words: str) -> None:
    copy.execute(change)
    answer = ask(preflight.schema, ALONE)
    assert failed(answer, Verdict.ERROR) == {("has_table", "leader", "every object")}
    assert_closed(answer, words)


def test_the_baselines_target_may_hold_a_part(copy: psycopg.Connection[Any]) -> None:
    assert passes(ask(preflight.schema, PARTLY))
    copy.execute('DROP TABLE "MarketplaceSyncState", "OAuthState"')
    answer = ask(preflight.schema, PARTLY)
    assert passes(answer)
    said = {row["object"]: row["legacy"] for row in answer.rows}
    assert said["public.OAuthState"] == said["public.oauth_states_state_key"] == "absent"
    assert said["public.inbound_addresses"] == "as declared"


@pytest.mark.parametrize(
    ("change", "check", "name"),
    [
        ("ALTER TABLE inbound_connections ADD note text", "columns_are", "public.inbound_connections"),
        ("ALTER TYPE \"MarketplaceType\" ADD VALUE 'X'", "enum_has_labels", "public.MarketplaceType"),
        (
            'DROP TABLE "OAuthState"; CREATE VIEW "OAuthState" AS SELECT 1 AS id',
            "has_table",
            "public.OAuthState",
        ),
    ],
)
def test_the_baselines_target_may_hold_nothing_different(
    copy: psycopg.Connection[Any], change: str, check: str, name: str
) -> None:
    for statement in change.split("; "):
        copy.execute(statement)
    answer = ask(preflight.schema, PARTLY)
    assert failed(answer) == {(check, "legacy", name)}


def test_an_enum_without_labels_is_not_absent(lab: Lab) -> None:
    with database(lab, "schema_copy") as admin:
        admin.execute('CREATE TYPE "MarketplaceType" AS ENUM ()')
        answer = ask(preflight.schema, PARTLY)
        assert ("enum_has_labels", "legacy", "public.MarketplaceType") in failed(answer)


# -- replication ---------------------------------------------------------------


def test_replication_passes(lab: Lab) -> None:
    answer = ask(preflight.replication)
    assert passes(answer)
    assert {f.check for f in answer.findings} == {
        "standby_is_streaming", "standby_has_replayed", "replication_lag_is", "catalog_is_that_of_primary",
        "row_counts_are_those_of_primary", "rows_are_those_of_primary",
    }  # fmt: skip
    assert answer.facts.lag["replica"].receiver == "streaming"


def test_a_phase_without_a_standby_is_skipped_and_says_so(lab: Lab) -> None:
    answer = ask(preflight.replication, targeting(replica=None))
    assert [f.verdict for f in answer.findings] == [Verdict.SKIP]


def replica_admin(lab: Lab) -> psycopg.Connection[tuple[Any, ...]]:
    return lab.replica.connect("postgres", passfile=os.environ["PGPASSFILE"])


def wait_until(connection: psycopg.Connection[Any], condition: str) -> None:
    deadline = time.monotonic() + 30
    while connection.execute(condition).fetchone() != (True,):
        assert time.monotonic() < deadline, condition
        time.sleep(0.01)


def test_paused_replay(fresh_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replication_module, "REPLAY_TIMEOUT_S", 0.05)
    phase = targeting(replica={"max_lag_bytes": 1_000})
    with replica_admin(fresh_lab) as standby, fresh_lab.admin("keybuzz_backend") as leader:
        standby.execute("SELECT pg_wal_replay_pause()")
        wait_until(standby, "SELECT pg_get_wal_replay_pause_state() = 'paused'")
        paused = ask(preflight.replication, phase)
        assert ("standby_is_streaming", "replica", "keybuzz_replica") in failed(paused)
        leader.execute("CREATE TABLE ballast AS SELECT g FROM generate_series(1, 1000) AS g")
        leader.execute("DELETE FROM \"OAuthState\" WHERE id = 'oas_01'")
        answer = ask(preflight.replication, phase)
        assert failed(answer) == {
            ("standby_is_streaming", "replica", "keybuzz_replica"),
            ("standby_has_replayed", "replica", "keybuzz_replica"),
            ("replication_lag_is", "replica", "keybuzz_replica"),
            ("catalog_is_that_of_primary", "replica", "catalogue"),
            ("row_counts_are_those_of_primary", "replica", "declared tables"),
        }
        assert_closed(answer, "streaming, replay paused", "pg_wal_replay_resume", "at most 1000 bytes")
        standby.execute("SELECT pg_wal_replay_resume()")
        monkeypatch.undo()
        for name, value in fresh_lab.env().items():
            monkeypatch.setenv(name, value)
        assert failed(ask(preflight.replication)) == set()


def test_standby_without_a_receiver(fresh_lab: Lab) -> None:
    with replica_admin(fresh_lab) as standby:
        standby.execute("ALTER SYSTEM SET primary_conninfo = ''")
        standby.execute("SELECT pg_reload_conf()")
        wait_until(standby, "SELECT count(*) = 0 FROM pg_stat_wal_receiver")
        answer = ask(preflight.replication)
    written = ("standby_has_replayed", "replica", "keybuzz_replica")  # by the leader itself, since
    assert failed(answer) - {written} == {("standby_is_streaming", "replica", "keybuzz_replica")}
    assert_closed(answer, "found none, expected streaming", "primary_conninfo")


def test_a_receiver_that_the_role_may_not_see_is_not_streaming(fresh_lab: Lab) -> None:
    with fresh_lab.admin("postgres") as admin:
        admin.execute("REVOKE pg_read_all_stats FROM keybuzz_operator")
    with replica_admin(fresh_lab) as standby:
        wait_until(standby, "SELECT NOT pg_has_role('keybuzz_operator', 'pg_read_all_stats', 'USAGE')")
    assert_closed(ask(preflight.replication), "it needs pg_read_all_stats")
    backup = replace(PHASE.backup, targets=("leader",))
    alone = replace(targeting(replica=None, legacy=None), baseline=None, backup=backup)
    ready = ask(preflight.readiness, alone, folder=Path("/"))
    assert failed(ready, Verdict.ERROR) == {
        ("nothing_blocks", "leader", "sessions and locks"),
        ("connections_are_free", "leader", "connections"),
    }
    assert_closed(ready, "GRANT pg_read_all_stats")


def test_parity_that_cannot_be_compared_is_error(lab: Lab) -> None:
    revoke, grant = "REVOKE SELECT ON {} FROM keybuzz_operator", "GRANT SELECT ON {} TO keybuzz_operator"
    with undone(lab, "keybuzz_backend", revoke.format('"OAuthState"'), grant.format('"OAuthState"')):
        answer = ask(preflight.replication)
    assert failed(answer, Verdict.ERROR) == {
        ("catalog_is_that_of_primary", "replica", "catalogue"),
        ("rows_are_those_of_primary", "replica", "declared tables"),
    }
    assert_closed(answer, "permission denied for table OAuthState")


def test_the_standby_is_stopped(fresh_lab: Lab, tmp_path: Path) -> None:
    fresh_lab.replica.stop()
    expected = {
        preflight.targets: ("target_answers", "replica", "keybuzz_replica"),
        preflight.find_objects: ("object_is_found", "replica", "every database"),
        preflight.schema: ("has_table", "replica", "every object"),
        preflight.replication: ("standby_has_replayed", "replica", "keybuzz_replica"),
        preflight.privileges: ("role_may", "replica", "privileges"),
        preflight.readiness: ("connections_are_free", "replica", "connections"),
    }
    for question, finding in expected.items():
        options = {"folder": tmp_path} if question is preflight.readiness else {}
        answer = ask(question, **options)
        assert finding in failed(answer, Verdict.ERROR)
        assert {target for _, target, _ in failed(answer, Verdict.ERROR)} == {"replica"}
        assert_closed(answer, "Connection refused")


def test_the_legacy_database_is_renamed(fresh_lab: Lab) -> None:
    with fresh_lab.admin("postgres") as admin:
        admin.execute("ALTER DATABASE keybuzz RENAME TO keybuzz_old")
    answer = ask(preflight.targets)
    assert failed(answer, Verdict.ERROR) == {("target_answers", "legacy", "keybuzz_legacy")}
    assert_closed(answer, 'database "keybuzz" does not exist')
    assert "legacy" in {target for _, target, _ in failed(ask(preflight.find_objects), Verdict.ERROR)}


# -- readiness -----------------------------------------------------------------


def test_readiness_passes(lab: Lab, tmp_path: Path) -> None:
    answer = ask(preflight.readiness, folder=tmp_path)
    assert passes(answer)
    assert {f.check for f in answer.findings} == {
        "nothing_blocks", "collation_version_is", "connections_are_free", "disk_is_free", "scratch_has_extensions",
    }  # fmt: skip
    assert answer.facts.database_bytes > 1_000_000
    assert answer.facts.free_bytes > 0


def test_privileges_pass(lab: Lab) -> None:
    answer = ask(preflight.privileges)
    assert passes(answer)
    assert {f.check for f in answer.findings} == {"role_may"}
    needs = {(f.target, f.object) for f in answer.findings}
    assert ("legacy", "SET ROLE kb_backend") in needs
    assert ("legacy", "CREATE in schema public as kb_backend") in needs
    assert ("leader", 'INSERT on "public"."_prisma_migrations"') in needs
    assert ("replica", 'SELECT on "public"."OAuthState"') in needs


@pytest.mark.parametrize(
    ("where", "do", "undo", "target", "need"),
    [
        (
            "keybuzz_backend",
            'REVOKE SELECT ON "OAuthState" FROM keybuzz_operator',
            'GRANT SELECT ON "OAuthState" TO keybuzz_operator',
            "leader",
            'SELECT on "public"."OAuthState"',
        ),
        (
            "keybuzz_backend",
            "REVOKE INSERT ON _prisma_migrations FROM keybuzz_operator",
            "GRANT INSERT ON _prisma_migrations TO keybuzz_operator",
            "leader",
            'INSERT on "public"."_prisma_migrations"',
        ),
        (
            "keybuzz",
            "REVOKE CREATE ON SCHEMA public FROM kb_backend",
            "GRANT CREATE ON SCHEMA public TO kb_backend",
            "legacy",
            "CREATE in schema public as kb_backend",
        ),
    ],
)
def test_a_missing_privilege_is_named(
    lab: Lab, where: str, do: str, undo: str, target: str, need: str
) -> None:
    with undone(lab, where, do, undo):
        answer = ask(preflight.privileges, targeting(replica=None))
    assert failed(answer) == {("role_may", target, need)}
    assert_closed(answer, f"run this in {where}", "GRANT ")


def test_an_owner_that_is_not_there_or_not_granted(lab: Lab) -> None:
    for owner in ("kb_legacy", "nobody_of_this_name"):
        tables: tuple[Table, ...] = (replace(PHASE.tables[0], owner=owner), *PHASE.tables[1:])
        phase = targeting(replace(PHASE, tables=tables), replica=None)
        answer = ask(preflight.privileges, phase)
        assert ("role_may", "legacy", f"SET ROLE {owner}") in failed(answer)


def test_an_old_transaction_blocks(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The minute after which a transaction is old is not waited for: the constant is made small."""
    with lab.admin("keybuzz") as other, other.transaction():
        (pid,) = other.execute("SELECT pg_backend_pid()").fetchone() or (0,)
        assert passes(ask(preflight.readiness, folder=tmp_path))
        monkeypatch.setattr(readiness_module, "OLD_TRANSACTION_S", 0)
        answer = ask(preflight.readiness, folder=tmp_path)
        assert failed(answer) == {("nothing_blocks", "legacy", f"transaction {pid}")}
        assert_closed(answer, "postgres (runbooks)", "pg_terminate_backend")


def test_a_lock_on_a_declared_table_blocks(lab: Lab, tmp_path: Path) -> None:
    with lab.admin("keybuzz_backend") as other, other.transaction():
        (pid,) = other.execute("SELECT pg_backend_pid()").fetchone() or (0,)
        other.execute('LOCK TABLE "OAuthState" IN SHARE ROW EXCLUSIVE MODE')
        answer = ask(preflight.readiness, targeting(replica=None), folder=tmp_path)
        assert failed(answer) == {("nothing_blocks", "leader", f"lock {pid}")}
        assert_closed(answer, "ShareRowExclusiveLock on public.")


@fault(
    kind="database",
    fault="a transaction of two phases was prepared and forgotten",
    injected="CREATE TABLE, PREPARE TRANSACTION, and its session ends",
    seen="by the preflight, before anything waits for its locks",
    told="the transaction's name; ROLLBACK PREPARED",
    goes_on="ROLLBACK PREPARED or COMMIT PREPARED, then the run again",
    fast=True,
)
def test_a_prepared_transaction_blocks(fresh_lab: Lab, tmp_path: Path) -> None:
    fresh_lab.replica.stop()  # a standby needs at least its primary's max_prepared_transactions
    with fresh_lab.admin("postgres") as admin:
        admin.execute("ALTER SYSTEM SET max_prepared_transactions = 2")
    fresh_lab.leader.stop()
    fresh_lab.leader.start()
    fresh_lab.leader.wait_ready()
    before = dumps(fresh_lab)
    with fresh_lab.admin("keybuzz") as admin:
        admin.execute("BEGIN")
        admin.execute("CREATE TABLE forgotten (id int)")
        admin.execute("PREPARE TRANSACTION 'left behind'")
    answer = ask(preflight.readiness, targeting(replica=None), folder=tmp_path)
    require_unchanged(before, dumps(fresh_lab))
    assert failed(answer) == {("nothing_blocks", "legacy", "prepared transaction left behind")}
    assert_closed(answer, "ROLLBACK PREPARED")
    with fresh_lab.admin("keybuzz") as admin:
        admin.execute("ROLLBACK PREPARED 'left behind'")
    assert passes(ask(preflight.readiness, targeting(replica=None), folder=tmp_path))


def test_too_few_connections(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of taking all slots of a shared lab, the bound is raised above what the server has."""
    monkeypatch.setattr(preflight, "MIN_FREE_CONNECTIONS", 1_000)
    answer = ask(preflight.readiness, folder=tmp_path)
    assert failed(answer) == {("connections_are_free", name, "connections") for name in PHASE.targets}
    assert_closed(answer, "at least 1000")


def test_no_connection_is_left(fresh_lab: Lab, tmp_path: Path) -> None:
    with fresh_lab.admin("postgres") as admin:
        admin.execute("ALTER ROLE keybuzz_operator CONNECTION LIMIT 0")
    answer = ask(preflight.readiness, targeting(replica=None), folder=tmp_path)
    assert_closed(answer, 'too many connections for role "keybuzz_operator"', "ERROR disk_is_free")
    assert not [f for f in answer.findings if f.verdict is Verdict.PASS]


def test_a_full_disk(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk with one byte left is not to be had: what the system says of it is put in its place."""
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(total=2, used=1, free=1))
    answer = ask(preflight.readiness, folder=tmp_path)
    assert failed(answer) == {("disk_is_free", "-", preflight.DISK)}
    assert_closed(answer, "--runs DIR")


def test_a_folder_that_is_not_there(lab: Lab, tmp_path: Path) -> None:
    answer = ask(preflight.readiness, folder=tmp_path / "none")
    assert failed(answer, Verdict.ERROR) == {("disk_is_free", "-", preflight.DISK)}
    assert_closed(answer, "No such file or directory")


def test_the_declared_role_is_what_counts(lab: Lab) -> None:
    """A standby declared a primary is refused, whatever it is called."""
    phase = targeting(replica={"role": Role.PRIMARY, "primary": None})
    assert failed(ask(preflight.targets, phase)) == {("target_role_is", "replica", "keybuzz_replica")}
    with Sessions(phase.targets) as sessions, pytest.raises(ConnectionFailed, match="declared a primary"):
        sessions.read("replica")


def test_an_index_that_was_dropped_is_told_with_its_statement(fresh_lab: Lab) -> None:
    with fresh_lab.admin("keybuzz_backend") as admin:
        admin.execute("DROP INDEX oauth_states_state_key")
    answer = ask(preflight.schema)
    (hint,) = {f.hint for f in answer.findings if f.check == "has_index" and f.verdict is Verdict.FAIL}
    assert hint.startswith(
        "Create it again on the primary: CREATE UNIQUE INDEX oauth_states_state_key ON public."
    )
    assert hint.endswith("`runbooks explain has_index`")
    assert_closed(
        answer, "has_index leader, replica public.oauth_states_state_key: found absent, expected there"
    )
