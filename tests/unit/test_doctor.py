"""What `runbooks doctor` looks at: each look with one that is well, one that is not, and one that could not be made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from runbooks_lib.cli import commands
from runbooks_lib.cli.doctor import _next, looks
from runbooks_lib.drafting.own_service import own_service
from runbooks_lib.errors import RunbookError
from runbooks_lib.postgres.scratch.cluster import free_ports


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person's own folder, with one service at which nobody listens."""
    for name in [n for n in os.environ if n.startswith(("PG", "RUNBOOKS_PRISMA"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    (port,) = free_ports(1)
    (tmp_path / ".pg_service.conf").write_text(f"[shop]\nhost=127.0.0.1\nport={port}\ndbname=shop\nuser=u\n")
    return tmp_path


def seen(name: str, project: str | None = None) -> str:
    """What one look says: what is there, or what is missing and what is to be done."""
    try:
        return next(look() for found, _, look in looks(project) if found == name)
    except RunbookError as error:
        return f"missing: {error.what_happened} {error.what_to_do}"


def test_the_service_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert seen("service file") == f"1 service in {home}/.pg_service.conf"
    (home / ".pg_service.conf").write_text("# none\n")
    assert "missing: " in seen("service file")
    monkeypatch.setenv("PGSERVICEFILE", str(home))  # a folder cannot be read as a file
    assert "missing: " in seen("service file")


@pytest.mark.parametrize(
    ("mode", "said"), [(0o600, "readable by its owner alone"), (0o644, "has mode 0644"), (0o640, "chmod 600")]
)
def test_the_pass_file(home: Path, mode: int, said: str) -> None:
    file = home / ".pgpass"
    assert seen("pass file") == f"none ({file}): passwords stand elsewhere"
    file.write_text("*:*:*:u:Tr0ub4dor&3\n")
    file.chmod(mode)
    assert said in seen("pass file")
    assert "Tr0ub4dor" not in seen("pass file")


def test_a_service_that_does_not_answer(home: Path) -> None:
    assert "missing: it does not answer: " in seen("shop")
    assert "Make `psql service=shop` connect" in seen("shop")


def test_a_project(home: Path) -> None:
    assert "missing: " in seen("Prisma project", str(home / "nowhere"))
    (home / "shop").mkdir()
    assert "missing: " in seen("Prisma project", str(home / "shop"))  # nothing of Prisma's is there


def test_it_ends_with_the_one_thing_to_do(home: Path) -> None:
    ran = CliRunner().invoke(commands, ["doctor"])
    assert ran.exit_code == 3
    *_, last, then = ran.output.splitlines()
    assert last.startswith("not ready: shop. Make `psql service=shop` connect")
    assert then == "next: runbooks doctor"


def test_the_project_of_this_folder_is_taken(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".pg_service.conf").write_text("")
    (home / "shop" / "prisma").mkdir(parents=True)
    for folder, named in (
        (home, "runbooks doctor"),
        (home / "shop", f"runbooks doctor --prisma-project {home}/shop"),
    ):
        monkeypatch.chdir(folder)
        assert CliRunner().invoke(commands, ["doctor"]).output.splitlines()[-1] == f"next: {named}"


SECTION = "[{}]\nhost={}\nport={}\ndbname={}\nuser={}\n"
ELSEWHERE = ("alpha", "127.0.0.1", "5433", "other", "u")


@pytest.mark.parametrize(
    ("sections", "env", "own"),
    [
        (
            [ELSEWHERE, ("shop", "localhost", "5432", "shop", "u")],
            "DATABASE_URL=postgres://x@127.0.0.1/shop",
            "shop",
        ),
        (
            [ELSEWHERE, ("shop", "127.0.0.1", "5432", "shop", "u")],
            "DATABASE_URL=postgres://x@db.example/shop",
            None,
        ),
        (
            [("a", "db", "1", "s h", "admin"), ("b", "db", "1", "s h", "u")],
            "export URL='postgresql://u:Tr0ub4dor&3@db:1/s%20h?schema=app' # mine",
            "b",
        ),
        ([("a", "db", "1", "shop", "v"), ("b", "db", "1", "shop", "w")], "A=postgres://u@db:1/shop", "a"),
        (
            [("a", "db", "1", "shop", "u"), ("b", "db", "2", "shop", "u")],
            "A=postgres://u@db:1/shop\nB=postgres://u@db:2/shop",
            None,
        ),
        (
            [("a", "db", "1", "shadow", "u"), ("b", "db", "1", "shop", "u")],
            "SHADOW_DATABASE_URL=postgres://u@db:1/shadow\nDATABASE_URL=postgres://u@db:1/shop",
            "b",
        ),
        (
            [ELSEWHERE, ("b", "db", "1", "shop", "u")],
            "A=postgres://u@db:one/shop\nB=mysql://u@db:1/shop",
            None,
        ),
    ],
)
def test_the_service_of_the_projects_own_database_is_told_or_none(
    home: Path, sections: list[tuple[str, ...]], env: str, own: str | None
) -> None:
    (home / ".pg_service.conf").write_text("".join(SECTION.format(*each) for each in sections))
    (home / "shop").mkdir()
    (home / "shop" / ".env").write_text(f"{env}\n")
    assert own_service([each[0] for each in sections], home / "shop") == own


def test_the_environment_counts_before_a_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sections = [("a", "db", "1", "dev", "u"), ("b", "db", "1", "prod", "u")]
    (home / ".pg_service.conf").write_text("".join(SECTION.format(*each) for each in sections))
    (home / "prisma").mkdir()
    (home / "prisma" / ".env").write_text("DATABASE_URL=postgres://u@db:1/dev\n")
    assert own_service(["a", "b"], home) == "a"
    monkeypatch.setenv("DATABASE_URL", "postgres://u@db:1/prod")
    assert own_service(["a", "b"], home) == "b"


def test_what_is_next_names_a_service_or_asks(home: Path) -> None:
    (home / "shop").mkdir()
    for sections, then in (
        ([ELSEWHERE], "diagnose --service alpha"),
        ([ELSEWHERE, ("shop", "db", "5432", "shop", "u")], "adopt"),
        ([("my shop", "db", "1", "x", "u"), ELSEWHERE], "diagnose --service alpha"),
    ):
        (home / ".pg_service.conf").write_text("".join(SECTION.format(*each) for each in sections))
        assert _next(f"{home}/shop") == f"runbooks {then} --prisma-project {home}/shop"


def test_a_service_that_no_phase_can_name(home: Path) -> None:
    (home / ".pg_service.conf").write_text("[my shop]\nhost=127.0.0.1\nport=1\n")
    assert "missing: No phase can name this service" in seen("my shop")
    assert [needed for found, needed, _ in looks(None) if found == "my shop"] == [True]
    (home / ".pg_service.conf").write_text(
        "[my shop]\nhost=127.0.0.1\nport=1\n[shop]\nhost=127.0.0.1\nport=1\n"
    )
    assert [needed for found, needed, _ in looks(None) if found == "my shop"] == [False]


def test_a_server_for_scratch_copies_is_needed_unless_one_is_lent(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [needed for found, needed, _ in looks(None) if found == "PostgreSQL server"] == [True]
    monkeypatch.setenv("RUNBOOKS_SCRATCH_SERVICE", "lent")
    assert [needed for found, needed, _ in looks(None) if found == "PostgreSQL server"] == [False]
