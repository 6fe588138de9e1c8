"""All migrations as one script: the schema that they make in the end, in a form that may run twice.

The migrations run in a scratch database, pg_dump prints what they made, and what a baseline is written of is that. The
script is proved before anybody gets it: in another scratch database it makes the same, and once.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import psycopg

from runbooks_lib.drafting.baseline import Baseline, Scripts, write_baseline
from runbooks_lib.errors import MigrationError
from runbooks_lib.postgres.binaries import clean_environment
from runbooks_lib.postgres.catalog.differences import Described, compare, in_words
from runbooks_lib.postgres.dump.clients import choose, find_clients
from runbooks_lib.postgres.dump.dump import without_key
from runbooks_lib.postgres.scratch.programs import ServerPrograms, find_server, find_server_for
from runbooks_lib.postgres.scratch.scratch import SUPERUSER, Scratch, scratch
from runbooks_lib.postgres.scratch.script_run import NotWhole, extensions_made
from runbooks_lib.postgres.scratch.stage import Question, Stage, staged
from runbooks_lib.postgres.scratch.surroundings import Surroundings
from runbooks_lib.postgres.script.pieces import Piece, pieces
from runbooks_lib.postgres.script.script import parse_script

_DATABASE, _OWNER = "squashed", "runbooks_owner"
_TIMEOUT_S = 600
_NAMED = 5
_SETTINGS = frozenset({"VariableSetStmt", "SelectStmt"})  # pg_dump's own, for its session
_BY_HAND = "Report it, with the migrations: the script is not proved, and so it is not given."


def squash(scripts: Scripts) -> Baseline:
    """Write the schema that all scripts make together as one idempotent script; `left` are changes of rows.

    Raises MigrationError when a script fails, or what was written makes something else, or acts again; BackupError,
    PreconditionFailed or LabError without pg_dump or a scratch server.
    """
    programs = find_server_for(find_server().major, extensions=extensions_made([text for _, text in scripts]))
    wanted, dumped = _made_by(scripts, programs)
    baseline = write_baseline([("The schema that all migrations make", dumped)])
    unsaid = [f"{each.words}: {each.why}" for each in baseline.left]
    unsaid += [f"line {each.line}: {each.refused}" for each in parse_script(baseline.sql) if each.refused]
    if unsaid:
        raise MigrationError(
            f"The schema can't be written as one script that may run twice: {'; '.join(unsaid[:_NAMED])}.",
            "Leave --squash out: then what can be written is, and the rest is named.",
        )
    _prove(baseline.sql, wanted, programs)
    written = write_baseline(scripts)
    rows = tuple(each for each in written.left if each.changes_rows)
    return Baseline(sql=baseline.sql, left=rows, statements=baseline.statements + len(rows))


def _made_by(scripts: Scripts, programs: ServerPrograms) -> tuple[Described, str]:
    """Return what scripts make, as a description, and as pg_dump prints it."""
    with _ran(scripts, programs) as stage:
        assert isinstance(stage.copy, Scratch)
        return stage.read(), _dumped(stage.copy)


def _prove(sql: str, wanted: Described, programs: ServerPrograms) -> None:
    with _ran([("the squashed script", sql)], programs) as stage:
        made = stage.read()
        stage.session.run(sql)
        again = stage.read()
    for what, have, want in (("makes something else", made, wanted), ("acts on a second run", again, made)):
        differing = [in_words(each) for each in compare(have, want)]
        if differing:
            raise MigrationError(
                f"The squashed script {what} than the migrations: {'; '.join(differing[:_NAMED])}.", _BY_HAND
            )


@contextmanager
def _ran(scripts: Scripts, programs: ServerPrograms) -> Iterator[Stage]:
    """Run scripts in a scratch database, each as Prisma runs it; those that PostgreSQL does not take whole in parts."""
    asked = Question(
        scripts=tuple(scripts),
        owner=_OWNER,
        like=Surroundings(database=_DATABASE),
        dump=None,
        schema="public",
        allowed=frozenset(),
    )
    apart: frozenset[str] = frozenset()
    while True:
        with staged(asked, partial(scratch, programs)) as stage:
            try:
                _run(stage, scripts, apart)
            except NotWhole as error:
                apart |= {error.name}
                continue
            yield stage
            return


def _run(stage: Stage, scripts: Scripts, apart: frozenset[str]) -> None:
    for name, text in scripts:
        try:
            stage.session.run(text, name, apart=name in apart)
        except psycopg.Error as error:
            raise MigrationError(
                f"{name} does not run in an empty database after those before it: {' '.join(str(error).split())}",
                "What they make together is not known without it: correct it, or squash up to the one before.",
                sqlstate=error.sqlstate,
            ) from error


def _dumped(copy: Scratch) -> str:
    """Return the schema of the scratch database as pg_dump prints it, without what it sets for its own session."""
    client, address = choose(find_clients(), copy.major), copy.cluster.address()
    where = [f"--host={address['host']}", f"--port={address['port']}", f"--username={SUPERUSER}", _DATABASE]
    done = subprocess.run(
        [str(client.pg_dump), "--schema-only", "--no-owner", "--no-password", "--encoding=UTF8", *where],
        env=clean_environment({"PGPASSWORD": copy.password, "PGSSLMODE": "disable"}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise MigrationError(f"pg_dump failed: {' '.join(done.stderr.split())}", _BY_HAND)
    found = pieces(without_key(done.stdout)[0])
    if found is None:
        raise MigrationError("What pg_dump printed is not SQL as PostgreSQL's parser reads it.", _BY_HAND)
    return "".join(f"{each.text};\n" for each in found if _is_made(each))


def _is_made(piece: Piece) -> bool:
    """Return whether a statement of pg_dump's makes something: it also sets its session, and comments extensions."""
    of_extension = piece.tag == "CommentStmt" and piece.node.get("objtype") == "OBJECT_EXTENSION"
    return piece.tag not in _SETTINGS and not of_extension
