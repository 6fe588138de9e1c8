"""What acts on a declared table and is not declared: triggers, rules, policies, constraints, others' privileges …

A phase declares columns, keys and indexes. What else a table has can change, refuse, hide or discard its rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

from runbooks_lib.checks import Check
from runbooks_lib.findings import Finding, Verdict
from runbooks_lib.names import parts, qualified
from runbooks_lib.phase import Phase, Table
from runbooks_lib.postgres.catalog.catalog import Catalog, Fields, Key
from runbooks_lib.postgres.catalog.differences import field, value_in_words

FORCED = "row security forced"
ALL = "ALL"  # of a grant that names no privilege
OFF = "D"  # pg_trigger.tgenabled and pg_rewrite.ev_enabled of what is switched off
_HINT = (
    "Find out who made it and why. Drop it, or accept it in the phase file: "
    "[schema] ignore = [{{ object = {object!r}, why = … }}]"
)
_ATTACHED = ("trigger", "rule", "policy", "internal trigger")


class Extra(NamedTuple):
    """Something that acts on a table: its kind and name, how it is, and whether it discards or hides rows."""

    kind: str
    name: str
    have: str
    discards: bool = False

    @property
    def object(self) -> str:
        """Return what findings call it."""
        return f"{self.kind} {self.name}"


def check_extras(phase: Phase, target: str, catalog: Catalog, own: Collection[Key]) -> Iterator[Finding]:
    """Check nothing_else_acts_on_table for each declared table that is there.

    `own` are the (kind, name) of what the phase's own scripts make: whether it is as they make it is asked elsewhere.
    OPEN names what is there besides, FAIL what discards or hides rows; SKIP what the phase accepts, and why.
    """
    declared = {index.name for index in phase.indexes}
    for table in phase.tables:
        if table.name not in catalog.relations:
            continue
        found = tuple(extras(catalog, table, declared, own))
        if not found:
            yield _finding(target, table.name, "nothing", Verdict.PASS, "")
        for extra in found:
            if ignored := phase.ignored(extra.kind, extra.name):
                why = f"accepted: {ignored.why}"
                yield _finding(target, extra.object, extra.have, Verdict.SKIP, why)
            else:
                verdict = Verdict.FAIL if extra.discards else Verdict.OPEN
                yield _finding(target, extra.object, extra.have, verdict, _HINT.format(object=extra.object))


def _finding(target: str, name: str, have: str, verdict: Verdict, hint: str) -> Finding:
    return Finding(
        check=Check.NOTHING_ELSE_ACTS_ON_TABLE,
        target=target,
        object=name,
        have=have,
        want="nothing",
        verdict=verdict,
        hint=hint,
    )


def extras(
    catalog: Catalog, table: Table, declared: Collection[str], own: Collection[Key]
) -> Iterator[Extra]:
    """Yield what acts on a table and is neither declared nor the phase's own."""
    for key, extra in _attached(catalog, table, declared):
        if key not in own:
            yield extra
    yield from _privileges(catalog, table, own)


def _attached(catalog: Catalog, table: Table, declared: Collection[str]) -> Iterator[tuple[Key, Extra]]:
    """Yield what hangs on a table, each with its (kind, name)."""
    yield from _constraints(catalog, table)
    yield from _indexes(catalog, table, declared)
    yield from _row_security(catalog, table)
    here = parts(table.name)
    for key, fields in catalog.definitions.items():
        kind, name = key
        if kind in _ATTACHED and parts(name)[:2] == here:
            yield key, Extra(kind, name, _said(kind, fields), _discards(kind, fields))
        elif kind == "inherits":
            yield from _inheritance(catalog, table, key, fields)
    for column in catalog.columns.get(table.name, ()):
        if field(column.settings, "not_valid") is True:
            name = qualified(*here, str(field(column.settings, "not_null")))
            words = f"NOT NULL of {column.name} is not valid for all rows"
            yield ("constraint", name), Extra("constraint", name, words)


def _said(kind: str, fields: Fields) -> str:
    if kind == "internal trigger":
        return "the constraint is not enforced: its trigger is disabled"
    off = "disabled: " if field(fields, "enabled") == OFF else ""
    return off + value_in_words(kind, tuple(each for each in fields if each[0] not in ("enabled", "nothing")))


def _discards(kind: str, fields: Fields) -> bool:
    """Tell whether rows vanish: a rule that does nothing instead."""
    nothing = field(fields, "instead") is True and field(fields, "nothing") is True
    return kind == "rule" and nothing and field(fields, "enabled") != OFF


def _constraints(catalog: Catalog, table: Table) -> Iterator[tuple[Key, Extra]]:
    for constraint in catalog.constraints.get(table.name, ()):
        if constraint.kind not in "pt":  # col_is_pk judges the key, and of "t" the trigger is named
            name = qualified(*constraint.key)
            yield ("constraint", name), Extra("constraint", name, constraint.definition)


def _indexes(catalog: Catalog, table: Table, declared: Collection[str]) -> Iterator[tuple[Key, Extra]]:
    of_constraints = {constraint.name for constraint in catalog.constraints.get(table.name, ())}
    for name, index in catalog.indexes.items():
        own_one = index.relation == table.name and index.is_unique and name not in declared
        if own_one and parts(name)[-1] not in of_constraints:
            yield ("index", name), Extra("index", name, index.definition)


def _row_security(catalog: Catalog, table: Table) -> Iterator[tuple[Key, Extra]]:
    relation = catalog.relations[table.name]
    forced = field(relation.settings, "force_row_security") is True
    if relation.row_security:
        words = (
            "rows are hidden from its owner, too"
            if forced
            else "rows are hidden from other roles than its owner"
        )
        yield (
            (FORCED if forced else "row security", table.name),
            Extra("row security", table.name, words, discards=forced),
        )


def _inheritance(catalog: Catalog, table: Table, key: Key, fields: Fields) -> Iterator[tuple[Key, Extra]]:
    """Yield a table whose rows show in this one, or in which this one's rows show; partitions are a table's own."""
    name = key[1]
    parents = field(fields, "parents")
    of = [qualified(*parts(str(parent))) for parent in parents] if isinstance(parents, tuple) else []
    if name == table.name:
        yield key, Extra("inherits", name, f"its rows show in {', '.join(of)}")
    elif table.name in of and catalog.relations[table.name].kind != "p":
        yield key, Extra("inherits", name, f"its rows show in {table.name}")


def _privileges(catalog: Catalog, table: Table, own: Collection[Key]) -> Iterator[Extra]:
    """Yield what others may do that changes rows, and what everybody may do at all."""
    for (kind, name), fields in catalog.definitions.items():
        if kind not in ("privileges", "column privileges") or parts(name)[:2] != parts(table.name):
            continue
        may: dict[str, list[str]] = {}
        for who, what in _given(fields):
            given_by_us = {(kind, qualified(*parts(table.name), who, each)) for each in (what, ALL)}
            if (who == "public" or what != "SELECT") and not given_by_us & set(own):
                may.setdefault(who, []).append(what)
        for who, all_of_it in may.items():
            yield Extra(kind, f"{name} {who}", f"{who} may {', '.join(all_of_it)}")


def _given(fields: Fields) -> Iterator[tuple[str, str]]:
    given = field(fields, "privileges")
    for each in given if isinstance(given, tuple) else ():
        if isinstance(each, tuple):
            yield str(each[0]), str(each[1])
