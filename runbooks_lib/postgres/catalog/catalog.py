"""A database's catalogue as values: one snapshot, comparable and hashable.

Names are `schema.relation`, as `names.qualified` joins them and the phase file writes them.
"""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

from psycopg import sql
from psycopg.rows import tuple_row

from runbooks_lib.names import parts, qualified
from runbooks_lib.postgres.catalog.canonical import canonical
from runbooks_lib.postgres.catalog.definitions import (
    FIELDS_NOT_DUMPED,
    as_dumped,
    fields_of,
    read_definitions,
)
from runbooks_lib.postgres.catalog.definitions import Fields as Fields
from runbooks_lib.postgres.catalog.definitions import Key as Key
from runbooks_lib.postgres.catalog.definitions import Value as Value
from runbooks_lib.postgres.queries import query
from runbooks_lib.postgres.session.connect import Connection
from runbooks_lib.progress import report

COUNTED_AT_ONCE = 50  # tables in one query: one more than that, and somebody may want to know how far it is


# Of the following there are hundreds of thousands in a large database: tuples, which are made and encoded quickest.
class Relation(NamedTuple):
    """A table, view, sequence or the like; `kind` is pg_class.relkind. `settings`: what is seldom set."""

    name: str
    kind: str
    owner: str
    persistence: str
    row_security: bool
    options: tuple[tuple[str, str], ...] = ()
    partition: str = ""
    settings: Fields = ()


class Column(NamedTuple):
    """A column as PostgreSQL prints it; its position is its place in the table's tuple."""

    name: str
    type: str
    not_null: bool
    default: str | None
    identity: str
    generated: str
    collation: str | None
    settings: Fields = ()


class Constraint(NamedTuple):
    """A constraint by its printed definition; `kind` is pg_constraint.contype."""

    name: str
    relation: str
    kind: str
    definition: str
    validated: bool
    columns: tuple[str, ...]
    inherited: bool = False

    @property
    def key(self) -> tuple[str, ...]:
        """Return the parts of its name: schema, relation, constraint."""
        return (*parts(self.relation), self.name)


class Index(NamedTuple):
    """An index by its printed definition."""

    name: str
    relation: str
    definition: str
    is_unique: bool
    is_primary: bool
    is_valid: bool
    owner: str
    settings: Fields = ()


_Settled = TypeVar("_Settled", Relation, Index)


class Enum(NamedTuple):
    """An enum type with its labels in order."""

    name: str
    owner: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """One snapshot of a database: what is in it outside the system schemas.

    `definitions` holds everything that has no class of its own here, as (kind, name) -> ((field, value), ...).
    """

    relations: Mapping[str, Relation]
    columns: Mapping[str, tuple[Column, ...]]
    constraints: Mapping[str, tuple[Constraint, ...]]
    indexes: Mapping[str, Index]
    enums: Mapping[str, Enum]
    definitions: Mapping[Key, Fields]

    def tables(self) -> tuple[str, ...]:
        """Return the names of ordinary and partitioned tables."""
        return tuple(name for name, relation in self.relations.items() if relation.kind in "rp")

    def primary_key(self, table: str) -> tuple[str, ...]:
        """Return the primary key's columns in key order; empty when there is none."""
        keys = (c.columns for c in self.constraints.get(table, ()) if c.kind == "p")
        return next(keys, ())

    def dumped(self) -> Catalog:
        """Return what of it a schema dump carries: what its restored copy must be equal to (see `definitions`)."""
        definitions = as_dumped(self.definitions)
        members = {name for kind, name in self.definitions if kind == "extension member"}

        def kept(what: str, name: str) -> bool:
            return not members or qualified(what, *parts(name)) not in members

        return Catalog(
            relations={
                n: _dumped("relation settings", r) for n, r in self.relations.items() if kept("relation", n)
            },
            columns={
                n: self._in_dumped_order(n, found) for n, found in self.columns.items() if kept("relation", n)
            },
            constraints={
                n: c for n, c in self.constraints.items() if kept("relation", n) and kept("type", n)
            },
            indexes={
                n: _dumped("index settings", i)
                for n, i in self.indexes.items()
                if kept("relation", i.relation) and (i.is_valid or self.relations[i.relation].kind == "p")
            },
            enums={n: enum for n, enum in self.enums.items() if kept("type", n)},
            definitions=definitions,
        )

    def _in_dumped_order(self, table: str, columns: tuple[Column, ...]) -> tuple[Column, ...]:
        """Return columns by name where they are inherited: in a restored table these come first, wherever they were."""
        if ("inherits", table) in self.definitions and not self.relations[table].partition:
            return tuple(sorted(columns, key=lambda column: column.name))
        return columns

    def fingerprint(self) -> str:
        """Return the SHA-256 (hex) of the whole snapshot: equal exactly when two snapshots are equal.

        Definitions count in one spelling (see `canonical`), so that a restored schema has its source's fingerprint.
        """
        digest = hashlib.sha256()
        for line in self._lines():
            digest.update(line)
        return digest.hexdigest()

    def _lines(self) -> Iterator[bytes]:
        """Yield everything in lines, one a kind or a table; a column that many tables have alike is encoded once."""
        yield _line("relations", self.relations.values())
        tables = sorted(self.columns.items())
        yield _words(["columns", *((table, len(found)) for table, found in tables)])
        columns: dict[int, bytes] = {}  # by identity: `read_catalog` makes equal columns one
        for _, found in tables:
            for column in found:
                if id(column) not in columns:
                    columns[id(column)] = _line("column", [column])
            yield b"".join([columns[id(column)] for column in found])
        yield _line("constraints", (c for _, found in sorted(self.constraints.items()) for c in found))
        yield _line("indexes", self.indexes.values())
        yield _line("enums", self.enums.values())
        for (kind, name), fields in sorted(self.definitions.items()):
            yield _words(["definition", kind, name, fields])


