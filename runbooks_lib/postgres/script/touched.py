"""Which objects does a statement add, take away, move or change? By their names, as a catalogue has them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from pglast.enums import AlterTableType as Alter
from pglast.enums import ObjectType

from runbooks_lib.names import parts, qualified
from runbooks_lib.postgres.catalog.catalog import Key
from runbooks_lib.postgres.script.guards import Held, exchanged
from runbooks_lib.postgres.script.idempotence import DROPPED, dropped_name, listed, relation

_ADDS = (Alter.AT_AddColumn, Alter.AT_AddConstraint)
_DROPS = (Alter.AT_DropColumn, Alter.AT_DropConstraint)


class Hanging(NamedTuple):
    """What hangs on a table: a constraint, a policy, a trigger."""

    kind: str
    table: str
    name: str

    @property
    def key(self) -> Key:
        """Return its kind and name as a description of a catalogue has them."""
        return self.kind, qualified(*parts(self.table), self.name)


class Touched(NamedTuple):
    """What a statement does to objects that may be there before.

    `alters` tells a statement that changes its object from one that creates it. `adds` names the columns or labels
    that it adds, `hangs` what it makes that hangs on a table. `drops` and `moves` name what it takes away or gives
    another name; what is as `unless` says, as PostgreSQL prints it, is not taken away. `changes` says that it makes
    another thing of what is there, and `due` that what it does depends on what is there.
    """

    alters: bool = False
    adds: tuple[str, ...] = ()
    hangs: tuple[Hanging, ...] = ()
    drops: tuple[str, ...] = ()
    moves: tuple[str, ...] = ()
    unless: str | None = None
    changes: bool = False
    due: bool = False


UNTOUCHED = Touched()


def touched_by(held: Held) -> Touched:
    """Return what a statement touches, or what stands behind its guard."""
    nodes = held.statements
    if exchanged(nodes) is not None:
        return Touched(alters=True, changes=True, due=True)
    found = [_touched(node) for node in nodes]
    return Touched(
        alters=any(each.alters for each in found),
        adds=tuple(name for each in found for name in each.adds),
        hangs=tuple(pair for each in found for pair in each.hangs),
        drops=tuple(name for each in found for name in each.drops),
        moves=tuple(name for each in found for name in each.moves),
        changes=any(each.changes for each in found),
        due=any(each.due for each in found),
        unless=held.literals[0] if held.literals else None,
    )


def _touched(node: Any) -> Touched:
    match type(node).__name__:
        case "AlterTableStmt":
            return _altered(node)
        case "AlterEnumStmt" if node.oldVal is not None:
            return Touched(alters=True, changes=True, due=True)
        case "AlterEnumStmt":
            return Touched(alters=True, adds=(node.newVal,))
        case "DropStmt" if node.removeType in DROPPED:
            names = tuple(dropped_name(node.removeType, each) for each in node.objects)
            return Touched(alters=True, drops=names, due=True)
        case "RenameStmt" if node.relation or node.renameType == ObjectType.OBJECT_TYPE:
            return Touched(alters=True, moves=(_moved(node),), changes=True, due=True)
        case "CreatePolicyStmt":
            return Touched(hangs=(Hanging("policy", relation(node.table), node.policy_name),))
        case "CreateTrigStmt":
            return Touched(hangs=(Hanging("trigger", relation(node.relation), node.trigname),))
        case _:
            return UNTOUCHED


def _altered(node: Any) -> Touched:
    table = parts(relation(node.relation))
    dropped = [command.name for command in node.cmds if command.subtype in _DROPS]
    others = [command for command in node.cmds if command.subtype not in (*_ADDS, *_DROPS)]
    return Touched(
        alters=True,
        adds=tuple(c.def_.colname for c in node.cmds if c.subtype == Alter.AT_AddColumn),
        hangs=tuple(Hanging("constraint", relation(node.relation), name) for name in _constraints(node)),
        drops=tuple(qualified(*table, name) for name in dropped),
        changes=bool(others),
        due=bool(dropped or others),
    )


def _constraints(node: Any) -> Iterator[str]:
    for command in node.cmds:
        if command.subtype == Alter.AT_AddConstraint and command.def_.conname:
            yield command.def_.conname


def _moved(node: Any) -> str:
    """Return the name that a renamed object had."""
    if node.relation is None:
        return listed(node.object)
    of_table = node.renameType in (ObjectType.OBJECT_COLUMN, ObjectType.OBJECT_TABCONSTRAINT)
    return qualified(*parts(relation(node.relation)), *([node.subname] if of_table else []))
