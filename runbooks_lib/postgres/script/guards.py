"""Statements behind a guard: a DO block that runs them only while the catalogue shows that they are still due.

    DO $$ BEGIN
      IF NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass('t') AND conname = 'k') THEN
        ALTER TABLE t ADD CONSTRAINT k UNIQUE (id);
      END IF;
    END $$;

Which test belongs to a statement is said once, by `condition`. A script's block is recognised when its test is exactly
the one that would be written for what it holds: so what is tested is what is done, and it does not hold afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from pglast import ast, enums, parse_plpgsql, parse_sql
from pglast.enums import AlterTableType as Alter
from pglast.enums import ObjectType
from pglast.parser import ParseError
from pglast.stream import IndentedStream

from runbooks_lib.postgres.script.printed import identifier, type_text

IMPLICIT = frozenset(
    {"found", "sqlstate", "sqlerrm"}
)  # the variables that a DO block has without declaring any
_ATTRIBUTE = "EXISTS (SELECT FROM pg_attribute WHERE attrelid = {} AND attname = {} AND NOT attisdropped{})"
_CONSTRAINT = "EXISTS (SELECT FROM pg_constraint WHERE conrelid = {} AND conname = {}{})"
_LABELS = "EXISTS (SELECT FROM pg_enum WHERE enumtypid = {} AND enumlabel IN ({}))"
OF_COLUMN = frozenset(
    {Alter.AT_AlterColumnType, Alter.AT_ColumnDefault, Alter.AT_DropNotNull, Alter.AT_SetNotNull}
)
_RELATIONS = (
    ObjectType.OBJECT_TABLE,
    ObjectType.OBJECT_INDEX,
    ObjectType.OBJECT_VIEW,
    ObjectType.OBJECT_SEQUENCE,
)


def condition(statements: Sequence[Any], *literals: str) -> str | None:
    """Return the test under which some statements, given as trees, are still due; None when there is none.

    `literals` is what the statements do not say themselves: for a dropped constraint or column, what it is when it is
    no more the one to drop, as PostgreSQL prints it; for an enum that is exchanged, the labels that go, or
    one that comes.
    """
    match statements:
        case [ast.AlterTableStmt(objtype=ObjectType.OBJECT_TABLE) as node]:
            return _of_table(node, literals)
        case [ast.RenameStmt() as node] if not literals:
            return _of_rename(node)
        case [ast.CreatePolicyStmt() as node] if not literals:
            policy = (_regclass(node.table), _literal(node.policy_name))
            return "NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = {} AND polname = {})".format(*policy)
        case [ast.CreateTrigStmt(isconstraint=True) as node] if not literals:
            trigger = (_regclass(node.relation), _literal(node.trigname))
            return "NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = {} AND tgname = {})".format(*trigger)
        case [ast.CreateDomainStmt(domainname=names)] if not literals:
            return f"{_regtype(names)} IS NULL"
        case [ast.AlterEnumStmt(oldVal=str() as old, newVal=new) as node] if not literals and old != new:
            return _LABELS.format(_regtype(node.typeName), _literal(old))
        case [ast.DropStmt(removeType=ObjectType.OBJECT_INDEX, objects=[names]) as node] if literals:
            return _of_dropped_index(node, names, literals)
        case [ast.CreateEnumStmt(), *_]:
            return _of_exchange(statements, literals)
        case _:
            return None


def _of_table(node: Any, literals: Sequence[str]) -> str | None:
    table, (first, *others) = _regclass(node.relation), node.cmds
    if others or first.subtype == Alter.AT_AlterColumnType:
        return None if literals else _of_type(table, node.cmds)
    match first.subtype, list(literals):
        case Alter.AT_AddConstraint, [] if first.def_.conname:
            return f"NOT {_CONSTRAINT.format(table, _literal(first.def_.conname), '')}"
        case Alter.AT_DropConstraint, [printed] if _alone(first):
            other = f" AND pg_get_constraintdef(oid) <> {_literal(printed)}"
            return _CONSTRAINT.format(table, _literal(first.name), other)
        case Alter.AT_DropColumn, [printed] if _alone(first):
            other = f" AND format_type(atttypid, atttypmod) <> {_literal(printed)}"
            return _ATTRIBUTE.format(table, _literal(first.name), other)
        case Alter.AT_AddIdentity, []:
            return _ATTRIBUTE.format(table, _literal(first.name), " AND attidentity = ''")
        case _:
            return None


def _of_dropped_index(node: Any, names: Any, literals: Sequence[str]) -> str | None:
    if len(literals) != 1 or node.concurrent or not _alone(node):
        return None
    index = f"to_regclass({_literal(_names(names))})"
    other = f"pg_get_indexdef(indexrelid) <> {_literal(literals[0])}"
    return f"EXISTS (SELECT FROM pg_index WHERE indexrelid = {index} AND {other})"


def _of_type(table: str, commands: Sequence[Any]) -> str | None:
    """Return the test for a column's new type; what else is done with the column goes with it."""
    types = [command.def_.typeName for command in commands if command.subtype == Alter.AT_AlterColumnType]
    names = {command.name for command in commands}
    if len(types) != 1 or len(names) != 1 or not all(command.subtype in OF_COLUMN for command in commands):
        return None
    printed = type_text(types[0])
    if printed is None or commands[0].behavior != enums.DropBehavior.DROP_RESTRICT:
        return None
    other = f" AND format_type(atttypid, atttypmod) <> {_literal(printed)}"
    return _ATTRIBUTE.format(table, _literal(names.pop()), other)


