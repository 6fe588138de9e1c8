"""May a statement run twice, and in one transaction? Told from its parse tree alone, before any database is asked."""

from __future__ import annotations

from typing import Any, NamedTuple

from pglast import ast, enums, parse_plpgsql, parse_sql
from pglast.enums import AlterTableType as Alter
from pglast.enums import ObjectType
from pglast.parser import ParseError

from runbooks_lib.names import qualified
from runbooks_lib.postgres.script.calls import table_name
from runbooks_lib.postgres.script.guards import IMPLICIT, dollar_quoted, exchanged, held_by
from runbooks_lib.postgres.script.rows_once import why_again

DUPLICATE = {
    "duplicate_object",
    "duplicate_table",
    "duplicate_schema",
    "duplicate_column",
    "duplicate_function",
}
TWICE = "a second run would fail"
GUARDED = "DO $$ BEGIN CREATE TYPE … EXCEPTION WHEN duplicate_object THEN NULL; END $$;"
ROW, VALUES = "row", "values"  # the kinds of what changes rows: it makes nothing that has a name
ALTER = (
    "ALTER TABLE … ADD COLUMN IF NOT EXISTS …, DROP COLUMN IF EXISTS …, SET or DROP of a DEFAULT or NOT NULL; what is "
    "added or changed otherwise goes behind a guard, as `runbooks phase baseline` writes it"
)
# What leaves the same behind, however often it is run.
_SETTINGS = frozenset(
    {
        Alter.AT_ColumnDefault,
        Alter.AT_SetNotNull,
        Alter.AT_DropNotNull,
        Alter.AT_EnableRowSecurity,
        Alter.AT_DisableRowSecurity,
        Alter.AT_ForceRowSecurity,
        Alter.AT_NoForceRowSecurity,
        Alter.AT_ReplicaIdentity,
    }
)
_DROPS = frozenset({Alter.AT_DropColumn, Alter.AT_DropConstraint})
DROPPED = {
    ObjectType.OBJECT_TABLE: "table",
    ObjectType.OBJECT_INDEX: "index",
    ObjectType.OBJECT_VIEW: "view",
    ObjectType.OBJECT_SEQUENCE: "sequence",
    ObjectType.OBJECT_TYPE: "type",
    ObjectType.OBJECT_DOMAIN: "type",
    ObjectType.OBJECT_FUNCTION: "function",
    ObjectType.OBJECT_TRIGGER: "trigger",
    ObjectType.OBJECT_POLICY: "policy",
}


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
        case ast.InsertStmt() | ast.UpdateStmt():
            kind = ROW if isinstance(node, ast.InsertStmt) else VALUES
            return Judged(kind, relation(node.relation), *why_again(node))
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
        case ast.DropStmt() if node.removeType in DROPPED:
            return _drop(node)
        case ast.AlterSeqStmt(options=[ast.DefElem(defname="owned_by")]):
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
        case ast.CreateTrigStmt():
            judged = Judged("trigger", attached(node.relation, node.trigname))
            return judged.unless(node.replace and not node.isconstraint, TWICE, "CREATE OR REPLACE TRIGGER …")
        case _:
            return None


def _tag(node: Any) -> str:
    return type(node).__name__.removesuffix("Stmt")


def _alter_table(node: Any) -> Judged:
    """Accept what adds or drops only what is not there or is there, and settings, which a second run leaves as is."""
    added = {c.def_.colname for c in node.cmds if c.subtype == Alter.AT_AddColumn}
    dropped = {c.name for c in node.cmds if c.subtype in _DROPS}
    whole = node.objtype == ObjectType.OBJECT_TABLE and all(map(_leaves_the_same, node.cmds))
    judged = Judged("table", relation(node.relation))
    return judged.unless(whole and not added & dropped, "a second run may fail or change something", ALTER)


def _leaves_the_same(command: Any) -> bool:
    if command.subtype in _DROPS:
        return bool(command.missing_ok and command.behavior == enums.DropBehavior.DROP_RESTRICT)
    return command.subtype in _SETTINGS or bool(command.subtype == Alter.AT_AddColumn and command.missing_ok)


def _drop(node: Any) -> Judged:
    names = [dropped_name(node.removeType, each) for each in node.objects]
    restricted = node.behavior == enums.DropBehavior.DROP_RESTRICT
    judged = Judged(DROPPED[node.removeType], ", ".join(names))
    if not restricted:
        return judged.unless(
            False, "CASCADE drops what is not named", "Name what is to go in drops of its own."
        )
    once = node.missing_ok and not node.concurrent
    return judged.unless(once, TWICE, "DROP … IF EXISTS …, without CONCURRENTLY")


def dropped_name(kind: Any, named: Any) -> str:
    """Return the name of one object that a DROP names: of what hangs on a table, the table's before it."""
    if isinstance(named, ast.ObjectWithArgs):
        return listed(named.objname)
    if isinstance(named, ast.TypeName):
        return listed(named.names)
    attached_ = kind in (ObjectType.OBJECT_TRIGGER, ObjectType.OBJECT_POLICY) and len(named) == 2
    return qualified("public", *(part.sval for part in named)) if attached_ else listed(named)


def _do_block(node: Any) -> Judged:
    """Accept what stands behind a guard that does not hold afterwards, or CREATE TYPE that ignores duplicates."""
    held = held_by(node)
    if held is not None:
        return _held(held.statements)
    body = guarded_statement(node)
    if isinstance(body, ast.CreateEnumStmt):
        return Judged("enum", listed(body.typeName))
    remedy = f"{GUARDED}, or a guard as `runbooks phase baseline` writes it"
    return Judged("statement", "DO block", "what a DO block does twice cannot be told", remedy)


def _held(statements: Any) -> Judged:
    """Name what a guarded statement makes or changes."""
    match statements:
        case [ast.AlterTableStmt() as node]:
            return Judged("table", relation(node.relation))
        case [ast.CreatePolicyStmt() as node]:
            return Judged("policy", attached(node.table, node.policy_name))
        case [ast.CreateTrigStmt() as node]:
            return Judged("trigger", attached(node.relation, node.trigname))
        case [ast.RenameStmt(relation=ast.RangeVar()) as node]:
            return Judged("table", relation(node.relation))
        case [ast.RenameStmt() as node]:
            return Judged("type", listed(node.object))
        case [ast.CreateDomainStmt() as node]:
            return Judged("type", listed(node.domainname))
        case [ast.AlterEnumStmt() as node]:
            return Judged("type", listed(node.typeName))
        case [ast.DropStmt() as node]:
            return _drop(node)._replace(refused="", remedy="")
        case _:
            return Judged("type", listed(exchanged(statements)))


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
        (function,) = parse_plpgsql("DO " + dollar_quoted(options["as"]))
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


def relation(node: Any) -> str:
    """Return the name of a RangeVar."""
    return qualified(*table_name(node))


def attached(table: Any, name: Any) -> str:
    """Return the name of what hangs on a table: the table's before its own."""
    return qualified(*table_name(table), str(name))


def _index(node: Any) -> str:
    return qualified(node.relation.schemaname or "public", node.idxname or "(unnamed)")


def listed(names: Any) -> str:
    """Return the name that a list of nodes spells; without a schema it is public."""
    spelt = [part.sval for part in names]
    return qualified(*(spelt if len(spelt) > 1 else ["public", *spelt]))
