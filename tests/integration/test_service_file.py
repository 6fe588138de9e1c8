"""Services are libpq's: what `psql service=X` accepts leads us to the same place, whatever the environment says."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner

from runbooks_lib.cli import commands
from runbooks_lib.errors import ConnectionFailed
from runbooks_lib.lab.lab import Lab
from runbooks_lib.phase import load_phase
from runbooks_lib.postgres.binaries import clean_environment, from_wheel
from runbooks_lib.postgres.dump.clients import find_clients
from runbooks_lib.postgres.dump.dump import dump_schema
from runbooks_lib.postgres.scratch.scratch import Scratch, scratch
from runbooks_lib.postgres.session.connect import Sessions, connect
from runbooks_lib.postgres.session.service_file import AIMING, parameters_of, service_names
from runbooks_lib.postgres.session.session import another

PHASE = load_phase("PH15-AMAZON-DB-FOUNDATION-01")
LEADER = PHASE.targets["leader"]
BODY = "host=127.0.0.1\nport={port}\ndbname=keybuzz_backend\nuser=keybuzz_operator\n"
NAME = "[keybuzz_leader]\n"
# Each with what psql makes of it; the test asks psql itself.
ODD = {
    "plain": NAME + BODY,
    "byte-order mark before the section": "\ufeff" + NAME + BODY,
    "byte-order mark before a comment": "\ufeff# mine\n" + NAME + BODY,
    "a comment in Latin-1": "# caf\xe9 na\xefve\n" + NAME + "# \xe9\n" + BODY,
    "a line before the first section": "host=nowhere.invalid\nnonsense\n" + NAME + BODY,
    "text behind the name": "[keybuzz_leader] # production\n" + BODY,
    "blanks around everything": "\n\t [keybuzz_leader]\t \n" + BODY.replace("\n", "  \n   "),
    "blanks inside the brackets": "[ keybuzz_leader ]\n" + BODY,
    "blanks around the sign": NAME + BODY.replace("=", " = "),
    "CRLF": (NAME + BODY).replace("\n", "\r\n"),
    "the section twice": NAME + BODY + NAME + "host=nowhere.invalid\n",
    "a key twice": NAME + BODY + "host=nowhere.invalid\n",
    "no end of line": (NAME + BODY).rstrip("\n"),
    "an unknown key": NAME + BODY + "colour=blue\n",
    "a line without a sign": NAME + BODY + "nonsense\n",
    "a service in a service": NAME + BODY + "service=other\n",
    "a section that does not end": "[keybuzz_leader\n" + BODY,
    "quotes are part of a value": NAME + BODY.replace("127.0.0.1", "'127.0.0.1'"),
    "a semicolon is no comment": NAME + "; comment\n" + BODY,
    "a percent sign": NAME + "application_name=100%\n" + BODY,
    "a long line": NAME + BODY + "application_name=" + "x" * 2000 + "\n",
    "hostaddr alone": NAME + BODY.replace("host=", "hostaddr="),
    "hostaddr beside a name": NAME + BODY.replace("host=127.0.0.1", "host=db.invalid\nhostaddr=127.0.0.1"),
    "two hosts": NAME + BODY.replace("127.0.0.1", "127.0.0.1,127.0.0.1").replace("{port}", "1,{port}"),
    "two hosts, one port": NAME + BODY.replace("127.0.0.1", "127.0.0.2,127.0.0.1"),
    "two hosts, three ports": NAME + BODY.replace("127.0.0.1", "a,b").replace("{port}", "1,2,3"),
    "read-write": NAME + "target_session_attrs=read-write\n" + BODY,
    "primary": NAME + "target_session_attrs=primary\n" + BODY,
    "standby": NAME + "target_session_attrs=standby\n" + BODY,
    "prefer-standby": NAME + "target_session_attrs=prefer-standby\n" + BODY,
    "read-only": NAME + "target_session_attrs=read-only\n" + BODY,
    "another section only": "[another]\n" + BODY,
    "empty": "",
}  # fmt: skip


@pytest.mark.parametrize("odd", ODD)
def test_what_psql_accepts_we_accept_and_nothing_else(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, odd: str
) -> None:
    own = tmp_path / "pg_service.conf"
    encoding = "latin-1" if "Latin" in odd else "utf-8"
    own.write_bytes(ODD[odd].replace("{port}", str(lab.leader.port)).encode(encoding))
    monkeypatch.setenv("PGSERVICEFILE", str(own))
    psql = next(place for place in from_wheel()).bindir / "psql"
    asked = "SELECT current_setting('port') || current_user || current_database()"
    said = subprocess.run(
        [psql, "-X", "-A", "-t", "-w", "-c", asked, "service=keybuzz_leader"],
        env=clean_environment(
            {"PGSERVICEFILE": str(own), "PGPASSFILE": lab.env()["PGPASSFILE"], "PGCONNECT_TIMEOUT": "2"}
        ),
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "2")
    if said.returncode == 0:
        with connect(LEADER, application_name="t") as conn:
            assert conn.execute(f"{asked} AS said".encode()).fetchone() == {"said": said.stdout.strip()}
        assert "keybuzz_leader" in service_names()
    else:
        with pytest.raises(ConnectionFailed):
            connect(LEADER, application_name="t")


def test_sockets_and_ipv6_are_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "pg_service.conf"
    own.write_text("[six]\nhostaddr=::1\nport=5433\n[socket]\nhost=/run/somewhere\n[none]\nuser=x\n")
    monkeypatch.setenv("PGSERVICEFILE", str(own))
    assert parameters_of("six")["hostaddr"] == "::1"
    assert parameters_of("six")["host"] == ""
    assert parameters_of("socket")["host"] == "/run/somewhere"
    assert parameters_of("none")["user"] == "x"


# -- the environment -----------------------------------------------------------

HOSTILE = {
    "PGHOST": "nowhere.invalid",
    "PGHOSTADDR": "127.0.0.9",
    "PGPORT": "1",
    "PGDATABASE": "elsewhere",
    "PGSERVICE": "elsewhere",
    "PGOPTIONS": "-c default_transaction_read_only=off -c search_path=evil",
    "PGTARGETSESSIONATTRS": "standby",
    "PGLOADBALANCEHOSTS": "random",
    "PGAPPNAME": "somebody",
    "PGCLIENTENCODING": "LATIN1",
    "PGDATESTYLE": "nonsense",
    "PGTZ": "Nowhere/Nothing",
    "PGGEQO": "nonsense",
    "PGUSER": "nobody_at_all",
}


@pytest.fixture
def hostile(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def put() -> None:
        for name, value in HOSTILE.items():
            monkeypatch.setenv(name, value)

    return put


def test_the_environment_leads_no_session_elsewhere(
    lab: Lab, hostile: Callable[[], None], tmp_path: Path
) -> None:
    with Sessions(PHASE.targets) as sessions:
        before = {name: sessions.identity(name) for name in PHASE.targets}
    hostile()
    assert HOSTILE.keys() > AIMING
    with Sessions(PHASE.targets, application_name="ours") as sessions:
        for name, who in before.items():
            assert sessions.identity(name).parts() == who.parts()
            assert sessions.identity(name).address == "127.0.0.1"
        with sessions.snapshot("leader") as conn, another(conn) as second:
            assert second.info.port == lab.leader.port
            assert conn.execute("SHOW application_name").fetchone() == {"application_name": "ours"}
            snapshot = conn.execute("SELECT pg_export_snapshot() AS id").fetchone() or {}
            file = tmp_path / "d.sql"
            dump_schema(find_clients()[-1], LEADER, conn, file, snapshot=snapshot["id"])
            assert "OAuthState" in file.read_text()
    assert os.environ["PGHOST"] == HOSTILE["PGHOST"]
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect("service=keybuzz_leader connect_timeout=2")  # libpq sees it again


def test_the_environment_leads_no_scratch_and_no_lab_elsewhere(lab: Lab, hostile: Callable[[], None]) -> None:
    """A scratch session elsewhere would make databases there, as a superuser."""
    hostile()
    with scratch() as copy:
        assert isinstance(copy, Scratch)
        with copy.connect("template1") as conn:
            assert conn.info.host == str(copy.cluster.home)
    with lab.admin("postgres") as admin:
        assert admin.info.port == lab.leader.port


@pytest.mark.parametrize(
    ("name", "value"), [("PGPASSWORD", "wrong"), ("PGSSLMODE", "require"), ("PGPASSFILE", "/")]
)
def test_what_proves_who_an_operator_is_stays_the_environments(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConnectionFailed, match="does not answer") as caught:
        connect(LEADER, application_name="t")
    assert caught.value.refused == (name != "PGPASSFILE"), "what has no password has not been refused"


def test_a_user_that_the_service_leaves_open_is_the_environments(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "pg_service.conf"
    own.write_text(Path(lab.env()["PGSERVICEFILE"]).read_text().replace("user=keybuzz_operator\n", ""))
    monkeypatch.setenv("PGSERVICEFILE", str(own))
    monkeypatch.setenv("PGUSER", "keybuzz_operator")
    with connect(LEADER, application_name="t") as conn:
        assert conn.info.user == "keybuzz_operator"


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        (
            None,
            r"There is no pass file .*: write the line 127\.0\.0\.1:\d+:keybuzz_backend:keybuzz_operator:PASSWORD",
        ),
        (0o644, r"has mode 0644, and libpq does not read it: chmod 600 "),
        (0o600, r"has no line for 127\.0\.0\.1:\d+:keybuzz_backend:keybuzz_operator: add "),
    ],
    ids=["missing", "0644", "without the line"],
)
def test_a_password_that_is_not_found_is_told_with_what_to_do(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int | None, said: str
) -> None:
    file = tmp_path / "pass file"
    if mode is not None:
        file.write_text(
            "elsewhere:*:*:*:S3cr3t#x\n" if mode == 0o600 else Path(lab.env()["PGPASSFILE"]).read_text()
        )
        file.chmod(mode)
    monkeypatch.setenv("PGPASSFILE", str(file))
    with pytest.raises(ConnectionFailed) as caught:
        connect(LEADER, application_name="t")
    assert re.search(said, caught.value.what_to_do)
    assert not caught.value.refused
    answers = CliRunner().invoke(commands, ["doctor"])
    assert re.search(said, answers.output)
    assert "S3cr3t" not in answers.output
