"""Names of database objects as one text, and back: `schema.relation`, told apart whatever characters they hold.

A part is quoted where it would not be read back as it is: schema `s.t` with table `u` is `"s.t".u`, and schema `s` with
table `t.u` is `s."t.u"`. Nothing else joins or splits names.
"""

from __future__ import annotations

import re

_PART = re.compile(r'(?:"((?:[^"]|"")*)"|([^."]+))(\.|$)')


def qualified(*parts: str) -> str:
    """Return the parts of a name as one text: schema and relation, or schema, relation and what belongs to it."""
    return ".".join(
        '"' + part.replace('"', '""') + '"' if "." in part or '"' in part or not part else part
        for part in parts
    )


def parts(name: str) -> tuple[str, ...]:
    """Return the parts that `qualified` made a name of.

    Raises ValueError for a text that is no such name.
    """
    found: list[str] = []
    at, more = 0, True
    while more:
        match = _PART.match(name, at)
        if match is None:
            raise ValueError(f"{name!r} is no name: a part with a dot or a quote stands in quotes")
        quoted, plain, dot = match.groups()
        found.append(plain if quoted is None else quoted.replace('""', '"'))
        at, more = match.end(), dot == "."
    return tuple(found)


def quoted(name: str) -> str:
    """Return `schema.relation` quoted as to_regclass() and the `::regclass` cast read it."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts(name))
