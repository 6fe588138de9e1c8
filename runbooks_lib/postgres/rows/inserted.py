"""Are the rows of an INSERT there? Asked by their key where they have one, else by all values that stay the same.

A value that is new each time (a generated id, the moment) is left out: no row can be found by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pglast import enums
from psycopg import sql

from runbooks_lib.names import qualified
from runbooks_lib.postgres.rows.asked import Asker, Column, Table
from runbooks_lib.postgres.rows.told import After, Done, Told
from runbooks_lib.postgres.rows.trees import NotAsked, ast, changes_with_time
from runbooks_lib.postgres.script.calls import every_node

_HAVE, _WANT = "have", "want"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """The rows that a statement inserts: a query, and the columns that its values are for, in their order."""

    table: Table
    query: sql.SQL
    columns: tuple[Column, ...]

    def want(self, name: str) -> sql.Identifier:
        """Return the value for a column. Raises NotAsked when it is one that is new each time."""
        for number, column in enumerate(self.columns):
            if column.name == name:
                return sql.Identifier(_WANT, f"c{number}")
        raise NotAsked(f"its rows are told apart by {name}, which is new each time, or a default")

    def has(self, names: Sequence[str]) -> bool:
        """Return whether there are values for all of these columns."""
        return set(names) <= {column.name for column in self.columns}


def insert(asker: Asker, node: Any, after: After) -> Told:
    """Tell whether the rows of an INSERT are there. Raises NotAsked."""
    table = asker.table(asker.name(node.relation))
    query = node.selectStmt
    if query is None:
        raise NotAsked("its row holds nothing but defaults")
    if node.withClause is not None:
        if query.withClause is not None:
            raise NotAsked("it has two WITH clauses")
        query.withClause = node.withClause
    if guards := _guards(asker, query, table):
        return _guarded(asker, query, guards, table, after)
    names = [target.name for target in node.cols] if node.cols else None
    if any(target.indirection for target in node.cols or ()):
        raise NotAsked("it sets a part of a column")
    return rows_there(asker, table, names, query, node.onConflictClause, after)


def rows_there(
    asker: Asker,
    table: Table,
    names: Sequence[str] | None,
    query: Any,
    conflict: Any,
    after: After,
) -> Told:
    """Tell whether the rows of a query are in a table, in the named columns (None: the first ones).

    `conflict` says when one counts as there although it is not the same. Raises NotAsked.
    """
    wanted = _wanted(asker, table, names, query)
    keyed = _any([_met(wanted, key) for key in table.keys.values() if wanted.has(key)])
    there = _there(asker, wanted, conflict, keyed)
    question = sql.SQL(
        "SELECT count(*) AS total, count(*) FILTER (WHERE NOT there) AS missing,"
        " count(*) FILTER (WHERE NOT there AND keyed) AS other"
        " FROM (SELECT {there} AS there, {keyed} AS keyed FROM {want}) AS asked"
    ).format(there=there, keyed=keyed, want=_numbered(wanted))
    row = asker.row(question)
    total, missing, other = row["total"], row["missing"], row["other"]
    if conflict is not None:
        other = 0  # a row under the same key is what it reckons with
    alike = conflict is None and not any(map(wanted.has, table.keys.values()))
    return _told(asker, table, after, total=total, missing=missing, other=other, beside=alike)


def _told(
    asker: Asker, table: Table, after: After, *, total: int, missing: int, other: int, beside: bool = False
) -> Told:
    """Tell it by numbers; `beside`: rows of its may stand several times, each made by another statement."""
    spelt = qualified(*table.name)
    if total == 0:
        none = "there is no row that it would insert"
        if where := after.written(asker.read):
            return Told(Done.NOT_JUDGED, f"{none} now; {where} may have written those that it read", 0)
        return Told(Done.NOTHING, none, 0)
    if missing == 0 and beside and (where := after.added(table)):
        return Told(Done.NOT_JUDGED, f"its {total} rows are in {spelt}; {where} may have added equal ones", 0)
    if missing == 0:
        return Told(Done.ALL, f"its {total} rows are in {spelt}", 0)
    lacking = f"{missing} of its {total} rows are not in {spelt}"
    if where := after.written({table.name}):
        return Told(Done.NOT_JUDGED, f"{lacking}; {where} may have changed them", missing)
    if other == missing:
        return Told(Done.NOT_JUDGED, f"{other} of its {total} rows are in {spelt} with other values", other)
    return Told(Done.NONE if missing == total and not other else Done.PART, lacking, missing)


def _there(asker: Asker, wanted: _Wanted, conflict: Any, keyed: sql.Composable) -> sql.Composable:
    """Return the condition under which a row counts as there; equal ones must stand as often as they are inserted."""
    equal = sql.SQL("(SELECT count(*) FROM {} AS have WHERE {}) >= want.copy").format(
        wanted.table.identifier, _same(wanted)
    )
    if conflict is None:
        return equal
    key = _conflict_key(wanted.table, conflict)
    if key is None:
        return sql.SQL("({} OR {})").format(keyed, equal)
    return _met(wanted, key, _updates(wanted, conflict))


def _same(wanted: _Wanted) -> sql.Composable:
    """Return the condition that a row has all values; by `=` where no NULL can be, which an index can answer."""
    keys = {name for key in wanted.table.keys.values() if wanted.has(key) for name in key}
    parts = []
    for number, column in enumerate(wanted.columns):
        have, want = sql.Identifier(_HAVE, column.name), sql.Identifier(_WANT, f"c{number}")
        if column.name in keys and column.not_null and column.kind == "plain":
            parts.append(sql.SQL("{} = {}").format(have, want))
        else:
            printed = "::pg_catalog.text" if column.kind == "printed" else ""
            parts.append(sql.SQL(f"{{}}{printed} IS NOT DISTINCT FROM {{}}{printed}").format(have, want))
    return sql.SQL(" AND ").join(parts)


def _met(wanted: _Wanted, key: Sequence[str], more: Sequence[sql.Composable] = ()) -> sql.Composable:
    """Return the condition that a row stands under the same key, and as `more` says."""
    equal = [sql.SQL("{} = {}").format(sql.Identifier(_HAVE, column), wanted.want(column)) for column in key]
    return sql.SQL("EXISTS (SELECT FROM {} AS have WHERE {})").format(
        wanted.table.identifier, sql.SQL(" AND ").join([*equal, *more])
    )


def _any(conditions: Sequence[sql.Composable]) -> sql.Composable:
    if not conditions:
        return sql.SQL("false")
    return sql.SQL("({})").format(sql.SQL(" OR ").join(conditions))


def _conflict_key(table: Table, conflict: Any) -> Sequence[str] | None:
    """Return the columns by which ON CONFLICT finds a row; None where it names none. Raises NotAsked."""
    infer = conflict.infer
    if infer is None:
        return None
    if infer.conname is not None:
        if infer.conname not in table.keys:
            raise NotAsked(f"the target has no unique key {infer.conname} that holds for every row")
        return table.keys[infer.conname]
    if infer.whereClause is not None or any(element.name is None for element in infer.indexElems):
        raise NotAsked("its ON CONFLICT names a condition or an expression")
    return [element.name for element in infer.indexElems]


def _updates(wanted: _Wanted, conflict: Any) -> list[sql.Composable]:
    """Return the conditions that a row has what DO UPDATE sets: values of the INSERT. Raises NotAsked."""
    if conflict.action == enums.OnConflictAction.ONCONFLICT_NOTHING:
        return []
    if conflict.whereClause is not None:
        raise NotAsked("its DO UPDATE has a condition")
    found: list[sql.Composable] = []
    for target in conflict.targetList:
        if changes_with_time(target.val):
            continue
        fields = target.val.fields if isinstance(target.val, ast.ColumnRef) else ()
        names = [part.sval for part in fields if isinstance(part, ast.String)]
        if len(names) != 2 or names[0] != "excluded" or target.indirection:
            raise NotAsked("its DO UPDATE sets something else than the values of the INSERT")
        if wanted.has([names[1]]):
            have = sql.Identifier(_HAVE, wanted.table.column(target.name).name)
            found.append(sql.SQL("{} IS NOT DISTINCT FROM {}").format(have, wanted.want(names[1])))
    return found


def _numbered(wanted: _Wanted) -> sql.Composable:
    """Return the rows as `want (c0, …, copy)`, of the columns' types; `copy` counts the equal ones from 1."""
    names = [sql.Identifier(f"c{number}") for number in range(len(wanted.columns))]
    types = [sql.SQL(column.type) for column in wanted.columns]
    typed = [sql.SQL("{0}::{1} AS {0}").format(*each) for each in zip(names, types, strict=True)]
    return sql.SQL(
        "(SELECT typed.*, row_number() OVER (PARTITION BY format('%s', typed)) AS copy"
        " FROM (SELECT {typed} FROM ({query}) AS given ({names})) AS typed) AS want"
    ).format(typed=sql.SQL(", ").join(typed), query=wanted.query, names=sql.SQL(", ").join(names))


