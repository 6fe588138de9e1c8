"""What stands in a DO block: its statements, as PL/pgSQL's own parser tells them apart."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from pglast.parser import ParseError, parse_plpgsql_json

from runbooks_lib.postgres.script.pieces import Node, Piece, every, pieces, value

_EXECUTES_A_TEXT = frozenset({"PLpgSQL_stmt_dynexecute", "PLpgSQL_stmt_dynfors", "dynquery"})
_AT = re.compile(r'"(.+?)"')
_ENDS = (";", " THEN", " LOOP")  # what PL/pgSQL reads a statement or an expression up to
_STATEMENT = 0  # how PL/pgSQL parses a text: as a statement; as anything else it is an expression
# What reads the catalogue of the database and nothing else, so that in a replay it says what it says in the target.
_CATALOGUE = frozenset(
    {"pg_attrdef", "pg_attribute", "pg_class", "pg_constraint", "pg_enum", "pg_index", "pg_indexes", "pg_namespace",
     "pg_policies", "pg_policy", "pg_proc", "pg_sequence", "pg_sequences", "pg_tables", "pg_trigger", "pg_type",
     "pg_views"}
)  # fmt: skip
_CATALOGUE_SCHEMA = frozenset({"information_schema"})
_LOOKS_UP = frozenset(
    {"array_agg", "array_length", "array_position", "bool_and", "bool_or", "coalesce", "count", "current_schema",
     "format_type", "lower", "max", "min", "pg_get_constraintdef", "pg_get_expr", "pg_get_indexdef", "quote_ident",
     "string_agg", "to_regclass", "to_regproc", "to_regtype", "unnest", "upper"}
)  # fmt: skip


class _More(Exception):
    """The block does more than its statements show."""


def in_block(node: Node) -> tuple[Piece, ...] | None:
    """Return the statements of a DO block; None when it does more than they and the catalogue's state decide.

    That is: another language, a text that it executes as SQL, a function that it calls, a condition on rows.
    """
    options = {
        element["defname"]: value(element.get("arg")) for element in every(node.get("args"), "DefElem")
    }
    if options.get("language", "plpgsql") != "plpgsql":
        return None
    return _in_body(str(options.get("as")))


def with_block(piece: Piece) -> tuple[Piece, ...]:
    """Return a statement, and after a DO block that can be read its own ones."""
    return (piece, *(in_block(piece.node) or () if piece.tag == "DoStmt" else ()))


def mistake_in(body: str) -> tuple[str, int] | None:
    """Return what PL/pgSQL's parser does not understand in a block, and at which offset; None where it does.

    The parser says at which word, not where: it is the first of these at which the block fails in the same way when it
    ends there.
    """
    if (said := _mistake(body)) is None:
        return None
    word = _AT.search(said)
    places = (
        [found.end() for found in re.finditer(rf"(?<!\w){re.escape(word[1])}(?!\w)", body)] if word else []
    )
    ends = (end for end in places for more in _ENDS if _mistake(f"{body[:end]}{more}") == said)
    return said, next(ends, places[0] if places else len(body.rstrip()))


def _mistake(body: str) -> str | None:
    quoted = body.replace("'", "''")
    try:
        parse_plpgsql_json(f"DO '{quoted}'")
    except ParseError as error:
        return str(error.args[0])
    return None


@lru_cache(maxsize=1024)
def _in_body(body: str) -> tuple[Piece, ...] | None:
    quoted = body.replace("'", "''")
    try:
        tree = json.loads(parse_plpgsql_json(f"DO '{quoted}'"))
        return tuple(_statements(tree))
    except (ParseError, ValueError, RecursionError, _More):
        return None


def _statements(node: Any) -> Iterator[Piece]:
    if isinstance(node, list):
        for part in node:
            yield from _statements(part)
    elif isinstance(node, dict):
        if _EXECUTES_A_TEXT & node.keys():
            raise _More
        if "PLpgSQL_expr" in node:
            yield from _in_text(node["PLpgSQL_expr"])
        else:
            for part in node.values():
                yield from _statements(part)


def _in_text(expression: Node) -> Iterator[Piece]:
    text = str(expression["query"])
    whole = expression.get("parseMode", _STATEMENT) == _STATEMENT
    found = pieces(text) if whole else pieces(f"SELECT {text}")
    if found is None:
        raise _More
    for piece in found:
        if piece.tag == "SelectStmt":
            _require_catalogue(piece.node)
        else:
            yield piece


def _require_catalogue(query: Node) -> None:
    """Require that a query depends on nothing but which objects there are, and does nothing."""
    own = {found["ctename"] for found in every(query, "CommonTableExpr")}
    for table in (*every(query, "RangeVar"), *every(query, "relation")):
        known = table.get("schemaname") in _CATALOGUE_SCHEMA or table["relname"] in _CATALOGUE | own
        if not known or table.get("schemaname", "pg_catalog") not in {"pg_catalog", *_CATALOGUE_SCHEMA}:
            raise _More
    if any(found["op"] != "SVFOP_CURRENT_SCHEMA" for found in every(query, "SQLValueFunction")):
        raise _More  # who runs it, and when
    for call in every(query, "FuncCall"):
        if str(value(call["funcname"][-1])) not in _LOOKS_UP:
            raise _More
