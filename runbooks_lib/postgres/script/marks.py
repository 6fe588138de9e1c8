"""What does a statement leave in the catalogue, and which later statement takes that away again?

A mark is a place in the catalogue and what stands there: ("relation", "public", "Order", "column", "total") -> THERE.
Where a later statement sets another mark, the first one would be due again on a second run.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pglast import ast, enums
from pglast.enums import AlterTableType as Alter
from pglast.enums import ObjectType
from pglast.stream import RawStream

from runbooks_lib.postgres.script.calls import in_trees, table_name
from runbooks_lib.postgres.script.guards import OF_COLUMN, exchanged
from runbooks_lib.postgres.script.printed import constraint_text, index_text, type_text

Place = tuple[str, ...]
THERE = "there"
ABSENT = None
_TYPE_OF_COLUMN = 6  # parts of its place: relation, schema, table, column, name, type
_OF_TABLE = {
    ObjectType.OBJECT_COLUMN: "column",
    ObjectType.OBJECT_TABCONSTRAINT: "constraint",
    ObjectType.OBJECT_TRIGGER: "trigger",
    ObjectType.OBJECT_POLICY: "policy",
    ObjectType.OBJECT_RULE: "rule",
}
_TYPES = (ObjectType.OBJECT_TYPE, ObjectType.OBJECT_DOMAIN)


class Shape(NamedTuple):
    """How PostgreSQL prints what is added, and what has to last for it to be printed so in the end, too."""

    text: str
    rests: Mapping[Place, str | None] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """What a statement sets; of that, and of what else must be there, what has to last: else it is due again.

    `shapes` is that of what is added; `unless` is for a DROP that passes over what is printed so.
    """

    sets: Mapping[Place, str | None]
    lasts: Mapping[Place, str | None]
    shapes: Mapping[Place, Shape] = field(default_factory=dict)
    unless: Mapping[Place, str] = field(default_factory=dict)


class Timeline:
    """Marks one after another: which of them undoes which."""

    def __init__(self, marks: Sequence[Marks]) -> None:
        self._marks = marks
        self._setting: dict[Place, list[int]] = {}
        for number, each in enumerate(marks):
            for place in each.sets:
                self._setting.setdefault(place, []).append(number)

    def undoing(self, number: int) -> list[tuple[int, Place]]:
        """Return, in order, which later marks set something else than has to last of one, and at which place."""
        mine, found = self._marks[number], []
        for place in mine.lasts:
            for length in range(1, len(place) + 1):
                at = place[:length]
                found += [
                    (other, at) for other in self._after(number, at) if self._undoes(mine, other, place, at)
                ]
        return sorted(set(found))

    def _after(self, number: int, place: Place) -> list[int]:
        setting = self._setting.get(place, [])
        return setting[bisect_right(setting, number) :]

    def _undoes(self, mine: Marks, other: int, place: Place, at: Place) -> bool:
        """Return whether what is set at a place, or at one that it is within, is not what has to last there."""
        theirs = self._marks[other]
        if at != place:
            return theirs.sets[at] is ABSENT and mine.lasts[place] is not ABSENT
        return theirs.sets[at] != mine.lasts[at] and not self._passed_over(mine, other, at)

    def _passed_over(self, mine: Marks, other: int, at: Place) -> bool:
        """Return whether what comes back at a place is, now and in the end, printed as a DROP passes it over."""
        shape = self._marks[other].shapes.get(at)
        if shape is None or mine.unless.get(at) != shape.text or self.undoing(other):
            return False
        later = [
            (self._marks[number], place) for place in shape.rests for number in self._after(other, place)
        ]
        return all(marks.sets[place] == shape.rests[place] for marks, place in later)

    def shape_before(self, number: int, place: Place) -> str:
        """Return how PostgreSQL prints what stands at a place before that; "" when it is not known."""
        setting = self._setting.get(place, [])
        earlier = setting[: bisect_left(setting, number)]
        return self._text(earlier[-1], place) if earlier else ""

    def shape_after(self, number: int, place: Place) -> str:
        """Return how PostgreSQL prints what next comes to a place; "" when that is not known, or nothing comes."""
        return next((self._text(at, place) for at in self._after(number, place)), "")

    def _text(self, number: int, place: Place) -> str:
        shape = self._marks[number].shapes.get(place)
        return shape.text if shape else ""


def marks_of(statements: Sequence[Any], literals: Sequence[str] = (), *, guarded: bool = False) -> Marks:
    """Return what some statements, given as trees, leave together; `literals` are those of their guard, if any.

    What is `guarded` is due again when its test holds again, whatever else it did; else when anything is otherwise, or
    when what it names is not there.
    """
    name = exchanged(statements)
    if name is not None:
        gone: dict[Place, str | None] = {(*_type(name), "label", label): ABSENT for label in literals}
        return Marks(sets=gone, lasts={**gone, _type(name): THERE})
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
        for command in _commands(node):
            table, added = _relation(node.relation), command.def_
            if command.subtype == Alter.AT_AddColumn and (printed := type_text(added.typeName)):
                column = (*table, "column", added.colname)
                rests: dict[Place, str | None] = {
                    (*column, "type"): printed,
                    _type(added.typeName.names): THERE,
                }
                yield column, Shape(printed, rests)
            elif command.subtype == Alter.AT_AddConstraint and (printed := constraint_text(added)):
                yield (*table, "constraint", added.conname or ""), Shape(printed)


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
