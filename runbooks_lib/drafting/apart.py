"""Indexes that a baseline has built CONCURRENTLY, by a script of their own: nothing else in it may hang on them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import Enum
from typing import Any

from pglast import ast, enums
from pglast.enums import AlterTableType as Alter

from runbooks_lib.drafting.forms import printed
from runbooks_lib.drafting.units import Unit
from runbooks_lib.postgres.script.calls import table_name


class Apart(Enum):
    """Which indexes go into a script of their own."""

    NONE = "none"
    KEPT = "those that a migration builds CONCURRENTLY"
    ALL = "all on which nothing else hangs"


def apart(written: Sequence[Unit], history: Sequence[Unit], which: Apart) -> Collection[int]:
    """Return which of the written units, by number, are built apart; `history` has all, written or not."""
    if which is Apart.NONE:
        return ()
    parted = {
        table_name(node.relation)
        for unit in history
        for node in unit.statements
        if isinstance(node, ast.CreateStmt) and node.partspec
    }
    return {
        number
        for number, unit in enumerate(written)
        if isinstance(index := unit.statements[0], ast.IndexStmt)
        and (which is Apart.ALL or unit.concurrent)
        and table_name(index.relation) not in parted  # PostgreSQL refuses it there
        and not any(_hangs(later, index) for later in written[number + 1 :])
    }


def concurrent_form(unit: Unit) -> str:
    """Return the statement that builds a unit's index CONCURRENTLY. Raises NotWritten."""
    (node,) = unit.statements
    node.concurrent = node.if_not_exists = True
    return printed(node)


def _hangs(later: Unit, index: Any) -> bool:
    """Return whether a later unit needs an index: by its name, or as a key of its table."""
    schema, table = table_name(index.relation)
    place = ("relation", schema, index.idxname)
    if any(each[:3] == place for each in (*later.marks.sets, *later.marks.lasts)):
        return True
    return index.unique and any(_needs_key(node, (schema, table)) for node in later.statements)


def _needs_key(node: Any, table: tuple[str, str]) -> bool:
    return isinstance(node, ast.AlterTableStmt) and any(
        _uses_index(command)
        or (
            command.subtype == Alter.AT_AddConstraint
            and command.def_.contype == enums.ConstrType.CONSTR_FOREIGN
            and table_name(command.def_.pktable) == table
        )
        for command in node.cmds or ()
    )


def _uses_index(command: Any) -> bool:
    named = command.subtype == Alter.AT_AddConstraint and command.def_.indexname
    return bool(named or command.subtype == Alter.AT_ReplicaIdentity)
