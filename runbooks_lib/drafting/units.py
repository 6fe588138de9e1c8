"""A migration in units: what is written, or left over, as one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from pglast import ast, parse_plpgsql, parse_sql
from pglast.parser import ParseError

from runbooks_lib.drafting.forms import in_passes
from runbooks_lib.errors import MigrationError
from runbooks_lib.postgres.scratch.script_run import BOM
from runbooks_lib.postgres.script.effects import in_words, unjudged
from runbooks_lib.postgres.script.guards import condition, dollar_quoted, exchanged, read_block
from runbooks_lib.postgres.script.idempotence import guarded_statement
from runbooks_lib.postgres.script.marks import marks_of
from runbooks_lib.postgres.script.pieces import Piece, every, pieces
from runbooks_lib.postgres.script.timeline import Marks

_ADDS = (
    "AlterTableStmt",
    "CreatePolicyStmt",
    "CreateTrigStmt",
    "CreateEnumStmt",
    "CreateDomainStmt",
    "IndexStmt",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One thing that a migration does: from and to which line, in words, as trees, with the comment before it.

    `marks` is what it leaves behind. `silent` says that it leaves nothing: a setting, BEGIN and COMMIT; `spoils` that
    what comes after it in its migration is not what it says: after another search_path, or before a ROLLBACK.
    `concurrent`: the migration builds its index CONCURRENTLY.
    """

    migration: str
    line: int
    last_line: int
    words: str
    statements: tuple[Any, ...]
    comment: str
    marks: Marks
    silent: bool = False
    spoils: bool = False
    literals: tuple[str, ...] = ()
    concurrent: bool = False

    def knowing(self, literals: tuple[str, ...]) -> Unit:
        """Return the unit with what its guard has to know beyond its statements."""
        if not literals:
            return self
        return replace(self, literals=literals, marks=marks_of(self.statements, literals, guarded=True))


def units_of(name: str, script: str) -> tuple[Unit, ...]:
    """Return what a migration does, in order. Raises MigrationError when PostgreSQL's parser does not read it."""
    script = script.removeprefix(BOM)
    found = pieces(script)
    if found is None:
        raise MigrationError(
            f"The migration {name} is not SQL as PostgreSQL's parser reads it{_why_not(script)}.",
            "Correct the file.",
        )
    raw: list[Any] = list(parse_sql(script))
    ends = [each.stmt_location + each.stmt_len if each.stmt_len else len(script) for each in raw]
    comments = [
        script[end : each.stmt_location].removeprefix(";").strip()
        for end, each in zip((0, *ends), raw, strict=False)
    ]
    return tuple(_units(name, found, [each.stmt for each in raw], comments))


def _why_not(script: str) -> str:
    """Return where and why the parser stops, as far as it says."""
    try:
        parse_sql(script)
    except ParseError as error:
        said, place = error.args
        return f": line {script.count(chr(10), 0, place) + 1}, {said}"  # None: at the end
    except (RecursionError, ValueError):
        pass
    return ""


def _units(
    name: str, found: Sequence[Piece], statements: Sequence[Any], comments: Sequence[str]
) -> Iterator[Unit]:
    at, comment = 0, ""
    while at < len(found):
        comment = "\n".join(filter(None, (comment, comments[at])))
        length = _exchange(statements[at:])
        if length:
            held = tuple(
                node for node in statements[at : at + length] if not isinstance(node, ast.TransactionStmt)
            )
            parts: list[tuple[Any, ...]] = [
                held,
                (held[-1],),
            ]  # the old one goes also where only that is left
        else:
            length, parts = 1, [(node,) for node in _parts(statements[at])]
        silent = found[at].tag in _SILENT and (unjudged(found[at]) is None or _of_the_transaction(found[at]))
        for part in parts:
            yield Unit(
                migration=name,
                line=found[at].line,
                last_line=found[at + length - 1].line,
                words=in_words(found[at]),
                statements=part,
                comment="" if silent else comment,
                marks=marks_left(part),
                silent=silent,
                spoils=_spoils(found[at]),
                concurrent=bool(getattr(part[0], "concurrent", False)),
            )
            comment = comment if silent else ""  # what stands before a BEGIN is said of what it begins
        at += length


def marks_left(part: Sequence[Any]) -> Marks:
    """Return what statements leave; of a DO block that stays as it is, what any statement in it may."""
    if isinstance(part[0], ast.DoStmt):
        return Marks(sets=marks_of(tuple(_inside(part[0]))).sets, lasts={})
    if isinstance(part[0], ast.InsertStmt):
        return Marks(sets={}, lasts={})  # its rows are judged apart, whatever becomes of their table
    return marks_of(part, guarded=condition(part) is not None)


