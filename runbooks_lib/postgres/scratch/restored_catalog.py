"""Does a restored database hold what its dump carries? Two databases are compared, and not the machines below them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from runbooks_lib.names import parts
from runbooks_lib.postgres.catalog.canonical import canonical
from runbooks_lib.postgres.catalog.catalog import Catalog, Key, Value
from runbooks_lib.postgres.catalog.differences import Described, Difference, before_18, compare, describe
from runbooks_lib.postgres.dump.dump_script import Piece, identifiers
from runbooks_lib.postgres.scratch.restore import Restored

# In short what `definitions.NOT_DUMPED` says kind by kind.
NOT_CARRIED = (
    "versions of extensions, tablespaces, settings of the database and of roles, order of inherited columns"
)
# What PostgreSQL has since a major version: privileges that GRANT ALL gives, fields, kinds of objects.
NEW = {17: ("MAINTAIN",), 18: ("generated_columns",)}
# The fields of what a server prints of what it has parsed; and what pg_dump writes before and after each.
AROUND = {
    "definition": (
        r"^|\bAS |\bCONSTRAINT \S+ ",
        r"$|,| WITH NO DATA$| WITH (?:LOCAL|CASCADED) CHECK OPTION$",
    ),
    "default": (r"\bDEFAULT |\bAS \(", r"$|,|\)| NOT NULL"),
    "using": (r"\bUSING \(", r"\)$|\) WITH CHECK "),
    "with_check": (r"\bWITH CHECK \(", r"\)$"),
}


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
    have, want = (
        _carried(catalog, source_major, restored.server_major) for catalog in (restored.catalog, source)
    )
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
            any(wanted.search(each) for each in spelt)
            for wanted in (_wanted(*printed) for printed in _printed(difference.have, difference.want))
        )


def _wanted(what: str, printed: str) -> re.Pattern[str]:
    """Return what finds a printed text in a statement, as a whole: by what pg_dump writes before and after it."""
    if what != "definition" and "ARRAY[" in printed:
        printed = printed.removeprefix("SELECT ")  # by which `canonical` reads an expression
    printed = printed.removeprefix("ALTER TABLE t ADD CONSTRAINT c ")
    before, after = AROUND[what]
    return re.compile(f"(?:{before}){re.escape(_collapsed(printed))}(?:{after})")


def _collapsed(text: str) -> str:
    return " ".join(text.replace("CREATE OR REPLACE ", "CREATE ").rstrip("; \n").split())


def _carried(catalog: Catalog, source_major: int, major: int) -> Described:
    """Describe what of a catalogue a dump carries, in what both major versions know."""
    new = {name for since, names in NEW.items() if source_major < since <= major for name in names}
    described = describe(catalog.dumped())
    if source_major < 18 <= major:
        described = before_18(described)
    if not new:
        return described
    return {key: _without_new(value, new) for key, value in described.items() if key[0] not in new}


def _without_new(value: Value, new: set[str]) -> Value:
    """Return a description without fields and privileges that only the newer version has."""
    if not isinstance(value, tuple):
        return value
    return tuple(_without_new(part, new) for part in value if not _is_new(part, new))


def _is_new(value: Value, new: set[str]) -> bool:
    """Tell whether this is a field, a privilege (grantee, name, may pass it on), or a field with one."""
    match value:
        case (_, str(name), bool()):
            return name in new
        case (str(name), other):
            return name in new or _is_new(other, new)
        case _:
            return False


def _only_print(have: Value, want: Value) -> bool:
    """Tell whether two descriptions differ in nothing but texts that servers print."""
    if have == want:
        return True
    if not (isinstance(have, tuple) and isinstance(want, tuple) and len(have) == len(want)):
        return False
    if len(want) == 2 and want[0] in AROUND:
        return have[0] == want[0] and isinstance(have[1], str) and isinstance(want[1], str)
    return all(_only_print(ours, theirs) for ours, theirs in zip(have, want, strict=True))


def _printed(have: Value, want: Value) -> Iterable[tuple[str, str]]:
    """Yield the printed texts in which two descriptions differ, as the second has them, each after its field."""
    if have == want or not isinstance(want, tuple) or not isinstance(have, tuple):
        return
    if len(want) == 2 and want[0] in AROUND:
        yield str(want[0]), str(want[1])
        return
    for ours, theirs in zip(have, want, strict=True):
        yield from _printed(ours, theirs)


def _own_name(key: Key) -> str:
    """Return the name of an object itself: without its schema, and a function's without its arguments."""
    kind, name = key
    found = parts(name)
    if len(found) > 1 and any(word in kind for word in ("function", "procedure", "aggregate")):
        return found[1].partition("(")[0]
    return found[-1]
