"""Every check has a page, every page a check, and `runbooks explain` prints them."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from runbooks_lib.checks import Check
from runbooks_lib.cli import commands
from runbooks_lib.doors import doors

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "runbooks_lib"
PAGES = {page.stem: page for page in sorted((PACKAGE / "checks").glob("*.md"))}
HEADINGS = ["problem", "what good looks like", "what to do", "source"]
OFFICIAL = (
    "https://www.postgresql.org/docs/current/",
    "https://www.prisma.io/docs/",
    "https://kubernetes.io/docs/",
    "https://www.rfc-editor.org/rfc/",
    "https://expressjs.com/en/guide/",
    "https://squawkhq.com/docs/",
)


def explain(*arguments: str) -> Result:
    return CliRunner().invoke(commands, ["explain", *arguments])


def test_every_check_has_a_page_and_every_page_a_check() -> None:
    assert sorted(Check) == sorted(PAGES)


def sources() -> dict[Path, str]:
    return {file: file.read_text("utf-8") for file in PACKAGE.rglob("*.py") if file.parent.name != "checks"}


@pytest.mark.parametrize("check", Check)
def test_every_check_is_made_somewhere(check: Check) -> None:
    assert any(re.search(rf"\bCheck\.{check.name}\b", text) for text in sources().values())


def test_no_source_spells_an_id_out() -> None:
    """What is spelled out is neither typed nor found when it is renamed."""
    spelled = [
        (file.name, node.lineno)
        for file, text in sources().items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Constant) and node.value in set(PAGES)
    ]
    assert spelled == []


@pytest.mark.parametrize("check", PAGES)
def test_a_page_has_its_title_and_the_four_headings(check: str) -> None:
    text = PAGES[check].read_text(encoding="utf-8")
    title, *rest = text.splitlines()
    assert re.fullmatch(rf"# {check}: \S.{{10,80}}", title)
    assert [line.removeprefix("## ") for line in rest if line.startswith("#")] == HEADINGS
    sections = re.split(r"^## .*$", text, flags=re.MULTILINE)[1:]
    assert all(section.strip() for section in sections)
    assert 10 <= len(rest) + 1 <= 25


@pytest.mark.parametrize("check", PAGES)
def test_a_page_has_a_source_that_can_be_looked_up(check: str) -> None:
    source = PAGES[check].read_text(encoding="utf-8").partition("## source\n")[2]
    urls = re.findall(r"https?://\S+", source)
    files = re.findall(r"runbooks_lib/\S+", source)
    assert urls or files
    assert [url for url in urls if not url.startswith(OFFICIAL)] == []
    assert [file for file in files if not (ROOT / file).is_file()] == []


@pytest.mark.parametrize("check", PAGES)
def test_a_page_refers_to_checks_that_exist(check: str) -> None:
    text = PAGES[check].read_text(encoding="utf-8")
    lists = re.findall(r"[Ss]ee (?:the checks )?((?:[a-z]+_[a-z_]+(?:, | and )?)+)", text)
    named = [name for words in lists for name in re.findall(r"[a-z_]+_[a-z_]+", words)]
    assert [name for name in named if name not in PAGES and not name.startswith("pg_")] == []


def test_explain_prints_the_page_as_it_is_when_nobody_watches() -> None:
    done = explain("has_table")
    assert done.exit_code == 0
    assert done.stdout == PAGES["has_table"].read_text(encoding="utf-8")


def test_explain_lists_all_checks_and_doors_with_what_they_hold() -> None:
    done = explain()
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [*PAGES, *(door.id for door in doors())]
    assert "  a declared table exists" in next(line for line in lines if line.startswith("has_table "))


@pytest.mark.parametrize(("asked", "near"), [("has_tabel", "has_table"), ("enum_labels", "enum_has_labels")])
def test_explain_names_the_nearest_checks(asked: str, near: str) -> None:
    done = explain(asked)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert f"There is no check '{asked}', nor an error" in done.stderr
    assert "Did you mean " in done.stderr
    assert near in done.stderr


def test_explain_says_where_the_ids_are_when_nothing_is_near() -> None:
    done = explain("xyzzy")
    assert done.exit_code == 2
    assert "`runbooks explain` lists all of them." in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals are POSIX")
def test_explain_renders_the_page_on_a_terminal() -> None:
    import pty

    primary, secondary = pty.openpty()
    code = "from runbooks_lib.cli import main; main()"
    command = [sys.executable, "-c", code, "explain", "has_table"]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}
    with subprocess.Popen(command, stdout=secondary, stderr=subprocess.PIPE, env=environment) as child:
        os.close(secondary)
        shown = b""
        try:
            while chunk := os.read(primary, 4096):
                shown += chunk
        except OSError:
            pass  # how Linux says that the other end was closed
        errors = child.stderr.read() if child.stderr else b""
    os.close(primary)
    assert (child.returncode, errors) == (0, b"")
    assert "what good looks like" in shown.decode()
    assert "## problem" not in shown.decode()
