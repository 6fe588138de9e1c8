"""The picture of the servers: which one has which database, in which role, and where the tables are."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from runbooks_lib.evidence import Evidence
from runbooks_lib.facts.databases import Lag
from runbooks_lib.phase import Phase
from runbooks_lib.report.databases import Place, Searched, places, searched
from runbooks_lib.report.templates import in_language, render

WIDTH, BOX_WIDTH, MARGIN = 860, 336, 6
HEAD_HEIGHT, PLACE_HEIGHT, LINE_HEIGHT, GAP = 58, 84, 18, 26


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server's box: its targets, and the other databases that were searched on it; x, y, height in pixels."""

    address: str | None
    standby: bool
    places: tuple[Place, ...]
    others: tuple[Searched, ...]
    x: int
    y: int

    @property
    def height(self) -> int:
        """Return the height of the box."""
        return HEAD_HEIGHT + PLACE_HEIGHT * len(self.places) + (LINE_HEIGHT + 10 if self.others else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrow:
    """Replication from one server to another, as it was seen when the run began; `lag` None: it was not seen."""

    x1: int
    y1: int
    x2: int
    y2: int
    lag: Lag | None


def topology(phase: Phase, seen: Evidence, lang: str) -> Markup:
    """Return the picture as SVG in a language."""
    every = places(phase, seen)
    boxes = _boxes(every, searched(seen))
    return Markup(
        render(
            "topology.svg.j2",
            in_language(lang),
            boxes=boxes,
            arrows=_arrows(phase, boxes),
            total=len(phase.tables),
            width=WIDTH,
            box_width=BOX_WIDTH,
            head_height=HEAD_HEIGHT,
            place_height=PLACE_HEIGHT,
            height=max((box.y + box.height for box in boxes), default=0) + MARGIN,
        )
    )


def _boxes(every: tuple[Place, ...], found: tuple[Searched, ...]) -> tuple[Server, ...]:
    """Return a box for each server, and one for each target that did not answer; standbys stand on the right."""
    groups: dict[str, list[Place]] = {}
    for place in every:
        groups.setdefault(place.server or f"\0{place.target}", []).append(place)
    bottom = {False: MARGIN, True: MARGIN}
    boxes = []
    for group in groups.values():
        mine = tuple(group)
        standby = all(place.role == "replica" for place in mine)
        box = Server(
            address=mine[0].server,
            standby=standby,
            places=mine,
            others=tuple(s for s in found if _is_other(s, mine)),
            x=WIDTH - MARGIN - BOX_WIDTH if standby else MARGIN,
            y=bottom[standby],
        )
        bottom[standby] += box.height + GAP
        boxes.append(box)
    return tuple(boxes)


def _is_other(place: Searched, mine: tuple[Place, ...]) -> bool:
    server, _, database = place.place.partition(" ")
    return server == mine[0].server and database not in {target.database for target in mine}


def _arrows(phase: Phase, boxes: tuple[Server, ...]) -> tuple[Arrow, ...]:
    """Return an arrow to each standby from the server of the target that it follows."""
    home = {place.target: box for box in boxes for place in box.places}
    arrows = []
    for box in (box for box in boxes if box.standby):
        place = next((p for p in box.places if p.lag), box.places[0])
        primary = home.get(phase.targets[place.target].primary or "")
        if primary is None or primary.standby:
            continue
        y2 = box.y + HEAD_HEIGHT + PLACE_HEIGHT // 2
        y1 = min(y2, primary.y + primary.height - 20)
        arrows.append(Arrow(x1=primary.x + BOX_WIDTH, y1=y1, x2=box.x - 3, y2=y2, lag=place.lag))
    return tuple(arrows)
