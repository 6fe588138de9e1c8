"""The way back from a script: what takes away what it makes, in reverse order, and what nothing takes back.

Only what is not there yet is taken away: never with CASCADE, and never where rows or values have come since.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from pglast import ast, enums, parse_sql
from pglast.enums import AlterTableType as Alter

from runbooks_lib.facts.writing import NotUndone, Undo
from runbooks_lib.names import parts, qualified
from runbooks_lib.postgres.catalog.catalog import Catalog, Column
from runbooks_lib.postgres.script import undo_forms as forms
from runbooks_lib.postgres.script.calls import table_name
from runbooks_lib.postgres.script.marks import marks_of
from runbooks_lib.postgres.script.script import Statement, held_in
from runbooks_lib.postgres.script.timeline import ABSENT, THERE, Place

_OBJECT = 3  # parts of the place of a relation or a type; what has more hangs on it
_NOT_BROUGHT_BACK = "what is renamed, dropped or exchanged is not brought back: the backup has it"
_ROWS = "the rows that the script writes stay: where their table is to go, take them out first"
_LABEL = "PostgreSQL takes no label out of an enum"
_CONVERTED = "values that were converted are not converted back: the backup has them"
_TELLS_NOTHING = "nothing tells its values from those that have come since: drop it by hand"
_NOT_KNOWN = "what was there before is not known"


def undo_of(due: Sequence[Statement], live: Catalog, *, database: str, owner: str | None) -> Undo:
    """Return what takes back what the statements that are `due` would make in a database that is as `live` says.

    `owner` is as whom the script runs.
    """
    made = _Made(live, due)
    found = [each for number in reversed(range(len(due))) for each in made.back(number)]
    return Undo(
        settings=forms.settings(database, owner),
        checks=tuple(each.check for each in found if isinstance(each, _Back) and each.check),
        statements=tuple(each.statement for each in found if isinstance(each, _Back)),
        left_over=tuple(each for each in reversed(found) if isinstance(each, NotUndone)),
    )


class _Back(NamedTuple):
    """A statement of an undo, and what refuses before it ("": nothing has to)."""

    statement: str
    check: str = ""


class _Made:
    """What the statements of a script make that is not there yet, and by which of them: its number."""

    def __init__(self, live: Catalog, due: Sequence[Statement]) -> None:
        self._live = live
        named = (parts(name) for kind, name in live.definitions if kind == "function")
        self._functions = {(schema, described.partition("(")[0]) for schema, described in named}
        self._due = due
        self._nodes = [held_in(parse_sql(each.text)[0].stmt) for each in due]
        self._marks = [marks_of(held.statements, held.literals) for held in self._nodes]
        self._moved: set[Place] = set()  # what has its name from something that is there
        self._by: dict[Place, int] = {}
        for number, marks in enumerate(self._marks):
            there = [place for place, value in marks.sets.items() if value == THERE]
            if ABSENT in marks.sets.values():
                self._moved |= set(there)
            else:
                self._by = {**{each: number for each in there if not self._is_there(each)}, **self._by}

    def back(self, number: int) -> Iterator[_Back | NotUndone]:
        """Yield what takes back what a statement makes, or what of it is not taken back."""
        statement, marks = self._due[number], self._marks[number]
        named = [prefix for place in (*marks.sets, *marks.lasts) for prefix in _prefixes(place)]
        if statement.writes_rows:
            yield _left(statement, _ROWS)
        elif ABSENT in marks.sets.values() or not self._moved.isdisjoint(named):
            yield _left(statement, _NOT_BROUGHT_BACK)
        elif not marks.sets and not self._is_of_what_is_made(marks.lasts):
            yield _left(statement, _NOT_KNOWN)
        else:
            for place in reversed(tuple(marks.sets)):
                yield from self._of_place(number, place, marks.sets[place])

    def _is_of_what_is_made(self, places: Collection[Place]) -> bool:
        """Return whether a statement goes with what it is about: all of that is made."""
        return bool(places) and all(not self._by.keys().isdisjoint(_prefixes(each)) for each in places)

    def _of_place(self, number: int, place: Place, value: str | None) -> Iterator[_Back | NotUndone]:
        above = [prefix for prefix in _prefixes(place[:-1]) if prefix in self._by]
        if above:
            if place[0] == "relation" and self._goes_first(number, place):
                yield (
                    _Back(forms.no_default(place)) if place[-1] == "default" else self._dropped(number, place)
                )
        elif self._by.get(place) == number:
            yield from self._taken_away(number, place)
        elif value != THERE:
            yield from self._as_it_was(self._due[number], place, value)

    def _goes_first(self, number: int, place: Place) -> bool:
        """Return whether a part of what is made may hang on something else that is, and that goes before it."""
        match place[_OBJECT:]:
            case ("column", _):
                return not forms.is_plain(self._column_added(number, place))
            case ("constraint", _):
                (added,) = self._constraints(number, place)
                referenced = ("relation", *table_name(added.pktable)) if added.pktable else place
                return self._by.get(referenced, -1) > self._by[place[:_OBJECT]] or added.raw_expr is not None
            case ("trigger" | "policy" | "rule", _) | ("column", _, "default"):
                return True
            case _:
                return False

    def _taken_away(self, number: int, place: Place) -> Iterator[_Back | NotUndone]:
        """Yield what takes away what hangs on nothing that is made."""
        statement, drop = self._due[number], self._dropped(number, place)
        match place:
            case ("relation", *name) if len(place) == _OBJECT and statement.kind in forms.HOLDING:
                yield drop._replace(check=forms.check_unused(statement.kind, name))
            case ("relation", *name) if len(place) == _OBJECT and self._goes_with_its_table(number):
                return
            case ("relation", schema, table, "column", _):
                check = forms.check_unfilled(self._column_added(number, place), (schema, table))
                yield _left(statement, _TELLS_NOTHING) if check is None else drop._replace(check=check)
            case ("relation", _, _, "constraint", _):
                yield drop
                for key in self._keys(number, place):
                    column = (*place[:_OBJECT], "column", key, "not null")
                    yield from self._as_it_was(statement, column, Alter.AT_SetNotNull.name)
            case ("type", _, _, "label", _):
                yield _left(statement, _LABEL)
            case _:
                yield drop

    def _goes_with_its_table(self, number: int) -> bool:
        """Return whether a statement makes an index of a table that is made, and that hangs on nothing else."""
        (node, *_) = self._nodes[number].statements
        plain = isinstance(node, ast.IndexStmt) and all(each.name for each in node.indexParams or ())
        return plain and node.whereClause is None and ("relation", *table_name(node.relation)) in self._by

    def _dropped(self, number: int, place: Place) -> _Back:
        return _Back(forms.drop(place, self._due[number].kind))

    def _as_it_was(
        self, statement: Statement, place: Place, value: str | None
    ) -> Iterator[_Back | NotUndone]:
        """Yield what gives something that is there what it had before; `value` is what the script gives it."""
        match place:
            case ("relation", schema, table, "column", name, what):
                columns = self._live.columns.get(qualified(schema, table), ())
                column = next((each for each in columns if each.name == name), None)
                yield from _column_as_it_was(statement, place, column, what, value)
            case ("relation", schema, table, "row security") if relation := self._live.relations.get(
                qualified(schema, table)
            ):
                yield _Back(forms.row_security(place, on=relation.row_security))
            case _:
                yield _left(statement, _NOT_KNOWN)

    def _is_there(self, place: Place) -> bool:
        live = self._live
        match place:
            case ("relation", *name) if len(place) == _OBJECT:
                return qualified(*name) in live.relations or qualified(*name) in live.indexes
            case ("relation", schema, table, "column", name):
                return name in {each.name for each in live.columns.get(qualified(schema, table), ())}
            case ("relation", schema, table, "constraint", name):
                return name in {each.name for each in live.constraints.get(qualified(schema, table), ())}
            case ("relation", schema, table, kind, name):
                return (kind, qualified(schema, table, name)) in live.definitions
            case ("type", schema, name, "label", label):
                enum = live.enums.get(qualified(schema, name))
                return enum is not None and label in enum.labels
            case ("type", *name):
                return qualified(*name) in live.enums or ("type", qualified(*name)) in live.definitions
            case ("function", schema, name, *_):
                return (schema, name) in self._functions
            case (kind, *name):
                return (kind, qualified(*name)) in live.definitions
        return False

    def _commands(self, number: int, subtype: Alter) -> Iterator[Any]:
        for node in self._nodes[number].statements:
            if isinstance(node, ast.AlterTableStmt):
                yield from (command.def_ for command in node.cmds or () if command.subtype == subtype)

    def _column_added(self, number: int, place: Place) -> Any:
        return next(each for each in self._commands(number, Alter.AT_AddColumn) if each.colname == place[-1])

    def _constraints(self, number: int, place: Place) -> list[Any]:
        found = self._commands(number, Alter.AT_AddConstraint)
        return [each for each in found if each.conname == place[-1]]

    def _keys(self, number: int, place: Place) -> Iterator[str]:
        """Yield the columns that a primary key has made NOT NULL, which they stay without it."""
        for each in self._constraints(number, place):
            if each.contype == enums.ConstrType.CONSTR_PRIMARY:
                yield from (key.sval for key in each.keys or ())


def _column_as_it_was(
    statement: Statement, place: Place, column: Column | None, what: str, value: str | None
) -> Iterator[_Back | NotUndone]:
    match what:
        case "default" if column is not None and not column.identity and not column.generated:
            was = forms.no_default(place) if column.default is None else forms.default(place, column.default)
            yield _Back(was)
        case "not null" if column is not None:
            if column.not_null is not (value == Alter.AT_SetNotNull.name):
                yield _Back(forms.not_null(place, on=column.not_null))
        case "type" if column is not None and column.type == value:
            return
        case "type":
            yield _left(statement, _CONVERTED)
        case _:
            yield _left(statement, _NOT_KNOWN)


def _prefixes(place: Place) -> list[Place]:
    """Return a place and those that it is within, the outermost first."""
    return [place[:length] for length in range(1, len(place) + 1)]


def _left(statement: Statement, why: str) -> NotUndone:
    return NotUndone(line=statement.line, words=f"{statement.kind} {statement.object}", why=why)
