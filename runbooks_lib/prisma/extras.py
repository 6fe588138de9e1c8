"""What is in a database beyond what its migrations make, and is nobody's part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from runbooks_lib.names import parts, qualified
from runbooks_lib.postgres.catalog.catalog import Key, Value
from runbooks_lib.postgres.catalog.differences import field
from runbooks_lib.postgres.scratch.replayed import Replayed
from runbooks_lib.prisma.history import TABLE

# What is made for its own sake; privileges, comments and settings come with it or are tuning.
_KINDS = frozenset(
    {
        "aggregate", "cast", "collation", "constraint", "enum", "event trigger", "extension", "function", "index",
        "operator", "policy", "publication", "relation", "rule", "schema", "statistics", "trigger", "type",
    }
)  # fmt: skip
_HANGS_ON = frozenset(
    {"constraint", "trigger", "rule", "policy"}
)  # on a relation, whose name theirs begins with
_MEMBER_AS = {"index": "relation", "enum": "type"}


def extras(replayed: Replayed, live: Mapping[Key, Value], schema: str) -> Iterator[Key]:
    """Yield the objects that neither stood before the replay nor stand after it, each that is no other one's part.

    Left out are Prisma's own table in `schema`, what an extension made, and what hangs on such an object.
    """
    known = {*replayed.start, *replayed.end}
    more = [key for key in sorted(live) if key[0] in _KINDS and key not in known]
    members = {name for kind, name in live if kind == "extension member"}
    ours = qualified(schema, TABLE)
    apart = {ours, *(name for kind, name in more if kind in ("relation", "schema", "constraint"))}
    for kind, name in more:
        on = _holders(kind, name, live[kind, name])
        lent = (
            qualified(_MEMBER_AS.get(kind, kind), *parts(name)),
            *(qualified("relation", *parts(n)) for n in on),
        )
        if not (name == ours or apart.intersection(on) or members.intersection(lent)):
            yield kind, name


def _holders(kind: str, name: str, described: Value) -> tuple[str, ...]:
    """Return on what an object hangs: its relation and, of an index, the constraint that has it; else its schema."""
    of = parts(name)
    if kind == "index":
        table = str(field(described, "relation"))
        return table, qualified(*parts(table), of[-1])
    if kind in _HANGS_ON:
        return (qualified(*of[:2]),)
    return (qualified(of[0]),) if len(of) > 1 else ()
