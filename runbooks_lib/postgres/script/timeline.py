"""Marks in the catalogue, one after another: which later one takes an earlier one away again?

A mark is a place in the catalogue and what stands there: ("relation", "public", "Order", "column", "total") -> THERE.
Where a later statement sets another mark, the first one would be due again on a second run.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

Place = tuple[str, ...]
THERE = "there"
ABSENT = None


class Shape(NamedTuple):
    """How PostgreSQL prints what is added, and what has to last for it to be printed so in the end, too."""

    text: str
    rests: Mapping[Place, str | None] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """What a statement sets; of that, and of what else must be there, what has to last: else it is due again.

    `shapes` is that of what is added; `unless` is for a DROP that passes over what is printed so. `brings` is what
    comes with a whole that is made, as a table's columns, or all of it where that is not told.
    """

    sets: Mapping[Place, str | None]
    lasts: Mapping[Place, str | None]
    shapes: Mapping[Place, Shape] = field(default_factory=dict)
    unless: Mapping[Place, str] = field(default_factory=dict)
    brings: frozenset[Place] = frozenset()

    def may_bring(self, place: Place) -> bool:
        """Return whether something may come to a place with a whole that is made."""
        return any(place[:length] in self.brings for length in range(1, len(place) + 1))


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
        if at != place and mine.lasts[place] is ABSENT:
            return theirs.may_bring(place)
        if at != place:
            return theirs.sets[at] is ABSENT
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
        for at in reversed(range(number)):
            marks = self._marks[at]
            if place in marks.sets or marks.may_bring(place):
                shape = marks.shapes.get(place)
                changed = shape and any(
                    rest in each.sets for each in self._marks[at + 1 : number] for rest in shape.rests
                )
                return shape.text if shape and not changed else ""
        return ""

    def shape_after(self, number: int, place: Place) -> str:
        """Return how PostgreSQL prints what next comes to a place; "" when that is not known, or nothing comes."""
        return next((self._text(at, place) for at in self._after(number, place)), "")

    def _text(self, number: int, place: Place) -> str:
        shape = self._marks[number].shapes.get(place)
        return shape.text if shape else ""
