"""The form of a statement that may run twice: one for each kind, and the reason where there is none."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from pglast import ast, enums, parse_sql
from pglast.enums import AlterTableType as Alter
from pglast.enums import ObjectType
from pglast.parser import ParseError
from pglast.stream import IndentedStream

from runbooks_lib.postgres.script.guards import OF_COLUMN, block
from runbooks_lib.postgres.script.idempotence import judge_tree

_TEMPORARY = "t"
ROWS = "it changes rows"
ROWS_BY_HAND = "A baseline changes no rows: judge it apart, and run it by hand where it is due."


class NotWritten(Exception):
    """A statement is not written into a baseline: why, and what to do by hand."""

    def __init__(self, why: str, by_hand: str) -> None:
        super().__init__(why)
        self.why, self.by_hand = why, by_hand


def form_of(statements: Sequence[Any], literals: Sequence[str] = ()) -> str:
    """Return the SQL that runs some statements, given as trees, and does nothing when they are done already.

    Raises NotWritten.
    """
    for node in statements:
        if hasattr(node, "concurrent"):
            node.concurrent = False  # all runs in one transaction
    guarded = block(statements, *literals)
    if guarded is not None:
        return guarded
    if len(statements) != 1 or literals:
        raise NotWritten("no test tells whether it is still due", "Run it by hand where it is due.")
    (node,) = statements
    text = printed(_twice(node))
    judged = judge_tree(parse_sql(text)[0].stmt)
    if judged.refused:
        raise NotWritten(judged.refused, judged.remedy)
    return text


def printed(node: Any) -> str:
    """Return a tree as SQL. Raises NotWritten when that would be read back as something else."""
    text = IndentedStream(comma_at_eoln=True)(node).strip()
    try:
        same = parse_sql(text)[0].stmt == node
    except ParseError:
        same = False
    if not same:
        raise NotWritten(
            "it cannot be printed as it is", "Copy it from the migration, in a form with IF NOT EXISTS."
        )
    return text


def _twice(node: Any) -> Any:
    """Return the tree in PostgreSQL's own form that passes over what is done; the given one is changed."""
    match type(node).__name__:
        case "CreateStmt" if node.relation.relpersistence == _TEMPORARY:
            raise NotWritten("a temporary table is gone with its session", "Leave it out, with what uses it.")
        case "CreateStmt" | "CreateSeqStmt" | "CreateExtensionStmt" | "CreateSchemaStmt":
            node.if_not_exists = True
        case "IndexStmt" if node.idxname is None:
            raise NotWritten("the index has no name of its own", "Write it with its name and IF NOT EXISTS.")
        case "IndexStmt":
            node.if_not_exists = True
        case "ViewStmt" | "CreateFunctionStmt" | "CreateTrigStmt" | "RuleStmt":
            node.replace = True
        case "AlterEnumStmt":
            node.skipIfNewValExists = True
        case "DropStmt":
            node.missing_ok = True
        case "AlterTableStmt":
            for command in node.cmds:
                command.missing_ok = command.missing_ok or command.subtype in _PASSING_OVER
        case "CreateEnumStmt":
            return _ignoring_duplicates(node)
        case _ if changes_rows(node):
            raise NotWritten(ROWS, ROWS_BY_HAND)
        case _:
            pass
    return node


_DROPS = (Alter.AT_DropColumn, Alter.AT_DropConstraint)
_PASSING_OVER = (Alter.AT_AddColumn, *_DROPS)
_ROWS = frozenset(
    {
        "InsertStmt",
        "UpdateStmt",
        "DeleteStmt",
        "MergeStmt",
        "CopyStmt",
        "TruncateStmt",
        "SelectStmt",
        "CallStmt",
    }
    | {"CreateTableAsStmt", "RefreshMatViewStmt", "DoStmt"}
)


def changes_rows(node: Any) -> bool:
    """Return whether a statement is one that changes rows, or may: none is ever written."""
    return type(node).__name__ in _ROWS


def _ignoring_duplicates(node: Any) -> Any:
    body = f"BEGIN\n  {printed(node)};\nEXCEPTION WHEN duplicate_object THEN NULL;\nEND"
    return parse_sql(f"DO $$ {body} $$")[0].stmt


def in_passes(node: Any) -> tuple[Any, ...]:
    """Return an ALTER TABLE as several, in the order in which PostgreSQL carries its parts out.

    What changes a column's type takes along what else is said of that column.
    """
    if node.objtype != ObjectType.OBJECT_TABLE:
        return (node,)
    typed = {command.name for command in node.cmds if command.subtype == Alter.AT_AlterColumnType}
    commands = sorted(node.cmds, key=lambda each: _TYPES if _is_of(each, typed) else _pass(each))
    groups: dict[tuple[str, ...], list[Any]] = {}
    for place, command in enumerate(commands):
        key = ("column", command.name) if _is_of(command, typed) else ("alone", str(place))
        groups.setdefault(key, []).append(command)
    return tuple(
        ast.AlterTableStmt(
            relation=node.relation,
            cmds=tuple(group),
            objtype=node.objtype,
            missing_ok=node.missing_ok or group[0].subtype in _DROPS,  # the table may go later
        )
        for group in groups.values()
    )


def _is_of(command: Any, columns: Collection[str]) -> bool:
    return command.subtype in OF_COLUMN and command.name in columns


_TYPES = 1
_PASSES = {
    Alter.AT_DropColumn: 0,
    Alter.AT_DropConstraint: 0,
    Alter.AT_DropNotNull: 0,
    Alter.AT_AlterColumnType: _TYPES,
    Alter.AT_AddColumn: 2,
    Alter.AT_SetNotNull: 3,
}


def _pass(command: Any) -> int:
    """Return when PostgreSQL carries a part of an ALTER TABLE out, among the others."""
    if command.subtype == Alter.AT_ColumnDefault:
        return 4 if command.def_ is not None else 0
    if command.subtype == Alter.AT_AddConstraint:
        return 6 if command.def_.contype == enums.ConstrType.CONSTR_FOREIGN else 5
    return _PASSES.get(command.subtype, 7)
