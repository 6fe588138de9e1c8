"""What do scripts make? Found out by running them in a scratch database that is like the target's.

In an empty one, as long as they need nothing that they do not make. Else in a copy of the target's schema, restored
from its dump, out of which everything that they make was taken first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import psycopg
from psycopg import sql

from runbooks_lib.errors import MigrationError
from runbooks_lib.postgres.catalog.catalog import Key, read_catalog
from runbooks_lib.postgres.catalog.differences import Described, describe
from runbooks_lib.postgres.scratch.extensions import MadeBefore, available, how_to_have, make_extensions
from runbooks_lib.postgres.scratch.lent import Served, scratch_service, served
from runbooks_lib.postgres.scratch.programs import ServerPrograms, find_server_for
from runbooks_lib.postgres.scratch.replayed import ByStatement, Replayed, changes
from runbooks_lib.postgres.scratch.restore import restore_into
from runbooks_lib.postgres.scratch.scratch import Scratch, scratch
from runbooks_lib.postgres.scratch.script_run import Replay, extensions_made, roles_made
from runbooks_lib.postgres.scratch.surroundings import Surroundings
from runbooks_lib.postgres.scratch.target_copy import made_by_scripts, needed, take_out
from runbooks_lib.postgres.session.sqlstate import MISSING, what_to_do

MISSES = MISSING | {"23503"}  # of a script: an object, or a row that it refers to

Script = tuple[str, str]
Place = Callable[[], AbstractContextManager[Scratch | Served]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Which scripts to run, in whose name and where: the same question has the same answer."""

    scripts: tuple[Script, ...]
    owner: str
    like: Surroundings
    dump: Path | None
    schema: str
    allowed: frozenset[str]

    @property
    def texts(self) -> tuple[str, ...]:
        """Return the scripts without their names."""
        return tuple(text for _, text in self.scripts)


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
) -> Replayed:
    """Run named scripts in order, as `owner`, in a scratch database; say what they do.

    The scratch has the name, locale, settings and roles of `like`; where the scripts miss something, what they miss is
    taken from `dump`. `schema` is where names without one lead. The scratch is a cluster of our own, or at the server
    that RUNBOOKS_SCRATCH_SERVICE names, if that is none of `servers` (their marks). `allowed` names objects that the
    superuser of a cluster of our own makes. The answer depends on nothing else, and so one process works it out once.
    Raises MigrationError naming the script that PostgreSQL refuses there; BackupError when the dump does not restore;
    PreconditionFailed or LabError when there is no scratch to run it in.
    """
    asked = Question(
        scripts=tuple(scripts), owner=owner, like=like, dump=None, schema=schema, allowed=frozenset(allowed)
    )
    if service := scratch_service():
        return _at_service(asked, service, server_major, servers)
    programs = find_server_for(
        server_major, extensions=extensions_made(asked.texts), also=dict(like.extensions)
    )
    return _replay(asked, programs, dump)


@lru_cache(maxsize=8)
def _replay(asked: Question, programs: ServerPrograms, dump: Path | None) -> Replayed:
    def place() -> AbstractContextManager[Scratch]:
        return scratch(programs, allowed=asked.allowed)

    try:
        return _replayed(asked, place)
    except MigrationError as error:
        if dump is None or error.sqlstate not in MISSES:
            raise
    return _replayed(replace(asked, dump=dump), place)


@lru_cache(maxsize=8)
def _at_service(asked: Question, service: str, server_major: int, servers: frozenset[str]) -> Replayed:
    return _replayed(asked, lambda: served(service, server_major=server_major, servers=servers))


def _replayed(asked: Question, place: Place) -> Replayed:
    with _prepared(asked, place) as run:
        ran = []
        for name, script in asked.scripts:
            with _named(run.copy, asked, name):
                ran.append(run.session.run(script, name))
        return Replayed(
            scripts=tuple(ran),
            start=run.start,
            end=run.stands(),
            server_version=run.copy.version,
            borrowed=() if asked.dump is None else needed(asked.texts, run.start, asked.schema),
            lacking=run.lacking,
            look=partial(_look, asked, place),
            look_inside=partial(_look_inside, asked, place),
        )


def _look(asked: Question, place: Place, numbers: Collection[int]) -> dict[int, Described]:
    """Run the scripts again, and read what stands before each of these."""
    found = {}
    with _prepared(asked, place) as run:
        for number, (_name, script) in enumerate((*asked.scripts, ("", ""))[: max(numbers) + 1]):
            if number in numbers:
                found[number] = run.stands()
            run.session.run(script)
    return found


def _look_inside(
    asked: Question, place: Place, numbers: Collection[int]
) -> dict[int, tuple[Described, ByStatement, Described]]:
    """Run the scripts again, these statement by statement; read what each statement changes.

    Nothing is changed by statements where one of them does not run alone; those that follow are run without it.
    """
    found = {}
    with _prepared(asked, place) as run:
        for number, (_name, script) in enumerate(asked.scripts[: max(numbers) + 1]):
            if number not in numbers:
                with suppress(psycopg.Error):  # what an earlier one left out, this one may need
                    run.session.run(script)
                continue
            before = state = run.stands()
            inside = []
            try:
                for _ in run.session.step(script):
                    now = run.stands()
                    inside.append(tuple(changes(state, now)))
                    state = now
            except psycopg.Error:
                run.session.close()
                inside = []
            found[number] = before, tuple(inside), run.stands()
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """A scratch in which the scripts run, the session in which they do, and what stood before anything was made.

    `beforehand` is what a superuser made, whom these statements (tag, name) need: it counts once one of them ran.
    """

    copy: Scratch | Served
    asked: Question
    session: Replay
    start: Described
    lacking: tuple[str, ...]
    beforehand: Mapping[Key, MadeBefore]

    def stands(self) -> Described:
        """Return what stands now, as far as the statements that ran make it."""
        found = _described(self.copy, self.asked)
        for key, statements in self.beforehand.items():
            if not statements & self.session.passed:
                found.pop(key, None)
        return found


