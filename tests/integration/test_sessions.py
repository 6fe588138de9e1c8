"""Guarded sessions: they only read unless asked, and only where the phase says."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from runbooks_lib.errors import ConnectionFailed, PreconditionFailed
from runbooks_lib.lab.lab import Lab
from runbooks_lib.phase import Role, load_phase
from runbooks_lib.postgres.catalog.catalog import count_rows, read_catalog
from runbooks_lib.postgres.queries import query
from runbooks_lib.postgres.session import connect as connect_module
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.postgres.session.service_file import require_services, service_names

TARGETS = load_phase("PH15-AMAZON-DB-FOUNDATION-01").targets
TIMEOUTS = {"lock_timeout_ms": 1_000, "statement_timeout_ms": 2_000}


@pytest.fixture
def sessions(lab: Lab) -> Iterator[Sessions]:
    with Sessions(TARGETS, application_name="x" * 80) as opened:
        yield opened


def one(conn: psycopg.Connection[dict[str, Any]], statement: str) -> dict[str, Any]:
    row = conn.execute(statement).fetchone()
    assert row is not None
    return row


@pytest.mark.parametrize("target", TARGETS)
def test_a_reading_session_cannot_write(sessions: Sessions, target: str) -> None:
    conn = sessions.read(target)
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        conn.execute("CREATE TABLE public.x (id int)")
    with (
        pytest.raises(ConnectionFailed, match="read-only transaction"),
        sessions.snapshot("leader") as snapshot,
    ):
        snapshot.execute("UPDATE public._prisma_migrations SET logs = ''")


def test_settings_of_a_session(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGOPTIONS", "-c search_path=public")
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    names = (
        "search_path",
        "row_security",
        "TimeZone",
        "application_name",
        "statement_timeout",
        "client_encoding",
    )
    row = one(sessions.read("leader"), "SELECT " + ", ".join(f"current_setting('{n}') AS {n}" for n in names))
    assert row == {
        "search_path": "pg_catalog", "row_security": "off", "timezone": "UTC", "application_name": "x" * 63,
        "statement_timeout": "1min", "client_encoding": "UTF8",
    }  # fmt: skip


def test_a_snapshot_sees_nothing_that_comes_later(lab: Lab, sessions: Sessions) -> None:
    with lab.admin("postgres") as admin:
        admin.execute("CREATE DATABASE snapshot_test TEMPLATE keybuzz_backend")
        try:
            targets = {"leader": replace(TARGETS["leader"], database="snapshot_test")}
            with Sessions(targets) as own, lab.admin("snapshot_test") as other:
                with own.snapshot("leader") as conn:
                    before = count_rows(conn, ("public.OAuthState",))
                    other.execute('DELETE FROM "OAuthState"; CREATE TABLE later (id int)')
                    assert count_rows(conn, ("public.OAuthState",)) == before == {"public.OAuthState": 5}
                    assert "public.later" not in read_catalog(conn).relations
                with own.snapshot("leader") as conn:
                    assert count_rows(conn, ("public.OAuthState",)) == {"public.OAuthState": 0}
                    assert "public.later" in read_catalog(conn).relations
                    assert count_rows(conn, ()) == {}
        finally:
            admin.execute("DROP DATABASE snapshot_test WITH (FORCE)")


def test_a_slow_query_is_ended(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    with connect_module.connect(
        TARGETS["leader"], application_name="t", statement_timeout_ms=20
    ) as conn, pytest.raises(psycopg.errors.QueryCanceled):  # fmt: skip
        conn.execute("SELECT pg_sleep(5)")


def test_writing(lab: Lab, sessions: Sessions) -> None:
    server = sessions.identity("legacy").parts()
    with sessions.write("legacy", **TIMEOUTS, server=server) as conn:
        row = one(
            conn, "SELECT current_setting('lock_timeout') AS l, current_setting('statement_timeout') AS s"
        )
        assert row == {"l": "1s", "s": "2s"}
        conn.execute("SET ROLE kb_backend")
        conn.execute("CREATE TABLE public.written (id int)")
        conn.execute("DROP TABLE public.written")
    assert conn.closed


@pytest.mark.parametrize(
    ("changes", "server", "words"),
    [
        ({"service": "keybuzz_replica", "database": "keybuzz"}, None, "leads to a standby"),
        ({"service": "keybuzz_replica", "database": "keybuzz", "role": Role.STANDBY}, None, "is a standby"),
        ({"role": Role.STANDBY}, None, "leads to a primary"),
        (
            {},
            {"system_identifier": "7000000000000000001"},
            "system_identifier was 7000000000000000001 and is",
        ),
        ({"service": "keybuzz_nowhere"}, None, "not found"),
    ],
)
def test_writing_is_refused(
    lab: Lab, changes: dict[str, Any], server: dict[str, Any] | None, words: str
) -> None:
    targets = {"legacy": replace(TARGETS["legacy"], **changes)}
    with (
        Sessions(targets) as sessions,
        pytest.raises(ConnectionFailed, match=words),
        sessions.write("legacy", **TIMEOUTS, server=server),
    ):
        pytest.fail("the block must not be entered")


def test_a_lost_session_is_opened_anew_and_identified_anew(
    lab: Lab, sessions: Sessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failover the service may lead to another server: what was known of the old one is worth nothing."""
    assert sessions.identity("leader").role is Role.PRIMARY
    (pid,) = one(sessions.read("leader"), "SELECT pg_backend_pid() AS pid").values()
    text = Path(lab.env()["PGSERVICEFILE"]).read_text()
    own = tmp_path / "pg_service.conf"
    own.write_text(text.replace(f"port={lab.leader.port}", f"port={lab.replica.port}", 1))
    monkeypatch.setenv("PGSERVICEFILE", str(own))
    with lab.admin("postgres") as admin:
        admin.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
    with pytest.raises(ConnectionFailed, match="could not be read"), sessions.snapshot("leader") as conn:
        conn.execute("SELECT 1")
    with pytest.raises(ConnectionFailed, match="leads to a standby"):
        sessions.read("leader")


