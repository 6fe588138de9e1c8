"""One script, run in a scratch database as Prisma runs it: as one query, in the name of an ordinary role.

What PostgreSQL refuses to run beside others in one query is run statement by statement, as people run it by hand who
then record it. What needs a superuser is not run, unless it makes an object that the operator allowed by its name:
nobody here has a superuser's rights while a script runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import cache

import psycopg
from psycopg import pq, sql

from runbooks_lib.errors import MigrationError
from runbooks_lib.postgres.scratch.extensions import MadeBefore
from runbooks_lib.postgres.scratch.lent import Served
from runbooks_lib.postgres.scratch.replayed import Ran, StatementRan
from runbooks_lib.postgres.scratch.scratch import Scratch
from runbooks_lib.postgres.scratch.superuser_objects import Maker
from runbooks_lib.postgres.script.effects import SERVER, Unjudged, in_words, unjudged
from runbooks_lib.postgres.script.pieces import Piece, pieces, value
from runbooks_lib.postgres.session.connect import Connection
from runbooks_lib.postgres.session.session import NoAnswer, Session
from runbooks_lib.postgres.session.sqlstate import MISSING, NOT_ALLOWED

TIMEOUT_S = 600
BOM = "\ufeff"
# PostgreSQL's words for: not in a transaction, a new label of an enum used too early.
_NOT_TOGETHER = {
    "25001": "a statement of it runs in no transaction",
    "55P04": "it uses a label that it adds to an enum",
}
# Statements that make no code and change nothing of a session; what an expression in them calls is PostgreSQL's own.
_NO_CODE = """
    AlterEnumStmt AlterTableStmt CommentStmt CreateEnumStmt CreateStmt DeleteStmt DropStmt GrantStmt IndexStmt
    InsertStmt RenameStmt TransactionStmt UpdateStmt
