"""States of a server, a role or a database that keep the preflight from seeing: each is named, and none is green.

One lab for all: each state is brought about by SQL or a setting, and taken back.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psycopg
import pytest

from runbooks_lib.errors import RunbookError
from runbooks_lib.findings import CLOSING, Finding, Verdict, could_not_run
from runbooks_lib.lab.lab import Lab, running
from runbooks_lib.phase import Phase, load_phase
from runbooks_lib.postgres.scratch.cluster import Cluster
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.steps import preflight

from .campaign import fault
from .proof import dumps, passwords, require_told, require_unchanged

PHASE = load_phase("PH15-AMAZON-DB-FOUNDATION-01")
OPERATOR = "keybuzz_operator"
DATABASE = "keybuzz_backend"
PATIENCE_S = 30


@pytest.fixture(scope="module")
def stage() -> Iterator[Lab]:
    """A lab of this module's own, with its variables in the environment."""
    with running() as lab, pytest.MonkeyPatch.context() as patch:
        for name, value in lab.env().items():
            patch.setenv(name, value)
        yield lab


def look(phase: Phase = PHASE) -> list[Finding]:
    """Ask what the preflight asks of servers, as it asks: a question that cannot be answered is a finding."""
    found: list[Finding] = []
    with Sessions(phase.targets, application_name="runbooks faults") as sessions:
        for question in (preflight.targets, preflight.privileges, preflight.find_objects, preflight.schema,
                         preflight.replication, partial(preflight.readiness, folder=Path("/tmp"))):  # fmt: skip
            try:
                found += question(phase, sessions).findings
            except RunbookError as error:
                found.append(could_not_run("preflight", "-", "-", error))
    assert found
    return found


def closing(found: list[Finding]) -> list[Finding]:
    return [each for each in found if each.verdict in CLOSING]


def told(found: list[Finding]) -> str:
    return " ".join(f"{each.check} {each.target} {each.object}: {each.have}. {each.hint}" for each in found)


def execute(lab: Lab, database: str, *statements: str) -> None:
    with lab.admin(database) as admin:
        for statement in statements:
            admin.execute(statement.encode())


@dataclass(frozen=True, kw_only=True)
class State:
    """A state, by SQL in a database, and back; what the closing findings have to say, and of which targets."""

    fault: str
    do: tuple[str, ...]
    undo: tuple[str, ...]
    cause: str
    next_step: str
    told: str
    goes_on: str
    database: str = DATABASE
    targets: frozenset[str] = frozenset(("leader", "replica"))

    @property
    def injected(self) -> str:
        return self.do[0].replace("{", "").replace("}", "")


