"""The statements of a script that change rows, or what else no catalogue shows: one record each, and what came later.

What came later matters: of rows that a later statement wrote again, or of a table that it renamed, nobody can tell
what an earlier statement left there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

from runbooks_lib.names import qualified
from runbooks_lib.postgres.script.blocks import with_block
from runbooks_lib.postgres.script.calls import Name
from runbooks_lib.postgres.script.effects import in_words, unjudged
from runbooks_lib.postgres.script.literal_rows import Rows, literal_rows
from runbooks_lib.postgres.script.pieces import Node, Piece, every, name_of, pieces, relation, value

# Of everything else the catalogue shows all, or it is the server's.
_CHANGES_DATA = frozenset(
    {"AlterSeqStmt", "AlterTableStmt", "CallStmt", "CopyStmt", "CreateTableAsStmt", "DeleteStmt", "DoStmt",
     "ExecuteStmt", "ExplainStmt", "InsertStmt", "MergeStmt", "RefreshMatViewStmt", "SelectStmt", "TruncateStmt",
     "UpdateStmt"}
)  # fmt: skip
_WRITES = frozenset({"CopyStmt", "DeleteStmt", "InsertStmt", "MergeStmt", "UpdateStmt"})


@dataclass(frozen=True, slots=True, kw_only=True)
class DataStatement:
    """A statement that changes rows: where it stands (`at` counts the script's statements from 0), and what it is.

    `words` name it without its text, which may hold what is not to be shown. `table` is the `schema.name` of the
    table that it writes; None where it names none, or several. `script` is the whole that it stands in.
    """

    line: int
    tag: str
    words: str
    text: str = field(repr=False)
    table: str | None
    at: int
    script: str = field(repr=False)


def data_statements(script: str, schema: str = "public") -> tuple[DataStatement, ...]:
    """Return what of a script changes rows, in its order; `schema` is where names without one lead.

    A script that PostgreSQL's parser does not understand is one such statement, of no tag.
    """
    found = pieces(script)
    if found is None:
        whole = DataStatement(
            line=1, tag="", words="the whole script", text=script, table=None, at=0, script=script
        )
        return (whole,)
    return tuple(
        DataStatement(
            line=piece.line,
            tag=piece.tag,
            words=in_words(piece),
            text=piece.text,
            table=_only([qualified(*name) for name in _written(piece, schema)]),
            at=at,
            script=script,
        )
        for at, piece in enumerate(found)
        if piece.tag in _CHANGES_DATA and unjudged(piece)
    )


def _only(names: Sequence[str]) -> str | None:
    return names[0] if len(names) == 1 else None


def _written(piece: Piece, schema: str) -> list[Name]:
    """Return the tables that a statement itself writes."""
    node = piece.node
    if piece.tag in _WRITES or piece.tag == "AlterTableStmt":
        return [relation(node["relation"], schema)] if "relation" in node else []
    if piece.tag == "TruncateStmt":
        return [relation(found["RangeVar"], schema) for found in node["relations"]]
    if into := (node.get("into") or node.get("intoClause")):
        return [relation(into["rel"], schema)]
    return []


class How(StrEnum):
    """What a statement does to a table, as far as it matters to what an earlier one left there."""

    ADDS = "adds rows to it"
    WRITES = "changes its rows"
    MOVES = "drops or renames it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Touch:
    """What a statement does to a table, or to some of its columns (None: all): `at` and `line` say which one it is.

    A schema that is dropped is the table `("", schema)`. `rows` are those that it adds, where it spells them out.
    """

    at: int
    line: int
    words: str
    table: Name
    how: How
    columns: frozenset[str] | None = None
    rows: Rows | None = None

    def meets(self, columns: frozenset[str]) -> bool:
        """Return whether it concerns one of some columns."""
        return self.columns is None or bool(self.columns & columns)


@lru_cache(maxsize=4096)
def touches(script: str, schema: str = "public") -> tuple[Touch, ...]:
    """Return what the statements of a script do to tables; those of a DO block that can be read count as its own."""
    return tuple(
        Touch(
            at=at,
            line=piece.line,
            words=in_words(piece),
            table=table,
            how=how,
            columns=columns,
            rows=literal_rows(one.node) if how is How.ADDS else None,
        )
        for at, piece in enumerate(pieces(script) or ())
        for one in with_block(piece)
        for table, how, columns in _touched(one, schema)
    )


def temporary(script: str) -> frozenset[str]:
    """Return the names of the tables that a script makes for its own time only."""
    made: list[Node] = []
    for piece in pieces(script) or ():
        into = piece.node.get("into") or piece.node.get("intoClause") or {}
        made += [into.get("rel", {}), piece.node.get("relation", {}) if piece.tag == "CreateStmt" else {}]
    return frozenset(str(found["relname"]) for found in made if found.get("relpersistence") == "t")


def sets_path(script: str, at: int) -> bool:
    """Return whether the statements before one change where names without a schema lead."""
    for piece in (pieces(script) or ())[:at]:
        if piece.tag == "VariableSetStmt" and piece.node.get("name", "").lower() == "search_path":
            return True
        for call in every(piece.node, "FuncCall") if piece.tag == "SelectStmt" else ():
            if value(call["funcname"][-1]) == "set_config":
                return True
    return False


Touched = tuple[Name, How, frozenset[str] | None]


def _touched(piece: Piece, schema: str) -> Iterator[Touched]:
    """Yield the tables that a statement touches. Common table expressions that change rows count as it does."""
    node = piece.node
    for tag in _WRITES:
        inner = list(every(node, tag))
        for found in (*inner, *([node] if piece.tag == tag else [])):
            if "relation" in found:
                yield relation(found["relation"], schema), *_writes(tag, found)
    match piece.tag:
        case "TruncateStmt":
            yield from ((name, How.WRITES, None) for name in _written(piece, schema))
        case "DropStmt" if node["removeType"] == "OBJECT_TABLE":
            yield from ((name_of(name["List"]["items"], schema), How.MOVES, None) for name in node["objects"])
        case "DropStmt" if node["removeType"] == "OBJECT_SCHEMA":
            yield from ((("", str(value(name))), How.MOVES, None) for name in node["objects"])
        case "AlterObjectSchemaStmt" if "relation" in node:
            yield relation(node["relation"], schema), How.MOVES, None
        case "RenameStmt" if "relation" in node and node["renameType"] in ("OBJECT_TABLE", "OBJECT_COLUMN"):
            column = frozenset({node["subname"]}) if node["renameType"] == "OBJECT_COLUMN" else None
            yield relation(node["relation"], schema), How.MOVES, column
        case "AlterTableStmt":
            yield from _altered(node, schema)


def _writes(tag: str, node: Node) -> tuple[How, frozenset[str] | None]:
    if tag == "UpdateStmt":
        return How.WRITES, frozenset(found["ResTarget"]["name"] for found in node["targetList"])
    conflict = node.get("onConflictClause", {}).get("action")
    if tag == "CopyStmt" or (tag == "InsertStmt" and conflict != "ONCONFLICT_UPDATE"):
        return How.ADDS, None
    return How.WRITES, None


def _altered(node: Node, schema: str) -> Iterator[Touched]:
    table = relation(node["relation"], schema)
    for command in (each["AlterTableCmd"] for each in node.get("cmds", ())):
        column = frozenset({command.get("name", "")})
        if command.get("subtype") == "AT_DropColumn":
            yield table, How.MOVES, column
        elif command.get("subtype") == "AT_AlterColumnType":
            yield table, How.WRITES, column
