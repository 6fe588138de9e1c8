"""Parts of a migration's statement as questions to a target, which change nothing and run nobody's code.

A part is taken from the parse tree (see `trees`). Its tables get their schemas, its functions and operators must be
PostgreSQL's own and not VOLATILE, its columns of types that PostgreSQL itself reads. Whatever else it holds is not
asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from runbooks_lib.names import qualified
from runbooks_lib.postgres.queries import query
from runbooks_lib.postgres.rows.trees import Named, NotAsked, ast, named_in, printed, type_name
from runbooks_lib.postgres.script.calls import Name
from runbooks_lib.postgres.script.literal_rows import Spelled
from runbooks_lib.postgres.session.connect import Connection, Row

TIMEOUT_MS = 30_000


class Lacking(NotAsked):
    """The target has no such table, or a table no such column: `table`, and `column` where it is one."""

    def __init__(self, table: Name, column: str | None = None) -> None:
        what = f"table {qualified(*table)}"
        super().__init__(f"the target has no {f'column {column} in {what}' if column else what}")
        self.table = table
        self.column = column


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column: `place` is its number in the table, `type` what a value of it is cast to."""

    name: str
    place: int
    type: str
    kind: str
    not_null: bool
    computed: bool

    @property
    def spelled(self) -> Spelled | None:
        """Return as what two of its values are two when they are spelled otherwise; None where they may be one."""
        if self.type in ("smallint", "integer", "bigint"):
            return int
        if self.type.endswith("[]"):
            return None
        is_enum = self.kind == "plain" and "." in self.type  # other types of somebody's are not plain
        return str if is_enum or self.type == "text" or self.type.startswith("character varying") else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of the target: its columns, and the columns of each unique key, by name."""

    name: Name
    kind: str
    columns: Mapping[str, Column]
    keys: Mapping[str, tuple[str, ...]]
    dropped: bool
    filled: bool

    @property
    def identifier(self) -> sql.Identifier:
        """Return its name for SQL."""
        return sql.Identifier(*self.name)

    def column(self, name: str) -> Column:
        """Return a column. Raises Lacking."""
        if name not in self.columns:
            raise Lacking(self.name, name)
        return self.columns[name]


class Asker:
    """Puts the questions about one script's statements; `schema` is where names without one lead.

    `temporary` are the tables that the script makes for its own time, `path_set` says that it changes where names
    lead: then they need a schema of their own. `read` are the tables whose rows the questions read.
    """

    def __init__(
        self, conn: Connection, schema: str, *, temporary: frozenset[str], path_set: bool = False
    ) -> None:
        self.conn = conn
        self.schema = schema
        self.temporary = temporary
        self.path_set = path_set
        self.read: set[Name] = set()
        self._tables: dict[Name, Table] = {}

    def is_temporary(self, relation: Any) -> bool:
        """Return whether a statement means a table of its script's own time."""
        if relation.schemaname is None:
            return relation.relname in self.temporary
        return bool(relation.schemaname == "pg_temp")

    def name(self, relation: Any) -> Name:
        """Return which table a statement means. Raises NotAsked where that can't be told."""
        if self.is_temporary(relation):
            raise NotAsked(f"{relation.relname} is a temporary table, which is gone")
        if relation.schemaname is None and self.path_set:
            raise NotAsked(f"the script sets search_path, and {relation.relname} is named without its schema")
        if relation.schemaname is None and relation.relname.startswith("pg_"):  # pg_catalog comes first
            raise NotAsked(f"it reads {relation.relname}, the server's own")
        return relation.schemaname or self.schema, relation.relname

    def table(self, name: Name) -> Table:
        """Return a table whose rows may be read. Raises Lacking, and NotAsked."""
        if name not in self._tables:
            asked = {"schema": name[0], "name": name[1]}
            row = self.conn.execute(query("asked_table"), asked).fetchone()
            if row is None:
                raise Lacking(name)
            self._require_readable(name, row)
            self._tables[name] = _table(name, row)
        return self._tables[name]

    def _require_readable(self, name: Name, row: Row) -> None:
        spelt = qualified(*name)
        if name[0] in ("pg_catalog", "information_schema"):
            raise NotAsked(f"it reads {spelt}, the server's own")
        if row["kind"] not in ("r", "p", "m"):
            raise NotAsked(f"{spelt} is no table")
        if not row["readable"]:
            raise NotAsked(f"the role of this session may not SELECT from {spelt}")
        if row["hidden"]:
            raise NotAsked(f"row-level security hides rows of {spelt} from the role of this session")
        if row["outside"]:
            raise NotAsked(f"rows of {spelt} lie with a foreign server")

    def is_empty(self, table: Table) -> bool:
        """Return whether a table has no row."""
        row = self.row(sql.SQL("SELECT NOT EXISTS (SELECT FROM {}) AS empty").format(table.identifier))
        return bool(row["empty"])

    def spell(self, node: Any) -> sql.SQL:
        """Return an expression or a query as SQL that is safe to run in a session whose search_path is pg_catalog.

        The tree's names are completed. Raises NotAsked, and Lacking.
        """
        named = named_in(node)
        self._require_own_code(named)
        self._complete_types(named)
        for relation in named.tables:
            name = relation.schemaname, relation.relname = self.name(relation)
            self._require_columns(self.table(name), named.columns)
            self.read.add(name)
        return sql.SQL(printed(node))

    def _require_own_code(self, named: Named) -> None:
        """Require that all that runs is PostgreSQL's own, whatever the arguments, and without effects."""
        asked = {
            "functions": sorted(named.functions),
            "operators": sorted(named.operators),
            "schema": self.schema,
        }
        for row in self.conn.execute(query("asked_code"), asked).fetchall():
            match row["what"]:
                case "volatile":
                    raise NotAsked(f"it calls {row['name']}, which is VOLATILE")
                case "cast":
                    raise NotAsked(f"this database has a cast of its own ({row['name']}), which might be run")
                case what:
                    raise NotAsked(f"the {what} {row['name']} is not, or not only, PostgreSQL's own")

    def _complete_types(self, named: Named) -> None:
        if not named.types:
            return
        wanted = [type_name(each) for each in named.types]
        schemas, names = zip(*wanted, strict=True)
        asked = {"schemas": list(schemas), "names": list(names), "schema": self.schema}
        rows = self.conn.execute(query("asked_types"), asked).fetchall()
        found = {(row["asked_schema"], row["name"]): row for row in rows}
        for each, name in zip(named.types, wanted, strict=True):
            row = found.get(name)
            if row is None:
                raise NotAsked(f"the target has no type {name[1]}")
            if not row["safe"]:
                raise NotAsked(f"it reads a value as {name[1]}, which may run somebody's code")
            if row["schema"] != "pg_catalog":
                each.names = (ast.String(row["schema"]), ast.String(name[1]))

    def _require_columns(self, table: Table, names: set[str]) -> None:
        for column in table.columns.values():
            if column.kind == "other" and (column.name in names or "*" in names):
                raise NotAsked(
                    f"{qualified(*table.name, column.name)} is of type {column.type}, "
                    "whose values are not PostgreSQL's own to compare"
                )

    def look_up(self, text: sql.Composable) -> Name | None:
        """Return the sequence that a text names where names without a schema lead to the script's."""
        question = sql.SQL(
            "SELECT n.nspname AS schema, c.relname AS name FROM pg_catalog.pg_class AS c"
            " JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace"
            " WHERE c.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass({})"
            " AND c.relkind OPERATOR(pg_catalog.=) 'S'"
        ).format(text)
        row = self._ask(question, search_path=sql.Identifier(self.schema).as_string())
        return (row["schema"], row["name"]) if row else None

    def row(self, question: sql.Composed) -> Row:
        """Put a question, with a time-out of its own; return its row. Raises NotAsked when the server refuses it."""
        row = self._ask(question)
        assert row is not None
        return row

    def _ask(self, question: sql.Composed, **settings: str) -> Row | None:
        limited = {"statement_timeout": str(TIMEOUT_MS), "lock_timeout": str(TIMEOUT_MS), **settings}
        try:
            with self.conn.transaction(force_rollback=True):
                self.conn.execute(
                    "SELECT set_config(name, value, true) FROM unnest(%s::text[], %s::text[]) AS s (name, value)",
                    (list(limited), list(limited.values())),
                )
                return self.conn.execute(question).fetchone()
        except psycopg.Error as error:
            if self.conn.closed or self.conn.broken or error.sqlstate is None:
                raise
            raise NotAsked(_refused(error.sqlstate)) from error


def empty_tables(conn: Connection, names: Iterable[Name]) -> frozenset[str]:
    """Return which of these tables have no row; one that may not be read is none of them."""
    asker = Asker(conn, "", temporary=frozenset())

    def is_empty(name: Name) -> bool:
        try:
            return asker.is_empty(asker.table(name))
        except NotAsked:
            return False

    return frozenset(qualified(*name) for name in names if is_empty(name))


def _refused(sqlstate: str) -> str:
    if sqlstate == "57014":
        return f"the question was not answered within {TIMEOUT_MS // 1000} s"
    if sqlstate == "42703":
        return "it names a column that the target does not have"
    return f"the server refuses the question (SQLSTATE {sqlstate})"


def _table(name: Name, row: Row) -> Table:
    columns = (
        Column(name=each[0], place=each[1], type=each[2], kind=each[3], not_null=each[4], computed=each[5])
        for each in row["columns"]
    )
    return Table(
        name=name,
        kind=row["kind"],
        columns={column.name: column for column in columns},
        keys={name: tuple(key) for name, key in row["keys"].items()},
        dropped=row["dropped"],
        filled=row["filled"],
    )
