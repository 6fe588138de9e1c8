"""A script in pieces: its statements as PostgreSQL's own parser tells them apart, each with its parse tree.

The trees are the parser's JSON, which takes a thirtieth of the time that objects in Python take: a project may have
hundreds of migrations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec
from pglast.parser import ParseError, parse_sql_json

Node = Mapping[str, Any]
# What hangs on a table: its kind, and where in the statement's tree its name and its table stand.
ATTACHED = {
    "CreateTrigStmt": ("trigger", "trigname", "relation"),
    "RuleStmt": ("rule", "rulename", "relation"),
    "CreatePolicyStmt": ("policy", "policy_name", "table"),
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Piece:
    """One statement: the line on which it begins, its text, and its tree: `tag` such as CreateStmt, and `node`."""

    line: int
    text: str
    tag: str
    node: Node

    def options(self, name: str = "options") -> dict[str, Any]:
        """Return the options of the statement by their names, with their trees; None where one has no value."""
        elements = (element["DefElem"] for element in self.node.get(name, ()))
        return {element["defname"]: element.get("arg") for element in elements}

    def flag(self, name: str) -> bool:
        """Return whether an option such as CONCURRENTLY is given, and not as false."""
        found = self.options("params" if "params" in self.node else "options")
        return name in found and value(found[name]) not in ("off", "false", "0", False, 0)


@lru_cache(maxsize=2048)
def pieces(script: str) -> tuple[Piece, ...] | None:
    """Return the statements of a script; None when this parser does not understand it, though a server might."""
    try:
        statements = msgspec.json.decode(parse_sql_json(script)).get("stmts", ())
    except (ParseError, msgspec.DecodeError, ValueError, RecursionError):
        return None
    return tuple(_pieces(script.encode(), statements))


def _pieces(script: bytes, statements: list[Any]) -> Iterator[Piece]:
    line, counted = 1, 0
    for found in statements:
        start = found.get("stmt_location", 0)
        end = start + found["stmt_len"] if found.get("stmt_len") else len(script)
        start = _begin(script, start, end)
        line += script.count(b"\n", counted, start)
        counted = start
        ((tag, node),) = found["stmt"].items()
        yield Piece(line=line, text=script[start:end].decode(), tag=tag, node=node)


def _begin(script: bytes, start: int, end: int) -> int:
    """Return where a statement's first word stands, behind blanks and comments."""
    while start < end:
        if script[start : start + 1].isspace():
            start += 1
        elif script.startswith(b"--", start):
            newline = script.find(b"\n", start, end)
            start = end if newline < 0 else newline
        elif script.startswith(b"/*", start):
            start = _after_comment(script, start, end)
        else:
            break
    return start


def _after_comment(script: bytes, start: int, end: int) -> int:
    """Return where a comment ends, which may hold others."""
    depth, at = 0, start
    while at < end:
        pair = script[at : at + 2]
        if pair in (b"/*", b"*/"):
            depth += 1 if pair == b"/*" else -1
            at += 2
            if depth == 0:
                return at
        else:
            at += 1
    return end


def value(node: Node | None) -> Any:
    """Return the plain value of a tree's constant, such as that of an option; None when it is something else."""
    match node:
        case {"String": {"sval": text}}:
            return text
        case {"Integer": number}:
            return number.get("ival", 0)
        case {"Boolean": truth}:
            return truth.get("boolval", False)
        case _:
            return None


def every(node: Any, tag: str) -> Iterator[Node]:
    """Yield every part of a tree that has this tag."""
    if isinstance(node, dict):
        for key, part in node.items():
            if key == tag:
                yield part
            yield from every(part, tag)
    elif isinstance(node, list):
        for part in node:
            yield from every(part, tag)


def relation(node: Node, schema: str = "public") -> tuple[str, str]:
    """Return schema and name of a relation in a tree."""
    return node.get("schemaname", schema), node["relname"]


def name_of(parts: Any, schema: str = "public") -> tuple[str, str]:
    """Return schema and name out of a list of strings in a tree."""
    words = [str(value(part)) for part in parts]
    return (words[-2] if len(words) > 1 else schema, words[-1])