@contextmanager
def _prepared(asked: Question, place: Place) -> Iterator[_Run]:
    """Open a scratch with the database in which the scripts run, and the session for them."""
    with place() as copy:
        lacking: tuple[str, ...] = ()
        if asked.dump is None:
            lacking = _prepare(copy, asked)
        else:
            assert isinstance(copy, Scratch)
            _prepare_copy(copy, asked, asked.dump)
        start = _described(copy, asked)
        made, beforehand = _make_beforehand(copy, asked, start)
        session = Replay(copy, asked.like.database, owner=asked.owner, schema=asked.schema, made_before=made)
        with closing(session):
            yield _Run(
                copy=copy, asked=asked, session=session, start=start, lacking=lacking, beforehand=beforehand
            )


def _prepare(copy: Scratch | Served, asked: Question) -> tuple[str, ...]:
    """Make the database in which scripts run, with what the target has installed; say what cannot be had here."""
    like = asked.like
    roles = {*like.roles, *roles_made(asked.texts)}
    lacking = copy.create_database(like.database, roles=roles, owner=asked.owner, like=like)
    theirs = {name: schema for name, schema in like.extensions if name not in extensions_made(asked.texts)}
    with copy.connect(like.database) as conn:
        here = available(conn, theirs)
        there = {name: schema for name, schema in theirs.items() if name in here}
        make_extensions(conn, there, owner=asked.owner)
    if asked.schema != "public":  # Prisma makes it before it runs anything
        with copy.session(like.database, owner=asked.owner) as conn:
            conn.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(asked.schema)))
    return lacking


def _prepare_copy(copy: Scratch, asked: Question, dump: Path) -> None:
    """Make the database in which scripts run out of the target's dump, without what they make."""
    database = asked.like.database
    restore_into(copy, dump, database, roles={*asked.like.roles, *roles_made(asked.texts)})
    with copy.connect(database) as conn:
        take_out(conn, made_by_scripts(asked.texts, asked.schema))
        # No row is here that another could refer to.
        quiet = sql.SQL("ALTER DATABASE {} SET session_replication_role = replica")
        conn.execute(quiet.format(sql.Identifier(database)))
    copy.lend(database, asked.owner)


def _make_beforehand(
    copy: Scratch | Served, asked: Question, start: Described
) -> tuple[MadeBefore, dict[Key, MadeBefore]]:
    """Make what only a superuser can: extensions that are not trusted. Return the statements that would make it,
    and for each object that came of it those after which it counts.

    Raises MigrationError naming the extensions that are not installed here.
    """
    wanted = extensions_made(asked.texts)
    theirs = dict(asked.like.extensions)
    made: MadeBefore = frozenset()
    beforehand: dict[Key, MadeBefore] = {}
    if not wanted:
        return made, beforehand
    with copy.connect(asked.like.database) as conn:
        here = available(conn, wanted)
        _require_extensions(copy, asked, set(wanted) - set(here))
        if all(here.values()):
            return made, beforehand
        for name, schema in wanted.items():  # all of them, in their order: one may require another
            schema = schema or theirs.get(name, asked.schema)
            by = make_extensions(conn, {name: schema}, owner=asked.owner)
            own = frozenset(each for each in by if each[0] == "CreateExtensionStmt")
            for key in describe(read_catalog(conn)).keys() - start.keys() - beforehand.keys():
                beforehand[key] = by if key == ("schema", schema) else own
            made |= by
    return made, beforehand


def _require_extensions(copy: Scratch | Served, asked: Question, missing: set[str]) -> None:
    if not missing:
        return
    names = ", ".join(sorted(missing))
    first = next(name for name, text in asked.scripts if missing & set(extensions_made([text])))
    raise MigrationError(
        f"{first} does not run here: it makes {names}, which PostgreSQL {copy.version} on this machine does not have.",
        how_to_have(missing, copy.major),
        sqlstate="0A000",
    )


@contextmanager
def _named(copy: Scratch | Served, asked: Question, name: str) -> Iterator[None]:
    """Raise what a script was refused for as MigrationError that names it."""
    where = "an empty" if asked.dump is None else "a copy of the target's schema, a"
    try:
        yield
    except psycopg.Error as error:
        hint = what_to_do(error.sqlstate)
        if asked.dump is None and error.sqlstate in MISSES:
            hint += (
                " If the target has what it needs and no migration makes it, name the target in backup.targets: it is "
                "then taken from this run's dump."
            )
        raise MigrationError(
            f"{name} does not run in {where} PostgreSQL {copy.version} database: {' '.join(str(error).split())}",
            f"What it makes cannot be compared with what the target has. {hint}",
            sqlstate=error.sqlstate,
        ) from error


def _described(copy: Scratch | Served, asked: Question) -> Described:
    with copy.connect(asked.like.database) as conn:
        return describe(read_catalog(conn))
