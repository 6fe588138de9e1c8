"""What a session was told holds, or the session is refused: settings of roles and databases, poolers, options."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from runbooks_lib.errors import ConnectionFailed
from runbooks_lib.lab.lab import Lab
from runbooks_lib.phase import load_phase
from runbooks_lib.postgres.catalog.catalog import read_catalog
from runbooks_lib.postgres.catalog.differences import Described, describe
from runbooks_lib.postgres.session.connect import Sessions, connect
from runbooks_lib.postgres.session.session import SETTINGS

from ..faults.campaign import fault

TARGETS = load_phase("PH15-AMAZON-DB-FOUNDATION-01").targets
Pooler = Callable[..., AbstractContextManager[dict[str, str]]]
OTHERWISE = {
    "search_path": "public, pg_catalog",
    "row_security": "on",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "on",
    "idle_in_transaction_session_timeout": "7",
    "idle_session_timeout": "70000",
    "statement_timeout": "9000",
    "timezone": "Asia/Kathmandu",
    "datestyle": "SQL, DMY",
    "intervalstyle": "iso_8601",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "xmlbinary": "hex",
    "xmloption": "document",
    "quote_all_identifiers": "on",
    "standard_conforming_strings": "off",
    "transform_null_equals": "on",
    "constraint_exclusion": "on",
    "gin_fuzzy_search_limit": "1",
    "check_function_bodies": "off",
    "client_min_messages": "error",
    "client_encoding": "LATIN1",
}


@contextmanager
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **changes: str) -> Iterator[None]:
    """Give the services of the environment other parameters for the block."""
    text = Path(os.environ["PGSERVICEFILE"]).read_text()
    own = tmp_path / "pg_service.conf"
    more = "".join(f"{name}={value}\n" for name, value in changes.items())
    own.write_text(text.replace("]\n", f"]\n{more}"))
    with monkeypatch.context() as patch:
        patch.setenv("PGSERVICEFILE", str(own))
        yield


@pytest.mark.parametrize("scope", ["ROLE keybuzz_operator", "DATABASE keybuzz_backend"])
def test_settings_of_roles_and_databases_change_nothing(fresh_lab: Lab, scope: str) -> None:
    """Not what is printed, not the time-outs, not that a standby answers at all: serializable is refused there."""

    def seen() -> dict[str, tuple[Described, Any]]:
        with Sessions(TARGETS) as sessions:
            found = {}
            for name in ("leader", "replica"):
                with sessions.snapshot(name) as conn:
                    statement = sql.SQL("SELECT {}").format(
                        sql.SQL(", ").join(
                            sql.SQL("current_setting({}) AS {}").format(n, sql.Identifier(n))
                            for n in OTHERWISE
                        )
                    )
                    described = describe(
                        read_catalog(conn)
                    )  # a database's settings are themselves part of it
                    others = {key: value for key, value in described.items() if key[0] != "setting"}
                    found[name] = others, conn.execute(statement).fetchone()
            return found

    with fresh_lab.admin("keybuzz_backend") as admin:
        admin.execute(
            "CREATE TABLE bytes (a bytea DEFAULT '\\xdeadbeef', b interval DEFAULT '1 day 2 hours')"
        )
        admin.execute("SELECT pg_switch_wal()")
        before = seen()
        for setting, value in OTHERWISE.items():
            admin.execute(f"ALTER {scope} SET {setting} = '{value}'".encode())
        admin.execute("SELECT pg_switch_wal()")
        fresh_lab._pair.wait_streaming()
        assert seen() == before
        with connect(TARGETS["leader"], application_name="t", read_only=False) as conn:
            conn.execute("CREATE TEMPORARY TABLE written (id int)")


def test_a_superuser_whose_triggers_are_off_by_a_setting_has_them(fresh_lab: Lab) -> None:
    target = replace(TARGETS["leader"], service="keybuzz_admin")
    with fresh_lab.admin("postgres") as admin:
        admin.execute("ALTER ROLE postgres SET session_replication_role = replica")
    with connect(target, application_name="t") as conn:
        row = conn.execute("SHOW session_replication_role").fetchone()
        assert row == {"session_replication_role": "origin"}
    with fresh_lab.admin("postgres") as admin:
        admin.execute("ALTER ROLE keybuzz_operator SET session_replication_role = replica")
    with pytest.raises(ConnectionFailed, match="session_replication_role is 'replica', not 'origin'"):
        connect(TARGETS["leader"], application_name="t")


def test_functions_of_others_in_the_search_path_set_nothing(fresh_lab: Lab) -> None:
    """A database's owner may put a schema of his own first; what we call is PostgreSQL's all the same."""
    with fresh_lab.admin("keybuzz_backend") as admin:
        admin.execute(
            "CREATE SCHEMA evil; GRANT USAGE ON SCHEMA evil TO PUBLIC;"
            "CREATE FUNCTION evil.set_config(text, text, boolean) RETURNS text LANGUAGE sql AS 'SELECT $2';"
            "CREATE FUNCTION evil.current_setting(text, boolean) RETURNS text LANGUAGE sql AS 'SELECT NULL::text';"
            "CREATE FUNCTION evil.yes(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';"
            "CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.yes);"
            "ALTER DATABASE keybuzz_backend SET search_path = evil, pg_catalog"
        )
    with connect(TARGETS["leader"], application_name="t") as conn:
        assert conn.execute("SHOW search_path").fetchone() == {"search_path": "pg_catalog"}
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            conn.execute("CREATE TABLE public.x ()")


@fault(
    kind="network",
    fault="a session loses its setting {setting} on the way",
    injected="RESET in the session, as a pooler's reset does",
    seen="settings are read back before each snapshot",
    told="ERROR: which setting is what; PgBouncer",
    goes_on="name the server's own port in the service, then the same command",
    fast=True,
)
@pytest.mark.parametrize("setting", ["search_path", "default_transaction_read_only", "row_security"])
def test_a_setting_that_is_lost_on_the_way_is_named(lab: Lab, setting: str) -> None:
    with Sessions(TARGETS) as sessions:
        conn = sessions.read("leader")
        conn.execute(f"RESET {setting}".encode())
        with pytest.raises(ConnectionFailed, match=f"{setting} is .*PgBouncer"), sessions.snapshot("leader"):
            pytest.fail("the block must not be entered")


# -- poolers -------------------------------------------------------------------


@pytest.fixture
def pooled(
    lab: Lab, pooler: Pooler, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., AbstractContextManager[None]]:
    @contextmanager
    def through(*arguments: str, **options: str) -> Iterator[None]:
        with pooler(lab, *arguments, **options) as env, monkeypatch.context() as patch:
            for name, value in env.items():
                patch.setenv(name, value)
            yield

    return through


@fault(
    kind="network",
    fault="PgBouncer in {mode} mode {more}",
    injected="a real PgBouncer before the leader, for reading and for writing",
    seen="two transactions of one session are answered by different servers",
    told="ERROR: PgBouncer in this mode; use the server's own port, or session mode",
    goes_on="name the server's own port in the service, then the same command",
    fast=True,
)
@pytest.mark.parametrize("mode", ["transaction", "statement"])
@pytest.mark.parametrize("more", ["", "server_round_robin=1", "server_reset_query_always=1"])
@pytest.mark.parametrize("read_only", [True, False])
def test_a_pooler_that_swaps_servers_is_refused(pooled: Any, mode: str, more: str, read_only: bool) -> None:
    with pooled(mode, more=more), pytest.raises(ConnectionFailed) as refused:
        connect(TARGETS["leader"], application_name="t", read_only=read_only)
    assert "PgBouncer" in str(refused.value)
    assert "server's own port" in refused.value.what_to_do
    assert "session mode" in refused.value.what_to_do


@fault(
    kind="network",
    fault="PgBouncer in transaction mode: its other clients",
    injected="three refused attempts, then another client",
    seen="its settings are the server's own",
    told="nothing: what was refused has set nothing",
    goes_on="nothing has to be done",
    fast=True,
)
def test_a_pooler_that_is_refused_was_told_nothing(pooled: Any) -> None:
    """What is set in one of its servers would be the next client's setting: a read-only one, perhaps."""
    with pooled("transaction"):
        for _ in range(3):
            with pytest.raises(ConnectionFailed, match="PgBouncer"):
                connect(TARGETS["leader"], application_name="t")
        with psycopg.connect("service=keybuzz_leader dbname=keybuzz_backend") as conn:
            row = conn.execute(
                "SELECT current_setting('search_path'), current_setting('transaction_read_only')"
            )
            assert row.fetchone() == ('"$user", public', "off")


