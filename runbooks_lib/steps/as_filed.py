"""Does every target that shows its database, standby included, hold what the phase's schema file makes?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from runbooks_lib.checks import Check
from runbooks_lib.errors import MigrationError, RunbookError
from runbooks_lib.findings import Finding, Verdict, could_not_run, judge
from runbooks_lib.given import read_given_text
from runbooks_lib.phase import Phase
from runbooks_lib.postgres.catalog.catalog import Catalog, read_catalog
from runbooks_lib.postgres.catalog.differences import describe
from runbooks_lib.postgres.dump.dump import without_key
from runbooks_lib.postgres.scratch.lent import target_servers
from runbooks_lib.postgres.scratch.replay import replay
from runbooks_lib.postgres.scratch.replayed import Ran, Replayed
from runbooks_lib.postgres.scratch.script_run import NOT_RUN
from runbooks_lib.postgres.scratch.surroundings import Surroundings, read_surroundings
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.prisma.effects import ObjectState
from runbooks_lib.prisma.settlement import Settlement, compare
from runbooks_lib.steps.pending import Pending, shows
from runbooks_lib.steps.settlement_findings import MADE_BY_FILE, all_in_one, judge_extras, judge_objects, some

KEY = "schema.file"
_SCHEMA = "public"  # where names without a schema lead, and Prisma keeps its table


def judge_as_filed(
    phase: Phase, sessions: Sessions, name: str, *, superuser_objects: Sequence[str], pending: Pending
) -> Iterator[Finding]:
    """Judge one target's catalogue by what the schema's file makes: what is not so, and all objects in one finding.

    Nothing without such a file, or where the target shows another database. The file is run in a scratch database as
    the phase's owner, where `superuser_objects` are made as they are allowed; what is `pending` is SKIP. Reads the
    target; writes nothing.
    """
    file, target = phase.schema.file, phase.schema.target
    if file is None or target is None:
        return
    try:
        if not shows(phase, sessions, name, target):
            return
        with sessions.snapshot(name) as conn:
            catalog, like = read_catalog(conn), read_surroundings(conn)
        made = _made_by(phase, sessions, file, like, superuser_objects)
        compared = _compare(phase, sessions, made, catalog, pending)
    except RunbookError as error:
        yield could_not_run(Check.MIGRATION_OBJECTS_STAND, name, KEY, error)
        return
    found = tuple(judge_objects(name, compared.objects, phase, made_by=MADE_BY_FILE))
    yield from (f for f in found if f.verdict is not Verdict.PASS)
    yield from _judge_ran(name, made.scripts[0])
    yield from judge_extras(name, compared.extras, phase, made_by=MADE_BY_FILE)
    later = any(each.planned for each in compared.objects)
    yield all_in_one(name, f"every object of {file}", found, f"as {file} makes them", later=later)


def _made_by(
    phase: Phase, sessions: Sessions, file: str, like: Surroundings, superuser_objects: Sequence[str]
) -> Replayed:
    """Run the schema's file in a scratch database.

    Raises MigrationError when it can't be read, not be run as an ordinary role, or makes nothing; as `replay` does
    otherwise.
    """
    assert phase.schema.target is not None
    who = sessions.identity(phase.schema.target)
    try:
        script, _ = without_key(read_given_text(phase.folder / file))
    except (OSError, UnicodeDecodeError) as error:
        raise MigrationError(f"{file} cannot be read: {error}", "Put the file back, as UTF-8.") from error
    made = replay(
        [(file, script)],
        owner=phase.owner or who.role_name,
        server_major=who.major,
        like=like,
        schema=_SCHEMA,
        servers=target_servers(sessions),
        allowed=superuser_objects,
    )
    if left_out := [each.words for each in made.scripts[0].unjudged if each.why in NOT_RUN]:
        raise MigrationError(
            f"{file} does not run as an ordinary role: {some(left_out)}.",
            "Take these statements out of it, or allow what they make by name: --allow-superuser-objects NAME.",
        )
    if made.start == made.end:
        raise MigrationError(
            f"{file} makes nothing that a catalogue shows, so there is nothing to compare.",
            "Put the schema into it, such as a dump of a database that is right.",
        )
    return made


def _compare(
    phase: Phase, sessions: Sessions, made: Replayed, catalog: Catalog, pending: Pending
) -> Settlement:
    assert phase.schema.target is not None
    compared = compare(
        made,
        describe(catalog),
        schema=_SCHEMA,
        server_major=sessions.identity(phase.schema.target).major,
        owned=phase.owner is not None,
        planned=pending.objects,
    )
    return replace(compared, objects=tuple(_deployed(each, pending) for each in compared.objects))


def _deployed(each: ObjectState, pending: Pending) -> ObjectState:
    """Return an object that differs as planned, when migrations are to be deployed that make or change it."""
    to_come = not each.stands and (each.kind, each.name) in pending.deployed
    return replace(each, planned=True, recorded=False) if to_come else each


def _judge_ran(target: str, ran: Ran) -> Iterator[Finding]:
    """Judge what of the file no catalogue shows, such as rows: OPEN, in one finding."""
    if ran.unjudged:
        yield judge(
            Check.MIGRATION_OBJECTS_STAND,
            target,
            ran.name,
            have=f"{len(ran.unjudged)} of {len(ran.statements)} statements not judged: "
            f"{some([each.words for each in ran.unjudged])}",
            want="every statement judged",
            hint="A catalogue does not show what these leave: see for yourself, and sign it off. Rows belong in seeds.",
            blocking=False,
        )