def _of_rename(node: Any) -> str | None:
    match node.renameType:
        case ObjectType.OBJECT_COLUMN if node.relationType in _RELATIONS and node.subname != node.newname:
            return _ATTRIBUTE.format(_regclass(node.relation), _literal(node.subname), "")
        case ObjectType.OBJECT_TABCONSTRAINT if node.subname != node.newname:
            return _CONSTRAINT.format(_regclass(node.relation), _literal(node.subname), "")
        case kind if kind in _RELATIONS and node.relation.relname != node.newname:
            return f"{_regclass(node.relation)} IS NOT NULL"
        case ObjectType.OBJECT_TYPE if node.object[-1].sval != node.newname:
            return f"{_regtype(node.object)} IS NOT NULL"
        case _:
            return None


def _of_exchange(statements: Sequence[Any], labels: Sequence[str]) -> str | None:
    """Return the test for an enum that is made anew with other labels, under the name of the one that it replaces.

    `labels` are those that are gone afterwards, or one that is there.
    """
    name = exchanged(statements)
    coming = set(labels) & {part.sval for part in statements[0].vals or ()}
    if name is None or not labels or (coming and len(labels) > 1):
        return None
    there = f"{_literal(_names(name))}::regtype"  # an error where it is not there: then all is not as it was
    test = _LABELS.format(there, ", ".join(map(_literal, labels)))
    return f"NOT {test}" if coming else test


def exchanged(statements: Sequence[Any]) -> Any:
    """Return the name of the enum that statements exchange for one with other labels; None when they do not.

    They make the new type, bring columns to it, rename the old one out of the way and the new one into its place, and
    drop the old one.
    """
    columns: list[Any] = [node for node in statements if isinstance(node, ast.AlterTableStmt)]
    others: list[Any] = [node for node in statements if not isinstance(node, ast.AlterTableStmt)]
    old: Any
    match others:
        case [
            ast.CreateEnumStmt(typeName=new),
            ast.RenameStmt(renameType=ObjectType.OBJECT_TYPE, object=was) as away,
            ast.RenameStmt(renameType=ObjectType.OBJECT_TYPE, object=made, newname=name),
            ast.DropStmt(removeType=ObjectType.OBJECT_TYPE, objects=[dropped]) as drop,
        ] if drop.behavior == enums.DropBehavior.DROP_RESTRICT:
            old = dropped.names
            away_to = away.newname
        case _:
            return None
    same = _own(new) == _own(made) and _own(was) == name and _own(old) == away_to
    named: tuple[Any, ...] = (new, was, made, old)
    schemas = {".".join(part.sval for part in names[:-1]) or "public" for names in named}
    before = {id(node) for node in statements[: statements.index(others[1])]}
    brought = [command for node in columns for command in node.cmds if _is_brought(command, new)]
    typed = [node for node in columns if any(c.subtype == Alter.AT_AlterColumnType for c in node.cmds)]
    all_ = [command for node in columns for command in node.cmds]
    whole = len(brought) == len(all_) and all(id(node) in before for node in typed)
    return others[1].object if same and whole and len(schemas) < 2 else None


def _own(names: Any) -> str:
    return str(names[-1].sval)


