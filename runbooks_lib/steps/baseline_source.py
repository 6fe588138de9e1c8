"""The SQL of a phase's baseline where the project's migrations make its tables and enums otherwise than its file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from pglast import ast, parse_sql
from pglast.enums import AlterTableType as Alter
from pglast.parser import ParseError

from runbooks_lib.drafting.baseline import write_baseline
from runbooks_lib.errors import MigrationError
from runbooks_lib.postgres.script.calls import every_node
from runbooks_lib.postgres.script.idempotence import listed, relation
from runbooks_lib.postgres.script.pieces import pieces
from runbooks_lib.postgres.script.script import held_in, parse_script
from runbooks_lib.prisma.history import read_folder
from runbooks_lib.prisma.named import find_project

_PLACES = frozenset({"location", "rexpr_list_start", "rexpr_list_end", "list_start", "list_end"})
_MAKING = (ast.CreateStmt, ast.CreateEnumStmt, ast.IndexStmt, ast.AlterTableStmt)
Scripts = tuple[tuple[str, str], ...]


def migrated(text: str) -> str | None:
    """Return the statements to run instead of a baseline; None where it makes all that the migrations make.

    Those are the statements of the project's migrations that make the tables and enums which the text makes. Raises
    MigrationError when they can't be written so that they may run twice, or when the text does more than they;
    PreconditionFailed or PrismaError without the project.
    """
    try:
        wanted = _made_by(text)
    except ParseError:  # told with its line by whoever reads the statements
        wanted = frozenset()
    if not wanted:
        return None
    scripts = tuple(
        (each.name, each.script) for each in read_folder(find_project()) if each.script is not None
    )
    made = _written(scripts, wanted)
    if _shapes(made) <= _shapes(text):
        return None
    _require_nothing_else(text, wanted, _made_by(made))
    return made


def _made_by(text: str) -> frozenset[str | None]:
    """Return which tables and enums a script makes. Raises pglast's ParseError."""
    return frozenset(
        _of(node) for node in _nodes(text) if isinstance(node, ast.CreateStmt | ast.CreateEnumStmt)
    )


def _require_nothing_else(text: str, wanted: frozenset[str | None], made: frozenset[str | None]) -> None:
    """Refuse to run something instead of a text that does more: that would be left out without a word."""
    if unknown := wanted - made:
        raise MigrationError(
            f"The baseline makes {', '.join(sorted(map(str, unknown)))}, which the project's migrations do not make.",
            "Leave it to another phase, or leave baseline.from out.",
        )
    for piece in pieces(text) or ():
        if not all(isinstance(node, _MAKING) and _of(node) in wanted for node in _nodes(piece.text)):
            raise MigrationError(
                "The project's migrations make these tables otherwise than the baseline, which also does something "
                f"else: line {piece.line}.",
                "Leave that statement to another phase, or leave baseline.from out.",
            )


@lru_cache(maxsize=8)
def _written(scripts: Scripts, wanted: frozenset[str | None]) -> str:
    written, texts = write_baseline(scripts), dict(scripts)
    unsaid = [
        f"{each.migration}, line {each.line}, {each.words}: {each.why}"
        for each in written.left
        if not each.changes_rows
        for piece in pieces(texts[each.migration]) or ()
        if piece.line == each.line and _is_of(piece.text, wanted)
    ]
    if unsaid:
        raise MigrationError(
            f"The migrations can't be written as a baseline that may run twice: {'; '.join(unsaid)}.",
            "Write the baseline's file by hand, and leave baseline.from out.",
        )
    kept = [each.text.strip() for each in parse_script(written.sql) if _is_of(each.text, wanted)]
    return "".join(f"{each};\n\n" for each in kept)


def _is_of(text: str, wanted: frozenset[str | None]) -> bool:
    """Return whether a statement is about one of some tables and enums."""
    return any(_of(node) in wanted for node in _nodes(text))


def _of(node: Any) -> str | None:
    """Return the table or enum that a statement is about; None of any other."""
    for table in (getattr(node, "relation", None), getattr(node, "table", None)):
        if isinstance(table, ast.RangeVar):
            return relation(table)
    enum = getattr(node, "typeName", None)
    return listed(enum) if isinstance(enum, tuple) else None


def _nodes(text: str) -> list[Any]:
    return [node for raw in parse_sql(text) for node in held_in(raw.stmt).statements]


@lru_cache(maxsize=8)
def _shapes(text: str) -> frozenset[str]:
    """Return what a script makes, each part of a table by itself, without how it is written."""
    shapes = (each for node in _nodes(text) for each in _shapes_of(_plain(node)))
    return frozenset(json.dumps(each, default=str) for each in shapes)


def _shapes_of(node: Any) -> Iterator[Any]:
    match node:
        case ast.CreateStmt():
            columns = [each for each in node.tableElts or () if isinstance(each, ast.ColumnDef)]
            yield [relation(node.relation), [each(skip_none=True) for each in columns]]
            others = [each for each in node.tableElts or () if not isinstance(each, ast.ColumnDef)]
            yield from ([relation(node.relation), each(skip_none=True)] for each in others)
        case ast.AlterTableStmt() if all(each.subtype == Alter.AT_AddConstraint for each in node.cmds or ()):
            yield from ([relation(node.relation), each.def_(skip_none=True)] for each in node.cmds or ())
        case _:
            yield node(skip_none=True)


def _plain(node: Any) -> Any:
    """Return a statement without `public`, IF NOT EXISTS and where it stands."""
    for each in every_node(node):
        for name in _PLACES.intersection(each.__slots__):
            setattr(each, name, None)
        if isinstance(each, ast.RangeVar) and each.schemaname == "public":
            each.schemaname = None
        if (
            isinstance(each, ast.TypeName)
            and each.names
            and len(each.names) == 2
            and each.names[0].sval == "public"
        ):
            each.names = each.names[1:]
        if isinstance(each, ast.CreateEnumStmt) and each.typeName and len(each.typeName) == 2:
            each.typeName = each.typeName[1:] if each.typeName[0].sval == "public" else each.typeName
        if isinstance(each, ast.CreateStmt | ast.IndexStmt):
            each.if_not_exists = False
    return node
