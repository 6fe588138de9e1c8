"""What steps recorded of a finding, in French: every hint, and what did not pass in two real runs."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from importlib import import_module
from inspect import isfunction
from pathlib import Path

import pytest

from runbooks_lib.checks import Check
from runbooks_lib.phase import STEPS
from runbooks_lib.report import language
from runbooks_lib.report.recorded import is_name, recorded

EVIDENCE = Path(__file__).parent / "evidence"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "Deploy it, or let SHOP_URL hold its base URL.",
            "Le déployer, ou donner son URL de base dans SHOP_URL.",
        ),
        ("a: absent: HTTP 404; b: absent: HTTP 410", "a : absente : HTTP 404 ; b : absente : HTTP 410"),
        ("3 of 4 findings passed; not: x; y", "3 contrôles conformes sur 4 ; non : x; y"),
        ("the phase declares no boxes of a checklist", "la phase ne déclare pas de cases d'une checklist"),
        ("the phase declares no done", "la phase ne déclare pas done"),
        ("none", "néant"),
        ("18, or the lowest newer", "18, ou à défaut la plus basse des versions supérieures"),
        (
            "catalogue 1ab7, 2 rows in 1 tables (f583)",
            "catalogue 1ab7, 2 lignes dans 1 tables (f583)",
        ),
        ("kb_backend", "kb_backend"),
        ("ALTER TABLE t ADD c {}; -- nobody knows this", "ALTER TABLE t ADD c {}; -- nobody knows this"),
        ("Target " + " is declared a " * 999, "Target " + " is declared a " * 999),
        ("of " * 9999, "of " * 9999),
        ("", ""),
    ],
)
def test_recorded_words_are_said_in_french_where_they_are_known(words: str, said: str) -> None:
    assert recorded(words, "fr") == said
    assert recorded(words, "en") == words


def test_a_name_in_a_database_is_not_said_in_french() -> None:
    assert is_name("done", Check.ENUM_HAS_LABELS)
    assert is_name("none", Check.COL_IS_PK)
    assert not is_name("no primary key", Check.ENUM_HAS_LABELS)
    assert not is_name("absent", Check.HAS_ENUM)


def test_every_question_is_said_in_french() -> None:
    asked = {
        str(function.__doc__).partition("\n")[0]
        for module in (import_module(f"runbooks_lib.steps.{step}") for step in STEPS)
        for name, function in vars(module).items()
        if isfunction(function) and function.__module__ == module.__name__ and name[0] != "_"
        if function.__annotations__["return"] == "Answer"
    }
    assert len(asked) > 25
    assert [words for words in asked if recorded(words, "fr") == words] == []


def hints() -> set[str]:
    """Return what the steps' findings say is to do, as far as it stands in the code where it is given."""
    found: set[str] = set()
    for path in (language.texts().parent / "steps").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.keyword | ast.Assign) and _is_hint(node):
                found.update(_texts(node.value))
    return {text for text in found if re.search(r"[a-z]{3} [a-z]", text) and not text.startswith("kubectl")}


def _is_hint(node: ast.keyword | ast.Assign) -> bool:
    named = [node.arg] if isinstance(node, ast.keyword) else [ast.unparse(each) for each in node.targets]
    return named[0] is not None and named[0].strip("_").lower() == "hint"


def _texts(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant):
        yield (
            re.sub(r"\{\w+!r\}", "'Xx9'", str(node.value)).replace("{{", "{").replace("}}", "}")
        )  # for str.format
    elif isinstance(node, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "Xx9" for part in node.values)
    elif isinstance(node, ast.IfExp):
        yield from (*_texts(node.body), *_texts(node.orelse))


def test_every_hint_of_a_step_is_in_french() -> None:
    assert len(hints()) > 60
    assert [hint for hint in hints() if recorded(hint, "fr") == hint] == []


@pytest.mark.parametrize("run", ["applied", "planned"])
def test_what_did_not_pass_is_said_in_french(run: str) -> None:
    """Of what these runs recorded and is no PASS, nothing that has an English sentence is left as it is."""
    records = [json.loads(path.read_text("utf-8")) for path in (EVIDENCE / run).glob("0*.json")]
    found = [f for record in records for answer in record["answers"].values() for f in answer["findings"]]
    words = {f[part] for f in found if f["verdict"] != "PASS" for part in ("have", "want", "hint")}
    said = {
        re.sub("^non vérifié : .*", "", recorded(text, "fr")) for text in words
    }  # that is a text of the phase
    assert [text for text in said if re.search(r"\b(the|this|not|with|have|was|of)\b", text)] == []