@fault(
    kind="network",
    fault="PgBouncer in transaction mode, busy with others",
    injected="four other clients keep its servers busy",
    seen="the session is not the same twice",
    told="ERROR: PgBouncer; use the server's own port, or session mode",
    goes_on="name the server's own port in the service, then the same command",
    fast=True,
)
def test_a_pooler_with_other_clients_is_refused_too(pooled: Any) -> None:
    """Others keep several servers busy and idle, so that two sessions may get different ones for a while."""
    with pooled("transaction", more="server_round_robin=1"):
        import threading

        done = threading.Event()

        def other() -> None:
            with psycopg.connect("service=keybuzz_leader", prepare_threshold=None, autocommit=True) as conn:
                while not done.is_set():
                    conn.execute("SELECT pg_sleep(0.002)")

        threads = [threading.Thread(target=other) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(10):
                with pytest.raises(ConnectionFailed, match="PgBouncer"):
                    connect(TARGETS["leader"], application_name="t")
        finally:
            done.set()
            for thread in threads:
                thread.join()


@fault(
    kind="network",
    fault="PgBouncer in session mode that ignores the start-up parameter {ignored}",
    injected="a real PgBouncer with ignore_startup_parameters",
    seen="settings are told after the start, and read back",
    told="PASS: sessions are read-only as demanded",
    goes_on="nothing has to be done",
    fast=True,
)
@pytest.mark.parametrize("ignored", ["options", "extra_float_digits"])
def test_a_pooler_in_session_mode_serves(pooled: Any, ignored: str) -> None:
    with pooled("session", ignored=ignored), Sessions(TARGETS) as sessions:
        for name in TARGETS:
            with sessions.snapshot(name) as conn, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                conn.execute("CREATE TABLE public.x ()")
        with sessions.write("leader", lock_timeout_ms=1000, statement_timeout_ms=1000) as conn:
            assert conn.held["lock_timeout"] == "1s"


@fault(
    kind="network",
    fault="PgBouncer that {does} the service's options",
    injected="ignore_startup_parameters without them, and options in the service file",
    seen="what was asked for does not hold",
    told="ERROR: PgBouncer, and which options; ALTER ROLE … SET",
    goes_on="set the option for the role, then the same command",
    fast=True,
)
@pytest.mark.parametrize(("ignored", "does"), [("options", "ignores"), ("extra_float_digits", "refuses")])
def test_a_pooler_that_loses_the_services_options_is_refused(
    pooled: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ignored: str, does: str
) -> None:
    with (
        pooled("session", ignored=ignored),
        services(tmp_path, monkeypatch, options="-c role=keybuzz_operator"),
        pytest.raises(ConnectionFailed, match=f"PgBouncer .* {does} the options") as refused,
    ):
        connect(TARGETS["leader"], application_name="t")
    assert "ALTER ROLE" in refused.value.what_to_do


# -- options -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "setting", "value"),
    [
        ("-c role=kb_backend", "role", "kb_backend"),
        ("-c work_mem=5MB -c geqo=off", "geqo", "off"),
        ("--enable-sort=off", "enable_sort", "off"),
        (r"-c application_name=a\ b -c search_path=x", "search_path", "pg_catalog"),
    ],
)
def test_the_services_options_hold_beside_ours(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str, setting: str, value: str
) -> None:
    target = replace(TARGETS["leader"], service="keybuzz_admin")
    with services(tmp_path, monkeypatch, options=options), connect(target, application_name="t") as conn:
        assert conn.execute("SELECT current_setting(%s) AS v", (setting,)).fetchone() == {"v": value}
        conn.require_held()


def test_options_that_the_server_refuses_are_its_own_words(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        services(tmp_path, monkeypatch, options="-c no_such_setting=1"),
        pytest.raises(ConnectionFailed, match="no_such_setting") as refused,
    ):
        connect(TARGETS["leader"], application_name="t")
    assert "PgBouncer" not in str(refused.value)


def test_every_setting_is_tried_otherwise() -> None:
    assert set(SETTINGS) - set(OTHERWISE) == {"session_replication_role", "lc_monetary"}
