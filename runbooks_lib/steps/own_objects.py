"""What the phase's own scripts make, by name: nothing of that acts on a table without the phase."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

from runbooks_lib.errors import RunbookError
from runbooks_lib.given import read_given_text
from runbooks_lib.names import qualified
from runbooks_lib.phase import Phase
from runbooks_lib.postgres.catalog.catalog import Key
from runbooks_lib.postgres.scratch.superuser_objects import object_of
from runbooks_lib.postgres.script.pieces import ATTACHED, Node, every, pieces, relation
from runbooks_lib.prisma.history import read_migrations
from runbooks_lib.prisma.named import find_project
from runbooks_lib.prisma.project import read_project
from runbooks_lib.steps.extras import ALL, FORCED

# The ends of the names that PostgreSQL gives to constraints without one.
_ENDS = {
    "CONSTR_UNIQUE": "key",
    "CONSTR_FOREIGN": "fkey",
    "CONSTR_CHECK": "check",
    "CONSTR_EXCLUSION": "excl",
}
_SECURITY = {"AT_EnableRowSecurity": "row security", "AT_ForceRowSecurity": FORCED}


def own_objects(phase: Phase) -> frozenset[Key]:
    """Return the (kind, name) of what the baseline and the project's migrations attach to tables.

    Reads the files alone; a project that is not here, or that Prisma cannot read, makes nothing. Names are what
    PostgreSQL gives by default where the scripts give none.
    """
    return frozenset(key for script, schema in _scripts(phase) for key in made_by(script, schema))


def superuser_names(phase: Phase) -> frozenset[str]:
    """Return the names by which an operator allows what these scripts make and a superuser may have to."""
    found = (
        object_of(piece.text, schema) for script, schema in _scripts(phase) for piece in pieces(script) or ()
    )
    return frozenset(filter(None, found))


def _scripts(phase: Phase) -> Iterator[tuple[str, str]]:
    """Yield the baseline and the migrations, those that Prisma reads, each with the schema of names without one.

    Whoever runs them says why one can't be read.
    """
    for name in filter(None, (phase.baseline.file, phase.baseline.concurrently) if phase.baseline else ()):
        with suppress(OSError, ValueError):
            yield read_given_text(phase.folder / name), "public"
    if phase.prisma:
        with suppress(RunbookError):
            project = read_project(find_project())
            schema = project.configuration.history_schema
            files = read_migrations(project.migrations)
            yield from ((file.script, schema) for file in files if file.script is not None)


def made_by(script: str, schema: str = "public") -> Iterator[Key]:
    """Yield the (kind, name) of what a script attaches to tables; `schema` is that of names without one."""
    for piece in pieces(script) or ():
        node = piece.node
        if piece.tag in ATTACHED:
            kind, name, of = ATTACHED[piece.tag]
            yield kind, qualified(*relation(node[of], schema), node[name])
        elif piece.tag == "IndexStmt" and "idxname" in node:
            yield "index", qualified(relation(node["relation"], schema)[0], node["idxname"])
        elif piece.tag == "CreateStmt":
            yield from _created(node, schema)
        elif piece.tag == "AlterTableStmt":
            yield from _altered(node, schema)
        elif piece.tag == "GrantStmt":
            yield from _granted(node, schema)


def _created(node: Node, schema: str) -> Iterator[Key]:
    table = relation(node["relation"], schema)
    columns = [(column["colname"], column) for column in every(node.get("tableElts", ()), "ColumnDef")]
    for column, definition in columns:
        yield from _constraints(table, every(definition.get("constraints", ()), "Constraint"), column)
    for element in node.get("tableElts", ()):
        if "Constraint" in element:
            yield from _constraints(table, [element["Constraint"]], "")
    if node.get("inhRelations"):
        yield "inherits", qualified(*table)


def _altered(node: Node, schema: str) -> Iterator[Key]:
    table = relation(node["relation"], schema)
    for command in every(node.get("cmds", ()), "AlterTableCmd"):
        if command.get("subtype") in _SECURITY:
            yield _SECURITY[command["subtype"]], qualified(*table)
        added = command.get("def", {})
        if "Constraint" in added:
            yield from _constraints(table, [added["Constraint"]], "")
        elif "ColumnDef" in added:
            column = added["ColumnDef"]
            yield from _constraints(
                table, every(column.get("constraints", ()), "Constraint"), column.get("colname", "")
            )


def _constraints(table: tuple[str, str], found: Iterable[Node], column: str) -> Iterator[Key]:
    for constraint in found:
        kind = constraint.get("contype")
        if "conname" in constraint:
            name = constraint["conname"]
        elif kind in _ENDS:
            name = "_".join((table[1], *([column] if column else _columns(constraint)), _ENDS[kind]))
        else:
            continue
        yield "constraint", qualified(*table, name)
        yield "index", qualified(table[0], name)


def _columns(constraint: Node) -> list[str]:
    """Return the columns by which PostgreSQL names a constraint: its own, or of a CHECK the only one that it reads."""
    if constraint["contype"] != "CONSTR_CHECK":
        return [each["String"]["sval"] for each in constraint.get("keys", constraint.get("fk_attrs", ()))]
    read = {each["fields"][-1]["String"]["sval"] for each in every(constraint.get("raw_expr"), "ColumnRef")}
    return list(read) if len(read) == 1 else []


def _granted(node: Node, schema: str) -> Iterator[Key]:
    """Yield whom a script gives privileges on which table; of those on all tables of a schema nothing is told."""
    roles = [role.get("rolename", "public") for role in every(node.get("grantees", ()), "RoleSpec")]
    whats = [each["priv_name"].upper() for each in every(node.get("privileges", ()), "AccessPriv")]
    for table in every(node.get("objects", ()), "RangeVar"):
        for role in roles:
            for what in whats or (ALL,):
                for kind in ("privileges", "column privileges"):
                    yield kind, qualified(*relation(table, schema), role, what)
