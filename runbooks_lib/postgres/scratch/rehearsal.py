"""A deploy, rehearsed in a copy of the target, restored from this run's backup: how long, which locks, what fails.

Each script is sent as Prisma sends it, as one query, in the name of an ordinary role. The copy is a scratch server of
ours, enclosed and gone afterwards; nothing of it touches the target.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg import pq

from runbooks_lib.names import qualified
from runbooks_lib.postgres.catalog.catalog import read_catalog
from runbooks_lib.postgres.catalog.differences import Described, describe
from runbooks_lib.postgres.dump.dump import read_script
from runbooks_lib.postgres.queries import query
from runbooks_lib.postgres.scratch.extensions import MadeBefore
from runbooks_lib.postgres.scratch.programs import find_server_for
from runbooks_lib.postgres.scratch.restore import Outcome, extensions_of, pieces_of, restore_into
from runbooks_lib.postgres.scratch.restore_data import restore_rows_into
from runbooks_lib.postgres.scratch.scratch import Scratch, scratch
from runbooks_lib.postgres.scratch.script_run import (
    BOM,
    NOT_RUN,
    Replay,
    extensions_made,
    roles_made,
    stands_before,
    without,
)
from runbooks_lib.postgres.scratch.stage import Question, Script, make_beforehand
from runbooks_lib.postgres.scratch.surroundings import Surroundings
from runbooks_lib.postgres.script.effects import in_words
from runbooks_lib.postgres.script.pieces import Piece, pieces
from runbooks_lib.postgres.session.connect import Connection
from runbooks_lib.postgres.session.session import NoAnswer, Session
from runbooks_lib.postgres.session.sqlstate import NOT_ALLOWED, what_to_do

TIMEOUT_S = 3600.0
_NO_TRANSACTION = "25001"  # a statement that runs in no transaction
_BY_ITSELF = "ShareUpdateExclusiveLock"  # of whatever runs CONCURRENTLY, which runs in no transaction
_OF_VALUES = "22"  # the class of errors whose words repeat values of rows

Lock = tuple[str, str]  # relation, mode


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsed:
    """How one script went: its locks on relations that were there before it, and the tables that it wrote anew.

    `error` has the statement and its line, and the server's words; None when all ran. `left_out` are statements that
    need a superuser, whose part in the time and the locks is not known.
    """

    name: str
    duration_ms: float
    locks: tuple[Lock, ...] = ()
    rewritten: tuple[str, ...] = ()
    error: str | None = None
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """The scripts that ran, up to the first that failed, and the copy's catalogue before and after them.

    `with_rows` says that the copy had the target's rows: without them a script's time says little, and what only rows
    refuse does not fail. `not_restored` is what of the backup the copy lacks.
    """

    scripts: tuple[Rehearsed, ...]
    before: Described = field(repr=False)
    after: Described = field(repr=False)
    server_version: str
    with_rows: bool
    not_restored: tuple[str, ...] = ()


def rehearse_scripts(
    scripts: Sequence[Script],
    *,
    dump: Path,
    data: Path | None,
    owner: str,
    like: Surroundings,
    server_major: int,
    schema: str = "public",
    allowed: Iterable[str] = (),
) -> Rehearsal:
    """Run named scripts, in order, as `owner` in a copy of the target; stop at the first that fails, as Prisma does.

    `dump` is this run's dump of the target's schema; `data` the directory of its dump with the rows, if it made one.
    `schema` is where names without one lead. `allowed` names objects that the scratch server's superuser makes.
    Raises BackupError when the backup does not restore; MigrationError when an extension that the scripts make is not
    installed here; PreconditionFailed or LabError when there is no scratch.
    """
    asked = Question(
        scripts=tuple(scripts), owner=owner, like=like, dump=dump, schema=schema, allowed=frozenset(allowed)
    )
    known = extensions_of(pieces_of(read_script(dump), dump.name))
    programs = find_server_for(
        server_major,
        extensions=extensions_made(asked.texts),
        also=known | {name for name, _ in like.extensions},
    )
    with scratch(programs, in_memory=data is None, allowed=asked.allowed) as copy:
        roles = {*like.roles, *roles_made(asked.texts)}
        if data is None:
            outcome = restore_into(copy, dump, like.database, roles=roles)
        else:
            outcome = restore_rows_into(copy, data, dump, like.database, roles=roles)
        copy.lend(like.database, owner)
        return _rehearsed(copy, asked, outcome, with_rows=data is not None)


def _rehearsed(copy: Scratch, asked: Question, outcome: Outcome, *, with_rows: bool) -> Rehearsal:
    with copy.connect(asked.like.database) as admin:
        before = describe(read_catalog(admin))
        made, _ = make_beforehand(admin, copy, asked, before)
        with closing(_Deploy(copy, asked, admin, made)) as deploy:
            ran = []
            for name, script in asked.scripts:
                ran.append(deploy.run(name, script.removeprefix(BOM)))
                if ran[-1].error is not None:
                    break
        return Rehearsal(
            scripts=tuple(ran),
            before=before,
            after=describe(read_catalog(admin)),
            server_version=copy.version,
            with_rows=with_rows,
            not_restored=tuple(left.why for left in outcome.left_out),
        )


class _Deploy:
    """The session in which scripts run, and a superuser's that looks at it while its transaction is open."""

    def __init__(self, copy: Scratch, asked: Question, admin: Connection, made_before: MadeBefore) -> None:
        self._copy = copy
        self._asked = asked
        self._admin = admin
        self._made_before = made_before
        self._conn: Session | None = None
        self._replay = Replay(
            copy, asked.like.database, owner=asked.owner, schema=asked.schema, made_before=made_before
        )

    def close(self) -> None:
        """Close the sessions of the scripts."""
        if self._conn is not None:
            self._conn.close()
        self._conn = None
        self._replay.close()

    def run(self, name: str, script: str) -> Rehearsed:
        """Run one script and say how it went."""
        before = self._relations()
        locks: set[tuple[int, str]] = set()
        left_out: tuple[str, ...] = ()
        error = None
        begun = time.perf_counter()
        try:
            spent = self._whole(script, locks)
            self._forget()
        except psycopg.Error as refused:
            self.close()
            spent = (time.perf_counter() - begun) * 1000
            if refused.sqlstate == NOT_ALLOWED:
                self._look_at_each(script, locks)
                spent, left_out, error = self._without_superuser(name, script)
            else:
                error = self._which(script, refused)
        after = self._relations()
        return Rehearsed(
            name=name,
            duration_ms=round(spent, 1),
            locks=tuple(sorted({(before[oid][0], mode) for oid, mode in locks if oid in before})),
            rewritten=tuple(
                sorted(
                    relation
                    for oid, (relation, file) in before.items()
                    if oid in after and after[oid][1] != file
                )
            ),
            error=error,
            left_out=left_out,
        )

    def _whole(self, script: str, locks: set[tuple[int, str]]) -> float:
        """Send a script as one query and look at its locks before it commits; return how many ms it took."""
        found = pieces(script) or ()
        done = frozenset(piece for piece in found if stands_before(piece, self._made_before))
        if any(piece.tag == "TransactionStmt" for piece in found):
            return self._own_transactions([piece for piece in found if piece not in done], locks)
        text = without(found, done) if done else script
        try:
            return self._timed(["BEGIN", text], locks) + self._timed(["COMMIT"])
        except psycopg.Error as error:
            if error.sqlstate != _NO_TRANSACTION or len(found) != 1:
                raise
            self.close()
        locks |= self._documented(found[0])
        return self._timed([text])

    def _own_transactions(self, found: Sequence[Piece], locks: set[tuple[int, str]]) -> float:
        """Run a script that begins and commits by itself, and look after each statement.

        What stands outside of its transactions is in one all the same, as it is in one query.
        """
        spent, ours = 0.0, False
        for piece in found:
            if piece.tag == "TransactionStmt":
                ours = ours and piece.node["kind"] not in ("TRANS_STMT_BEGIN", "TRANS_STMT_START")
            elif not self._is_inside():
                ours = True
                spent += self._timed(["BEGIN"])
            spent += self._timed([piece.text], locks)
        return spent + self._timed(["COMMIT"] if ours and self._is_inside() else [])

    def _is_inside(self) -> bool:
        return self._session().info.transaction_status is pq.TransactionStatus.INTRANS

    def _timed(self, texts: Sequence[str], locks: set[tuple[int, str]] | None = None) -> float:
        """Send statements, look at the locks that they hold, and return how many ms they took."""
        conn = self._session()
        begun = time.perf_counter()
        for text in texts:
            conn.execute(text.encode())
        spent = (time.perf_counter() - begun) * 1000
        if locks is not None and self._is_inside():
            locks |= self._held(conn)
        return spent

    def _held(self, conn: Session) -> set[tuple[int, str]]:
        rows = self._admin.execute(query("rehearsed_locks"), {"pid": conn.info.backend_pid})
        return {(row["relation"], row["mode"]) for row in rows}

    def _look_at_each(self, script: str, locks: set[tuple[int, str]]) -> None:
        """Look at the locks of what of a script runs without a superuser, and take it back."""
        with self._rolled_back() as conn:
            for piece in pieces(script) or ():
                if piece.tag != "TransactionStmt":
                    with suppress(psycopg.Error), conn.transaction():
                        conn.execute(piece.text.encode())
            locks |= self._held(conn)

    def _forget(self) -> None:
        """Let the next script begin afresh."""
        if not self._is_inside():
            self._session().execute("DISCARD ALL")

    def _session(self) -> Session:
        if self._conn is None or self._conn.closed:
            self._conn = self._copy.session(
                self._asked.like.database, owner=self._asked.owner, schema=self._asked.schema
            )
            self._conn.deadline_s = TIMEOUT_S
            self._conn.prepare_threshold = None
        return self._conn

    def _documented(self, piece: Piece) -> set[tuple[int, str]]:
        """Return the lock of a statement that runs in no transaction, where nobody can look at it in time."""
        relation = piece.node.get("relation")
        if relation is None:
            return set()
        name = qualified(relation.get("schemaname", self._asked.schema), relation["relname"])
        return {(oid, _BY_ITSELF) for oid, (known, _) in self._relations().items() if known == name}

    def _without_superuser(self, name: str, script: str) -> tuple[float, tuple[str, ...], str | None]:
        """Run a script without what needs a superuser; return its time, what was left out, and what fails even so."""
        begun = time.perf_counter()
        try:
            ran = self._replay.run(script, name, apart=True)
        except psycopg.Error as error:
            self._replay.close()
            return (time.perf_counter() - begun) * 1000, (), self._which(script, error)
        left_out = tuple(one.words for one in ran.unjudged if one.why in NOT_RUN)
        return (time.perf_counter() - begun) * 1000, left_out, None

    def _which(self, script: str, error: psycopg.Error) -> str:
        """Say which statement fails, and why; found by running them one after the other in one transaction."""
        where = ""
        with self._rolled_back() as conn:
            for piece in pieces(script) or ():
                try:
                    conn.execute(piece.text.encode())
                except psycopg.Error as again:
                    if again.sqlstate == error.sqlstate:
                        where = f"line {piece.line} {in_words(piece)}: "
                    break
        return where + _words(error)

    @contextmanager
    def _rolled_back(self) -> Iterator[Session]:
        conn = self._session()
        conn.execute("BEGIN")
        try:
            yield conn
        finally:
            self.close()

    def _relations(self) -> dict[int, tuple[str, int | None]]:
        """Return name and file of each relation."""
        rows = self._admin.execute(query("rehearsed_relations")).fetchall()
        return {row["oid"]: (qualified(row["schema"], row["name"]), row["file"]) for row in rows}


def _words(error: psycopg.Error) -> str:
    """Return an error's words for people; those that would repeat values of rows are left to the code's meaning."""
    if isinstance(error, NoAnswer):
        return f"it does not end within {TIMEOUT_S:g} s"
    code = error.sqlstate or ""
    if code.startswith(_OF_VALUES):
        return f"SQLSTATE {code}. {what_to_do(code)}"
    return (
        f"{error.diag.message_primary or 'the server gives no reason'} (SQLSTATE {code}). {what_to_do(code)}"
    )
