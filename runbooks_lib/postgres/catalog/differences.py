"""In which objects do two catalogues differ? Told by values; words are made of them at the end, and only here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from runbooks_lib.names import parts, qualified
from runbooks_lib.postgres.catalog.canonical import canonical
from runbooks_lib.postgres.catalog.catalog import Catalog, Column, Fields, Key, Value

Described: TypeAlias = dict[Key, Value]
# What the key says already, and what is described apart.
_LEFT_TO_THE_KEY = frozenset({"name", "settings"})
_SAID_BY_VALUE = frozenset({"name", "type", "definition", "labels", "privileges"})
_FLAGS: dict[Value, str] = {True: "with grant option"}
NOTHING_ELSE = "nothing else"
_LISTS = (list, tuple)
# As what an extension has an object of a kind, of those that have an owner.
_MEMBER_AS = {"relation": "relation", "index": "relation", "type": "type", "enum": "type"}


class Difference(NamedTuple):
    """An object, (kind, name), that two descriptions have otherwise; None where one of them has it not."""

    key: Key
    have: Value
    want: Value


def differences(have: Catalog, want: Catalog) -> tuple[Difference, ...]:
    """Return the objects that are missing, not wanted, or different; empty exactly when both are equal.

    Definitions are compared in one spelling (see `canonical`), everything else as PostgreSQL prints it.
    """
    return tuple(compare(describe(have), describe(want)))


def compare(have: Mapping[Key, Value], want: Mapping[Key, Value]) -> Iterator[Difference]:
    """Yield the differences of two descriptions as `describe` makes them, in the order of kinds and names."""
    for key in sorted({*have, *want}):
        if have.get(key) != want.get(key):
            yield Difference(key, have.get(key), want.get(key))


# What a column's settings say of its NOT NULL where that is a constraint with a name: from PostgreSQL 18 on. A table
# that was renamed keeps the old name in its constraint's, which an older server has never had.
_NOT_NULL = frozenset({"not_null", "not_valid", "not_null_no_inherit", "not_null_inherited"})


def before_18(described: Mapping[Key, Value]) -> Described:
    """Return a description without what only PostgreSQL 18 and newer know of NOT NULL, to compare with an older one."""
    old: Described = {}
    for key, value in described.items():
        if key[0] == "column settings" and isinstance(value, tuple):
            value = tuple(part for part in value if not (isinstance(part, tuple) and part[0] in _NOT_NULL))
            if not value:
                continue
        old[key] = value
    return old


def describe(catalog: Catalog) -> Described:
    """Describe every object of a catalogue: (kind, name) -> everything that is to be equal.

    A description is a tuple of (field, value), and that of `columns` one such tuple a column, in their order. What is
    seldom set stands in descriptions of its own (`relation settings` and the like): most of it is tuning.
    """
    described: Described = dict(catalog.definitions)
    for relation in catalog.relations.values():
        described["relation", relation.name] = _fields(relation._asdict())
        if relation.settings:
            described["relation settings", relation.name] = relation.settings
    known: dict[int, Fields] = {}  # by identity: equal columns are mostly one object
    for table, columns in catalog.columns.items():
        described["columns", table] = tuple(_column(column, known) for column in columns)
        for column in columns:
            if column.settings:
                described["column settings", qualified(*parts(table), column.name)] = column.settings
    for constraints in catalog.constraints.values():
        for constraint in constraints:
            name = qualified(*constraint.key)
            described["constraint", name] = (
                ("definition", canonical(constraint.definition)),
                ("validated", constraint.validated),
            )
            if constraint.inherited:
                described["constraint settings", name] = (("inherited", True),)
    for index in catalog.indexes.values():
        described["index", index.name] = _fields(index._asdict())
        if index.settings:
            described["index settings", index.name] = index.settings
    for enum in catalog.enums.values():
        described["enum", enum.name] = _fields(enum._asdict())
    return described | dict(_lent(catalog, described))


def _lent(catalog: Catalog, described: Described) -> Iterator[tuple[Key, Value]]:
    """Yield without its owner what an extension made: that is a superuser of the server, whatever its name."""
    found = (parts(name) for kind, name in catalog.definitions if kind == "extension member")
    members = {(what, qualified(*name)) for what, *name in found}
    for kind, name in described if members else ():
        of = catalog.indexes[name].relation if kind == "index" else name
        if (_MEMBER_AS.get(kind), of) in members:
            yield (kind, name), without(described[kind, name], "owner")


def _column(column: Column, known: dict[int, Fields]) -> Fields:
    fields = known.get(id(column))
    if fields is None:
        fields = known[id(column)] = (("name", column.name), *_fields(column._asdict()))
    return fields


def _fields(values: Mapping[str, Any]) -> Fields:
    return tuple(
        (name, canonical(value) if value and name in ("definition", "default") else value)
        for name, value in values.items()
        if name not in _LEFT_TO_THE_KEY
    )


def field(value: Value, name: str) -> Value:
    """Return one field of an object's description; None when it has no such field."""
    return next((_items(each)[1] for each in _items(value) if _items(each)[0] == name), None)


