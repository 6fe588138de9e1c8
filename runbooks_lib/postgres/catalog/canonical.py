"""One spelling for definitions that PostgreSQL respells when they are restored.

`kind IN ('a', 'b')` on a varchar column is stored as an array that is cast as a whole; the text that pg_dump makes
of it casts each element instead, and is stored so. Both mean the same: here both become the second.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from pglast import ast, parse_sql
from pglast.parser import ParseError
from pglast.stream import RawStream
from pglast.visitors import Visitor

# A definition stands alone (an index, a view), is an expression (a default), or the tail of ADD CONSTRAINT.
_CONTEXTS = ("{}", "SELECT {}", "ALTER TABLE t ADD CONSTRAINT c {}")


class _CastElements(Visitor):
    """Rewrites (ARRAY[a, b])::text[] as ARRAY[a::text, b::text]."""

    def visit_TypeCast(self, ancestors: Any, node: Any) -> Any:
        """Push a cast of a whole array constructor down to its elements."""
        if not isinstance(node.arg, ast.A_ArrayExpr) or not node.typeName.arrayBounds:
            return None
        element = ast.TypeName(
            names=node.typeName.names, typmods=node.typeName.typmods, typemod=node.typeName.typemod
        )
        casts = tuple(ast.TypeCast(arg=item, typeName=element) for item in node.arg.elements or ())
        return ast.A_ArrayExpr(elements=casts)


def canonical(definition: str) -> str:
    """Return the definition in one spelling; text without an array constructor comes back as it is.

    Equal meaning is claimed for this one rewriting only: any other difference stays a difference.
    """
    return _respelt(definition) if "ARRAY[" in definition else definition


@lru_cache(maxsize=4096)
def _respelt(definition: str) -> str:
    for context in _CONTEXTS:
        try:
            tree = parse_sql(context.format(definition))
        except ParseError:
            continue
        _CastElements()(tree)
        return str(RawStream()(tree))
    return definition
