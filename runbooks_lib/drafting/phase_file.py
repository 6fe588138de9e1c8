"""The text of a drafted phase.toml: short, with a comment at each choice that a person must review."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import tomlkit

from runbooks_lib.names import parts
from runbooks_lib.visible import visible

LISTED = 12
BASELINE, INDEXES = "baseline.sql", "indexes.sql"
SOURCE = (
    "# Drafted by `runbooks phase draft`. What must stand is what the project's migrations make.",
    "# REVIEW marks what a person has to decide. Then: runbooks phase check, runbooks run.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedDraft:
    """Rows that a table must hold: how they are found, in which file they lie, and of which tenant they are."""

    table: str
    key: tuple[str, ...]
    file: str
    rows: int
    tenant: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseDraft:
    """What a phase file is drafted from: names of the database, and what differs there from what the migrations make.

    `owners` counts the objects of each owner. `extras` are in the database only, as are the migrations `only_there`;
    `differing` are objects that the migrations make otherwise, in words. `completes` are migrations that stand in part
    and are in the baseline; `left` is what of them is not. Of these, `repairs` are recorded as applied; `indexes`: some
    are built CONCURRENTLY. `accept` and `ignore` are the reasons why the migrations and the objects may stay that only
    the database has, `repair` why what is recorded may be made anew; without one they are commented out.
    """

    id: str
    service: str
    database: str
    owners: Mapping[str, int]
    standbys: int = 0
    extras: Sequence[tuple[str, str]] = ()
    differing: Sequence[str] = ()
    only_there: Sequence[str] = ()
    completes: Sequence[str] = ()
    repairs: Sequence[str] = ()
    indexes: bool = False
    left: Sequence[str] = ()
    seeds: Sequence[SeedDraft] = ()
    accept: str = ""
    ignore: str = ""
    repair: str = ""


def phase_file(draft: PhaseDraft) -> str:
    """Return the phase.toml of a draft."""
    return (
        "\n".join((*_head(draft), *_schema(draft), *_prisma(draft), *_baseline(draft), *_seeds(draft))) + "\n"
    )


def waits_for_reason(text: str) -> int | None:
    """Return the first line of a drafted phase at which a reason is wanted without which its plan is red.

    What has one in another line of its own does not wait for it.
    """
    key, lines = "", text.splitlines()
    for number, line in enumerate(lines, 1):
        if found := re.match(r"(\w+) = \[$|\]$", line):
            key = found[1] or ""
        elif key in ("accept", "repairs") and line.startswith("  # {"):
            named = line.removeprefix("  # ").partition("why")[0]
            if not any(each.strip().startswith(named) for each in lines):
                return number
    return None


def _head(draft: PhaseDraft) -> Iterator[str]:
    yield from SOURCE
    yield "spec_version = 3"
    yield f"id = {_text(draft.id)}  # the folder's name"
    yield f"title = {_text(f'Database {draft.database}: history brought in line')}  # REVIEW: what it is for"
    yield ""
    yield "[targets]"
    yield (
        f'leader = {{ service = {_text(draft.service)}, role = "primary", database = {_text(draft.database)} }}'
    )
    if draft.standbys:
        yield f"# REVIEW: standbys that stream from it: {draft.standbys}. One that has a service is proved, too:"
        yield (
            f'# replica = {{ service = "…", role = "standby", database = {_text(draft.database)}, primary = "leader" }}'
        )
    yield ""
    owners = sorted(draft.owners.items(), key=lambda each: (-each[1], each[0]))
    if len(owners) == 1:
        yield "[owners]"
        yield f"default = {_text(owners[0][0])}  # REVIEW: it has all that the migrations make; no migration says so"
        yield ""
    elif owners:
        counted = ", ".join(f"{_shown(name)} {count}" for name, count in owners[:LISTED])
        yield f"# REVIEW: several own what the migrations make ({counted}); owners are judged once one is named:"
        yield f"# owners.default = {_text(owners[0][0])}"
        yield ""


def _schema(draft: PhaseDraft) -> Iterator[str]:
    yield "[schema]"
    yield 'from = "migrations"'
    if draft.extras:
        yield f"# REVIEW: objects that no migration makes: {len(draft.extras)}. Drop each, or say why it may stay."
        named = [f"object = {_text(glob.escape(f'{kind} {name}'))}" for kind, name in draft.extras]
        yield from _exceptions("ignore", named, draft.ignore)
    if draft.differing:
        yield "# REVIEW: not as the migrations make it, and nothing here mends that:"
        yield from _listed(draft.differing)
    yield ""


def _prisma(draft: PhaseDraft) -> Iterator[str]:
    yield "[prisma]"
    yield 'target = "leader"'
    yield 'settle = "all"  # REVIEW: or a list of names, to settle those alone'
    if draft.only_there:
        yield "# REVIEW: recorded, and not in the folder. Is it the right branch? If so, say why each may stay."
        named = [f"migration = {_text(name)}" for name in draft.only_there]
        yield from _exceptions("accept", named, draft.accept)
    yield ""


def _exceptions(key: str, named: Sequence[str], why: str) -> Iterator[str]:
    """Yield a list of exceptions with the reason for them: commented out, and not all, where there is none."""
    yield f"{key} = ["
    for each in named if why else named[:LISTED]:
        yield f"  {{ {each}, why = {_text(why)} }}," if why else f'  # {{ {each}, why = "…" }},'
    if not why and len(named) > LISTED:
        yield f"  # and {len(named) - LISTED} more, which the plan names; one pattern may stand for many"
    yield "]"


def _baseline(draft: PhaseDraft) -> Iterator[str]:
    if not (draft.completes or draft.left):
        return
    if draft.completes:
        yield f"# REVIEW {BASELINE}: it makes what is missing of {_some(draft.completes)}."
    if draft.left:
        yield "# REVIEW: this is missing, too, and is to be done by hand:"
        yield from _listed(draft.left)
    if draft.completes:
        yield "[baseline]"
        yield f"file = {_text(BASELINE)}"
        yield 'target = "leader"'
    if draft.indexes:
        yield f"concurrently = {_text(INDEXES)}  # REVIEW: built after it, while others write"
    if draft.repairs:
        yield f"# REVIEW: recorded as applied, and not all there: {len(draft.repairs)}. Who took it away? The plan is"
        yield "# red until each has a reason why the baseline may make it anew."
        named = [f"migration = {_text(name)}" for name in draft.repairs]
        yield from _exceptions("repairs", named, draft.repair)
    yield ""


def _seeds(draft: PhaseDraft) -> Iterator[str]:
    for seeds in draft.seeds:
        yield "[[seeds]]"
        yield f"table = {_text(_relation(seeds.table))}"
        yield f"key = [{', '.join(map(_text, seeds.key))}]"
        yield f"file = {_text(seeds.file)}  # REVIEW: {seeds.rows} rows, as they are now. Right? No secret?"
        if seeds.tenant is not None:
            yield f"tenant = {_text(seeds.tenant)}"
        exact, whose = ("true", " of the tenant") if seeds.tenant else ("false", "")
        yield f"exact = {exact}  # true: other rows{whose} are a mistake"
        yield ""


def _listed(items: Sequence[str]) -> Iterator[str]:
    yield from (f"#   {_shown(each)}" for each in items[:LISTED])
    if len(items) > LISTED:
        yield f"#   and {len(items) - LISTED} more, which the plan names"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(map(_shown, names[:3])) + more


def _relation(name: str) -> str:
    """Return a relation's name as a phase has it: a part with a space in quotes, too."""
    quoted = (
        '"' + part.replace('"', '""') + '"' if re.search(r'[\s."]', part) else part for part in parts(name)
    )
    return ".".join(quoted)


def _text(value: str) -> str:
    """Return a text as TOML spells it, on one line."""
    return tomlkit.string(value).as_string()


def _shown(value: str) -> str:
    """Return what somebody else wrote for a comment: on one line, and every character seen."""
    return " ".join(visible(value).split())
