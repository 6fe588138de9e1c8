"""Does the effect of an UPDATE, a DELETE or a TRUNCATE stand? Asked by how many rows it would still change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from pglast import enums
from psycopg import sql

from runbooks_lib.names import qualified
from runbooks_lib.postgres.rows.asked import Asker, Table
from runbooks_lib.postgres.rows.told import After, Done, Told
from runbooks_lib.postgres.rows.trees import (
    NotAsked,
    ast,
    changes_with_time,
    columns_named,
    read_as,
)
from runbooks_lib.postgres.script.calls import every_node
from runbooks_lib.postgres.script.data_statements import How


class _Set(NamedTuple):
    """A column that an UPDATE sets, and what to."""

    column: str
    value: Any


def update(asker: Asker, node: Any, after: After) -> Told:
    """Tell whether the rows that an UPDATE looks for have its values. Raises NotAsked."""
    table = asker.table(asker.name(node.relation))
    if asker.is_empty(table):
        return _empty(table)
    sets = _sets(node)
    _require_steady((node.whereClause, node.fromClause, node.withClause))
    matched, still = _count(asker, table, node, node.fromClause, sets)
    if matched == 0:
        return _found_nothing(asker, table, after, (node.whereClause, node.fromClause))
    of = f"of the {matched} rows of {qualified(*table.name)} that it looks for"
    if still == 0:
        if all(changes_with_time(each.value) for each in sets):
            return Told(Done.NOT_JUDGED, f"its values are others each time, and none {of} lacks one")
        return Told(Done.ALL, f"all {of} have its values", 0)
    if where := after.written({table.name}, columns_named(node.whereClause) | {each.column for each in sets}):
        return Told(Done.NOT_JUDGED, f"{still} {of} have other values; {where} may have written them", still)
    if _depends_on_itself(node, sets):
        return Told(Done.NOT_JUDGED, f"it computes values from those that it replaces: {still} {of}", still)
    return Told(Done.NONE if still == matched else Done.PART, f"{still} {of} have other values", still)


def delete(asker: Asker, node: Any, after: After) -> Told:
    """Tell whether rows still match a DELETE. Raises NotAsked."""
    table = asker.table(asker.name(node.relation))
    if asker.is_empty(table):
        return _empty(table)
    if node.whereClause is None:
        return Told(Done.NOT_JUDGED, f"rows stand in {qualified(*table.name)}; they may have come after it")
    _require_steady((node.whereClause, node.usingClause, node.withClause))
    matched, _ = _count(asker, table, node, node.usingClause, ())
    if matched == 0:
        return _found_nothing(asker, table, after, (node.whereClause, node.usingClause))
    still = f"{matched} rows of {qualified(*table.name)} match its WHERE"
    if where := after.written({table.name}, hows=(How.WRITES, How.ADDS)):
        return Told(Done.NOT_JUDGED, f"{still}; {where} may have written them", matched)
    return Told(Done.NONE, f"{still}, still or again", matched)


def truncate(asker: Asker, node: Any, after: After) -> Told:
    """Tell whether the tables of a TRUNCATE are empty. Raises NotAsked."""
    tables = [asker.table(asker.name(relation)) for relation in node.relations]
    filled = [qualified(*table.name) for table in tables if not asker.is_empty(table)]
    if filled:
        return Told(Done.NOT_JUDGED, f"rows stand in {', '.join(filled)}; they may have come after it")
    return Told(Done.NOTHING, "its tables are empty", 0)


def _empty(table: Table) -> Told:
    return Told(
        Done.NOTHING, f"{qualified(*table.name)} is empty: there is no row that it could have changed", 0
    )


def _found_nothing(asker: Asker, table: Table, after: After, looked_for: Any) -> Told:
    """Tell that it finds no row, unless that may be the doing of a later statement, in any table that it reads."""
    none = f"no row of {qualified(*table.name)} matches its WHERE"
    if where := after.written(asker.read, columns_named(looked_for)):
        return Told(Done.NOT_JUDGED, f"{none} now; {where} may have written them since", 0)
    return Told(Done.NOTHING, none, 0)


def _require_steady(parts: Any) -> None:
    if changes_with_time(parts):
        raise NotAsked("which rows it changes depends on when, or by whom, it is run")


def _sets(node: Any) -> list[_Set]:
    found = []
    for target in node.targetList:
        value = target.val
        if target.indirection:
            raise NotAsked(f"it sets a part of {target.name}")
        if isinstance(value, ast.MultiAssignRef):
            if not isinstance(value.source, ast.RowExpr):
                raise NotAsked("it sets several columns to the row of a query")
            value = value.source.args[value.colno - 1]
        if isinstance(value, ast.SetToDefault):
            raise NotAsked(f"it sets {target.name} to its default")
        found.append(_Set(target.name, value))
    return found


def _depends_on_itself(node: Any, sets: Sequence[_Set]) -> bool:
    """Return whether a new value is computed from a column that is set: then another run changes it again."""
    columns = {each.column for each in sets}
    own = {node.relation.relname, node.relation.alias.aliasname if node.relation.alias else None}
    return any(
        reference[-1] in {*columns, "*"} and (len(reference) == 1 or reference[-2] in own)
        for each in sets
        for reference in _references(each.value)
    )


def _references(node: Any) -> list[tuple[str, ...]]:
    return [
        tuple(part.sval if isinstance(part, ast.String) else "*" for part in found.fields)
        for found in every_node(node)
        if isinstance(found, ast.ColumnRef)
    ]


def _count(asker: Asker, table: Table, node: Any, sources: Any, sets: Sequence[_Set]) -> tuple[int, int]:
    """Return how many rows of the table a statement finds, and how many of them have not the values that it sets.

    A row that several rows of `sources` match gets the values of any of them.
    """
    own = node.relation.alias.aliasname if node.relation.alias else node.relation.relname
    targets = [_column(own, "tableoid"), _column(own, "ctid")]
    same: list[sql.Composable] = []
    for number, each in enumerate(sets):
        column = table.column(each.column)
        have, want = sql.Identifier(f"have{number}"), sql.Identifier(f"want{number}")
        if changes_with_time(each.value):  # all that is known of its value is that it is one
            targets += [_column(own, column.name), ast.A_Const(isnull=True)]
            same.append(sql.SQL("({} IS NOT NULL OR {} IS NOT NULL)").format(have, want))
            continue
        if column.kind == "other":
            raise NotAsked(
                f"{column.name} is of type {column.type}, which is not PostgreSQL's own to compare"
            )
        printed = "::pg_catalog.text" if column.kind == "printed" else ""
        targets += [_column(own, column.name), read_as(each.value, column.type)]
        same.append(sql.SQL(f"{{}}{printed} IS NOT DISTINCT FROM {{}}{printed}").format(have, want))
    found = ast.SelectStmt(
        targetList=tuple(ast.ResTarget(val=target) for target in targets),
        fromClause=(node.relation, *(sources or ())),
        whereClause=node.whereClause,
        withClause=node.withClause,
        groupDistinct=False,
        limitOption=enums.LimitOption.LIMIT_OPTION_DEFAULT,
        op=enums.SetOperation.SETOP_NONE,
        all=False,
    )
    names = ["part", "place", *(f"{what}{n}" for n in range(len(sets)) for what in ("have", "want"))]
    question = sql.SQL(
        "SELECT count(*) AS matched, count(*) FILTER (WHERE NOT done) AS still FROM ("
        "SELECT bool_or({same}) AS done FROM ({found}) AS found ({names}) GROUP BY part, place) AS rows"
    ).format(
        same=sql.SQL(" AND ").join(same) if same else sql.SQL("true"),
        found=asker.spell(found),
        names=sql.SQL(", ").join(map(sql.Identifier, names)),
    )
    row = asker.row(question)
    return row["matched"], row["still"]


def _column(table: str, name: str) -> Any:
    return ast.ColumnRef(fields=(ast.String(table), ast.String(name)))
