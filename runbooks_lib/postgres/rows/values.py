"""Values as a table's own types know them: how text becomes one, when two are equal, how one is printed.

Nothing that an ordinary role can make is called meanwhile: no cast, no CHECK of a domain, no operator but one that a
superuser made. A type without such an equality is compared as the server prints it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql
from psycopg.pq import Escaping

from runbooks_lib.errors import PreconditionFailed, SpecError
from runbooks_lib.postgres.catalog.catalog import tables_there
from runbooks_lib.postgres.queries import query
from runbooks_lib.postgres.session.connect import Connection

_INTEGERS = frozenset({"int2", "int4", "int8"})
_TEXTS = frozenset({"text", "varchar"})
_TEXT = sql.Identifier("pg_catalog", "text")
_BYTEWISE = sql.SQL(' COLLATE pg_catalog."C"')

Fields = Sequence[str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """The values of one column. What its methods take and return are pieces of SQL.

    `type` is what text is read as: the column's type, or what its domain is over. `builtin` is the name of a type
    that comes with PostgreSQL, else empty. `equality` has places for two values; `operand` is what both are stored
    alike with, and compared as.
    """

    name: str
    type: sql.Identifier
    builtin: str
    equality: sql.SQL | None
    operand: sql.Identifier | None

    @property
    def is_integer(self) -> bool:
        """Return whether these are integers."""
        return self.builtin in _INTEGERS

    def printed(self, value: sql.Composable) -> sql.Composable:
        """Return a value as its type's output function prints it, and COPY with it; NULL stays NULL."""
        if self.builtin in _TEXTS:
            return sql.SQL("{}::{}").format(value, _TEXT)
        return sql.SQL("CASE WHEN {0} IS DISTINCT FROM NULL THEN pg_catalog.concat({0}) END").format(value)

    def ordered(self, value: sql.Composable) -> sql.Composable:
        """Return what a stream is sorted by: integers by their size, everything else as printed, byte by byte."""
        return value if self.is_integer else sql.SQL("({})").format(self.printed(value)) + _BYTEWISE

    def grouped(self, value: sql.Composable) -> sql.Composable:
        """Return what equal values are grouped by: GROUP BY asks the default operator class, which a superuser made."""
        return value if self.equality is not None else self.printed(value)

    def equal(self, have: sql.Composable, want: sql.Composable) -> sql.Composable:
        """Return whether two values are equal; NULL when one of them is."""
        if self.equality is None:
            pair = (sql.SQL("({})").format(self.printed(side)) for side in (have, want))
            return sql.SQL("({}{} OPERATOR(pg_catalog.=) {})").format(next(pair), _BYTEWISE, next(pair))
        if self.operand is not None:
            have, want = (sql.SQL("{}::{}").format(side, self.operand) for side in (have, want))
        return self.equality.format(have, want)

    def same(self, have: sql.Composable, want: sql.Composable) -> sql.Composable:
        """Return whether two values are equal or both NULL."""
        either = "coalesce({}, ({} IS NOT DISTINCT FROM NULL) AND ({} IS NOT DISTINCT FROM NULL))"
        return sql.SQL(either).format(self.equal(have, want), have, want)


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """A table with the values of some of its columns.

    `children`: other tables inherit from it, whose rows a query of it shows too. `unique`: no two rows of it can have
    the same key.
    """

    name: str
    oid: int
    columns: Mapping[str, Values]
    children: bool
    unique: bool

    @property
    def place(self) -> sql.Composable:
        """Return, in a query of the table as `have`, the inheriting table in which a row stands; NULL for its own."""
        if not self.children:
            return sql.SQL("NULL::pg_catalog.text")
        return sql.SQL(
            "CASE WHEN have.tableoid <> {} THEN pg_catalog.concat(have.tableoid::pg_catalog.regclass) END"
        ).format(sql.Literal(self.oid))


def read_relation(conn: Connection, table: str, columns: Iterable[str], key: Iterable[str]) -> Relation:
    """Return a table as these columns of it are to be compared; `key` are those that find a row.

    Reads the catalogue. Raises PreconditionFailed when the table, or one of the columns, is not there.
    """
    names = list(dict.fromkeys((*columns, *key)))
    oid = tables_there(conn, [table]).get(table)
    if oid is None:
        raise PreconditionFailed(
            f'There is no table: "{table}" does not exist.', "See what preflight says of this table."
        )
    asked = {"table": oid, "columns": names}
    found = {row["name"]: row for row in conn.execute(query("value_types"), asked).fetchall()}
    if lacking := [name for name in names if name not in found]:
        raise PreconditionFailed(
            f"{table} has no column {', '.join(lacking)}, which the seeds declare.",
            "Bring the table and the declaration in line.",
        )
    places = [found[name]["attnum"] for name in key]
    facts = conn.execute(query("inheritance"), {"table": oid, "key": places}).fetchone()
    assert facts is not None
    return Relation(name=table, columns={name: _values(found[name]) for name in names}, **facts)


def _values(row: Mapping[str, Any]) -> Values:
    """Return how a column's values are treated; text stays text where reading it could run others' code."""
    equality = None
    if row["readable"] and row["equality"]:
        equality = sql.SQL(f"pg_catalog.{row['equality']}({{}}, {{}})")
    elif row["readable"] and row["operator_name"]:
        schema = sql.Identifier(row["operator_schema"]).as_string().replace("{", "{{").replace("}", "}}")
        equality = sql.SQL(f"({{}} OPERATOR({schema}.{row['operator_name']}) {{}})")
    type_ = sql.Identifier(row["type_schema"], row["type_name"])
    operand = sql.Identifier(row["as_schema"], row["as_name"]) if row["as_name"] else None
    return Values(
        name=row["name"],
        type=type_ if row["readable"] else _TEXT,
        builtin=row["type_name"] if row["type_schema"] == "pg_catalog" else "",
        equality=equality,
        operand=operand or (type_ if row["is_domain"] else None),
    )


def literal(conn: Connection, values: Values, text: str | None) -> sql.Composable:
    """Return text as a value of the column's type: read by its input function alone, as a literal is.

    Raises SpecError for what no text of PostgreSQL can hold.
    """
    return sql.SQL(f"{_escaped(conn, text)}::{values.type.as_string(conn)}")


def listed(conn: Connection, columns: Sequence[Values], rows: Sequence[Fields]) -> sql.Composable:
    """Return rows of text as `(VALUES …) AS want (n, c0, c1, …)`, of the columns' types; n counts them from 0.

    Raises as `literal` does.
    """
    types = ["::" + column.type.as_string(conn) for column in columns]  # the first row gives them to all
    lines = [
        f"({n}, {', '.join(_escaped(conn, text) + ('' if n else types[c]) for c, text in enumerate(row))})"
        for n, row in enumerate(rows)
    ]
    names = ", ".join(f"c{c}" for c in range(len(columns)))
    return sql.SQL(f"(VALUES {', '.join(lines)}) AS want (n, {names})")


def _escaped(conn: Connection, text: str | None) -> str:
    if text is None:
        return "NULL"
    if "\0" in text:
        raise SpecError(f"A declared value holds a NUL character: {text[:100]!r}.", "Take it out.")
    return Escaping(conn.pgconn).escape_literal(text.encode()).decode()
