"""Migrations of a project whose address names a schema (?schema=app): what they name without one is said to be there.

Prisma runs such migrations with that search_path; a baseline runs with public.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

from pglast import ast
from pglast.enums import ObjectType
from psycopg import sql

from runbooks_lib.drafting.units import Unit, marks_left
from runbooks_lib.postgres.script.calls import every_node

_OF_SEQUENCES = ("nextval", "setval", "currval")
_CALLED = (ObjectType.OBJECT_TYPE, ObjectType.OBJECT_DOMAIN, ObjectType.OBJECT_FUNCTION)
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
    """Return the units with `schema` before every name of the migrations' own that has none; the trees are changed."""
    if schema == "public":
        return list(units)
    made = frozenset(name for unit in units for node in unit.statements for name in _made(node))
    for unit in units:
        for node in unit.statements:
            _Place(schema, made, node).all()
    return [replace(unit, marks=marks_left(unit.statements)) for unit in units]


def _made(node: Any) -> Iterator[str]:
    """Yield the types and functions that a statement makes, or gives another name: others are PostgreSQL's own."""
    match type(node).__name__:
        case "CreateEnumStmt" | "CreateRangeStmt":
            yield node.typeName[-1].sval
        case "CompositeTypeStmt":
            yield node.typevar.relname
        case "CreateDomainStmt":
            yield node.domainname[-1].sval
        case "CreateFunctionStmt":
            yield node.funcname[-1].sval
        case "RenameStmt" if node.renameType in _CALLED:
            yield node.newname
        case _:
            pass


class _Place:
    """A statement, whose names get a schema."""

    __slots__ = ("made", "schema", "statement", "temporary")

    def __init__(self, schema: str, made: Collection[str], statement: Any) -> None:
        self.schema, self.made, self.statement = schema, made, statement
        self.temporary = {
            each.ctename for each in every_node(statement) if isinstance(each, ast.CommonTableExpr)
        }

    def all(self) -> None:
        for node in list(every_node(self.statement)):
            self._change(node)

    def _change(self, node: Any) -> None:
        match type(node).__name__:
            case "RangeVar" if not node.schemaname and node.relname not in self.temporary:
                node.schemaname = self.schema
            case "TypeName":
                node.names = self._own(node.names)
            case "CreateEnumStmt" | "AlterEnumStmt" | "CreateRangeStmt" | "AlterDomainStmt":
                node.typeName = self._named(node.typeName)
            case "CreateDomainStmt":
                node.domainname = self._named(node.domainname)
            case "CreateFunctionStmt" | "CreateTrigStmt":
                node.funcname = self._own(node.funcname)
            case "ObjectWithArgs":
                node.objname = self._own(node.objname)
            case "DropStmt":
                node.objects = tuple(self._named(each, node.removeType) for each in node.objects)
            case "RenameStmt":
                node.object = self._named(node.object, node.renameType)
            case "AlterOwnerStmt":
                node.object = self._named(node.object, node.objectType)
            case "CommentStmt":
                node.object = self._named(node.object, node.objtype)
            case "DefElem" if node.defname == "owned_by":
                node.arg = self._named(node.arg, ObjectType.OBJECT_COLUMN)
            case "FuncCall":
                if node.funcname[-1].sval in _OF_SEQUENCES:
                    self._name_text((node.args or (None,))[0])
                node.funcname = self._own(node.funcname)
            case "TypeCast" if node.typeName.names[-1].sval == "regclass":
                self._name_text(node.arg)
            case _:
                pass

    def _name_text(self, constant: Any) -> None:
        """Name the schema in a text that names a relation: nextval('"Shop_id_seq"')."""
        text = getattr(getattr(constant, "val", None), "sval", ".")
        if "." not in text:
            constant.val = ast.String(sval=f"{sql.Identifier(self.schema).as_string()}.{text}")

    def _own(self, names: Any) -> Any:
        return self._named(names) if names and names[-1].sval in self.made else names

    def _named(self, names: Any, kind: Any = ObjectType.OBJECT_TYPE) -> Any:
        """Return a list of names with the schema before it, where it has as many parts as one without has."""
        is_list = isinstance(names, tuple) and len(names) == _PARTS.get(kind, 0)
        return (ast.String(sval=self.schema), *names) if is_list else names
