"""What does a statement leave in the catalogue? Told from its tree, as marks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pglast import ast, enums
from pglast.enums import AlterTableType as Alter
from pglast.enums import ObjectType
from pglast.stream import RawStream

from runbooks_lib.postgres.script.calls import in_trees, table_name
from runbooks_lib.postgres.script.guards import OF_COLUMN, exchanged
from runbooks_lib.postgres.script.printed import constraint_text, index_text, type_text
from runbooks_lib.postgres.script.timeline import ABSENT, THERE, Marks, Place, Shape

_TYPE_OF_COLUMN = 6  # parts of its place: relation, schema, table, column, name, type
_OF_TABLE = {
    ObjectType.OBJECT_COLUMN: "column",
    ObjectType.OBJECT_TABCONSTRAINT: "constraint",
    ObjectType.OBJECT_TRIGGER: "trigger",
    ObjectType.OBJECT_POLICY: "policy",
    ObjectType.OBJECT_RULE: "rule",
}
_TYPES = (ObjectType.OBJECT_TYPE, ObjectType.OBJECT_DOMAIN)


def marks_of(statements: Sequence[Any], literals: Sequence[str] = (), *, guarded: bool = False) -> Marks:
    """Return what some statements, given as trees, leave together; `literals` are those of their guard, if any.

    What is `guarded` is due again when its test holds again, whatever else it did; else when anything is otherwise, or
    when what it names is not there.
    """
    name = exchanged(statements)
    if name is not None:
        new, place = {part.sval for part in statements[0].vals or ()}, _type(name)
        labels = {(*place, "label", label): THERE if label in new else ABSENT for label in literals}
        return Marks(sets=labels, lasts={**labels, place: THERE})
    sets: dict[Place, str | None] = {}
    needs: dict[Place, str | None] = {}
    for node in statements:
        needs |= {place: THERE for place in _needs(node, guarded=guarded) if place not in sets}
        sets |= dict(_sets(node))
    return Marks(
        sets=sets,
        lasts={**needs, **(_tested(sets) if guarded else sets)},
        shapes=dict(_shapes(statements)),
        unless={place: literals[0] for place, value in sets.items() if literals and value is ABSENT},
        brings=frozenset(place for node in statements for place in _brought(node)),
    )


def _tested(sets: Mapping[Place, str | None]) -> Mapping[Place, str | None]:
    """Return what a guard looks at: a column's type, else what is to go, else what is to come."""
    types = {
        place: value for place, value in sets.items() if len(place) == _TYPE_OF_COLUMN and place[-1] == "type"
    }
    return types or {place: value for place, value in sets.items() if value is ABSENT} or sets


def _shapes(statements: Iterable[Any]) -> Iterator[tuple[Place, Shape]]:
    for node in statements:
        if type(node).__name__ == "IndexStmt" and (printed := index_text(node)):
            yield ("relation", table_name(node.relation)[0], node.idxname), Shape(printed)
        if isinstance(node, ast.CreateStmt) and not node.if_not_exists:
            for each in node.tableElts or ():
                yield from _column_shape(_relation(node.relation), each)
        for command in _commands(node):
            table, added = _relation(node.relation), command.def_
            if command.subtype == Alter.AT_AddColumn:
                yield from _column_shape(table, added)
            elif command.subtype == Alter.AT_AddConstraint and (printed := constraint_text(added)):
                yield (*table, "constraint", added.conname or ""), Shape(printed)


def _column_shape(table: Place, node: Any) -> Iterator[tuple[Place, Shape]]:
    if isinstance(node, ast.ColumnDef) and node.typeName and (printed := type_text(node.typeName)):
        column = (*table, "column", node.colname or "")
        yield column, Shape(printed, {(*column, "type"): printed, _type(node.typeName.names): THERE})


def _commands(node: Any) -> Sequence[Any]:
    return node.cmds if type(node).__name__ == "AlterTableStmt" else ()


def _sets(node: Any) -> Iterator[tuple[Place, str | None]]:
    match type(node).__name__:
        case "CreateStmt":
            yield _relation(node.relation), THERE
        case "CreateSeqStmt":
            yield _relation(node.sequence), THERE
        case "IndexStmt" if node.idxname:
            yield ("relation", table_name(node.relation)[0], node.idxname), THERE
        case "ViewStmt":
            yield _relation(node.view), THERE
            yield (*_relation(node.view), "definition"), _printed(node.query)
        case "AlterTableStmt":
            for command in node.cmds:
                yield from _altered(_relation(node.relation), command)
        case "CreateEnumStmt":
            yield _type(node.typeName), THERE
        case "CreateDomainStmt":
            yield _type(node.domainname), THERE
        case "AlterEnumStmt":
            if node.oldVal:
                yield (*_type(node.typeName), "label", node.oldVal), ABSENT
            yield (*_type(node.typeName), "label", node.newVal), THERE
        case "RenameStmt":
            yield from _renamed(node)
        case "DropStmt":
            for each in node.objects:
                if place := _named(node.removeType, each):
                    yield place, ABSENT
        case "AlterObjectSchemaStmt" if node.objectType != ObjectType.OBJECT_EXTENSION and (
            place := _named(node.objectType, node.relation or node.object)
        ):
            yield place, ABSENT
            yield (place[0], node.newschema, *place[2:]), THERE
        case _:
            yield from _rest(node)


