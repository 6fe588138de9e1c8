"""What two phases assert differently: by values under the keys of phase.toml; prose, comments and order are nothing."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple

from runbooks_lib.drafting.phase_draft import draft_phase
from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.names import qualified
from runbooks_lib.phase import Phase
from runbooks_lib.phase.seed_file import SeedFile
from runbooks_lib.phase.text import Text
from runbooks_lib.steps.baseline_file import read_concurrent, read_statements

_NO_ASSERTION = frozenset({"spec_version", "id", "title", "folder", "digest"})
_DRAFTED = ("owner", "schema", "prisma", "baseline")  # what a draft asserts, too
_NAMES = (
    "name",
    "table",
    "object",
    "migration",
    "rule",
    "path",
)  # of one of a list; a route has its method, too


class Change(NamedTuple):
    """A key of phase.toml at which two phases assert something else; None where one asserts nothing."""

    key: str
    was: Any
    now: Any


def compare_phases(one: Phase, other: Phase, *, only: Sequence[str] = ()) -> tuple[Change, ...]:
    """Return what the second phase asserts otherwise than the first, in the order of the keys.

    `only` names the sections that are compared; all where it is empty. Raises MigrationError for a baseline that
    can't be read.
    """
    was, now = (dict(_asserted(each, only)) for each in (one, other))
    return tuple(
        Change(key, was.get(key), now.get(key))
        for key in sorted({*was, *now})
        if was.get(key) != now.get(key)
    )


def compare_with_draft(phase: Phase) -> tuple[Change, ...]:
    """Return what a draft of today, of the database that the phase writes, asserts otherwise than the phase.

    Raises what `draft_phase` does, and PreconditionFailed for a phase that writes nothing.
    """
    if phase.written is None:
        raise PreconditionFailed(
            "The phase has no [prisma] and no [baseline].", "Name a second phase to compare it with."
        )
    with tempfile.TemporaryDirectory() as folder:
        drafted = draft_phase(phase.targets[phase.written].service, Path(folder) / phase.id, ()).phase
        changes = compare_phases(phase, drafted, only=_DRAFTED)
    return tuple(
        each for each in changes if not each.key.endswith(".target")
    )  # a draft's has a name of its own


def _asserted(phase: Phase, only: Sequence[str]) -> Iterator[tuple[str, Any]]:
    for each in fields(phase):
        if each.name not in _NO_ASSERTION and (not only or each.name in only):
            yield from _values(each.name, getattr(phase, each.name))
    if phase.baseline is not None and (not only or "baseline" in only):
        found = (*read_statements(phase), *read_concurrent(phase))
        statements = [(f"{each.kind} {each.object}", _flat(each.text)) for each in found]
        for name, (_, text) in zip(_told_apart(name for name, _ in statements), statements, strict=True):
            yield f"baseline.statements.{name}", text
    for seeds in phase.seeds if not only or "seeds" in only else ():
        if seeds.file is not None:
            yield f"seeds.{seeds.table}.sha256", SeedFile(phase.folder / seeds.file).digest()


def _values(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the values below a key that are asserted: what is None is not."""
    if is_dataclass(value) and not isinstance(value, Text):
        for each in fields(value):
            yield from _values(f"{key}.{each.name}", getattr(value, each.name))
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield from _values(f"{key}.{qualified(str(name))}", each)
    elif isinstance(value, tuple) and any(is_dataclass(each) or isinstance(each, Mapping) for each in value):
        for name, each in zip(_told_apart(map(_name, value)), value, strict=True):
            yield from _values(f"{key}.{name}", each)
    elif value is not None and value != () and not isinstance(value, Text):
        yield key, value


def _name(value: Any) -> str:
    """Return how one of a list is told from the others: a row by its first value, others by their names."""
    if isinstance(value, Mapping):
        return str(next(iter(value.values()), ""))
    found = [
        str(getattr(value, name))
        for name in ("method", *_NAMES)
        if isinstance(getattr(value, name, None), str)
    ]
    return " ".join(found[:2]) if hasattr(value, "method") else found[0] if found else ""


def _told_apart(names: Iterable[str]) -> Iterator[str]:
    """Yield each name, and from its second time on its number with it."""
    seen: Counter[str] = Counter()
    for name in names:
        seen[name] += 1
        yield name if seen[name] == 1 else f"{name} ({seen[name]})"


def _flat(text: str) -> str:
    return " ".join(line.strip() for line in text.splitlines() if not line.lstrip().startswith("--")).strip()
