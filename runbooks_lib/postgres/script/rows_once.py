"""Does a statement that changes rows find nothing to do on a second run? Told from its form; the rehearsal counts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pglast import ast, enums

from runbooks_lib.names import qualified
from runbooks_lib.postgres.script.calls import every_node, in_trees, table_name

INSERT = "INSERT … ON CONFLICT DO NOTHING"
FILL = "UPDATE t SET c = … WHERE c IS NULL, or WHERE c IS DISTINCT FROM what is set: not of c, nor of t's other rows"
_AGAIN = "a second run would insert or update again, or fail"


def why_again(node: Any) -> tuple[str, str]:
    """Return why an INSERT or UPDATE would change rows on a second run, and what to write instead; "" when it won't.

    Accepted are ON CONFLICT DO NOTHING, a SELECT of what is NOT EXISTS in the same table, and a WHERE that no longer
    finds a row which has been set; nothing beside it may change rows: a WITH can delete and update. An UPDATE reads its
    table nowhere else: what that says is another thing when the rows are set.
    """
    form = INSERT if isinstance(node, ast.InsertStmt) else FILL
    beside = in_trees(getattr(node, name) for name in node.__slots__ if name != "relation")
    if beside.writes:
        names = ", ".join(qualified(*name) for name in sorted(beside.changes))
        remedy = f"{form} alone: what changes other rows belongs into a migration of its own"
        return f"its WITH changes rows of {names}, and a second run would again", remedy
    if _is_of_the_system(node.relation):
        return "it writes into the system catalogue", "Use the statement that does it"
    reads_itself = table_name(node.relation) in beside.reads
    if isinstance(node, ast.InsertStmt):
        once = _inserts_once(node, reads_itself=reads_itself)
    else:
        once = not reads_itself and _sets_once(node)
    return ("", "") if once else (_AGAIN, form)


def _is_of_the_system(table: Any) -> bool:
    """Return whether a table is the system's, which a name that begins with pg_ finds first."""
    if table.schemaname is None:
        return bool(table.relname.startswith("pg_"))
    return table.schemaname in ("pg_catalog", "information_schema")


def _inserts_once(node: Any, *, reads_itself: bool) -> bool:
    clause = node.onConflictClause
    if clause is not None:
        return bool(clause.action == enums.OnConflictAction.ONCONFLICT_NOTHING)
    return reads_itself and any(  # a WITH of that name is not the table
        _is_missing(each, node.relation)
        for each in _conditions(getattr(node.selectStmt, "whereClause", None))
    )


def _is_missing(condition: Any, table: Any) -> bool:
    """Return whether a condition is NOT EXISTS (SELECT … FROM the table WHERE …)."""
    match condition:
        case ast.BoolExpr(boolop=enums.BoolExprType.NOT_EXPR, args=(ast.SubLink() as link,)):
            query: Any = link.subselect
            exists = link.subLinkType == enums.SubLinkType.EXISTS_SUBLINK and query.whereClause is not None
            asked = [table_name(each) for each in query.fromClause or () if isinstance(each, ast.RangeVar)]
            return exists and table_name(table) in asked
    return False


def _sets_once(node: Any) -> bool:
    """Return whether a condition of the WHERE does not hold of a row that has the values which are set."""
    values = {each.name: each.val for each in node.targetList if not each.indirection}
    own = node.relation.alias.aliasname if node.relation.alias else node.relation.relname
    plain = len(values) == len(node.targetList) and not any(
        isinstance(value, ast.MultiAssignRef | ast.SetToDefault) for value in values.values()
    )
    changing = {*values, own, "*"}  # the row as a whole, too
    computed = any(_column(each, own) in changing for value in values.values() for each in every_node(value))
    return (
        plain and not computed and any(_is_over(each, values, own) for each in _conditions(node.whereClause))
    )


def _is_over(condition: Any, values: dict[str, Any], own: str) -> bool:
    if isinstance(condition, ast.NullTest) and condition.nulltesttype == enums.NullTestType.IS_NULL:
        column = _column(condition.arg, own)
        return column in values and not _is_null(values[column])
    if not isinstance(condition, ast.A_Expr):
        return False
    kind, (operator, *_) = condition.kind, reversed(condition.name or ())
    unequal = kind == enums.A_Expr_Kind.AEXPR_OP and getattr(operator, "sval", "") == "<>"
    return (unequal or kind == enums.A_Expr_Kind.AEXPR_DISTINCT) and _compares(condition, values, own)


def _compares(condition: Any, values: dict[str, Any], own: str) -> bool:
    """Return whether a condition compares a column with what it is set to, which is the same on every run."""
    for column, value in ((condition.lexpr, condition.rexpr), (condition.rexpr, condition.lexpr)):
        name = _column(column, own)
        if name in values and values[name] == value:
            return not in_trees((value,)).changes_with_time
    return False


def _is_null(value: Any) -> bool:
    while isinstance(value, ast.TypeCast):
        value = value.arg
    return isinstance(value, ast.A_Const) and bool(value.isnull)


def _conditions(where: Any) -> Iterator[Any]:
    """Yield what a WHERE demands, each part that AND joins."""
    if isinstance(where, ast.BoolExpr) and where.boolop == enums.BoolExprType.AND_EXPR:
        for each in where.args or ():
            yield from _conditions(each)
    elif where is not None:
        yield where


def _column(node: Any, own: str) -> str | None:
    """Return the name of a column of the table itself, None for anything else."""
    if not isinstance(node, ast.ColumnRef):
        return None
    fields = [part.sval if isinstance(part, ast.String) else "*" for part in node.fields or ()]
    return fields[-1] if len(fields) == 1 or fields[-2] == own else None
