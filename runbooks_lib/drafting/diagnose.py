"""`runbooks diagnose`: how does a database stand to its Prisma project? Reads only; no phase, no run folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psycopg

from runbooks_lib.checks import Check
from runbooks_lib.drafting.conclusion import Seen, conclude
from runbooks_lib.drafting.diagnosis import Diagnosis, Project, Server, Standby
from runbooks_lib.drafting.phase_new import free_folder_for
from runbooks_lib.errors import MigrationError, PrismaError, RunbookError
from runbooks_lib.findings import Finding, Verdict
from runbooks_lib.given import read_given_text
from runbooks_lib.phase import ENGLISH, SPEC_VERSION, Backup, Phase, Role, Target, Text, require_service_name
from runbooks_lib.phase import Prisma as Section
from runbooks_lib.postgres.queries import query
from runbooks_lib.postgres.scratch.extensions import available, extension_with
from runbooks_lib.postgres.scratch.replay import MISSES
from runbooks_lib.postgres.session.connect import Connection, Sessions
from runbooks_lib.postgres.session.service_file import parameters_of, require_services, service_names
from runbooks_lib.prisma.command import Prisma, aim
from runbooks_lib.prisma.history import MigrationRow, read_migrations, read_rows
from runbooks_lib.prisma.lock import holder_of_lock, lasting_holder
from runbooks_lib.prisma.named import naming
from runbooks_lib.prisma.oddities import read_tables
from runbooks_lib.prisma.settlement import Action, Settlement
from runbooks_lib.steps import backup
from runbooks_lib.steps.prisma_history import judge_history
from runbooks_lib.steps.prisma_look import Looked, Proved, look_at_all, prove_target
from runbooks_lib.steps.privileges import EVERY_ONE, check_privileges
from runbooks_lib.steps.readiness import check_blockers
from runbooks_lib.steps.scratch_servers import check_extensions
from runbooks_lib.steps.settlement_findings import (
    LISTED,
    judge_data,
    judge_extras,
    judge_migrations,
    judge_objects,
    settled_facts,
)
from runbooks_lib.temporary import temporary_folder

DATABASE = "database"  # the name of the one target
_SEEN = (
    "SELECT (SELECT reset_val = 'on' FROM pg_settings WHERE name = 'default_transaction_read_only') AS read_only,"
    " (SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
    " AND c.relname <> '_prisma_migrations') AS relations"
)
_SENDER = "SELECT sender_host AS host, sender_port::text AS port FROM pg_stat_wal_receiver"
_HAS = "SELECT FROM pg_extension WHERE extname = %s"
_PROVIDER = re.compile(r'^\s*provider\s*=\s*"(\w+)"', re.MULTILINE)


def diagnose(service: str, project: Path | None) -> Diagnosis:
    """Read what stands at a service, compare it with what the project's migrations make, and say what it is.

    Raises PreconditionFailed when the service, Prisma or Node.js is missing, ConnectionFailed when nobody lets us in.
    """
    require_service_name(service)
    require_services({DATABASE: _target(service, Role.PRIMARY, "")})
    with naming(project), _sessions(service) as sessions:
        prisma = Prisma(project, lambda: aim(sessions.read(DATABASE))) if project else None
        seen = _look(service, sessions)
        findings: tuple[Finding, ...] = ()
        if prisma is not None:
            seen = _compare(seen, sessions, prisma)
            findings = tuple(_findings(_phase(sessions), sessions, seen))
        condition, says, next_ = conclude(seen)
        return Diagnosis(
            server=_server(service, sessions),
            project=None if prisma is None else _project(prisma),
            standbys=tuple(_standbys(sessions)),
            migrations=settled_facts(seen.settlement) if seen.settlement else (),
            findings=findings,
            condition=condition,
            says=says,
            next=next_,
            door=condition.door,
        )


def _sessions(service: str) -> Sessions:
    """Return sessions at a service, whose target is declared as what answers there: a primary or a standby."""
    parameters = parameters_of(service)
    database = parameters.get("dbname") or parameters["user"]
    sessions = Sessions(
        {DATABASE: _target(service, Role.PRIMARY, database)}, application_name="runbooks diagnose"
    )
    try:
        role = sessions.identity(DATABASE).role
    except BaseException:
        sessions.close()
        raise
    sessions.targets = {DATABASE: _target(service, role, database)}
    return sessions


def _target(service: str, role: Role, database: str) -> Target:
    return Target(name=DATABASE, service=service, role=role, database=database)


def _phase(sessions: Sessions) -> Phase:
    """Return the phase that whoever asks would write: everything that the migrations make, and nothing else."""
    return Phase(
        spec_version=SPEC_VERSION,
        id="DIAGNOSE",
        title=Text(by_language={ENGLISH: "diagnose"}),
        folder=Path(),
        digest="",
        targets=sessions.targets,
        prisma=Section(target=DATABASE),
    )


def _look(service: str, sessions: Sessions) -> Seen:
    who = sessions.identity(DATABASE)
    with sessions.snapshot(DATABASE) as conn:
        row = conn.execute(_SEEN).fetchone()
        assert row is not None
        seen = Seen(
            service=service,
            out=free_folder_for(service),
            in_recovery=who.in_recovery,
            upstream=_upstream(conn) if who.in_recovery else None,
            read_only=row["read_only"],
            holder=lasting_holder(lambda: holder_of_lock(conn)),
            relations=row["relations"],
        )
    try:
        with sessions.snapshot(DATABASE) as conn:
            return replace(seen, rows=_rows(conn))
    except PrismaError as error:
        return replace(seen, unreadable=error)


def _upstream(conn: Connection) -> str | None:
    """Return the service that leads to the server which feeds a standby, if one of ours does: one of the same role."""
    sender = conn.execute(_SENDER).fetchone()
    if sender is None or sender["host"] is None:
        return None
    found = []
    for service in sorted(service_names()):
        with suppress(psycopg.Error):
            leads = parameters_of(service)
            hosts = (leads["host"], leads["hostaddr"])
            if sender["host"] in hosts and (leads.get("port"), leads.get("dbname")) == (
                sender["port"],
                conn.info.dbname,
            ):
                found.append((leads.get("user") != conn.info.user, service))
    return min(found)[1] if found else None


def _rows(conn: Connection) -> tuple[MigrationRow, ...] | None:
    """Return the rows of `_prisma_migrations`, in whatever schema it is; None without one.

    Raises PrismaError when the role may not read it.
    """
    for table in read_tables(conn):
        if table.holds_rows:
            return read_rows(conn, schema=table.schema)
    return None


def _compare(seen: Seen, sessions: Sessions, prisma: Prisma) -> Seen:
    """Return what is seen with the project's migrations beside it: history, catalogue and rows, and what follows."""
    phase, folder = _phase(sessions), prisma.project.migrations
    seen = replace(seen, project=prisma.project.folder, migrations=folder, provider=provider_of(folder))
    try:
        looked = look_at_all(phase, sessions, prisma)
        seen = replace(seen, state=looked.state)
        if not (looked.state.history.lost or looked.state.history.extra):
            proved = _proved(phase, sessions, looked)
            seen = replace(seen, settlement=proved.settlement, borrowed=proved.replayed.borrowed)
    except RunbookError as error:
        seen = replace(seen, refused=error)
        if extension := extension_with(error.__cause__):
            with sessions.snapshot(DATABASE) as conn:
                is_there = conn.execute(_HAS, (extension,)).fetchone() is not None
                can_be_made = not is_there and extension in available(conn, [extension])
            seen = replace(seen, lacks=extension, can_be_made=can_be_made)
    return seen


