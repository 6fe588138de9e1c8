"""Replays kept in the cache, so that plan, apply and whoever comes next pay once for the same scripts.

A file is found by a digest of the surroundings and the first script, and in it what stood after each script by a digest
of all scripts up to there: where scripts are added or changed, what was found of those before them still holds. It has
no text of a statement, which may hold a password, only where each stands in its script.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

import msgspec

from runbooks_lib.cache import cache_directory
from runbooks_lib.owned import our_folder, read_ours
from runbooks_lib.postgres.catalog.catalog import Value
from runbooks_lib.postgres.catalog.differences import Described, to_plain
from runbooks_lib.postgres.scratch.replayed import (
    ByStatement,
    Change,
    More,
    Ran,
    Replayed,
    StatementRan,
    changes,
)
from runbooks_lib.postgres.scratch.storage import write_private
from runbooks_lib.postgres.script.effects import Unjudged

UNUSED_S = 30 * 24 * 3600.0
MOST_BYTES = 256 << 20
LARGEST_BYTES = 64 << 20


_DEPTH = 9  # of tuples in tuples: what is deeper is not read back, and replayed each time


def _value_type() -> Any:
    """Return the type of an object's description, so that its lists are read as tuples."""
    found: Any = None | bool | int | str
    for _ in range(_DEPTH):
        found = None | bool | int | str | tuple[found, ...]
    return found


_Row = tuple[str, str, Value]
_ROWS: msgspec.json.Decoder[list[_Row]] = msgspec.json.Decoder(list[tuple[str, str, _value_type()]])  # type: ignore[misc]
_BY_STATEMENT: msgspec.json.Decoder[list[list[_Row]]] = msgspec.json.Decoder(
    list[list[tuple[str, str, _value_type()]]]  # type: ignore[misc]
)


class _Statement(msgspec.Struct, frozen=True, array_like=True):
    line: int
    words: str
    tag: str
    begin: int  # of its text in the script, in characters, and its length
    length: int
    unjudged: tuple[int, str, str] | None


class _Script(msgspec.Struct, frozen=True, array_like=True):
    mark: str
    apart: bool
    one_by_one: str
    statements: tuple[_Statement, ...]


