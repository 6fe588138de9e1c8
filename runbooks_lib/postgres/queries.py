"""The catalogue queries: one `.sql` file each, loaded once."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import LiteralString


@cache
def query(name: str) -> LiteralString:
    """Return the text of `sql/NAME.sql`.

    Reads the package's own file. Raises FileNotFoundError for a name that does not exist.
    """
    path = files("runbooks_lib.postgres").joinpath("sql", f"{name}.sql")
    return path.read_text(encoding="utf-8")
