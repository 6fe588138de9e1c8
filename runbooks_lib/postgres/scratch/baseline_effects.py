"""What does a baseline make? Found out by running it where nothing can hide behind IF NOT EXISTS.

In an empty database, as long as the script needs nothing that it does not make itself. Else in a copy of the target's
schema, restored from its dump, out of which everything that the script makes was taken first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
from psycopg import sql

from runbooks_lib.errors import MigrationError
from runbooks_lib.names import parts, qualified
from runbooks_lib.postgres.catalog.catalog import Catalog, identifier, read_catalog
from runbooks_lib.postgres.catalog.differences import Described, before_18, describe
from runbooks_lib.postgres.scratch.programs import find_server_for
from runbooks_lib.postgres.scratch.replay import MISSES, replay
from runbooks_lib.postgres.scratch.restore import restore_into
from runbooks_lib.postgres.scratch.scratch import Scratch, scratch
from runbooks_lib.postgres.scratch.script_run import extensions_made
from runbooks_lib.postgres.scratch.surroundings import Surroundings
from runbooks_lib.postgres.scratch.target_copy import Makes, parts_of, take_out
from runbooks_lib.postgres.script.script import Statement
from runbooks_lib.postgres.session.connect import Connection

IN_EMPTY = "in an empty database"
IN_COPY = "in a copy of the target's schema without them"
COPY, ALONE = "copy", "alone"
_NO_DUMP = (
    "It needs what the target has: name the target in the phase's backup.targets, so that its dump can be restored "
    "beside it."
)
# What needs nothing but its schema is made in an empty database: in the copy it may have to stay, being used there.
_ALONE = ("enum", "sequence", "schema", "extension")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The target's schema: its dump and the fingerprint of what was dumped, its own now, and what it stands in.

    `servers` are those that may not lend room for scratch databases. `allowed` names what a superuser may make there.
    """

    dump: Path | None
    fingerprint: str
    dumped: str
    like: Surroundings
    servers: frozenset[str] = frozenset()
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a script makes, as `describe` says it, and `where` that was seen: IN_EMPTY or IN_COPY."""

    objects: Described
    where: str
    server_version: str


def made_by(
    script: tuple[str, str, Sequence[Statement]], *, owner: str, server_major: int, source: Source
) -> Made:
    """Run a script (name, text, statements), as `owner`, in scratch databases; say what it makes, and where.

    Raises MigrationError when PostgreSQL refuses it in either, or when the dump is not the target's schema as it is;
    BackupError when the dump does not restore; PreconditionFailed or LabError without a scratch.
    """
    name, text, statements = script
    if source.dump is None or not _needs_the_target(statements):
        try:
            alone = replay(
                [(name, text)],
                owner=owner,
                server_major=server_major,
                like=source.like,
                servers=source.servers,
                allowed=source.allowed,
            )
            made: Described = {each.key: each.after for each in alone.changes(name) if each.after is not None}
            return Made(
                objects=_known(made, server_major), where=IN_EMPTY, server_version=alone.server_version
            )
        except MigrationError as error:
            if error.sqlstate not in MISSES:
                raise
            if source.dump is None:
                raise MigrationError(error.what_happened, _NO_DUMP, sqlstate=error.sqlstate) from error
    programs = find_server_for(
        server_major, extensions=extensions_made([text]), also=dict(source.like.extensions)
    )
    with scratch(programs, allowed=source.allowed) as copy:
        restore_into(copy, source.dump, COPY, roles={owner, *source.like.roles})
        try:
            objects = {
                **_made_in_copy(copy, text, statements, owner, source),
                **_made_alone(copy, statements, owner),
            }
        except psycopg.Error as error:
            raise MigrationError(
                f"{name} runs neither {IN_EMPTY} nor {IN_COPY}: {' '.join(str(error).split())}",
                "What it makes cannot be compared with what the target has. Correct the SQL, or make what it needs "
                "part of it.",
                sqlstate=error.sqlstate,
            ) from error
        return Made(objects=_known(objects, server_major), where=IN_COPY, server_version=copy.version)


def _needs_the_target(statements: Sequence[Statement]) -> bool:
    """Return whether a statement does nothing, and no harm, where an object is missing that the script doesn't make."""
    created = {s.object for s in statements if not s.alters}
    return any(s.touched.due and s.object not in created for s in statements)