def _is_brought(command: Any, new: Any) -> bool:
    """Return whether a command changes a column's type to the new enum, or its default."""
    if command.subtype == Alter.AT_AlterColumnType:
        return _own(command.def_.typeName.names) == _own(new)
    return bool(command.subtype == Alter.AT_ColumnDefault)


def _alone(command: Any) -> bool:
    return bool(command.behavior == enums.DropBehavior.DROP_RESTRICT)


def _literal(text: Any) -> str:
    return "'" + str(text).replace("'", "''") + "'"


def _regclass(node: Any) -> str:
    names = [node.schemaname, node.relname] if node.schemaname else [node.relname]
    return f"to_regclass({_literal('.'.join(map(identifier, names)))})"


def _regtype(names: Any) -> str:
    return f"to_regtype({_literal(_names(names))})"


def _names(names: Any) -> str:
    return ".".join(identifier(part.sval) for part in names)


def block(statements: Sequence[Any], *literals: str) -> str | None:
    """Return the DO block that runs some statements as long as they are due; None when there is no test for that."""
    test = condition(statements, *literals)
    if test is None:
        return None
    held = "".join(f"    {_printed(node)};\n" for node in statements)
    body = f" BEGIN\n  IF {test} THEN\n{held}  END IF;\nEND "
    quotes = "$$"
    while quotes in body:
        quotes = f"$x{quotes[1:]}"
    return f"DO {quotes}{body}{quotes}"


def _printed(node: Any) -> str:
    return IndentedStream(comma_at_eoln=True)(node).replace("\n", "\n    ")


class Held(NamedTuple):
    """What a DO block holds: its statements, as trees, and what its test says beyond them."""

    statements: tuple[Any, ...]
    literals: tuple[str, ...]


def held_by(node: Any) -> Held | None:
    """Return what a DO block holds that `block` could have written; None for any other."""
    found = read_block(node)
    if found is None:
        return None
    test, statements = found
    constants = tuple(part.val.sval for part in _constants(test))
    for literals in ((), constants[-1:], constants[1:]):
        wanted = condition(statements, *literals)
        if wanted is not None and _tree(wanted) == test:
            return Held(statements, literals)
    return None


def read_block(node: Any) -> tuple[Any, tuple[Any, ...]] | None:
    """Return test and statements of a DO block `BEGIN IF test THEN statements END IF; END`; None for any other."""
    options = {option.defname: option.arg.sval for option in node.args}
    if options.get("language", "plpgsql") != "plpgsql":
        return None
    try:
        (function,) = parse_plpgsql("DO " + dollar_quoted(options["as"]))
        function = function["PLpgSQL_function"]
        if any(set(datum) != {"PLpgSQL_var"} for datum in function["datums"]):
            return None
        if {datum["PLpgSQL_var"]["refname"] for datum in function["datums"]} - IMPLICIT:
            return None
        block = function["action"]["PLpgSQL_stmt_block"]
        found, returns = block["body"]
        guard = found["PLpgSQL_stmt_if"]
        if set(block) - {"lineno", "body"} or set(guard) - {"lineno", "cond", "then_body"}:
            return None
        if list(returns) != ["PLpgSQL_stmt_return"]:
            return None
        held = [one["PLpgSQL_stmt_execsql"] for one in guard["then_body"]]
        if any(set(one) - {"lineno", "sqlstmt"} for one in held):
            return None
        texts = [one["sqlstmt"]["PLpgSQL_expr"]["query"] for one in held]
        trees = tuple(raw.stmt for text in texts for raw in parse_sql(text))
        return _tree(guard["cond"]["PLpgSQL_expr"]["query"]), trees
    except (ParseError, ValueError, KeyError):  # not PL/pgSQL, or of another shape
        return None


def _tree(test: str) -> Any:
    (raw,) = parse_sql(f"SELECT {test}")
    return raw.stmt


def _constants(node: Any) -> Iterator[Any]:
    """Yield the texts in a tree, in their order."""
    if isinstance(node, tuple):
        for part in node:
            yield from _constants(part)
    elif isinstance(node, ast.A_Const):
        if isinstance(node.val, ast.String):
            yield node
    elif isinstance(node, ast.Node):
        for name in type(node).__slots__:  # type: ignore[attr-defined]
            yield from _constants(getattr(node, name))


def dollar_quoted(body: str) -> str:
    """Return a text between dollar quotes that do not stand in it."""
    tag = "$body$"
    while tag in body:
        tag = tag[:-1] + "x$"
    return tag + body + tag