def _proved(phase: Phase, sessions: Sessions, looked: Looked) -> Proved:
    """Return how each migration stands. What the migrations need and do not make is taken from a dump of the schema."""
    try:
        return prove_target(phase, sessions, looked, None, ())
    except MigrationError as error:
        if error.sqlstate not in MISSES:
            raise
        with temporary_folder("diagnose") as folder:
            backed = replace(phase, backup=Backup(targets=(DATABASE,)))
            dumped = backup.dump(backed, sessions, folder=folder).facts.dumps.get(DATABASE)
            if dumped is None:
                raise
            return prove_target(phase, sessions, looked, folder / dumped.path, ())


def _findings(phase: Phase, sessions: Sessions, seen: Seen) -> Iterator[Finding]:
    """Yield what is not as it should be, or is good to know: nothing that is plainly fine."""
    found: list[Finding] = []
    if seen.state is not None and seen.migrations is not None:
        found += judge_history(phase, seen.state, seen.migrations)
    if seen.settlement is not None:
        found += _of_migrations(seen.settlement)
        objects = judge_objects(DATABASE, seen.settlement.objects, phase)
        found += (
            each for each in objects if each.verdict is not Verdict.SKIP
        )  # those of a migration to come
        found += judge_data(DATABASE, seen.settlement.migrations)
        found += judge_extras(DATABASE, seen.settlement.extras, phase)
    if not seen.in_recovery:
        found += check_extensions(phase, sessions)
        found += _for_a_run(phase, sessions)
    return (each for each in found if each.verdict is not Verdict.PASS)