def without(value: Value, name: str) -> Value:
    """Return an object's description without one field."""
    return tuple(each for each in _items(value) if _items(each)[0] != name)


def granted(value: Value) -> frozenset[Value]:
    """Return what a description of privileges gives and takes: (given or revoked, (grantee, privilege, again))."""
    return frozenset(
        (name, each) for name in ("privileges", "revoked") for each in _items(field(value, name) or ())
    )


def to_plain(described: Mapping[Key, Value]) -> list[list[Any]]:
    """Return a description as rows [kind, name, value], for JSON."""
    return [[*key, value] for key, value in sorted(described.items())]


def from_plain(rows: Iterable[Sequence[Any]]) -> Described:
    """Read back what `to_plain` wrote, also when it has been JSON in between."""
    return {(kind, name): _frozen(value) for kind, name, value in rows}


def _frozen(value: Any) -> Value:
    """Return a value with tuples for lists; leaves are not called for, of which there are hundreds of thousands."""
    if type(value) not in _LISTS:
        return value  # type: ignore[no-any-return]
    return tuple([_frozen(part) if type(part) in _LISTS else part for part in value])


def in_words(difference: Difference) -> str:
    """Say a difference in one line."""
    (kind, name), have, want = difference
    if have is None:
        return f"{kind} {name}: missing"
    if want is None:
        return f"{kind} {name}: not wanted"
    said = both_in_words(kind, have, want)
    return f"{kind} {name}: have {said[0]}, want {said[1]}"


def both_in_words(kind: str, have: Value, want: Value) -> tuple[str, str]:
    """Say two descriptions of an object: of columns only those that differ, or their order when nothing else does."""
    if kind != "columns" or not (isinstance(have, tuple) and isinstance(want, tuple)):
        return value_in_words(kind, have), value_in_words(kind, want)
    ours = tuple(column for column in have if column not in want)
    theirs = tuple(column for column in want if column not in have)
    if not ours and not theirs:
        return _order(have), _order(want)
    return (
        value_in_words(kind, ours) if ours else NOTHING_ELSE,
        value_in_words(kind, theirs) if theirs else NOTHING_ELSE,
    )


def _order(columns: tuple[Value, ...]) -> str:
    return "order " + ", ".join(str(field(column, "name")) for column in columns)


def value_in_words(kind: str, value: Value) -> str:
    """Say an object's description: the fields that are not empty, a flag by its name."""
    if kind == "columns":
        return ", ".join(_said(column) for column in _items(value)) or "no column"
    return _said(value) or "nothing set"


def _said(fields: Value) -> str:
    said = []
    for each in _items(fields):
        name, value = _items(each)
        if value in (None, "", False, ()):
            continue
        if value is True:
            said.append(str(name))
        elif name in _SAID_BY_VALUE:
            said.append(_text(value))
        else:
            said.append(f"{name} {_text(value)}")
    return " ".join(said)


def _items(value: Value) -> tuple[Value, ...]:
    return value if isinstance(value, tuple) else (value,)


def _text(value: Value) -> str:
    """Say a value; of a list of pairs and the like each in words, such as `app SELECT` and `fillfactor 90`."""
    if not isinstance(value, tuple):
        return str(value)
    return ", ".join(
        " ".join(_FLAGS.get(part, str(part)) for part in each if part is not False)
        if isinstance(each, tuple)
        else str(each)
        for each in value
    )
