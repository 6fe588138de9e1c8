"""What older versions of phase.toml say otherwise, read as what it means today."""

from __future__ import annotations

import glob
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from runbooks_lib.phase.mistakes import Mistakes
from runbooks_lib.phase.model import SPEC_VERSION, Ignored, Phase, Prisma
from runbooks_lib.phase.reader import Reader

SECTIONS = ("migration", "accept")  # today: prisma, and ignore of schema
_NEW = ("schema", "prisma", "accept")
_NEEDED = ("objective", "owners", "tables", "backup", "baseline", "migration")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Migration:
    """[migration]: the one migration to be settled."""

    name: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Accepted:
    """[[accept]]: something that a declared table has besides, exactly as the finding calls it."""

    object: str
    why: str


def as_today(phase: Phase, raw: Mapping[str, Any], reader: Reader, mistakes: Mistakes) -> Phase:
    """Return the phase with what the older sections of its file say; note what its version does not have.

    Until version 3, seed rows were all that their table was to hold.
    """
    for key, today in (("migration", "prisma"), ("accept", "schema")):
        if key in raw and today in raw:
            mistakes.add(key, f"is given beside {today}, which says the same today", f"leave {key} out")
    if "migration" in raw:
        migration = reader.value(_Migration, raw["migration"], "migration")
        phase = replace(phase, prisma=Prisma(target=migration.target, settle=(migration.name,)))
    if "accept" in raw:
        accepted = reader.value(tuple[_Accepted, ...], raw["accept"], "accept")
        ignored = tuple(Ignored(object=glob.escape(each.object), why=each.why) for each in accepted)
        phase = replace(phase, schema=replace(phase.schema, ignore=ignored))
    if phase.spec_version >= SPEC_VERSION:
        return phase
    for key in (key for key in _NEEDED if key not in raw):
        mistakes.add(key, "is missing", f"only from spec_version {SPEC_VERSION} on it may be left out")
    for key in (key for key in _NEW if raw.get(key)):
        mistakes.add(key, f"is a key of spec_version {SPEC_VERSION}", f"say spec_version = {SPEC_VERSION}")
    for number, each in enumerate(phase.seeds):
        if each.exact is not None or each.anywhere:
            path = f"seeds[{number}].{'anywhere' if each.anywhere else 'exact'}"
            mistakes.add(
                path, f"is a key of spec_version {SPEC_VERSION}", f"say spec_version = {SPEC_VERSION}"
            )
    seeds = (replace(each, exact=True) if each.tenant is None else each for each in phase.seeds)
    return replace(phase, seeds=tuple(seeds))
