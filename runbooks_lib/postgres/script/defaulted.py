"""Columns that scripts add with a default, and that may hold NULL: whether the rows got it, no catalogue shows.

Somebody who makes such a column by hand, without its default, and gives it the default afterwards leaves the same
catalogue, and NULL in every row that stood.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from runbooks_lib.postgres.script.blocks import with_block
from runbooks_lib.postgres.script.calls import Name
from runbooks_lib.postgres.script.pieces import Node, Piece, name_of, pieces, relation, value


class Added(NamedTuple):
    """Where a column is added: the script's name, the statement, and its number there, from 0."""

    script: str
    piece: Piece
    at: int


Columns = dict[tuple[Name, str], Added]  # by the table and the column's name


def added_with_default(scripts: Sequence[tuple[str, str]], schema: str) -> Columns:
    """Return the columns that are added with a default and may hold NULL, by the names that they have in the end.

    `scripts` are names and texts, in their order; `schema` is where names without one lead. What is dropped is left
    out.
    """
    found: Columns = {}
    for name, script in scripts:
        for at, piece in enumerate(pieces(script) or ()):
            for one in with_block(piece):
                found = _then(found, one, schema, Added(name, piece, at))
    return found


def _then(found: Columns, piece: Piece, schema: str, added: Added) -> Columns:
    """Return the columns as they are after a statement."""
    node = piece.node
    match piece.tag:
        case "AlterTableStmt" if "relation" in node:
            return _altered(found, node, relation(node["relation"], schema), added)
        case "RenameStmt" if node["renameType"] == "OBJECT_TABLE":
            table = relation(node["relation"], schema)
            return _moved(found, table, (table[0], node["newname"]))
        case "RenameStmt" if node["renameType"] == "OBJECT_COLUMN" and "relation" in node:
            old = relation(node["relation"], schema), node["subname"]
            return {(old[0], node["newname"]) if key == old else key: each for key, each in found.items()}
        case "AlterObjectSchemaStmt" if "relation" in node:
            table = relation(node["relation"], schema)
            return _moved(found, table, (node["newschema"], table[1]))
        case "DropStmt" if node["removeType"] == "OBJECT_TABLE":
            gone = {name_of(each["List"]["items"], schema) for each in node["objects"]}
            return {key: each for key, each in found.items() if key[0] not in gone}
        case "DropStmt" if node["removeType"] == "OBJECT_SCHEMA":
            schemas = {value(each) for each in node["objects"]}
            return {key: each for key, each in found.items() if key[0][0] not in schemas}
        case _:
            return found


def _moved(found: Columns, table: Name, to: Name) -> Columns:
    return {(to if key[0] == table else key[0], key[1]): each for key, each in found.items()}


def _altered(found: Columns, node: Node, table: Name, added: Added) -> Columns:
    found = dict(found)
    for command in (each["AlterTableCmd"] for each in node.get("cmds", ())):
        if command.get("subtype") == "AT_DropColumn":
            found.pop((table, command["name"]), None)
        elif command.get("subtype") == "AT_AddColumn" and _has_default(column := command["def"]["ColumnDef"]):
            found[table, column["colname"]] = added
    return found


def _has_default(column: Node) -> bool:
    """Return whether rows that stand get a value which they need not have."""
    constraints = [each["Constraint"] for each in column.get("constraints", ())]
    if any(each["contype"] in ("CONSTR_NOTNULL", "CONSTR_PRIMARY") for each in constraints):
        return False
    return any(each["contype"] == "CONSTR_DEFAULT" and not _is_null(each["raw_expr"]) for each in constraints)


def _is_null(expression: Node) -> bool:
    if "TypeCast" in expression:
        return _is_null(expression["TypeCast"]["arg"])
    return bool(expression.get("A_Const", {}).get("isnull"))
