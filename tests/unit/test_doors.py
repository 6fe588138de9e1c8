"""Every door has a page in the form of all others, and is found by what people paste."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from runbooks_lib.cli import commands
from runbooks_lib.doors import Door, doors, find_doors

from .test_explain import OFFICIAL

ROOT = Path(__file__).resolve().parents[2]
HEADINGS = [
    "it is printed as",
    "what it means",
    "what diagnose looks at",
    "what is safe",
    "what not to do",
    "source",
]
EACH = pytest.mark.parametrize("door", doors(), ids=lambda door: door.id)


def ids(text: str) -> list[str]:
    return [door.id for door in find_doors(text)]


def explain(*words: str, given: str | None = None) -> Result:
    return CliRunner().invoke(commands, ["explain", *words], input=given)


@EACH
def test_a_page_has_its_title_its_headings_and_a_source(door: Door) -> None:
    first, *rest = door.page.splitlines()
    assert re.fullmatch(rf"# {door.id}: \S.{{10,80}}", first)
    assert [line.removeprefix("## ") for line in rest if line.startswith("#")] == HEADINGS
    assert all(section.strip() for section in re.split(r"^## .*$", door.page, flags=re.MULTILINE)[1:])
    assert len(rest) <= 50
    source = door.page.partition("## source\n")[2].strip()
    assert source.startswith(OFFICIAL)


def test_a_code_leads_to_one_page() -> None:
    counted = Counter(code for door in doors() for code in door.codes)
    assert [code for code, count in counted.items() if count > 1] == []
    assert {door.id for door in doors() if door.id.upper() == door.id} <= set(counted)


@EACH
def test_a_door_is_found_by_its_id_its_codes_and_its_messages(door: Door) -> None:
    for asked in (door.id, door.id.lower(), *door.codes, *map(str.lower, door.codes)):
        assert ids(asked) == [door.id], asked
    for message in door.messages:
        pasted = message.replace("…", '"x y"')
        assert door.id in ids(f"Error: {pasted}."), message


@pytest.mark.parametrize(
    ("pasted", "found"),
    [
        ("Error: P3018\n\nMigration name: 1_x\n\nDatabase error code: 42P07\n\nERROR: x", ["P3009", "42P07"]),
        ('ERROR:  column "a" of relation "Shop" does not exist', ["42703"]),
        ('ERROR:  column "a" of relation "Shop" already exists', ["42P07"]),
        ('ERROR:  relation "Shop" does not exist\nLINE 1: …', ["P1014"]),
        ("Drift detected: Your database schema is\n not in sync with your migration history.", ["drift"]),
        ("The migration `1_x` was modified after it was applied.", ["edited"]),
        ("ERROR: cannot execute INSERT in a read-only transaction", ["25006"]),
        ("an ERROR in WORDS, P9999 and XP3005", []),
        ("", []),
    ],
)
def test_a_pasted_message_finds_its_doors_in_order(pasted: str, found: list[str]) -> None:
    assert ids(pasted) == found


def test_explain_prints_the_page_of_an_id_a_code_and_a_pipe() -> None:
    (door,) = find_doors("P3005")
    for done in (
        explain("P3005"),
        explain("p3005"),
        explain("The", "database", "schema", "is", "not", "empty."),
        explain("-", given="Error: P3005\nThe database schema is not empty."),
    ):
        assert (done.exit_code, done.stdout) == (0, door.page)


def test_a_code_without_a_page_gets_a_sentence_or_an_address() -> None:
    assert explain("53300").stdout.startswith("53300: All connection slots are taken")
    assert explain("P2002").stdout.rstrip().endswith("error-reference#p2002")


@pytest.mark.parametrize(
    ("asked", "near"), [("P30O5", "P3005"), ("the lock timeout happened", "55P03"), ("drifft", "drift")]
)
def test_what_is_nearly_a_door_is_answered_with_its_name(asked: str, near: str) -> None:
    done = explain(asked)
    assert (done.exit_code, done.stdout) == (2, "")
    assert near in done.stderr


def test_the_published_list_has_every_door_with_its_codes() -> None:
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[(\S+)\]\((\S+)\) \| (.+?) \| (.*?) ?\|$", text, re.MULTILINE)
    assert rows == [
        (
            door.id,
            f"../runbooks_lib/doors/{door.id}.md",
            door.title,
            ", ".join(code for code in door.codes if code != door.id),
        )
        for door in doors()
    ]
