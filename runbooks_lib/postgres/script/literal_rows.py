"""The rows that an INSERT spells out: may those of two statements be the same?"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from runbooks_lib.postgres.script.pieces import Node

Rows = Sequence[Mapping[str, str]]  # of each row the numbers and texts, by their columns
Spelled = type[int] | type[str]  # as what two values are two when they are spelled otherwise
_WHOLE = re.compile(r"-?[0-9]+")


def literal_rows(insert: Node) -> Rows | None:
    """Return the constants of an INSERT's rows; None where they are a query's. Without names, columns are numbered."""
    lists = insert.get("selectStmt", {}).get("SelectStmt", {}).get("valuesLists")
    if not lists:
        return None
    named = [column["ResTarget"]["name"] for column in insert.get("cols", ())]
    rows = []
    for values in lists:
        spelt = [_constant(item) for item in values["List"]["items"]]
        names = named or map(str, range(len(spelt)))
        rows.append({name: text for name, text in zip(names, spelt, strict=False) if text is not None})
    return rows


def may_be_equal(one: Rows | None, other: Rows | None, spelled: Mapping[str, Spelled]) -> bool:
    """Return whether a row of one statement may equal one of another: no constant tells all of them apart.

    Those of the `spelled` columns can: there two texts, or two whole numbers, are two values. Elsewhere one value is
    spelled in several ways (1 and 1.0, a date, the case of citext).
    """
    if one is None or other is None:
        return True
    rows = (*one, *other)
    common = [
        name
        for name, kind in spelled.items()
        if all(name in row and (kind is str or _WHOLE.fullmatch(row[name])) for row in rows)
    ]
    ours, theirs = (
        {tuple(spelled[name](row[name]) for name in common) for row in each} for each in (one, other)
    )
    return not ours.isdisjoint(theirs)


def _constant(node: Any) -> str | None:
    """Return a number or a text as it is spelled; one that is cast may become another."""
    constant = node.get("A_Const", {})
    for kind in ("ival", "fval", "sval"):
        if kind in constant:
            return str(constant[kind].get(kind, 0 if kind == "ival" else ""))
    return None