def _inside(block: Any) -> Iterator[Any]:
    """Yield the statements in a DO block, and those that stand in it as texts to be executed."""
    body = next((option.arg.sval for option in block.args if option.defname == "as"), "")
    try:
        found = parse_plpgsql("DO " + dollar_quoted(body))
    except ParseError:
        return
    queries = [expression["query"] for expression in every(found, "PLpgSQL_expr")]
    for text in (*queries, *(constant for query in queries for constant in _texts(query))):
        with suppress(ParseError):
            yield from (raw.stmt for raw in parse_sql(text))


def _texts(expression: str) -> list[str]:
    found = pieces(f"SELECT {expression}") or ()
    constants = (constant for piece in found for constant in every(piece.node, "sval"))
    return [constant["sval"] for constant in constants if isinstance(constant, dict) and "sval" in constant]


def _spoils(piece: Piece) -> bool:
    if piece.tag == "VariableSetStmt":
        return unjudged(piece) is not None and not _of_the_transaction(piece)
    return piece.tag == "TransactionStmt" and piece.node.get("kind") not in _BEGIN_AND_COMMIT


def _of_the_transaction(piece: Piece) -> bool:
    """Return whether it is SET TRANSACTION: a baseline has a transaction of its own."""
    return str(piece.node.get("name", "")).startswith("TRANSACTION")


_SILENT = frozenset({"TransactionStmt", "VariableSetStmt", "SelectStmt", "LockStmt"})
_BEGIN_AND_COMMIT = frozenset({"TRANS_STMT_BEGIN", "TRANS_STMT_START", "TRANS_STMT_COMMIT"})


def _exchange(statements: Sequence[Any]) -> int:
    """Return how many statements from here on exchange an enum, 0 when they do something else."""
    if not isinstance(statements[0], ast.CreateEnumStmt):
        return 0
    seen = []
    for length, node in enumerate(statements, 1):
        if length > 1 and not isinstance(node, _OF_EXCHANGE):
            break
        if not isinstance(node, ast.TransactionStmt):
            seen.append(node)
        if isinstance(node, ast.DropStmt):
            return length if exchanged(seen) is not None else 0
    return 0


_OF_EXCHANGE = (ast.AlterTableStmt, ast.RenameStmt, ast.DropStmt, ast.TransactionStmt)


def _parts(node: Any) -> tuple[Any, ...]:
    """Return what a statement does in parts: an ALTER TABLE's, or what the migration has put behind a guard."""
    if isinstance(node, ast.DoStmt):
        node = _behind_a_guard(node) or node
    return in_passes(node) if isinstance(node, ast.AlterTableStmt) else (node,)


def _behind_a_guard(node: Any) -> Any:
    """Return the one statement that a migration's DO block runs unless it is done; None for any other block."""
    ignoring = guarded_statement(node)
    if ignoring is not None and type(ignoring).__name__ in _ADDS:
        return ignoring
    found = read_block(node)
    if found is None or len(found[1]) != 1:
        return None
    test, (held,) = found
    return held if _tests_what_is_done(test, held) else None


def _tests_what_is_done(test: Any, held: Any) -> bool:
    """Return whether a migration's own test asks the catalogue for what it does: by the name, and the right way."""
    wanted = marks_of((held,)).lasts
    tree = test(skip_none=True)
    negated = str(tree["targetList"][0]["val"].get("boolop", "")) != ""
    texts = {part.get("sval") for part in _strings(tree)}
    names = {place[-1] for place, value in wanted.items() if (value is not None) == negated}
    read = {part.get("relname", "") for part in _tables(tree)}
    return bool(names & texts) and bool(read) and all(name in _CATALOGUE for name in read)


_CATALOGUE = frozenset(
    {
        "pg_constraint",
        "pg_type",
        "pg_attribute",
        "pg_class",
        "pg_indexes",
        "pg_trigger",
        "pg_policies",
        "pg_policy",
    }
    | {"pg_enum", "pg_namespace", "columns", "tables", "table_constraints", "pg_tables"}
)


def _strings(tree: Any) -> Iterator[Any]:
    return _tagged(tree, "String")


def _tables(tree: Any) -> Iterator[Any]:
    return _tagged(tree, "RangeVar")


def _tagged(tree: Any, tag: str) -> Iterator[Any]:
    if isinstance(tree, dict):
        if tree.get("@") == tag:
            yield tree
        for part in tree.values():
            yield from _tagged(part, tag)
    elif isinstance(tree, tuple):
        for part in tree:
            yield from _tagged(part, tag)
