"""Does a dump restore? Into a scratch cluster of our own, never into the target, and never with a superuser's rights.

What the dump holds may execute code: a check calls a function, an index evaluates one. It runs as an ordinary role
that has nothing but the scratch database. Statements go to the server as they are: no psql reads them, and so no meta
command in them means anything.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import LiteralString

import psycopg
from psycopg import sql

from runbooks_lib.errors import BackupError
from runbooks_lib.postgres.catalog.catalog import Catalog, read_catalog
from runbooks_lib.postgres.dump.dump import read_script
from runbooks_lib.postgres.dump.dump_script import Kind, Piece, read_pieces
from runbooks_lib.postgres.queries import query
from runbooks_lib.postgres.scratch.programs import ServerPrograms, find_server_for
from runbooks_lib.postgres.scratch.scratch import SUPERUSER, Scratch, scratch
from runbooks_lib.postgres.scratch.superuser_objects import Maker, object_of
from runbooks_lib.postgres.session.connect import Connection
from runbooks_lib.postgres.session.sqlstate import MISSING, NOT_ALLOWED

RESTORE_TIMEOUT_S = 3600.0
RESTORER = "runbooks restorer"
# What only a superuser may make (a function in C, an operator class), or what this server does not have.
NEEDS_MORE = {NOT_ALLOWED, "0A000", "58P01"}

LACKING_HINT = (
    "If the message names an extension or a collation, let RUNBOOKS_PG_BIN name server programs that have it; "
    "otherwise do not trust this dump: make it again."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A statement of a dump that an ordinary role could not execute here, and the server's words.

    `name` is that of an object that a superuser could make, if it were allowed.
    """

    statement: str
    why: str
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What of a dump was not restored; `path_set` when functions found what they call by a search_path alone.

    `by_superuser` names what the operator allowed, and the scratch server's superuser made.
    """

    left_out: tuple[LeftOut, ...] = ()
    path_set: bool = False
    by_superuser: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a dump (`pieces`, its statements) restores to, and the version of the scratch server that took it."""

    server_version: str
    server_major: int
    catalog: Catalog
    pieces: tuple[Piece, ...]
    outcome: Outcome


class Restores:
    """Scratch clusters for several restores, one for all that need the same programs; all are gone when the block ends.

    `allowed` names the objects that their superusers make.
    """

    def __init__(self, *, allowed: Iterable[str] = ()) -> None:
        self._allowed = allowed
        self._open = ExitStack()
        self._copies: dict[ServerPrograms, Scratch] = {}

    def __enter__(self) -> Restores:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def restore_schema(self, dump: Path, *, server_major: int, roles: Iterable[str]) -> Restored:
        """Restore a plain schema dump into a database of its own in a scratch cluster, and read back what it made.

        The scratch has the dump's extensions, as far as programs here have them, and the source's major version, else
        the lowest newer one found. `roles` are the source's: they are created there without a password, so that owners
        and grants can be restored.

        Raises BackupError with the server's own words when the dump does not restore; PreconditionFailed or LabError
        when there is no scratch to restore it into.
        """
        pieces = pieces_of(read_script(dump), dump.name)
        programs = find_server_for(server_major, extensions=extensions_of(pieces))
        copy = self._copy(programs)
        database = f"restored_{secrets.token_hex(4)}"
        outcome = _restore(copy, pieces, database, roles=roles, what=dump.name)
        try:
            with copy.connect(database) as conn:
                catalog = read_catalog(conn)
        except psycopg.Error as error:
            raise _refused(dump.name, copy, error) from error
        return Restored(
            server_version=copy.version,
            server_major=copy.cluster.programs.major,
            catalog=catalog,
            pieces=pieces,
            outcome=outcome,
        )

    def _copy(self, programs: ServerPrograms) -> Scratch:
        """Return the scratch cluster with these programs; another one where an earlier dump's restore ended it."""
        known = self._copies.get(programs)
        if known is None or known.cluster.expired or not known.cluster.is_running():
            server = scratch(programs, allowed=self._allowed)
            self._copies[programs] = self._open.enter_context(server)
        return self._copies[programs]


def restore_into(copy: Scratch, dump: Path, database: str, *, roles: Iterable[str]) -> Outcome:
    """Restore a plain schema dump into a new database of a scratch cluster, to run scripts in it.

    Event triggers are left out, which would fire, and so is who may call the server's own functions.
    Raises BackupError with the server's own words.
    """
    pieces = pieces_of(read_script(dump), dump.name)
    harmless = tuple(piece for piece in pieces if piece.kind not in (Kind.EVENT, Kind.SERVER))
    return _restore(copy, harmless, database, roles=roles, what=dump.name)


