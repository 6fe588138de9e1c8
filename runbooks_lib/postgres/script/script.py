"""An SQL script as PostgreSQL's own parser reads it: which statements, what they make, which code they run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from operator import or_
from typing import Any, NamedTuple

from pglast import ast, parse_sql
from pglast.enums import AlterTableType as Alter
from pglast.parser import ParseError

from runbooks_lib.errors import MigrationError
from runbooks_lib.postgres.script.blocks import mistake_in
from runbooks_lib.postgres.script.calls import NOTHING, Code, Name, in_body, in_trees, table_name
from runbooks_lib.postgres.script.guards import Held, held_by
from runbooks_lib.postgres.script.idempotence import ROW, VALUES, Judged, guarded_statement, judge_tree
from runbooks_lib.postgres.script.marks import marks_of
from runbooks_lib.postgres.script.timeline import Timeline
from runbooks_lib.postgres.script.touched import UNTOUCHED, Touched, touched_by

_UNDONE = "line {} undoes it, and a second run would do it again"
_ONE_OF_THEM = "Leave out the earlier one, where the later one alone leads to the same end."


class Fill(NamedTuple):
    """Which columns an INSERT gives values to: those named (None: the table's first), as many as `width`.

    `defaulted` are the places at which some row has DEFAULT instead of a value, `changing` those at which some row
    has a value that another run would not have. `listed` says that the rows stand in the statement, `adds` False that
    it is an UPDATE, to which no default comes.
    """

    columns: tuple[str, ...] | None
    width: int
    defaulted: frozenset[int]
    changing: frozenset[int]
    listed: bool
    adds: bool = True

    def gives(self, place: int, column: str) -> bool:
        """Return whether every row has a value of its own for a column, which is the table's at `place`, from 0."""
        if not self.adds:
            return True
        found = self._place(place, column)
        return found is not None and found not in self.defaulted

    def repeats(self, place: int, column: str) -> bool:
        """Return whether another run would have the same values for a column."""
        return self.gives(place, column) and self._place(place, column) not in self.changing

    def _place(self, place: int, column: str) -> int | None:
        if self.columns is not None:
            return self.columns.index(column) if column in self.columns else None
        return place if place < self.width else None


class Body(NamedTuple):
    """The language, the volatility (v, s, i) and what is called in a function that a script makes."""

    language: str
    volatility: str
    code: Code


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One statement of a script.

    `kind` and `object` say what it makes ("table", "public.OAuthState"); "statement" and the tag when it makes
    nothing that has a name. `refused` says why it may not be run here, "" when it may, and `remedy` what to
    write instead. `touched` is what it does to objects that may be there before.
    `runs` is the code that it calls itself, `keeps` what its object keeps for later (defaults, a view's query),
    `concurrent`: it is an index that is built outside the transaction.
    `takes_after` the tables whose definition a new table gets, `fills` what an INSERT gives, `body` that of a function.
    """

    line: int
    text: str
    kind: str
    object: str
    refused: str = ""
    remedy: str = ""
    touched: Touched = UNTOUCHED
    runs: Code = NOTHING
    keeps: Code = NOTHING
    takes_after: tuple[Name, ...] = ()
    fills: Fill | None = None
    body: Body | None = None
    concurrent: bool = False

    @property
    def alters(self) -> bool:
        """Return whether it changes its object, and does not create it."""
        return self.touched.alters

    @property
    def writes_rows(self) -> bool:
        """Return whether it changes rows, and makes nothing that has a name."""
        return self.kind in (ROW, VALUES)

    @property
    def adds(self) -> tuple[str, ...]:
        """Return the columns or labels that it adds."""
        return self.touched.adds


def parse_script(text: str) -> tuple[Statement, ...]:
    """Parse a script into statements and judge each: idempotent, and fit for one transaction.

    Raises MigrationError, with the line, when PostgreSQL's parser does not understand the script, or when it
    holds no statement.
    Source: https://github.com/pganalyze/libpg_query (PostgreSQL's grammar), by pglast
    """
    try:
        raw = parse_sql(text)
    except ParseError as error:
        position = error.args[1] if len(error.args) > 1 and isinstance(error.args[1], int) else 0
        raise MigrationError(
            f"Line {_line(text, position)} of the SQL is not PostgreSQL: {error.args[0]}.",
            "Correct the file; nothing was executed.",
        ) from error
    if not raw:
        raise MigrationError(
            "The SQL file holds no statement.", "Write the baseline into it, or remove [baseline]."
        )
    held = [held_in(each.stmt) for each in raw]
    marks = [
        marks_of(each.statements, each.literals, guarded=each.statements != (one.stmt,))
        for one, each in zip(raw, held, strict=True)
    ]
    timeline = Timeline(marks)
    statements = [_statement(text, *each) for each in zip(raw, held, strict=True)]
    return tuple(
        replace(each, refused=_UNDONE.format(statements[undoing[0][0]].line), remedy=_ONE_OF_THEM)
        if not each.refused and (undoing := timeline.undoing(number))
        else each
        for number, each in enumerate(statements)
    )


def held_in(node: Any) -> Held:
    """Return what a statement does: itself, or what it holds behind a guard."""
    if not isinstance(node, ast.DoStmt):
        return Held((node,), ())
    enum = guarded_statement(node)
    return held_by(node) or Held((node if enum is None else enum,), ())


def _statement(text: str, raw: Any, held: Held) -> Statement:
    start, node = raw.stmt_location, raw.stmt
    end = start + raw.stmt_len if raw.stmt_len else len(text)
    judged = judge_tree(node)
    if judged.refused and isinstance(node, ast.DoStmt):
        judged = _not_understood(text, start, node) or judged
    nodes = held.statements
    return Statement(
        line=_line(text, start),
        text=text[start:end],
        kind=judged.kind,
        object=judged.object,
        refused=judged.refused,
        remedy=judged.remedy,
        touched=touched_by(held),
        runs=reduce(or_, map(_runs, nodes)),
        keeps=reduce(or_, map(_keeps, nodes)),
        takes_after=_takes_after(node) if isinstance(node, ast.CreateStmt) else (),
        fills=_fill(node) if isinstance(node, ast.InsertStmt | ast.UpdateStmt) else None,
        body=_body(node) if isinstance(node, ast.CreateFunctionStmt) else None,
    )


def _not_understood(text: str, start: int, node: ast.DoStmt) -> Judged | None:
    """Return what PL/pgSQL's parser does not understand in a DO block, and in which line of the script."""
    options = {option.defname: option.arg.sval for option in node.args or ()}
    if options.get("language", "plpgsql") != "plpgsql":
        return None
    if (mistake := mistake_in(options["as"])) is None:
        return None
    said, offset = mistake
    line = _line(text, text.find(options["as"], start) + offset)
    return Judged(
        "statement", "DO block", f"{said} at line {line}", "Correct the file; nothing was executed."
    )


def _runs(node: Any) -> Code:
    """Return the code that a statement itself calls while it runs; definitions that are only stored are not run."""
    match node:
        case ast.InsertStmt():
            return in_trees((node.selectStmt, node.withClause, node.onConflictClause, node.returningClause))
        case ast.UpdateStmt():
            return in_trees(
                (node.targetList, node.fromClause, node.whereClause, node.withClause, node.returningClause)
            )
        case ast.IndexStmt():
            return in_trees((*(node.indexParams or ()), node.whereClause))
        case ast.AlterTableStmt():
            run = [command for command in node.cmds or () if command.subtype != Alter.AT_ColumnDefault]
            return in_trees(command.def_ for command in run)
        case ast.CreateStmt():
            return in_trees((node.partbound,))
        case _:
            return NOTHING


def _keeps(node: Any) -> Code:
    match node:
        case ast.CreateStmt():
            return in_trees((*(node.tableElts or ()), *(node.constraints or ())))
        case ast.ViewStmt():
            return in_trees((node.query,))
        case ast.AlterTableStmt():
            return in_trees(command.def_ for command in node.cmds or ())
        case _:
            return NOTHING


def _takes_after(node: ast.CreateStmt) -> tuple[Name, ...]:
    """Return the tables of LIKE, INHERITS and PARTITION OF: their defaults and triggers become the new table's."""
    like = [part.relation for part in node.tableElts or () if isinstance(part, ast.TableLikeClause)]
    return tuple(table_name(each) for each in (*like, *(node.inhRelations or ())))


def _fill(node: Any) -> Fill:
    """Return what an INSERT or UPDATE gives; how many columns a `*` stands for is not in the text: none, to be safe."""
    if isinstance(node, ast.UpdateStmt):
        return Fill((), 0, frozenset(), frozenset(), listed=False, adds=False)
    columns = tuple(target.name for target in node.cols) if node.cols else None
    query = node.selectStmt
    if query is None:  # DEFAULT VALUES
        return Fill((), 0, frozenset(), frozenset(), listed=True)
    rows = query.valuesLists or ()
    values = [(at, value) for row in rows for at, value in enumerate(row)]
    defaulted = frozenset(at for at, value in values if isinstance(value, ast.SetToDefault))
    changing = frozenset(
        at for at, value in values if _is_computed(value) and in_trees((value,)).changes_with_time
    )
    while query.larg is not None:
        query = query.larg
    first = rows[0] if rows else query.targetList or ()
    star = any(isinstance(value, ast.ResTarget) and _is_star(value.val) for value in first)
    return Fill(columns, 0 if star else len(first), defaulted, changing, listed=bool(rows))


def _is_computed(node: Any) -> bool:
    return not isinstance(node, ast.A_Const | ast.SetToDefault)


def _is_star(node: Any) -> bool:
    return isinstance(node, ast.ColumnRef) and isinstance((node.fields or (None,))[-1], ast.A_Star)


def _body(node: Any) -> Body:
    options = {option.defname: option.arg for option in node.options or ()}
    volatility = getattr(options.get("volatility"), "sval", "volatile")
    words = [part.sval for part in options.get("as") or ()]
    code = in_trees((node.sql_body,)) if node.sql_body else in_body(words[0] if words else "")
    code |= in_trees(parameter.defexpr for parameter in node.parameters or ())
    return Body(getattr(options.get("language"), "sval", "sql").lower(), volatility[0], code)


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