def _brought(node: Any) -> Iterator[Place]:
    """Yield what comes with a whole that a statement makes: all of it where it does not say what is in it."""
    match type(node).__name__:
        case "CreateStmt":
            table, elements = _relation(node.relation), node.tableElts or ()
            if node.inhRelations or any(isinstance(each, ast.TableLikeClause) for each in elements):
                yield table
            for each in elements:
                if isinstance(each, ast.ColumnDef):
                    yield (*table, "column", each.colname or "")
                for constraint in (each, *(getattr(each, "constraints", None) or ())):
                    if isinstance(constraint, ast.Constraint):
                        yield (*table, "constraint", constraint.conname or "")
        case "CreateEnumStmt":
            yield from ((*_type(node.typeName), "label", each.sval) for each in node.vals or ())
        case "RenameStmt" | "AlterObjectSchemaStmt":
            yield from (place for place, value in _sets(node) if value is not ABSENT)


def _rest(node: Any) -> Iterator[tuple[Place, str | None]]:
    match type(node).__name__:
        case "CreateFunctionStmt":
            place = ("function", *_schema_and_name(node.funcname), *_arguments(node.parameters or ()))
            yield place, THERE
            yield (*place, "definition"), _printed(node)
        case "CreateTrigStmt":
            yield (*_relation(node.relation), "trigger", node.trigname), THERE
            yield (*_relation(node.relation), "trigger", node.trigname, "definition"), _printed(node)
        case "CreatePolicyStmt":
            yield (*_relation(node.table), "policy", node.policy_name), THERE
        case "RuleStmt":
            yield (*_relation(node.relation), "rule", node.rulename), THERE
        case "CreateSchemaStmt" if node.schemaname:
            yield ("schema", node.schemaname), THERE
        case "CreateExtensionStmt":
            yield ("extension", node.extname), THERE
        case "CommentStmt":
            place = _named(node.objtype, node.object) or ("object", _printed(node.object))
            yield (*place, "comment"), str(node.comment)
        case "AlterSeqStmt":
            for option in node.options or ():
                yield (*_relation(node.sequence), str(option.defname)), _printed(option)
        case _:
            return


def _altered(table: Place, command: Any) -> Iterator[tuple[Place, str | None]]:
    column, constraint = (*table, "column", command.name or ""), (*table, "constraint", command.name or "")
    match command.subtype:
        case Alter.AT_AddColumn:
            yield (*table, "column", command.def_.colname), THERE
        case Alter.AT_DropColumn:
            yield column, ABSENT
        case Alter.AT_AlterColumnType:
            yield (*column, "type"), type_text(command.def_.typeName) or _printed(command.def_.typeName)
        case Alter.AT_ColumnDefault:
            yield (*column, "default"), _printed(command.def_) if command.def_ else "none"
        case Alter.AT_SetNotNull | Alter.AT_DropNotNull:
            yield (*column, "not null"), command.subtype.name
        case Alter.AT_AddConstraint:
            yield (*table, "constraint", command.def_.conname or ""), THERE
            if command.def_.indexname and command.def_.indexname != command.def_.conname:
                yield (*table[:2], command.def_.indexname), ABSENT  # it gets the constraint's name
        case Alter.AT_DropConstraint:
            yield constraint, ABSENT
        case Alter.AT_EnableRowSecurity | Alter.AT_DisableRowSecurity:
            yield (*table, "row security"), command.subtype.name
        case Alter.AT_ForceRowSecurity | Alter.AT_NoForceRowSecurity:
            yield (*table, "forced row security"), command.subtype.name
        case Alter.AT_ReplicaIdentity:
            yield (*table, "replica identity"), _printed(command.def_)
        case _:
            return


def _renamed(node: Any) -> Iterator[tuple[Place, str | None]]:
    match node.renameType:
        case kind if kind in _OF_TABLE and node.relation:
            yield (*_relation(node.relation), _OF_TABLE[kind], node.subname), ABSENT
            yield (*_relation(node.relation), _OF_TABLE[kind], node.newname), THERE
        case kind if kind in _TYPES:
            schema, _ = _schema_and_name(node.object)
            yield _type(node.object), ABSENT
            yield ("type", schema, node.newname), THERE
        case ObjectType.OBJECT_SCHEMA:
            yield ("schema", node.subname), ABSENT
            yield ("schema", node.newname), THERE
        case ObjectType.OBJECT_FUNCTION if place := _named(node.renameType, node.object):
            yield place, ABSENT
            yield (*place[:2], node.newname, *place[3:]), THERE
        case _ if node.relation and node.subname is None:
            yield _relation(node.relation), ABSENT
            yield (*_relation(node.relation)[:2], node.newname), THERE
        case _:
            return


