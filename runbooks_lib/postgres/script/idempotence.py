"""May a statement run twice, and in one transaction? Told from its parse tree alone, before any database is asked."""

from __future__ import annotations

from typing import Any, NamedTuple

from pglast import ast, enums, parse_plpgsql, parse_sql
from pglast.parser import ParseError

from runbooks_lib.names import qualified
from runbooks_lib.postgres.script.calls import in_trees, table_name

DUPLICATE = {
    "duplicate_object",
    "duplicate_table",
    "duplicate_schema",
    "duplicate_column",
    "duplicate_function",
}
IMPLICIT = {"found", "sqlstate", "sqlerrm"}  # the variables that every DO block with a handler has
TWICE = "a second run would fail"
GUARDED = "DO $$ BEGIN CREATE TYPE … EXCEPTION WHEN duplicate_object THEN NULL; END $$;"
INSERT = "INSERT … ON CONFLICT DO NOTHING"


class Judged(NamedTuple):
    """What a statement makes, why it is refused ("" when it is not), and what to write instead."""

    kind: str
    object: str
    refused: str = ""
    remedy: str = ""

    def unless(self, condition: Any, refused: str, remedy: str) -> Judged:
        """Return the same, refused unless the condition holds."""
        return self if condition else self._replace(refused=refused, remedy=remedy)


def judge_tree(node: Any) -> Judged:
    """Judge one statement's tree: idempotent in its form, fit for one transaction, and nothing else hidden in it."""
    match node:
        case ast.InsertStmt():
            return _insert(node)
        case ast.AlterTableStmt():
            return _alter_table(node)
        case ast.AlterEnumStmt():
            guarded = node.newVal is not None and node.skipIfNewValExists
            judged = Judged("enum", listed(node.typeName))
            return judged.unless(guarded, TWICE, "ALTER TYPE … ADD VALUE IF NOT EXISTS …")
        case ast.DoStmt():
            return _do_block(node)
        case ast.CommentStmt() | ast.GrantStmt() | ast.AlterOwnerStmt() | ast.AlterDefaultPrivilegesStmt():
            return Judged("statement", _tag(node))
        case ast.TransactionStmt():
            remedy = "Remove it: the runner opens and ends the one transaction."
            return Judged(
                "statement", "transaction control", "the script must not begin or end transactions", remedy
            )
        case _:
            remedy = "Use a form with IF NOT EXISTS, or leave it out"
            unknown = Judged("statement", _tag(node), "it is not known to be idempotent", remedy)
            return _creates(node) or unknown


def _creates(node: Any) -> Judged | None:
    """Judge a statement that makes something with a name; None for any other."""
    match node:
        case ast.CreateStmt():
            judged, form = Judged("table", relation(node.relation)), "CREATE TABLE IF NOT EXISTS …"
            return judged.unless(node.if_not_exists, TWICE, form)
        case ast.IndexStmt() if node.concurrent:
            form = "CREATE INDEX IF NOT EXISTS …, or a run of its own outside this phase"
            return Judged("index", _index(node), "CONCURRENTLY can't run in a transaction", form)
        case ast.IndexStmt():
            judged, form = Judged("index", _index(node)), "CREATE INDEX IF NOT EXISTS name …"
            return judged.unless(node.if_not_exists, TWICE, form)
        case ast.CreateEnumStmt():
            return Judged("enum", listed(node.typeName), TWICE, GUARDED)
        case ast.CreateSchemaStmt():
            judged, form = Judged("schema", qualified(str(node.schemaname))), "CREATE SCHEMA IF NOT EXISTS …"
            return judged.unless(node.if_not_exists, TWICE, form)
        case ast.CreateExtensionStmt():
            judged, form = (
                Judged("extension", qualified(str(node.extname))),
                "CREATE EXTENSION IF NOT EXISTS …",
            )
            return judged.unless(node.if_not_exists, TWICE, form)
        case ast.CreateSeqStmt():
            judged, form = Judged("sequence", relation(node.sequence)), "CREATE SEQUENCE IF NOT EXISTS …"
            return judged.unless(node.if_not_exists, TWICE, form)
        case ast.ViewStmt():
            return Judged("view", relation(node.view)).unless(node.replace, TWICE, "CREATE OR REPLACE VIEW …")
        case ast.CreateFunctionStmt():
            judged, form = Judged("function", listed(node.funcname)), "CREATE OR REPLACE FUNCTION …"
            return judged.unless(node.replace, TWICE, form)
        case _:
            return None


