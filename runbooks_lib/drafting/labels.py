"""Which labels go where migrations exchange an enum for one with others? Read from what they did to it before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pglast import ast

from runbooks_lib.drafting.units import Unit
from runbooks_lib.postgres.script.guards import exchanged
from runbooks_lib.postgres.script.idempotence import listed


def gone_labels(units: Sequence[Unit]) -> dict[int, tuple[str, ...]]:
    """Return, by the place of each unit that exchanges an enum, the labels that are not in the new one."""
    labels: dict[str, list[str]] = {}
    gone: dict[int, tuple[str, ...]] = {}
    for place, unit in enumerate(units):
        name = exchanged(unit.statements)
        if name is not None:
            new = _labels(unit.statements[0])
            gone[place] = tuple(label for label in labels.get(listed(name), ()) if label not in new)
            labels[listed(name)] = new
        else:
            _follow(labels, unit.statements[0])
    return gone


def _follow(labels: dict[str, list[str]], node: Any) -> None:
    match type(node).__name__:
        case "CreateEnumStmt":
            labels[listed(node.typeName)] = _labels(node)
        case "AlterEnumStmt":
            known = labels.setdefault(listed(node.typeName), [])
            if node.oldVal in known:
                known.remove(node.oldVal)
            known.append(node.newVal)
        case "RenameStmt" if node.relation is None and isinstance(node.object, tuple):
            renamed = (*node.object[:-1], ast.String(sval=node.newname))
            labels[listed(renamed)] = labels.pop(listed(node.object), [])
        case _:
            return


def _labels(node: Any) -> list[str]:
    return [label.sval for label in node.vals or ()]
