"""The database's address for Prisma: encoding, and that its password stays out of sight."""

from __future__ import annotations

import json
from dataclasses import replace
from urllib.parse import quote, unquote, urlsplit

import pytest

from runbooks_lib.prisma.url import DatabaseUrl

URL = DatabaseUrl(host="db.example", port=5432, user="kb", dbname="keybuzz_backend", password="s3cret-word")
PASSWORDS = [
    "pl41nw0rd",
    "p@ss/w:rd'\"$é",
    "100% sure",
    "a b+c d",
    "?#[]&=",
    "%2Fabc",
    "日本語の鍵-1",
    "\\back\\slash",
]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, "postgresql://kb:s3cret-word@db.example:5432/keybuzz_backend?schema=public&sslmode=disable"),
        ({"password": None}, "postgresql://kb@db.example:5432/keybuzz_backend?schema=public&sslmode=disable"),
        (
            {"password": "p@ss/w:rd'\"$é"},
            "postgresql://kb:p%40ss%2Fw%3Ard%27%22%24%C3%A9@db.example:5432/keybuzz_backend"
            "?schema=public&sslmode=disable",
        ),
        (
            {"user": "k/b@", "dbname": "a/b c?"},
            "postgresql://k%2Fb%40:s3cret-word@db.example:5432/a%2Fb%20c%3F?schema=public&sslmode=disable",
        ),
        (
            {"host": "::1", "schema": "my schema&x"},
            "postgresql://kb:s3cret-word@[::1]:5432/keybuzz_backend?schema=my%20schema%26x&sslmode=disable",
        ),
        (
            {"host": "/run/postgres ql", "port": 6432},
            "postgresql://kb:s3cret-word@localhost:6432/keybuzz_backend"
            "?schema=public&sslmode=disable&host=%2Frun%2Fpostgres%20ql",
        ),
        (
            {"encrypted": True},
            "postgresql://kb:s3cret-word@db.example:5432/keybuzz_backend"
            "?schema=public&sslmode=require&sslaccept=accept_invalid_certs",
        ),
        (
            {"encrypted": True, "verified": True, "root_certificate": "/etc/ca.pem"},
            "postgresql://kb:s3cret-word@db.example:5432/keybuzz_backend"
            "?schema=public&sslmode=require&sslaccept=strict&sslcert=%2Fetc%2Fca.pem",
        ),
    ],
)
def test_the_address_is_encoded(change: dict[str, object], expected: str) -> None:
    assert replace(URL, **change).reveal() == expected


@pytest.mark.parametrize("password", PASSWORDS)
def test_any_password_comes_back_whole(password: str) -> None:
    read = urlsplit(replace(URL, password=password).reveal())
    assert read.password is not None
    assert unquote(read.password) == password
    assert (read.hostname, read.port) == ("db.example", 5432)


@pytest.mark.parametrize("password", PASSWORDS)
def test_printing_it_never_shows_the_password(password: str) -> None:
    url = replace(URL, password=password)
    printed = f"{url} {url!r} {url.without_password()}"
    assert password not in printed
    assert quote(password, safe="") not in printed


def test_a_printed_address_says_that_there_is_a_password() -> None:
    assert "kb:***@" in str(URL)
    assert str(replace(URL, password=None)) == replace(URL, password=None).reveal()


@pytest.mark.parametrize("password", PASSWORDS)
def test_every_form_of_the_password_is_redacted(password: str) -> None:
    url = replace(URL, password=password)
    in_json = [json.dumps(password, ensure_ascii=ascii) for ascii in (True, False)]
    text = f"1 {url.reveal()} 2 {quote(password)} 3 {password} 4 {in_json[0]} {in_json[1]} 5"
    redacted = url.redact(text)
    for form in (password, quote(password, safe=""), in_json[0][1:-1], in_json[1][1:-1]):
        assert form not in redacted, form
    assert redacted.startswith("1 postgresql://kb:***@db.example:5432/keybuzz_backend?")
    assert redacted.endswith(" 5")


def test_the_password_of_another_address_is_redacted_too() -> None:
    assert URL.redact("postgres://u:other@h/d") == "postgres://u:***@h/d"


@pytest.mark.parametrize("password", ["up", "to", "schema", "Database", "date!"])
def test_a_password_that_is_an_ordinary_word_spoils_no_other_text(password: str) -> None:
    url = replace(URL, password=password)
    assert url.redact("Database schema is up to date!") == "Database schema is up to date!"
    assert f":{quote(password)}@" not in url.redact(url.reveal())


@pytest.mark.parametrize(
    ("host", "server"),
    [("db", "db:5432"), ("::1", "[::1]:5432"), ("/run", "localhost:5432")],
)
def test_the_server_is_named_as_prisma_names_it(host: str, server: str) -> None:
    assert replace(URL, host=host).server == server


def test_a_database_is_known_by_its_name_and_by_its_encoded_name() -> None:
    url = replace(URL, dbname="we ird/ü")
    assert url.names_database("we ird/ü")
    assert url.names_database("we%20ird%2F%C3%BC")
    assert not url.names_database("weird")
