"""A schema's dump as statements, each with who may execute it where the dump is restored.

Nothing here is executed, and no meta command of psql is ever read: what is no SQL is refused by the server.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from itertools import chain
from typing import Any

from pglast import ast, parse_sql, split
from pglast.enums import AlterTableType, ObjectType
from pglast.parser import ParseError
from pglast.visitors import Visitor

_NAME = r'(?:[A-Za-z_][\w$]*|"(?:[^"]|"")+")'
# The most frequent statement of a dump, read without a parser. Functions and the like have arguments, and a parser.
_OWNER = re.compile(
    rf"ALTER (?:TABLE|SEQUENCE|VIEW|MATERIALIZED VIEW|TYPE|DOMAIN|SCHEMA) {_NAME}(?:\.{_NAME})? OWNER TO {_NAME}\s*"
)
_TABLE = re.compile(rf"CREATE (?:UNLOGGED |FOREIGN )?TABLE ({_NAME})\.({_NAME})(?=[\s(])")
_LABELLING = re.compile(r"(?:ALTER|GRANT|REVOKE|COMMENT|SECURITY|CREATE (?:EVENT|PUBLICATION))\b")
_LOOKED_INTO = re.compile(r"(?:SET|CREATE EXTENSION|CREATE SCHEMA|REFRESH)\b")
# Statements that name an owner, a privilege or a text of an object, or whom nothing is executed for: a publication.
_LABELS = (
    ast.AlterOwnerStmt,
    ast.GrantStmt,
    ast.AlterDefaultPrivilegesStmt,
    ast.CommentStmt,
    ast.SecLabelStmt,
    ast.CreatePublicationStmt,
    ast.AlterPublicationStmt,
)
# What a restore elsewhere has no use for: the source's tablespaces, and time without end.
_SETTINGS_LEFT_OUT = {
    "default_tablespace",
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    "transaction_timeout",
    "client_encoding",
    "row_security",
}


_OF_THE_SERVER = (ObjectType.OBJECT_PARAMETER_ACL, ObjectType.OBJECT_DATABASE, ObjectType.OBJECT_TABLESPACE)
_NAMING = (
    "sval",
    "relname",
    "schemaname",
    "idxname",
    "conname",
    "colname",
    "extname",
    "trigname",
    "policy_name",
)


class Kind(Enum):
    """What a statement of a dump does, and so who executes it."""

    DEFINITION = auto()  # makes an object, and may execute code of its owner: an ordinary role
    LABEL = auto()  # says owner, privileges, comment: executes nothing
    SERVER = auto()  # a privilege on what is PostgreSQL's own, on functions that read files for instance
    EVENT = auto()  # an event trigger: the last of all, since it would fire
    EXTENSION = auto()  # is made beforehand, by its name
    SCHEMA = auto()
    LEFT_OUT = auto()  # has no use elsewhere, or would give away what keeps the restore from doing harm


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A statement, its kind, and its names: an extension and its schema, a schema, the owner of an event trigger."""

    text: str
    kind: Kind
    names: tuple[str, ...] = ()


def read_pieces(script: str) -> tuple[Piece, ...]:
    """Split a dump's SQL into statements. What cannot be read is a definition: the server judges it.

    Raises ValueError when not even the ends of the statements can be told.
    """
    return tuple(_piece(text) for text in _statements(script))


def created_tables(script: str) -> frozenset[tuple[str, str]]:
    """Return schema and name of each table that a dump's SQL creates. Raises ValueError as `read_pieces` does."""
    found = map(_TABLE.match, _statements(script))
    return frozenset((_unquoted(table[1]), _unquoted(table[2])) for table in found if table)


def _statements(script: str) -> Iterator[str]:
    try:
        slices = split(script, only_slices=True)
    except ParseError:  # cut, or of a newer PostgreSQL: as far as its words can be told apart
        try:
            slices = split(script, only_slices=True, with_parser=False)
        except ParseError as error:
            raise ValueError(str(error)) from error
    return (text for text in (_bare(script[each]) for each in slices) if text)


def identifiers(statement: str) -> frozenset[str]:
    """Return every name that a statement mentions; empty when it cannot be read."""
    parsed = _parsed(statement)
    if parsed is None:
        return frozenset()
    found = _Names()
    found(parsed)
    return frozenset(found.names)


