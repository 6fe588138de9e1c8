"""Sizes, durations, times and truth as people write them, in English; machines read the numbers in the JSON."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from math import log

UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")


def size(octets: int) -> str:
    """Return a number of bytes: 0 bytes, 1 byte, 912 bytes, 68.8 GiB."""
    number, unit = scaled(octets)
    return f"{number:.1f} {unit}" if unit else f"{octets} byte{'' if octets == 1 else 's'}"


def scaled(octets: int) -> tuple[float, str]:
    """Return a number of bytes in the unit that people use for so many; without a unit it is bytes."""
    if abs(octets) < 1024:
        return octets, ""
    power = min(len(UNITS), int(log(abs(octets) * 1.00005, 1024)))  # 1023.96 KiB would be printed as 1024.0
    return octets / 1024**power, UNITS[power - 1]


def lasted(seconds: float) -> str:
    """Return a duration: 0.4 s, 3.5 s, 2 min 5 s, 1 h 12 min."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def moment(iso: str) -> str:
    """Return an ISO 8601 moment in UTC: 7 Jan 2026, 17:47 UTC."""
    when = datetime.fromisoformat(iso)
    when = (when.replace(tzinfo=UTC) if when.tzinfo is None else when).astimezone(UTC)
    return f"{when.day} {when:%b %Y, %H:%M} UTC"


def counted(number: int, one: str) -> str:
    """Return a number of things: 1 index, 11 indexes, 2 policies, 5 tables."""
    if number == 1:
        return f"1 {one}"
    if one.endswith("y") and one[-2:-1] not in "aeiou":
        return f"{number} {one[:-1]}ies"
    return f"{number} {one}{'es' if one.endswith(('x', 's')) else 's'}"


def in_words(value: object) -> str:
    """Return any value as people write it, never as Python does: none, yes, "a, b", "public.a 2, public.b 5"."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {in_words(each)}" for key, each in value.items()) or "none"
    if type(value) in (list, tuple, set, frozenset):  # what is derived from them says itself
        words = [in_words(each) for each in value]  # type: ignore[attr-defined]
        return ", ".join(words if isinstance(value, list | tuple) else sorted(words)) or "none"
    return "none" if value is None else str(value)
