"""Objects that only a superuser makes, and that the operator allowed by name: made by the scratch server's superuser.

Such a statement executes nothing itself: it makes a function, a type, an operator class, a cast, a language. The object
is then given to the ordinary role that all else belongs to, so that nothing is called with more rights. What is no such
statement has no name here, and nobody can allow it; nor has a function with an expression that its statement reads.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

import psycopg
from pglast import ast, parse_sql
from pglast.enums import ObjectType
from pglast.parser import ParseError
from psycopg import sql

from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.names import qualified
from runbooks_lib.postgres.catalog.catalog import identifier
from runbooks_lib.postgres.session.connect import Connection

MAKER = "runbooks maker"
OPTION = "--allow-superuser-objects"
_SHELLS = (
    "SELECT n.nspname AS schema, t.typname AS name FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace"
    " WHERE NOT t.typisdefined"
)
_CAST = re.compile(r"CREATE\s+CAST\s+\((.+?)\)", re.IGNORECASE | re.DOTALL)
_VALUES = frozenset(
    {"initcond", "minitcond"}
)  # of an aggregate: they are read by its type, which may be anybody's


def object_of(statement: str, schema: str = "") -> str:
    """Return the name by which an operator allows what a statement makes or extends; "" for other statements.

    A name without a schema gets `schema`. A cast is called by its types: `bigint AS date`.
    """
    try:
        parsed = parse_sql(statement)
    except ParseError:
        return ""
    match [each.stmt for each in parsed]:
        case [ast.CreateFunctionStmt(funcname=name, sql_body=None, parameters=parameters)]:
            read = any(each.defexpr for each in parameters or ())
            return "" if read else _qualified(name, schema)
        case [
            ast.CreateOpClassStmt(opclassname=name)
            | ast.CreateOpFamilyStmt(opfamilyname=name)
            | ast.AlterOpFamilyStmt(opfamilyname=name)
        ]:
            return _qualified(name, schema)
        case [ast.DefineStmt(kind=ObjectType.OBJECT_TYPE, defnames=name)]:
            return _qualified(name, schema)
        case [ast.DefineStmt(kind=ObjectType.OBJECT_AGGREGATE, defnames=name, definition=options)]:
            return "" if _VALUES & {each.defname for each in options or ()} else _qualified(name, schema)
        case [ast.CreatePLangStmt(plname=str(name)) | ast.CreateFdwStmt(fdwname=str(name))]:
            return qualified(name)
        case [ast.CreateCastStmt()]:
            found = _CAST.match(statement)
            return " ".join(found[1].split()) if found else ""
        case _:
            return ""


def _qualified(name: Iterable[ast.String] | None, schema: str) -> str:
    names = [str(each.sval) for each in name or ()]
    return qualified(*([schema, *names] if schema and len(names) == 1 else names))


@dataclass(slots=True, kw_only=True)
class Maker:
    """Makes, as a superuser, the `allowed` of what an ordinary role may not make, and gives it to `owner`.

    `connect` opens a superuser's session in the scratch database. `made` has the names of what was made.
    """

    connect: Callable[[], Connection]
    allowed: frozenset[str]
    owner: str
    schema: str = ""
    made: list[str] = field(default_factory=list)

    def execute(self, statement: str, ordinary: Callable[[str], object]) -> None:
        """Execute a statement as the ordinary role; as superuser where that may not, and the object is allowed."""
        try:
            ordinary(statement)
        except psycopg.errors.InsufficientPrivilege:
            if not self.make(statement):
                raise

    def make(self, statement: str) -> bool:
        """Make an object, if it is allowed. Raises psycopg errors as they come."""
        name = object_of(statement, self.schema)
        if name not in self.allowed:
            return False
        with self.connect() as conn:
            if not conn.execute("SELECT FROM pg_roles WHERE rolname = %s", (MAKER,)).fetchall():
                conn.execute(sql.SQL("CREATE ROLE {} SUPERUSER").format(sql.Identifier(MAKER)))
            self._take_shell(conn, name)
            conn.execute("SET check_function_bodies = off")
            if self.schema:
                conn.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(self.schema)))
            conn.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(MAKER)))
            conn.execute(statement.encode())
            conn.execute("RESET ROLE")
            give = sql.SQL("REASSIGN OWNED BY {} TO {}")
            with suppress(psycopg.errors.InsufficientPrivilege):  # a wrapper belongs to superusers only
                conn.execute(give.format(sql.Identifier(MAKER), sql.Identifier(self.owner)))
        self.made.append(name)
        return True

    def _take_shell(self, conn: Connection, name: str) -> None:
        """Take back a type that was only announced: nobody but its owner may define it, not even a superuser."""
        rows = conn.execute(_SHELLS).fetchall()
        if name in {qualified(row["schema"], row["name"]) for row in rows}:
            take = sql.SQL("ALTER TYPE {} OWNER TO {}")
            conn.execute(take.format(identifier(name), sql.Identifier(MAKER)))


def require_known(allowed: Iterable[str], made: Iterable[str], needing: Iterable[str]) -> None:
    """Raise PreconditionFailed for allowed names that nothing has which needs a superuser, naming those that it does.

    `made` were made by a superuser, `needing` could have been.
    """
    known = {*made, *needing}
    unknown = sorted(set(allowed) - known)
    if unknown:
        there = ", ".join(sorted(known)) or "there is none"
        raise PreconditionFailed(
            f"{OPTION} names {', '.join(unknown)}: no dump or script has such an object that needs a superuser.",
            f"Name it as the finding does, with its schema and without arguments; those that are: {there}.",
        )
