"""A description of an object in the parts in which migrations change it, each comparable on its own.

Two branches add columns to one table, and are merged in either order: no state of the whole table is common to both
histories, but each column's is. What is not the migrations' to decide is in no part: the order of columns, an
extension's version, privileges and storage options that no migration sets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from runbooks_lib.postgres.catalog.catalog import Key, Value
from runbooks_lib.postgres.catalog.differences import (
    before_18,
    both_in_words,
    field,
    granted,
    value_in_words,
    without,
)

ABSENT = "absent"
MISSING = "missing"
_TABLES, SEQUENCE = ("r", "p", "f"), "S"  # as pg_class.relkind


class Part(NamedTuple):
    """Of which object (kind, name) it is, and which part: a column, a privilege, a storage option; "" is the rest."""

    kind: str
    name: str
    part: str = ""

    @property
    def key(self) -> Key:
        """Return the object's kind and name."""
        return self.kind, self.name


Parts = dict[Part, Value]


def parts_of(described: Mapping[Key, Value], *, server_major: int, owned: bool = True) -> Parts:
    """Return all parts of a description, without what only servers newer than `server_major` know.

    Owners are left out where nobody says who owns what (`owned` False).
    """
    known = before_18(described) if server_major < 18 else described
    found = {part: value for key, whole in known.items() for part, value in _parts(key, whole)}
    return found if owned else {part: _unowned(value) for part, value in found.items()}


def _unowned(value: Value) -> Value:
    return (
        without(value, "owner") if isinstance(value, tuple) and field(value, "owner") is not None else value
    )


def _parts(key: Key, whole: Value) -> Iterator[tuple[Part, Value]]:
    kind, name = key
    match whole:
        case None:
            return
        case tuple() if kind == "columns":
            for column in whole:
                yield Part(kind, name, str(field(column, "name"))), column
        case tuple() if kind.endswith("privileges"):
            for grant in granted(whole):
                assert isinstance(grant, tuple)
                given, each = grant
                assert isinstance(each, tuple)
                yield Part(kind, name, " ".join((str(given), *map(str, each)))), ((str(given), (each,)),)
        case tuple() if kind == "extension":
            yield Part(kind, name), without(whole, "version")
        case tuple() if kind == "relation":
            options = field(whole, "options")
            for option in options if isinstance(options, tuple) else ():
                assert isinstance(option, tuple)
                yield Part(kind, name, f"option {option[0]}"), (("options", (option,)),)
            yield Part(kind, name), without(whole, "options")
        case _:
            yield Part(kind, name), whole


def as_left(live: Parts, made: Parts) -> Parts:
    """Return what is live as if nobody had filled the materialized views that migrations leave without rows."""
    return live | {
        part: value
        for part, value in made.items()
        if part.kind == "relation settings"
        and field(value, "not_populated")
        and Part("relation", part.name) in live
        and live.get(part, ()) == without(value, "not_populated")
    }


def holding_rows(names: Iterable[str], described: Parts) -> tuple[set[str], set[str]]:
    """Return which of these relations are tables, and which are sequences: the others have nothing of their own."""
    found: dict[str, set[str]] = {"": set(), SEQUENCE: set()}
    for name in names:
        kind = field(described.get(Part("relation", name)) or (), "kind")
        if kind in _TABLES or kind == SEQUENCE:
            found[SEQUENCE if kind == SEQUENCE else ""].add(name)
    return found[""], found[SEQUENCE]


def in_words(
    kind: str, have: Iterable[Value], want: Iterable[Value], *, there: bool, wanted: bool
) -> tuple[str, str]:
    """Say what differs of an object: the parts that a database has, and those that the migrations make.

    `there` and `wanted` say whether the object is there at all, and whether it is to be there.
    """
    ours, theirs = (tuple(value for value in values if value is not None) for values in (have, want))
    if kind == "columns" and there and wanted:
        same = f"{len(ours)} columns"
        return (same, same) if ours == theirs else both_in_words(kind, ours, theirs)
    return _said(kind, ours, MISSING), _said(kind, theirs, ABSENT)


def _said(kind: str, values: tuple[Value, ...], nothing: str) -> str:
    if kind == "columns" and values:
        return value_in_words(kind, values)
    return ", ".join(value_in_words(kind, value) for value in values) or nothing