def _tag(node: Any) -> str:
    return type(node).__name__.removesuffix("Stmt")


def _insert(node: Any) -> Judged:
    """Accept ON CONFLICT DO NOTHING, and nothing beside it that changes rows: a WITH can delete and update."""
    judged = Judged("row", relation(node.relation))
    beside = in_trees((node.selectStmt, node.withClause, node.onConflictClause, node.returningClause))
    if beside.writes:
        names = ", ".join(qualified(*name) for name in sorted(beside.changes))
        remedy = f"{INSERT} alone: what changes other rows belongs into a migration of its own"
        return judged.unless(False, f"its WITH changes rows of {names}, and a second run would again", remedy)
    if node.relation.schemaname in ("pg_catalog", "information_schema"):
        return judged.unless(False, "it writes into the system catalogue", "Use the statement that does it")
    clause = node.onConflictClause
    nothing = clause is not None and clause.action == enums.OnConflictAction.ONCONFLICT_NOTHING
    return judged.unless(nothing, "a second run would insert or update again, or fail", INSERT)


def _alter_table(node: Any) -> Judged:
    adds = all(c.subtype == enums.AlterTableType.AT_AddColumn and c.missing_ok for c in node.cmds)
    return Judged("table", relation(node.relation)).unless(
        adds,
        "a second run may fail or change something",
        "ALTER TABLE … ADD COLUMN IF NOT EXISTS …; constraints go into CREATE TABLE IF NOT EXISTS",
    )


def _do_block(node: Any) -> Judged:
    """Accept one shape of DO block: CREATE TYPE … AS ENUM, guarded by EXCEPTION WHEN duplicate_object."""
    body = guarded_statement(node)
    if isinstance(body, ast.CreateEnumStmt):
        return Judged("enum", listed(body.typeName))
    return Judged("statement", "DO block", "what a DO block does twice cannot be told", GUARDED)


def guarded_statement(node: Any) -> Any:
    """Return the one statement of a PL/pgSQL block that ignores duplicates, None when the block has another shape.

    Nothing else may be there: no declaration (its default could call a function), no second statement, no
    statement in the handler, no handler for other errors.
    Source: https://github.com/pganalyze/libpg_query/blob/18-latest/src/pg_query_json_plpgsql.c
    """
    options = {option.defname: option.arg.sval for option in node.args}
    if options.get("language", "plpgsql") != "plpgsql":
        return None
    try:
        (function,) = parse_plpgsql("DO " + _dollar_quoted(options["as"]))
        function = function["PLpgSQL_function"]
        variables = [datum["PLpgSQL_var"] for datum in function["datums"]]
        if any(v["refname"] not in IMPLICIT or "default_val" in v for v in variables):
            return None
        inner, returns = function["action"]["PLpgSQL_stmt_block"]["body"]
        if list(returns) != ["PLpgSQL_stmt_return"]:
            return None
        block = inner["PLpgSQL_stmt_block"]
        handlers = block["exceptions"]["PLpgSQL_exception_block"]["exc_list"]
        if not all(_ignores_duplicates(handler["PLpgSQL_exception"]) for handler in handlers):
            return None
        (statement,) = block["body"]
        (parsed,) = parse_sql(statement["PLpgSQL_stmt_execsql"]["sqlstmt"]["PLpgSQL_expr"]["query"])
    except (ParseError, ValueError, KeyError):  # not PL/pgSQL, or of another shape
        return None
    return parsed.stmt


def _ignores_duplicates(handler: Any) -> bool:
    conditions = {condition["PLpgSQL_condition"]["condname"] for condition in handler["conditions"]}
    actions = {kind for action in handler.get("action", ()) for kind in action}
    return conditions <= DUPLICATE and actions <= {"PLpgSQL_stmt_null"}


def _dollar_quoted(body: str) -> str:
    tag = "$body$"
    while tag in body:
        tag = tag[:-1] + "x$"
    return tag + body + tag


def relation(node: Any) -> str:
    """Return the name of a RangeVar."""
    return qualified(*table_name(node))


def _index(node: Any) -> str:
    return qualified(node.relation.schemaname or "public", node.idxname or "(unnamed)")


def listed(names: Any) -> str:
    """Return the name that a list of nodes spells; without a schema it is public."""
    spelt = [part.sval for part in names]
    return qualified(*(spelt if len(spelt) > 1 else ["public", *spelt]))
