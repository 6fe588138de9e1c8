"""Who may do what: an access list, told by what it has more and less than at its beginning.

So a list says the same in every version of PostgreSQL, although the owner's own privileges grew with them.
"""

from __future__ import annotations

import re
from functools import lru_cache

Grant = tuple[str, str, bool]  # who, what, may pass it on
_ITEM = re.compile(r'(?:"((?:[^"]|"")*)"|([^="]*))=([a-zA-Z*]*)/(?:"((?:[^"]|"")*)"|(.*))')
_PRIVILEGES = {
    "r": "SELECT",
    "w": "UPDATE",
    "a": "INSERT",
    "d": "DELETE",
    "D": "TRUNCATE",
    "x": "REFERENCES",
    "t": "TRIGGER",
    "m": "MAINTAIN",
    "X": "EXECUTE",
    "U": "USAGE",
    "C": "CREATE",
    "T": "TEMPORARY",
    "c": "CONNECT",
}


@lru_cache(maxsize=4096)
def grants(
    acl: tuple[str, ...], initially: tuple[str, ...]
) -> tuple[tuple[str, tuple[tuple[str, str, bool | str], ...]], ...]:
    """Return what an access list gives more (`privileges`) and less (`revoked`) than it gave at its beginning.

    Both are lists of items as the server prints them, `grantee=privileges/grantor`. A privilege that somebody else
    than the object's owner gave stands in `given_by` too, with its giver.
    """
    now, then = _grants(acl), _grants(initially)
    owners = {giver for givers in then.values() for giver in givers}
    more = sorted(set(now) - set(then))
    by_others = {(*grant[:2], giver) for grant in more for giver in now[grant] - owners if owners}
    found: dict[str, tuple[tuple[str, str, bool | str], ...]] = {
        "privileges": tuple(more),
        "revoked": tuple(sorted(set(then) - set(now))),
        "given_by": tuple(sorted(by_others)),
    }
    return tuple((name, value) for name, value in found.items() if value)


def _grants(acl: tuple[str, ...]) -> dict[Grant, set[str]]:
    """Return each privilege of a list with those who gave it."""
    found: dict[Grant, set[str]] = {}
    for item in acl:
        match = _ITEM.fullmatch(item)
        assert match is not None, item
        quoted, plain, letters, quoted_giver, giver = match.groups()
        who = (plain if quoted is None else quoted.replace('""', '"')) or "public"
        giver = giver if quoted_giver is None else quoted_giver.replace('""', '"')
        for letter, star in re.findall(r"([a-zA-Z])(\*?)", letters):
            found.setdefault((who, _PRIVILEGES.get(letter, letter), bool(star)), set()).add(giver)
    return found
