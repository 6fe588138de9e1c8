"""Which code does a piece of SQL call? Read from PostgreSQL's own parse tree; of a function's body, from its tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple, Self

from pglast import ast, parse_sql
from pglast.parser import ParseError, Token, scan

Name = tuple[str, str]  # schema, name
_CHANGES = frozenset({"INSERT", "UPDATE", "DELETE_P", "MERGE", "TRUNCATE", "COPY"})
_DEFINES = frozenset({"CREATE", "ALTER", "DROP", "GRANT", "REVOKE", "IMPORT_P"})
_BEFORE_A_TABLE = frozenset({"INTO", "FROM", "ONLY", "TABLE"})
# CURRENT_DATE, LOCALTIMESTAMP(3) and the like, as the parser calls them
_MOMENTS = ("SVFOP_CURRENT_DATE", "SVFOP_CURRENT_TIME", "SVFOP_LOCALTIME")
_NO_LOCK = frozenset({"FOR", "KEY"})  # SELECT … FOR [NO KEY] UPDATE changes nothing
_CHANGING = (ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt, ast.MergeStmt)
_OTHER_EACH_TIME = frozenset(
    {"nextval", "random", "random_normal", "gen_random_uuid", "uuidv4", "uuidv7", "uuid_generate_v1",
     "uuid_generate_v1mc", "uuid_generate_v4", "gen_random_bytes", "now", "clock_timestamp", "statement_timestamp",
     "transaction_timestamp", "timeofday", "txid_current", "pg_current_xact_id", "pg_backend_pid"}
)  # fmt: skip


class Call(NamedTuple):
    """A function that is called: its schema (None: by search_path), its name, its first argument if a constant."""

    schema: str | None
    name: str
    argument: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """What a piece of SQL calls, reads and changes when it runs.

    `writes` says that it changes rows or objects, `changes` names the tables of that; `dynamic` that it executes a
    text as SQL, so that nobody can tell; `notifies` that it has a NOTIFY.
    """

    calls: frozenset[Call] = frozenset()
    operators: frozenset[str] = frozenset()
    reads: frozenset[Name] = frozenset()
    changes: frozenset[Name] = frozenset()
    writes: bool = False
    dynamic: bool = False
    notifies: bool = False

    @property
    def changes_with_time(self) -> bool:
        """Return whether it gives another value each time that it runs, by the names of what it calls."""
        return any(call.name in _OTHER_EACH_TIME for call in self.calls)

    def __or__(self, other: Self) -> Self:
        """Return the code of both."""
        both = {each.name: getattr(self, each.name) | getattr(other, each.name) for each in fields(self)}
        return type(self)(**both)

    def __bool__(self) -> bool:
        """Return whether there is any."""
        return any(getattr(self, each.name) for each in fields(self))


NOTHING = Code()


class _Reader:
    """Collects what a parse tree calls. Names of common table expressions are no tables.

    pglast's own visitor takes ten times as long, which a script with thousands of rows is too long for.
    """

    def __init__(self) -> None:
        self.calls: set[Call] = set()
        self.operators: set[str] = set()
        self.tables: set[tuple[str | None, str]] = set()
        self.changes: set[Name] = set()
        self.own: set[str] = set()

    def read(self, nodes: Iterable[Any]) -> None:
        """Take in every node below some nodes."""
        open_ = list(nodes)
        while open_:
            node = open_.pop()
            if isinstance(node, tuple):
                open_ += node
            elif isinstance(node, ast.Node) and not isinstance(node, ast.A_Const):
                self._note(node)
                open_ += below(node)

    def _note(self, node: Any) -> None:
        kind = type(node)
        if kind is ast.FuncCall:
            *schema, name = (part.sval for part in node.funcname)
            self.calls.add(Call(schema[-1] if schema else None, name, _constant(node.args)))
        elif kind is ast.SQLValueFunction and node.op.name.startswith(_MOMENTS):
            self.calls.add(Call("pg_catalog", "now"))
        elif kind is ast.A_Expr:
            self.operators.update(part.sval for part in node.name[-1:])
        elif kind is ast.SubLink or kind is ast.SortBy:  # x = ANY (SELECT …), ORDER BY x USING <
            named = node.operName if kind is ast.SubLink else node.useOp
            self.operators.update(part.sval for part in (named or ())[-1:])
        elif kind is ast.RangeVar:
            self.tables.add((node.schemaname, node.relname))
        elif kind is ast.CommonTableExpr:
            self.own.add(node.ctename)
        elif kind in _CHANGING:
            self.changes.add(table_name(node.relation))

    def code(self) -> Code:
        read = {(s or "public", name) for s, name in self.tables if s or name not in self.own}
        return Code(
            calls=frozenset(self.calls),
            operators=frozenset(self.operators),
            reads=frozenset(read - self.changes),
            changes=frozenset(self.changes),
            writes=bool(self.changes),
        )


def below(node: Any) -> list[Any]:
    """Return what hangs directly below a node of a tree."""
    return [getattr(node, name) for name in node.__slots__]


def every_node(node: Any) -> Iterator[Any]:
    """Yield every node of a tree."""
    open_ = [node]
    while open_:
        found = open_.pop()
        if isinstance(found, tuple):
            open_ += found
        elif isinstance(found, ast.Node):
            yield found
            open_ += below(found)


def table_name(node: Any) -> Name:
    """Return schema and name of a RangeVar; without a schema it is public, which a script's search_path has."""
    return node.schemaname or "public", node.relname


