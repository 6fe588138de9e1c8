"""Which statements of a script set where a sequence stands? By the sequence's own name, as far as they name it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from runbooks_lib.postgres.script.blocks import in_block, with_block
from runbooks_lib.postgres.script.effects import in_words
from runbooks_lib.postgres.script.pieces import Node, Piece, every, name_of, pieces, value

_SETS = re.compile(r"\bsetval\b|\brestart\b", re.IGNORECASE)
_RELATIONS = ("OBJECT_TABLE", "OBJECT_SEQUENCE")


@dataclass(frozen=True, slots=True, kw_only=True)
class SetSequence:
    """A statement (`at` counts the script's from 0) that sets sequences, or makes them anew.

    `name` is a sequence; or, `of_table`, the table whose sequences it sets. None: any may be meant.
    """

    at: int
    line: int
    words: str
    name: str | None
    of_table: bool = False

    def may_mean(self, sequence: str) -> bool:
        """Return whether it may set this sequence; one that serves a table is known by its name."""
        if self.of_table:
            return sequence.startswith(f"{self.name}_")
        return self.name in (None, sequence)


@lru_cache(maxsize=4096)
def set_sequences(script: str) -> tuple[SetSequence, ...]:
    """Return the statements of a script that set sequences; those of a DO block that can be read count as its own."""
    return tuple(
        SetSequence(at=at, line=piece.line, words=in_words(piece), name=name, of_table=of_table)
        for at, piece in enumerate(pieces(script) or ())
        for one in with_block(piece)
        for name, of_table in _set(one)
    )


def _set(piece: Piece) -> Iterator[tuple[str | None, bool]]:
    node = piece.node
    for call in every(node, "FuncCall"):
        if value(call["funcname"][-1]) == "setval":
            yield _named(call.get("args", [{}])[0]), False
    match piece.tag:
        case "DoStmt" if in_block(node) is None and _SETS.search(piece.text):
            yield None, False
        case "AlterSeqStmt" if "restart" in piece.options():
            yield node["sequence"]["relname"], False
        case "AlterTableStmt" if any(each["defname"] == "restart" for each in every(node["cmds"], "DefElem")):
            yield node["relation"]["relname"], True
        case "TruncateStmt" if node.get("restart_seqs"):
            yield from ((each["RangeVar"]["relname"], True) for each in node["relations"])
        case "DropStmt" if node.get("behavior") == "DROP_CASCADE" or node["removeType"] == "OBJECT_SCHEMA":
            yield None, False
        case "DropStmt" if node["removeType"] in _RELATIONS:
            of_table = node["removeType"] == "OBJECT_TABLE"
            yield from ((name_of(each["List"]["items"])[1], of_table) for each in node["objects"])


def _named(argument: Node) -> str | None:
    """Return the sequence that the first argument of setval names; one of a column by the name that it is made with."""
    while "TypeCast" in argument:
        argument = argument["TypeCast"]["arg"]
    if "FuncCall" in argument:
        table, column = ([*map(_text, argument["FuncCall"]["args"]), None, None])[:2]
        return table and column and f"{_last(table)}_{column}_seq"
    text = _text(argument)
    return text and _last(text)


def _last(name: str) -> str:
    """Return the last part of a name as PostgreSQL reads it: without quotes, or in small letters."""
    if name.endswith('"'):
        return name[:-1].rpartition('."')[2].removeprefix('"')
    return name.rpartition(".")[2].lower()


def _text(node: Node) -> str | None:
    text = node.get("A_Const", {}).get("sval", {}).get("sval")
    return None if text is None else str(text)
