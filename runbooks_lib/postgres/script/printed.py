"""Types and constraints as PostgreSQL prints them out of its catalogue, told from a statement's tree alone.

What would be printed otherwise than is known here is not told at all: a guard compares with it.
"""

from __future__ import annotations

import re
from typing import Any

from pglast import ast, enums
from pglast.keywords import COL_NAME_KEYWORDS, RESERVED_KEYWORDS, TYPE_FUNC_NAME_KEYWORDS

_PLAIN = re.compile(r"[a-z_][a-z0-9_$]*")
_KEYWORDS = frozenset(COL_NAME_KEYWORDS | RESERVED_KEYWORDS | TYPE_FUNC_NAME_KEYWORDS)
# By the name in pg_type: as it is printed, with a place for the modifiers, and how many of these there may be.
_TYPES = {
    "bit": ("", ()),
    "bool": ("boolean", (0,)),
    "bpchar": ("character{}", (1,)),
    "bytea": ("bytea", (0,)),
    "date": ("date", (0,)),
    "float4": ("real", (0,)),
    "float8": ("double precision", (0,)),
    "inet": ("inet", (0,)),
    "int2": ("smallint", (0,)),
    "int4": ("integer", (0,)),
    "int8": ("bigint", (0,)),
    "interval": ("interval", (0,)),
    "json": ("json", (0,)),
    "jsonb": ("jsonb", (0,)),
    "numeric": ("numeric{}", (0, 2)),
    "text": ("text", (0,)),
    "time": ("time{} without time zone", (0, 1)),
    "timestamp": ("timestamp{} without time zone", (0, 1)),
    "timestamptz": ("timestamp{} with time zone", (0, 1)),
    "timetz": ("time{} with time zone", (0, 1)),
    "tsvector": ("tsvector", (0,)),
    "uuid": ("uuid", (0,)),
    "varbit": ("bit varying{}", (0, 1)),
    "varchar": ("character varying{}", (0, 1)),
}
_SERIAL = {"smallserial": "smallint", "serial": "integer", "bigserial": "bigint"}
_ACTIONS = {"c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT", "r": "RESTRICT", "a": ""}
_SCHEMA = "public"  # a script runs with this search_path: what is in it is printed without its schema


def identifier(name: str) -> str:
    """Return a name as PostgreSQL prints it: in quotes where it would not be read back without them."""
    if _PLAIN.fullmatch(name) and name not in _KEYWORDS:
        return name
    return '"' + name.replace('"', '""') + '"'


def type_text(node: Any) -> str | None:
    """Return a type as format_type() prints it; None when that is not known."""
    *schema, name = (part.sval for part in node.names)
    if node.setof or node.pct_type:
        return None
    given = [_number(each) for each in node.typmods or ()]
    if None in given:
        return None
    text = _built_in(name, given) if schema in ([], ["pg_catalog"]) else None
    if text is None and name not in _TYPES and schema != ["pg_catalog"] and not given:
        outside = [part for part in schema if part != _SCHEMA]
        text = _SERIAL.get(name) or ".".join(identifier(part) for part in (*outside, name))
    return f"{text}[]" if text and node.arrayBounds else text


def is_built_in(node: Any) -> bool:
    """Return whether a type is one of PostgreSQL's own, as far as they are known here."""
    *schema, name = (part.sval for part in node.names)
    return name in _TYPES and schema in ([], ["pg_catalog"])


def _built_in(name: str, given: list[int | None]) -> str | None:
    form, counts = _TYPES.get(name, ("", ()))
    if name == "numeric" and len(given) == 1:
        given = [*given, 0]
    if len(given) not in counts:
        return None
    return form.format(f"({','.join(map(str, given))})" if given else "")


def _number(node: Any) -> int | None:
    value = node.val if isinstance(node, ast.A_Const) else None
    return value.ival if isinstance(value, ast.Integer) else None


def constraint_text(node: Any) -> str | None:
    """Return a constraint as pg_get_constraintdef() prints it; None when that is not known, as of a CHECK."""
    unusual = (node.deferrable, node.initdeferred, node.skip_validation, node.indexname, node.options)
    if any(unusual):
        return None
    match node.contype:
        case enums.ConstrType.CONSTR_PRIMARY if _is_plain(node):
            return f"PRIMARY KEY ({_columns(node.keys)})"
        case enums.ConstrType.CONSTR_UNIQUE if _is_plain(node) and not node.nulls_not_distinct:
            return f"UNIQUE ({_columns(node.keys)})"
        case enums.ConstrType.CONSTR_FOREIGN if node.fk_attrs and node.pk_attrs:
            return _foreign_key(node)
        case _:
            return None


def _is_plain(node: Any) -> bool:
    return bool(node.keys) and not node.including and not node.without_overlaps


def index_text(node: Any) -> str | None:
    """Return an index as pg_get_indexdef() prints it; None when that is not known, as of one with a WHERE."""
    unusual = (
        node.whereClause,
        node.indexIncludingParams,
        node.options,
        node.tableSpace,
        node.nulls_not_distinct,
    )
    columns = [_plain_column(element) for element in node.indexParams]
    if any(unusual) or None in columns or not node.idxname:
        return None
    table = ".".join(
        identifier(part) for part in (node.relation.schemaname or _SCHEMA, node.relation.relname)
    )
    unique, method = "UNIQUE " if node.unique else "", node.accessMethod
    return f"CREATE {unique}INDEX {identifier(node.idxname)} ON {table} USING {method} ({', '.join(map(str, columns))})"


def _plain_column(node: Any) -> str | None:
    plain = (
        node.ordering == enums.SortByDir.SORTBY_DEFAULT and node.name and not (node.collation or node.opclass)
    )
    return identifier(node.name) if plain else None


def _foreign_key(node: Any) -> str | None:
    unusual = (node.fk_del_set_cols, node.fk_with_period, node.pk_with_period, not node.is_enforced)
    if node.fk_matchtype != "s" or any(unusual):
        return None
    schema = node.pktable.schemaname
    named = [schema] if schema and schema != _SCHEMA else []
    referenced = ".".join(identifier(part) for part in (*named, node.pktable.relname))
    text = f"FOREIGN KEY ({_columns(node.fk_attrs)}) REFERENCES {referenced}({_columns(node.pk_attrs)})"
    for event, action in (("UPDATE", node.fk_upd_action), ("DELETE", node.fk_del_action)):
        text += f" ON {event} {_ACTIONS[action]}" if _ACTIONS[action] else ""
    return text


def _columns(names: Any) -> str:
    return ", ".join(identifier(part.sval) for part in names)
