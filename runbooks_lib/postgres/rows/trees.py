"""A part of a migration's statement as PostgreSQL's parser reads it: what it names, and its text again.

Only kinds of expression that are known here pass.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pglast
from pglast.parser import ParseError
from pglast.stream import RawStream

from runbooks_lib.names import qualified
from runbooks_lib.postgres.script.calls import Name, every_node, in_trees

ast: Any = pglast.ast  # whose types say of every part that it may be missing
_KNOWN = (
    ast.A_ArrayExpr, ast.A_Const, ast.A_Expr, ast.A_Indices, ast.A_Indirection, ast.A_Star, ast.Alias, ast.BitString,
    ast.BoolExpr, ast.Boolean, ast.BooleanTest, ast.CaseExpr, ast.CaseWhen, ast.CoalesceExpr, ast.ColumnRef,
    ast.CommonTableExpr, ast.Float, ast.FuncCall, ast.Integer, ast.JoinExpr, ast.MinMaxExpr, ast.NullTest,
    ast.RangeFunction, ast.RangeSubselect, ast.RangeVar, ast.ResTarget, ast.RowExpr, ast.SelectStmt, ast.SortBy,
    ast.String, ast.SubLink, ast.TypeCast, ast.TypeName, ast.WindowDef, ast.WithClause,
)  # fmt: skip
# What these say differs from session to session, or they read what the tree does not name.
_NOT_THE_SAME = frozenset(
    {"age", "current_schema", "current_schemas", "current_setting", "inet_client_addr", "inet_server_addr",
     "pg_input_error_info", "pg_input_is_valid", "pg_postmaster_start_time", "txid_current_if_assigned",
     "txid_current_snapshot", "pg_current_snapshot"}
)  # fmt: skip
_BETWEEN = frozenset({">=", "<="})


class NotAsked(Exception):
    """A question that is not put, and why, for a person."""


@dataclass(slots=True)
class Named:
    """What a tree names: its code, its columns (`*` for all), and the types, each where it stands."""

    functions: set[str] = field(default_factory=set)
    operators: set[str] = field(default_factory=set)
    columns: set[str] = field(default_factory=set)
    tables: list[Any] = field(default_factory=list)
    types: list[Any] = field(default_factory=list)


def named_in(node: Any) -> Named:
    """Return what an expression or a query names. Raises NotAsked when a part of it is of a kind that is not known."""
    named = Named()
    for found in every_node(node):
        if not isinstance(found, _KNOWN):
            raise NotAsked(f"it holds {type(found).__name__}, which is not asked")
        _note(named, found)
    own = {found.ctename for found in every_node(node) if isinstance(found, ast.CommonTableExpr)}
    named.tables = [each for each in named.tables if each.schemaname is not None or each.relname not in own]
    return named


def _note(named: Named, node: Any) -> None:
    match node:
        case ast.FuncCall():
            name = own_name(node.funcname)
            if name is None:
                spelt = qualified(*(part.sval for part in node.funcname))
                raise NotAsked(f"it calls {spelt}, which is not PostgreSQL's own")
            if name in _NOT_THE_SAME or "_to_xml" in name:
                raise NotAsked(f"it calls {name}, which says something else in each session")
            named.functions.add(name)
        case ast.A_Expr():
            named.operators |= _operator(node.name) | (_BETWEEN if "BETWEEN" in node.kind.name else set())
        case ast.SubLink():
            named.operators |= _operator(node.operName)
        case ast.SortBy():
            named.operators |= _operator(node.useOp)
        case ast.ColumnRef():
            last = node.fields[-1]
            named.columns.add(last.sval if isinstance(last, ast.String) else "*")
        case ast.JoinExpr():
            if node.isNatural:
                raise NotAsked("it holds a NATURAL JOIN")
            named.columns |= {name.sval for name in node.usingClause or ()}
        case ast.RangeVar():
            named.tables.append(node)
        case ast.TypeName():
            named.types.append(node)
        case ast.SelectStmt() if node.intoClause is not None or node.lockingClause is not None:
            raise NotAsked("it holds a SELECT that does more than read")
        case _:
            return


def _operator(name: Any) -> set[str]:
    if not name:
        return set()
    own = own_name(name)
    if own is None:
        raise NotAsked(f"the operator {name[-1].sval} is not PostgreSQL's own")
    return {own}


def own_name(parts: Any) -> str | None:
    """Return the name of a function or operator; None when it is said to be of another schema than PostgreSQL's."""
    *schema, name = (str(part.sval) for part in parts)
    return name if schema in ([], ["pg_catalog"]) else None


def type_name(node: Any) -> Name:
    """Return schema ("" for none) and name of a type."""
    *schema, own = (part.sval for part in node.names)
    return (schema[-1] if schema else ""), own


def printed(node: Any) -> str:
    """Return a tree as text, once it was read back as the same tree."""
    text = str(RawStream()(node))
    is_query = isinstance(node, ast.SelectStmt)
    try:
        read = parsed(text if is_query else f"SELECT {text}")
    except ParseError as error:
        raise NotAsked("it can't be asked in words of its own") from error
    if (read if is_query else read.targetList[0].val) != node:
        raise NotAsked("it can't be asked in words of its own")
    return text


def parsed(statement: str) -> Any:
    """Return the tree of one statement."""
    (raw,) = pglast.parse_sql(statement)
    return raw.stmt


def read_as(value: Any, type_: str) -> Any:
    """Return the tree of a value that is read as a type, which is spelt as the server spells it."""
    cast = parsed(f"SELECT NULL::{type_}").targetList[0].val
    cast.arg = value
    return cast


def changes_with_time(node: Any) -> bool:
    """Return whether an expression has another value at another time, or in another session."""
    if in_trees((node,)).changes_with_time:
        return True
    return any(
        isinstance(found, ast.SQLValueFunction)
        or (isinstance(found, ast.FuncCall) and found.funcname[-1].sval in _NOT_THE_SAME)
        for found in every_node(node)
    )


def columns_named(node: Any) -> frozenset[str]:
    """Return the names of the columns that a tree reads, of whatever table."""
    named = Named()
    for found in every_node(node):
        if isinstance(found, ast.ColumnRef | ast.JoinExpr):
            _note(named, found)
    return frozenset(named.columns)
