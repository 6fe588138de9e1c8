"""What do scripts make? Found out by running them in a scratch database that is like the target's.

In an empty one, as long as they need nothing that they do not make. Else in a copy of the target's schema, restored
from its dump, out of which everything that they make was taken first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import psycopg
from psycopg import sql

from runbooks_lib.errors import MigrationError
from runbooks_lib.postgres.catalog.catalog import Key, read_catalog
from runbooks_lib.postgres.catalog.differences import Described, describe
from runbooks_lib.postgres.scratch.extensions import MadeBefore, available, make_extensions, provider
from runbooks_lib.postgres.scratch.lent import Served, scratch_service, served
from runbooks_lib.postgres.scratch.programs import ServerPrograms, find_server_for
from runbooks_lib.postgres.scratch.restore import restore_into
from runbooks_lib.postgres.scratch.scratch import Scratch, scratch
from runbooks_lib.postgres.scratch.script_run import Ran, Replay, extensions_made, roles_made
from runbooks_lib.postgres.scratch.surroundings import Surroundings
from runbooks_lib.postgres.scratch.target_copy import made_by_scripts, needed, take_out
from runbooks_lib.postgres.session.sqlstate import MISSING, what_to_do

MISSES = MISSING | {"23503"}  # of a script: an object, or a row that it refers to
_TAKES_AWAY = re.compile(r"\b(?:drop|rename|set\s+schema)\b", re.IGNORECASE)

Script = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What one of some scripts makes, changes and removes, and what stands after all of them, as `describe` says it.

    `before` and `made` are the same objects before and after that script; `removed` are those that it drops.
    `stands` is what all scripts together leave behind; `gone` is what one of them made and is not there at the end.
    `ran` says of each script how it ran; `borrowed` is what was taken from a copy of the target because the scripts
    need it; `lacking` is what of the target's surroundings the scratch server does not have, in words.
    `server_version` is that of the scratch server.
    """

    before: Described
    made: Described
    removed: frozenset[Key]
    stands: Described
    gone: frozenset[Key]
    server_version: str
    ran: Mapping[str, Ran] = field(default_factory=dict)
    borrowed: tuple[Key, ...] = ()
    lacking: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Which scripts to run, in whose name and where: the same question has the same answer."""

    scripts: tuple[Script, ...]
    owner: str
    of: str | None
    like: Surroundings
    dump: Path | None
    schema: str
    allowed: frozenset[str]

    @property
    def texts(self) -> tuple[str, ...]:
        """Return the scripts without their names."""
        return tuple(text for _, text in self.scripts)


def expect(
    scripts: Sequence[Script],
    *,
    owner: str,
    server_major: int,
    like: Surroundings,
    of: str | None = None,
    dump: Path | None = None,
    schema: str = "public",
    servers: frozenset[str] = frozenset(),
    allowed: Iterable[str] = (),
) -> Expected:
    """Run named scripts in order, as `owner`, in a scratch database; say what one of them does.

    That one is `of`, by default the last. The scratch has the name, locale, settings and roles of `like`; where the
    scripts miss something, what they miss is taken from `dump`. `schema` is where names without one lead. The scratch
    is a cluster of our own, or at the server that RUNBOOKS_SCRATCH_SERVICE names, if that is none of `servers` (their
    marks). `allowed` names objects that the superuser of a cluster of our own makes.
    The answer depends on nothing else, and so one process works it out once.
    Raises MigrationError naming the script that PostgreSQL refuses there; BackupError when the dump does not restore;
    PreconditionFailed or LabError when there is no scratch to run it in.
    """
    of = of or (scripts[-1][0] if scripts else None)
    asked = Question(
        scripts=tuple(scripts),
        owner=owner,
        of=of,
        like=like,
        dump=None,
        schema=schema,
        allowed=frozenset(allowed),
    )
    if service := scratch_service():
        return _at_service(asked, service, server_major, servers)
    programs = find_server_for(
        server_major, extensions=extensions_made(asked.texts), also=dict(like.extensions)
    )
    return _expect(asked, programs, dump)


@lru_cache(maxsize=8)
def _expect(asked: Question, programs: ServerPrograms, dump: Path | None) -> Expected:
    try:
        with scratch(programs, allowed=asked.allowed) as copy:
            return _replayed(asked, copy, _prepare(copy, asked))
    except MigrationError as error:
        if dump is None or error.sqlstate not in MISSES:
            raise
    asked = replace(asked, dump=dump)
    with scratch(programs, allowed=asked.allowed) as copy:
        _prepare_copy(copy, asked, dump)
        return _replayed(asked, copy, ())


@lru_cache(maxsize=8)
def _at_service(asked: Question, service: str, server_major: int, servers: frozenset[str]) -> Expected:
    with served(service, server_major=server_major, servers=servers) as copy:
        return _replayed(asked, copy, _prepare(copy, asked))


def _replayed(asked: Question, copy: Scratch | Served, lacking: tuple[str, ...]) -> Expected:
    empty = before = after = end = _described(copy, asked)
    seen: set[Key] = set()
    ran: dict[str, Ran] = {}
    with closing(_replay(copy, asked)) as replay:
        for name, script in asked.scripts:
            if name == asked.of or _TAKES_AWAY.search(script):
                end = _described(copy, asked)
                seen |= set(end)
            before = end if name == asked.of else before
            with _named(copy, asked, name):
                ran[name] = replay.run(script)
            if name in (asked.of, asked.scripts[-1][0]):
                end = _described(copy, asked)
            after = end if name == asked.of else after
    changed = {key: value for key, value in after.items() if before.get(key) != value}
    removed = frozenset(set(before) - set(after))
    return Expected(
        before={key: value for key, value in before.items() if key in changed or key in removed},
        made=changed,
        removed=removed,
        stands={key: value for key, value in end.items() if empty.get(key) != value},
        gone=frozenset((seen | set(after)) - set(end)),
        server_version=copy.version,
        ran=ran,
        borrowed=() if asked.dump is None else needed(asked.texts, empty, asked.schema),
        lacking=lacking,
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


def _replay(copy: Scratch | Served, asked: Question) -> Replay:
    """Open the session for the scripts, after making what only a superuser can make: extensions that are not trusted.

    Raises MigrationError naming the extensions that are not installed here.
    """
    wanted = extensions_made(asked.texts)
    theirs = dict(asked.like.extensions)
    made: MadeBefore = frozenset()
    if wanted:
        with copy.connect(asked.like.database) as conn:
            here = available(conn, wanted)
            _require_extensions(copy, asked, set(wanted) - set(here))
            if not all(here.values()):  # then all of them, in their order: one may require another
                schemas = {name: schema or theirs.get(name, asked.schema) for name, schema in wanted.items()}
                made = make_extensions(conn, schemas, owner=asked.owner)
    return Replay(copy, asked.like.database, owner=asked.owner, schema=asked.schema, made_before=made)


def _require_extensions(copy: Scratch | Served, asked: Question, missing: set[str]) -> None:
    if not missing:
        return
    names = ", ".join(sorted(missing))
    first = next(name for name, text in asked.scripts if missing & set(extensions_made([text])))
    major = copy.major
    come_from = "; ".join(f"{name}: {provider(name, major)}" for name in sorted(missing))
    raise MigrationError(
        f"{first} does not run here: it makes {names}, which PostgreSQL {copy.version} on this machine does not have.",
        f"Install it ({come_from}) and let RUNBOOKS_PG_BIN name the programs of the server that has it, or let "
        "RUNBOOKS_SCRATCH_SERVICE name a service of a server that has it, where databases may be made and dropped.",
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
