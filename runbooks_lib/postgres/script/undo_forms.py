"""The SQL of an undo script: one form for each kind of thing that it takes away or sets back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pglast import enums
from pglast.stream import RawStream

from runbooks_lib.facts.writing import Undo
from runbooks_lib.postgres.script.calls import in_trees
from runbooks_lib.postgres.script.guards import dollar_quoted
from runbooks_lib.postgres.script.printed import identifier, is_built_in
from runbooks_lib.postgres.script.timeline import Place

_LOCK_TIMEOUT_MS = 5_000
HOLDING = ("table", "sequence")  # what holds rows or values, which no script brings back
_USED = {
    "table": ("EXISTS (SELECT FROM {name})", "holds rows"),
    "sequence": ("pg_sequence_last_value({literal}::regclass) IS NOT NULL", "has given values"),
}
_CHECK = """ BEGIN
  IF {there} THEN{lock}
    IF {used} THEN
      RAISE EXCEPTION USING MESSAGE = {message},
        HINT = 'Nothing was undone. See whose they are, and keep them elsewhere first.';
    END IF;
  END IF;
END """
_COLUMN = (
    "EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass({}) AND attname = {} AND NOT attisdropped)"
)
_HERE = """ BEGIN
  IF current_database() <> {database} THEN
    RAISE EXCEPTION USING MESSAGE = {message};
  END IF;
END """


def script(undo: Undo, said: Sequence[str]) -> str:
    """Return an undo script as a file: what is `said` of it, what it does not take back, one transaction."""
    left = [f"line {each.line}, {each.words}: {each.why}" for each in undo.left_over]
    comments = [*said, *(["Not taken back:"] if left else []), *left]
    lines = [f"-- {' '.join(each.split())}" for each in comments]
    statements = ("BEGIN", *undo.settings, *undo.checks, *undo.statements, "COMMIT")
    return "\n".join([*lines, "", *(f"{each};" for each in statements)]) + "\n"


def settings(database: str, owner: str | None) -> tuple[str, ...]:
    """Return what an undo script begins with: nothing is done in another database, and no row is hidden from it."""
    wrong = f"This is not the database {database}: nothing was undone."
    return (
        "DO " + dollar_quoted(_HERE.format(database=_literal(database), message=_literal(wrong))),
        "SET LOCAL search_path = public",
        "SET LOCAL row_security = off",
        f"SET LOCAL lock_timeout = {_LOCK_TIMEOUT_MS}",
        *([f"SET LOCAL ROLE {identifier(owner)}"] if owner else []),
    )


def drop(place: Place, kind: str) -> str:
    """Return the statement that drops what is at a place, as long as nothing hangs on it; `kind` is a relation's."""
    match place:
        case ("relation", schema, name):
            return f"DROP {kind.upper()} IF EXISTS {_name(schema, name)}"
        case ("relation", schema, table, ("column" | "constraint") as part, name):
            what = f"DROP {part.upper()} IF EXISTS {identifier(name)}"
            return f"ALTER TABLE IF EXISTS {_name(schema, table)} {what}"
        case ("relation", schema, table, part, name):
            return f"DROP {part.upper()} IF EXISTS {identifier(name)} ON {_name(schema, table)}"
        case ("function", schema, name, *arguments):
            return f"DROP ROUTINE IF EXISTS {_name(schema, name)}({', '.join(arguments)})"
        case (part, *name):
            return f"DROP {part.upper()} IF EXISTS {_name(*name)}"
    raise AssertionError(f"nothing is made at {place}")


def check_unused(kind: str, name: Sequence[str]) -> str:
    """Return the block that refuses where a table holds rows, or a sequence has given values."""
    spelt, (used, what) = _name(*name), _USED[kind]
    literal = _literal(spelt)
    return _check(
        there=f"to_regclass({literal}) IS NOT NULL",
        locked=spelt if kind == "table" else "",
        used=used.format(name=spelt, literal=literal),
        message=f"{spelt} {what}",
    )


def check_unfilled(column: Any, table: Sequence[str]) -> str | None:
    """Return the block that refuses where a column has other values than the script gives it; "" when it has none.

    None when nothing tells these apart: its default is another one in each row.
    """
    name, kinds = identifier(column.colname), {each.contype: each for each in column.constraints or ()}
    if enums.ConstrType.CONSTR_GENERATED in kinds:
        return ""
    default = kinds.get(enums.ConstrType.CONSTR_DEFAULT)
    if not _is_constant(column) or enums.ConstrType.CONSTR_IDENTITY in kinds:
        return None
    filled = f"{name} IS DISTINCT FROM NULL"  # a row with a NULL in it is not IS NOT NULL
    if default is not None:
        given = f"({RawStream()(default.raw_expr)})::{RawStream()(column.typeName)}"
        filled = f"{name}::text IS DISTINCT FROM {given}::text"
    spelt = _name(*table)
    return _check(
        there=_COLUMN.format(_literal(spelt), _literal(column.colname)),
        locked=spelt,
        used=f"EXISTS (SELECT FROM {spelt} WHERE {filled})",
        message=f"{name} of {spelt} has values",
    )


def is_plain(column: Any) -> bool:
    """Return whether a column hangs on nothing but its table: a type of PostgreSQL's own, a constant, no reference."""
    refers = any(each.pktable for each in column.constraints or ())
    return _is_constant(column) and not refers and is_built_in(column.typeName)


def default(place: Place, text: str) -> str:
    """Return what gives a column a default, as PostgreSQL prints it."""
    return _alter(place, f"SET DEFAULT {text}")


def no_default(place: Place) -> str:
    """Return what takes a column's default away."""
    return _alter(place, "DROP DEFAULT")


def not_null(place: Place, *, on: bool) -> str:
    """Return what makes a column NOT NULL, or lets it be NULL."""
    return _alter(place, f"{'SET' if on else 'DROP'} NOT NULL")


def row_security(place: Place, *, on: bool) -> str:
    """Return what turns the policies of a table on or off."""
    return f"ALTER TABLE {_name(*place[1:3])} {'ENABLE' if on else 'DISABLE'} ROW LEVEL SECURITY"


def _alter(place: Place, what: str) -> str:
    _, schema, table, _, column, *_ = place
    return f"ALTER TABLE {_name(schema, table)} ALTER COLUMN {identifier(column)} {what}"


def _is_constant(column: Any) -> bool:
    """Return whether a column has no default, or one that is the same in each row."""
    code = in_trees(each.raw_expr for each in column.constraints or ())
    serial = column.typeName.names[-1].sval.endswith("serial")
    return not serial and not code.calls and not code.reads


def _check(*, there: str, locked: str, used: str, message: str) -> str:
    lock = f"\n    LOCK TABLE {locked};" if locked else ""
    return "DO " + dollar_quoted(_CHECK.format(there=there, lock=lock, used=used, message=_literal(message)))


def _name(*names: str) -> str:
    return ".".join(map(identifier, names))


def _literal(text: str) -> str:
    quoted = text.replace("'", "''")
    return f"E'{quoted.replace(chr(92), chr(92) * 2)}'" if chr(92) in text else f"'{quoted}'"
