"""Doors: what people search for, an error code or a message, each with its page of what it means and what is safe."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_PRINTED = re.compile(r"^- (`.+`)$", re.MULTILINE)
_CODE = re.compile(r"[0-9A-Z]{5}")
_NAME = r'(?:"[^"\n]*"|[^"\n]{1,80}?)'  # what stands in a message where the page has GAP
GAP = "…"


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """One page: its id, the codes and the messages that lead to it, and its text, Markdown in English.

    A message has `…` where a name stands.
    """

    id: str
    title: str
    codes: tuple[str, ...]
    messages: tuple[str, ...]
    page: str

    def found_in(self, text: str) -> range | None:
        """Return where a text holds one of this door's codes or messages, the longest; None when it has none."""
        patterns = [rf"\b{code}\b" for code in self.codes] + [_pattern(message) for message in self.messages]
        places = [range(*found.span()) for p in patterns if (found := re.search(p, text, re.IGNORECASE))]
        return max(places, key=len, default=None)


@cache
def doors() -> tuple[Door, ...]:
    """Return every door, by its id."""
    return tuple(sorted(_read(), key=lambda door: door.id))


def find_doors(text: str) -> tuple[Door, ...]:
    """Return the doors that a text names: the one whose id it is, else those of the codes and messages in it, in order.

    A message that is part of another one does not count: `column … of relation … does not exist` speaks of a column.
    """
    named = tuple(door for door in doors() if door.id.casefold() == text.strip().casefold())
    if named:
        return named
    found = {door: place for door in doors() if (place := door.found_in(text)) is not None}
    whole = [
        door for door, place in found.items() if not any(_inside(place, other) for other in found.values())
    ]
    return tuple(sorted(whole, key=lambda door: found[door].start))


def _inside(place: range, other: range) -> bool:
    return len(place) < len(other) and place.start >= other.start and place.stop <= other.stop


def _read() -> Iterator[Door]:
    for file in files(__name__).iterdir():
        if file.name.endswith(".md"):
            page = file.read_text(encoding="utf-8")
            lines = _PRINTED.findall(page.partition("## it is printed as\n")[2].partition("\n## ")[0])
            printed = [text for line in lines for text in re.findall(r"`(.+?)`", line)]
            yield Door(
                id=file.name.removesuffix(".md"),
                title=page.partition("\n")[0].partition(": ")[2],
                codes=tuple(text for text in printed if _CODE.fullmatch(text)),
                messages=tuple(text for text in printed if not _CODE.fullmatch(text)),
                page=page,
            )


def _pattern(message: str) -> str:
    """Return a message as a regular expression: any blank for a blank, a name for a gap."""
    return _NAME.join(re.sub(r"\\?\s+", r"\\s+", re.escape(part)) for part in message.split(GAP))
