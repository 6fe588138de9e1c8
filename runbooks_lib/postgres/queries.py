"""The catalogue queries: one `.sql` file each, loaded once."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import LiteralString

_SINCE = re.compile(r"-- since (\d+)$")


@cache
def query(name: str, server_major: int | None = None) -> LiteralString:
    """Return the text of `sql/NAME.sql`; for a server's version without the lines that are `-- since` a newer one.

    Reads the package's own file. Raises FileNotFoundError for a name that does not exist.
    """
    path = files("runbooks_lib.postgres").joinpath("sql", f"{name}.sql")
    text = path.read_text(encoding="utf-8")
    if server_major is None:
        return text
    return "\n".join(line for line in text.splitlines() if _since(line) <= server_major)


def _since(line: str) -> int:
    found = _SINCE.search(line)
    return int(found[1]) if found else 0
