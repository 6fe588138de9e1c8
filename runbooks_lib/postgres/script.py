"""An SQL script as PostgreSQL's own parser reads it: which statements, what they make, whether twice is once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pglast import ast, enums, parse_plpgsql, parse_sql
from pglast.parser import ParseError

from runbooks_lib.errors import MigrationError
from runbooks_lib.names import qualified

DUPLICATE = {
    "duplicate_object",
    "duplicate_table",
    "duplicate_schema",
    "duplicate_column",
    "duplicate_function",
}
IMPLICIT = {"found", "sqlstate", "sqlerrm"}  # the variables that every DO block with a handler has
EXPLICIT = "Remove it: the runner opens and ends the one transaction."


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One statement of a script.

    `kind` and `object` say what it makes ("table", "public.OAuthState"); "statement" and the tag when it makes
    nothing that has a name. `refused` says why it may not be run here, "" when it may, and `remedy` what to
    write instead. `alters` tells a statement that changes its object from one that creates it; `adds` names the
    columns or labels that it adds.
    """

    line: int
    text: str
    kind: str
    object: str
    refused: str = ""
    remedy: str = ""
    alters: bool = False
    adds: tuple[str, ...] = ()


def parse_script(text: str) -> tuple[Statement, ...]:
    """Parse a script into statements and judge each: idempotent, and fit for one transaction.

    Raises MigrationError, with the line, when PostgreSQL's parser does not understand the script, or when it
    holds no statement.
    Source: https://github.com/pganalyze/libpg_query (PostgreSQL's grammar), by pglast
    """
    try:
        raw = parse_sql(text)
    except ParseError as error:
        position = error.args[1] if len(error.args) > 1 and isinstance(error.args[1], int) else 0
        raise MigrationError(
            f"Line {_line(text, position)} of the SQL is not PostgreSQL: {error.args[0]}.",
            "Correct the file; nothing was executed.",
        ) from error
    if not raw:
        raise MigrationError(
            "The SQL file holds no statement.", "Write the baseline into it, or remove [baseline]."
        )
    return tuple(_statement(text, node) for node in raw)


def _statement(text: str, node: Any) -> Statement:
    start = node.stmt_location
    end = start + node.stmt_len if node.stmt_len else len(text)
    kind, name, refused, remedy = _judge(node.stmt)
    return Statement(
        line=_line(text, start),
        text=text[start:end],
        kind=kind,
        object=name,
        refused=refused,
        remedy=remedy,
        alters=isinstance(node.stmt, ast.AlterTableStmt | ast.AlterEnumStmt),
        adds=_added(node.stmt),
    )


def _added(node: Any) -> tuple[str, ...]:
    """Return the columns that ALTER TABLE adds, or the label that ALTER TYPE does."""
    match node:
        case ast.AlterTableStmt():
            return tuple(
                command.def_.colname
                for command in node.cmds or ()
                if command.subtype == enums.AlterTableType.AT_AddColumn
            )
        case ast.AlterEnumStmt() if node.newVal is not None and node.oldVal is None:
            return (node.newVal,)
        case _:
            return ()


