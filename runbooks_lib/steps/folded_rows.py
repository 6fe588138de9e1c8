"""Rows of a table that say the same of very many, as one row: what is left is what is worth reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from runbooks_lib.findings import MANY

Rows = tuple[Mapping[str, Any], ...]


def folded(rows: Sequence[Mapping[str, Any]], *, column: str, by: str) -> Rows:
    """Return the rows, those that say the same in `by` as one where they are more than MANY: `column` counts them.

    It stands where the first of them stood, and has what they have in common.
    """
    alike: dict[Any, list[Mapping[str, Any]]] = {}
    for row in rows:
        alike.setdefault(row[by], []).append(row)
    lines = {id(found[0]): _line(found, column) for found in alike.values() if len(found) > MANY}
    left = {id(row) for found in alike.values() if len(found) > MANY for row in found[1:]}
    return tuple(lines.get(id(row), row) for row in rows if id(row) not in left)


def _line(alike: Sequence[Mapping[str, Any]], column: str) -> Mapping[str, Any]:
    common = {
        key: value if all(row.get(key) == value for row in alike) else "" for key, value in alike[0].items()
    }
    return {**common, column: f"{len(alike)}: {alike[0][column]} … {alike[-1][column]}"}
