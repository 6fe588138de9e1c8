"""`runbooks phase upgrade`: an older phase file becomes one of today, means the same, and keeps its comments."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from runbooks_lib.cli import commands
from runbooks_lib.errors import SpecError
from runbooks_lib.phase import Phase, load_phase
from runbooks_lib.phase.upgrade import upgraded

OLD = """\
# What must be true.
spec_version = 2 # the version
id = "SMALL"
title = { fr = "Petite", en = "Small" }
objective = { fr = "Un but", en = "An aim" }

[targets]
leader = { service = "a", role = "primary", database = "shop" }

[owners]
default = "o" # who

[[tables]]
name = "public.t"
primary_key = ["id"]
columns = [
  { name = "id", type = "text", not_null = true }, # the key
]

[backup]
targets = ["leader"]

# The file.
[baseline]
file = "baseline.sql"
target = "leader"
lock_timeout_ms = 1
statement_timeout_ms = 1

MIGRATION
ACCEPT
[[seeds]] # rows
table = "public.t"
key = ["id"]
rows = [{ id = "a" }]
"""
MIGRATIONS = {
    "a section": '# to be recorded\n[migration]\nname = "1_a" # which\ntarget = "leader"\n',
    "its header with spaces": "[ migration ]\ntarget = 'leader'\nname = '1_a'\n",
    "an inline table": None,
    "dotted keys": None,
}
ACCEPTS = {
    "nothing": "",
    "sections": '# theirs\n[[accept]]\nobject = "trigger public.t.a[1]*" # audit\nwhy = "b"\n',
    "two": '[[accept]]\nobject = "a"\nwhy = "b"\n[[accept]]\nobject = "index ?"\nwhy = "d"\n',
}
INLINE = {
    "an inline table": 'migration = { name = "1_a", target = "leader" } # which\n',
    "dotted keys": 'migration.name = "1_a"\nmigration.target = "leader"\n',
}


def write(tmp_path: Path, content: str) -> Path:
    folder = tmp_path / "SMALL"
    folder.mkdir(exist_ok=True)
    (folder / "baseline.sql").write_text("SELECT 1;\n")
    (folder / "phase.toml").write_text(content, newline="")
    return folder / "phase.toml"


def content(migration: str, accept: str = "nothing", version: int = 2) -> str:
    section, inline = MIGRATIONS[migration] or "", INLINE.get(migration, "")
    text = OLD.replace("MIGRATION\n", section).replace("ACCEPT\n", ACCEPTS[accept])
    text = text.replace("spec_version = 2", f"spec_version = {version}")
    return text.replace("[targets]", f"{inline}[targets]", 1)


def same(phase: Phase) -> Phase:
    """Return a phase without what says how its file is written."""
    return replace(phase, spec_version=0, digest="")


@pytest.mark.parametrize("accept", ACCEPTS)
@pytest.mark.parametrize("migration", MIGRATIONS)
@pytest.mark.parametrize("version", [1, 2, 3])
def test_an_upgraded_file_means_the_same(tmp_path: Path, migration: str, accept: str, version: int) -> None:
    if version < 3 and accept != "nothing":
        pytest.skip("[[accept]] is a key of version 3")
    old = content(migration, accept, version)
    meant = load_phase(str(write(tmp_path, old)))
    assert meant.seeds[0].allows_others is (version == 3)
    new = upgraded(old)
    assert same(load_phase(str(write(tmp_path, new)))) == same(meant)
    assert "spec_version = 3 # the version" in new
    assert "[migration" not in new
    assert "accept" not in new
    assert upgraded(new) == new


def test_comments_and_order_stay(tmp_path: Path) -> None:
    old = content("a section", "sections", 3)
    changed = [
        (was, now)
        for was, now in zip(old.splitlines(), upgraded(old).splitlines(), strict=True)
        if was != now
    ]
    assert changed == [
        ("[migration]", "[prisma]"),
        ('name = "1_a" # which', 'settle = ["1_a"] # which'),
        ("[[accept]]", "[[schema.ignore]]"),
        ('object = "trigger public.t.a[1]*" # audit', 'object = "trigger public.t.a[[]1][*]" # audit'),
    ]


def test_it_is_printed_or_written(tmp_path: Path) -> None:
    file = write(tmp_path, content("a section").replace("\n", "\r\n"))
    before = file.read_bytes()
    printed = CliRunner().invoke(commands, ["phase", "upgrade", str(file)])
    assert (printed.exit_code, file.read_bytes()) == (0, before)
    assert 'settle = ["1_a"]' in printed.output
    written = CliRunner().invoke(commands, ["phase", "upgrade", str(file), "--write"])
    assert "is of spec_version 3 now" in written.output
    written_text = file.read_bytes().decode()
    assert "\r\n" in written_text
    assert written_text.splitlines() == printed.output.splitlines()
    assert b'rows = [{ id = "a" }]\r\n' in file.read_bytes()
    again = CliRunner().invoke(commands, ["phase", "upgrade", str(file), "--write"])
    assert "is of today's version already" in again.output


def test_a_file_with_a_mistake_is_not_rewritten(tmp_path: Path) -> None:
    file = write(tmp_path, content("a section").replace("[backup]", "[backups]"))
    before = file.read_bytes()
    done = CliRunner().invoke(commands, ["phase", "upgrade", str(file), "--write"])
    assert isinstance(done.exception, SpecError)
    assert file.read_bytes() == before