def test_sessions_are_closed(lab: Lab) -> None:
    with Sessions(TARGETS, application_name="runbooks close test") as sessions:
        for name in TARGETS:
            sessions.read(name)
    with lab.admin("postgres") as admin:
        rows = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'runbooks close test'"
        assert admin.execute(rows).fetchone() == (0,)


def test_services_that_are_missing_are_named(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_services(TARGETS)
    assert "keybuzz_leader" in service_names()
    own = tmp_path / "services"
    own.write_text("# mine\n[keybuzz_leader]\nhost=x\npassword=S3cr3t#=x\n\n[keybuzz_legacy]\n")
    monkeypatch.setenv("PGSERVICEFILE", str(own))
    with pytest.raises(PreconditionFailed) as missing:
        require_services(TARGETS)
    assert '"keybuzz_replica" (target replica)' in str(missing.value)
    assert "keybuzz_leader, keybuzz_legacy" in str(missing.value)
    assert str(own) in str(missing.value)
    assert "S3cr3t" not in str(missing.value)
    for content in ("no section\n", "", None):
        own.unlink(missing_ok=True)
        if content is not None:
            own.write_text(content)
        with pytest.raises(PreconditionFailed, match="no PostgreSQL service"):
            require_services(TARGETS)


def test_every_query_is_there_and_a_missing_one_is_an_error() -> None:
    assert query("identity").startswith("--")
    with pytest.raises(FileNotFoundError):
        query("nothing")


def test_a_server_that_says_nothing_is_waited_for_once(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute, Sessions(TARGETS) as sessions:
        file = tmp_path / "services.conf"
        port = mute.getsockname()[1]
        file.write_text(f"[keybuzz_leader]\nhost=127.0.0.1\nport={port}\nconnect_timeout=2\n", "utf-8")
        monkeypatch.setenv("PGSERVICEFILE", str(file))
        took = []
        for _ in range(3):
            if len(took) == 2:
                sessions.retry()
            began = time.monotonic()
            with pytest.raises(ConnectionFailed):
                sessions.identity("leader")
            took.append(time.monotonic() - began)
        assert took[0] > 1 > took[1] < took[2]
        assert took[2] > 1
