"""Does a restored database hold what its dump carries? Two databases are compared, and not the machines below them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from runbooks_lib.names import parts
from runbooks_lib.postgres.canonical import canonical
from runbooks_lib.postgres.catalog import Catalog, Key, Value
from runbooks_lib.postgres.differences import Described, Difference, compare, describe, field, without
from runbooks_lib.postgres.dump_script import Piece, identifiers
from runbooks_lib.postgres.restore import Restored

# In short what `definitions.NOT_DUMPED` says kind by kind.
NOT_CARRIED = "versions of extensions, tablespaces, settings of the database and of roles"
PRINTED = ("definition", "default")  # what the server prints of what it has parsed
NEW_PRIVILEGES = {17: "MAINTAIN"}  # by the major version that has it first: GRANT ALL gives it there
CONTEXTS = (
    "ALTER TABLE t ADD CONSTRAINT c ",
    "SELECT ",
)  # of `canonical`, for what is no statement by itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How a restored database and its source differ.

    `differing` really does. `not_judged` is what the scratch could not make. `respelt` is printed otherwise there, by
    another major version or because PostgreSQL respells what it reads, and stands in the dump as its source prints it.
    """

    differing: tuple[Difference, ...] = ()
    not_judged: tuple[Difference, ...] = ()
    respelt: tuple[Difference, ...] = ()


def compare_restored(restored: Restored, source: Catalog, *, source_major: int) -> Comparison:
    """Compare what a dump restored to with its source, as far as a dump carries it."""
    left_out = [identifiers(each.statement) for each in restored.outcome.left_out]
    text = _Text(restored.pieces)
    found: dict[str, list[Difference]] = {}
    have = _carried(restored.catalog, source_major, restored.server_major)
    want = _carried(source, source_major, source_major)
    for difference in compare(have, want):
        own = _own_name(difference.key)
        if _only_print(difference.have, difference.want) and text.holds(own, difference):
            kind = "respelt"
        elif any(own in names for names in left_out):
            kind = "not_judged"
        else:
            kind = "differing"
        found.setdefault(kind, []).append(difference)
    return Comparison(**{kind: tuple(differences) for kind, differences in found.items()})


class _Text:
    """A dump's statements, to look for what a server prints: blanks do not count."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = pieces

    def holds(self, name: str, difference: Difference) -> bool:
        """Tell whether what the source prints of an object, where it differs, stands in statements that name it."""
        about = [piece.text for piece in self._pieces if name in piece.text]
        spelt = [_collapsed(each) for text in about for each in {text, canonical(text)}]
        return all(
            any(printed in each for each in spelt)
            for printed in map(_bare, _printed(difference.have, difference.want))
        )


def _bare(printed: str) -> str:
    for context in CONTEXTS if "ARRAY[" in printed else ():
        printed = printed.removeprefix(context)
    return _collapsed(printed)


def _collapsed(text: str) -> str:
    return " ".join(text.replace("CREATE OR REPLACE ", "CREATE ").rstrip("; \n").split())


def _carried(catalog: Catalog, source_major: int, major: int) -> Described:
    """Describe what of a catalogue a dump carries."""
    new = {name for since, name in NEW_PRIVILEGES.items() if source_major < since <= major}
    return {
        key: _without_privileges(value, new) if new else value
        for key, value in describe(catalog.dumped()).items()
    }


def _without_privileges(value: Value, new: set[str]) -> Value:
    """Return a description without the privileges that the source's version does not have."""
    granted = field(value, "privileges")
    if not isinstance(granted, tuple):
        return value
    known = tuple(grant for grant in granted if isinstance(grant, tuple) and grant[1] not in new)
    others = without(value, "privileges")
    return (*(others if isinstance(others, tuple) else ()), ("privileges", known))


def _only_print(have: Value, want: Value) -> bool:
    """Tell whether two descriptions differ in nothing but texts that servers print."""
    if have == want:
        return True
    if not (isinstance(have, tuple) and isinstance(want, tuple) and len(have) == len(want)):
        return False
    if len(want) == 2 and want[0] in PRINTED:
        return have[0] == want[0] and isinstance(have[1], str) and isinstance(want[1], str)
    return all(_only_print(ours, theirs) for ours, theirs in zip(have, want, strict=True))


def _printed(have: Value, want: Value) -> Iterable[str]:
    """Yield the printed texts in which two descriptions differ, as the second has them."""
    if have == want or not isinstance(want, tuple) or not isinstance(have, tuple):
        return
    if len(want) == 2 and want[0] in PRINTED:
        yield str(want[1])
        return
    for ours, theirs in zip(have, want, strict=True):
        yield from _printed(ours, theirs)


def _own_name(key: Key) -> str:
    """Return the name of an object itself: without its schema, and a function's without its arguments."""
    kind, name = key
    last = parts(name)[-1]
    return last.partition("(")[0] if kind in ("function", "aggregate") else last
