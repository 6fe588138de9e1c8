"""Where in the history that migrations make is a database? Object by object, against one replay. Nothing is judged."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from runbooks_lib.names import parts as parts_of_name
from runbooks_lib.names import qualified
from runbooks_lib.postgres.catalog.catalog import Key, Value
from runbooks_lib.postgres.catalog.differences import field
from runbooks_lib.postgres.scratch.replayed import Replayed, StatementRan, Step
from runbooks_lib.prisma.parts import SEQUENCE, Part, Parts, as_left, holding_rows, in_words, parts_of
from runbooks_lib.prisma.timeline import START, Stands, Timeline

_DROPS = re.compile(r"\bdrop\b")
_DROPS_TABLE = re.compile(r"\bdrop\s+table\b")
_DROPS_MORE = re.compile(r"\bdrop\s+(?:schema|owned)\b|\bcascade\b")  # what it does not name
_REVOKES = re.compile(r"\brevoke\b")
_OF_RELATIONS = frozenset(
    {"relation", "columns", "constraint", "trigger", "rule", "policy", "privileges", "column privileges"}
)
# Others may go with a table that is dropped, and no script names them.
_GO_BY_NAME = _OF_RELATIONS | {"enum", "function", "index", "type"}
_HOLD_ROWS = frozenset({"relation", "columns"})
_SHOW_NOTHING = ("SelectStmt", "TransactionStmt", "VariableSetStmt")
# These change rows, and no object. Of all others that change rows a part may show.
_ROWS_ALONE = frozenset({"CopyStmt", "DeleteStmt", "InsertStmt", "MergeStmt", "TruncateStmt", "UpdateStmt"})
AT_ONCE = 8  # migrations that are looked at in the first replay, from the last one on


def looked_at_first(todo: Sequence[str]) -> frozenset[str]:
    """Return around which migrations, of those that are not recorded as applied, it is looked first."""
    return frozenset([*todo[:1], *todo[-AT_ONCE:]])


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The statement of a migration that made a part of an object as it is wanted; None: only the script is known."""

    migration: str
    statement: StatementRan | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectState:
    """An object that the migrations make, change or remove: what differs of it in the database, and on both sides.

    `there` and `wanted`: whether it is in the database at all, and is to be. `origins` made it as it is wanted, and
    `to_come` are migrations that have not been run and change it further. `recorded`: a migration that counts as run
    has made what differs. `planned`: the baseline is still to make it so.
    """

    kind: str
    name: str
    have: tuple[Value, ...] = ()
    want: tuple[Value, ...] = ()
    there: bool = True
    wanted: bool = True
    origins: tuple[Origin, ...] = ()
    to_come: tuple[str, ...] = ()
    recorded: bool = True
    stands: bool = True
    planned: bool = False

    @property
    def of(self) -> str:
        """Return the relation that it is, or hangs on; empty for what is of none."""
        if self.kind == "index":
            described = next((value for value in (*self.want, *self.have) if value is not None), None)
            return "" if described is None else str(field(described, "relation"))
        return qualified(*parts_of_name(self.name)[:2]) if self.kind in _OF_RELATIONS else ""

    @property
    def label(self) -> str:
        """Return kind and name, such as `index public.orders_number_key`."""
        return f"{self.kind} {self.name}"

    def words(self) -> tuple[str, str]:
        """Say both sides for a person: of what differs only."""
        return in_words(self.kind, self.have, self.want, there=self.there, wanted=self.wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What one statement does to one part; `statement` is its number in its script, None: only the script is known."""

    part: Part
    position: int
    statement: int | None


class Effects:
    """The history of all objects that need one, and what is known by now of which migrations were run.

    Those are the objects that a migration of `todo` changes, and those that are not as at the end of the replay.
    """

    def __init__(
        self,
        replayed: Replayed,
        live: Mapping[Key, Value],
        todo: Sequence[str],
        *,
        server_major: int,
        owned: bool = True,
    ) -> None:
        def parts(described: Mapping[Key, Value]) -> Parts:
            return parts_of(described, server_major=server_major, owned=owned)

        self._replayed, self._parts = replayed, parts
        self._end, self._start = parts(replayed.end), parts(replayed.start)
        self._live = as_left(parts(live), self._end)
        self._live_of: dict[Key, list[Part]] = {}
        for part in self._live:
            self._live_of.setdefault(part.key, []).append(part)
        either = {*self._start, *self._end}
        self.made = {part.key for part in either if self._start.get(part) != self._end.get(part)}
        lengths = [max(len(ran.statements), 1) for ran in replayed.scripts]
        self._offsets = list(accumulate(lengths, initial=0))[:-1]
        self._numbers = {ran.name: number for number, ran in enumerate(replayed.scripts)}
        self._as_whole: set[str] = set()  # scripts of which no statement can be told
        self.proven: frozenset[str] = frozenset()  # of `todo`, what was run for sure and has no history here
        self.showing: frozenset[str] = frozenset()  # of those, the ones that leave what a catalogue shows
        self.timelines: dict[Part, Timeline] = {}
        self._by_key: dict[Key, list[Part]] = {}
        self._by_script: dict[str, list[Effect]] = {name: [] for name in self._numbers}
        self._read(todo)

    def of(self, migration: str) -> Sequence[Effect]:
        """Return the effects of a migration on objects that have a history here: of one of `todo` all of them."""
        return self._by_script[migration]

    def stands(self, effect: Effect) -> Stands | None:
        """Return whether an effect stands; None when it may or may not."""
        return self.timelines[effect.part].stands(effect.position)

    def takes_rows(self, migration: str, empty: Collection[str] = ()) -> bool:
        """Return whether a migration drops, renames or retypes a table or a column that was there before.

        Rows go with it; but for those of tables that are `empty` in the database.
        """
        ended = [
            effect.part.name
            for effect in self.of(migration)
            if effect.part.kind in _HOLD_ROWS and self.timelines[effect.part].ends_at(effect.position)
        ]
        tables, sequences = holding_rows(ended, self._live)
        return bool(tables - set(empty) if tables else sequences)

    def was_run(self, migration: str) -> None:
        """Note that a migration was run: what it touches is nowhere before it."""
        for effect in self.of(migration):
            line = self.timelines[effect.part]
            line.run_until = max(line.run_until, effect.position)

    def was_not_run(self, migration: str) -> None:
        """Note that a migration was not run: what it touches is nowhere behind it."""
        for effect in self.of(migration):
            line = self.timelines[effect.part]
            line.not_run_from = min(line.not_run_from, effect.position)

    def objects(self) -> Iterator[ObjectState]:
        """Yield each object that the migrations make, change or remove, in the order of kinds and names."""
        for key in sorted({*self.made, *self._by_key}):
            yield self._object(key)

    def _object(self, key: Key) -> ObjectState:
        lines = {part: self.timelines[part] for part in self._by_key.get(key, ())}
        wrong = {part: line for part, line in lines.items() if not line.is_as_known}
        if not wrong:
            later = {name for line in lines.values() for name in self._to_come(line)}
            ahead = tuple(name for name in self._numbers if name in later)
            same = tuple(self._live[part] for part in self._live_of.get(key, ()))
            return ObjectState(kind=key[0], name=key[1], have=same, want=same, to_come=ahead)
        made = sorted({line.made_at for line in wrong.values()} - {START})
        return ObjectState(
            kind=key[0],
            name=key[1],
            have=tuple(line.live for line in wrong.values()),
            want=tuple(line.wanted for line in wrong.values()),
            there=key in self._live_of,
            wanted=any(line.wanted is not None for line in lines.values()),
            origins=tuple(map(self._origin, made)),
            recorded=not made or any(line.run_until > START for line in wrong.values()),
            stands=False,
        )

    def _to_come(self, line: Timeline) -> Iterator[str]:
        if line.live != line.values[-1]:
            yield from (self._script_at(at) for at in line.positions[line.places[-1] + 1 :])

    def _origin(self, position: int) -> Origin:
        name = self._script_at(position)
        number = self._statement_at(position)
        statements = self._replayed.scripts[self._numbers[name]].statements
        return Origin(migration=name, statement=None if number is None else statements[number])

    def _script_at(self, position: int) -> str:
        return self._replayed.scripts[bisect_right(self._offsets, position) - 1].name

    def _statement_at(self, position: int) -> int | None:
        name = self._script_at(position)
        return None if name in self._as_whole else position - self._offsets[self._numbers[name]]

    def _read(self, todo: Sequence[str]) -> None:
        differing = self._differing() | self._gone()
        if not differing:
            self.proven = frozenset(self._proven(todo))
            self.showing = frozenset(self._showing())
        rest = [name for name in todo if name not in self.proven]
        if rest:
            self._replayed.look_into(list(self._numbers)[self._numbers[rest[0]] :])
        keys = {key for name in rest for key in self._changed_by(name)} | differing
        if rest and keys:
            self._build(self._replayed.history(keys, since=rest[0]))
        told = all(line.places for line in self.timelines.values()) and not keys - self._by_key.keys()
        if not told:  # something is as none of these has left it: who did?
            self._build(self._replayed.history(keys))
        for part, line in self.timelines.items():
            for position in line.positions[1:]:
                effect = Effect(part=part, position=position, statement=self._statement_at(position))
                self._by_script[self._script_at(position)].append(effect)

    def _proven(self, todo: Sequence[str]) -> Iterator[str]:
        """Yield the migrations that were run for sure, where the database is as at the end: up to the last that shows.

        One shows when it leaves something that was not so before it, nor before the first of them, nor before one that
        dropped it in between.
        """
        end, at_once = len(todo), AT_ONCE
        while end:
            names = todo[max(end - at_once, 0) : end]
            end, at_once = end - len(names), 2 * at_once  # each look runs all scripts again
            self._replayed.look_at([todo[0], *names])
            first = self._parts(self._replayed.before(todo[0]))
            for at in range(len(names) - 1, -1, -1):
                run = todo[: todo.index(names[at]) + 1]
                if self._shows(run, first):
                    yield from run
                    return

    def _showing(self) -> Iterator[str]:
        """Yield the proven migrations that leave what a catalogue shows: by a statement's kind, else by the replay."""
        unclear = []
        for ran in self._replayed.scripts:
            if ran.name not in self.proven:
                continue
            if any(one.unjudged is None and one.tag not in _SHOW_NOTHING for one in ran.statements):
                yield ran.name
            elif any(one.tag not in _ROWS_ALONE for one in ran.statements):
                unclear.append(ran.name)
        if unclear:
            self._replayed.look_at(unclear)
            yield from filter(self._replayed.changes, unclear)

    def _shows(self, run: Sequence[str], first: Parts) -> bool:
        """Return whether the last of some migrations shows."""
        found = self._replayed.changes(run[-1])
        before = self._parts({each.key: each.before for each in found if each.before is not None})
        after = self._parts({each.key: each.after for each in found if each.after is not None})
        drops = {
            part: self._drops(part, value, run)
            for part, value in after.items()
            if value == self._live.get(part) and value not in (before.get(part), first.get(part))
        }
        if all(drops.values()):
            self._replayed.look_at({name for names in drops.values() for name in names})
        return any(not any(self._stood_before(part, name) for name in names) for part, names in drops.items())

    def _drops(self, part: Part, value: Value, run: Sequence[str]) -> list[str]:
        """Return which of some migrations may drop a part, or something of the table that it belongs to."""
        of = str(field(value, "relation")) if part.kind == "index" else part.name
        table = [*parts_of_name(of), ""][1].partition("(")[0].lower()
        column = part.part.lower() if part.kind == "columns" else ""

        goes_along = part.kind not in _GO_BY_NAME or (
            part.kind == "relation" and (field(value, "kind") == SEQUENCE or bool(field(value, "partition")))
        )

        def may_drop(text: str) -> bool:
            named = goes_along or (table in text and (column in text or bool(_DROPS_TABLE.search(text))))
            return bool(_DROPS.search(text)) and (named or bool(_DROPS_MORE.search(text)))

        scripts = (self._replayed.scripts[self._numbers[name]] for name in run)
        return [ran.name for ran in scripts if any(may_drop(one.text.lower()) for one in ran.statements)]

    def _stood_before(self, part: Part, name: str) -> bool:
        described = {part.key: self._replayed.before(name).get(part.key)}
        return self._parts(described).get(part) == self._live.get(part)

    def _build(self, histories: Mapping[Key, Sequence[Step]]) -> None:
        self.timelines, self._by_key, self._as_whole = {}, {}, set()
        for key, steps in histories.items():
            self._add(key, steps)

    def _changed_by(self, name: str) -> set[Key]:
        inside = self._replayed.statements(name)
        whole = () if inside else self._replayed.changes(name)
        return {change.key for change in (*(each for _, found in inside for each in found), *whole)}

    def _differing(self) -> set[Key]:
        """Return the objects that stand at the end of the replay, and in the database in another way, or not at all."""
        lacking = {part.key for part, value in self._end.items() if self._live.get(part) != value}
        more = {
            part.key
            for part in self._live
            if part not in self._end
            and part.key in self.made
            and (part.kind == "columns" or part in self._start or self._may_be_taken_away(part))
        }
        return (lacking | more) & self.made

    def _gone(self) -> set[Key]:
        """Return what the database has and the end of the replay has not, if a script may have dropped it."""
        beyond = {part for part in self._live if part not in self._end and part.key not in self.made}
        return {part.key for part in beyond if self._may_be_taken_away(part)}

    def _may_be_taken_away(self, part: Part) -> bool:
        if part.kind.endswith("privileges") and not self._revokes:
            return False
        return parts_of_name(part.name)[-1].partition("(")[0].lower() in self._words

    @cached_property
    def _revokes(self) -> bool:
        """Return whether a script may take a privilege away."""
        return bool(_REVOKES.search(self._words))

    @cached_property
    def _words(self) -> str:
        """Return all scripts as one text: too many words take something away (DROP, SET … DEFAULT, NO INHERIT)."""
        return "\n".join(one.text.lower() for ran in self._replayed.scripts for one in ran.statements)

    def _add(self, key: Key, steps: Sequence[Step]) -> None:
        seen = [(self._position(step), self._parts({key: step.value})) for step in steps]
        names = {part for _, found in seen for part in found}
        if key[0] == "columns":  # one that no migration has made is a difference
            names |= set(self._live_of.get(key, ()))
        for part in sorted(names):
            line = Timeline(positions=[], values=[], live=self._live.get(part))
            for position, found in seen:
                if not line.values or line.values[-1] != found.get(part):
                    line.positions.append(position)
                    line.values.append(found.get(part))
            if len(line.values) > 1 or key in self.made:
                self.timelines[part] = line
                self._by_key.setdefault(key, []).append(part)

    def _position(self, step: Step) -> int:
        if step.script is None:
            return START
        number = self._numbers[step.script]
        if step.statement is None:
            self._as_whole.add(step.script)
            return self._offsets[number] + max(len(self._replayed.scripts[number].statements), 1) - 1
        return self._offsets[number] + step.statement
