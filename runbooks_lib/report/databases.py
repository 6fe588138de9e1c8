"""The report's view of the databases: who they are, and what of the phase they held before and hold now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from runbooks_lib.checks import Check
from runbooks_lib.evidence import Evidence
from runbooks_lib.facts.contents import LastLook, SeedFacts
from runbooks_lib.facts.databases import Held, Lag, Matrix, Replication, Schema, Sought, Targets, Who
from runbooks_lib.findings import Verdict, judged, standing
from runbooks_lib.phase import Phase, Role
from runbooks_lib.postgres.catalog.finder import ABSENT, State

BEFORE = ("preflight", "schema")
NOW = ("report", "last_look")
KINDS = {
    "tables": frozenset(
        {Check.HAS_TABLE, Check.TABLE_OWNER_IS, Check.COLUMNS_ARE, Check.COL_IS_PK, Check.ROW_COUNT_IS}
    ),
    "enums": frozenset({Check.HAS_ENUM, Check.ENUM_OWNER_IS, Check.ENUM_HAS_LABELS}),
    "indexes": frozenset({Check.HAS_INDEX, Check.INDEX_IS, Check.INDEX_OWNER_IS, Check.INDEX_IS_VALID}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A target: where it is, and how many of the declared tables it held before and holds now (None: not seen).

    `role` is leader, replica, or schema for a database whose data the phase does not judge.
    """

    target: str
    database: str
    server: str | None
    version: str | None
    role: str
    before: int | None
    now: int | None
    verdict: Verdict | None
    lag: Lag | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """One declared table at the targets of one database: owner and rows by target; absent ones are left out."""

    name: str
    owners: Mapping[str, str]
    rows: Mapping[str, int]
    tenants: tuple[str, ...]
    verdict: Verdict | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """The targets that have one database, and what they hold."""

    name: str
    places: tuple[Place, ...]
    tables: tuple[Holding, ...]

    @property
    def servers(self) -> tuple[str, ...]:
        """Return the servers that answered for it."""
        return tuple(dict.fromkeys(place.server for place in self.places if place.server))

    def held(self, when: str, total: int) -> str:
        """Say what its targets held `before` or hold `now`: all, none, some, unknown."""
        counts = {getattr(place, when) for place in self.places}
        if None in counts:
            return "unknown"
        return "all" if counts == {total} else "none" if counts == {0} else "some"


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """A database that the finder looked into: how many tables and enums it has, and what it has otherwise."""

    place: str
    tables: int
    enums: int
    otherwise: tuple[str, ...]
    not_searched: str | None

    @property
    def database(self) -> str:
        """Return the database's name; the place is server and database."""
        return self.place.partition(" ")[2]


def state(seen: Evidence, target: str) -> tuple[Held | None, str | None]:
    """Return what a target holds, by the last look or else the first, and the step that saw it."""
    for kind, (step, _) in ((LastLook, NOW), (Schema, BEFORE)):
        found = seen.facts(kind).targets.get(target)
        if found is not None:
            return found, step
    return None, None


def steps_that_saw(seen: Evidence, targets: Iterable[str]) -> tuple[str, ...]:
    """Return the steps from which `state` knows the targets."""
    return tuple(dict.fromkeys(step for target in targets if (step := state(seen, target)[1]) is not None))


def places(phase: Phase, seen: Evidence) -> tuple[Place, ...]:
    """Return the phase's targets in their order."""
    answered = seen.facts(Targets).targets
    lags = seen.facts(Replication).lag
    return tuple(
        Place(
            target=name,
            database=target.database,
            server=who.server if who else None,
            version=who.server_version if who else None,
            role=_role(who, declared=target.role) if target.data else "schema",
            before=_count(seen.facts(Schema), name),
            now=_count(seen.facts(LastLook), name),
            verdict=judged(seen.findings(*NOW, checks=KINDS["tables"], targets=(name,))),
            lag=lags.get(name),
        )
        for name, target in phase.targets.items()
        for who in (answered.get(name),)
    )


def _role(who: Who | None, *, declared: Role) -> str:
    seen = who.in_recovery if who else None
    standby = declared is Role.STANDBY if seen is None else seen
    return "replica" if standby else "leader"


def _count(look: Schema, target: str) -> int | None:
    found = look.targets.get(target)
    return None if found is None else len(found.tables)


def databases(phase: Phase, seen: Evidence) -> tuple[Database, ...]:
    """Return the databases of the phase's targets, in the order in which the phase names them."""
    every = places(phase, seen)
    names = dict.fromkeys(place.database for place in every)
    return tuple(
        _database(phase, seen, name, tuple(p for p in every if p.database == name)) for name in names
    )


def _database(phase: Phase, seen: Evidence, name: str, mine: tuple[Place, ...]) -> Database:
    targets = tuple(place.target for place in mine)
    held = {target: found.tables for target in targets if (found := state(seen, target)[0])}
    return Database(
        name=name,
        places=mine,
        tables=tuple(
            Holding(
                name=table.name,
                owners={t: tables[table.name].owner for t, tables in held.items() if table.name in tables},
                rows={t: tables[table.name].rows for t, tables in held.items() if table.name in tables},
                tenants=_tenants(seen, targets, table.name),
                verdict=standing(
                    seen.findings(*NOW, targets=targets, object=table.name)
                    or seen.findings(*BEFORE, targets=targets, object=table.name)
                ),
            )
            for table in phase.tables
        ),
    )


def _tenants(seen: Evidence, targets: tuple[str, ...], table: str) -> tuple[str, ...]:
    rows = seen.facts(SeedFacts).rows
    found = (r.tenant for r in rows if r.table == table and r.target in targets and r.row)
    return tuple(dict.fromkeys(tenant for tenant in found if tenant is not None))


def alike(phase: Phase, seen: Evidence, kind: str) -> tuple[tuple[tuple[str, ...], Mapping[str, Any]], ...]:
    """Return groups of targets that hold the same objects of a kind, `enums` or `indexes`, and what they hold.

    Targets that nobody looked at are in no group.
    """
    groups: list[tuple[list[str], Mapping[str, Any]]] = []
    for target in phase.targets:
        found, _ = state(seen, target)
        if found is None:
            continue
        for members, held in groups:
            if held == getattr(found, kind):
                members.append(target)
                break
        else:
            groups.append(([target], getattr(found, kind)))
    return tuple((tuple(members), held) for members, held in groups)


def searched(seen: Evidence) -> tuple[Searched, ...]:
    """Return the databases that the finder looked into, those that hold something first."""
    matrix = tuple(line for line in seen.facts(Matrix).matrix if line.states)  # old records have words alone
    names = dict.fromkeys(place for line in matrix for place in line.places)
    found = tuple(_searched(place, matrix) for place in names)
    return tuple(sorted(found, key=lambda place: -(place.tables + place.enums)))


def _searched(place: str, matrix: tuple[Sought, ...]) -> Searched:
    said = [
        (
            line.kind,
            line.object,
            line.states.get(place, State.ABSENT),
            line.places.get(place, ABSENT.words),
        )
        for line in matrix
    ]
    refused = [words for _, _, state, words in said if state == State.NOT_SEARCHED]
    return Searched(
        place=place,
        tables=sum(kind == "table" and state == State.THERE for kind, _, state, _ in said),
        enums=sum(kind == "enum" and state == State.THERE for kind, _, state, _ in said),
        otherwise=tuple(f"{name} {words}" for _, name, state, words in said if state == State.OTHERWISE),
        not_searched=refused[0] if refused else None,
    )