EVERYWHERE = frozenset(PHASE.targets)
CONNECT = "psql service=keybuzz_"
NO_WAL = "see primary_conninfo, the slot"
STATES = (
    State(
        fault="the operator's password has expired",
        do=(f"ALTER ROLE {OPERATOR} VALID UNTIL '2020-01-01'",),
        undo=(f"ALTER ROLE {OPERATOR} VALID UNTIL 'infinity'",),
        cause="password authentication failed.*password retrieved from file",
        next_step=CONNECT,
        told="password authentication failed for the role, and which file the password came from",
        goes_on="ALTER ROLE … VALID UNTIL, then the run again",
        targets=EVERYWHERE,
    ),
    State(
        fault="the operator's role may not log in",
        do=(f"ALTER ROLE {OPERATOR} NOLOGIN",),
        undo=(f"ALTER ROLE {OPERATOR} LOGIN",),
        cause="is not permitted to log in",
        next_step=CONNECT,
        told="role … is not permitted to log in",
        goes_on="ALTER ROLE … LOGIN, then the run again",
        targets=EVERYWHERE,
    ),
    State(
        fault="the role's connection limit is reached",
        do=(f"ALTER ROLE {OPERATOR} CONNECTION LIMIT 0",),
        undo=(f"ALTER ROLE {OPERATOR} CONNECTION LIMIT -1",),
        cause="too many connections for role",
        next_step=CONNECT,
        told="too many connections for role …",
        goes_on="raise the limit or end sessions, then the run again",
        targets=EVERYWHERE,
    ),
    State(
        fault="the database's connection limit is reached",
        do=(f"ALTER DATABASE {DATABASE} CONNECTION LIMIT 0",),
        undo=(f"ALTER DATABASE {DATABASE} CONNECTION LIMIT -1",),
        cause="too many connections for database",
        next_step=CONNECT,
        told="too many connections for database …",
        goes_on="raise the limit or end sessions, then the run again",
    ),
    State(
        fault="the database accepts no connections",
        do=(f"ALTER DATABASE {DATABASE} ALLOW_CONNECTIONS false",),
        undo=(f"ALTER DATABASE {DATABASE} ALLOW_CONNECTIONS true",),
        cause="not currently accepting connections",
        next_step=CONNECT,
        told="database … is not currently accepting connections",
        goes_on="ALTER DATABASE … ALLOW_CONNECTIONS, then the run again",
        database="postgres",
    ),
    State(
        fault="the operator may not connect to the database",
        do=(f"REVOKE CONNECT ON DATABASE {DATABASE} FROM PUBLIC, {OPERATOR}",),
        undo=(f"GRANT CONNECT ON DATABASE {DATABASE} TO PUBLIC",),
        cause="permission denied for database",
        next_step=CONNECT,
        told="permission denied for database …",
        goes_on="GRANT CONNECT, then the run again",
    ),
    State(
        fault="the operator is no longer a member of the objects' owner",
        do=(f"REVOKE kb_backend FROM {OPERATOR}",),
        undo=(f"GRANT kb_backend TO {OPERATOR}",),
        cause="kb_backend",
        next_step="GRANT kb_backend TO",
        told="which role cannot be set, with the GRANT that gives it",
        goes_on="run the GRANT, then the run again",
        targets=frozenset(("legacy",)),  # at the leader nothing is made as the owner
    ),
    State(
        fault="the operator has no pg_read_all_stats, as on a managed service",
        do=(f"REVOKE pg_read_all_stats FROM {OPERATOR}",),
        undo=(f"GRANT pg_read_all_stats TO {OPERATOR}",),
        cause="replication, on the primary",
        next_step="GRANT pg_monitor",
        told="what may not be seen, and the GRANT that shows it",
        goes_on="run the GRANT, then the run again",
    ),
    State(
        fault="policies hide rows from the operator (row-level security)",
        do=(
            'ALTER TABLE "OAuthState" ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY',
            'CREATE POLICY nothing ON "OAuthState" USING (false)',
        ),
        undo=(
            'DROP POLICY nothing ON "OAuthState"',
            'ALTER TABLE "OAuthState" DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY',
        ),
        cause='query would be affected by row-level security policy for table "OAuthState"',
        next_step="BYPASSRLS",
        told="rows of the table are hidden by policies: they are not counted",
        goes_on="a role with BYPASSRLS, then the run again",
    ),
)


@fault(
    kind="database",
    fault="{state.fault}",
    injected="{state.injected}",
    seen="by the preflight, before anything is written",
    told="{state.told}",
    goes_on="{state.goes_on}",
    fast=True,
)
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.fault)
def test_a_state_that_keeps_from_looking_is_named(stage: Lab, state: State) -> None:
    before = dumps(stage)
    execute(stage, state.database, *state.do)
    try:
        wait_for_standby(stage)
        found = look()
    finally:
        execute(stage, state.database, *state.undo)
    wait_for_standby(stage)
    assert {each.target for each in closing(found)} >= state.targets
    require_told(told(closing(found)), cause=state.cause, next_step=state.next_step, secrets=passwords(stage))
    require_unchanged(before, dumps(stage))
    assert closing(look()) == []


def wait_for_standby(lab: Lab) -> None:
    """Wait until the standby has replayed what the leader has written."""
    lab._pair.wait_streaming()


