"""Everything in a catalogue that is no table, column, constraint, index or enum: as (kind, name) -> fields.

What of a database is not read at all stands in LEFT_OUT, and what a schema dump does not carry in NOT_DUMPED.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from psycopg.rows import tuple_row

from runbooks_lib.names import parts, qualified
from runbooks_lib.postgres.catalog.canonical import canonical
from runbooks_lib.postgres.catalog.privileges import grants
from runbooks_lib.postgres.queries import query
from runbooks_lib.postgres.session.connect import Connection

Key: TypeAlias = tuple[str, str]  # (kind, name)
Value: TypeAlias = "bool | int | str | tuple[Value, ...] | None"
Fields: TypeAlias = tuple[tuple[str, Value], ...]

LEFT_OUT = {
    "user mapping: its options": "they hold passwords, and only some roles may see them",
    "subscription: its connection": "it holds a password, and only superusers may see it",
    "options of foreign data that are named like a secret": "their values are masked; that they are set is read",
    "settings of a database whose name has a dot": "applications keep secrets there; that they are set is read",
    "large objects": "they are rows: the dump of rows compares them",
    "objects of an extension": "the extension stands for them, with its version; privileges on them are read",
    "objects of the system schemas": "the server's version stands for them; privileges on those of pg_catalog are read",
    "roles, role settings for all databases, tablespaces, parameters' privileges": "they are the server's",
    "foreign keys of each partition, on either side": "PostgreSQL makes and names them; the parent's stand for them",
    "sequences: their values": "they are rows, and move under everybody's hands",
    "statistics, transaction ids, replication state": "the server writes them by itself",
}
# What of a database `pg_dump --schema-only` writes nothing of: whole kinds, and fields of others.
NOT_DUMPED = {
    "database": "written by pg_dump --create alone",
    "database privileges": "written by pg_dump --create alone",
    "setting": "written by pg_dump --create alone",
    "comment on database": "written by pg_dump --create alone",
    "internal trigger": "whether a constraint is enforced: a restored one is",
    "extension member": "CREATE EXTENSION makes it",
}
FIELDS_NOT_DUMPED = {
    ("extension", "version"): "the restoring server's own is installed",
    ("subscription", "enabled"): "a restored one is always disabled",
    ("relation settings", "not_populated"): "REFRESH comes with the rows",
    ("relation settings", "tablespace"): "a disk of the server",
    ("index settings", "tablespace"): "a disk of the server",
}
_ALWAYS = ("objects", "notes")
_RARE = ("attached", "languages_and_types", "text_search", "foreign_and_published")
_OPTIONS = frozenset({"options", "foreign_options"})
_SECRET = re.compile(r"pass|secret|key|token|credential|auth", re.IGNORECASE)
_PUBLIC = frozenset({"key_column", "keys"})


def read_definitions(conn: Connection) -> dict[Key, Fields]:
    """Read them in a few queries, those of rare kinds only where there is one; writes nothing."""
    cursor = conn.cursor(row_factory=tuple_row)
    major = conn.info.server_version // 10000
    rare = cursor.execute(query("rare_kinds", major)).fetchone() or ()
    wanted = (*_ALWAYS, *(name for name, there in zip(_RARE, rare, strict=True) if there))
    found = {
        (kind, qualified(*names)): fields_of(fields)
        for name in wanted
        for kind, names, fields in cursor.execute(query(name, major)).fetchall()
    }
    for kind, names, acl, initially in cursor.execute(query("grants", major)).fetchall():
        if differing := grants(tuple(acl), tuple(initially)):
            found[kind, qualified(*names)] = differing
    return found


def fields_of(read: Mapping[str, Any] | None) -> Fields:
    """Return fields as the server made them (JSON) as a value: definitions in one spelling, secrets masked."""
    return tuple((name, _value(name, value)) for name, value in (read or {}).items())


def _value(name: str, value: Any) -> Value:
    if name in _OPTIONS and isinstance(value, list):
        return tuple(sorted(map(_masked, value)))
    if name in ("definition", "default") and isinstance(value, str):
        return canonical(value)
    return _frozen(value)


def _masked(option: str) -> tuple[str, str]:
    name, _, value = option.partition("=")
    return name, "(masked)" if _SECRET.search(name) and name not in _PUBLIC else value


def _frozen(value: Any) -> Value:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def as_dumped(definitions: Mapping[Key, Fields]) -> dict[Key, Fields]:
    """Return what of them a schema dump carries."""
    members = {parts(name) for kind, name in definitions if kind == "extension member"}
    dumped = {}
    for (kind, name), fields in definitions.items():
        if kind in NOT_DUMPED or _of_extension(kind, parts(name), members):
            continue
        left = tuple((field, value) for field, value in fields if (kind, field) not in FIELDS_NOT_DUMPED)
        if left:
            dumped[kind, name] = left
    return dumped


def _of_extension(kind: str, name: tuple[str, ...], members: Iterable[tuple[str, ...]]) -> bool:
    if kind.endswith("privileges") or kind == "policy":
        return False  # these are dumped, also of an extension's tables
    return any((what, *name[:2]) in members for what in ("relation", "type")) or (
        kind == "schema" and ("schema", *name) in members
    )
