"""Step 1, preflight: is everything what the phase says it is? Reads only.

Each function answers one question of `01_preflight.ipynb`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psycopg

from runbooks_lib.amounts import size
from runbooks_lib.checks import Check
from runbooks_lib.errors import ConnectionFailed, PreconditionFailed, RunbookError
from runbooks_lib.facts.databases import (
    Held,
    Lag,
    Matrix,
    Readiness,
    Replication,
    Schema,
    Sought,
    Targets,
    Who,
)
from runbooks_lib.findings import Answer, Finding, Verdict, could_not_run, judge
from runbooks_lib.phase import Phase, Role, Target
from runbooks_lib.postgres.catalog.catalog import count_rows, read_catalog
from runbooks_lib.postgres.catalog.finder import ABSENT, Sight, State, not_searched, search_server
from runbooks_lib.postgres.queries import query
from runbooks_lib.postgres.session.connect import Sessions, lost
from runbooks_lib.postgres.session.replication import measure_lag
from runbooks_lib.steps.collations import check_collations
from runbooks_lib.steps.declared import nothing_declared, objects_asked, or_not_declared
from runbooks_lib.steps.finder_rows import by_database
from runbooks_lib.steps.inspection import by_object, inspect
from runbooks_lib.steps.own_objects import own_objects
from runbooks_lib.steps.pending import Pending, ToCome, filled_and_added, shows_baseline
from runbooks_lib.steps.pending_migrations import pending_migrations, to_come_at
from runbooks_lib.steps.privileges import check_privileges
from runbooks_lib.steps.readiness import at_least, cannot_see_sessions, check_blockers
from runbooks_lib.steps.replica_rows import check_rows, judge_replayed
from runbooks_lib.steps.scratch_servers import check_extensions
from runbooks_lib.steps.servers import judge_server, judge_standby
from runbooks_lib.steps.standby_reads import read_again
from runbooks_lib.typed import plain

MIN_FREE_CONNECTIONS = 5
BASELINE = "baseline_migration"
DISK_FACTOR = 2  # a dump, and room to restore it
DISK = "room where the runs are kept"
_IN_WORDS = frozenset({"status", "paused", "apply_delay_ms"})  # of a standby's lag: `receiver` says them


@read_again
def targets(phase: Phase, sessions: Sessions) -> Answer:
    """Ask every target who it is: server, role, database, system.

    Reads pg_control_system() and relatives at each target, where the role may; writes nothing.
    Facts: per target its identity, as a mapping of plain values.
    """
    findings: list[Finding] = []
    facts: dict[str, Who] = {}
    for name, target in phase.targets.items():
        try:
            who = sessions.identity(name)
        except ConnectionFailed as error:
            findings.append(could_not_run(Check.TARGET_ANSWERS, name, target.service, error))
            continue
        facts[name] = Who(**asdict(who), server=who.server, role=who.role, declared_role=target.role)
        findings.extend(judge_server(name, target, who))
    for name, target in phase.targets.items():
        if target.primary in facts and name in facts:
            findings.append(judge_standby(name, target, sessions))
    rows = tuple(
        {
            "target": name,
            "server": who.server,
            "database": who.database,
            "role": who.role
            if who.role == who.declared_role
            else f"{who.role}, declared {who.declared_role}",
            "PostgreSQL": who.server_version,
            "system": who.system_identifier or "not told",
            "timeline": who.timeline or "not told",
            "LSN": who.lsn,
        }
        for name, who in facts.items()
    )
    return Answer(findings=tuple(findings), facts=Targets(targets=facts), rows=rows)


@read_again
def privileges(phase: Phase, sessions: Sessions) -> Answer:
    """Ask at every target whether the role may do what the steps do there: every privilege that is missing, at once.

    Reads privileges, and what the Prisma project says of its history; writes nothing.
    """
    findings: list[Finding] = []
    for name in phase.targets:
        try:
            with sessions.snapshot(name) as conn:
                findings.extend(check_privileges(phase, name, conn))
        except RunbookError as error:
            findings.append(could_not_run(Check.ROLE_MAY, name, "privileges", error))
    return Answer(findings=tuple(findings))


@read_again
def find_objects(phase: Phase, sessions: Sessions) -> Answer:
    """Find out which database really holds the phase's tables and enums.

    Looks into every database of every target's server that the role may connect to, for the names as declared
    and for the same names in other case or another schema; in a run of a fleet into the targets' own alone. Writes
    nothing.
    Facts: `matrix`, a list of {kind, object, places: {"server database": words}, states: {"server database": state}}.
    """
    names = {table.name: "table" for table in phase.tables} | {enum.name: "enum" for enum in phase.enums}
    findings: list[Finding] = []
    places: dict[str, dict[str, Sight]] = {name: {} for name in names}
    seen: set[tuple[str, str | None, str]] = set()
    own: set[str] = set()
    for target, declared in phase.targets.items():
        try:
            who = sessions.identity(target)
            own.add(f"{who.server} {declared.database}")
            if (who.server, who.system_identifier, who.role_name) in seen:
                continue
            seen.add((who.server, who.system_identifier, who.role_name))
            for database, found in search_server(sessions, target, names):
                place = f"{who.server} {database}"
                for name in names:
                    if isinstance(found, Sight):
                        places[name].setdefault(place, found)  # another role may have searched it
                    else:
                        places[name][place] = found.get(name, ABSENT)
        except ConnectionFailed as error:
            findings.append(could_not_run(Check.OBJECT_IS_FOUND, target, "every database", error))
        except psycopg.Error as error:
            failed = lost(declared, error)
            findings.append(could_not_run(Check.OBJECT_IS_FOUND, target, "every database", failed))
    to_come = pending_migrations(phase, sessions)
    for name, kind in names.items():
        pending = ToCome(made=to_come.made & {("relation" if kind == "table" else kind, name)})
        findings.extend(_judge_places(phase, sessions, name, places[name], pending))
    matrix = tuple(
        Sought(
            kind=kind,
            object=name,
            places={place: sight.words for place, sight in places[name].items()},
            states={place: sight.state.value for place, sight in places[name].items()},
        )
        for name, kind in names.items()
    )
    judged = or_not_declared(phase, findings, Check.OBJECT_IS_FOUND)
    return Answer(findings=judged, facts=Matrix(matrix=matrix), rows=by_database(matrix, own))


def _judge_places(
    phase: Phase, sessions: Sessions, name: str, places: dict[str, Sight], pending: ToCome
) -> Iterator[Finding]:
    found = [place for place, sight in places.items() if sight.state in (State.THERE, State.OTHERWISE)]
    hint = (
        f"It was found in: {', '.join(found)}. Is this target the right one?"
        if found
        else "No database that was searched has it: bring it back, or have the phase's baseline or migrations make it."
    )
    for target_name, target in phase.targets.items():
        try:
            place = f"{sessions.identity(target_name).server} {target.database}"
            maker = _maker(phase, sessions, target_name, pending)
        except ConnectionFailed as error:
            yield could_not_run(Check.OBJECT_IS_FOUND, target_name, name, error)
            continue
        state, have = places.get(place, not_searched("the database is not on this server"))
        if state is State.NOT_SEARCHED:
            verdict = Verdict.ERROR
        elif state is State.THERE or (state is State.ABSENT and maker == BASELINE):
            verdict = Verdict.PASS
        elif state is State.ABSENT and maker:  # the right database that is behind, or another one?
            verdict = Verdict.OPEN if found else Verdict.PASS
        else:
            verdict = Verdict.FAIL
        yield Finding(
            check=Check.OBJECT_IS_FOUND,
            target=target_name,
            object=name,
            have=have,
            want=f"there, or absent: {maker} creates it" if maker else "there",
            verdict=verdict,
            hint="" if verdict is Verdict.PASS else hint,
        )


def _maker(phase: Phase, sessions: Sessions, name: str, pending: ToCome) -> str:
    """Return the step that may make an object in a target, empty for none; `pending`: a migration is to make it."""
    if shows_baseline(phase, sessions, name):
        return BASELINE
    return "prisma_resolve" if to_come_at(phase, sessions, name, pending).made else ""


@read_again
def schema(phase: Phase, sessions: Sessions) -> Answer:
    """Compare each target's catalogue and row counts with the phase, before anything is done.

    Objects that baseline_migration creates may be absent or equal where it creates them, never different; columns
    and labels that it adds may be missing, and the rows of tables that it fills are counted after it. What migrations
    that are not recorded make may be absent where Prisma writes.
    Facts: per target, what inspection.describe returns.
    """
    by_baseline = filled_and_added(phase)
    own = own_objects(phase)
    to_come = pending_migrations(phase, sessions)
    findings: list[Finding] = []
    facts: dict[str, Held] = {}
    for name, target in phase.targets.items():
        try:
            created_by = BASELINE if shows_baseline(phase, sessions, name) else None
            pending = to_come_at(phase, sessions, name, to_come)
            if created_by:
                pending |= by_baseline
            found, facts[name] = inspect(
                phase, sessions, name, target, created_by=created_by, adds=pending.adds, own=own
            )
            findings.extend(Pending(filled=pending.filled, deployed=pending.made).later(found))
        except RunbookError as error:
            findings.append(could_not_run(Check.HAS_TABLE, name, "every object", error))
    judged = (*findings, *nothing_declared(phase, objects_asked(phase)))
    return Answer(findings=judged, facts=Schema(targets=facts), rows=by_object(findings, facts))


@read_again
def replication(phase: Phase, sessions: Sessions) -> Answer:
    """Measure how far each standby is behind, wait until it has replayed what its primary holds, compare both.

    Reads pg_stat_wal_receiver, and the catalogues and rows of both; writes nothing.
    Facts: per standby its Lag.
    """
    standbys = {name: target for name, target in phase.targets.items() if target.role is Role.STANDBY}
    findings: list[Finding] = []
    lags: dict[str, Lag] = {}
    for name, target in standbys.items():
        try:
            lag = measure_lag(sessions, name, target)
        except RunbookError as error:
            findings.append(could_not_run(Check.STANDBY_HAS_REPLAYED, name, target.service, error))
            continue
        lags[name] = lag
        findings.extend(_judge_lag(name, target, lag))
        try:
            findings.extend(_parity(phase, sessions, name, target))
        except RunbookError as error:
            findings.append(could_not_run(Check.CATALOG_IS_THAT_OF_PRIMARY, name, "catalogue", error))
        if target.data and lag.replayed:
            try:
                findings.append(check_rows(phase, sessions, name, target))
            except RunbookError as error:
                findings.append(
                    could_not_run(Check.ROWS_ARE_THOSE_OF_PRIMARY, name, "declared tables", error)
                )
    rows = tuple(
        {
            "target": name,
            **{key: value for key, value in plain(lag).items() if key not in _IN_WORDS},
            "samples": len(lag.samples),
        }
        for name, lag in lags.items()
    )
    judged = or_not_declared(phase, findings, Check.STANDBY_IS_STREAMING)
    if standbys:
        not_judged = (Check.REPLICATION_LAG_IS, Check.ROWS_ARE_THOSE_OF_PRIMARY)
        judged = (*judged, *nothing_declared(phase, not_judged))
    return Answer(findings=judged, facts=Replication(lag=lags), rows=rows)


def _judge_lag(name: str, target: Target, lag: Lag) -> Iterator[Finding]:
    yield Finding(
        check=Check.STANDBY_IS_STREAMING,
        target=name,
        object=target.service,
        have=lag.receiver,
        want="streaming",
        verdict=Verdict.PASS if lag.streams else Verdict.FAIL,
        hint=""
        if lag.streams
        else "The standby does not receive or replay WAL: see primary_conninfo, the slot, both "
        "servers' logs; SELECT pg_wal_replay_resume() ends a pause.",
    )
    yield judge_replayed(name, target, lag)
    if target.max_lag_bytes is not None:
        within = lag.lag_bytes <= target.max_lag_bytes
        yield Finding(
            check=Check.REPLICATION_LAG_IS,
            target=name,
            object=target.service,
            have=size(lag.lag_bytes),
            want=f"at most {size(target.max_lag_bytes)}",
            verdict=Verdict.PASS if within else Verdict.FAIL,
            hint="" if within else "Wait for the standby, or find out what holds it back.",
        )


def _parity(phase: Phase, sessions: Sessions, name: str, target: Target) -> Iterator[Finding]:
    assert target.primary is not None
    sides: dict[str, tuple[str, dict[str, int]]] = {}
    for side in (target.primary, name):
        with sessions.snapshot(side) as conn:
            catalog = read_catalog(conn)
            present = tuple(t.name for t in phase.tables if t.name in catalog.tables())
            sides[side] = catalog.fingerprint(), count_rows(conn, present)
    hint = (
        "The standby differs after replay: something writes meanwhile, or it is not this primary's standby."
    )
    have, want = sides[name], sides[target.primary]
    yield judge(
        Check.CATALOG_IS_THAT_OF_PRIMARY, name, "catalogue", have=have[0][:16], want=want[0][:16], hint=hint
    )
    yield judge(
        Check.ROW_COUNTS_ARE_THOSE_OF_PRIMARY, name, "declared tables", have=have[1], want=want[1], hint=hint
    )


@read_again
def readiness(phase: Phase, sessions: Sessions, *, folder: Path) -> Answer:
    """Look at what a later step would stumble over: blockers, collations, slots, extensions for proofs, disk.

    Reads pg_stat_activity, pg_locks, collations, extensions, and the free space of `folder`'s file system; writes to
    no target.
    Facts: `database_bytes` of the largest target, `free_bytes` of the file system.
    """
    findings: list[Finding] = []
    database_bytes: int | None = None
    for name, target in phase.targets.items():
        try:
            with sessions.snapshot(name) as conn:
                if target.role is Role.PRIMARY:
                    findings.extend(check_blockers(phase, name, conn))
                findings.extend(check_collations(name, target, conn))
                room = conn.execute(query("headroom")).fetchone() or {}
        except RunbookError as error:
            findings.append(could_not_run(Check.CONNECTIONS_ARE_FREE, name, "connections", error))
            continue
        database_bytes = max(database_bytes or 0, room["database_bytes"])
        findings.append(_judge_connections(name, room))
    findings.extend(check_extensions(phase, sessions))
    try:
        free_bytes = shutil.disk_usage(folder).free
        findings.append(_judge_disk(free_bytes, database_bytes))
    except (OSError, PreconditionFailed) as error:
        free_bytes = None
        failed = error if isinstance(error, RunbookError) else _no_folder(folder, error)
        findings.append(could_not_run(Check.DISK_IS_FREE, "-", DISK, failed))
    facts = Readiness(database_bytes=database_bytes, free_bytes=free_bytes)
    return Answer(findings=tuple(findings), facts=facts)


def _judge_connections(name: str, room: Mapping[str, Any]) -> Finding:
    if not room["sees_every_session"]:
        return could_not_run(Check.CONNECTIONS_ARE_FREE, name, "connections", cannot_see_sessions())
    return at_least(
        Check.CONNECTIONS_ARE_FREE,
        name,
        "connections",
        have=room["usable_connections"] - room["connections"],
        want=MIN_FREE_CONNECTIONS,
        hint="Close idle sessions first.",
    )


def _judge_disk(free_bytes: int, database_bytes: int | None) -> Finding:
    if database_bytes is None:
        raise PreconditionFailed(
            "No target answered, so the databases' size is not known.", "Mend what the other findings name."
        )
    return at_least(
        Check.DISK_IS_FREE,
        "-",
        DISK,
        have=free_bytes,
        want=database_bytes * DISK_FACTOR,
        words=size,
        hint="Free space, or keep the runs elsewhere: --runs DIR.",
    )


def _no_folder(folder: Path, error: OSError) -> PreconditionFailed:
    return PreconditionFailed(
        f"The free space of {folder} cannot be read: {error.strerror}.",
        "Name a folder that exists: --runs DIR.",
    )