@contextmanager
def with_settings(cluster: Cluster, lab: Lab, *settings: str) -> Iterator[None]:
    """Let a server have settings (`name = value`) for the block, without a restart."""
    with cluster.connect("postgres", passfile=lab.env()["PGPASSFILE"]) as admin:
        for setting in settings:
            admin.execute(f"ALTER SYSTEM SET {setting}".encode())
        admin.execute("SELECT pg_reload_conf()")
        try:
            yield
        finally:
            admin.execute("ALTER SYSTEM RESET ALL")
            admin.execute("SELECT pg_reload_conf()")


@fault(
    kind="database",
    fault="pg_hba.conf refuses the operator",
    injected="a reject line for the role at the top of the leader's pg_hba.conf, reloaded",
    seen="by the preflight, before anything is written",
    told="pg_hba.conf rejects connection for host, user, database",
    goes_on="correct pg_hba.conf, reload, then the run again",
    fast=True,
)
def test_pg_hba_refuses_the_operator(stage: Lab) -> None:
    before = dumps(stage)
    path = stage.leader.data / "pg_hba.conf"
    lines = path.read_text("utf-8")
    try:
        path.write_text(f"host all {OPERATOR} all reject\n{lines}", "utf-8")
        execute(stage, "postgres", "SELECT pg_reload_conf()", "SELECT pg_sleep(0.3)")
        found = look()
    finally:
        path.write_text(lines, "utf-8")
        execute(stage, "postgres", "SELECT pg_reload_conf()", "SELECT pg_sleep(0.3)")
    require_told(
        told(closing(found)),
        cause="pg_hba.conf rejects connection",
        next_step=CONNECT,
        secrets=passwords(stage),
    )
    require_unchanged(before, dumps(stage))
    assert closing(look()) == []


@fault(
    kind="database",
    fault="the password file has no line for the role",
    injected="an empty password file",
    seen="by the preflight, before anything is written",
    told="no password supplied, for which service",
    goes_on="a line in the password file, then the run again",
    fast=True,
)
def test_no_password_is_known(stage: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = dumps(stage)
    (tmp_path / "pgpass").touch(0o600)
    with monkeypatch.context() as patch:
        patch.setenv("PGPASSFILE", str(tmp_path / "pgpass"))
        found = look()
    require_told(told(closing(found)), cause="no password supplied", next_step="add 127.0.0.1:")
    require_unchanged(before, dumps(stage))
    assert closing(look()) == []


@fault(
    kind="database",
    fault="no connection slot of the server is left",
    injected="as many sessions of the operator as the server takes (max_connections)",
    seen="by the preflight, before anything is written",
    told="remaining connection slots are reserved",
    goes_on="end sessions, then the run again",
    fast=True,
)
def test_no_slot_is_left(stage: Lab) -> None:
    before = dumps(stage)
    with ExitStack() as stack:
        with suppress(psycopg.OperationalError):
            while True:
                stack.enter_context(psycopg.connect("service=keybuzz_leader"))
        found = look()
    require_told(
        told(closing(found)), cause="slots|too many clients", next_step=CONNECT, secrets=passwords(stage)
    )
    require_unchanged(before, dumps(stage))
    settle(stage)
    assert closing(look()) == []


def settle(lab: Lab) -> None:
    """Wait until the operator's sessions are gone."""
    deadline = time.monotonic() + PATIENCE_S
    with lab.admin("postgres") as admin:
        while admin.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = %s", (OPERATOR,)
        ).fetchone() != (0,):
            assert time.monotonic() < deadline, "a session of the operator stays"
            time.sleep(0.05)


