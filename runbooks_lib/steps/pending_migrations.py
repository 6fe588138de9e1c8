"""What migrations that are not recorded are still to make: what is absent because of that is no surprise yet.

By the names in their statements alone, before anything was replayed, and only of migrations of which nothing is there:
where a part is, step 1 judges what it finds. Step 3 finds out what of each migration stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from runbooks_lib.errors import RunbookError
from runbooks_lib.names import parts, qualified
from runbooks_lib.phase import Phase
from runbooks_lib.postgres.catalog.catalog import Key
from runbooks_lib.postgres.script.pieces import every, name_of, pieces, relation
from runbooks_lib.postgres.session.connect import Connection, Sessions
from runbooks_lib.prisma.project import find_project
from runbooks_lib.prisma.state import look
from runbooks_lib.steps.pending import shows
from runbooks_lib.steps.prisma_look import named

_THERE = """
SELECT EXISTS (
  SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
   WHERE (n.nspname, c.relname) IN (SELECT * FROM unnest(%(schemas)s::text[], %(names)s::text[]))
  UNION ALL
  SELECT FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
   WHERE t.typtype = 'e' AND (n.nspname, t.typname) IN (SELECT * FROM unnest(%(schemas)s::text[], %(names)s::text[]))
  UNION ALL
  SELECT FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
   WHERE NOT a.attisdropped AND (n.nspname, c.relname, a.attname) IN (
     SELECT * FROM unnest(%(of_schemas)s::text[], %(tables)s::text[], %(columns)s::text[]))
) AS there
"""


@dataclass(frozen=True, slots=True)
class ToCome:
    """Objects by kind and name, columns by their table, and the tables that get rows."""

    made: frozenset[Key] = frozenset()
    adds: dict[str, set[str]] = field(default_factory=dict)
    filled: frozenset[str] = frozenset()


def pending_migrations(phase: Phase, sessions: Sessions) -> ToCome:
    """Return what the migrations that the phase is to settle, and of which nothing is there, are to make.

    Reads the migrations folder, the history and the catalogue; nothing is to come where one of them can't be read,
    which steps 3 and 4 say.
    """
    if phase.prisma is None or phase.prisma.target not in phase.targets:
        return ToCome()
    try:
        with sessions.snapshot(phase.prisma.target) as conn:
            state = look(conn, find_project())
            names = set(named(phase, state)) - set(state.history.applied)
            scripts = [file.script for file in state.files if file.name in names and file.script is not None]
            return _together(each for each in map(_of, scripts) if not _there(conn, each))
    except RunbookError:
        return ToCome()


def to_come_at(phase: Phase, sessions: Sessions, name: str, pending: ToCome) -> ToCome:
    """Return what of this a target is to show: all where it shows Prisma's database, else nothing."""
    return pending if phase.prisma and shows(phase, sessions, name, phase.prisma.target) else ToCome()


def _of(script: str) -> ToCome:
    made: set[Key] = set()
    adds: dict[str, set[str]] = {}
    filled = set()
    for piece in pieces(script) or ():
        node = piece.node
        match piece.tag:
            case "CreateStmt":
                made.add(("relation", qualified(*relation(node["relation"]))))
            case "CreateEnumStmt":
                made.add(("enum", qualified(*name_of(node["typeName"]))))
            case "IndexStmt" if "idxname" in node:
                made.add(("index", qualified(relation(node["relation"])[0], node["idxname"])))
            case "InsertStmt":
                filled.add(qualified(*relation(node["relation"])))
            case "AlterTableStmt":
                adds.setdefault(qualified(*relation(node["relation"])), set()).update(_columns(node["cmds"]))
    return ToCome(frozenset(made), adds, frozenset(filled))


def _columns(commands: Iterable[object]) -> Iterator[str]:
    for command in every(commands, "AlterTableCmd"):
        if command.get("subtype") == "AT_AddColumn":
            yield command["def"]["ColumnDef"]["colname"]


def _there(conn: Connection, each: ToCome) -> bool:
    """Return whether something that a script makes is in the session's database."""
    names = [parts(name) for _, name in sorted(each.made)]
    columns = [(*parts(table), column) for table, added in each.adds.items() for column in sorted(added)]
    asked = {
        "schemas": [schema for schema, _ in names],
        "names": [name for _, name in names],
        "of_schemas": [schema for schema, _, _ in columns],
        "tables": [table for _, table, _ in columns],
        "columns": [column for _, _, column in columns],
    }
    row = conn.execute(_THERE, asked).fetchone()
    return bool(row and row["there"])


def _together(scripts: Iterable[ToCome]) -> ToCome:
    made: set[Key] = set()
    adds: dict[str, set[str]] = {}
    filled: set[str] = set()
    for each in scripts:
        made |= each.made
        filled |= each.filled
        for table, columns in each.adds.items():
            adds.setdefault(table, set()).update(columns)
    return ToCome(frozenset(made), adds, frozenset(filled))
