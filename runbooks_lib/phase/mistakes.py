"""The mistakes of a phase file: collected, each with its key path, and raised all at once."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

from runbooks_lib.errors import SpecError

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
# A URL, or libpq's keyword/value form: either may carry a password, so neither is ever printed.
_CONNECTION_STRING = re.compile(
    r"\w://|\b(password|passwd|host|hostaddr|port|user|dbname|service|sslpassword)\s*=", re.IGNORECASE
)
_CONNECTION_KEY = re.compile(
    r"dsn|ur[il]|.*pass.*|.*secret.*|host|hostaddr|port|user|conninfo", re.IGNORECASE
)
_LONGEST_SHOWN = 80
_LONGEST_MEANT = 200  # characters: what is longer than any name is no misspelt one
_MOST_COMPARED = 1000
_MOST_NAMED = 20


class Mistakes:
    """Collects mistakes as `key.path: what is wrong; what is accepted`.

    A path has one mistake, the first that was noted: what follows from it is not added.
    """

    def __init__(self) -> None:
        self._found: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._found)

    def __contains__(self, path: str) -> bool:
        return path in self._found

    def add(self, path: str, wrong: str, accepted: str) -> None:
        """Note that the value at `path` is wrong."""
        self._found.setdefault(path, f"{path}: {wrong}; {accepted}")

    def refuse_connection_strings(self, value: object, path: str) -> None:
        """Note each string at or below `path` that says how to connect; its text is never shown."""
        for where, key, text in _strings(value, path):
            if _CONNECTION_STRING.search(text) or _CONNECTION_KEY.fullmatch(key):
                self.add(
                    where,
                    "says how to connect, and phase files are archived and shared",
                    'accepted is service = "NAME" alone: host and user stand in pg_service.conf, '
                    "the password in .pgpass",
                )

    def raise_all(self, file: Path, what: str = "phase file") -> None:
        """Raise SpecError, naming every mistake, if there is one; `what` says what sort of file it is."""
        if not self._found:
            return
        count = "1 mistake" if len(self._found) == 1 else f"{len(self._found)} mistakes"
        lines = "\n".join(
            f"  {number}. {text}{'' if text.endswith('?') else '.'}"
            for number, text in enumerate(self._found.values(), start=1)
        )
        raise SpecError(
            f"The {what} {file} has {count}:\n{lines}",
            "\nCorrect the file and run the command again.",
            mistakes=tuple(self._found.values()),
        )


def below(path: str, key: str) -> str:
    """Return the path of `key` in the table at `path`."""
    step = key if len(key) <= _LONGEST_MEANT and _BARE_KEY.fullmatch(key) else shown(key)
    return f"{path}.{step}" if path else step


def shown(value: object) -> str:
    """Return `value` for a message: short, and never a connection string."""
    text = f'"{value}"' if isinstance(value, str) else str(value)
    if _CONNECTION_STRING.search(text):
        return "a connection string"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def nearest(name: str, known: Collection[str]) -> str | None:
    """Return which of `known` was probably meant by `name`; upper and lower case count alike.

    Names that are longer than any, and more candidates than anybody would look through, are not compared: that would
    take as long as somebody who wrote them wants.
    """
    if len(name) > _LONGEST_MEANT:
        return None
    some = (candidate for candidate in islice(known, _MOST_COMPARED) if len(candidate) <= _LONGEST_MEANT)
    folded = {candidate.casefold(): candidate for candidate in some}
    near = get_close_matches(name.casefold(), folded, n=1)
    return folded[near[0]] if near else None


def suggestion(name: str, known: Collection[str]) -> str:
    """Return 'did you mean …?' or, where nothing is near, which names there are."""
    if near := nearest(name, known):
        return f"did you mean {shown(near)}?"
    names = ", ".join(shown(candidate).strip('"') for candidate in islice(known, _MOST_NAMED))
    more = f" and {len(known) - _MOST_NAMED} more" if len(known) > _MOST_NAMED else ""
    return f"accepted: {names}{more}" if known else "there is none to name"


def _strings(value: object, path: str, key: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield path, key and text of each string at or below `value`."""
    if isinstance(value, str):
        yield path, key, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _strings(inner, below(path, name), name)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _strings(inner, f"{path}[{number}]", key)
