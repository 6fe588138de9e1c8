"""Which labels go where migrations exchange an enum for one with others? Read from what they did to it before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pglast import ast

from runbooks_lib.drafting.units import Unit
from runbooks_lib.postgres.script.guards import exchanged
from runbooks_lib.postgres.script.idempotence import listed


class Exchange(NamedTuple):
    """An exchange's labels: those that go, and those that tell whether it is still due."""

    gone: tuple[str, ...]
    telling: tuple[str, ...]


@dataclass(slots=True)
class _Enum:
    """The labels of an enum, and which of them came to it after it was made."""

    labels: list[str] = field(default_factory=list)
    came: set[str] = field(default_factory=set)


def exchanges(units: Sequence[Unit]) -> dict[int, Exchange]:
    """Return, by the place of each unit that exchanges an enum, which labels go, and which tell that they have.

    Labels that came later, and go, are not made at all in a database that has nothing yet: there one that comes tells.
    """
    enums: dict[str, _Enum] = {}
    found: dict[int, Exchange] = {}
    for place, unit in enumerate(units):
        name = exchanged(unit.statements)
        if name is not None:
            new, old = _labels(unit.statements[0]), enums.get(listed(name))
            found[place] = _exchange(old, new) if old else Exchange((), ())
            enums[listed(name)] = _Enum(new)
        else:
            _follow(enums, unit.statements[0])
    return found


def _exchange(old: _Enum, new: Sequence[str]) -> Exchange:
    gone = tuple(label for label in old.labels if label not in new)
    comes = tuple(label for label in new if label not in old.labels)[:1]
    return Exchange(gone, comes if set(gone) <= old.came else gone)


def _follow(enums: dict[str, _Enum], node: Any) -> None:
    match type(node).__name__:
        case "CreateEnumStmt":
            enums[listed(node.typeName)] = _Enum(_labels(node))
        case "AlterEnumStmt":
            known = enums.setdefault(listed(node.typeName), _Enum())
            if node.oldVal in known.labels:
                known.labels.remove(node.oldVal)
            known.labels.append(node.newVal)
            known.came.add(node.newVal)
        case "RenameStmt" if node.relation is None and isinstance(node.object, tuple):
            renamed = (*node.object[:-1], ast.String(sval=node.newname))
            enums[listed(renamed)] = enums.pop(listed(node.object), _Enum())
        case _:
            return


def _labels(node: Any) -> list[str]:
    return [label.sval for label in node.vals or ()]
