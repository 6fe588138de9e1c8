"""What is odd in a history, from rows and files alone; the tables themselves are looked at in a real database."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from runbooks_lib.findings import Verdict
from runbooks_lib.prisma.history import MigrationFile, MigrationRow, diagnose
from runbooks_lib.prisma.oddities import HistoryTable, find_oddities
from runbooks_lib.prisma.state import State
from runbooks_lib.steps.prisma_oddities import judge_oddities

WHEN = datetime(2026, 1, 7, tzinfo=UTC)
FILE = MigrationFile(name="1_a", script="CREATE TABLE a ();\nCREATE TABLE b ();\n")
ROW = MigrationRow(
    id="x",
    checksum=FILE.checksum or "",
    name="1_a",
    started_at=WHEN,
    finished_at=WHEN,
    rolled_back_at=None,
    logs=None,
    applied_steps_count=1,
)
FAILED = replace(ROW, finished_at=None, rolled_back_at=WHEN, logs="ERROR: syntax error")
TABLE = HistoryTable(schema="public", kind="table", inherits=False)


def crlf(file: MigrationFile) -> MigrationFile:
    return replace(file, script=(file.script or "").replace("\n", "\r\n"))


def verdicts(
    files: tuple[MigrationFile, ...] = (FILE,),
    rows: tuple[MigrationRow, ...] | None = (ROW,),
    tables: tuple[HistoryTable, ...] = (TABLE,),
    schema: str = "public",
) -> dict[str, Verdict]:
    state = State(
        files=files,
        rows=rows,
        history=diagnose(files, rows, rolled_back_is_pending=True),
        schema=schema,
        tables=tables,
    )
    found = judge_oddities("leader", state)
    assert all(bool(f.hint) is (f.verdict is not Verdict.PASS) for f in found)
    return {f.check: f.verdict for f in found if f.verdict is not Verdict.PASS}


@pytest.mark.parametrize(
    ("files", "rows"),
    [
        ((FILE,), (ROW,)),
        ((FILE,), (FAILED, ROW)),  # failed, taken back, applied: as Prisma does it
        ((FILE,), (replace(ROW, logs=""), replace(ROW, name="2_b"))),
        ((FILE,), (replace(ROW, logs=" \n"),)),
        ((FILE,), (replace(ROW, finished_at=WHEN + timedelta(days=400)),)),
        ((FILE,), ()),
        ((replace(FILE, script=None),), (ROW,)),
        ((replace(FILE, script="\\connect other\n"),), (ROW,)),  # no statement that we know, but not empty
        ((replace(FILE, script="SELECT 1"),), (ROW,)),  # edited: that is another check's
    ],
)
def test_what_is_as_prisma_leaves_it(
    files: tuple[MigrationFile, ...], rows: tuple[MigrationRow, ...]
) -> None:
    assert verdicts(files, rows) == {}


@pytest.mark.parametrize(
    ("check", "verdict", "files", "rows"),
    [
        ("no_migration_is_recorded_twice", "FAIL", (FILE,), (ROW, replace(ROW, id="y"))),
        ("no_migration_is_recorded_twice", "FAIL", (FILE,), (FAILED, ROW, ROW)),
        ("no_applied_migration_has_an_error", "FAIL", (FILE,), (replace(ROW, logs="ERROR: relation"),)),
        (
            "no_migration_ends_before_it_begins",
            "FAIL",
            (FILE,),
            (replace(ROW, finished_at=WHEN - timedelta(hours=1)),),
        ),
        (
            "no_migration_ends_before_it_begins",
            "OPEN",
            (FILE,),
            (replace(ROW, finished_at=WHEN - timedelta(milliseconds=3)),),
        ),
        (
            "no_migration_is_both_applied_and_rolled_back",
            "OPEN",
            (FILE,),
            (ROW, replace(ROW, rolled_back_at=WHEN)),
        ),
        ("no_migration_is_empty", "OPEN", (replace(FILE, script=""),), ()),
        ("no_migration_is_empty", "OPEN", (replace(FILE, script="-- This is an empty migration.\n"),), ()),
        ("no_migration_is_empty", "OPEN", (replace(FILE, script="/* a; /* b */ */\n;\n"),), ()),
        ("line_ends_are_as_recorded", "OPEN", (crlf(FILE),), (ROW,)),
        (
            "line_ends_are_as_recorded",
            "OPEN",
            (FILE,),
            (replace(ROW, checksum=crlf(FILE).checksum or ""),),
        ),
        ("no_names_differ_in_case_only", "FAIL", (FILE, replace(FILE, name="1_A")), (ROW,)),
        ("no_names_differ_in_case_only", "FAIL", (FILE,), (replace(ROW, name="1_A"),)),
    ],
)
def test_each_oddity_has_a_finding_of_its_own(
    check: str, verdict: str, files: tuple[MigrationFile, ...], rows: tuple[MigrationRow, ...]
) -> None:
    assert verdicts(files, rows) == {check: Verdict(verdict)}


@pytest.mark.parametrize(
    ("tables", "rows", "found"),
    [
        ((replace(TABLE, kind="view"),), (ROW,), {"history_is_a_table": "FAIL"}),
        ((replace(TABLE, kind="foreign table"),), (ROW,), {"history_is_a_table": "FAIL"}),
        ((replace(TABLE, inherits=True),), (ROW,), {"history_is_a_table": "FAIL"}),
        ((TABLE, replace(TABLE, schema="shop")), (ROW,), {"history_is_the_only_one": "OPEN"}),
        ((replace(TABLE, schema="shop"),), None, {"history_is_the_only_one": "FAIL"}),
    ],
)
def test_the_table_is_prismas_own(
    tables: tuple[HistoryTable, ...], rows: tuple[MigrationRow, ...] | None, found: dict[str, str]
) -> None:
    assert verdicts(rows=rows, tables=tables) == {check: Verdict(verdict) for check, verdict in found.items()}


def test_all_that_is_odd_is_found_at_once() -> None:
    found = find_oddities((replace(FILE, script="--"),), (ROW, replace(ROW, logs="x"), ROW))
    assert (found.twice, found.erroneous, found.empty) == (("1_a",), ("1_a",), ("1_a",))