def _judge(node: Any) -> tuple[str, str, str, str]:
    """Return kind, name, why it is refused ("" if not) and the remedy."""
    twice = "a second run would fail"
    match node:
        case ast.CreateStmt():
            return (
                "table",
                _relation(node.relation),
                *_unless(node.if_not_exists, twice, "CREATE TABLE IF NOT EXISTS …"),
            )
        case ast.IndexStmt() if node.concurrent:
            return (
                "index",
                _index(node),
                "CONCURRENTLY can't run in a transaction",
                "CREATE INDEX IF NOT EXISTS …, or a run of its own outside this phase",
            )
        case ast.IndexStmt():
            return (
                "index",
                _index(node),
                *_unless(node.if_not_exists, twice, "CREATE INDEX IF NOT EXISTS name …"),
            )
        case ast.CreateEnumStmt():
            remedy = "DO $$ BEGIN CREATE TYPE … EXCEPTION WHEN duplicate_object THEN NULL; END $$;"
            return "enum", _name(node.typeName), twice, remedy
        case ast.CreateSchemaStmt():
            return (
                "schema",
                qualified(str(node.schemaname)),
                *_unless(node.if_not_exists, twice, "CREATE SCHEMA IF NOT EXISTS …"),
            )
        case ast.CreateExtensionStmt():
            return (
                "extension",
                qualified(str(node.extname)),
                *_unless(node.if_not_exists, twice, "CREATE EXTENSION IF NOT EXISTS …"),
            )
        case ast.CreateSeqStmt():
            return (
                "sequence",
                _relation(node.sequence),
                *_unless(node.if_not_exists, twice, "CREATE SEQUENCE IF NOT EXISTS …"),
            )
        case ast.ViewStmt():
            return "view", _relation(node.view), *_unless(node.replace, twice, "CREATE OR REPLACE VIEW …")
        case ast.CreateFunctionStmt():
            return (
                "function",
                _name(node.funcname),
                *_unless(node.replace, twice, "CREATE OR REPLACE FUNCTION …"),
            )
        case ast.AlterTableStmt():
            return "table", _relation(node.relation), *_alter_table(node)
        case ast.AlterEnumStmt():
            guarded = node.newVal is not None and node.skipIfNewValExists
            return (
                "enum",
                _name(node.typeName),
                *_unless(guarded, twice, "ALTER TYPE … ADD VALUE IF NOT EXISTS …"),
            )
        case ast.InsertStmt():
            return (
                "row",
                _relation(node.relation),
                *_unless(
                    _does_nothing_on_conflict(node),
                    "a second run would insert or update again, or fail",
                    "INSERT … ON CONFLICT DO NOTHING",
                ),
            )
        case ast.DoStmt():
            return _do_block(node)
        case ast.CommentStmt() | ast.GrantStmt() | ast.AlterOwnerStmt():
            return "statement", type(node).__name__.removesuffix("Stmt"), "", ""
        case ast.TransactionStmt():
            return (
                "statement",
                "transaction control",
                "the script must not begin or end transactions",
                EXPLICIT,
            )
        case _:
            return (
                "statement",
                type(node).__name__.removesuffix("Stmt"),
                "it is not known to be idempotent",
                "Use a form with IF NOT EXISTS, or leave it out",
            )


def _unless(condition: Any, refused: str, remedy: str) -> tuple[str, str]:
    return ("", "") if condition else (refused, remedy)


def _does_nothing_on_conflict(node: Any) -> bool:
    clause = node.onConflictClause
    return clause is not None and clause.action == enums.OnConflictAction.ONCONFLICT_NOTHING


def _alter_table(node: Any) -> tuple[str, str]:
    for command in node.cmds:
        adds_column = command.subtype == enums.AlterTableType.AT_AddColumn and command.missing_ok
        if not adds_column:
            return (
                "a second run may fail or change something",
                "ALTER TABLE … ADD COLUMN IF NOT EXISTS …; constraints go into CREATE TABLE IF NOT EXISTS",
            )
    return "", ""


def _do_block(node: Any) -> tuple[str, str, str, str]:
    """Accept one shape of DO block: CREATE TYPE … AS ENUM, guarded by EXCEPTION WHEN duplicate_object."""
    options = {option.defname: option.arg.sval for option in node.args}
    body = _guarded_statement(options["as"]) if options.get("language", "plpgsql") == "plpgsql" else None
    if isinstance(body, ast.CreateEnumStmt):
        return "enum", _name(body.typeName), "", ""
    return (
        "statement",
        "DO block",
        "what a DO block does twice cannot be told",
        "DO $$ BEGIN CREATE TYPE … EXCEPTION WHEN duplicate_object THEN NULL; END $$;",
    )


def _guarded_statement(body: str) -> Any:
    """Return the one statement of `BEGIN statement; EXCEPTION WHEN duplicate_… THEN NULL; END`, else None.

    Nothing else may be there: no declaration (its default could call a function), no second statement, no
    statement in the handler, no handler for other errors.
    Source: https://github.com/pganalyze/libpg_query/blob/18-latest/src/pg_query_json_plpgsql.c
    """
    try:
        (function,) = parse_plpgsql("DO " + _dollar_quoted(body))
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


def _relation(node: Any) -> str:
    return qualified(node.schemaname or "public", node.relname)


def _index(node: Any) -> str:
    return qualified(node.relation.schemaname or "public", node.idxname or "(unnamed)")


def _name(parts: Any) -> str:
    names = [part.sval for part in parts]
    return qualified(*(names if len(names) > 1 else ["public", *names]))


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