def _known(objects: Described, server_major: int) -> Described:
    """Return of a description what the target's server knows, which may be older than the scratch."""
    return before_18(objects) if server_major < 18 else objects


def _made_in_copy(
    copy: Scratch, script: str, statements: Sequence[Statement], owner: str, source: Source
) -> Described:
    if source.dumped != source.fingerprint:
        raise MigrationError(
            "The dump is not the target's schema as it is now.", "Run the step backup again, in this run."
        )
    with copy.connect(COPY) as conn:
        restored = read_catalog(conn)
        take_out(conn, _takes(statements))
        before = read_catalog(conn)
        conn.execute("DELETE FROM pg_default_acl")  # what others may do is not the script's
        # No row is here that another could refer to.
        conn.execute(
            sql.SQL("ALTER DATABASE {} SET session_replication_role = replica").format(sql.Identifier(COPY))
        )
    copy.lend(COPY, owner)
    copy.run(COPY, script.encode(), owner=owner)
    with copy.connect(COPY) as conn:
        after = read_catalog(conn)
    replaced = {s.object for s in statements if s.kind == "function"}
    was, now = (describe(_in_order(each, restored)) for each in (before, after))
    return {
        key: value
        for key, value in now.items()
        if was.get(key) != value or (key[0] == "function" and function_name(key[1]) in replaced)
    }


def _takes(statements: Sequence[Statement]) -> Makes:
    """Return what is taken out of the copy, to be made anew: tables, views, indexes, and what they add to
    other tables."""
    kinds = ("table", "view", "index")
    objects = {s.object for s in statements if s.kind in kinds and not s.alters}
    columns = {
        (parts_of(s.object), column)
        for s in statements
        if s.kind == "table" and s.object not in objects
        for column in s.adds
    }
    hanging = [(each.kind, each.name, parts_of(each.table)) for s in statements for each in s.touched.hangs]
    return Makes(
        objects={parts_of(each) for each in objects},
        columns=columns,
        constraints={(table, name) for kind, name, table in hanging if kind == "constraint"},
        attached={each for each in hanging if each[0] != "constraint"},
    )


def _in_order(catalog: Catalog, restored: Catalog) -> Catalog:
    """Return what a dump carries, each table's columns in the order of the target; new ones come last."""
    dumped = catalog.dumped()
    columns = {}
    for table in dumped.columns:
        places = {column.name: place for place, column in enumerate(restored.columns.get(table, ()))}
        found = catalog.columns[table]
        columns[table] = tuple(sorted(found, key=lambda column: places.get(column.name, len(places))))
    return replace(dumped, columns=columns)


def _made_alone(copy: Scratch, statements: Sequence[Statement], owner: str) -> Described:
    """Run what needs nothing but its schema in an empty database; of an enum that is changed, after making it there."""
    ours = [s for s in statements if s.kind in _ALONE]
    copy.create_database(ALONE, owner=owner)
    with copy.connect(COPY) as conn:
        restored = read_catalog(conn)
    made = {s.object for s in ours if s.kind in ("schema", "enum") and not s.alters}
    with copy.connect(ALONE) as conn:
        for kind, name in restored.definitions:
            if kind == "schema" and name not in made and name != "public":
                conn.execute(sql.SQL("CREATE SCHEMA {}").format(identifier(name)))
        for name in dict.fromkeys(s.object for s in ours if s.alters and s.object not in made):
            _make_enum(conn, restored, name, {label for s in ours if s.object == name for label in s.adds})
        before = describe(read_catalog(conn))
    copy.run(ALONE, ";\n".join(s.text for s in ours).encode(), owner=owner)
    with copy.connect(ALONE) as conn:
        after = describe(read_catalog(conn))
    return {key: value for key, value in after.items() if before.get(key) != value}


def _make_enum(conn: Connection, restored: Catalog, name: str, without: Iterable[str]) -> None:
    enum = restored.enums.get(name)
    if enum is None:
        return
    labels = sql.SQL(", ").join(sql.Literal(label) for label in enum.labels if label not in set(without))
    conn.execute(sql.SQL("CREATE TYPE {} AS ENUM ({})").format(identifier(name), labels))
    conn.execute(sql.SQL("ALTER TYPE {} OWNER TO {}").format(identifier(name), sql.Identifier(enum.owner)))


def function_name(described: str) -> str:
    """Return schema.name of a function as a description names it, with its arguments taken away."""
    schema, name = parts(described)
    return qualified(schema, name.partition("(")[0])
