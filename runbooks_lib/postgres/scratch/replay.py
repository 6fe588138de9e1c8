"""What do scripts make? Found out by running them in a scratch database that is like the target's.

In an empty one, as long as they need nothing that they do not make. Else in a copy of the target's schema, restored
from its dump, out of which everything that they make was taken first.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import psycopg

from runbooks_lib.errors import MigrationError
from runbooks_lib.package import library_digest
from runbooks_lib.postgres.catalog.differences import Described
from runbooks_lib.postgres.dump.dump import read_script
from runbooks_lib.postgres.scratch.extensions import extension_with, provider
from runbooks_lib.postgres.scratch.kept_replay import Found, Shelf, digest
from runbooks_lib.postgres.scratch.lent import scratch_service, served
from runbooks_lib.postgres.scratch.programs import ServerPrograms, find_server_for
from runbooks_lib.postgres.scratch.replayed import ByStatement, Replayed, changes
from runbooks_lib.postgres.scratch.scratch import Scratch, scratch
from runbooks_lib.postgres.scratch.script_run import NotWhole, extensions_made, roles_made
from runbooks_lib.postgres.scratch.stage import Place, Question, Script, Stage, staged
from runbooks_lib.postgres.scratch.surroundings import Surroundings
from runbooks_lib.postgres.scratch.target_copy import needed
from runbooks_lib.postgres.script.effects import in_words
from runbooks_lib.postgres.session.sqlstate import MISSING, what_to_do

# Where a script may come to the name of its database: by a word for it, or in a text that it puts together to execute.
_MAY_ASK_ITS_NAME = re.compile(
    r"""database|(?<!pg_)catalog|datname|dbname|pg_stat|U&["']|\bexecute\b(?!\s+(?:function|procedure)\b)""",
    re.IGNORECASE,
)
MISSES = MISSING | {"23503"}  # of a script: an object, or a row that it refers to


def replay(
    scripts: Sequence[Script],
    *,
    owner: str,
    server_major: int,
    like: Surroundings,
    dump: Path | None = None,
    schema: str = "public",
    servers: frozenset[str] = frozenset(),
    allowed: Iterable[str] = (),
    around: Iterable[str] = (),
) -> Replayed:
    """Run named scripts in order, as `owner`, in a scratch database; say what they do.

    The scratch has the name, locale, settings and roles of `like`; where the scripts miss something, what they miss is
    taken from `dump`. `schema` is where names without one lead. The scratch is a cluster of our own, or at the server
    that RUNBOOKS_SCRATCH_SERVICE names, if that is none of `servers` (their marks). `allowed` names objects that the
    superuser of a cluster of our own makes. The answer depends on nothing else, and so one process works it out once.
    What stands before and after the scripts `around` is read by the way: they will be asked for.
    Raises MigrationError naming the script that PostgreSQL refuses there; BackupError when the dump does not restore;
    PreconditionFailed or LabError when there is no scratch to run it in.
    """
    asked = Question(
        scripts=tuple(scripts), owner=owner, like=like, dump=None, schema=schema, allowed=frozenset(allowed)
    )
    near = frozenset(around)
    if service := scratch_service():
        return _at_service(asked, service, server_major, servers, near)
    programs = find_server_for(
        server_major, extensions=extensions_made(asked.texts), also=dict(like.extensions)
    )
    return _replay(asked, programs, dump, near)


@lru_cache(maxsize=8)
def _replay(asked: Question, programs: ServerPrograms, dump: Path | None, around: frozenset[str]) -> Replayed:
    def place() -> AbstractContextManager[Scratch]:
        return scratch(programs, allowed=asked.allowed)

    ways = [asked] if dump is None else [asked, replace(asked, dump=dump)]
    shelves = [_shelf(way, programs) for way in ways]
    with shelves[0].alone():
        found = [shelf.read() for shelf in shelves]
        for way, shelf, known in zip(ways, shelves, found, strict=True):
            if known is not None and known.end is not None:
                return _recalled(way, place, shelf, known, known.end)
        try:
            return _replayed(asked, place, shelves[0], found[0], around)
        except MigrationError as error:
            if dump is None or error.sqlstate not in MISSES:
                raise
        return _replayed(ways[1], place, shelves[1], found[1], around)


@lru_cache(maxsize=8)
def _at_service(
    asked: Question, service: str, server_major: int, servers: frozenset[str], around: frozenset[str]
) -> Replayed:
    return _replayed(
        asked, lambda: served(service, server_major=server_major, servers=servers), None, None, around
    )


def _shelf(asked: Question, programs: ServerPrograms) -> Shelf:
    """Return the place in the cache of what depends on nothing but this question and these programs."""
    made, like = extensions_made(asked.texts), asked.like
    if asked.dump is None and not any(map(_MAY_ASK_ITS_NAME.search, asked.texts)):
        # Databases of many tenants share what was found; in a copy of one, functions of its own may ask, too.
        like = replace(like, database="")
    depends = [
        library_digest(),
        f"{programs.identity} {programs.bindir}",
        repr(sorted(programs.lacks({*made, *dict(like.extensions)}))),
        repr((asked.owner, asked.schema, sorted(asked.allowed), like)),
        repr((sorted(roles_made(asked.texts)), made)),
    ]
    if asked.dump is not None:  # what all of them make was taken out of it
        depends += [read_script(asked.dump), *asked.texts]
    return Shelf(surroundings=digest(depends), scripts=asked.scripts)


