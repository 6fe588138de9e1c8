"""The SQL file of a phase's baseline: its text, its hash, its statements, and what they set off in its database."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from runbooks_lib.errors import MigrationError
from runbooks_lib.facts.writing import OF_MIGRATIONS
from runbooks_lib.given import read_given_text
from runbooks_lib.phase import Baseline, Phase
from runbooks_lib.postgres.script.concurrent import FORM, parse_concurrent
from runbooks_lib.postgres.script.consequences import Act, Fate, Kind, When, acts_of, fate
from runbooks_lib.postgres.script.pieces import pieces
from runbooks_lib.postgres.script.script import Statement, parse_script
from runbooks_lib.postgres.session.connect import Connection
from runbooks_lib.steps.baseline_source import migrated


class Judged(NamedTuple):
    """A statement with what it sets off in the target's database."""

    statement: Statement
    acts: tuple[Act, ...]

    @property
    def fate(self) -> Fate:
        """Return what becomes of the statement: the worst that its form or one of its acts means."""
        if self.statement.refused:
            return Fate.REFUSED
        return max(map(fate, self.acts), key=list(Fate).index, default=Fate.RUNS)

    def told(self, *fates: Fate) -> str:
        """Say the acts that mean one of these."""
        return "; ".join(str(act) for act in self.acts if fate(act) in fates)

    @property
    def refused(self) -> str:
        """Say why it may not run here: its form, or what it sets off; empty when it may."""
        return self.statement.refused or self.told(Fate.REFUSED)


def baseline_of(phase: Phase) -> Baseline:
    """Return the baseline of a phase that has one: whoever asks has looked."""
    assert phase.baseline is not None
    return phase.baseline


def read_statements(phase: Phase) -> tuple[Statement, ...]:
    """Return the baseline's statements: none where its indexes are all that is made.

    Raises MigrationError as `read_sql` does, and when it is no SQL.
    """
    text = read_sql(phase)
    alone = baseline_of(phase).concurrently is not None and pieces(text) == ()
    return () if alone else parse_script(text)


def read_concurrent(phase: Phase) -> tuple[Statement, ...]:
    """Return the indexes that are built concurrently after the baseline; none where the phase names no such file."""
    name = baseline_of(phase).concurrently
    return parse_concurrent(_read(phase, name)) if name else ()


def indexes_to_build(phase: Phase) -> tuple[Statement, ...]:
    """Return what `read_concurrent` does. Raises MigrationError, naming it, when anything else stands there."""
    found = read_concurrent(phase)
    refused = [f"line {each.line}: {each.refused}" for each in found if each.refused]
    if refused:
        raise MigrationError(
            f"{baseline_of(phase).concurrently} is not run ({'; '.join(refused)}).", f"Write {FORM}."
        )
    return found


def judge_statements(conn: Connection, statements: Sequence[Statement]) -> tuple[Judged, ...]:
    """Read in the session's database what each statement would set off; nothing is executed."""
    return tuple(map(Judged, statements, acts_of(conn, statements)))


def runnable(phase: Phase, conn: Connection) -> tuple[Judged, ...]:
    """Return the statements if each of them is idempotent. Raises MigrationError, naming those that are not."""
    judged = judge_statements(conn, read_statements(phase))
    refused = [f"line {j.statement.line}: {j.refused}" for j in judged if j.fate is Fate.REFUSED]
    if refused:
        raise MigrationError(
            f"The baseline is not run, since it is not idempotent ({'; '.join(refused)}).",
            "Use the idempotent forms that the first question of this step names.",
        )
    return judged


def rehearsable(judged: Sequence[Judged]) -> tuple[tuple[Judged, ...], tuple[Judged, ...]]:
    """Return what can be rehearsed on the target, and what is left out, since no rollback would take it back.

    With what changes rows the later ones are left out, which may refer to its rows; with any other statement, all
    later ones.
    """
    here: list[Judged] = []
    left: list[Judged] = []
    for each in judged:
        row_is_missing = any(j.statement.writes_rows for j in left) and each.statement.writes_rows
        object_is_missing = any(not j.statement.writes_rows for j in left)
        out = each.fate is Fate.COPY or row_is_missing or object_is_missing
        (left if out else here).append(each)
    return tuple(here), tuple(left)


def logs_of(judged: Sequence[Judged]) -> frozenset[str]:
    """Return the tables that event triggers of the database write to whenever anybody defines anything."""
    acts = (act for each in judged for act in each.acts)
    return frozenset(act.name for act in acts if act.kind is Kind.WRITES and act.when is When.DDL)


def read_sql(phase: Phase) -> str:
    """Return the text of the baseline: of its file, or of the migrations, where these make something else.

    Raises MigrationError when it cannot be read as UTF-8, or be written; PreconditionFailed without the project.
    """
    text = _read(phase, baseline_of(phase).file)
    of_migrations = baseline_of(phase).source and phase.prisma
    return (migrated(text) if of_migrations else None) or text


def name_of_sql(phase: Phase) -> str:
    """Return the name of what is run: of the phase's file, or OF_MIGRATIONS. Raises what `read_sql` does."""
    file = baseline_of(phase).file
    return file if read_sql(phase) == _read(phase, file) else OF_MIGRATIONS


def _read(phase: Phase, name: str) -> str:
    file = phase.folder / name
    try:
        return read_given_text(file)
    except (OSError, UnicodeDecodeError) as error:
        raise MigrationError(
            f"The baseline {file} cannot be read: {error}", "Put the file back, as UTF-8."
        ) from error


def sql_sha256(phase: Phase) -> str:
    """Return the SHA-256 (hex) of the baseline, with its indexes. Raises MigrationError as `read_sql` does."""
    name = baseline_of(phase).concurrently
    return hashlib.sha256((read_sql(phase) + (_read(phase, name) if name else "")).encode()).hexdigest()
