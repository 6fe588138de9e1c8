"""Passwords that are ordinary words destroy nothing, and are masked where passwords stand; strong ones everywhere."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from runbooks_lib.archive.files import write_json, write_text
from runbooks_lib.archive.masking.mask import MASK, Masker, redact
from runbooks_lib.archive.masking.sources import known_secrets, weak_secrets
from runbooks_lib.archive.reader import read_json
from runbooks_lib.archive.run import Run
from runbooks_lib.archive.seal.secret_scan import scan
from runbooks_lib.cli import commands
from runbooks_lib.errors import EvidenceError, PreconditionFailed
from runbooks_lib.phase import load_phase

PHASE = "PH15-AMAZON-DB-FOUNDATION-01"
WEAK = [
    "PASS", "FAIL", "public", "plan", "null", "true", "1", "0", "20260107", "keybuzz_operator", "keybuzz_backend",
    "has_table", "execution_count", "MarketplaceConnection", "verdict", "table", '": "', "{", "e", "preflight", PHASE,
    "leader", "\\", "'", "été", "baseline.sql", "the_service",
]  # fmt: skip
STRONG = [
    "hunter2hunter2",
    "Tr0ub4dor&3",
    "correcthorsebattery",
    "kX8djj2kslqpzmDSJKx1",
    "p@ssw!",
    "Sommer2024!",
    "é€ü-😀x",
]


@pytest.fixture(autouse=True)
def nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name not in ("PATH", "TMPDIR", "VIRTUAL_ENV"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".pg_service.conf").write_text(
        "[the_service]\nhost=db.example\nuser=keybuzz_operator\ndbname=shop\n"
    )


def with_password(monkeypatch: pytest.MonkeyPatch, password: str) -> None:
    monkeypatch.setenv("PGPASSWORD", password)


@pytest.mark.parametrize("password", WEAK)
def test_a_run_with_such_a_password_is_as_one_with_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    record = json.loads(
        (Path(__file__).parent / "evidence" / "applied" / "01_preflight.json").read_text("utf-8")
    )
    with_password(monkeypatch, password)
    phase = load_phase(PHASE)
    run = Run.create(tmp_path / "runs", phase)
    for name in ("phase.toml", "baseline.sql"):
        assert (run.path / "plan" / name).read_bytes() == (phase.folder / name).read_bytes()
    tomllib.loads((run.path / "plan" / "phase.toml").read_text("utf-8"))
    write_json(run.path / "01_preflight.json", record)
    assert run.record_json("preflight") == record
    scan(run)
    assert not known_secrets().strong
    assert weak_secrets() == ["environment variable PGPASSWORD"]


@pytest.mark.parametrize(
    "password", ["PASS", "public", "plan", "null", "1", "true", "keybuzz_operator", "has_table", "é"]
)
@pytest.mark.parametrize(
    "text",
    [
        "postgresql://u:{}@h:5432/d", "could not connect to amqp://u:{}@h/v", "host=h password={} dbname=d",
        "host=h password='{}' dbname=d", 'password="{}"', "PGPASSWORD={} psql", "MY_API_KEY={}", "DB_PASS={}",
        '{{"password": "{}"}}', "sslpassword = {}", "Authorization: Bearer {}", "ALTER ROLE x PASSWORD '{}'",
        "https://h/x?token={}&a=b", "secret: {}",
    ],
)  # fmt: skip
def test_it_is_masked_where_a_password_stands(
    monkeypatch: pytest.MonkeyPatch, password: str, text: str
) -> None:
    with_password(monkeypatch, password)
    said = f"{text.format(password)} and then {password} is a word."
    masked = redact(said)
    assert MASK in masked
    assert masked == f"{text.format(MASK)} and then {password} is a word."


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgres://u:an-unknown-one@h/d", "postgres://u:***@h/d"),
        ("authorization: Basic dTpw", "authorization: Basic ***"),
        ("PGPASSWORD='what ever' psql", "PGPASSWORD=*** psql"),
        ("see https://h:8080/a and b@c", "see https://h:8080/a and b@c"),
        ("s3://bucket/runs", "s3://bucket/runs"),
        ("12 PASS: 1 FAIL", "12 PASS: 1 FAIL"),
        ("password authentication failed for user", "password authentication failed for user"),
    ],
)
def test_where_only_a_secret_can_stand_an_unknown_one_is_masked_too(text: str, masked: str) -> None:
    assert redact(text) == masked
    assert redact(masked) == masked


def test_in_json_it_is_masked_by_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    with_password(monkeypatch, "plan")
    value = {
        "password": "plan",
        "mode": "plan",
        "db_pass": "plan",
        "deep": [{"token": "plan", "bypass": "plan"}],
    }
    assert Masker().value(value) == {
        "password": MASK, "mode": "plan", "db_pass": MASK, "deep": [{"token": MASK, "bypass": "plan"}]
    }  # fmt: skip


@pytest.mark.parametrize("password", STRONG)
def test_a_strong_one_is_masked_and_found_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    with_password(monkeypatch, password)
    assert weak_secrets() == []
    assert (
        redact(f"a word {password}, and no password= before it")
        == f"a word {MASK}, and no password= before it"
    )
    run = Run.create(tmp_path / "runs", load_phase(PHASE))
    (run.path / "backup" / "a.sql").write_text(f"-- {password}\n", "utf-8")
    with pytest.raises(EvidenceError, match=r"backup/a\.sql holds that of environment variable PGPASSWORD"):
        scan(run)


@pytest.mark.parametrize(
    ("password", "sql", "refused"),
    [
        ("hunter2hunter2", "-- hunter2hunter2\n", True), ("Tr0ub4dor&3", "-- is Tr0ub4dor&3\n", True),
        ("shop_orders_of_today", "-- CREATE ROLE x PASSWORD 'shop_orders_of_today'\n", True),
        ("shop_orders_of_today", "-- shop_orders_of_today is a table\n", False),
        ("public", "-- password=public\n", False),
    ],
)  # fmt: skip
def test_a_phase_that_holds_a_secret_is_refused_and_not_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, password: str, sql: str, refused: bool
) -> None:
    with_password(monkeypatch, password)
    home = tmp_path / PHASE
    home.mkdir()
    shipped = load_phase(PHASE)
    for name in ("phase.toml", "baseline.sql"):
        (home / name).write_bytes((shipped.folder / name).read_bytes())
    with (home / "baseline.sql").open("a") as stream:
        stream.write(sql)
    phase = load_phase(str(home))
    if refused:
        with pytest.raises(
            PreconditionFailed, match=r"baseline\.sql holds the secret of environment variable"
        ) as caught:
            Run.create(tmp_path / "runs", phase)
        assert password not in str(caught.value)
        assert not (tmp_path / "runs").exists()
    else:
        run = Run.create(tmp_path / "runs", phase)
        assert (run.path / "plan" / "baseline.sql").read_bytes() == (home / "baseline.sql").read_bytes()
        assert redact(password) == password


def test_the_warning_says_where_and_never_what(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".pgpass").write_text("*:*:*:u:qwzx\n*:*:*:v:Tr0ub4dor&3\n")
    said = CliRunner().invoke(commands, ["doctor"]).output
    assert f"pass file {tmp_path}/.pgpass, line 1 holds a secret that is an ordinary word" in said
    assert "line 2" not in said
    assert "qwzx" not in said


def test_files_that_are_none_keep_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / ".pgpass")
    monkeypatch.setenv("RUNBOOKS_SIGNING_KEY", "/dev/zero")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path))
    assert known_secrets().strong == {}


@settings(deadline=None, max_examples=100)
@given(
    password=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12),
    value=st.recursive(
        st.text(max_size=12) | st.integers() | st.none(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=6,
    ),
)
def test_no_password_makes_a_record_unreadable(tmp_path_factory: Any, password: str, value: Any) -> None:
    folder = tmp_path_factory.mktemp("a")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGPASSWORD", password)
        write_json(folder / "a.json", {"value": value, "check": "has_table", "verdict": "PASS"})
        write_text(folder / "a.md", f"{value}")
        read = read_json(folder / "a.json")
    assert (read["check"], read["verdict"]) == ("has_table", "PASS")


@settings(deadline=None, max_examples=60)
@given(st.text("ab:/@.=' \"", max_size=4000))
def test_looking_for_places_takes_linear_time(text: str) -> None:
    import time

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGPASSWORD", "ab")
        began = time.process_time()
        redact(text * 20)
        redact("a" * 100_000 + "://" + "b" * 100_000)
        assert time.process_time() - began < 3
