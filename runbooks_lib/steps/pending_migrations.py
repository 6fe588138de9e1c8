"""What migrations that are not recorded are still to make: what is absent because of that is no surprise yet.

By the names in their statements alone, before anything was replayed, and only of migrations of which nothing is there:
where a part is, step 1 judges what it finds. Step 3 finds out what of each migration stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import reduce
from operator import or_

from runbooks_lib.errors import RunbookError
from runbooks_lib.names import parts, qualified
from runbooks_lib.phase import Phase
from runbooks_lib.postgres.catalog.catalog import Key
from runbooks_lib.postgres.queries import query
from runbooks_lib.postgres.script.pieces import Node, every, name_of, pieces, relation
from runbooks_lib.postgres.session.connect import Connection, Sessions
from runbooks_lib.prisma.named import find_project
from runbooks_lib.prisma.project import read_project
from runbooks_lib.prisma.state import look
from runbooks_lib.steps.pending import NOTHING_TO_COME, ToCome, shows
from runbooks_lib.steps.prisma_look import named

Name = tuple[str, ...]  # schema, relation or enum, and column or label: empty for the object itself


def pending_migrations(phase: Phase, sessions: Sessions) -> ToCome:
    """Return what the migrations that the phase is to settle, and of which nothing is there, are to make.

    Reads the migrations folder, the history and the catalogue; nothing is to come where one of them can't be read,
    which steps 3 and 4 say.
    """
    if phase.prisma is None or phase.prisma.target not in phase.targets:
        return NOTHING_TO_COME
    try:
        with sessions.snapshot(phase.prisma.target) as conn:
            state = look(conn, read_project(find_project()))
            names = set(named(phase, state)) - set(state.history.applied)
            scripts = [file.script for file in state.files if file.name in names and file.script is not None]
            made = [made_by(script, state.schema) for script in scripts]
            there = _there(conn, {name for each in made for name in _names(each)})
    except RunbookError:
        return NOTHING_TO_COME
    return reduce(or_, (each for each in made if there.isdisjoint(_names(each))), NOTHING_TO_COME)


def to_come_at(phase: Phase, sessions: Sessions, name: str, pending: ToCome) -> ToCome:
    """Return what of this a target is to show: all where it shows Prisma's database, else nothing."""
    there = phase.prisma is not None and shows(phase, sessions, name, phase.prisma.target)
    return pending if there else NOTHING_TO_COME


def made_by(script: str, schema: str) -> ToCome:
    """Return what a script makes and adds; `schema` is that of the names that it writes without one."""
    made: set[Key] = set()
    adds: set[tuple[str, str]] = set()
    filled = set()
    for piece in pieces(script) or ():
        node = piece.node
        match piece.tag:
            case "CreateStmt":
                made.add(("relation", qualified(*relation(node["relation"], schema))))
            case "CreateEnumStmt":
                made.add(("enum", qualified(*name_of(node["typeName"], schema))))
            case "IndexStmt" if "idxname" in node:
                made.add(("index", qualified(relation(node["relation"], schema)[0], node["idxname"])))
            case "InsertStmt":
                filled.add(qualified(*relation(node["relation"], schema)))
            case "AlterTableStmt":
                table = qualified(*relation(node["relation"], schema))
                adds.update((table, column) for column in _columns(node["cmds"]))
            case "AlterEnumStmt" if "oldVal" not in node:
                adds.add((qualified(*name_of(node["typeName"], schema)), node["newVal"]))
    return ToCome(made=frozenset(made), adds=frozenset(adds), filled=frozenset(filled))


def _columns(commands: Iterable[Node]) -> Iterator[str]:
    for command in every(commands, "AlterTableCmd"):
        if command.get("subtype") == "AT_AddColumn":
            yield command["def"]["ColumnDef"]["colname"]


def _names(made: ToCome) -> set[Name]:
    objects = ((name, "") for _, name in made.made)
    return {(*parts(name), added) for name, added in (*objects, *made.adds)}


def _there(conn: Connection, names: set[Name]) -> set[Name]:
    """Return which of these names are in the session's database."""
    schemas, relations_and_enums, added = map(list, zip(*names, strict=True)) if names else ([], [], [])
    asked = {"schemas": schemas, "names": relations_and_enums, "parts": added}
    found = conn.execute(query("names_there"), asked).fetchall()
    return {(row["schema"], row["name"], row["part"]) for row in found}