def extensions_of(pieces: Iterable[Piece]) -> frozenset[str]:
    """Return the extensions that a dump's statements make."""
    return frozenset(piece.names[0] for piece in pieces if piece.kind is Kind.EXTENSION)


def _restore(
    copy: Scratch, pieces: tuple[Piece, ...], database: str, *, roles: Iterable[str], what: str
) -> Outcome:
    try:
        copy.create_database(database, roles=roles, owner=RESTORER)
    except psycopg.Error as error:
        raise _refused(what, copy, error) from error
    return restore_pieces(copy, database, pieces, what=what)


def pieces_of(script: str, what: str) -> tuple[Piece, ...]:
    """Split a dump's script. Raises BackupError when its statements cannot be told apart."""
    try:
        return read_pieces(script)
    except ValueError as error:
        raise BackupError(f"{what} is no SQL script: {error}.", "Make the backup again.") from error


def restore_pieces(
    copy: Scratch,
    database: str,
    pieces: Sequence[Piece],
    *,
    what: str,
    before: tuple[LeftOut, ...] = (),
    timeout_s: float | None = None,
) -> Outcome:
    """Execute a dump's statements in a database that was lent to RESTORER: extensions, then definitions, then labels.

    Extensions are made by their names, before anything of the dump is there that they could meet. Owners, privileges
    and comments come last, from a superuser, since the new owner may not be allowed to own there; nothing that was
    restored is executed any more then. `before` was left out of what other pieces made.
    Raises BackupError with the server's own words.
    """
    extensions = any(piece.kind is Kind.EXTENSION for piece in pieces)
    try:
        with copy.cluster.ended_after(timeout_s or RESTORE_TIMEOUT_S):
            made, left_out = set[tuple[str, ...]](), before
            if extensions:
                with copy.connect(database) as conn:
                    made, lacking = _make_extensions(conn, pieces)
                    left_out = (*before, *lacking)
                    lend_extensions(conn)
            maker = Maker(connect=lambda: copy.connect(database), allowed=copy.allowed, owner=RESTORER)
            with copy.session(database, owner=RESTORER) as conn:
                defining = [p for p in pieces if p.names[:1] not in made]
                defined = _define(conn, copy, defining, left_out, what, maker)
            with copy.connect(database) as conn:
                if extensions:
                    lend_extensions(conn, "REVOKE {} FROM {}")
                left_out += defined.left_out
                left_out += _label(conn, copy, pieces, left_out, what)
    except psycopg.Error as error:
        raise _refused(what, copy, error) from error
    return Outcome(left_out=left_out, path_set=defined.path_set, by_superuser=tuple(maker.made))


def _make_extensions(
    conn: Connection, pieces: Iterable[Piece]
) -> tuple[set[tuple[str, ...]], tuple[LeftOut, ...]]:
    """Make each extension and the schema that it lies in; return those schemas, and what cannot be had here."""
    made: set[tuple[str, ...]] = set()
    left_out = []
    for piece in pieces:
        if piece.kind is not Kind.EXTENSION:
            continue
        name, schema = piece.names
        if schema and not conn.execute("SELECT FROM pg_namespace WHERE nspname = %s", (schema,)).fetchall():
            create = sql.SQL("CREATE SCHEMA {} AUTHORIZATION {}")
            conn.execute(create.format(sql.Identifier(schema), sql.Identifier(RESTORER)))
            made.add((schema,))
        where = sql.SQL(" WITH SCHEMA {}").format(sql.Identifier(schema)) if schema else sql.SQL("")
        try:
            conn.execute(sql.SQL("CREATE EXTENSION {}").format(sql.Identifier(name)) + where)
        except psycopg.Error as error:
            left_out.append(LeftOut(statement=piece.text, why=error.diag.message_primary or str(error)))
    return made, tuple(left_out)


def lend_extensions(conn: Connection, statement: LiteralString = "GRANT {} TO {}") -> None:
    """Let RESTORER use what only a superuser may use of extensions, or take it back: wrappers, tables with rows."""
    for row in conn.execute(query("lent_by_extensions")).fetchall():
        what = sql.SQL(row["what"]).format(sql.Identifier(*row["names"]))
        conn.execute(sql.SQL(statement).format(what, sql.Identifier(RESTORER)))


def _define(
    conn: Connection,
    copy: Scratch,
    pieces: Iterable[Piece],
    before: tuple[LeftOut, ...],
    what: str,
    maker: Maker,
) -> Outcome:
    """Execute the definitions, as the ordinary role that the session is of; what is allowed, as the maker does."""
    texts = [piece.text for piece in pieces if piece.kind in (Kind.DEFINITION, Kind.SCHEMA)]
    paths = Paths(conn)
    left_out = _execute(conn, copy, texts, lambda text: maker.execute(text, paths.execute), before, what)
    paths.reset()
    return Outcome(left_out=left_out, path_set=bool(paths.set_for))


