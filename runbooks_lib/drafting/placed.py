"""The migrations of a project whose address names a schema (?schema=app): what they name without one is said to be there.

Prisma runs such migrations with that search_path; a baseline runs with public.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

from pglast import ast
from pglast.enums import ObjectType

from runbooks_lib.drafting.units import Unit, marks_left
from runbooks_lib.names import quoted
from runbooks_lib.postgres.script.calls import every_node

_ALONE, _OF_TABLE = 1, 2  # parts of a name that has no schema
_PARTS = {
    **dict.fromkeys(
        (
            ObjectType.OBJECT_TABLE,
            ObjectType.OBJECT_VIEW,
            ObjectType.OBJECT_MATVIEW,
            ObjectType.OBJECT_INDEX,
            ObjectType.OBJECT_SEQUENCE,
            ObjectType.OBJECT_TYPE,
            ObjectType.OBJECT_DOMAIN,
        ),
        _ALONE,
    ),
    **dict.fromkeys(
        (
            ObjectType.OBJECT_COLUMN,
            ObjectType.OBJECT_TABCONSTRAINT,
            ObjectType.OBJECT_TRIGGER,
            ObjectType.OBJECT_POLICY,
            ObjectType.OBJECT_RULE,
        ),
        _OF_TABLE,
    ),
}


def placed(units: Sequence[Unit], schema: str) -> list[Unit]:
    """Return the units with `schema` before every name that has none and is of the migrations' own; trees are changed."""
    if schema == "public":
        return list(units)
    made = frozenset(name for unit in units for node in unit.statements for name in _made(node))
    for unit in units:
        for node in unit.statements:
            _Place(schema, made, node).all()
    return [replace(unit, marks=marks_left(unit.statements)) for unit in units]


def _made(node: Any) -> Iterator[str]:
    """Yield the types and functions that a statement makes, or gives another name: others are PostgreSQL's own."""
    match node:
        case ast.CreateEnumStmt() | ast.CreateRangeStmt():
            yield node.typeName[-1].sval
        case ast.CompositeTypeStmt():
            yield node.typevar.relname
        case ast.CreateDomainStmt():
            yield node.domainname[-1].sval
        case ast.CreateFunctionStmt():
            yield node.funcname[-1].sval
        case ast.RenameStmt(renameType=ObjectType.OBJECT_TYPE | ObjectType.OBJECT_FUNCTION):
            yield node.newname


class _Place:
    """A statement, whose names get a schema."""

    __slots__ = ("made", "schema", "statement", "temporary")

    def __init__(self, schema: str, made: Collection[str], statement: Any) -> None:
        self.schema, self.made, self.statement = schema, made, statement
        ctes = (each for each in every_node(statement) if isinstance(each, ast.CommonTableExpr))
        self.temporary = {each.ctename for each in ctes}

    def all(self) -> None:
        for node in list(every_node(self.statement)):
            self._change(node)

    def _change(self, node: Any) -> None:
        match node:
            case ast.RangeVar():
                if not node.schemaname and node.relname not in self.temporary:
                    node.schemaname = self.schema
            case ast.TypeName():
                node.names = self._own(node.names)
            case ast.CreateEnumStmt() | ast.AlterEnumStmt() | ast.CreateRangeStmt() | ast.AlterDomainStmt():
                node.typeName = self._named(node.typeName)
            case ast.CreateDomainStmt():
                node.domainname = self._named(node.domainname)
            case ast.CreateFunctionStmt() | ast.FuncCall() | ast.CreateTrigStmt():
                node.funcname = self._own(node.funcname)
            case ast.ObjectWithArgs():
                node.objname = self._own(node.objname)
            case ast.DropStmt():
                parts = _PARTS.get(node.removeType, 0)
                node.objects = tuple(self._named(each, parts) for each in node.objects)
            case ast.RenameStmt() | ast.AlterOwnerStmt():
                kind = node.renameType if isinstance(node, ast.RenameStmt) else node.objectType
                node.object = self._named(node.object, _PARTS.get(kind, 0))
            case ast.CommentStmt():
                node.object = self._named(node.object, _PARTS.get(node.objtype, 0))
            case ast.DefElem(defname="owned_by"):
                node.arg = self._named(node.arg, _OF_TABLE)
            case _:
                pass
        self._change_text(node)

    def _change_text(self, node: Any) -> None:
        """Name the schema in a constant that names a relation: nextval('"Shop_id_seq"'::regclass)."""
        match node:
            case ast.FuncCall(args=(ast.A_Const(val=ast.String()) as constant, *_)) if (
                node.funcname[-1].sval in ("nextval", "setval", "currval")
            ):
                pass
            case ast.TypeCast(arg=ast.A_Const(val=ast.String()) as constant) if (
                node.typeName.names[-1].sval == "regclass"
            ):
                pass
            case _:
                return
        if "." not in constant.val.sval:
            constant.val = ast.String(sval=f"{quoted(self.schema)}.{constant.val.sval}")

    def _own(self, names: Any) -> Any:
        return self._named(names) if names and names[-1].sval in self.made else names

    def _named(self, names: Any, parts: int = _ALONE) -> Any:
        """Return a list of names with the schema before it, where it has as many parts as one without has."""
        if not isinstance(names, tuple) or len(names) != parts:
            return names
        return (ast.String(sval=self.schema), *names)
