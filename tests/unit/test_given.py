"""What a phase or a project gives us is read where it is an ordinary file of its folder, and nothing else is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from runbooks_lib import given
from runbooks_lib.errors import RunbookError
from runbooks_lib.given import read_given
from runbooks_lib.phase import load_phase
from runbooks_lib.prisma.history import _read_script

PHASE = load_phase("PH15-AMAZON-DB-FOUNDATION-01")
RUNBOOKS = Path(sys.executable).with_name("runbooks")
CANARY = "canary-5b1e"


def zero(path: Path) -> None:
    path.symlink_to("/dev/zero")


def outside(path: Path) -> None:
    (path.parent.parent / "secret").write_text(CANARY)
    path.symlink_to(path.parent.parent / "secret")


def folder(path: Path) -> None:
    path.mkdir()


def explosion(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(1 << 40)


KINDS: list[Callable[[Path], None]] = [os.mkfifo, zero, outside, folder, explosion]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [PHASE.baseline.file, "phase.toml"])
def test_a_phase_of_such_files_is_refused(tmp_path: Path, name: str, kind: Callable[[Path], None]) -> None:
    copy = tmp_path / PHASE.id
    shutil.copytree(PHASE.folder, copy)
    (copy / name).unlink()
    kind(copy / name)
    with pytest.raises(RunbookError) as refused:
        load_phase(str(copy / "phase.toml"))
    assert CANARY not in str(refused.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_migration_of_such_a_file_is_lost(tmp_path: Path, kind: Callable[[Path], None]) -> None:
    (tmp_path / "1_a").mkdir()
    kind(tmp_path / "1_a" / "migration.sql")
    assert _read_script(tmp_path / "1_a" / "migration.sql") is None


def test_a_pipe_keeps_no_process(tmp_path: Path) -> None:
    copy = tmp_path / PHASE.id
    shutil.copytree(PHASE.folder, copy)
    (copy / PHASE.baseline.file).unlink()
    os.mkfifo(copy / PHASE.baseline.file)
    done = subprocess.run(
        [str(RUNBOOKS), "phase", "check", str(copy)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode != 0
    assert "it is no ordinary file" in done.stdout + done.stderr


def test_ordinary_files_are_read_and_so_are_links_within_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Kubernetes mounts a ConfigMap."""
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "a").write_bytes(b"x")
    (tmp_path / "a").symlink_to("..data/a")
    assert read_given(tmp_path / "a") == read_given(tmp_path / "..data" / "a") == b"x"
    monkeypatch.setattr(given, "LARGEST_BYTES", 0)
    with pytest.raises(OSError, match="larger than"):
        read_given(tmp_path / "a")