def in_trees(nodes: Iterable[Any]) -> Code:
    """Return what some nodes of a parse tree call, whatever stands in them."""
    reader = _Reader()
    reader.read(nodes)
    return reader.code()


@lru_cache(maxsize=4096)
def in_expression(text: str) -> Code:
    """Return what an expression calls, or a query, as PostgreSQL prints it. What cannot be read is `dynamic`."""
    for sql in (f"SELECT {text}", text):
        try:
            return in_trees(raw.stmt for raw in parse_sql(sql))
        except ParseError:
            continue
    return Code(dynamic=True)


@lru_cache(maxsize=4096)
def in_body(text: str) -> Code:
    """Return what the body of a function calls, SQL or PL/pgSQL, by its tokens: rather too much than too little."""
    try:
        tokens = scan(text)
    except ParseError:
        return Code(dynamic=True)
    names = [token.name for token in tokens]
    changed = {at for at, name in enumerate(names) if name in _CHANGES and _is_command(names, at)}
    return Code(
        calls=frozenset(_called(text, tokens)),
        operators=frozenset(text[t.start : t.end + 1] for t in tokens if t.name == "Op"),
        changes=frozenset(_table(text, tokens, at + 1) for at in changed),
        writes=bool(changed) or any(name in _DEFINES for name in names),
        dynamic="EXECUTE" in names or ("DO", "SCONST") in pairwise(names),
        notifies="NOTIFY" in names,
    )


def _is_command(names: Sequence[str], at: int) -> bool:
    """Return whether a keyword begins a command: not after FOR or KEY, nor the name of a function or column."""
    follows = names[at + 1] if at + 1 < len(names) else ""
    return not (at and names[at - 1] in (*_NO_LOCK, "ASCII_46")) and follows not in ("ASCII_40", "ASCII_59")


def _called(text: str, tokens: Sequence[Token]) -> Iterable[Call]:
    """Yield each name that an opening parenthesis follows, with its schema where one stands before it."""
    for at, token in enumerate(tokens[:-1]):
        if tokens[at + 1].name == "ASCII_40" and _is_name(text, token):
            qualified = at > 1 and tokens[at - 1].name == "ASCII_46" and _is_name(text, tokens[at - 2])
            schema = _spelt(text, tokens[at - 2]) if qualified else None
            following = tokens[at + 2] if at + 2 < len(tokens) else token
            argument = text[following.start + 1 : following.end] if following.name == "SCONST" else None
            yield Call(schema, _spelt(text, token), argument)


def _table(text: str, tokens: Sequence[Token], at: int) -> Name:
    """Return the table that a command names, from the token after its keyword on."""
    while at < len(tokens) and tokens[at].name in _BEFORE_A_TABLE:
        at += 1
    names = [_spelt(text, token) for token in tokens[at : at + 3]]
    if len(names) == 3 and tokens[at + 1].name == "ASCII_46":
        return names[0], names[2]
    return ("public", names[0]) if names else ("public", "")


def _is_name(text: str, token: Token) -> bool:
    return token.name == "IDENT" or token.kind != "NO_KEYWORD" or text[token.start] == '"'


def _spelt(text: str, token: Token) -> str:
    word = text[token.start : token.end + 1]
    return word[1:-1].replace('""', '"') if word.startswith('"') else word.lower()


def _constant(arguments: Any) -> str | None:
    first = arguments[0] if arguments else None
    while isinstance(first, ast.TypeCast):
        first = first.arg
    value = first.val if isinstance(first, ast.A_Const) else None
    return value.sval if isinstance(value, ast.String) else None