SHADOWS = """
CREATE SCHEMA evil; GRANT USAGE ON SCHEMA evil TO PUBLIC;
CREATE FUNCTION evil.format_type(oid, integer) RETURNS text LANGUAGE sql AS $$ SELECT 'text' $$;
CREATE FUNCTION evil.pg_get_indexdef(oid) RETURNS text LANGUAGE sql AS $$ SELECT 'CREATE INDEX x ON y USING z (w)' $$;
CREATE FUNCTION evil.pg_is_in_recovery() RETURNS boolean LANGUAGE sql AS $$ SELECT true $$;
CREATE FUNCTION evil.current_setting(text) RETURNS text LANGUAGE sql AS $$ SELECT 'evil' $$;
CREATE FUNCTION evil.count("any") RETURNS bigint LANGUAGE internal AS 'pg_num_nulls';
CREATE VIEW evil.pg_class AS SELECT * FROM pg_catalog.pg_class WHERE false;
CREATE VIEW evil.pg_namespace AS SELECT * FROM pg_catalog.pg_namespace WHERE false;
CREATE VIEW evil.pg_index AS SELECT * FROM pg_catalog.pg_index WHERE false;
CREATE VIEW evil.pg_roles AS SELECT * FROM pg_catalog.pg_roles WHERE false;
CREATE TABLE evil."OAuthState" (id int); GRANT SELECT ON evil."OAuthState" TO PUBLIC;
CREATE FUNCTION evil.eq(name, name) RETURNS boolean LANGUAGE sql AS $$ SELECT true $$;
CREATE OPERATOR evil.= (LEFTARG = name, RIGHTARG = name, FUNCTION = evil.eq);
"""
SETTINGS = (
    "default_transaction_read_only = on",
    "statement_timeout = '300ms'",  # what tells a session its own settings has to come through
    "lock_timeout = '1ms'",
    "idle_in_transaction_session_timeout = '1ms'",
    "search_path = evil, pg_catalog",
    "row_security = off",
    "default_transaction_isolation = 'serializable'",
    "TimeZone = 'Asia/Kathmandu'",
    "DateStyle = 'SQL, DMY'",
    "quote_all_identifiers = on",
)


@fault(
    kind="database",
    fault="the {whose} sets read-only, time-outs, another search_path; objects there shadow pg_catalog",
    injected="ALTER {whose} … SET ten settings; functions, views and an operator named like PostgreSQL's own",
    seen="sessions set what they need themselves: nothing is judged otherwise",
    told="the same as without",
    goes_on="nothing is to be done",
    fast=True,
)
@pytest.mark.parametrize("whose", ["ROLE", "DATABASE"])
def test_settings_of_others_and_shadows_change_nothing(stage: Lab, whose: str) -> None:
    expected = {(f.check, f.target, f.object): f for f in look()}
    name = OPERATOR if whose == "ROLE" else DATABASE
    execute(stage, DATABASE, SHADOWS)
    try:
        execute(stage, "postgres", *(f"ALTER {whose} {name} SET {setting}" for setting in SETTINGS))
        before = dumps(stage)
        wait_for_standby(stage)
        found = {(f.check, f.target, f.object): f for f in look()}
        require_unchanged(before, dumps(stage))
    finally:
        execute(stage, "postgres", f"ALTER {whose} {name} RESET ALL")
        execute(stage, DATABASE, "DROP SCHEMA evil CASCADE")
        wait_for_standby(stage)
    worse = [f for key, f in found.items() if f.verdict in CLOSING]
    assert not worse, told(worse)
    passed = {key for key, f in expected.items() if f.verdict is Verdict.PASS}
    assert {key for key in passed if found[key].verdict is not Verdict.PASS} == set()
    assert closing(look()) == []


@fault(
    kind="database",
    fault="{how}",
    injected="{setting}, on the standby",
    seen="by the preflight, which waits ten seconds for the standby",
    told="the standby: {cause}; {next_step}",
    goes_on="let the standby replay, then the run again",
)
@pytest.mark.parametrize(
    ("how", "setting", "cause", "next_step"),
    [
        ("the standby is minutes behind", "recovery_min_apply_delay = '5min'", "behind after", "end the delay"),
        ("the standby receives nothing any more", "primary_conninfo = ''", "none runs", NO_WAL),
        ("the standby's replication slot is gone", "primary_slot_name = 'lost'", "none runs", NO_WAL),
    ],
)  # fmt: skip
def test_a_standby_that_does_not_follow_is_named(
    stage: Lab, how: str, setting: str, cause: str, next_step: str
) -> None:
    wait_for_standby(stage)
    with with_settings(stage.replica, stage, setting):
        time.sleep(1.0)
        execute(stage, DATABASE, f"COMMENT ON TABLE \"OAuthState\" IS '{how.replace(chr(39), '')}'")
        before = dumps(stage)
        found = look()
        require_told(told(closing(found)), cause=cause, next_step=next_step, secrets=passwords(stage))
        assert "replica" in {each.target for each in closing(found)}
        require_unchanged(before, dumps(stage))
    execute(stage, DATABASE, 'COMMENT ON TABLE "OAuthState" IS NULL')
    wait_for_standby(stage)
    stage._pair.wait_streaming()
    assert closing(look()) == []


