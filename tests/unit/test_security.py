"""SECURITY.md says nothing without a test: every one that it names exists, and every test of the doors is named."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "SECURITY.md").read_text("utf-8")
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
CLAIMS = re.findall(r"^- .*\n(?:  .*\n)*", TEXT, re.MULTILINE)
DOORS = "tests/faults/test_doors.py"


@cache
def names_in(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    return frozenset(
        n.name for n in tree.body if isinstance(n, ast.FunctionDef) and n.name.startswith("test_")
    )


@pytest.mark.parametrize("claim", CLAIMS, ids=range(len(CLAIMS)))
def test_every_claim_names_tests_that_exist(claim: str) -> None:
    named = NAMED.findall(claim)
    assert named
    assert [f"{file}::{name}" for file, name in named if name not in names_in(file)] == []


def test_what_is_named_is_part_of_a_claim_and_every_door_is_named() -> None:
    assert NAMED.findall(TEXT) == [named for claim in CLAIMS for named in NAMED.findall(claim)]
    assert len(NAMED.findall(TEXT)) == TEXT.count("::")
    assert names_in(DOORS) <= {name for file, name in NAMED.findall(TEXT) if file == DOORS}
    assert "test_no_such" not in names_in(DOORS)
