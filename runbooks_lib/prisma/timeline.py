"""When was a part of an object as a database has it? Its places in the history that the migrations make.

A history is a row of values, each from one statement on until the next that changes it. A value that comes again
has several places; what is known of migrations (this one was run, that one was not) narrows them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from runbooks_lib.postgres.catalog.catalog import Value
from runbooks_lib.postgres.catalog.differences import field

START = -1  # before the first statement
NEVER = 1 << 60  # after the last


class Stands(StrEnum):
    """What of an effect, of a statement's or of a migration's, stands in a database."""

    ALL = "all"
    NONE = "none"
    PART = "part"
    OTHER = "other"  # something that no statement has made
    NOTHING = "nothing"  # it has no effect that a catalogue shows


@dataclass(slots=True)
class Timeline:
    """The values that a part has had, from which position on, and which one a database has.

    A position is the number of a statement among all statements of all migrations. `run_until` is the last one that
    is known to have been run, `not_run_from` the first that is known not to have been.
    """

    positions: list[int]
    values: list[Value]
    live: Value
    run_until: int = START
    not_run_from: int = NEVER

    @property
    def places(self) -> list[int]:
        """Return at which of its values the history may stand: those that agree with all that is known, if any do."""
        equal = [place for place, value in enumerate(self.values) if value == self.live]
        return [place for place in equal if self._agrees(place)] or equal

    def _agrees(self, place: int) -> bool:
        until = self.positions[place + 1] if place + 1 < len(self.positions) else NEVER
        return until > self.run_until and self.positions[place] < self.not_run_from

    def stands(self, position: int) -> Stands | None:
        """Return whether the effect of a statement stands; None when it may or may not."""
        after = {self._place_of(position) <= place for place in self.places}
        if not after:
            return Stands.OTHER
        return None if len(after) == 2 else Stands.ALL if after.pop() else Stands.NONE

    def ends_at(self, position: int) -> bool:
        """Return whether the statement takes away what stood before: the live value, which came again since."""
        place = self._place_of(position)
        return loses(self.values[place - 1], self.values[place]) and self.values[place - 1] == self.live

    @property
    def is_as_known(self) -> bool:
        """Return whether the database's value can be explained by what is known."""
        return any(self._agrees(place) for place in self.places)

    @property
    def made_at(self) -> int:
        """Return at which position the value was made to which what is known leads: without any, the last one."""
        return self.positions[self._wanted_place]

    @property
    def wanted(self) -> Value:
        """Return the value to which what is known to have been run leads; without any, that at the end."""
        return self.values[self._wanted_place]

    @property
    def _wanted_place(self) -> int:
        return len(self.values) - 1 if self.run_until == START else self._place_of(self.run_until)

    def _place_of(self, position: int) -> int:
        return bisect_right(self.positions, position) - 1


def loses(before: Value, after: Value) -> bool:
    """Return whether rows or values go with a change of what holds them: it is dropped, or gets another type."""
    if before is None or after is None:
        return before is not None
    return field(before, "type") != field(after, "type")


def together(effects: Iterable[Stands]) -> Stands:
    """Return what stands of several effects."""
    found = set(effects) - {Stands.NOTHING}
    if not found:
        return Stands.NOTHING
    if Stands.OTHER in found:
        return Stands.OTHER
    return found.pop() if len(found) == 1 else Stands.PART