@fault(
    kind="database",
    fault="an index that CREATE INDEX CONCURRENTLY left invalid",
    injected="CREATE INDEX CONCURRENTLY, cancelled while it waits for an older transaction",
    seen="by the preflight: it has the declared name and definition, and is not valid",
    told="INVALID, of which index; DROP INDEX and create it again, or REINDEX",
    goes_on="REINDEX INDEX CONCURRENTLY, then the run again",
    fast=True,
)
def test_an_invalid_index_is_named(stage: Lab) -> None:
    index = "public.oauth_states_state_idx"
    with stage.admin(DATABASE) as admin, stage.admin(DATABASE) as older:
        (definition,) = admin.execute("SELECT pg_get_indexdef(%s::regclass)", (index,)).fetchone() or ("",)
        admin.execute(f"DROP INDEX {index}".encode())
        with older.transaction():
            older.execute('SELECT 1 FROM "OAuthState"')
            older.execute('LOCK TABLE "OAuthState" IN ROW EXCLUSIVE MODE')
            admin.execute("SET statement_timeout = '300ms'")
            with pytest.raises(psycopg.errors.QueryCanceled):
                admin.execute(definition.replace("INDEX", "INDEX CONCURRENTLY", 1).encode())
    try:
        before = dumps(stage)
        wait_for_standby(stage)
        found = look()
        require_told(told(closing(found)), cause=f"{index}: INVALID", next_step="REINDEX")
        require_unchanged(before, dumps(stage))
    finally:
        execute(stage, DATABASE, f"REINDEX INDEX CONCURRENTLY {index}")
        wait_for_standby(stage)
    assert closing(look()) == []


@fault(
    kind="database",
    fault="a session that is idle in its transaction holds a lock on a declared table",
    injected="LOCK TABLE in a transaction that goes on",
    seen="by the preflight, before anything waits for it",
    told="pid, role and application of the holder, and how to end it",
    goes_on="end it, then the run again",
    fast=True,
)
def test_an_idle_transaction_with_a_lock_is_named(stage: Lab) -> None:
    before = dumps(stage)
    with stage.admin(DATABASE) as other:
        other.execute("SET application_name = 'nightly import'")
        with other.transaction():
            other.execute('LOCK TABLE "OAuthState" IN SHARE ROW EXCLUSIVE MODE')
            found = look()
        require_told(
            told(closing(found)),
            cause=f"{other.info.backend_pid}.*nightly import",
            next_step="pg_terminate_backend",
        )
    require_unchanged(before, dumps(stage))
    assert closing(look()) == []


SORTED = (
    f"UPDATE pg_database SET datcollversion = '0' WHERE datname = '{DATABASE}'",
    "CREATE TABLE sorted (a text COLLATE ucs_basic)",
    "GRANT SELECT ON sorted TO PUBLIC",
    "CREATE UNIQUE INDEX sorted_once ON sorted (a)",
    "UPDATE pg_collation SET collversion = '0' WHERE collname = 'ucs_basic'",
)
AS_BEFORE = (
    f"ALTER DATABASE {DATABASE} REFRESH COLLATION VERSION",
    "ALTER COLLATION ucs_basic REFRESH VERSION",
    "DROP TABLE IF EXISTS sorted",
)