"""
_OF_SESSION = re.compile(r"set_config|advisory|setseed|currval|lastval|temp", re.IGNORECASE)
_NO_DATABASE = "3D000"  # a server that is lent has no database of the target's name
_NOT_GRANTED = {"01006", "01007"}
_NOT_THEIRS = "a privilege of the script is a superuser's to give or take"
_ONLY_IN_TRANSACTION = "25P01"
_NEEDS_SUPERUSER = "it needs a superuser's rights, and was not run"
_LACKS = "it needs what was not run"
_LEFT_OUT = {NOT_ALLOWED: _NEEDS_SUPERUSER, _NO_DATABASE: "it names a database that is not here"}
NOT_RUN = frozenset({*_LEFT_OUT.values(), _LACKS})
# What a migration makes that belongs to the server is there before: scripts here can't make it.
_BEFOREHAND = frozenset(SERVER) - {"AlterDatabaseStmt"}


class NotWhole(Exception):
    """A script of this `name` has to run statement by statement, from the very start: it commits in between."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Replay:
    """The session in which scripts run one after another, each as if it were the first: it forgets all in between.

    `made_before` names what stands in the database already although a script is to make it: extensions and schemas;
    `passed` are those whose statements were reached. `code`: there may be functions of somebody's, which statements
    call that do not say so. `refused` is the statement that PostgreSQL refused last, and for which a script ended.
    """

    def __init__(
        self,
        copy: Scratch | Served,
        database: str,
        *,
        owner: str,
        schema: str,
        made_before: MadeBefore = frozenset(),
        code: bool = True,
    ) -> None:
        self._open: Callable[[], Session] = lambda: copy.session(database, owner=owner, schema=schema)
        self._admin: Callable[[], Connection] = lambda: copy.connect(database)
        self._conn: Session | None = None
        self._made_before = made_before
        self.passed: set[tuple[str, str]] = set()
        self.refused: Piece | None = None
        allowed = copy.allowed if isinstance(copy, Scratch) else frozenset()
        self._maker = Maker(connect=self._admin, allowed=allowed, owner=owner, schema=schema)
        self._schema = schema
        self._is_ordinary = copy.is_ordinary
        self._not_granted = False
        self._code = code

    def close(self) -> None:
        """Close the session."""
        if self._conn is not None:
            self._conn.close()
        self._conn = None

    def run(self, script: str, name: str = "", *, apart: bool = False) -> Ran:
        """Run a script as Prisma does, or statement by statement (`apart`), and say how it went.

        Raises psycopg errors; MigrationError when it does not end; NotWhole when a part of it may stand already of
        what PostgreSQL does not take whole.
        """
        script = script.removeprefix(BOM)  # as psql does; Prisma's checksum has it
        found = pieces(script)
        if found is None:
            self._code = True
            self._send(script)
            whole = "the whole script"
            lost = Unjudged(line=1, what=whole, why="it can't be parsed")
            return Ran(
                name=name, statements=(StatementRan(line=1, words=whole, tag="", unjudged=lost, text=script),)
            )
        self._not_granted = False
        done = frozenset(piece for piece in found if stands_before(piece, self._made_before))
        alone = _alone(found)
        if not (alone or apart):
            read = cache(lambda: (self._leaves_no_trace(found, script), self._ran(found, {})))
            try:
                self._send(without(found, done) if done else script, forget=False, meanwhile=read)
                self.passed |= {_makes(piece) for piece in done}
                no_trace, statements = read()
                if not no_trace:
                    self._forget()
                return Ran(name=name, statements=self._ran(found, {}) if self._not_granted else statements)
            except psycopg.Error as error:
                if error.sqlstate not in {*_NOT_TOGETHER, *_LEFT_OUT}:
                    raise
                if any(piece.tag == "TransactionStmt" for piece in found):
                    raise NotWhole(name) from error
                alone = _NOT_TOGETHER.get(error.sqlstate, "")
        left_out: dict[Piece, Unjudged] = {}
        for _ in self._one_by_one(found, done, left_out):
            continue
        return Ran(name=name, statements=self._ran(found, left_out), one_by_one=alone)

    def _leaves_no_trace(self, found: Sequence[Piece], script: str) -> bool:
        """Return whether a script changes nothing of the session: no statement of it does, and nobody's code ran."""
        tags = {piece.tag for piece in found}
        self._code |= not tags <= set(_NO_CODE.split())
        return not (self._code or "TransactionStmt" in tags or _OF_SESSION.search(script))

    def step(self, script: str) -> Iterator[None]:
        """Run a script statement by statement, each in its own transaction; stop after each.

        Raises psycopg errors as they come, also of statements that only run together.
        """
        found = pieces(script.removeprefix(BOM)) or ()
        done = frozenset(
            piece
            for piece in found
            if piece.tag == "TransactionStmt" or stands_before(piece, self._made_before)
        )
        return self._one_by_one(found, done, {})

    def _one_by_one(
        self, found: Sequence[Piece], done: frozenset[Piece], left_out: dict[Piece, Unjudged]
    ) -> Iterator[None]:
        """Run statements each on its own, and note those that are left out, as they need a superuser."""
        for piece in found:
            if piece not in done:
                self._run_one(piece, left_out)
            self.passed.add(_makes(piece))
            yield
        self._forget()

    def _run_one(self, piece: Piece, left_out: dict[Piece, Unjudged]) -> None:
        inside = self._conn is not None and self._conn.info.transaction_status is pq.TransactionStatus.INTRANS
        try:
            self._send(
                piece.text if inside else _lasting(piece), forget=False, nested=piece.tag != "TransactionStmt"
            )
        except psycopg.Error as error:
            if piece.tag == "LockStmt" and error.sqlstate == _ONLY_IN_TRANSACTION:
                return
            if error.sqlstate == NOT_ALLOWED and (self._gave_away(piece) or self._maker.make(piece.text)):
                return
            if error.sqlstate not in _LEFT_OUT and not (left_out and error.sqlstate in MISSING):
                self.refused = piece
                raise
            why = _LEFT_OUT.get(error.sqlstate or "", _LACKS)
            left_out[piece] = Unjudged(line=piece.line, what=in_words(piece), why=why)

    def _gave_away(self, piece: Piece) -> bool:
        """Change an object's owner as a superuser, whom nothing but this is asked: the new one may not own there."""
        owners = _new_owners(piece)
        if not owners or not all(map(self._is_ordinary, owners)):
            return False
        with self._admin() as admin:
            admin.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(self._schema)))
            try:
                admin.execute(piece.text.encode())
            except psycopg.Error:
                return False
        return True

    def _send(
        self,
        script: str,
        *,
        forget: bool = True,
        nested: bool = False,
        meanwhile: Callable[[], object] | None = None,
    ) -> None:
        """Send a script, or a part of it, as one query; `nested` under a savepoint where a transaction is open.

        `meanwhile` is done while it runs.
        """
        conn = self._conn if self._conn is not None and not self._conn.closed else self._begin()
        inside = nested and conn.info.transaction_status is pq.TransactionStatus.INTRANS
        pid = conn.info.backend_pid
        try:
            with conn.transaction() if inside else nullcontext():
                conn.meanwhile = meanwhile
                conn.execute(script.encode())
        except NoAnswer as error:
            self._end(pid)
            raise MigrationError(
                f"A script did not end within {TIMEOUT_S} s.", "Look for a loop or a pg_sleep in it."
            ) from error
        except BaseException:
            if not conn.closed and conn.info.transaction_status not in (
                pq.TransactionStatus.IDLE,
                pq.TransactionStatus.INTRANS,
            ):
                self.close()
            raise
        if forget:
            self._forget()

    def _ran(self, found: Sequence[Piece], left_out: Mapping[Piece, Unjudged]) -> tuple[StatementRan, ...]:
        """Return the statements as they ran, each with what of it is not judged."""
        return tuple(
            StatementRan(
                line=piece.line,
                words=in_words(piece),
                tag=piece.tag,
                unjudged=left_out.get(piece) or unjudged(piece) or self._ungranted(piece),
                text=piece.text,
            )
            for piece in found
        )

    def _ungranted(self, piece: Piece) -> Unjudged | None:
        if not self._not_granted or piece.tag != "GrantStmt":
            return None
        return Unjudged(line=piece.line, what=in_words(piece), why=_NOT_THEIRS)

    def _begin(self) -> Session:
        self._conn = self._open()
        self._conn.deadline_s = TIMEOUT_S
        self._conn.prepare_threshold = None  # DISCARD ALL would take prepared statements away
        self._conn.add_notice_handler(self._listen)
        return self._conn

    def _listen(self, notice: psycopg.errors.Diagnostic) -> None:
        """Note that a GRANT or REVOKE did nothing, or not all, which is a warning and no error."""
        self._not_granted |= notice.sqlstate in _NOT_GRANTED

    def _forget(self) -> None:
        """Begin the next script afresh; a transaction that this one left open ends as it does when Prisma goes."""
        if self._conn is None or self._conn.closed:
            return
        if self._conn.info.transaction_status is pq.TransactionStatus.IDLE:
            self._conn.execute("DISCARD ALL")
        else:
            self.close()

    def _end(self, pid: int) -> None:
        """End the session of a script that takes too long: it can refuse to be cancelled, and not to be ended."""
        with self._admin() as admin:
            admin.execute("SELECT pg_terminate_backend(%s)", (pid,))


