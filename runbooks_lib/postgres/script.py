"""An SQL script as PostgreSQL's own parser reads it: which statements, what they make, whether twice is once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pglast import ast, enums, parse_plpgsql, parse_sql
from pglast.parser import ParseError

from runbooks_lib.errors import MigrationError

DUPLICATE = {
    "duplicate_object",
    "duplicate_table",
    "duplicate_schema",
    "duplicate_column",
    "duplicate_function",
}
EXPLICIT = "Remove it: the runner opens and ends the one transaction."


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One statement of a script.

    `kind` and `object` say what it makes ("table", "public.OAuthState"); "statement" and the tag when it makes
    nothing that has a name. `refused` says why it may not be run here, "" when it may, and `remedy` what to
    write instead.
    """

    line: int
    text: str
    kind: str
    object: str
    refused: str = ""
    remedy: str = ""


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
    start += _leading(text[start:end])
    kind, name, refused, remedy = _judge(node.stmt)
    return Statement(
        line=_line(text, start), text=text[start:end], kind=kind, object=name, refused=refused, remedy=remedy
    )


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
                str(node.schemaname),
                *_unless(node.if_not_exists, twice, "CREATE SCHEMA IF NOT EXISTS …"),
            )
        case ast.CreateExtensionStmt():
            return (
                "extension",
                str(node.extname),
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
                    node.onConflictClause is not None,
                    "a second run would insert again, or fail",
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
    refused = (
        "statement",
        "DO block",
        "what a DO block does twice cannot be told",
        "DO $$ BEGIN CREATE TYPE … EXCEPTION WHEN duplicate_object THEN NULL; END $$;",
    )
    body = next((a.arg.sval for a in node.args if a.defname == "as"), "")
    try:
        tree = parse_plpgsql("DO " + _dollar_quoted(body))
        inner = [parse_sql(text) for text in _statements_of(tree)]
    except (ParseError, json.JSONDecodeError):
        return refused
    conditions = set(_values_of(tree, "condname"))
    others = [
        k
        for k in _keys_of(tree)
        if k.startswith("PLpgSQL_stmt_")
        and k
        not in ("PLpgSQL_stmt_block", "PLpgSQL_stmt_execsql", "PLpgSQL_stmt_return", "PLpgSQL_stmt_null")
    ]
    if others or len(inner) != 1 or not conditions or not conditions <= DUPLICATE:
        return refused
    statement = inner[0][0].stmt
    if not isinstance(statement, ast.CreateEnumStmt):
        return refused
    return "enum", _name(statement.typeName), "", ""


def _dollar_quoted(body: str) -> str:
    tag = "$body$"
    while tag in body:
        tag = tag[:-1] + "x$"
    return tag + body + tag


def _keys_of(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield key
            yield from _keys_of(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _keys_of(value)


def _values_of(tree: Any, wanted: str) -> Iterator[Any]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            if key == wanted:
                yield value
            yield from _values_of(value, wanted)
    elif isinstance(tree, list):
        for value in tree:
            yield from _values_of(value, wanted)


def _statements_of(tree: Any) -> Iterator[str]:
    for statement in _values_of(tree, "sqlstmt"):
        yield from _values_of(statement, "query")


def _relation(node: Any) -> str:
    return f"{node.schemaname or 'public'}.{node.relname}"


def _index(node: Any) -> str:
    return f"{node.relation.schemaname or 'public'}.{node.idxname or '(unnamed)'}"


def _name(parts: Any) -> str:
    names = [part.sval for part in parts]
    return ".".join(names if len(names) > 1 else ["public", *names])


def _leading(text: str) -> int:
    """Return how many characters of white space and comments stand before the statement."""
    position = 0
    while position < len(text):
        if text[position].isspace():
            position += 1
        elif text.startswith("--", position):
            newline = text.find("\n", position)
            position = len(text) if newline < 0 else newline
        elif text.startswith("/*", position):
            close = text.find("*/", position)
            position = len(text) if close < 0 else close + 2
        else:
            break
    return position


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
