"""What steps 3 and 4 look at: history, catalogue and rows in one snapshot, and what a replay makes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runbooks_lib.errors import PrismaError
from runbooks_lib.names import parts
from runbooks_lib.phase import Phase
from runbooks_lib.phase import Prisma as Section
from runbooks_lib.postgres.catalog.catalog import Catalog, Key, Value, read_catalog
from runbooks_lib.postgres.catalog.differences import describe
from runbooks_lib.postgres.rows.asked import empty_tables
from runbooks_lib.postgres.rows.done import Judged, judge_data
from runbooks_lib.postgres.rows.unfilled import unfilled
from runbooks_lib.postgres.scratch.lent import target_servers
from runbooks_lib.postgres.scratch.replay import replay
from runbooks_lib.postgres.scratch.replayed import Replayed
from runbooks_lib.postgres.scratch.surroundings import Surroundings, read_surroundings
from runbooks_lib.postgres.script.data_statements import data_statements
from runbooks_lib.postgres.session.connect import Connection, Sessions
from runbooks_lib.prisma.command import Prisma, aim
from runbooks_lib.prisma.effects import looked_at_first
from runbooks_lib.prisma.lost import Asked, may_lose, tables_named
from runbooks_lib.prisma.named import find_project
from runbooks_lib.prisma.settlement import Settlement, settle
from runbooks_lib.prisma.state import State, look


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """One snapshot of a target: the migrations, their history, the catalogue, and which rows are as they make them."""

    state: State
    catalog: Catalog
    like: Surroundings
    data: Mapping[str, tuple[Judged, ...]]
    asked: Asked | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proved:
    """What was seen of a target, what the migrations make, and how each of them stands."""

    looked: Looked
    replayed: Replayed
    settlement: Settlement


def section(phase: Phase) -> Section:
    """Return the Prisma section of a phase that has one: whoever asks has looked."""
    assert phase.prisma is not None
    return phase.prisma


def command_line(phase: Phase, sessions: Sessions) -> Prisma:
    """Return the Prisma of the project that RUNBOOKS_PRISMA_PROJECT names, aimed at the target whose history it is.

    Nothing is started yet. The address is made in memory from the guarded session each time Prisma is started.
    Raises PreconditionFailed when the project, Prisma or Node.js is missing.
    """
    return Prisma(find_project(), lambda: aim(sessions.read(section(phase).target)))


def named(phase: Phase, state: State) -> tuple[str, ...]:
    """Return the migrations that the phase settles, in its order; all of the folder where it says so."""
    settled = section(phase).settle
    return tuple(file.name for file in state.files) if settled is None else settled


def look_at(phase: Phase, sessions: Sessions, prisma: Prisma) -> State:
    """Read the migrations folder and the history, in one snapshot."""
    with sessions.snapshot(section(phase).target) as conn:
        return look(conn, prisma.project)


def look_at_all(phase: Phase, sessions: Sessions, prisma: Prisma, *, rows_of_applied: bool = True) -> Looked:
    """Read history, catalogue and what the database stands in, and ask which rows are as the migrations make them.

    `rows_of_applied` False: of migrations that are recorded as applied no rows are asked for, which settle nothing.
    """
    with sessions.snapshot(section(phase).target) as conn:
        state = look(conn, prisma.project)
        catalog, like = read_catalog(conn), read_surroundings(conn)
        asked = {
            file.name for file in state.files if rows_of_applied or state.recorded(file.name) != "applied"
        }
        data = dict(judged(conn, state, asked))
        empty = _empty(conn, state, catalog, asked)
        lacking = unfilled(conn, state.scripts, asked, schema=state.schema)
    return Looked(
        state=state,
        catalog=catalog,
        like=like,
        data=data,
        asked=Asked(migrations=frozenset(asked), empty=empty, unfilled=lacking),
    )


def look_at_objects(phase: Phase, sessions: Sessions, prisma: Prisma, name: str) -> Looked:
    """Read history and catalogue of any target that shows the database, a standby too; no rows are asked for."""
    with sessions.snapshot(name) as conn:
        return Looked(
            state=look(conn, prisma.project),
            catalog=read_catalog(conn),
            like=read_surroundings(conn),
            data={},
        )


def _empty(conn: Connection, state: State, catalog: Catalog, names: Collection[str]) -> frozenset[str]:
    """Return which tables have no row, of those that some of these migrations drop, rename or retype."""
    columns = {name: {column.name for column in found} for name, found in catalog.columns.items()}

    def stands(name: str, column: str) -> bool:
        return column in columns.get(name, ()) if column else name in catalog.relations

    found = {
        name: these for name, these in may_lose(state.scripts, state.schema, stands).items() if name in names
    }
    tables = [parts(name) for name in catalog.relations if name in columns]
    return empty_tables(conn, tables_named(found, [(schema, name) for schema, name in tables]))


def judged(
    conn: Connection, state: State, names: Collection[str]
) -> Iterator[tuple[str, tuple[Judged, ...]]]:
    """Yield, of each of these migrations with statements that change rows, how they stand in the session's database."""
    scripts = state.scripts
    for number, (name, script) in enumerate(scripts):
        if name in names and (statements := data_statements(script, state.schema)):
            later, before = scripts[number + 1 :], scripts[:number]
            yield name, judge_data(conn, statements, schema=state.schema, later=later, before=before)


def prove_target(
    phase: Phase,
    sessions: Sessions,
    looked: Looked,
    dump: Path | None,
    allowed: Sequence[str],
    planned: Mapping[Key, Value] | None = None,
    to_be: Mapping[str, tuple[Judged, ...]] | None = None,
) -> Proved:
    """Replay the folder's migrations, and settle each against the target as it was seen.

    `dump` is this run's dump of its schema, for what the migrations need and do not make; `allowed` is what a superuser
    may make in the scratch; `planned` is what this phase's baseline is still to make, `to_be` how rows will be then.
    Raises PrismaError when a recorded script is not there; MigrationError, BackupError, PreconditionFailed or LabError
    when one can't be run.
    """
    target, state = section(phase).target, looked.state
    who = sessions.identity(target)
    replayed = replay(
        scripts_to_run(phase, state),
        owner=phase.owner or who.role_name,
        server_major=who.major,
        like=looked.like,
        dump=dump,
        schema=state.schema,
        servers=target_servers(sessions),
        allowed=allowed,
        around=looked_at_first([file.name for file in state.files if state.recorded(file.name) != "applied"]),
    )
    settlement = settle(
        state,
        replayed,
        describe(looked.catalog),
        which=section(phase).settle,
        data=looked.data,
        asked=looked.asked,
        server_major=who.major,
        owned=phase.owner is not None,
        planned=planned,
        to_be=to_be,
    )
    return Proved(looked=looked, replayed=replayed, settlement=settlement)


def scripts_to_run(phase: Phase, state: State) -> tuple[tuple[str, str], ...]:
    """Return name and script of every migration of the folder, in its order.

    Raises PrismaError naming those that are recorded as applied and whose script is not in the folder, but for those
    that the phase accepts.
    """
    scripts = {file.name: file.script for file in state.files}
    accepted = {each.migration for each in section(phase).accept}
    applied = {row.name for row in state.rows or () if row.applied}
    gone = sorted(name for name in applied - accepted if scripts.get(name) is None)
    if gone:
        raise PrismaError(
            f"The migrations folder has no migration.sql of {', '.join(gone)}: what it makes cannot be told.",
            "Check out the branch that was deployed, or restore the folder from Git.",
        )
    return tuple((name, script) for name, script in scripts.items() if script is not None)
