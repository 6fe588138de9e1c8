"""A copy of a target's schema without what scripts make: they are to make it anew, among what they need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from psycopg import sql

from runbooks_lib.names import parts, qualified
from runbooks_lib.postgres.catalog.catalog import Key
from runbooks_lib.postgres.queries import query
from runbooks_lib.postgres.script.pieces import ATTACHED, Node, Piece, every, name_of, pieces, relation
from runbooks_lib.postgres.session.connect import Connection

Name = tuple[str, str]
_CREATED = {  # where in a statement's tree the name of what it creates stands
    "CreateStmt": "relation",
    "CreateForeignTableStmt": "base",
    "CreateSeqStmt": "sequence",
    "ViewStmt": "view",
    "CompositeTypeStmt": "typevar",
    "CreateEnumStmt": "typeName",
    "CreateRangeStmt": "typeName",
    "CreateDomainStmt": "domainname",
    "CreateFunctionStmt": "funcname",
    "DefineStmt": "defnames",
}
_NEEDED = frozenset({"relation", "enum", "type", "function"})


@dataclass(slots=True, kw_only=True)
class Makes:
    """What scripts make, by name: objects, schemas, extensions, columns of tables, and what hangs on a table."""

    objects: set[Name] = field(default_factory=set)
    schemas: set[str] = field(default_factory=set)
    extensions: set[str] = field(default_factory=set)
    columns: set[tuple[Name, str]] = field(default_factory=set)
    constraints: set[tuple[Name, str]] = field(default_factory=set)
    attached: set[tuple[str, str, Name]] = field(default_factory=set)


def parts_of(text: str) -> Name:
    """Return schema and name of an object out of its one text."""
    schema, own = parts(text)
    return schema, own


def made_by_scripts(scripts: Iterable[str], schema: str = "public") -> Makes:
    """Return what scripts make, as far as their statements name it; `schema` is that of a name without one."""
    makes = Makes()
    for script in scripts:
        for piece in pieces(script) or ():
            _note(makes, piece, schema)
    return makes


def _note(makes: Makes, piece: Piece, schema: str) -> None:
    node = piece.node
    match piece.tag:
        case "CreateSchemaStmt":
            makes.schemas.add(str(node.get("schemaname", "")))
        case "CreateExtensionStmt":
            makes.extensions.add(str(node["extname"]))
        case "CreateTableAsStmt":
            makes.objects.add(relation(node["into"]["rel"], schema))
        case "IndexStmt" if "idxname" in node:
            makes.objects.add((relation(node["relation"], schema)[0], node["idxname"]))
        case "AlterTableStmt":
            _note_altered(makes, node, schema)
        case "RenameStmt" if "relation" in node and node["renameType"] not in (
            "OBJECT_COLUMN",
            "OBJECT_TABCONSTRAINT",
        ):
            makes.objects.add((relation(node["relation"], schema)[0], node["newname"]))
        case "AlterObjectSchemaStmt" if "relation" in node:
            makes.objects.add((node["newschema"], relation(node["relation"], schema)[1]))
        case tag if tag in ATTACHED:
            what, key, of = ATTACHED[tag]
            makes.attached.add((what, node[key], relation(node[of], schema)))
        case tag if tag in _CREATED:
            found = node[_CREATED[tag]]
            found = found.get("relation", found) if isinstance(found, dict) else found
            makes.objects.add(name_of(found, schema) if isinstance(found, list) else relation(found, schema))
        case _:
            return


def _note_altered(makes: Makes, node: Node, schema: str) -> None:
    table = relation(node["relation"], schema)
    for command in every(node.get("cmds", ()), "AlterTableCmd"):
        added = command.get("def", {})
        if command.get("subtype") == "AT_AddColumn":
            makes.columns.add((table, added["ColumnDef"]["colname"]))
        elif command.get("subtype") == "AT_AddConstraint" and "conname" in added.get("Constraint", {}):
            makes.constraints.add((table, added["Constraint"]["conname"]))


def take_out(conn: Connection, makes: Makes) -> None:
    """Drop from a copy, as its superuser, what scripts make, with all that hangs on it.

    Nothing that is dropped is called. What has no such name there is passed over.
    """
    for command in (*_drops_alone(makes), *_drops_attached(makes)):
        conn.execute(command)
    schemas, names = zip(*sorted(makes.objects), strict=True) if makes.objects else ((), ())
    found = conn.execute(query("drops"), {"schemas": list(schemas), "names": list(names)}).fetchall()
    for row in found:
        conn.execute(row["command"].encode())


def _drops_alone(makes: Makes) -> Iterator[sql.Composed]:
    for name in sorted(makes.extensions):
        yield sql.SQL("DROP EXTENSION IF EXISTS {} CASCADE").format(sql.Identifier(name))
    for name in sorted(makes.schemas - {"public", ""}):
        yield sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name))


def _drops_attached(makes: Makes) -> Iterator[sql.Composed]:
    for kind, name, table in sorted(makes.attached):
        drop = sql.SQL("DROP {} IF EXISTS {} ON {}")
        yield drop.format(sql.SQL(kind), sql.Identifier(name), sql.Identifier(*table))
    for what, found in (("COLUMN", makes.columns), ("CONSTRAINT", makes.constraints)):
        for table, name in sorted(found):
            drop = sql.SQL("ALTER TABLE IF EXISTS {} DROP {} IF EXISTS {} CASCADE")
            yield drop.format(sql.Identifier(*table), sql.SQL(what), sql.Identifier(name))


def needed(scripts: Sequence[str], there: Iterable[Key], schema: str = "public") -> tuple[Key, ...]:
    """Return which objects of a database scripts name: tables, types and functions; columns and the like with them."""
    named = {
        qualified(*name)
        for script in scripts
        for piece in pieces(script) or ()
        for name in _names(piece, schema)
    }
    return tuple(key for key in sorted(there) if key[0] in _NEEDED and key[1].partition("(")[0] in named)


def _names(piece: Piece, schema: str) -> Iterator[Name]:
    for found in (
        *every(piece.node, "RangeVar"),
        *every(piece.node, "relation"),
        *every(piece.node, "pktable"),
    ):
        if "relname" in found:
            yield relation(found, schema)
    types = [*every(piece.node, "TypeName"), *every(piece.node, "typeName"), *every(piece.node, "returnType")]
    for found in types:
        if isinstance(found, dict) and "names" in found:
            yield name_of(found["names"], schema)
    for tag in ("funcname", "objname"):
        for found in every(piece.node, tag):
            yield name_of(found, schema)
