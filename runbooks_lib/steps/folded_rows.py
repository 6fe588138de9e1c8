"""Rows of a table that say the same of very many, as one row: what is left is what is worth reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from runbooks_lib.findings import MANY

Rows = tuple[Mapping[str, Any], ...]


def folded(rows: Sequence[Mapping[str, Any]], *, column: str, plain: Mapping[str, Any]) -> Rows:
    """Return the rows, those that say what is `plain` as one where they are more than MANY: `column` counts them.

    It stands where the first of them stood, and has what they have in common.
    """
    alike = [row for row in rows if plain.items() <= row.items()]
    if len(alike) <= MANY:
        return tuple(rows)
    common = {
        key: value if all(row.get(key) == value for row in alike) else "" for key, value in alike[0].items()
    }
    line = {**common, column: f"{len(alike)}: {alike[0][column]} … {alike[-1][column]}"}
    left = {id(row) for row in alike[1:]}
    return tuple(line if row is alike[0] else row for row in rows if id(row) not in left)
