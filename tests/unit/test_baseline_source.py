"""The reference phase's baseline: its own file in the lab's project, what the migrations make in any other."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from runbooks_lib.errors import MigrationError
from runbooks_lib.lab.initial_state import PROJECT
from runbooks_lib.phase import Phase, load_phase
from runbooks_lib.postgres.script.script import parse_script
from runbooks_lib.prisma.history import read_migrations
from runbooks_lib.prisma.named import PROJECT_VARIABLE
from runbooks_lib.steps import baseline_source
from runbooks_lib.steps.baseline_file import name_of_sql, read_sql, read_statements, sql_sha256

PHASE = load_phase("PH15-AMAZON-DB-FOUNDATION-01")
INIT = "20251210093000_init_amazon_inbound"
FILE = (PHASE.folder / "baseline.sql").read_text("utf-8")


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The first migration of a copy of the lab's project."""
    shutil.copytree(PROJECT, tmp_path / "project", ignore=shutil.ignore_patterns("node_modules"))
    migrations = tmp_path / "project" / "prisma" / "migrations"
    monkeypatch.setenv(PROJECT_VARIABLE, str(tmp_path / "project"))
    monkeypatch.setattr(baseline_source, "read_folder", lambda project: read_migrations(migrations))
    return migrations / INIT / "migration.sql"


def test_the_file_makes_what_the_labs_migrations_make(script: Path) -> None:
    assert (read_sql(PHASE), name_of_sql(PHASE)) == (FILE, "baseline.sql")
    script.write_text("-- a comment\n" + script.read_text())
    assert read_sql(PHASE) == FILE


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"displayName" TEXT', '"displayName" VARCHAR(120)', "varchar(120)"),
        ('"errorCount" INTEGER NOT NULL DEFAULT 0', '"errorCount" INTEGER NOT NULL DEFAULT 1', "DEFAULT 1"),
        ('"emailAddress" TEXT NOT NULL', '"emailAddress" TEXT', '"emailAddress" text,'),
        ('"cursor" TEXT,', '"cursor" TEXT, "extra" JSONB,', "extra jsonb"),
        ('    "cursor" TEXT,\n', "", '"lastSyncedAt" timestamp'),
        ('ON "inbound_connections"("status")', 'ON "inbound_connections"("status", "id")', "(status, id)"),
        ("'PENDING', 'VALIDATED', 'FAILED'", "'PENDING', 'FAILED', 'VALIDATED'", "'FAILED', 'VALIDATED'"),
    ],
)
def test_what_the_migrations_make_otherwise_is_run_as_they_make_it(
    script: Path, old: str, new: str, says: str
) -> None:
    text = script.read_text()
    assert old in text
    before = sql_sha256(PHASE)
    script.write_text(text.replace(old, new))
    made = read_sql(PHASE)
    assert _plain(says) in _plain(made)
    assert name_of_sql(PHASE) == "baseline_of_migrations.sql"
    assert sql_sha256(PHASE) != before
    statements = parse_script(made)
    assert not [each.refused for each in statements if each.refused]
    assert {each.object for each in parse_script(FILE)} == {each.object for each in statements}


def _plain(text: str) -> str:
    return "".join(text.lower().replace('"', "").split())


def test_tables_that_the_phase_does_not_declare_are_not_made(script: Path) -> None:
    other = script.parent.parent / "20260101000000_other" / "migration.sql"
    other.parent.mkdir()
    other.write_text(
        'CREATE TABLE "Other" (id int);\nCREATE INDEX other_idx ON "Other" (id);\nDROP TYPE gone;'
    )
    assert read_sql(PHASE) == FILE


def test_what_can_not_be_written_to_run_twice_is_refused(script: Path) -> None:
    other = script.parent.parent / "20260101000000_other" / "migration.sql"
    other.parent.mkdir()
    other.write_text('ALTER TABLE "OAuthState" SET UNLOGGED;')
    with pytest.raises(MigrationError, match="may run twice"):
        read_sql(PHASE)


def test_a_file_alone_is_run_whatever_the_migrations_make(script: Path) -> None:
    assert PHASE.baseline is not None
    alone: Phase = replace(PHASE, baseline=replace(PHASE.baseline, source=None))
    script.write_text("CREATE TABLE other (id int);")
    assert read_sql(alone) == FILE


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("COPY (SELECT 1) TO PROGRAM 'touch /tmp/x';", "something else: line"),
        ("INSERT INTO \"OAuthState\" VALUES ('x') ON CONFLICT DO NOTHING;", "something else: line"),
        ("CREATE TABLE IF NOT EXISTS other (id int);", "public.other, which the project"),
        ("CREATE TABEL x ();", "syntax error"),
    ],
)
def test_what_a_file_does_beyond_its_tables_is_never_left_out(
    script: Path, tmp_path: Path, more: str, says: str
) -> None:
    """Where the migrations make the same tables the file is run; where they make others, it is refused."""
    folder = tmp_path / "phase"
    shutil.copytree(PHASE.folder, folder)
    (folder / "baseline.sql").write_text(f"{FILE}\n{more}\n")
    phase: Phase = replace(PHASE, folder=folder)
    assert read_sql(phase) == f"{FILE}\n{more}\n"
    script.write_text(script.read_text().replace('"cursor" TEXT,', '"cursor" TEXT, "x" INT,'))
    with pytest.raises(MigrationError, match=says):
        read_statements(phase)


def test_policies_of_its_tables_are_made_too(script: Path) -> None:
    other = script.parent.parent / "20260101000000_other" / "migration.sql"
    other.parent.mkdir()
    other.write_text(
        'CREATE POLICY own ON "OAuthState" USING (true);\nCREATE POLICY own ON "Other" USING (true);'
    )
    made = read_sql(PHASE)
    assert 'CREATE POLICY own ON "OAuthState"' in made
    assert '"Other"' not in made