def _for_a_run(phase: Phase, sessions: Sessions) -> Iterator[Finding]:
    """Yield what a run would stumble over: OPEN, since it says nothing of the state."""
    with sessions.snapshot(DATABASE) as conn:
        found = [*check_privileges(phase, DATABASE, conn), *check_blockers(phase, DATABASE, conn)]
    in_one = any(each.object == EVERY_ONE for each in found)
    for each in found:
        one_of_them = in_one and each.check == Check.ROLE_MAY and each.object != EVERY_ONE
        if each.verdict is not Verdict.PASS and not one_of_them:
            yield replace(each, verdict=Verdict.OPEN)


def _of_migrations(settlement: Settlement) -> Iterator[Finding]:
    """Yield one finding for each migration that is not plainly recorded; of many in the same state one for all."""
    alike: dict[tuple[str, Action], list[str]] = {}
    for each in settlement.migrations:
        if each.action not in (Action.NOTHING, Action.REFUSE):
            alike.setdefault((each.recorded, each.action), []).append(each.migration)
    many = {names[0]: (key, names) for key, names in alike.items() if len(names) > LISTED}
    folded = {name for _, names in many.values() for name in names}
    rest = tuple(each for each in settlement.migrations if each.migration not in folded)
    yield from judge_migrations(DATABASE, replace(settlement, migrations=rest))
    for (recorded, action), names in many.values():
        yield Finding(
            check=Check.MIGRATION_IS_SETTLED,
            target=DATABASE,
            object=f"{len(names)} migrations, {names[0]} to {names[-1]}",
            have=f"recorded: {recorded}; {'all' if action is Action.RESOLVE_APPLIED else 'nothing'} of each stands",
            want="all of it stands and is recorded",
            verdict=Verdict.SKIP,
        )


def provider_of(migrations: Path) -> str:
    """Return for which kind of database the migrations were written, PostgreSQL where nothing says so."""
    with suppress(OSError):
        if found := _PROVIDER.search(read_given_text(migrations / "migration_lock.toml", errors="replace")):
            return found[1]
    return "postgresql"


def _server(service: str, sessions: Sessions) -> Server:
    who, conn = sessions.identity(DATABASE), sessions.unguarded(DATABASE)
    return Server(
        service=service,
        server=who.server,
        database=who.database,
        role=who.role,
        role_name=who.role_name,
        server_version=who.server_version,
        system_identifier=who.system_identifier,
        pooled=conn.server_pid != conn.info.backend_pid,
    )


def _standbys(sessions: Sessions) -> Iterator[Standby]:
    with sessions.snapshot(DATABASE) as conn:
        for row in conn.execute(query("standbys")):
            yield Standby(**row)


def _project(prisma: Prisma) -> Project:
    return Project(
        folder=str(prisma.project.folder),
        prisma=prisma.version(),
        migrations=len(read_migrations(prisma.project.migrations)),
    )
