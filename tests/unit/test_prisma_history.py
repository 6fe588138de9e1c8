"""Prisma's history: checksums, the folder's order, and the diagnosis of every kind of disagreement."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.prisma.history import (
    CLEAN,
    History,
    MigrationFile,
    MigrationRow,
    Relation,
    checksum_matches,
    diagnose,
    read_migrations,
)

SCRIPT = "CREATE TABLE a ();\n-- é\nCREATE TABLE b ();\n"
A, B, C = (MigrationFile(name=name, script=f"-- {name}\n") for name in ("1_a", "2_b", "3_c"))
WHEN = datetime(2026, 1, 7, tzinfo=UTC)


def sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def row(name: str, *, finished: bool = True, rolled_back: bool = False, checksum: str = "") -> MigrationRow:
    return MigrationRow(
        id=f"id-{name}",
        checksum=checksum or sha256(f"-- {name}\n").hex(),
        name=name,
        started_at=WHEN,
        finished_at=WHEN if finished else None,
        rolled_back_at=WHEN if rolled_back else None,
        logs=None,
        applied_steps_count=1,
    )


@pytest.mark.parametrize(
    ("stored", "matches"),
    [
        (sha256(SCRIPT).hex(), True),
        (sha256(SCRIPT.replace("\n", "\r\n")).hex(), True),
        ("".join(f"{byte:x}" for byte in sha256(SCRIPT)), True),
        ("".join(f"{byte:x}" for byte in sha256(SCRIPT.replace("\n", "\r\n"))), True),
        (sha256(SCRIPT + " ").hex(), False),
        (sha256(SCRIPT).hex().upper(), False),
        ("", False),
        ("a" * 64, False),
    ],
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_checksum_ignores_line_ends_and_knows_the_old_form(
    stored: str, matches: bool, line_end: str
) -> None:
    assert any(byte < 16 for byte in sha256(SCRIPT)), "the script must tell the padded form from the other"
    assert checksum_matches(SCRIPT.replace("\n", line_end), stored) is matches


def test_a_file_knows_the_checksum_that_prisma_writes() -> None:
    assert MigrationFile(name="x", script=SCRIPT).checksum == sha256(SCRIPT).hex()
    assert MigrationFile(name="x", script=None).checksum is None


def history(files: list[MigrationFile], rows: list[MigrationRow] | None, *, newer: bool = False) -> History:
    return diagnose(files, rows, rolled_back_is_pending=newer)


def test_everything_applied_is_clean() -> None:
    found = history([A, B], [row("1_a"), row("2_b")])
    assert found.summary == CLEAN
    assert found.applied == ("1_a", "2_b")
    assert found.relation is Relation.IN_SYNC


def test_without_the_table_everything_is_pending() -> None:
    found = history([A, B], None)
    assert not found.table_exists
    assert found.pending == ("1_a", "2_b")
    assert found.relation is Relation.DATABASE_IS_BEHIND
    assert found.summary != CLEAN


def test_no_table_and_no_migrations_is_not_clean() -> None:
    assert history([], None).relation is Relation.IN_SYNC
    assert history([], None).summary != CLEAN
    assert history([], []).summary == CLEAN


def test_a_migration_without_a_row_is_pending() -> None:
    found = history([A, B], [row("1_a")])
    assert (found.applied, found.pending) == (("1_a",), ("2_b",))
    assert found.relation is Relation.DATABASE_IS_BEHIND


def test_a_migration_edited_after_it_was_applied_is_seen() -> None:
    found = history([A], [row("1_a", checksum="a" * 64)])
    assert found.edited == ("1_a",)
    assert found.applied == ("1_a",)
    assert found.summary != CLEAN


def test_a_migration_that_only_the_database_has_is_extra() -> None:
    found = history([A], [row("1_a"), row("0_x"), row("0_x")])
    assert found.extra == ("0_x",)
    assert found.relation is Relation.FOLDER_IS_BEHIND
    assert found.summary != CLEAN


@pytest.mark.parametrize("rows", [[row("1_a"), row("x")], [row("x")], [row("1_a"), row("2_b"), row("x")]])
def test_histories_diverge_when_each_side_has_what_the_other_lacks(rows: list[MigrationRow]) -> None:
    assert history([A, B, C], rows).relation is Relation.DIVERGED


def test_a_failed_migration_is_neither_applied_nor_pending() -> None:
    found = history([A, B], [row("1_a"), row("2_b", finished=False)])
    assert found.failed == ("2_b",)
    assert (found.applied, found.pending) == (("1_a",), ())
    assert found.summary != CLEAN


def test_a_failed_migration_is_named_also_when_the_folder_lacks_it() -> None:
    found = history([A], [row("1_a"), row("gone", finished=False)])
    assert (found.failed, found.extra) == (("gone",), ("gone",))


@pytest.mark.parametrize(("newer", "pending"), [(False, ()), (True, ("2_b",))])
def test_a_rolled_back_migration_is_pending_for_newer_engines_only(
    newer: bool, pending: tuple[str, ...]
) -> None:
    found = history([A, B], [row("1_a"), row("2_b", finished=False, rolled_back=True)], newer=newer)
    assert found.pending == pending
    assert found.rolled_back == ("2_b",)
    assert found.failed == ()
    assert found.summary != CLEAN


@pytest.mark.parametrize("newer", [False, True])
def test_a_migration_applied_after_a_rolled_back_attempt_is_applied(newer: bool) -> None:
    found = history([A], [row("1_a", finished=False, rolled_back=True), row("1_a")], newer=newer)
    assert found.applied == ("1_a",)
    assert found.summary == CLEAN


@pytest.mark.parametrize("newer", [False, True])
def test_a_file_is_compared_with_the_attempt_that_stands(newer: bool) -> None:
    mended = [row("1_a", finished=False, rolled_back=True, checksum="a" * 64), row("1_a")]
    assert history([A], mended, newer=newer).edited == ()
    edited = [row("1_a", finished=False, rolled_back=True), row("1_a", checksum="a" * 64)]
    assert history([A], edited, newer=newer).edited == ("1_a",)


def test_a_lost_script_is_named_whether_applied_or_pending() -> None:
    lost = MigrationFile(name="1_a", script=None)
    for rows in ([row("1_a")], []):
        found = history([lost], rows)
        assert found.lost == ("1_a",)
        assert found.edited == ()
        assert found.summary != CLEAN


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "prisma" / "migrations").mkdir(parents=True)
    (tmp_path / "prisma" / "schema.prisma").write_text('datasource db {\n  url = env("DATABASE_URL")\n}\n')
    return tmp_path


def test_the_folder_is_read_in_prismas_order(project: Path) -> None:
    migrations = project / "prisma" / "migrations"
    # the order of JavaScript's localeCompare
    names = ["1_a", "1-x", "1.5", "10_b", "1a", "a", "A", "ab", "B", "c d", "cd"]
    for name in sorted(names):
        (migrations / name).mkdir()
        (migrations / name / "migration.sql").write_text(name)
    (migrations / "migration_lock.toml").write_text('provider = "postgresql"\n')
    (migrations / "link").symlink_to(migrations / "1_a")
    files = read_migrations(project / "prisma" / "migrations")
    assert [file.name for file in files] == names
    assert [file.script for file in files] == [file.name for file in files]


def test_a_byte_order_mark_stays_and_a_lost_script_is_none(project: Path) -> None:
    migrations = project / "prisma" / "migrations"
    for name, content in (("1", "é\r\n".encode()), ("2", b"\xef\xbb\xbfSELECT 1;"), ("3", None)):
        (migrations / name).mkdir()
        if content is not None:
            (migrations / name / "migration.sql").write_bytes(content)
    assert [file.script for file in read_migrations(project / "prisma" / "migrations")] == [
        "é\r\n",
        "\ufeffSELECT 1;",
        None,
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"-- caf\xe9\n", r"byte 6 \(line 1\) is 0xE9"),
        (b"SELECT 1;\n-- \xf0\x9f\x98", r"byte 13 \(line 2\) is 0xF0"),
        (b"SELECT 1;\n\0\0\0\nDROP TABLE x;", r"byte 10 \(line 2\) is a NUL byte"),
        ("SELECT 1;".encode("utf-16-le"), r"byte 1 \(line 1\) is a NUL byte \(an editor's UTF-16"),
        ("SELECT 1;".encode("utf-16"), r"byte 0 \(line 1\) is the byte order mark of UTF-16"),
        (
            b"\xfe\xff" + "SELECT 1;".encode("utf-16-be"),
            r"byte 0 \(line 1\) is the byte order mark of UTF-16",
        ),
    ],
)
def test_a_script_that_is_no_utf8_text_is_refused_with_the_bytes_place(
    project: Path, content: bytes, words: str
) -> None:
    folder = project / "prisma" / "migrations" / "1_a"
    folder.mkdir()
    (folder / "migration.sql").write_bytes(content)
    with pytest.raises(PreconditionFailed, match=rf"1_a/migration.sql is not UTF-8 text: {words}"):
        read_migrations(project / "prisma" / "migrations")


def test_a_folder_that_is_missing_is_an_error_and_not_an_empty_history(project: Path) -> None:
    (project / "prisma" / "migrations").rmdir()
    with pytest.raises(PreconditionFailed, match="cannot be read: No such file"):
        read_migrations(project / "prisma" / "migrations")
