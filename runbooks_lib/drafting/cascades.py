"""DROP TABLE … CASCADE, said by name: the foreign keys that lead to the table go first, then the table alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from pglast import ast, enums
from pglast.enums import AlterTableType as Alter
from pglast.enums import ObjectType

from runbooks_lib.drafting.units import Unit, marks_left
from runbooks_lib.postgres.script.calls import in_trees, table_name
from runbooks_lib.postgres.script.timeline import ABSENT, Place

_CASCADE, _RESTRICT = enums.DropBehavior.DROP_CASCADE, enums.DropBehavior.DROP_RESTRICT


def named_drops(units: Sequence[Unit]) -> list[Unit]:
    """Return the units with each DROP TABLE … CASCADE as what it drops, where the history tells what that is."""
    found: list[Unit] = []
    hanging: dict[
        Place, Any
    ] = {}  # what refers to a table, by its place: the table's name, None where a view reads it
    for unit in units:
        parts = list(_parts(unit, hanging))
        found += parts or [unit]
        for place, value in unit.marks.sets.items():
            if value is ABSENT:
                hanging = {at: table for at, table in hanging.items() if at[: len(place)] != place}
        for node in unit.statements:
            hanging |= dict(_referring(node))
    return found


def _parts(unit: Unit, hanging: dict[Place, Any]) -> Iterator[Unit]:
    (node, *others) = unit.statements
    if others or not isinstance(node, ast.DropStmt) or node.behavior != _CASCADE:
        return
    tables = [
        ("public", *(part.sval for part in each))[-2:]
        for each in node.objects or ()
        if isinstance(each, tuple)
    ]
    referring = [
        at for at, (kind, names) in hanging.items() if set(names) & set(tables) and at[1:3] not in tables
    ]
    known = all(hanging[at][0] == "foreign key" and at[-1] for at in referring)
    if node.removeType != ObjectType.OBJECT_TABLE or not known:
        return
    for at in referring:
        yield _with(unit, _constraint_dropped(at))
    yield _with(unit, _restricted(node))


def _with(unit: Unit, statement: Any) -> Unit:
    return replace(unit, statements=(statement,), marks=marks_left((statement,)))


def _constraint_dropped(at: Place) -> Any:
    _, schema, table, _, name = at
    command = ast.AlterTableCmd(
        subtype=Alter.AT_DropConstraint, name=name, num=0, behavior=_RESTRICT, missing_ok=True, recurse=False
    )
    relation = ast.RangeVar(
        schemaname=None if schema == "public" else schema, relname=table, inh=True, relpersistence="p"
    )
    return ast.AlterTableStmt(
        relation=relation, cmds=(command,), objtype=ObjectType.OBJECT_TABLE, missing_ok=True
    )


def _restricted(node: Any) -> Any:
    return ast.DropStmt(
        objects=node.objects,
        removeType=node.removeType,
        behavior=_RESTRICT,
        missing_ok=True,
        concurrent=False,
    )


def _referring(node: Any) -> Iterator[tuple[Place, tuple[str, Sequence[tuple[str, str]]]]]:
    """Yield what a statement makes that refers to tables: where it is, what it is, and the tables."""
    match node:
        case ast.ViewStmt():
            yield ("relation", *table_name(node.view)), ("view", tuple(in_trees((node.query,)).reads))
        case ast.CreateStmt():
            inside = [
                each
                for column in node.tableElts or ()
                if isinstance(column, ast.ColumnDef)
                for each in column.constraints or ()
            ]
            yield from _keys(
                node, [*(each for each in node.tableElts or () if isinstance(each, ast.Constraint)), *inside]
            )
            for parent in node.inhRelations or ():
                yield ("relation", *table_name(node.relation)), ("table", (table_name(parent),))
        case ast.AlterTableStmt():
            yield from _keys(node, [c.def_ for c in node.cmds or () if c.subtype == Alter.AT_AddConstraint])
            for added in (c.def_ for c in node.cmds or () if c.subtype == Alter.AT_AddColumn):
                yield from _keys(node, added.constraints or ())


def _keys(
    node: Any, constraints: Sequence[Any]
) -> Iterator[tuple[Place, tuple[str, Sequence[tuple[str, str]]]]]:
    for each in constraints:
        if each.contype == enums.ConstrType.CONSTR_FOREIGN:
            at = ("relation", *table_name(node.relation), "constraint", each.conname or "")
            yield at, ("foreign key", (table_name(each.pktable),))