class _File(msgspec.Struct, frozen=True):
    """What stood is given as what changed: at `states` since the number before (0 is the start), in `inside` by each
    statement. What is not asked for is not decoded.
    """

    server_version: str
    lacking: tuple[str, ...]
    borrowed: tuple[tuple[str, str], ...]
    start: msgspec.Raw
    end: msgspec.Raw
    scripts: tuple[_Script, ...]
    states: tuple[tuple[int, msgspec.Raw], ...]
    inside: tuple[tuple[int, msgspec.Raw], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is known of a replay from earlier: of all its scripts, or (`end` is None) of the first of them alone.

    `more` returns what stood before some of them and what statements change.
    """

    start: Described = field(repr=False)
    end: Described | None = field(repr=False)
    apart: frozenset[str]
    ran: tuple[Ran, ...]
    server_version: str
    lacking: tuple[str, ...]
    borrowed: tuple[tuple[str, str], ...]
    more: Callable[[], More] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """The place of a replay in the cache: the digest of everything but its scripts that it depends on, and these."""

    surroundings: str
    scripts: tuple[tuple[str, str], ...]

    @property
    def file(self) -> Path:
        """Return the file; its folder is made when missing. Raises PreconditionFailed when somebody else made it."""
        # The first script keeps a baseline and migrations, which have the same surroundings, out of each other's place.
        name = digest([self.surroundings, *(part for script in self.scripts[:1] for part in script)])
        return our_folder(cache_directory() / "replays") / f"{name}.json"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from working the same out at the same time: they wait, and find what was kept."""
        with (our_folder(cache_directory()) / "replays.lock").open("ab") as lock:
            with suppress(OSError):  # a file system without locks: it is worked out twice
                fcntl.lockf(lock, fcntl.LOCK_EX, 1, int(self.file.stem[:12], 16))
            yield

    @property
    def marks(self) -> tuple[str, ...]:
        """Return for each script a digest of all scripts up to it."""
        marks, mark = [], ""
        for name, text in self.scripts:
            mark = digest([mark, name, text])
            marks.append(mark)
        return tuple(marks)

    def read(self) -> Found | None:
        """Return what is known from earlier; None for a file that is damaged, not ours, or of other scripts."""
        file = self.file
        sha256, _, content = (read_ours(file, LARGEST_BYTES) or "").partition("\n")
        if hashlib.sha256(content.encode()).hexdigest() != sha256:
            return None
        try:
            kept = msgspec.json.decode(content, type=_File)
            os.utime(file)
            return self._found(kept)
        except (msgspec.MsgspecError, OSError, ValueError, KeyError):
            return None

    def write(self, replayed: Replayed, apart: frozenset[str]) -> None:
        """Keep what is known of a replay by now, if there is room, and remove what nobody has used for long."""
        replayed.recall()
        states, state = [], replayed.start
        for number, described in sorted(replayed.stood.items())[1:-1]:
            states.append((number, _raw(_to_rows(changes(state, described)))))
            state = described
        file = _File(
            server_version=replayed.server_version,
            lacking=replayed.lacking,
            borrowed=replayed.borrowed,
            start=_raw(to_plain(replayed.start)),
            end=_raw(to_plain(replayed.end)),
            scripts=tuple(
                _Script(mark, ran.name in apart, ran.one_by_one, tuple(_statements(ran.statements, script)))
                for mark, ran, (_, script) in zip(self.marks, replayed.scripts, self.scripts, strict=True)
            ),
            states=tuple(states),
            inside=tuple(
                (number, _raw([_to_rows(each) for each in found]))
                for number, found in sorted(replayed.inside.items())
            ),
        )
        content = msgspec.json.encode(file).decode()
        with suppress(OSError):  # it is known all the same
            if len(content) < LARGEST_BYTES - 100:
                write_private(self.file, f"{hashlib.sha256(content.encode()).hexdigest()}\n{content}")
            _remove_unused(self.file.parent)

    def _found(self, kept: _File) -> Found | None:
        pairs = takewhile(lambda pair: pair[0].mark == pair[1], zip(kept.scripts, self.marks, strict=False))
        known = [(name, text, script) for (name, text), (script, _) in zip(self.scripts, pairs, strict=False)]
        whole = len(known) == len(kept.scripts) == len(self.scripts)
        if not (known or whole):
            return None
        start = _described(kept.start)
        return Found(
            start=start,
            end=_described(kept.end) if whole else None,
            apart=frozenset(name for name, _, script in known if script.apart),
            ran=tuple(
                Ran(name=name, statements=tuple(_ran(script.statements, text)), one_by_one=script.one_by_one)
                for name, text, script in known
            ),
            server_version=kept.server_version,
            lacking=kept.lacking,
            borrowed=kept.borrowed,
            more=lambda: _more(kept, start, len(known)),
        )


def _more(kept: _File, start: Described, known: int) -> More:
    """Decode what stood before scripts, as far as they are known, and what their statements change."""
    stood, state = {0: start}, start
    for number, rows in kept.states:
        if number <= known:
            stood[number] = state = dict(state)
            _change(state, _ROWS.decode(rows))
    if known == len(kept.scripts):
        stood[known] = _described(kept.end)
    inside: dict[int, ByStatement] = {}
    for number, found in kept.inside:
        if number < known:
            state = dict(stood[number])
            inside[number] = tuple(_change(state, rows) for rows in _BY_STATEMENT.decode(found))
    return stood, inside


def digest(parts: Iterable[str]) -> str:
    """Return the SHA-256 (hex) over texts, told apart whatever they hold."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(hashlib.sha256(part.encode("utf-8", "surrogatepass")).digest())
    return whole.hexdigest()


def _statements(statements: Sequence[StatementRan], script: str) -> Iterable[_Statement]:
    begin = 0
    for one in statements:
        begin = script.index(one.text, begin)
        lost = one.unjudged
        why = None if lost is None else (lost.line, lost.what, lost.why)
        yield _Statement(one.line, one.words, one.tag, begin, len(one.text), why)
        begin += len(one.text)


def _ran(statements: Iterable[_Statement], script: str) -> Iterable[StatementRan]:
    for one in statements:
        lost = one.unjudged
        yield StatementRan(
            line=one.line,
            words=one.words,
            tag=one.tag,
            unjudged=None if lost is None else Unjudged(line=lost[0], what=lost[1], why=lost[2]),
            text=script[one.begin : one.begin + one.length],
        )


def _raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def _to_rows(found: Iterable[Change]) -> list[list[Any]]:
    return [[*change.key, change.after] for change in found]


def _described(rows: msgspec.Raw) -> Described:
    return {(kind, name): value for kind, name, value in _ROWS.decode(rows)}


def _change(state: Described, rows: Iterable[_Row]) -> tuple[Change, ...]:
    """Change a state as `rows` say; return that as changes."""
    found = []
    for kind, name, value in rows:
        key = kind, name
        found.append(Change(key=key, before=state.pop(key, None), after=value))
        if value is not None:
            state[key] = value
    return tuple(found)


def _remove_unused(folder: Path) -> None:
    """Remove the files that nobody has used for thirty days, and of too many those that were used longest ago.

    Those of a process that was killed while it wrote are among them; another one may remove them at the same time.
    """
    found = []
    for entry in folder.iterdir():
        with suppress(FileNotFoundError):
            found.append((entry.stat(), entry))
    bytes_kept = 0
    for state, entry in sorted(found, key=lambda each: -each[0].st_mtime):
        bytes_kept += state.st_size
        if bytes_kept > MOST_BYTES or state.st_mtime < time.time() - UNUSED_S:
            entry.unlink(missing_ok=True)
