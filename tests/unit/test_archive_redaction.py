"""Masking: which secrets are known, and in which forms they are found."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from runbooks_lib.archive.files import write_json, write_text
from runbooks_lib.archive.masking import sources
from runbooks_lib.archive.masking.mask import redact

ODD = "p@ss/w:rd'\"$é\\"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, and nothing in the environment."""
    for name in ("PGSERVICEFILE", "PGPASSFILE", "PGSYSCONFDIR", "PGPASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def in_service_file(home: Path, password: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".pg_service.conf").write_text(f"[a]\nhost=h\npassword={password}\nuser=u\n", encoding="utf-8")


def in_pass_file(home: Path, password: str, monkeypatch: pytest.MonkeyPatch) -> None:
    escaped = password.replace("\\", "\\\\").replace(":", "\\:")
    (home / ".pgpass").write_text(f"# a comment\nh\\:1:5432:*:u:{escaped}\n", encoding="utf-8")


def in_environment(home: Path, password: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", password)


FORMS: dict[str, Callable[[str], str]] = {
    "plain": lambda s: s,
    "percent": lambda s: quote(s, safe=""),
    "percent, slashes kept": quote,
    "form": quote_plus,
    "JSON": json.dumps,
    "JSON, letters kept": lambda s: json.dumps(s, ensure_ascii=False),
    "HTML": html.escape,
    "HTML in JSON": lambda s: json.dumps({"text/html": html.escape(s)}),
    "Python": repr,
    "Python in JSON": lambda s: json.dumps([repr(s)], ensure_ascii=False),
    "SQL": lambda s: s.replace("'", "''"),
}


@pytest.mark.parametrize("place", [in_service_file, in_pass_file, in_environment])
@pytest.mark.parametrize("form", FORMS)
def test_a_password_is_masked_in_each_form(
    home: Path, monkeypatch: pytest.MonkeyPatch, place: Callable[..., None], form: str
) -> None:
    place(home, ODD, monkeypatch)
    assert known_secrets() == {ODD}
    masked = redact(f"before {FORMS[form](ODD)} after")
    assert "***" in masked
    assert masked.startswith("before ")
    assert masked.endswith(" after")
    for part in (ODD, ODD[:6], "rd'", "%40ss", "rd&#x27;"):
        assert part not in masked


def test_nothing_of_it_reaches_a_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_service_file(home, ODD, monkeypatch)
    write_json(
        home / "a.json", {"url": f"postgresql://u:{quote(ODD, safe='')}@h/d", "deep": [{"said": f"<{ODD}>"}]}
    )
    assert json.loads((home / "a.json").read_text()) == {
        "url": "postgresql://u:***@h/d",
        "deep": [{"said": "<***>"}],
    }
    write_text(home / "a.md", f"| {ODD} |")
    assert (home / "a.md").read_text() == "| *** |"


def known_secrets() -> set[str]:
    known = sources.known_secrets()
    return {*known.strong, *known.weak}


@pytest.mark.parametrize(
    ("password", "masked"),
    [("abc", "abc"), ("abcd1", "abcd1"), ("abcd1!", "***"), ("", ""), ("x" * 12, "***")],
)
def test_short_ones_are_left(monkeypatch: pytest.MonkeyPatch, password: str, masked: str) -> None:
    monkeypatch.setenv("PGPASSWORD", password)
    assert redact(f"[{password}]") == f"[{masked}]"


def test_the_longer_of_two_goes_first(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "s3cr3t!")
    in_service_file(home, "s3cr3t!-longer", monkeypatch)
    assert redact("s3cr3t!-longer s3cr3t!") == "*** ***"


@pytest.mark.parametrize(
    ("text", "secrets"),
    [
        ("[a]\npassword=first\n[a]\npassword=second\n", {"first", "second"}),
        ("password=before-any-section\n[a]\nhost=h\n", {"before-any-section"}),
        ("[a]\nhost=h\n  password=indented \n", {"indented"}),
        ("[a]\nldap://h/dc=x\npassword=has=equals;#\n", {"has=equals;#"}),
        ("[a]\nsslpassword=key-word\n", {"key-word"}),
        ("[a]\nhost=h\n", set()),
    ],
)
def test_service_files_are_read_as_libpq_reads_them(home: Path, text: str, secrets: set[str]) -> None:
    (home / ".pg_service.conf").write_text(text)
    assert known_secrets() == secrets


@pytest.mark.parametrize(
    ("line", "secrets"),
    [
        ("*:*:*:u:plain", {"plain"}),
        ("*:*:*:u:with\\:colon", {"with:colon"}),
        ("h\\\\:*:*:u:after-a-backslash", {"after-a-backslash"}),
        ("*:*:*:u:ends-here:more", {"ends-here"}),
        ("*:*:*:u:ends-in\\", {"ends-in\\"}),
        ("*:*:u:four-fields", set()),
        ("#*:*:*:u:comment", set()),
    ],
)
def test_pass_files_are_read_as_libpq_reads_them(home: Path, line: str, secrets: set[str]) -> None:
    (home / ".pgpass").write_text(line + "\n")
    assert known_secrets() == secrets


def test_a_service_may_name_a_pass_file(home: Path) -> None:
    (home / ".pg_service.conf").write_text(f"[a]\npassfile={home / 'other'}\n")
    (home / "other").write_text("*:*:*:u:from-the-other\n")
    assert known_secrets() == {"from-the-other"}


def test_both_service_files_count(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "shared").mkdir()
    monkeypatch.setenv("PGSYSCONFDIR", str(home / "shared"))
    (home / "shared" / "pg_service.conf").write_text("[a]\npassword=shared\n")
    (home / "own").write_text("[a]\npassword=owned\n")
    monkeypatch.setenv("PGSERVICEFILE", str(home / "own"))
    assert known_secrets() == {"shared", "owned"}


def test_one_line_that_is_no_utf8_does_not_hide_the_others(home: Path) -> None:
    (home / ".pgpass").write_bytes(b"*:*:*:u:caf\xe9\n*:*:*:v:known\n")
    assert "known" in known_secrets()


def test_files_that_cannot_be_read_hold_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSERVICEFILE", str(home))  # a folder
    monkeypatch.setenv("PGPASSFILE", str(home / "none"))
    assert known_secrets() == set()
    assert redact("text") == "text"
