"""Decisions are taken on values: no code of the library looks into the words that a finding has for people."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from .test_imports import MODULES, PACKAGE

WORDS = frozenset({"have", "want"})
SEARCHING = frozenset({
    "startswith", "endswith", "split", "rsplit", "partition", "rpartition", "find", "index", "count", "strip",
    "removeprefix", "removesuffix", "search", "match", "fullmatch", "findall", "splitlines",
})  # fmt: skip
# Here `have` and `want` are rows of a table, as the server compares them: values, no words.
ROWS = frozenset({"steps/seed_rows.py", "steps/seed_sets.py", "steps/seed_verification.py"})


def sentences_read(source: str, *, rows: bool = False) -> list[str]:
    """Return where a source compares, searches, cuts or branches on what is in `.have` or `.want`."""
    found: list[str] = []
    for scope in _scopes(ast.parse(source)):
        names = {name for node in scope for name in _named(node, rows)}
        for node in scope:
            if any(_is_words(each, names, rows) for each in _looked_into(node)):
                found.append(f"line {node.lineno}: {ast.unparse(node)}")  # type: ignore[attr-defined]
    return found


def _scopes(tree: ast.Module) -> Iterator[list[ast.AST]]:
    """Yield the nodes of each function, and those of the module that are in none."""
    functions = [
        n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    ]
    inside = {id(node) for function in functions for node in ast.walk(function)}
    yield [node for node in ast.walk(tree) if id(node) not in inside]
    for function in functions:
        yield list(ast.walk(function))


def _named(node: ast.AST, rows: bool) -> Iterator[str]:
    """Yield the names to which a statement gives such words."""
    if isinstance(node, ast.Assign) and _is_words(node.value, frozenset(), rows):
        yield from (target.id for target in node.targets if isinstance(target, ast.Name))
    elif isinstance(node, ast.NamedExpr) and _is_words(node.value, frozenset(), rows):
        yield node.target.id


def _looked_into(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the expressions into which a node looks: a presence (`is None`) is no words."""
    match node:
        case ast.Compare() if not all(isinstance(op, ast.Is | ast.IsNot) for op in node.ops):
            yield from (node.left, *node.comparators)
        case ast.Subscript():
            yield node.value
        case ast.Call(func=ast.Attribute(attr=attr)) if attr in SEARCHING:
            yield from (node.func.value, *node.args)  # type: ignore[attr-defined]
        case ast.Match():
            yield node.subject
        case ast.If() | ast.IfExp() | ast.While():
            yield node.test


def _is_words(node: ast.AST, names: frozenset[str] | set[str], rows: bool) -> bool:
    match node:
        case ast.Attribute(attr=attr):
            return attr in WORDS
        case ast.Subscript(slice=ast.Constant(value=str(key))):
            return key in WORDS and not rows
        case ast.Name(id=name):
            return name in names
        case ast.Call(func=ast.Attribute(value=inner)):  # .lower(), .strip() of it, and so on
            return _is_words(inner, names, rows)
        case ast.Subscript(value=inner):
            return _is_words(inner, names, rows)
    return False


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_code_reads_the_words_of_a_finding(file: object) -> None:
    name = str(file.relative_to(PACKAGE))  # type: ignore[attr-defined]
    source = file.read_text(encoding="utf-8")  # type: ignore[attr-defined]
    assert sentences_read(source, rows=name in ROWS) == []


@pytest.mark.parametrize(
    "line",
    [
        "finding.have == 'absent'",
        "'there' in finding.have",
        "finding.want != '0'",
        "finding.have.startswith('there')",
        "finding.have.lower().startswith('there')",
        "finding.have[0] in 'FE'",
        "finding.have.split(';')[0]",
        "re.match('x', finding.have)",
        "row['have'].partition(';')",
        "item['have'].split(';')[0] == ''",
        "said = finding.have\nsaid[0]",
        "def f(finding):\n    said = finding.have\n    return 'absent' in said",
        "[f for f in found if f.have == 'absent' != f.want]",
        "match finding.have:\n    case 'absent':\n        pass",
        "if finding.have:\n    pass",
        "'a' if finding.have else 'b'",
    ],
)
def test_the_search_finds_every_way_to_read(line: str) -> None:
    assert sentences_read(line)


@pytest.mark.parametrize(
    "line",
    [
        "made.have is None or made.want is not None",
        "f'{finding.have}, want {finding.want}'",
        "Finding(have=finding.have, want='x')",
        "'; '.join(f.have for f in found)",
        "finding.verdict is Verdict.PASS and finding.note is Note.ABSENT",
    ],
)
def test_and_leaves_alone_what_says_them(line: str) -> None:
    assert sentences_read(line) == []
