"""What is renamed later gets its last name from the beginning: the rename goes first, where it is still due.

    CREATE TABLE a (…); … ALTER TABLE a RENAME TO b;

becomes: rename a, where it is there; CREATE TABLE IF NOT EXISTS b (…). So either is done, wherever the database stands.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pglast import ast, enums
from pglast.enums import AlterTableType as Alter
from pglast.enums import ObjectType

from runbooks_lib.drafting.units import Unit, marks_left
from runbooks_lib.postgres.script.calls import every_node, table_name
from runbooks_lib.postgres.script.timeline import ABSENT, Place

_SERIAL = ("serial", "bigserial", "smallserial")
_UNNAMED = (enums.ConstrType.CONSTR_NULL, enums.ConstrType.CONSTR_NOTNULL, enums.ConstrType.CONSTR_DEFAULT,
            enums.ConstrType.CONSTR_GENERATED)  # fmt: skip
_OF_INDEX = (
    enums.ConstrType.CONSTR_PRIMARY,
    enums.ConstrType.CONSTR_UNIQUE,
    enums.ConstrType.CONSTR_EXCLUSION,
)
_ON_CONSTRAINT = (Alter.AT_DropConstraint, Alter.AT_ValidateConstraint)
_LONGEST = 63  # bytes of a name
_TABLE_LEVEL = (
    ast.CreateStmt,
    ast.AlterTableStmt,
    ast.IndexStmt,
)  # where a bare name is a column of their table


def renamed_first(
    units: Sequence[Unit], chosen: Callable[[Unit], bool], spoilt: Collection[str]
) -> list[Unit]:
    """Return the units with each rename that is chosen before all others, and what it renames named anew.

    Before all: what a guard compares with has the new name in it.
    """
    found, said, first = list(units), _Said(), 0
    for at in range(len(found)):  # what is brought forward leaves the later ones where they are
        (node, *others) = found[at].statements
        if isinstance(node, ast.RenameStmt) and not others and chosen(found[at]):
            changed = _named_anew(found, at, spoilt, said)
            if changed:
                rename, earlier = found[at], [changed.get(n, unit) for n, unit in enumerate(found[:at])]
                place = min(first, *changed)
                found[: at + 1] = [*earlier[:place], rename, *earlier[place:]]
                first += 1
    return found


def _named_anew(units: list[Unit], at: int, spoilt: Collection[str], said: _Said) -> dict[int, Unit]:
    """Return what names an object before it is renamed, named anew; nothing where either name is another's, too."""
    rename = _rename_of(units[at])
    if rename is None:
        return {}
    changed = {
        number: replace(unit, statements=named, marks=marks_left(named))
        for number, unit in enumerate(units[:at])
        if said.has(unit, rename.old[-1])
        and (named := tuple(map(rename.anew, unit.statements))) != unit.statements
    }
    earlier = [changed.get(number, unit) for number, unit in enumerate(units[:at])]
    taken = any(_sets(unit, rename.new) for unit in units[:at])
    left = any(_sets(unit, rename.old) for unit in (*earlier, *units[at + 1 :]))
    anew = any(unit.marks.may_bring(rename.old) for unit in units[at + 1 :])
    migrations = {units[at].migration, *(unit.migration for unit in changed.values())}
    apart = taken or left or anew or migrations & set(spoilt) or any(map(rename.implies, changed.values()))
    return {} if apart else changed


def _sets(unit: Unit, place: Place) -> bool:
    """Return whether a unit sets something at a place, or within it."""
    return any(each[: len(place)] == place for each in unit.marks.sets)


