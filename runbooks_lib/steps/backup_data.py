"""The part of step 2 that takes the rows, too, where the phase asks for it: dump, and proof by a whole restore."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from runbooks_lib.checks import Check
from runbooks_lib.facts.databases import RowsDump
from runbooks_lib.findings import Finding, Verdict, judge
from runbooks_lib.phase import Target
from runbooks_lib.postgres.dump.clients import Client
from runbooks_lib.postgres.dump.data_dump import dump_data, read_data_dump
from runbooks_lib.postgres.rows.contents import (
    compare_contents,
    read_contents,
    read_sequence_values,
    told_of_rows,
)
from runbooks_lib.postgres.scratch.restore_data import restore_data
from runbooks_lib.postgres.scratch.surroundings import read_surroundings
from runbooks_lib.postgres.session.connect import Connection, Sessions
from runbooks_lib.postgres.session.session import take_time

PATH_SET = "; functions find what they call only with a search_path, which they were given"
PATH_HINT = "A plain restore fails at these functions: give each of them a SET search_path of its own."
MAX_NAMED = 5  # named in the finding; the rest is counted


def save_data(client: Client, target: Target, folder: Path, conn: Connection, *, snapshot: str) -> RowsDump:
    """Dump a target's rows to `folder` under the session's exported snapshot; note what they are, in the same one.

    `conn` is inside `Sessions.snapshot`. Returns the directory's name, files, size, hash, and per table the number
    of rows and their digest; `told`, by kind, what was not read, and what has casts that were not used.
    """
    take_time(conn)
    before = read_sequence_values(conn)
    dump_data(client, target, conn, folder, snapshot=snapshot)
    contents, told = read_contents(conn), told_of_rows(conn)
    size = conn.execute("SELECT pg_database_size(current_database()) AS bytes").fetchone()
    assert size is not None
    made = read_data_dump(folder)
    return RowsDump(
        path=folder.name,
        files=made.files,
        size_bytes=made.size_bytes,
        sha256=made.sha256,
        complete=made.complete,
        database_bytes=size["bytes"],
        tables=dict(contents.tables),
        sequences={name: (before.get(name, value), value) for name, value in contents.sequences.items()},
        told=told,
    )


def judge_whole(name: str, data: RowsDump) -> Finding:
    """Judge dump_is_whole for a directory: pg_dump writes its table of contents last."""
    return _whole(name, data.path, data.files, complete=data.complete)


def _whole(name: str, path: str, files: int, *, complete: bool) -> Finding:
    return judge(
        Check.DUMP_IS_WHOLE,
        name,
        path,
        have="whole" if complete else f"{files} files without a table of contents",
        want="whole",
        hint="Do not trust this directory, run the step again.",
    )


def verify_data(name: str, folder: Path, data: RowsDump) -> tuple[Finding, ...]:
    """Judge dump_hash_is for a directory: the same files, each with the same bytes. Raises BackupError."""
    found = read_data_dump(folder / data.path)
    return (
        judge(
            Check.DUMP_HASH_IS,
            name,
            data.path,
            have=_in_words(found.files, found.sha256),
            want=_in_words(data.files, data.sha256),
            hint="A file was added, removed or changed since it was written: find out who did it, and dump again.",
        ),
        _whole(name, data.path, found.files, complete=found.complete),
    )


def prove_data(
    sessions: Sessions, name: str, folder: Path, data: RowsDump, *, allowed: Sequence[str] = ()
) -> Finding:
    """Restore a directory into a scratch cluster, and judge data_restores: the rows of every table are the source's.

    Raises BackupError, PreconditionFailed or LabError when it cannot be restored.
    """
    with sessions.snapshot(name) as conn:
        source = read_surroundings(conn)
    restored = restore_data(
        folder / data.path,
        server_major=sessions.identity(name).major,
        roles=source.roles,
        extensions=dict(source.extensions),
        database_bytes=data.database_bytes,
        allowed=allowed,
    )
    differing = tuple(compare_contents(restored.contents, data))
    more = f" and {len(differing) - MAX_NAMED} more" if len(differing) > MAX_NAMED else ""
    said = f"; not {'; '.join(differing[:MAX_NAMED])}{more}" if differing else ""
    tables, sequences = (
        len(data.tables) - 1,
        len(data.sequences),
    )  # large objects are counted as a table
    return Finding(
        check=Check.DATA_RESTORES,
        target=name,
        object=data.path,
        have=f"restored in PostgreSQL {restored.server_version}{said}{PATH_SET if restored.path_set else ''}",
        want=f"the rows of {tables} tables, the large objects and the values of {sequences} sequences as in the source"
        + _told(data.told),
        verdict=Verdict.FAIL if differing else Verdict.OPEN if restored.path_set else Verdict.PASS,
        hint="The dump does not bring back what was dumped: do not go on with it, and make it again."
        if differing
        else PATH_HINT
        if restored.path_set
        else "",
    )


def _told(told: Mapping[str, list[str]]) -> str:
    """Say which relations were not read, since that could go anywhere, and whose casts were not used."""
    casts = told.get("cast of rows", [])
    unread = [f"{kind} {name}" for kind in told if kind != "cast of rows" for name in told[kind]]
    said = (
        f"; not read: {', '.join(unread[:MAX_NAMED])}{' …' if len(unread) > MAX_NAMED else ''}"
        if unread
        else ""
    )
    return said + (
        f"; rows are printed without the casts that {', '.join(casts[:MAX_NAMED])} have" if casts else ""
    )


def _in_words(files: int, sha256: str) -> str:
    return f"{files} files, {sha256}"