def _recalled(asked: Question, place: Place, shelf: Shelf, known: Found, end: Described) -> Replayed:
    return Replayed(
        scripts=known.ran,
        start=known.start,
        end=end,
        server_version=known.server_version,
        borrowed=known.borrowed,
        lacking=known.lacking,
        kept=True,
        look=partial(_look, asked, place, known.apart),
        look_inside=partial(_look_inside, asked, place, known.apart),
        keep=partial(_keep, shelf, known.apart),
        alone=partial(_alone, shelf),
        more=known.more,
    )


def _replayed(
    asked: Question, place: Place, shelf: Shelf | None, known: Found | None, around: frozenset[str]
) -> Replayed:
    """Run the scripts; what is known of the first of them from earlier is taken over."""
    apart = known.apart if known else frozenset()  # scripts that PostgreSQL does not take whole
    while True:
        try:
            replayed = _in_one_go(asked, place, shelf, apart, around)
        except NotWhole as script:
            apart |= {script.name}
        else:
            if known is not None and known.start == replayed.start:
                replayed.more = known.more
            replayed.keep(replayed)
            return replayed


def _keep(shelf: Shelf | None, apart: frozenset[str], replayed: Replayed) -> None:
    if shelf is not None:
        shelf.write(replayed, apart)


@contextmanager
def _alone(shelf: Shelf | None, replayed: Replayed) -> Iterator[None]:
    """Wait for whoever works the same out, as the workers of a fleet do, and take over what they have kept."""
    if shelf is None:
        yield
        return
    with shelf.alone():
        known = shelf.read()
        if known is not None and known.start == replayed.start:
            replayed.more = known.more
            replayed.recall()
        yield


def _in_one_go(
    asked: Question, place: Place, shelf: Shelf | None, apart: frozenset[str], around: frozenset[str]
) -> Replayed:
    numbers = [number for number, (name, _) in enumerate(asked.scripts) if name in around]
    read = {*numbers, *(number + 1 for number in numbers)}
    with staged(asked, place) as stage:
        ran, stood = [], {}
        for number, (name, script) in enumerate(asked.scripts):
            if number in read:
                stood[number] = stage.stands()
            with _named(stage, name, script):
                ran.append(stage.session.run(script, name, apart=name in apart))
        return Replayed(
            scripts=tuple(ran),
            start=stage.start,
            end=stage.stands(),
            server_version=stage.copy.version,
            borrowed=() if asked.dump is None else needed(asked.texts, stage.start, asked.schema),
            lacking=stage.lacking,
            stood=stood,
            look=partial(_look, asked, place, apart),
            look_inside=partial(_look_inside, asked, place, apart),
            keep=partial(_keep, shelf, apart),
            alone=partial(_alone, shelf),
        )


def _look(
    asked: Question, place: Place, apart: frozenset[str], numbers: Collection[int]
) -> dict[int, Described]:
    """Run the scripts again, and read what stands before each of these."""
    found = {}
    with staged(asked, place) as stage:
        for number, (name, script) in enumerate((*asked.scripts, ("", ""))[: max(numbers) + 1]):
            if number in numbers:
                found[number] = stage.stands()
            stage.session.run(script, name, apart=name in apart)
    return found


def _look_inside(
    asked: Question, place: Place, apart: frozenset[str], numbers: Collection[int]
) -> dict[int, tuple[Described, ByStatement, Described]]:
    """Run the scripts again, these statement by statement; read what each statement changes.

    Nothing is changed by statements where one of them does not run alone; those that follow are run without it.
    """
    found = {}
    with staged(asked, place) as stage:
        for number, (name, script) in enumerate(asked.scripts[: max(numbers) + 1]):
            if number not in numbers:
                with suppress(psycopg.Error, NotWhole):  # what an earlier one left out, this one may need
                    stage.session.run(script, name, apart=name in apart)
                continue
            before = state = stage.stands()
            inside = []
            try:
                for _ in stage.session.step(script):
                    now = stage.stands()
                    inside.append(tuple(changes(state, now)))
                    state = now
            except psycopg.Error:
                stage.session.close()
                inside = []
            found[number] = before, tuple(inside), stage.stands()
    return found


@contextmanager
def _named(stage: Stage, name: str, script: str) -> Iterator[None]:
    """Raise what a script was refused for as MigrationError that names it."""
    where = "an empty" if stage.asked.dump is None else "a copy of the target's schema, a"
    try:
        yield
    except psycopg.Error as error:
        hint = what_to_do(error.sqlstate)
        if extension := extension_with(error):
            major = int(stage.copy.version.split(".")[0])
            hint += f" The extension {extension} has it, and no migration makes that: {provider(extension, major)}."
        if stage.asked.dump is None and error.sqlstate in MISSES:
            hint += (
                " If the target has what it needs and no migration makes it, name the target in backup.targets: it is "
                "then taken from this run's dump."
            )
        if stage.session.refused is None:  # sent whole and rolled back: one by one they tell which it was
            with suppress(psycopg.Error, MigrationError):
                deque(stage.session.step(script), maxlen=0)
        refused = stage.session.refused
        at = f" (line {refused.line}: {in_words(refused)})" if refused else ""
        raise MigrationError(
            f"{name} does not run in {where} PostgreSQL {stage.copy.version} database: "
            f"{' '.join(str(error).split())}{at}",
            f"What it makes cannot be compared with what the target has. {hint}",
            sqlstate=error.sqlstate,
        ) from error