def _wanted(asker: Asker, table: Table, names: Sequence[str] | None, query: Any) -> _Wanted:
    rows = query.valuesLists or (tuple(target.val for target in _leaf(query).targetList),)
    width = len(rows[0])
    if any(
        isinstance(value, ast.ColumnRef) and isinstance(value.fields[-1], ast.A_Star) for value in rows[0]
    ):
        raise NotAsked("its query has a *, which stands for other columns today")
    if names is None:
        if table.dropped:
            raise NotAsked("it names no columns, and the table has lost some since")
        names = list(table.columns)[:width]
    columns = [table.column(name) for name in names]
    keep = [at for at in range(width) if not any(_is_new(row[at]) for row in rows)]
    if not keep:
        raise NotAsked("every value of it is new each time, or a default")
    if len(keep) < width:
        _keep(query, keep)
    kept = tuple(columns[at] for at in keep)
    if other := next((column for column in kept if column.kind == "other"), None):
        raise NotAsked(f"{other.name} is of type {other.type}, which is not PostgreSQL's own to compare")
    return _Wanted(table=table, query=asker.spell(query), columns=kept)


def _leaf(query: Any) -> Any:
    while query.larg is not None:
        query = query.larg
    return query


def _is_new(value: Any) -> bool:
    return isinstance(value, ast.SetToDefault) or changes_with_time(value)


