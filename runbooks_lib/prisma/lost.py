"""Rows that a migration takes away from what stands again as it was: a catalogue is the same, run or not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from runbooks_lib.names import parts as parts_of_name
from runbooks_lib.names import qualified
from runbooks_lib.postgres.catalog.differences import field as value_of
from runbooks_lib.postgres.rows.done import Judged, not_judged
from runbooks_lib.postgres.scratch.replayed import Replayed, StatementRan
from runbooks_lib.postgres.script.calls import Name
from runbooks_lib.postgres.script.taken import Taken, taken
from runbooks_lib.prisma.parts import SEQUENCE, Part, Parts, holding_rows
from runbooks_lib.prisma.timeline import loses

Script = tuple[str, str]  # its name and its text


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Of which migrations a target's rows were asked for, and which of the tables that they name have none there.

    `unfilled` are, by migration, the statements that add a column of which nothing tells that rows got its default.
    """

    migrations: frozenset[str]
    empty: frozenset[str]
    unfilled: Mapping[str, tuple[Judged, ...]] = field(default_factory=dict)


def may_lose(
    scripts: Sequence[Script], schema: str, stands: Callable[[str, str], bool]
) -> dict[str, tuple[Taken, ...] | None]:
    """Return what each script takes away that stands nevertheless; None where that is more than it names.

    `stands` says it of a relation's name, and of a column in it.
    """
    found = {name: taken(script, schema) for name, script in scripts}
    again = Counter(each for these in found.values() for each in these or () if each.retyped)
    either: dict[str, tuple[Taken, ...] | None] = {}
    for name, these in found.items():
        kept = (
            None
            if these is None
            else tuple(
                each
                for each in these
                if stands(qualified(*each.of), each.column) and (not each.retyped or again[each] > 1)
            )
        )
        if kept is None or kept:
            either[name] = kept
    return either


def lost(
    replayed: Replayed, scripts: Sequence[Script], schema: str, asked: Asked, parts: Callable[..., Parts]
) -> Mapping[str, tuple[Judged, ...]]:
    """Return, of the migrations that were asked for, the statements of which nothing tells whether they took rows away.

    What they take away stands at the end as it stood before, and in the target it has rows.
    """
    end = parts(replayed.end)
    of = {part.name for part in end}

    def stands(name: str, column: str) -> bool:
        return Part("columns", name, column) in end if column else name in of

    found = may_lose(scripts, schema, stands)
    names = [name for name in found if name in asked.migrations]
    replayed.look_into(names)
    return {name: tuple(_of_script(replayed, name, schema, asked.empty, parts, end)) for name in names}


def _of_script(
    replayed: Replayed,
    name: str,
    schema: str,
    empty: frozenset[str],
    parts: Callable[..., Parts],
    end: Parts,
) -> Iterator[Judged]:
    state = dict(replayed.before(name))
    inside = replayed.statements(name)
    if not inside and replayed.ran[name].statements:  # its statements can't be told apart
        yield _judged(replayed.ran[name].statements[0], 0, "what it takes away")
    for at, (statement, changes) in enumerate(inside):
        named = taken(statement.text, schema) or ()
        within = {("columns", qualified(*each.of)) for each in named}
        before = {key: state.get(key) for key in within | {change.key for change in changes}}
        state |= {change.key: change.after for change in changes}
        gone = set()
        for key in before:
            was, now = parts({key: before[key]}), parts({key: state.get(key)})
            gone |= {*_taken(was, now, end), *_made_again(was, now, named)}
        tables, sequences = holding_rows({part.name for part in gone}, end)
        held = tables - empty if tables else sequences
        what = sorted(
            qualified(*parts_of_name(p.name), *filter(None, [p.part])) for p in gone if p.name in held
        )
        if what:
            yield _judged(statement, at, what[0] + (f" and {len(what) - 1} more" if what[1:] else ""))


def _taken(before: Parts, now: Parts, end: Parts) -> Iterator[Part]:
    """Yield the columns and sequences that a statement takes away, and that stand again at the end as they stood.

    Of a table that is dropped it is all of its columns, or none.
    """
    gone = [part for part, value in before.items() if loses(value, now.get(part))]
    again = [part for part in gone if part in end and not loses(before[part], end[part])]
    for part in again:
        whole = now or len(again) == len(before)
        counts = not part.part and value_of(before[part], "kind") == SEQUENCE
        if whole if part.kind == "columns" else counts:
            yield part


def _made_again(before: Parts, now: Parts, named: Iterable[Taken]) -> Iterator[Part]:
    """Yield the columns that a statement drops and makes again itself, as they were."""
    for each in named:
        for part, value in before.items():
            mine = (
                part.kind == "columns" and part.name == qualified(*each.of) and each.column in ("", part.part)
            )
            if mine and not each.retyped and not loses(value, now.get(part)):
                yield part


def _judged(statement: StatementRan, at: int, what: str) -> Judged:
    return not_judged(
        line=statement.line,
        tag=statement.tag,
        words=statement.words,
        text=statement.text,
        at=at,
        why=f"{what} stands again as it was: nothing tells whether its values went",
    )


def tables_named(found: Mapping[str, tuple[Taken, ...] | None], every: Sequence[Name]) -> Iterator[Name]:
    """Yield the tables whose rows matter to what scripts may lose, out of all that are there."""
    if None in found.values():
        yield from every
        return
    named = {each.of for these in found.values() for each in these or ()}
    yield from (name for name in every if name in named)
