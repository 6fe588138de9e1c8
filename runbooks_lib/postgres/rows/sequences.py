"""Does a sequence stand where a setval put it, or further?"""

from __future__ import annotations

from typing import Any

from psycopg import sql

from runbooks_lib.names import qualified
from runbooks_lib.postgres.rows.asked import Asker
from runbooks_lib.postgres.rows.told import After, Done, Told
from runbooks_lib.postgres.rows.trees import NotAsked, ast, changes_with_time, read_as
from runbooks_lib.postgres.script.calls import every_node


def stands_at(asker: Asker, node: Any, after: After) -> Told:
    """Tell whether the sequence of `SELECT setval(…)` will give no value that it was set beyond. Raises NotAsked.

    Beyond a constant it may also have stood before, and below any value it may have been set since: by another
    statement, or at its start.
    """
    call = node.targetList[0].val
    if changes_with_time(node) or len(call.args) not in (2, 3):
        raise NotAsked("where it sets the sequence depends on when it is run")
    which, value, *called = call.args
    sequence = _sequence(asker, which)
    is_constant = not any(isinstance(each, ast.ColumnRef | ast.SubLink) for each in every_node(call.args[1:]))
    node.targetList = tuple(ast.ResTarget(val=each) for each in (read_as(value, "pg_catalog.int8"), *called))
    names = sql.SQL("value, called" if called else "value")
    question = sql.SQL(
        "SELECT last_value + is_called::int AS next, seqstart AS start, seqincrement AS increment, (SELECT max(value +"
        " {called}) FROM ({given}) AS given ({names})) AS wanted FROM {sequence}, pg_sequence"
        " WHERE seqrelid = {named}::regclass"
    ).format(
        called=sql.SQL("called::int" if called else "1"),
        given=asker.spell(node),
        names=names,
        sequence=sql.Identifier(*sequence),
        named=sql.Literal(sql.Identifier(*sequence).as_string()),
    )
    row = asker.row(question)
    if row["wanted"] is None:
        return Told(Done.NOTHING, "it sets the sequence to NULL, which leaves it as it is")
    gives = f"{qualified(*sequence)} gives {row['next']} next, and was to give {row['wanted']}"
    if row["increment"] < 0:
        raise NotAsked(f"{gives}; it counts down")
    if row["next"] < row["wanted"]:
        if where := after.set_since(sequence[1]):
            return Told(Done.NOT_JUDGED, f"{gives}; {where} may have set it since")
        return Told(Done.NONE, gives)
    if is_constant and row["next"] > row["wanted"]:
        if where := after.set_before(sequence[1]):
            return Told(Done.NOT_JUDGED, f"{gives} or more; {where} may have set it before")
        if row["start"] > row["wanted"]:
            return Told(Done.NOT_JUDGED, f"{gives} or more; it starts at {row['start']}")
    return Told(Done.ALL, f"{gives} or more")


def _sequence(asker: Asker, node: Any) -> tuple[str, str]:
    """Return schema and name of the sequence that an argument names: by its name, or by the column that it serves."""
    while isinstance(node, ast.TypeCast):
        node = node.arg
    if isinstance(node, ast.FuncCall) and node.funcname[-1].sval == "pg_get_serial_sequence":
        words = [_text(each) for each in node.args]
        named: sql.Composable = sql.SQL("pg_catalog.pg_get_serial_sequence({}, {})").format(
            *map(sql.Literal, words)
        )
    else:
        named = sql.Literal(_text(node))
    if asker.path_set:
        raise NotAsked("the script sets search_path, and a sequence is named by a text")
    found = asker.look_up(named)
    if found is None:
        raise NotAsked("the target has no such sequence")
    return found


def _text(node: Any) -> str:
    if isinstance(node, ast.A_Const) and isinstance(node.val, ast.String):
        return str(node.val.sval)
    raise NotAsked("it computes which sequence it sets")