def _rename_of(unit: Unit) -> _Rename | None:
    places = {value is ABSENT: place for place, value in unit.marks.sets.items()}
    if len(places) < 2:
        return None
    old, new = places[True], places[False]
    match unit.statements[0].renameType, old:
        case ObjectType.OBJECT_TABLE, (_, _, _):
            return _Table(old=old, new=new)
        case ObjectType.OBJECT_INDEX, (_, _, _):
            return _Index(old=old, new=new)
        case ObjectType.OBJECT_COLUMN, _:
            return _Column(old=old, new=new)
        case ObjectType.OBJECT_TABCONSTRAINT, _:
            return _Constraint(old=old, new=new)
        case ObjectType.OBJECT_TYPE, _:
            return _Type(old=old, new=new)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rename(ABC):
    """What is renamed, by its places in the catalogue."""

    old: Place
    new: Place

    @property
    def table(self) -> Place:
        return self.old[1:3]

    def anew(self, statement: Any) -> Any:
        """Return a statement's tree with the new name wherever it says the old one."""
        return self._mapped(statement, statement)

    def _mapped(self, node: Any, within: Any) -> Any:
        if isinstance(node, tuple):
            return tuple(self._mapped(part, within) for part in node)
        if not isinstance(node, ast.Node):
            return node
        slots = type(node).__slots__  # type: ignore[attr-defined]
        copy = type(node)(**{slot: self._mapped(getattr(node, slot), within) for slot in slots})
        if isinstance(copy, ast.ColumnDef):
            self._name_not_null(node, copy, within)
        if isinstance(copy, ast.RenameStmt):
            self._rename(copy)
        self.change(copy, within)
        return copy

    def _rename(self, node: Any) -> None:
        """An earlier rename to the old name is one to the new."""
        other = _rename_of_tree(node)
        if other == self.old:
            node.newname = self.new[-1]

    def _name_not_null(self, was: Any, column: Any, within: Any) -> None:  # noqa: B027 - only what names columns has them
        """A NOT NULL keeps the name that PostgreSQL makes of the old one: from 18 on it has one."""

    @abstractmethod
    def change(self, node: Any, within: Any) -> None:
        """Give a node the new name where it has the old one; `within` is the statement that it is part of."""

    def implies(self, unit: Unit) -> bool:
        """Return whether a unit leaves what PostgreSQL names after the old name."""
        return False

    def _text(self, part: Any) -> Any:
        return ast.String(sval=self.new[-1]) if part.sval == self.old[-1] else part


def _rename_of_tree(node: Any) -> Place | None:
    return next((place for place, value in marks_left((node,)).sets.items() if value is not ABSENT), None)


def _named_not_null(column: Any, table: str, name: str) -> None:
    for each in column.constraints or ():
        if each.contype == enums.ConstrType.CONSTR_NOTNULL and not each.conname:
            each.conname = f"{table}_{name}_not_null"


class _Table(_Rename):
    __slots__ = ()

    def _name_not_null(self, was: Any, column: Any, within: Any) -> None:
        if table_name(within.relation) == self.table:
            _named_not_null(column, self.table[1], was.colname)

    def change(self, node: Any, within: Any) -> None:
        match node:
            case ast.RangeVar() if table_name(node) == self.table:
                node.relname = self.new[-1]
            case ast.ColumnRef(fields=tuple(fields)) if len(fields) > 1 and isinstance(
                fields[-2], ast.String
            ):
                node.fields = (*fields[:-2], self._text(fields[-2]), fields[-1])
            case ast.DropStmt(removeType=ObjectType.OBJECT_TABLE):
                node.objects = tuple(_named(each, self.table, self._text) for each in node.objects or ())

    def implies(self, unit: Unit) -> bool:
        return any(map(_names_itself, unit.statements))


