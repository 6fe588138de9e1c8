"""A database's catalogue as values: one snapshot, comparable and hashable.

Names are `schema.relation`, unquoted, as the phase file writes them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from psycopg import sql

from runbooks_lib.postgres.canonical import canonical
from runbooks_lib.postgres.connect import Connection, Row
from runbooks_lib.postgres.queries import query
from runbooks_lib.progress import report

COUNTED_AT_ONCE = 50  # tables in one query: one more than that, and somebody may want to know how far it is


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """A table, view, sequence or the like; `kind` is pg_class.relkind."""

    name: str
    kind: str
    owner: str
    persistence: str
    row_security: bool
    options: str | None = None
    partition: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column as PostgreSQL prints it; its position is its place in the table's tuple."""

    name: str
    type: str
    not_null: bool
    default: str | None
    identity: str
    generated: str
    collation: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """A constraint by its printed definition; `kind` is pg_constraint.contype."""

    name: str
    relation: str
    kind: str
    definition: str
    validated: bool
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """An index by its printed definition."""

    name: str
    relation: str
    definition: str
    is_unique: bool
    is_primary: bool
    is_valid: bool
    owner: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Enum:
    """An enum type with its labels in order."""

    name: str
    owner: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """One snapshot of a database: what is in it outside the system schemas.

    `definitions` holds everything that has no class of its own here, as (kind, name) -> definition.
    """

    relations: Mapping[str, Relation]
    columns: Mapping[str, tuple[Column, ...]]
    constraints: Mapping[str, tuple[Constraint, ...]]
    indexes: Mapping[str, Index]
    enums: Mapping[str, Enum]
    definitions: Mapping[tuple[str, str], str]

    def tables(self) -> tuple[str, ...]:
        """Return the names of ordinary and partitioned tables."""
        return tuple(name for name, relation in self.relations.items() if relation.kind in "rp")

    def primary_key(self, table: str) -> tuple[str, ...]:
        """Return the primary key's columns in key order; empty when there is none."""
        keys = (c.columns for c in self.constraints.get(table, ()) if c.kind == "p")
        return next(keys, ())

    def fingerprint(self) -> str:
        """Return the SHA-256 (hex) of the whole snapshot: equal exactly when two snapshots are equal.

        Definitions count in one spelling (see `canonical`), so that a restored schema has its source's fingerprint.
        """
        content = [
            [asdict(relation) for relation in self.relations.values()],
            {table: [_spelled(column) for column in columns] for table, columns in self.columns.items()},
            {table: [_spelled(c) for c in constraints] for table, constraints in self.constraints.items()},
            [_spelled(index) for index in self.indexes.values()],
            [asdict(enum) for enum in self.enums.values()],
            sorted([kind, name, canonical(text)] for (kind, name), text in self.definitions.items()),
        ]
        text = json.dumps(content, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


def read_catalog(conn: Connection) -> Catalog:
    """Read the catalogue of the session's database; call it inside `Sessions.snapshot`.

    One query per kind of object, whatever their number; writes nothing. The session's search_path must be
    pg_catalog (as `connect` sets it), so that names are printed qualified.
    """

    def rows(name: str) -> list[Row]:
        return conn.execute(query(name)).fetchall()

    columns: dict[str, list[Column]] = {}
    for row in rows("columns"):
        columns.setdefault(_qualified(row, "relation"), []).append(
            Column(**{key: value for key, value in row.items() if key not in ("schema", "relation")})
        )
    constraints: dict[str, list[Constraint]] = {}
    for row in rows("constraints"):
        constraint = Constraint(
            name=row["name"],
            relation=_qualified(row, "relation"),
            kind=row["kind"],
            definition=row["definition"],
            validated=row["validated"],
            columns=tuple(row["columns"] or ()),
        )
        constraints.setdefault(constraint.relation, []).append(constraint)
    return Catalog(
        relations={
            name: Relation(
                name=name, **{key: value for key, value in row.items() if key not in ("schema", "name")}
            )
            for row in rows("relations")
            if (name := _qualified(row))
        },
        columns={table: tuple(found) for table, found in columns.items()},
        constraints={table: tuple(found) for table, found in constraints.items()},
        indexes={name: _index(name, row) for row in rows("indexes") if (name := _qualified(row))},
        enums={
            name: Enum(name=name, owner=row["owner"], labels=tuple(row["labels"]))
            for row in rows("enums")
            if (name := _qualified(row))
        },
        definitions={(row["kind"], _qualified(row)): row["definition"] for row in rows("definitions")},
    )


def count_rows(conn: Connection, tables: tuple[str, ...]) -> dict[str, int]:
    """Count the rows of tables that exist; call it inside `Sessions.snapshot`.

    `tables` are `schema.relation` names. Raises psycopg errors as they come: a missing table, a missing SELECT.
    """
    parts = [
        sql.SQL("SELECT {} AS name, count(*) AS n FROM {}").format(sql.Literal(name), identifier(name))
        for name in tables
    ]
    counts: dict[str, int] = {}
    for start in range(0, len(parts), COUNTED_AT_ONCE):
        some = sql.SQL(" UNION ALL ").join(parts[start : start + COUNTED_AT_ONCE])
        counts.update((row["name"], row["n"]) for row in conn.execute(some))
        report("rows counted", done=len(counts), total=len(tables), unit="tables")
    return counts


def read_sequences(conn: Connection) -> dict[str, int | None]:
    """Return the last value of every sequence that this role may read; call it inside `Sessions.snapshot`.

    None for a sequence that was never used. A rollback does not restore it.
    """
    statement = "SELECT schemaname || '.' || sequencename AS name, last_value FROM pg_sequences ORDER BY 1"
    return {row["name"]: row["last_value"] for row in conn.execute(statement).fetchall()}


def identifier(name: str) -> sql.Identifier:
    """Return `schema.relation` as a quoted SQL identifier."""
    return sql.Identifier(*name.split(".", 1))


def _spelled(described: Column | Constraint | Index) -> dict[str, Any]:
    """Return the fields, the definition and the default in one spelling."""
    fields = asdict(described)
    return {
        key: canonical(value) if key in ("definition", "default") and value else value
        for key, value in fields.items()
    }


def _qualified(row: Row, key: str = "name") -> str:
    return f"{row['schema']}.{row[key]}"


def _index(name: str, row: Row) -> Index:
    kept = ("definition", "is_unique", "is_primary", "is_valid", "owner")
    return Index(name=name, relation=_qualified(row, "relation"), **{key: row[key] for key in kept})
