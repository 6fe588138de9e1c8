"""Which tables, columns and sequences does a script take away, by dropping, renaming or another type?"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from runbooks_lib.postgres.script.blocks import with_block
from runbooks_lib.postgres.script.calls import Name
from runbooks_lib.postgres.script.data_statements import How, touches
from runbooks_lib.postgres.script.pieces import Piece, name_of, pieces, relation

_WIDE = ("OBJECT_DOMAIN", "OBJECT_EXTENSION", "OBJECT_SCHEMA", "OBJECT_TYPE")  # with CASCADE: columns go, too


class Taken(NamedTuple):
    """A relation, or a column of it, that is taken away; `retyped`: the column gets another type."""

    of: Name
    column: str = ""
    retyped: bool = False


@lru_cache(maxsize=4096)
def taken(script: str, schema: str) -> tuple[Taken, ...] | None:
    """Return what a script takes away, each time; None when it names not all (CASCADE, a schema)."""
    moved = [
        Taken(touch.table, column)
        for touch in touches(script, schema)
        if touch.how is How.MOVES
        for column in touch.columns or ("",)
    ]
    every = [one for piece in pieces(script) or () for one in with_block(piece)]
    if any(each.of[0] == "" for each in moved) or any(map(_is_wide, every)):
        return None
    return (*moved, *(each for one in every for each in _more(one, schema)))


def _is_wide(piece: Piece) -> bool:
    cascades = piece.node.get("behavior") == "DROP_CASCADE"
    return piece.tag == "DropOwnedStmt" or (
        piece.tag == "DropStmt" and cascades and piece.node["removeType"] in _WIDE
    )


def _more(piece: Piece, schema: str) -> Iterator[Taken]:
    node = piece.node
    match piece.tag:
        case "DropStmt" if node["removeType"] == "OBJECT_SEQUENCE":
            yield from (Taken(name_of(each["List"]["items"], schema)) for each in node["objects"])
        case "AlterTableStmt":
            for command in (each["AlterTableCmd"] for each in node.get("cmds", ())):
                if command.get("subtype") == "AT_AlterColumnType":
                    yield Taken(relation(node["relation"], schema), command["name"], retyped=True)
