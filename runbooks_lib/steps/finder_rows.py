"""What the finder found, as a table: an object a line, a column for each database that is worth one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from runbooks_lib.facts.databases import Sought
from runbooks_lib.postgres.catalog.finder import ABSENT, State


def by_database(matrix: Sequence[Sought], own: Collection[str]) -> tuple[dict[str, str], ...]:
    """Return the matrix with a column for each target's database and for each that holds half of it or more.

    The others are counted in one column: how many have the object, and how many could not be searched.
    """
    searched = dict.fromkeys(place for row in matrix for place in row.places)
    held = Counter(place for row in matrix for place, state in row.states.items() if state == State.THERE)
    shown = [place for place in searched if place in own or held[place] * 2 >= len(matrix)]
    others = [place for place in searched if place not in shown]
    return tuple(
        {
            "object": row.object,
            "kind": row.kind,
            **{place: row.places.get(place, ABSENT.words) for place in shown},
            "elsewhere": _elsewhere([row.states.get(place, State.ABSENT) for place in others]),
        }
        for row in matrix
    )


def _elsewhere(states: Sequence[str]) -> str:
    """Say in how many databases an object is in which state."""
    words = {
        State.THERE: "there",
        State.OTHERWISE: "otherwise",
        State.NOT_SEARCHED: "not searched",
        State.ABSENT: "absent",
    }
    return ", ".join(f"{said} in {states.count(state)}" for state, said in words.items() if state in states)
