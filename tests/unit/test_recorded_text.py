"""The version of an edited migration that was recorded, out of a real repository of Git."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from runbooks_lib.prisma.history import MigrationFile
from runbooks_lib.prisma.recorded_text import recorded_text, what_changed

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="Git is not installed")
WHO = {
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@b",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@b",
}
TEXTS = ("CREATE TABLE a ();\n", "CREATE TABLE b ();\n", "CREATE TABLE c ();\n")


def git(folder: Path, *arguments: str) -> None:
    environment = {**os.environ, **WHO, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(("git", *arguments), cwd=folder, env=environment, check=True, capture_output=True)


def checksum(text: str) -> str:
    return MigrationFile(name="", script=text).checksum or ""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A migration of which three versions were committed, the second on a branch that was never merged."""
    file = tmp_path / "prisma" / "migrations" / "1_a" / "migration.sql"
    file.parent.mkdir(parents=True)
    git(tmp_path, "init", "-q", "-b", "main")
    for number, branch in enumerate(("main", "other", "main")):
        git(
            tmp_path,
            "checkout",
            "-q",
            *(("-b", "other") if branch == "other" else ("-B", "main", "main") if number else ("-B", "main")),
        )
        file.write_text(TEXTS[number])
        git(tmp_path, "add", ".")
        git(tmp_path, "commit", "-q", "-m", str(number))
    return file


@pytest.mark.parametrize("text", TEXTS)
def test_the_version_that_was_recorded_is_found_on_any_branch(file: Path, text: str) -> None:
    assert recorded_text(file, checksum(text)) == text
    assert recorded_text(file, checksum(text.replace("\n", "\r\n"))) == text


def test_what_is_in_no_repository_or_in_no_version_is_not_known(file: Path, tmp_path: Path) -> None:
    assert recorded_text(file, checksum("another")) is None
    shutil.rmtree(tmp_path / ".git")
    assert recorded_text(file, checksum(TEXTS[0])) is None


def test_nothing_of_the_repository_is_run(file: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    run = f"touch {trap}; cat"
    for name in (
        "core.fsmonitor",
        "core.pager",
        "diff.external",
        "filter.x.smudge",
        "diff.x.textconv",
        "alias.rev-list",
    ):
        git(tmp_path, "config", name, f"!{run}" if name.startswith("alias") else run)
    (tmp_path / ".gitattributes").write_text("*.sql filter=x diff=x\n")
    assert recorded_text(file, checksum(TEXTS[0])) == TEXTS[0]
    assert not trap.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_checkout_of_somebody_else_is_not_read(file: Path, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / ".git"):
        os.chown(path, 65534, 65534)
    assert recorded_text(file, checksum(TEXTS[0])) is None


def test_what_changed_is_told_line_by_line() -> None:
    assert what_changed("a\nb\n", "a\nc\n")[2:] == ("@@ -1,2 +1,2 @@", " a", "-b", "+c")
    assert what_changed("a\r\nb\r\n", "a\nb\n") == ()