def _alone(found: Sequence[Piece]) -> str:
    """Return why a script can't be one query, as far as that can be read from it; "" when it can."""
    if len(found) < 2:
        return ""
    for piece in found:
        concurrent = piece.node.get("concurrent") or (
            piece.tag == "ReindexStmt" and piece.flag("concurrently")
        )
        if concurrent or (piece.tag == "VacuumStmt" and piece.node.get("is_vacuumcmd")):
            return f"line {piece.line} {in_words(piece)} runs in no transaction"
    return ""


def _makes(piece: Piece) -> tuple[str, str]:
    """Return the tag of a statement and the name of the extension or schema that it makes."""
    return piece.tag, str(piece.node.get("extname") or piece.node.get("schemaname"))


def _new_owners(piece: Piece) -> list[str]:
    """Return whom a statement that changes owners, and does nothing else, gives objects to; "" is who runs it."""
    if piece.tag == "AlterOwnerStmt":
        found = [piece.node]
    elif piece.tag == "AlterTableStmt":
        found = [command["AlterTableCmd"] for command in piece.node["cmds"]]
    else:
        return []
    only = all(command.get("subtype", "AT_ChangeOwner") == "AT_ChangeOwner" for command in found)
    return [command.get("newowner", {}).get("rolename", "") for command in found] if only else [""]


def stands_before(piece: Piece, made_before: MadeBefore) -> bool:
    """Return whether what a statement makes is the server's, or was made by a superuser of ours beforehand."""
    return piece.tag in _BEFOREHAND or _makes(piece) in made_before


def without(found: Sequence[Piece], done: frozenset[Piece]) -> str:
    """Return a script's text without some of its statements."""
    return ";\n".join(piece.text for piece in found if piece not in done)


def _lasting(piece: Piece) -> str:
    """Return a statement's text; SET LOCAL lasts for the script, and not for this statement alone."""
    if piece.tag == "VariableSetStmt" and piece.node.get("is_local"):
        before, _, after = piece.text.partition(piece.text.split()[1])
        return f"{before}SESSION{after}"
    return piece.text


def roles_made(scripts: Sequence[str]) -> frozenset[str]:
    """Return the roles that scripts create."""
    found = (piece for script in scripts for piece in pieces(script) or ())
    return frozenset(str(piece.node["role"]) for piece in found if piece.tag == "CreateRoleStmt")


def extensions_made(scripts: Sequence[str]) -> dict[str, str | None]:
    """Return the extensions that scripts create, with the schemas that they name for them."""
    naming = (script for script in scripts if "extension" in script.lower())  # few do, and parsing takes long
    found = (piece for script in naming for piece in pieces(script) or ())
    made: dict[str, str | None] = {}
    for piece in found:
        if piece.tag == "CreateExtensionStmt":
            made.setdefault(str(piece.node["extname"]), value(piece.options().get("schema")))
    return made
