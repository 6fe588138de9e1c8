"""What the README says to type exists, and what it shows is what is printed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import papermill
import pytest

from runbooks_lib.archive.run import step_name
from runbooks_lib.cli import commands
from runbooks_lib.cli.progress import PROVES
from runbooks_lib.findings import Verdict
from runbooks_lib.phase import STEPS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    ROOT / ".github" / "ARCHITECTURE.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "runbooks_lib" / "doors").glob("*.md")),
]
FROM_OTHER_PAGES = {"docs/object-classes.md"}  # a record of the tests, linked where it is spoken of
VARIABLE = re.compile(r"\b(?:RUNBOOKS|PG[A-Z]|KEYBUZZ|PRISMA|XDG)[A-Z_]*\b")


def text_of(page: str) -> str:
    return (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")


def commands_named(document: Path) -> Iterator[str]:
    """Yield every `runbooks …` command line of a document: in blocks, in code spans, and inside $(…)."""
    text = document.read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```\w*\n.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()] + re.findall(r"`([^`\n]+)`", prose)
    for line in lines:
        yield from re.findall(r"(?:^|\$\()(?:\.venv/bin/)?(runbooks(?: [^)#\n]*)?)", line)


def problem(line: str) -> str | None:
    """Return what is wrong with a command line, None when the command line has it."""
    command: click.Command = commands
    words = shlex.split(line)[1:]
    while words and isinstance(command, click.Group) and not words[0].startswith("-"):
        found = command.commands.get(words[0])
        if found is None:
            return f"no command {words[0]!r}"
        command, words = found, words[1:]
    options = {name: p for p in command.params for name in (*p.opts, *p.secondary_opts)}
    positional = 0
    while words:
        word = words.pop(0)
        if word in ("--help", "-h", "--version"):
            continue
        if word == "-" or not word.startswith("-"):
            positional += 1
        elif word not in options:
            return f"no option {word!r}"
        elif not getattr(options[word], "is_flag", False):
            if not words:
                return f"{word} has no value"
            words.pop(0)
    arguments = [p for p in command.params if isinstance(p, click.Argument)]
    return None if positional <= len(arguments) else "too many arguments"


ALL = [(document.name, line) for document in DOCUMENTS for line in commands_named(document)]


@pytest.mark.parametrize(("document", "line"), ALL)
def test_every_command_line_exists(document: str, line: str) -> None:
    assert problem(line) is None


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("runbooks", False),
        ("runbooks run PHASE --apply --confirm keybuzz:1a2b3c4d", False),
        ("runbooks lab up --dir /tmp/x", False),
        ("runbooks frob", True),
        ("runbooks lab frob", True),
        ("runbooks run PHASE --frob", True),
        ("runbooks run PHASE --confirm", True),
        ("runbooks demo PHASE", True),
    ],
)
def test_the_rule_itself(line: str, wrong: bool) -> None:
    assert (problem(line) is not None) is wrong


def test_the_pages_name_the_commands_that_an_operator_needs() -> None:
    named = [line for _, line in ALL]
    for wanted in (
        "run",
        "lab env",
        "lab down",
        "doctor",
        "explain",
        "diagnose",
        "runs list",
        "runs show",
        "export",
        "phase check",
    ):
        assert any(line.startswith(f"runbooks {wanted}") for line in named), wanted


def test_the_first_screen_shows_what_the_demo_prints() -> None:
    head, _, rest = README.partition("```\nstep ")
    table = rest.partition("```")[0].splitlines()
    assert table[0].split() == ["what", "it", "proves", "verdict", "seconds"]
    rows = [re.split(r"\s{2,}", line.strip()) for line in table[1:]]
    assert [row[0] for row in rows] == [step_name(step) for step in STEPS]
    assert [row[1] for row in rows] == [PROVES[step] for step in STEPS]
    assert all(Verdict(row[2]) and float(row[3]) > 0 for row in rows)
    assert [row[2] for row in rows] == ["PASS"] * 5 + ["OPEN"] * 2
    assert len(head.splitlines()) < 20, "above the fold"


def test_it_is_short_and_leads_to_every_page() -> None:
    assert len(README.splitlines()) <= 150
    pages = {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")}
    assert pages - set(re.findall(r"\]\((docs/[^)]+)\)", README)) <= FROM_OTHER_PAGES


def test_it_opens_with_two_sentences_two_pictures_and_two_commands() -> None:
    title, opening, *_ = README.split("\n\n")
    assert title.startswith("# ")
    assert len(re.findall(r"\.(?:\s|$)", opening)) == 2
    pictures = re.findall(r"!\[[^]]{20,}\]\(([^)]+)\)", README.partition("```")[0])
    assert len(pictures) == 2
    for picture in pictures:
        content = (ROOT / picture).read_bytes()
        assert content.startswith(b"\x89PNG")
        assert 20_000 < len(content) < 200_000
    assert re.search(r"^```\nmake demo .*\nmake test .*\n```", README, re.MULTILINE)


def anchors_of(text: str) -> set[str]:
    return {
        re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_links_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    anchors = anchors_of(text)
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in anchors
        elif not target.startswith("https://"):
            file, _, anchor = target.partition("#")
            assert (document.parent / file).exists(), target
            assert not anchor or anchor in anchors_of((document.parent / file).read_text("utf-8")), target


def test_every_variable_that_it_names_is_read_somewhere() -> None:
    sources = [*(ROOT / "runbooks_lib").rglob("*.py"), *(ROOT / "runbooks_lib").rglob("*.toml")]
    sources += (ROOT / ".github" / "workflows").glob("*.yml")
    code = "\n".join(f.read_text(encoding="utf-8") for f in sources if "node_modules" not in f.parts)
    named = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    unknown = {name for name in VARIABLE.findall(named) if name not in code}
    assert unknown <= {"PGPASS", "PGSERVICEFILE", "PGPASSFILE"}


def test_the_papermill_lines_name_parameters_that_exist() -> None:
    lines = re.findall(r"^papermill (notebooks/\S+) (?:\S+) -p (\w+) ", text_of("papermill"), re.MULTILINE)
    assert lines
    for notebook, parameter in lines:
        assert parameter in papermill.inspect_notebook(str(ROOT / notebook))


def test_the_notebooks_table_has_all_seven() -> None:
    assert re.findall(r"^\| \[(\w+)\]\(notebooks/\1\.ipynb\)", README, re.MULTILINE) == [
        step_name(step) for step in STEPS
    ]


def test_the_exit_codes_are_those_of_the_errors() -> None:
    from runbooks_lib import errors
    from runbooks_lib.cli import INTERRUPTED_EXIT_CODE

    known = {c.exit_code for c in vars(errors).values() if isinstance(c, type) and hasattr(c, "exit_code")}
    table = set(map(int, re.findall(r"^\| (\d+) \|", text_of("troubleshooting"), re.MULTILINE)))
    assert table == known | {0, click.UsageError.exit_code, INTERRUPTED_EXIT_CODE}


ARCHITECTURE = (ROOT / ".github" / "ARCHITECTURE.md").read_text(encoding="utf-8")


def test_the_architecture_page_has_the_rooms_of_the_import_test() -> None:
    source = (ROOT / "tests" / "unit" / "test_imports.py").read_text(encoding="utf-8")
    rooms = re.findall(r'"([\w.]+)"', source.partition("ROOMS = (")[2].partition(")")[0])
    assert len(rooms) > 20
    assert " < ".join(rooms) in " ".join(ARCHITECTURE.split())


def test_the_architecture_page_names_every_part_of_the_package_and_only_what_exists() -> None:
    table = set(re.findall(r"^\| `(\w+)/?` \|", ARCHITECTURE, re.MULTILINE))
    parts = {p.name.removesuffix(".py") for p in (ROOT / "runbooks_lib").iterdir()
             if not p.name.startswith(("_", "."))}  # fmt: skip
    assert parts - {"texts", "notebooks"} <= table
    paths = re.findall(r"`((?:runbooks_lib|tests|notebooks)/[\w./-]+)`", ARCHITECTURE)
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_architecture_page_answers_questions_with_files_that_exist() -> None:
    rows = re.findall(r"^\| (?:Where|Who|What|How|Which) [^|]+\? \| (.+) \|$", ARCHITECTURE, re.MULTILINE)
    assert len(rows) >= 12
    for answer in rows:
        files = re.findall(r"`([\w/]+\.py)`", answer)
        assert files
        assert [file for file in files if not (ROOT / "runbooks_lib" / file).exists()] == []
