"""Migrations as one idempotent baseline: what can be written, and what is left over, by line and reason.

A statement is written as long as nothing later in the whole history undoes it: only then does what the catalogue shows
tell whether it is still due.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pglast import ast
from pglast.enums import AlterTableType as Alter
from pglast.enums import ObjectType

from runbooks_lib.drafting.apart import Apart, apart, concurrent_form
from runbooks_lib.drafting.cascades import named_drops
from runbooks_lib.drafting.forms import ROWS, ROWS_BY_HAND, NotWritten, changes_rows, form_of
from runbooks_lib.drafting.labels import Exchange, exchanges
from runbooks_lib.drafting.lost import Lost, with_lost
from runbooks_lib.drafting.placed import placed
from runbooks_lib.drafting.renames import renamed_first
from runbooks_lib.drafting.units import Unit, units_of
from runbooks_lib.errors import MigrationError
from runbooks_lib.postgres.script.timeline import ABSENT, Place, Timeline

Scripts = Sequence[tuple[str, str]]
_BY_HAND = "See whether it is still due, and run it by hand where it is."


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOver:
    """A statement that is not in the baseline: of which migration, on which line, why, and what to do by hand."""

    migration: str
    line: int
    words: str
    why: str
    by_hand: str

    @property
    def changes_rows(self) -> bool:
        """Return whether it is left over for the rows that it changes."""
        return self.why == ROWS


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """An idempotent script, and what of the migrations is not in it; `statements` is how many they have in all.

    `indexes` is the script of those that are built CONCURRENTLY, after the other. `migrations` are in either.
    """

    sql: str
    left: tuple[LeftOver, ...]
    statements: int
    indexes: str = ""
    migrations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    unit: Unit
    sql: str = ""
    left: LeftOver | None = None


_Undoing = Sequence[
    tuple[Unit, Place, _Written | None]
]  # later units, where they undo one, and what became of them


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Which statements are to be written."""

    migrations: Collection[str]
    lines: Mapping[str, Collection[int]] | None

    def has(self, unit: Unit) -> bool:
        if unit.migration not in self.migrations:
            return False
        lines = None if self.lines is None else self.lines.get(unit.migration)
        return lines is None or any(unit.line <= line <= unit.last_line for line in lines)


def write_baseline(
    scripts: Scripts,
    only: Collection[str] | None = None,
    lines: Mapping[str, Collection[int]] | None = None,
    *,
    concurrently: Apart = Apart.NONE,
    lost: Lost | None = None,
    schema: str = "public",
) -> Baseline:
    """Write the migrations named by `only` (None: all) as one script; `scripts` is the whole history, in its order.

    `lines` names those of each migration's statements that are to be written, where it is not all of them;
    `concurrently` the indexes that go into a script of their own, `lost` what tables that are there have no more.
    `schema` is where Prisma runs them: what they name without a schema is of that one.
    Raises MigrationError when one cannot be parsed, or `only` names none of them.
    """
    names = [name for name, _ in scripts]
    unknown = sorted(set(only or ()) - set(names))
    if unknown:
        raise MigrationError(
            f"There is no migration {', '.join(unknown)}.", "Name migrations as their folders are named."
        )
    chosen = _Chosen(set(names if only is None else only), lines)
    read = placed([unit for name, script in scripts for unit in units_of(name, script)], schema)
    spoilt = {unit.migration for unit in read if unit.spoils}
    units = _informed(named_drops(with_lost(renamed_first(read, chosen.has, spoilt), lost or {})))
    timeline = Timeline([unit.marks for unit in units])
    written: dict[int, _Written] = {}
    for number in reversed(range(len(units))):  # what undoes a statement comes after it
        if chosen.has(units[number]) and not units[number].silent:
            undoing = [(units[at], place, written.get(at)) for at, place in timeline.undoing(number)]
            written[number] = _write(units[number], undoing, chosen, spoilt)
    in_order = [written[number] for number in sorted(written)]
    left = tuple({(one.left.migration, one.left.line): one.left for one in in_order if one.left}.values())
    places = {(unit.migration, unit.line) for unit in units if chosen.has(unit)}
    made = [one for one in in_order if one.sql]
    alone = apart([one.unit for one in made], units, concurrently)
    indexes = [replace(made[number], sql=concurrent_form(made[number].unit)) for number in sorted(alone)]
    beside = {id(made[number]) for number in alone}
    return Baseline(
        sql=_script([one for one in in_order if id(one) not in beside]),
        left=left,
        statements=len(places),
        indexes=_script(indexes),
        migrations=tuple(dict.fromkeys(one.unit.migration for one in made)),
    )


def _informed(units: Sequence[Unit]) -> list[Unit]:
    """Return the units with what their guards have to know beyond their statements: labels that go, what comes back."""
    exchanged, timeline = exchanges(units), Timeline([unit.marks for unit in units])
    return [
        _exchanging(unit, exchanged[number])
        if number in exchanged
        else unit.knowing(_shape_that_comes_back(unit, number, timeline))
        for number, unit in enumerate(units)
    ]


