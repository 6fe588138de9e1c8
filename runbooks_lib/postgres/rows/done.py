"""Does the effect of a statement that changes rows stand in a target? Asked read-only, and told with its reason.

What is asked reads tables, by PostgreSQL's own functions alone. What can't be asked so is not judged, and never taken
for done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pglast import enums

from runbooks_lib.names import qualified
from runbooks_lib.postgres.rows import changed, inserted
from runbooks_lib.postgres.rows.asked import Asker, Lacking, Table
from runbooks_lib.postgres.rows.sequences import stands_at
from runbooks_lib.postgres.rows.told import After, Done, Script, Told, after
from runbooks_lib.postgres.rows.trees import NotAsked, ast, own_name, parsed
from runbooks_lib.postgres.script.data_statements import DataStatement, sets_path, temporary
from runbooks_lib.postgres.session.connect import Connection

__all__ = ["Done", "Judged", "judge_data", "not_judged"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Whether a statement's effect stands, why that is said, and how many rows are missing or would be changed yet."""

    statement: DataStatement
    done: Done
    why: str
    rows: int | None


def not_judged(*, line: int, tag: str, words: str, text: str, at: int, why: str) -> Judged:
    """Return a statement of which nothing tells what it left in the rows, and why not."""
    statement = DataStatement(line=line, tag=tag, words=words, text=text, table=None, at=at, script="")
    return Judged(statement=statement, done=Done.NOT_JUDGED, why=why, rows=None)


def judge_data(
    conn: Connection,
    statements: Sequence[DataStatement],
    *,
    schema: str,
    later: Sequence[Script],
    before: Sequence[Script] = (),
) -> tuple[Judged, ...]:
    """Judge statements of one script by what a database holds; call it inside `Sessions.snapshot`.

    `schema` is where the script's names without one lead. `later` are names and texts of the scripts that may have
    run after it: what they write again, drop or rename can't be told from what was never done. `before` are those
    before it: they may have added the same rows.
    Reads tables, each question with a time-out of its own; writes nothing, and calls nobody's function but
    PostgreSQL's. Raises psycopg errors when the session is lost.
    """
    return tuple(_judge(conn, each, schema, later, before) for each in statements)


def _judge(
    conn: Connection,
    statement: DataStatement,
    schema: str,
    later: Sequence[Script],
    before: Sequence[Script],
) -> Judged:
    asker = Asker(
        conn,
        schema,
        temporary=temporary(statement.script),
        path_set=sets_path(statement.script, statement.at),
    )
    came_after = after(statement, schema, later, before)
    try:
        told = _told(asker, statement, came_after)
    except Lacking as lacking:
        told = _lacks(lacking, came_after)
    except NotAsked as not_asked:
        told = Told(Done.NOT_JUDGED, str(not_asked))
    return Judged(statement=statement, done=told.done, why=told.why, rows=told.rows)


def _told(asker: Asker, statement: DataStatement, after: After) -> Told:
    if statement.tag not in _KINDS:
        raise NotAsked(_WHY_NOT.get(statement.tag, "its kind is not judged"))
    node = parsed(statement.text)
    relation = getattr(node, "relation", None)
    if isinstance(relation, ast.RangeVar):
        if asker.is_temporary(relation):
            return Told(Done.NOTHING, "it works on a temporary table, which is gone")
        _require_the_same(asker.table(asker.name(relation)), after)
    return _KINDS[statement.tag](asker, node, after)


def _lacks(lacking: Lacking, after: After) -> Told:
    """Tell of a table or column that is not there: it was taken away since, or what makes it has not run."""
    if where := after.moved(lacking.table, lacking.column):
        return Told(Done.NOT_JUDGED, f"{lacking}: {where} drops or renames it")
    return Told(Done.NONE, str(lacking))


def _require_the_same(table: Table, after: After) -> None:
    if where := after.replaced(table.name):
        raise NotAsked(f"{where} drops or renames its table; one of its name is another one")


def _create_as(asker: Asker, node: Any, after: After) -> Told:
    if node.objtype == enums.ObjectType.OBJECT_MATVIEW:
        return _filled(asker, node, after)
    return _made(asker, node.into, node.query, after)


def _made(asker: Asker, into: Any, query: Any, after: After) -> Told:
    """Tell whether the rows of a query are in the table that it makes."""
    if asker.is_temporary(into.rel):
        return Told(Done.NOTHING, "it makes a temporary table, which is gone")
    table = asker.table(asker.name(into.rel))
    _require_the_same(table, after)
    if not isinstance(query, ast.SelectStmt):
        raise NotAsked("it executes a prepared statement")
    names = [name.sval for name in into.colNames] if into.colNames else None
    return inserted.rows_there(asker, table, names, query, None, after)


def _filled(asker: Asker, node: Any, after: After) -> Told:
    """Tell whether a materialized view has rows at all: how old they are can't be told."""
    made = node.into.rel if isinstance(node, ast.CreateTableAsStmt) else node.relation
    view = asker.table(asker.name(made))
    if not view.filled:
        return Told(Done.NONE, f"{qualified(*view.name)} was never filled")
    if isinstance(node, ast.CreateTableAsStmt):
        return Told(Done.ALL, f"{qualified(*view.name)} is filled", 0)
    return Told(Done.NOT_JUDGED, f"{qualified(*view.name)} is filled, but when it was can't be told")


def _select(asker: Asker, node: Any, after: After) -> Told:
    if into := node.intoClause:
        node.intoClause = None
        return _made(asker, into, node, after)
    values = [target.val for target in node.targetList or ()]
    calls = [own_name(value.funcname) if isinstance(value, ast.FuncCall) else None for value in values]
    if calls == ["set_config"]:
        return Told(Done.NOTHING, "it sets a setting of its own session")
    if calls == ["setval"]:
        return stands_at(asker, node, after)
    asker.spell(node)
    return Told(Done.NOTHING, "it calls PostgreSQL's own functions alone, which change nothing")


_KINDS: Mapping[str, Callable[[Asker, Any, After], Told]] = {
    "CreateTableAsStmt": _create_as,
    "DeleteStmt": changed.delete,
    "InsertStmt": inserted.insert,
    "RefreshMatViewStmt": _filled,
    "SelectStmt": _select,
    "TruncateStmt": changed.truncate,
    "UpdateStmt": changed.update,
}
_WHY_NOT = {
    "": "PostgreSQL's parser does not understand the script",
    "AlterSeqStmt": "where a sequence stood when it was set can't be told from where it stands",
    "AlterTableStmt": "what its USING computed can't be told from other values",
    "CallStmt": "a procedure may do anything",
    "CopyStmt": "its rows stand outside the script",
    "DoStmt": "its block changes rows, or runs what can't be read",
    "ExecuteStmt": "it executes a prepared statement",
    "ExplainStmt": "it executes a statement",
    "MergeStmt": "which rows a MERGE would still change is not asked",
}