def makes_table(statement: str) -> bool:
    """Tell whether a statement makes a table, or cannot be read."""
    return isinstance(_parsed(statement), ast.CreateStmt | ast.CreateForeignTableStmt | None)


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def _bare(statement: str) -> str:
    """Return a statement without the comments and blank lines before it."""
    while True:
        statement = statement.lstrip()
        if not statement.startswith("--"):
            return statement.rstrip()
        statement = statement.partition("\n")[2]


def _piece(text: str) -> Piece:
    if _OWNER.fullmatch(text):
        return Piece(text=text, kind=Kind.LABEL)
    if _LABELLING.match(text):
        node = _parsed(text)
        if isinstance(node, ast.GrantStmt):
            return Piece(text=text, kind=_granting(node))
        if _of_events(node):
            owner = getattr(getattr(node, "newowner", None), "rolename", None)
            return Piece(text=text, kind=Kind.EVENT, names=(owner,) if owner else ())
        return Piece(text=text, kind=Kind.LABEL if _labels(node) else Kind.DEFINITION)
    return _looked_into(text) if _LOOKED_INTO.match(text) else Piece(text=text, kind=Kind.DEFINITION)


def _looked_into(text: str) -> Piece:
    match _parsed(text):
        case ast.VariableSetStmt(name=name) if name in _SETTINGS_LEFT_OUT:
            return Piece(text=text, kind=Kind.LEFT_OUT)
        case ast.RefreshMatViewStmt():
            return Piece(text=text, kind=Kind.LEFT_OUT)
        case ast.CreateExtensionStmt(extname=name, options=options):
            schema = next((str(o.arg.sval) for o in options or () if o.defname == "schema"), "")
            return Piece(text=text, kind=Kind.EXTENSION, names=(str(name), schema))
        case ast.CreateSchemaStmt(schemaname=name):
            return Piece(text=text, kind=Kind.SCHEMA, names=(str(name),))
        case _:
            return Piece(text=text, kind=Kind.DEFINITION)


def _of_events(node: ast.Node | None) -> bool:
    match node:
        case ast.CreateEventTrigStmt() | ast.AlterEventTrigStmt():
            return True
        case ast.AlterOwnerStmt(objectType=ObjectType.OBJECT_EVENT_TRIGGER):
            return True
        case ast.CommentStmt(objtype=ObjectType.OBJECT_EVENT_TRIGGER):
            return True
        case _:
            return False


def _granting(grant: ast.GrantStmt) -> Kind:
    """Tell privileges on what the dump makes from those on PostgreSQL's own functions and tables."""
    if grant.objtype in _OF_THE_SERVER:
        return Kind.LEFT_OUT
    objects = grant.objects or ()
    named = (
        tuple(part.sval for part in o.objname or ()) for o in objects if isinstance(o, ast.ObjectWithArgs)
    )
    relations = ((o.schemaname, o.relname) for o in objects if isinstance(o, ast.RangeVar))
    schemas = {name[0] if len(name) == 2 else None for name in chain(named, relations)}
    if None in schemas:  # pg_dump names the schema of each
        return Kind.LEFT_OUT
    return Kind.SERVER if "pg_catalog" in schemas else Kind.LABEL


def _labels(node: ast.Node | None) -> bool:
    if isinstance(node, ast.AlterTableStmt):  # ALTER FOREIGN TABLE … OWNER TO is one of these
        return all(command.subtype == AlterTableType.AT_ChangeOwner for command in node.cmds or ())
    return isinstance(node, _LABELS)


class _Names(Visitor):
    """Collects every name in a statement."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def visit(self, ancestors: Any, node: ast.Node) -> None:
        """Take the names that stand in a node itself."""
        for field in _NAMING:
            if isinstance(value := getattr(node, field, None), str):
                self.names.add(value)


def _parsed(statement: str) -> ast.Node | None:
    """Return the one statement of a text; None when there are several, or none that can be read."""
    try:
        parsed = parse_sql(statement)
    except ParseError:
        return None
    return parsed[0].stmt if len(parsed) == 1 else None
