"""What a replay of scripts found: how each ran, and what stood before and after each of them and of its statements."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from runbooks_lib.errors import MigrationError
from runbooks_lib.names import parts
from runbooks_lib.postgres.catalog.catalog import Key, Value
from runbooks_lib.postgres.catalog.differences import Described
from runbooks_lib.postgres.script.effects import Unjudged


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One object before and after a statement or script that gives it another description; None: it is not there."""

    key: Key
    before: Value
    after: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementRan:
    """A statement of a script: its line, kind and object in words, the parser's tag, and what of it is not judged."""

    line: int
    words: str
    tag: str
    unjudged: Unjudged | None = None
    text: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a script ran: its statements, and why PostgreSQL had to get them one by one, if so."""

    name: str
    statements: tuple[StatementRan, ...] = ()
    one_by_one: str = ""

    @property
    def unjudged(self) -> tuple[Unjudged, ...]:
        """Return what is not judged, in the script's order."""
        return tuple(one.unjudged for one in self.statements if one.unjudged is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What an object was from some statement of some script on: at the start that is none.

    `statement` counts the script's from 0; None where only the script as a whole can be told.
    """

    script: str | None
    statement: int | None
    value: Value


ByStatement = tuple[tuple[Change, ...], ...]
More = tuple[dict[int, Described], dict[int, ByStatement]]
# Given numbers of scripts: the state before each of them (and at the end), and what its statements change, if asked.
Look = Callable[[Collection[int]], Mapping[int, Described]]
LookInto = Callable[[Collection[int]], Mapping[int, tuple[Described, ByStatement, Described]]]


@dataclass(slots=True, kw_only=True, eq=False)
class Replayed:
    """Scripts as they ran, one after the other, and what stood at the start and at the end.

    `borrowed` is what was taken from a copy of the target because the scripts need it; `lacking` is what of the
    target's surroundings the scratch server does not have, in words; `server_version` is the scratch server's.
    `stood` and `inside` are what is known by now: what stood before scripts, by their numbers, and what their
    statements change; `more` is what is kept of that from earlier, `keep` keeps it. What is not known is found when it
    is asked for, by running the scripts again: for all at once that `look_at` and `look_into` name, and `alone`, after
    which that is known, too, which others have found meanwhile.
    """

    scripts: tuple[Ran, ...]
    start: Described = field(repr=False)
    end: Described = field(repr=False)
    server_version: str
    borrowed: tuple[Key, ...] = ()
    lacking: tuple[str, ...] = ()
    kept: bool = False
    look: Look = field(repr=False)
    look_inside: LookInto = field(repr=False)
    keep: Callable[[Replayed], None] = field(repr=False)
    alone: Callable[[Replayed], AbstractContextManager[object]] = field(default=nullcontext, repr=False)
    more: Callable[[], More] | None = field(default=None, repr=False)
    stood: dict[int, Described] = field(default_factory=dict, repr=False)
    inside: dict[int, ByStatement] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.stood |= {0: self.start, len(self.scripts): self.end}

    @property
    def ran(self) -> dict[str, Ran]:
        """Return how each script ran, by its name."""
        return {ran.name: ran for ran in self.scripts}

    def before(self, name: str) -> Described:
        """Return what stood before a script ran."""
        return self._stood([self._number(name)])[0]

    def after(self, name: str) -> Described:
        """Return what stood after a script ran."""
        return self._stood([self._number(name) + 1])[0]

    def changes(self, name: str) -> tuple[Change, ...]:
        """Return what a script as a whole changes."""
        number = self._number(name)
        before, after = self._stood([number, number + 1])
        return tuple(changes(before, after))

    def statements(self, name: str) -> tuple[tuple[StatementRan, tuple[Change, ...]], ...]:
        """Return the statements of a script, each with what it changes.

        Empty where that can't be told: one by one they do not come to what they make together (see `changes`).
        """
        self.look_into([name])
        number = self._number(name)
        inside = self.inside[number]
        return tuple(zip(self.scripts[number].statements, inside, strict=True)) if inside else ()

    def look_at(self, names: Iterable[str]) -> None:
        """Find what stood before and after each of these scripts, at once."""
        numbers = {self._number(name) for name in names}
        self._stood(sorted({each for number in numbers for each in (number, number + 1)}))

    def look_into(self, names: Iterable[str]) -> None:
        """Find what the statements of all these scripts change, at once: `statements` then has it at hand."""
        self.recall()
        numbers = {self._number(name) for name in names}
        self.look_at(self.scripts[number].name for number in numbers - set(self.inside))
        if numbers - set(self.inside):
            with self.alone(self):
                self._look_inside(numbers)

    def _look_inside(self, numbers: set[int]) -> None:
        if not numbers - set(self.inside):
            return
        while wanted := numbers - set(self.inside):
            found = self.look_inside(wanted)
            for number in sorted(wanted):
                before, inside, after = found[number]
                if before != self.stood[number]:  # one of those before it went another way
                    continue
                same = bool(inside) and after == self.stood[number + 1]
                self.inside[number] = inside if same else ()
            if wanted == numbers - set(self.inside):  # the first of them begins where it began, or never does
                raise MigrationError(
                    f"What stands before {self.scripts[min(wanted)].name} is another thing each time it is made.",
                    "Look for a statement that depends on the time or on chance in the migrations before it.",
                )
        self.keep(self)

    def history(self, keys: Iterable[Key], *, since: str | None = None) -> Mapping[Key, tuple[Step, ...]]:
        """Return what each of these objects was, with the statement that made it so.

        From the start on, or from before one script: that is what its first step says then, and only the scripts from
        this one on are looked into.
        """
        first, wanted = 0 if since is None else self._number(since), set(keys)
        self._look_where(wanted, first)
        before = self._stood([first])[0]
        steps = {key: [Step(script=None, statement=None, value=before.get(key))] for key in sorted(wanted)}
        for ran, statement, found in self._in_order(first):
            for change in found:
                if change.key in wanted:
                    steps[change.key].append(Step(script=ran.name, statement=statement, value=change.after))
        return {key: tuple(found) for key, found in steps.items()}

    def _look_where(self, wanted: Collection[Key], first: int) -> None:
        """Look into the scripts that name one of these objects; between them into all where what stands differs.

        What neither is named nor differs at both ends has not changed there.
        """
        words = {word for _, name in wanted for word in _names_in(name)}
        texts = ["\n".join(one.text for one in ran.statements).lower() for ran in self.scripts]
        named = [n for n in range(first, len(texts)) if any(word in texts[n] for word in words)]
        self.look_into(self.scripts[number].name for number in named)
        gaps = zip([first, *(number + 1 for number in named)], [*named, len(texts)], strict=True)
        for begin, end in gaps:
            before, after = self._stood([begin, end])
            if any(before.get(key) != after.get(key) for key in wanted):
                self.look_into(ran.name for ran in self.scripts[begin:end])

    def _in_order(self, first: int) -> Iterator[tuple[Ran, int | None, tuple[Change, ...]]]:
        for number, ran in enumerate(self.scripts[first:], first):
            if number not in self.inside:  # it changes none of these objects
                continue
            inside = self.inside[number]
            yield from ((ran, at, found) for at, found in enumerate(inside))
            if not inside:
                yield ran, None, self.changes(ran.name)

    def _number(self, name: str) -> int:
        return next(number for number, ran in enumerate(self.scripts) if ran.name == name)

    def recall(self) -> None:
        """Fetch what is kept from earlier, once."""
        if self.more is not None:
            stood, inside = self.more()
            self.stood, self.inside, self.more = stood | self.stood, inside | self.inside, None

    def _stood(self, numbers: list[int]) -> list[Described]:
        """Return what stood before these scripts; the number behind the last one means the end."""
        if set(numbers) - set(self.stood):
            self.recall()
        if set(numbers) - set(self.stood):
            with self.alone(self):
                if missing := set(numbers) - set(self.stood):
                    self.stood |= self.look(missing)
                    self.keep(self)
        return [self.stood[number] for number in numbers]


def _names_in(name: str) -> Iterator[str]:
    """Yield the names, in small letters, by one of which a script calls an object: its own and, on a table, that's."""
    yield from (part.partition("(")[0].lower() for part in parts(name)[1:] or parts(name))


def changes(before: Mapping[Key, Value], after: Mapping[Key, Value]) -> Iterator[Change]:
    """Yield in which objects one state differs from another, in the order of kinds and names."""
    differing = {key for key, value in after.items() if before.get(key) != value} | (
        before.keys() - after.keys()
    )
    for key in sorted(differing):
        yield Change(key=key, before=before.get(key), after=after.get(key))