class Paths:
    """Executes definitions; those of functions that name what they call by its bare name, with a search_path.

    A dump is restored with none, as pg_dump writes it, and PostgreSQL evaluates an index with none: such functions
    work in the source where its sessions have one. Here each gets one for the time of the restore.
    """

    def __init__(self, conn: Connection) -> None:
        self.conn = conn
        self.set_for: list[str] = []

    def execute(self, text: str) -> None:
        """Execute a statement, a second time when it misses something and functions could be helped."""
        try:
            self.conn.execute(text.encode())
        except psycopg.Error as error:
            if error.sqlstate not in MISSING or not self.help():
                raise
            self.conn.execute(text.encode())

    def help(self) -> bool:
        """Give each function that has none a search_path with every schema; return whether there was one."""
        rows = self.conn.execute(query("functions_without_path")).fetchall()
        for row in rows:
            self.conn.execute(row["help"].encode())
            self.set_for.append(row["reset"])
        return bool(rows)

    def reset(self) -> None:
        """Take the paths away again: they are not the dump's."""
        for statement in self.set_for:
            self.conn.execute(statement.encode())


def _label(
    conn: Connection, copy: Scratch, pieces: Sequence[Piece], before: tuple[LeftOut, ...], what: str
) -> tuple[LeftOut, ...]:
    """Give owners, privileges and comments, event triggers last; each statement is one that executes nothing."""
    labels = [piece.text for piece in pieces if piece.kind in (Kind.LABEL, Kind.SERVER)]
    events = [piece.text for piece in pieces if piece.kind is Kind.EVENT]
    if any(SUPERUSER in text for text in (*labels, *events)):
        raise BackupError(
            f"{what} names {SUPERUSER!r}, the superuser of scratch servers.",
            "A role of the source has this name, or a text speaks of it. Rename it.",
        )
    left_out = _execute(conn, copy, labels, lambda text: conn.execute(text.encode()), before, what)
    owners = {name for piece in pieces if piece.kind is Kind.EVENT for name in piece.names}
    with _superusers(conn, owners):
        before = (*before, *left_out)
        return left_out + _execute(conn, copy, events, lambda text: conn.execute(text.encode()), before, what)


@contextmanager
def _superusers(conn: Connection, roles: Iterable[str]) -> Iterator[None]:
    """Make roles superusers for a block in which nothing else works in this server: event triggers belong to such."""
    change = sql.SQL("ALTER ROLE {} {}")
    names = [sql.Identifier(role) for role in sorted(roles)]
    for name in names:
        conn.execute(change.format(name, sql.SQL("SUPERUSER")))
    try:
        yield
    finally:
        for name in names:
            conn.execute(change.format(name, sql.SQL("NOSUPERUSER")))


def _execute(
    conn: Connection,
    copy: Scratch,
    texts: Sequence[str],
    execute: Callable[[str], object],
    before: tuple[LeftOut, ...],
    what: str,
) -> tuple[LeftOut, ...]:
    """Execute statements at once; where that fails, one by one, to tell what fails and why."""
    try:
        with conn.transaction():
            conn.execute(";\n".join(texts).encode())
        return ()
    except psycopg.Error as error:
        if conn.broken or conn.closed:
            raise _refused(what, copy, error) from error
    left_out: list[LeftOut] = []
    for text in texts:
        try:
            execute(text)
        except psycopg.Error as error:
            if not _beyond_scratch(error, bool(before or left_out)):
                raise _refused(what, copy, error) from error
            name = object_of(text) if error.sqlstate == NOT_ALLOWED else ""
            left_out.append(LeftOut(statement=text, why=error.diag.message_primary or str(error), name=name))
    return tuple(left_out)


def _beyond_scratch(error: psycopg.Error, others: bool) -> bool:
    """Tell whether it is the scratch that cannot do this: it needs a superuser, or hangs on what was left out."""
    return error.sqlstate in NEEDS_MORE or (others and error.sqlstate in MISSING)


def _refused(what: str, copy: Scratch, error: psycopg.Error) -> BackupError:
    lost = not copy.cluster.is_running() or (error.sqlstate or "").startswith("57P")
    if lost and not copy.cluster.expired:
        return BackupError(
            f"The scratch server into which {what} was restored ended meanwhile: {' '.join(str(error).split())[:1000]}",
            "Nothing of yours is touched. See whether memory ran out or somebody ended it, then run the step again.",
        )
    return BackupError(
        f"{what} does not restore into PostgreSQL {copy.version}: {' '.join(str(error).split())[:1000]}",
        LACKING_HINT,
    )