def read_catalog(conn: Connection) -> Catalog:
    """Read the catalogue of the session's database; call it inside `Sessions.snapshot`.

    One query per kind of object, whatever their number; writes nothing. The session's search_path must be
    pg_catalog (as `connect` sets it), so that names are printed qualified.
    """

    major = conn.info.server_version // 10000

    def rows(name: str) -> list[tuple[Any, ...]]:
        return conn.cursor(row_factory=tuple_row).execute(query(name, major)).fetchall()

    with _no_garbage():
        return Catalog(
            relations={relation.name: relation for relation in map(_relation, rows("relations"))},
            columns=_columns(rows("columns")),
            constraints=_constraints(rows("constraints")),
            indexes={index.name: index for index in map(_index, rows("indexes"))},
            enums={enum.name: enum for enum in map(_enum, rows("enums"))},
            definitions=read_definitions(conn),
        )


def read_parts(conn: Connection, names: Sequence[tuple[str, str]], *, apart: bool) -> Catalog:
    """Read the columns, constraints and indexes of these relations (schema, name) and of few others, as `read_catalog`.

    All relations are in it; enums and definitions are, if they are asked for (`apart`).
    """
    major = conn.info.server_version // 10000
    schemas, relations = ([*{*part}] for part in zip(*names, strict=True)) if names else ([], [])

    def rows(name: str, *, some: bool = False) -> list[tuple[Any, ...]]:
        text = query(name, major)
        if some:
            text = f"SELECT * FROM ({text}) AS found WHERE schema = ANY(%s) AND relation = ANY(%s)"  # noqa: S608 - `text` is a query of ours
        cursor = conn.cursor(row_factory=tuple_row)
        return cursor.execute(text, [schemas, relations] if some else None).fetchall()

    return Catalog(
        relations={relation.name: relation for relation in map(_relation, rows("relations"))},
        columns=_columns(rows("columns", some=True)),
        constraints=_constraints(rows("constraints", some=True)),
        indexes={index.name: index for index in map(_index, rows("indexes", some=True))},
        enums={enum.name: enum for enum in map(_enum, rows("enums"))} if apart else {},
        definitions=read_definitions(conn) if apart else {},
    )