class _Column(_Rename):
    __slots__ = ()

    def _name_not_null(self, was: Any, column: Any, within: Any) -> None:
        if table_name(within.relation) == self.table and was.colname == self.old[-1]:
            _named_not_null(column, self.table[1], was.colname)

    def change(self, node: Any, within: Any) -> None:
        mine = isinstance(within, _TABLE_LEVEL) and table_name(within.relation) == self.table
        match node:
            case ast.ColumnDef() if mine and node.colname == self.old[-1]:
                node.colname = self.new[-1]
            case ast.AlterTableCmd() if (
                mine and node.subtype not in _ON_CONSTRAINT and node.name == self.old[-1]
            ):
                node.name = self.new[-1]
            case ast.IndexElem() if mine and node.name == self.old[-1]:
                node.name = self.new[-1]
            case ast.ColumnRef(fields=tuple(fields)) if mine and isinstance(fields[-1], ast.String):
                node.fields = (*fields[:-1], self._text(fields[-1]))
            case ast.Constraint():
                if mine:
                    node.keys = node.keys and tuple(map(self._text, node.keys))
                    node.fk_attrs = node.fk_attrs and tuple(map(self._text, node.fk_attrs))
                if node.pktable and table_name(node.pktable) == self.table:
                    node.pk_attrs = node.pk_attrs and tuple(map(self._text, node.pk_attrs))

    def implies(self, unit: Unit) -> bool:
        return any(map(_names_itself, unit.statements))


class _Constraint(_Rename):
    __slots__ = ()

    def change(self, node: Any, within: Any) -> None:
        mine = isinstance(within, _TABLE_LEVEL) and table_name(within.relation) == self.table
        match node:
            case ast.Constraint() if mine and node.conname == self.old[-1]:
                node.conname = self.new[-1]
            case ast.AlterTableCmd() if mine and node.subtype in _ON_CONSTRAINT and node.name == self.old[-1]:
                node.name = self.new[-1]


class _Index(_Rename):
    """Also of what a primary key or a unique constraint has: renaming that renames the constraint."""

    __slots__ = ()

    def change(self, node: Any, within: Any) -> None:
        mine = isinstance(within, _TABLE_LEVEL) and table_name(within.relation)[0] == self.old[1]
        match node:
            case ast.IndexStmt() if mine and node.idxname == self.old[-1]:
                node.idxname = self.new[-1]
            case ast.Constraint() if mine and node.contype in _OF_INDEX and node.conname == self.old[-1]:
                node.conname = self.new[-1]
            case ast.DropStmt(removeType=ObjectType.OBJECT_INDEX):
                node.objects = tuple(_named(each, self.old[1:], self._text) for each in node.objects or ())


class _Type(_Rename):
    __slots__ = ()

    def change(self, node: Any, within: Any) -> None:
        match node:
            case ast.TypeName():
                node.names = _named(node.names, self.table, self._text)
            case ast.CreateEnumStmt() | ast.AlterEnumStmt():
                node.typeName = _named(node.typeName, self.table, self._text)
            case ast.CreateDomainStmt():
                node.domainname = _named(node.domainname, self.table, self._text)


def _named(names: Any, place: Place, text: Callable[[Any], Any]) -> Any:
    """Return a list of names with another last one, where it names what is at a place."""
    spelt = tuple(each.sval for each in names)
    return (*names[:-1], text(names[-1])) if (("public", *spelt)[-2:]) == place else names


def _names_itself(statement: Any) -> bool:
    """Return whether something of a statement gets a name that PostgreSQL makes of its table's and its column's."""
    return any(
        (isinstance(node, ast.Constraint) and node.contype not in _UNNAMED and not node.conname)
        or (isinstance(node, ast.Constraint) and len((node.conname or "").encode()) > _LONGEST)
        or (isinstance(node, ast.AlterTableCmd) and node.subtype == Alter.AT_SetNotNull)
        or (isinstance(node, ast.IndexStmt) and not node.idxname)
        or (isinstance(node, ast.TypeName) and (node.names or ())[-1].sval in _SERIAL)
        for node in every_node(statement)
    )


class _Said:
    """Every text in a statement's tree, gathered once for each tree."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, frozenset[str]]] = {}

    def has(self, unit: Unit, text: str) -> bool:
        return any(text in self._of(node) for node in unit.statements)

    def _of(self, statement: Any) -> frozenset[str]:
        if id(statement) not in self._known:
            found = (getattr(node, slot) for node in every_node(statement) for slot in type(node).__slots__)
            said = frozenset(value for value in found if isinstance(value, str))
            self._known[id(statement)] = (statement, said)  # kept, so that its number is its own
        return self._known[id(statement)][1]
