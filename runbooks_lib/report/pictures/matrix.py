"""The picture of what is where: declared objects by database, as a heat map with words in its cells."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from runbooks_lib.evidence import Evidence
from runbooks_lib.facts.contents import LastLook
from runbooks_lib.facts.databases import Matrix, Schema
from runbooks_lib.findings import CLOSING, Finding, Verdict, judged
from runbooks_lib.phase import Phase
from runbooks_lib.postgres.catalog.finder import State
from runbooks_lib.report.databases import BEFORE, KINDS, NOW, Place, places
from runbooks_lib.report.templates import in_language, render

SHOWN_ROWS, SHOWN_COLUMNS = 60, 6
_OTHERS = {"tables": "table", "enums": "enum"}  # what the finder looks for in all databases


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One object at one target.

    `state` is there, created (by this run), different (from the phase), absent, planned (a run that applies would
    create it) or unseen; `rows` is a table's number of rows. At the other databases: found or none, and in how many.
    """

    state: str
    rows: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One object: its cell at each target, and at the other databases that were searched (None: not looked for)."""

    kind: str
    name: str
    cells: tuple[Cell, ...]
    others: Cell | None


def matrix(phase: Phase, seen: Evidence, lang: str) -> Markup:
    """Return the picture as SVG in a language."""
    shown = places(phase, seen)[:SHOWN_COLUMNS]
    elsewhere = _other_places(shown, seen)
    rows = [
        Row(
            kind=kind,
            name=name,
            cells=tuple(_cell(seen, kind, name, place.target) for place in shown),
            others=_elsewhere(seen, kind, name, elsewhere),
        )
        for kind, names in _declared(phase).items()
        for name in names
    ]
    return Markup(
        render(
            "matrix.svg.j2",
            in_language(lang),
            places=shown,
            rows=rows[:SHOWN_ROWS],
            left_out=len(rows) - SHOWN_ROWS,
            others=len(elsewhere),
            symbols={"there": "✔", "created": "+", "different": "≠", "absent": "✕", "planned": "○"},
        )
    )


def _declared(phase: Phase) -> dict[str, tuple[str, ...]]:
    return {
        "tables": tuple(table.name for table in phase.tables),
        "enums": tuple(enum.name for enum in phase.enums),
        "indexes": tuple(index.name for index in phase.indexes),
    }


def _cell(seen: Evidence, kind: str, name: str, target: str) -> Cell:
    now, before = (seen.facts(look).targets.get(target) for look in (LastLook, Schema))
    latest = now or before
    if latest is None:
        return Cell(state="unseen")
    verdict = judged(_findings(seen, NOW if now else BEFORE, kind, name, target))
    held = getattr(latest, kind).get(name)
    if held is None:
        return Cell(state="planned" if verdict in (Verdict.SKIP, Verdict.PASS) else "absent")
    rows = held.rows if kind == "tables" else None
    if verdict in CLOSING:
        return Cell(state="different", rows=rows)
    created = now is not None and before is not None and name not in getattr(before, kind)
    return Cell(state="created" if created else "there", rows=rows)


def _findings(
    seen: Evidence, look: tuple[str, str], kind: str, name: str, target: str
) -> tuple[Finding, ...]:
    return seen.findings(*look, checks=KINDS[kind], targets=(target,), object=name)


def _other_places(shown: tuple[Place, ...], seen: Evidence) -> tuple[str, ...]:
    lines = seen.facts(Matrix).matrix
    known = {f"{place.server} {place.database}" for place in shown}
    return tuple(dict.fromkeys(p for line in lines for p in line.states if p not in known))


def _elsewhere(seen: Evidence, kind: str, name: str, elsewhere: tuple[str, ...]) -> Cell | None:
    lines = seen.facts(Matrix).matrix
    line = next((e for e in lines if e.states and (e.kind, e.object) == (_OTHERS.get(kind), name)), None)
    if line is None or not elsewhere:
        return None
    said = [line.states.get(place, State.ABSENT) for place in elsewhere]
    found = sum(state in (State.THERE, State.OTHERWISE) for state in said)
    if not found and State.NOT_SEARCHED in said:
        return Cell(state="unseen")
    return Cell(state="found" if found else "none", rows=found)