def _exchanging(unit: Unit, labels: Exchange) -> Unit:
    """Return the unit of an exchange with its guard's labels, and with what goes."""
    known = unit.knowing(labels.telling)
    gone = unit.knowing(labels.gone).marks.sets
    return replace(known, marks=replace(known.marks, sets={**gone, **known.marks.sets}))


def _shape_that_comes_back(unit: Unit, number: int, timeline: Timeline) -> tuple[str, ...]:
    """Return how PostgreSQL prints what takes the name of one that is dropped, when that tells the two apart.

    A column is printed by its type alone: one of the same type may have had another default.
    """
    if not isinstance(unit.statements[0], ast.AlterTableStmt | ast.DropStmt):
        return ()
    dropped = [place for place, value in unit.marks.sets.items() if value is ABSENT]
    if len(dropped) != 1:
        return ()
    shape, before = timeline.shape_after(number, dropped[0]), timeline.shape_before(number, dropped[0])
    known = bool(before) or dropped[0][-2] != "column"
    return (shape,) if shape and known and shape != before else ()


def _write(
    unit: Unit,
    undoing: _Undoing,
    chosen: _Chosen,
    spoilt: Collection[str],
) -> _Written:
    try:
        if unit.migration in spoilt:
            raise NotWritten("its migration sets a search_path, or rolls back", _BY_HAND)
        if undoing and _makes_needless(unit, undoing, chosen):
            return _Written(unit=unit)
        return _Written(unit=unit, sql=form_of(unit.statements, unit.literals))
    except NotWritten as error:
        of_rows = changes_rows(unit.statements[0])  # whatever else stands in its way
        why, by_hand = (ROWS, ROWS_BY_HAND) if of_rows else (error.why, error.by_hand)
        left = LeftOver(migration=unit.migration, line=unit.line, words=unit.words, why=why, by_hand=by_hand)
        return _Written(unit=unit, left=left)


def _makes_needless(unit: Unit, undoing: _Undoing, chosen: _Chosen) -> bool:
    """Return True: a later statement of the baseline makes this one needless. Raises NotWritten where that isn't so."""
    other, place, written = undoing[0]
    where = f"{other.migration}, line {other.line} ({other.words})"
    if not chosen.has(other) or (written is not None and written.left is not None):
        raise NotWritten(f"undone later, by {where}", _BY_HAND)
    if isinstance(other.statements[0], ast.RenameStmt) or _takes_index(other, place):
        raise NotWritten(f"renamed later, by {where}", _BY_HAND)
    gone = any(at[: len(place)] == place and value is ABSENT for at, value in unit.marks.lasts.items())
    made_again = gone and other.marks.sets[place] is not ABSENT
    if made_again and not _replaces(other) and not _goes_again(unit, undoing):
        raise NotWritten(f"made again later, by {where}", _BY_HAND)
    return True


def _goes_again(unit: Unit, undoing: _Undoing) -> bool:
    """Return whether what takes a dropped one's place goes again by a DROP that is written, which drops either.

    Of what holds rows nothing may come back in the end: it would stand as the old one, with the old rows.
    """
    needless = [made is not None and not made.sql and made.left is None for _, _, made in undoing]
    return all(needless) or (needless[0] and not _holds_rows(unit.statements[0]))


def _holds_rows(node: Any) -> bool:
    if isinstance(node, ast.DropStmt):
        return node.removeType not in (ObjectType.OBJECT_INDEX, ObjectType.OBJECT_VIEW)
    if isinstance(node, ast.AlterTableStmt):
        return any(command.subtype == Alter.AT_DropColumn for command in node.cmds or ())
    return True


def _takes_index(unit: Unit, place: Place) -> bool:
    """Return whether a unit makes a constraint of an index, which gets its name."""
    return isinstance(unit.statements[0], ast.AlterTableStmt) and len(place) == len(
        ("relation", "schema", "index")
    )


def _replaces(unit: Unit) -> bool:
    """Return whether what a unit makes takes the place of another of that name, as a view of other columns does not."""
    return type(unit.statements[0]).__name__ in ("CreateFunctionStmt", "CreateTrigStmt")


def _script(written: Sequence[_Written]) -> str:
    """Return the script: each migration's name, its comments, its statements, and what is left over where it stood."""
    lines: list[str] = []
    migration = ""
    for one in written:
        if one.unit.migration != migration:
            migration = one.unit.migration
            lines += [*([""] if lines else []), f"-- {migration}", ""]
        lines += _lines(one)
    return "\n".join(lines).rstrip("\n") + "\n" if any(one.sql for one in written) else ""


def _lines(one: _Written) -> Iterator[str]:
    if one.left is not None:
        yield f"-- LEFT OVER, line {one.left.line}, {one.left.words}: {one.left.why}."
        yield ""
    elif one.sql:
        yield from filter(None, (one.unit.comment, f"{one.sql};", ""))
        yield ""