def _named(kind: Any, named: Any) -> Place | None:
    """Return the place of what a DROP or a COMMENT names; None of what has none, as a cast."""
    match type(named).__name__:
        case "RangeVar":
            return _relation(named)
        case "ObjectWithArgs":
            return ("function", *_schema_and_name(named.objname), *_arguments(named.objfuncargs or ()))
        case "String":
            return (kind.name.removeprefix("OBJECT_").lower(), named.sval)
        case "TypeName":
            return _type(named.names)
    if not isinstance(named, tuple) or not all(isinstance(part, ast.String) for part in named):
        return None
    if kind in _OF_TABLE:
        return ("relation", *_schema_and_name(named[:-1]), _OF_TABLE[kind], named[-1].sval)
    return _type(named) if kind in _TYPES else ("relation", *_schema_and_name(named))


def _needs(node: Any, *, guarded: bool) -> Iterator[Place]:
    """Yield what must be there for a statement to run: behind a guard, what a constraint hangs on."""
    if guarded:
        for command in _commands(node):
            if command.subtype == Alter.AT_AddConstraint:
                yield from _needed_by(_relation(node.relation), command)
        return
    match type(node).__name__:
        case "IndexStmt":
            table = _relation(node.relation)
            yield table
            for element in node.indexParams or ():
                if element.name:
                    yield (*table, "column", element.name)
        case "AlterTableStmt" if not node.missing_ok:
            yield _relation(node.relation)
            for command in node.cmds:
                yield from _needed_by(_relation(node.relation), command)
        case "CreateTrigStmt" | "RuleStmt":
            yield _relation(node.relation)
        case "CreatePolicyStmt":
            yield _relation(node.table)
        case "InsertStmt":
            yield _relation(node.relation)
            yield from ((*_relation(node.relation), "column", each.name) for each in node.cols or ())
        case "UpdateStmt":
            yield _relation(node.relation)
            yield from ((*_relation(node.relation), "column", each.name) for each in node.targetList)
        case "GrantStmt":
            yield from (_relation(each) for each in node.objects or () if isinstance(each, ast.RangeVar))
        case "AlterSeqStmt":
            yield from _owning(node)
        case "AlterEnumStmt":
            yield _type(node.typeName)
        case "ViewStmt":
            yield from (("relation", *name) for name in in_trees((node.query,)).reads)
        case _:
            return


def _owning(node: Any) -> Iterator[Place]:
    """Yield the column that a sequence comes to belong to."""
    for option in node.options or ():
        if option.defname == "owned_by" and len(option.arg) > 1:
            *table, column = option.arg
            yield ("relation", *_schema_and_name(table), "column", column.sval)


def _needed_by(table: Place, command: Any) -> Iterator[Place]:
    if command.subtype in OF_COLUMN:
        yield (*table, "column", command.name)
    elif command.subtype == Alter.AT_AddConstraint:
        if command.def_.contype == enums.ConstrType.CONSTR_FOREIGN:
            referenced = _relation(command.def_.pktable)
            yield referenced
            yield from ((*referenced, "column", name.sval) for name in command.def_.pk_attrs or ())
        for name in (*(command.def_.keys or ()), *(command.def_.fk_attrs or ())):
            yield (*table, "column", name.sval)
        for name in _columns_of(command.def_.raw_expr):
            yield (*table, "column", name)


def _columns_of(node: Any) -> Iterator[str]:
    """Yield the names of the columns in an expression."""
    if isinstance(node, tuple):
        for part in node:
            yield from _columns_of(part)
    elif isinstance(node, ast.ColumnRef):
        yield from (str(part.sval) for part in (node.fields or ())[-1:] if isinstance(part, ast.String))
    elif isinstance(node, ast.Node):
        for slot in type(node).__slots__:  # type: ignore[attr-defined]
            yield from _columns_of(getattr(node, slot))


def _relation(node: Any) -> Place:
    return ("relation", *table_name(node))


def _type(names: Any) -> Place:
    return ("type", *_schema_and_name(names))


def _schema_and_name(names: Any) -> Place:
    spelt = [part.sval for part in names]
    return (spelt[-2] if len(spelt) > 1 else "public", spelt[-1])


def _arguments(parameters: Sequence[Any]) -> Iterator[str]:
    for each in parameters:
        if each.mode not in (
            enums.FunctionParameterMode.FUNC_PARAM_OUT,
            enums.FunctionParameterMode.FUNC_PARAM_TABLE,
        ):
            yield type_text(each.argType) or _printed(each.argType)


def _printed(node: Any) -> str:
    """Return a tree as one text, to compare with another's."""
    if isinstance(node, tuple):
        return ".".join(map(_printed, node))
    return RawStream()(node)
