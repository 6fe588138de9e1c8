"""Does a database hold what migrations make? Proved by running them in a scratch database and comparing objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runbooks_lib.errors import PrismaError
from runbooks_lib.postgres.catalog.catalog import Key, Value
from runbooks_lib.postgres.catalog.differences import (
    before_18,
    both_in_words,
    field,
    granted,
    value_in_words,
    without,
)
from runbooks_lib.postgres.scratch.expected import expect
from runbooks_lib.postgres.scratch.replayed import Ran
from runbooks_lib.postgres.scratch.surroundings import Surroundings
from runbooks_lib.prisma.state import State

ABSENT = "absent"
MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectState:
    """One object as the migrations make it and as the database has it, as `describe` says it; None: it is not there.

    `before` is how it was before the phase's migration, for the objects that this one makes or changes.
    """

    kind: str
    name: str
    have: Value
    want: Value
    before: Value = None

    @property
    def label(self) -> str:
        """Return kind and name, such as `index public.orders_number_key`."""
        return f"{self.kind} {self.name}"

    @property
    def stands(self) -> bool:
        """Return whether the database has it as the migrations make it."""
        return self.would_stand(self.have)

    def would_stand(self, described: Value) -> bool:
        """Return whether an object of this description would be as the migrations make it."""
        return _same(self.kind, described, self.want, self.before)

    @property
    def untouched(self) -> bool:
        """Return whether the database has it as it was before the phase's migration, and not as after it."""
        return not self.stands and _same(self.kind, self.have, self.before)

    def words(self) -> tuple[str, str]:
        """Return both sides for a person: of two lists of columns only what differs."""
        if self.have is not None and self.want is not None and not self.stands:
            return both_in_words(self.kind, self.have, self.want)
        want = ABSENT if self.want is None else value_in_words(self.kind, self.want)
        if self.stands:
            return want, want
        return (MISSING if self.have is None else value_in_words(self.kind, self.have)), want


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The objects of the phase's migration (`own`), those of the others, and which migrations were replayed.

    `ran` says of each migration how it ran and what of it is not judged; `borrowed` is what the migrations need and
    was taken from a copy of the target; `lacking` says what of the target's surroundings the scratch did not have.
    """

    migrations: tuple[str, ...]
    server_version: str
    ran: Mapping[str, Ran]
    borrowed: tuple[Key, ...]
    lacking: tuple[str, ...]
    own: tuple[ObjectState, ...]
    others: tuple[ObjectState, ...]


def prove(
    state: State,
    live: Mapping[Key, Value],
    *,
    migration: str,
    owner: str,
    server_major: int,
    like: Surroundings,
    dump: Path | None = None,
    servers: frozenset[str] = frozenset(),
    allowed: Sequence[str] = (),
) -> Proof:
    """Replay the migrations that count, and compare every object that they leave behind with a live catalogue.

    What counts are the applied ones and `migration` itself, in the folder's order. Failed and rolled-back ones do
    not: what they left is not to be relied upon. `live` is the target, as `describe` says it, `like` what it stands in;
    `dump` is this run's dump of its schema, where there is one; `servers` may not lend room for a scratch database;
    `allowed` names what a superuser may make in one.
    Raises PrismaError when a script is not there; MigrationError, BackupError, PreconditionFailed or LabError when it
    can't be run.
    """
    scripts = scripts_that_count(state, migration)
    expected = expect(
        scripts,
        owner=owner,
        server_major=server_major,
        of=migration,
        like=like,
        dump=dump,
        servers=servers,
        allowed=allowed,
        schema=state.schema,
    )
    before, made, stands = expected.before, expected.made, expected.stands
    if server_major < 18:  # the scratch may be newer
        before, made, stands = before_18(before), before_18(made), before_18(stands)
    own = {*made, *expected.removed}

    def compared(keys: Iterable[Key]) -> tuple[ObjectState, ...]:
        return tuple(
            ObjectState(
                kind=key[0],
                name=key[1],
                have=live.get(key),
                want=stands.get(key),
                before=before.get(key),
            )
            for key in sorted(keys)
        )

    return Proof(
        migrations=tuple(name for name, _ in scripts),
        server_version=expected.server_version,
        ran=expected.ran,
        borrowed=expected.borrowed,
        lacking=expected.lacking,
        own=compared(own),
        others=compared({*stands, *expected.gone} - own),
    )


def scripts_that_count(state: State, migration: str) -> tuple[tuple[str, str], ...]:
    """Return name and script of every applied migration and of `migration`, in the folder's order.

    Raises PrismaError naming those whose script is not in the folder.
    """
    names = {row.name for row in state.rows or () if row.applied} | {migration}
    scripts = {file.name: file.script for file in state.files if file.name in names}
    gone = sorted(name for name in names if scripts.get(name) is None)
    if gone:
        raise PrismaError(
            f"The migrations folder has no migration.sql of {', '.join(gone)}: what it makes cannot be told.",
            "Check out the branch that was deployed, or restore the folder from Git.",
        )
    return tuple((name, script) for name, script in scripts.items() if script is not None)


def _same(kind: str, have: Value, want: Value, before: Value = None) -> bool:
    """Return whether two descriptions are equal, but for what is not the migrations' to decide.

    Prisma names columns, so their order is of no matter (branches merged late differ in it). An extension's version
    is the server's. More privileges than a migration gives or takes (`before` it there were others), and storage
    options where it sets none, are tuning.
    """
    if not (isinstance(have, tuple) and isinstance(want, tuple)):
        return have is want
    match kind:
        case "columns":
            return len(have) == len(want) and frozenset(have) == frozenset(want)
        case "extension":
            return without(have, "version") == without(want, "version")
        case _ if kind.endswith("privileges"):
            taken = granted(before) - granted(want)
            return granted(want) <= granted(have) and not taken & granted(have)
        case "relation" if not (field(want, "options") or field(before, "options")):
            return without(have, "options") == without(want, "options")
        case _:
            return have == want
