"""In which objects do two catalogues differ? For a person who has to mend it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from runbooks_lib.postgres.canonical import canonical
from runbooks_lib.postgres.catalog import Catalog

Described = dict[tuple[str, str], str]


def differences(have: Catalog, want: Catalog) -> tuple[str, ...]:
    """Return one line per object that is missing, not wanted, or different; empty exactly when both are equal.

    Definitions are compared in one spelling (see `canonical`), everything else as PostgreSQL prints it.
    """
    return tuple(compare(describe(have), describe(want)))


def compare(have: Mapping[tuple[str, str], str], want: Mapping[tuple[str, str], str]) -> Iterator[str]:
    """Yield the differences of two descriptions as `describe` makes them."""
    for kind, name in sorted({*have, *want}):
        left, right = have.get((kind, name)), want.get((kind, name))
        if left == right:
            continue
        if left is None:
            yield f"{kind} {name}: missing"
        elif right is None:
            yield f"{kind} {name}: not wanted"
        else:
            yield f"{kind} {name}: have {left}, want {right}"


def describe(catalog: Catalog) -> Described:
    """Describe every object of a catalogue: (kind, name) -> everything that is to be equal, in words."""
    described: Described = {}
    for relation in catalog.relations.values():
        described["relation", relation.name] = _words(relation._asdict(), leave_out=("name",))
    for table, columns in catalog.columns.items():
        described["columns", table] = ", ".join(_words(column._asdict()) for column in columns)
    for table, constraints in catalog.constraints.items():
        for constraint in constraints:
            words = _words(constraint._asdict(), leave_out=("name", "relation", "kind", "columns"))
            described["constraint", f"{table}.{constraint.name}"] = words
    for index in catalog.indexes.values():
        described["index", index.name] = _words(index._asdict(), leave_out=("name",))
    for enum in catalog.enums.values():
        described["enum", enum.name] = f"{', '.join(enum.labels)} (owner {enum.owner})"
    for (kind, name), definition in catalog.definitions.items():
        described[kind, name] = canonical(definition)
    return described


def _words(fields: Mapping[str, Any], leave_out: tuple[str, ...] = ()) -> str:
    """Say the fields that are not empty: a name by its value, a flag by its name."""
    said = []
    for name, value in fields.items():
        if name in leave_out or value in (None, "", False):
            continue
        if value is True:
            said.append(name)
        elif name in ("name", "type"):
            said.append(str(value))
        elif name == "definition":
            said.append(canonical(value))
        elif name == "default":
            said.append(f"default {canonical(value)}")
        else:
            said.append(f"{name} {value}")
    return " ".join(said)