@fault(
    kind="database",
    fault="a library that sorts text has another version than when indexes were made",
    injected="another version is recorded with the collations of a database and of a column",
    seen="by the preflight, at the leader and at its standby",
    told="OPEN: which version is recorded, which one is here, and the indexes that rely on it; REINDEX, REFRESH",
    goes_on="REINDEX, then REFRESH COLLATION VERSION; nothing is held up meanwhile",
    fast=True,
)
def test_a_collation_of_another_version_is_named(stage: Lab) -> None:
    execute(stage, DATABASE, *SORTED)
    try:
        before = dumps(stage)
        wait_for_standby(stage)
        found = look()
        require_unchanged(before, dumps(stage))
    finally:
        execute(stage, DATABASE, *AS_BEFORE)
        wait_for_standby(stage)
    judged = [each for each in found if each.check == "collation_version_is"]
    assert [(each.target, each.verdict) for each in judged] == [
        ("leader", Verdict.OPEN), ("leader", Verdict.OPEN),
        ("replica", Verdict.OPEN), ("replica", Verdict.OPEN), ("legacy", Verdict.PASS),
    ]  # fmt: skip
    for index in ('public."OAuthState_pkey"', "public.sorted_once"):
        require_told(told(judged), cause=f"and 0 is recorded.*{index}", next_step="REINDEX.*REFRESH")
    assert closing(found) == []
    assert {each.verdict for each in look() if each.check == "collation_version_is"} == {Verdict.PASS}


@fault(
    kind="database",
    fault="the operator may not ask for a collation's version",
    injected="REVOKE EXECUTE ON FUNCTION pg_collation_actual_version",
    seen="by the preflight: what cannot be asked is not passed",
    told="permission denied for the function",
    goes_on="GRANT EXECUTE, then the run again",
    fast=True,
)
def test_a_collation_that_cannot_be_asked_for_is_not_passed(stage: Lab) -> None:
    function = "FUNCTION pg_collation_actual_version(oid)"
    execute(stage, DATABASE, f"REVOKE EXECUTE ON {function} FROM PUBLIC")
    try:
        before = dumps(stage)
        wait_for_standby(stage)
        found = closing(look())
        require_unchanged(before, dumps(stage))
    finally:
        execute(stage, DATABASE, f"GRANT EXECUTE ON {function} TO PUBLIC")
        wait_for_standby(stage)
    assert {each.target for each in found} == {"leader", "replica"}
    require_told(told(found), cause="permission denied for function", next_step="GRANT|[Gg]rant|[Cc]heck")


MANY_DEAD_ROWS = """
INSERT INTO "OAuthState" (id, state, "tenantId", "marketplaceType", "expiresAt")
  SELECT 'dead' || n, 'dead' || n, "tenantId", "marketplaceType", "expiresAt"
  FROM generate_series(1, 20000) n, (SELECT * FROM "OAuthState" LIMIT 1) r;
DELETE FROM "OAuthState" WHERE id LIKE 'dead%';
"""


@fault(
    kind="database",
    fault="autovacuum is at work on a declared table",
    injected="autovacuum, made slow and eager; it holds the lock that VACUUM takes",
    seen="it gives its locks up to whoever waits: it blocks nothing",
    told="the same as without",
    goes_on="nothing is to be done",
)
def test_autovacuum_blocks_nothing(stage: Lab) -> None:
    table = 'public."OAuthState"'
    eager = (
        "autovacuum_naptime = 1",
        "autovacuum_vacuum_cost_delay = 100",
        "autovacuum_vacuum_cost_limit = 1",
    )
    with with_settings(stage.leader, stage, *eager), stage.admin(DATABASE) as admin:
        until_vacuumed = (
            "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE backend_type = 'autovacuum worker'"
            " AND relation = %s::regclass"
        )
        admin.execute(MANY_DEAD_ROWS)
        deadline = time.monotonic() + PATIENCE_S
        while admin.execute(until_vacuumed, (table,)).fetchone() == (0,):
            assert time.monotonic() < deadline, "autovacuum did not come"
            time.sleep(0.02)
        found = [each for each in look() if each.check == "nothing_blocks"]
        assert admin.execute(until_vacuumed, (table,)).fetchone() != (0,), "it was at work all the time"
    assert {each.verdict for each in found} == {Verdict.PASS}, told(closing(found))