def _keep(query: Any, places: Sequence[int]) -> None:
    """Take the values at all other places out of a query. Raises NotAsked where that would change its rows."""
    if query.valuesLists:
        query.valuesLists = tuple(tuple(row[at] for at in places) for row in query.valuesLists)
        return
    if (
        query.op != enums.SetOperation.SETOP_NONE
        or query.distinctClause
        or query.groupClause
        or query.sortClause
    ):
        raise NotAsked("its query gives values that are new each time")
    query.targetList = tuple(query.targetList[at] for at in places)


def _guards(asker: Asker, query: Any, table: Table) -> list[Any]:
    """Return the conditions of a query that keep out what the table has already: NOT EXISTS, NOT IN."""
    return [part for part in _conjuncts(query.whereClause) if _keeps_out(asker, part, table)]


def _conjuncts(condition: Any) -> list[Any]:
    if isinstance(condition, ast.BoolExpr) and condition.boolop == enums.BoolExprType.AND_EXPR:
        return [part for each in condition.args for part in _conjuncts(each)]
    return [] if condition is None else [condition]


def _keeps_out(asker: Asker, part: Any, table: Table) -> bool:
    if not (isinstance(part, ast.BoolExpr) and part.boolop == enums.BoolExprType.NOT_EXPR):
        return False
    link = part.args[0]
    if not isinstance(link, ast.SubLink):
        return False
    read = [found for found in every_node(link.subselect) if isinstance(found, ast.RangeVar)]
    return any(asker.name(found) == table.name for found in read)


def _guarded(asker: Asker, query: Any, guards: Sequence[Any], table: Table, after: After) -> Told:
    """Tell by how many rows the query gives still, of those that it would give if the table were empty."""
    if query.op == enums.SetOperation.SETOP_NONE and not (query.distinctClause or query.groupClause):
        query.targetList = (ast.ResTarget(val=ast.A_Const(isnull=True)),)
    if changes_with_time(query):
        raise NotAsked("which rows it inserts depends on when, or by whom, it is run")
    counted = sql.SQL("(SELECT count(*) FROM ({}) AS given)")
    missing = counted.format(asker.spell(query))
    rest = tuple(part for part in _conjuncts(query.whereClause) if part not in guards)
    query.whereClause = ast.BoolExpr(boolop=enums.BoolExprType.AND_EXPR, args=rest) if len(rest) > 1 else None
    if len(rest) == 1:
        (query.whereClause,) = rest
    question = sql.SQL("SELECT {} AS missing, {} AS total").format(
        missing, counted.format(asker.spell(query))
    )
    row = asker.row(question)
    return _told(asker, table, after, total=row["total"], missing=row["missing"], other=0)
