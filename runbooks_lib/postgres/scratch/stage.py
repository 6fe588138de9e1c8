"""The scratch database in which scripts run: empty and like the target's, or a copy of the target's schema.

What the scripts need of a superuser is made in it beforehand; nothing of theirs ran by then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from psycopg import sql

from runbooks_lib.errors import MigrationError
from runbooks_lib.postgres.catalog.catalog import Key, read_catalog
from runbooks_lib.postgres.catalog.differences import Described, describe
from runbooks_lib.postgres.catalog.watched import Watched
from runbooks_lib.postgres.scratch.extensions import MadeBefore, available, how_to_have, make_extensions
from runbooks_lib.postgres.scratch.lent import Served
from runbooks_lib.postgres.scratch.restore import restore_into
from runbooks_lib.postgres.scratch.scratch import Scratch
from runbooks_lib.postgres.scratch.script_run import Replay, extensions_made, roles_made
from runbooks_lib.postgres.scratch.surroundings import Surroundings
from runbooks_lib.postgres.scratch.target_copy import made_by_scripts, take_out
from runbooks_lib.postgres.session.connect import Connection

Script = tuple[str, str]  # its name and its text
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A scratch in which scripts run, the sessions in which they do and are looked at, and what stood at the start.

    `beforehand` is what a superuser made, whom these statements (tag, name) need: it counts once one of them ran.
    """

    copy: Scratch | Served
    asked: Question
    session: Replay
    read: Callable[[], Described]
    start: Described
    lacking: tuple[str, ...]
    beforehand: Mapping[Key, MadeBefore]

    def stands(self) -> Described:
        """Return what stands now, as far as the statements that ran make it."""
        found = self.read()
        for key, statements in self.beforehand.items():
            if not statements & self.session.passed:
                found.pop(key, None)
        return found


@contextmanager
def staged(asked: Question, place: Place) -> Iterator[Stage]:
    """Open a scratch with the database in which the scripts run, and the session for them."""
    with place() as copy:
        lacking: tuple[str, ...] = ()
        if asked.dump is None:
            lacking = _prepare(copy, asked)
        else:
            assert isinstance(copy, Scratch)
            _prepare_copy(copy, asked, asked.dump)
        with copy.connect(asked.like.database) as reader:
            start = describe(read_catalog(reader))
            made, beforehand = make_beforehand(reader, copy, asked, start)
            session = Replay(
                copy,
                asked.like.database,
                owner=asked.owner,
                schema=asked.schema,
                made_before=made,
                code=asked.dump is not None or bool(asked.like.extensions),
            )
            with closing(session):
                yield Stage(
                    copy=copy,
                    asked=asked,
                    session=session,
                    read=Watched(reader).read
                    if isinstance(copy, Scratch)
                    else lambda: describe(read_catalog(reader)),
                    start=start,
                    lacking=lacking,
                    beforehand=beforehand,
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


def make_beforehand(
    conn: Connection, copy: Scratch | Served, asked: Question, start: Described
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
