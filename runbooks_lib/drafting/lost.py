"""What a table has lost, though it is there: written alone, since CREATE TABLE IF NOT EXISTS passes over the table."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pglast import ast, enums
from pglast.enums import AlterTableType as Alter
from pglast.enums import ObjectType

from runbooks_lib.drafting.units import Unit, marks_left
from runbooks_lib.postgres.script.calls import table_name

Lost = Mapping[
    tuple[str, str], Collection[str]
]  # of a table, by schema and name: its lost columns and constraints


def with_lost(units: Sequence[Unit], lost: Lost) -> list[Unit]:
    """Return the units with what tables have lost after the CREATE TABLE that has it."""
    return [each for unit in units for each in (unit, *_pieces(unit, lost))]


def _pieces(unit: Unit, lost: Lost) -> Iterator[Unit]:
    node = unit.statements[0]
    if not isinstance(node, ast.CreateStmt):
        return
    names = lost.get(table_name(node.relation), ())
    for element in node.tableElts or ():
        if isinstance(element, ast.ColumnDef) and element.colname in names:
            yield _with(unit, node, Alter.AT_AddColumn, element)
        elif isinstance(element, ast.Constraint) and element.conname in names:
            yield _with(unit, node, Alter.AT_AddConstraint, element)


def _with(unit: Unit, table: Any, subtype: Alter, what: Any) -> Unit:
    command = ast.AlterTableCmd(
        subtype=subtype,
        def_=what,
        num=0,
        behavior=enums.DropBehavior.DROP_RESTRICT,
        missing_ok=False,
        recurse=False,
    )
    statement = ast.AlterTableStmt(
        relation=table.relation, cmds=(command,), objtype=ObjectType.OBJECT_TABLE, missing_ok=False
    )
    return replace(unit, statements=(statement,), marks=marks_left((statement,)), comment="")