@contextmanager
def _no_garbage() -> Iterator[None]:
    """Keep the collector of cycles from walking again and again over a hundred thousand rows, which have none."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _relation(row: tuple[Any, ...]) -> Relation:
    schema, name, kind, owner, persistence, row_security, options, partition, settings = row
    pairs = tuple(sorted(option.partition("=")[::2] for option in options or ()))
    return Relation(
        qualified(schema, name), kind, owner, persistence, row_security, pairs, partition, fields_of(settings)
    )


def _columns(rows: Iterable[tuple[Any, ...]]) -> dict[str, tuple[Column, ...]]:
    """Return the columns by table. Most columns of a large database equal another one's: those are one object."""
    known: dict[tuple[Any, ...], Column] = {}
    columns: dict[str, tuple[Column, ...]] = {}
    for (schema, table), found in groupby(rows, key=itemgetter(0, 1)):
        own = []
        for row in found:
            values = row[2:] if row[-1] is None else (*row[2:-1], fields_of(row[-1]))
            column = known.get(values)
            if column is None:
                column = known[values] = Column(*values[:-1], values[-1] or ())  # type: ignore[call-arg]
            own.append(column)
        name = qualified(schema, table)
        columns[name] = (*columns.get(name, ()), *own)
    return columns


def _constraints(rows: Iterable[tuple[Any, ...]]) -> dict[str, tuple[Constraint, ...]]:
    constraints: dict[str, list[Constraint]] = {}
    for constraint in map(_constraint, rows):
        constraints.setdefault(constraint.relation, []).append(constraint)
    return {relation: tuple(found) for relation, found in constraints.items()}


def _constraint(row: tuple[Any, ...]) -> Constraint:
    schema, relation, name, kind, definition, validated, columns, inherited = row
    return Constraint(
        name=name,
        relation=qualified(schema, relation),
        kind=kind,
        definition=definition,
        validated=validated,
        columns=tuple(columns or ()),
        inherited=inherited,
    )


def _index(row: tuple[Any, ...]) -> Index:
    schema, name, relation, *others, settings = row
    return Index(qualified(schema, name), qualified(schema, relation), *others, fields_of(settings))  # type: ignore[call-arg]


def _enum(row: tuple[Any, ...]) -> Enum:
    schema, name, owner, labels = row
    return Enum(name=qualified(schema, name), owner=owner, labels=tuple(labels))


def tables_there(conn: Connection, names: Iterable[str]) -> dict[str, int]:
    """Return the oids of those names that are tables here, in their order; call it inside `Sessions.snapshot`.

    Asks for these alone, where a whole catalogue would tell no more; writes nothing.
    """
    wanted = {parts(name): name for name in names}
    statement = (
        "SELECT n.nspname, c.relname, c.oid FROM unnest(%s::text[], %s::text[]) AS wanted (schema, relation)"
        " JOIN pg_namespace n ON n.nspname = wanted.schema"
        " JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.relation AND c.relkind IN ('r', 'p')"
    )
    asked = [list(column) for column in zip(*wanted, strict=True)] or [[], []]
    there = {
        (row["nspname"], row["relname"]): row["oid"] for row in conn.execute(statement, asked).fetchall()
    }
    return {name: there[key] for key, name in wanted.items() if key in there}


def count_rows(conn: Connection, tables: Iterable[str]) -> dict[str, int]:
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
        report("rows counted", done=len(counts), total=len(parts), unit="tables")
    return counts


def identifier(name: str) -> sql.Identifier:
    """Return `schema.relation` as a quoted SQL identifier."""
    return sql.Identifier(*parts(name))


def _dumped(kind: str, described: _Settled) -> _Settled:
    """Return a relation or an index without the settings that a schema dump does not carry."""
    if not described.settings:
        return described
    left = tuple((name, value) for name, value in described.settings if (kind, name) not in FIELDS_NOT_DUMPED)
    return described._replace(settings=left)


_encode = json.JSONEncoder(ensure_ascii=False).encode  # json.dumps would make one for each line


def _line(kind: str, described: Iterable[Relation | Column | Constraint | Index | Enum]) -> bytes:
    """Return objects of one kind as a line, definitions and defaults in one spelling."""
    return _words([kind, *map(_spelt, described)])


def _spelt(described: Relation | Column | Constraint | Index | Enum) -> tuple[Any, ...]:
    if isinstance(described, Column) and described.default:
        return described._replace(default=canonical(described.default))
    if isinstance(described, Constraint | Index):
        spelt = canonical(described.definition)
        return described if spelt is described.definition else described._replace(definition=spelt)
    return described


def _words(values: list[Any]) -> bytes:
    return _encode(values).encode("utf-8", "surrogatepass") + b"\n"
